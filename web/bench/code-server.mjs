// code-server on a folder, with a home of its own; installed from npm when it is not there yet.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startServer } from './processes.mjs'
import { FILE } from './repository.mjs'

const install = fileURLToPath(new URL('code-server.sh', import.meta.url))
const cache = () => process.env.ROOST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'roost')

export async function startCodeServer(repository) {
  const program = execFileSync(install, [cache()], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim()
  const home = mkdtempSync(join(tmpdir(), 'roost-peer-'))
  const words = ['--bind-addr', '127.0.0.1:0', '--auth', 'none', '--disable-telemetry', '--disable-update-check']
  const server = await startServer(
    process.execPath,
    [join(program, 'node_modules/code-server/out/node/entry.js'), ...words, '--disable-workspace-trust'],
    { cwd: home, env: { PATH: process.env.PATH, HOME: home } },
    /HTTP server listening on http:\/\/(127\.0\.0\.1:\d+)/,
  )
  const host = server.match[1]
  const payload = JSON.stringify([['openFile', `vscode-remote://${host}${repository}/${FILE}`]])
  return {
    name: 'code-server',
    url: `http://${host}/?folder=${encodeURIComponent(repository)}&payload=${encodeURIComponent(payload)}`,
    cookies: [],
    async close() {
      await server.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}
