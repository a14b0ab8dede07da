// Servers as child processes: started until they say that they listen, ended and waited for.
import { spawn } from 'node:child_process'

/** Resolves with the first match of `ready` in what the program prints. */
export async function startServer(program, words, options, ready) {
  const child = spawn(program, words, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  const match = await new Promise((done, failed) => {
    const look = (piece) => {
      text += piece
      const found = ready.exec(text)
      if (found) done(found)
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.once('error', failed)
    child.once('exit', (code) => failed(new Error(`${program} ended with ${code}: ${text}`)))
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const close = async () => {
    child.kill('SIGTERM')
    await ended
  }
  return { match, close }
}
