// The real server, on a data folder and a port of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from './deadline'

export interface Server {
  origin: string
  data: string
  // The one-time link that makes the administrator.
  welcome: string
  log(): string
  // Ends it without warning, as a crash would.
  kill(): Promise<void>
  // Starts it again on the same data folder and port, with another front end if a folder is given.
  again(web?: string): Promise<void>
  close(): Promise<void>
}

// With the process driver a workspace is a folder and plain processes, there in no time; its shells are root's.
export type Driver = 'vm' | 'process'

export async function startServer(gitAllow: string[], driver: Driver = 'vm'): Promise<Server> {
  const program = process.env.ROOST_BIN
  if (!program) throw new Error('ROOST_BIN is not set: run ./dev test')
  const data = mkdtempSync(join(tmpdir(), 'rst-'))
  writeFileSync(join(data, 'config.toml'), `[git]\nallow = ${JSON.stringify(gitAllow)}\n`)
  let text = ''
  let child: ChildProcess | undefined
  let port = '0'
  const agent = driver === 'process' ? ['--process-agent', process.env.ROOST_AGENT ?? ''] : []

  async function run(web = process.env.ROOST_WEB) {
    text = ''
    child = spawn(program as string, ['up', '--data', data, '--port', port, ...agent], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ROOST_WEB: web, ROOST_ALLOW_PROCESS_DRIVER: driver === 'process' ? '1' : undefined },
    })
    const add = (piece: Buffer) => {
      text += piece.toString()
    }
    child.stdout?.on('data', add)
    child.stderr?.on('data', add)
    await until('the server is up', 120, async () => {
      if (child?.exitCode != null) throw new Error(text)
      const origin = text.match(/http:\/\/localhost:(\d+)/)
      if (!origin) return false
      port = origin[1] as string
      return (await fetch(`http://127.0.0.1:${port}/api/v1/server`, { headers: { host: `localhost:${port}` } })).ok
    })
  }

  async function kill() {
    const ended = new Promise((resolve) => child?.once('exit', resolve))
    child?.kill('SIGKILL')
    await ended
  }

  await run()
  return {
    origin: `http://localhost:${port}`,
    data,
    welcome: text.match(/http:\/\/\S+\/welcome#\S+/)?.[0] ?? '',
    log: () => text,
    kill,
    again: run,
    async close() {
      const ended = new Promise((resolve) => child?.once('exit', resolve))
      child?.kill('SIGTERM')
      await ended
      rmSync(data, { recursive: true, force: true })
    },
  }
}
