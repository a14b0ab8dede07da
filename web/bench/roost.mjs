// Roost with one workspace on a real virtual machine that holds the repository.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { openProfile } from './browser.mjs'
import { startServer } from './processes.mjs'
import { FILE } from './repository.mjs'

const NAME = 'bench'

export async function startRoost(repository) {
  const program = process.env.ROOST_BIN
  if (!program) throw new Error('ROOST_BIN names no roost to measure')
  // Short: paths of Unix sockets are.
  const data = mkdtempSync('/tmp/rwb-')
  const server = await startServer(program, ['--json', 'up', '--data', data, '--port', '0'], {}, /\{.*first_link.*\}/)
  const { url: origin, first_link: link } = JSON.parse(server.match[0])
  const profile = await openProfile([])
  const { page } = profile
  // Not from within the page: Chromium gives up what is under way when a workspace's network appears.
  const api = async (method, path, data) => {
    const headers = { 'X-Roost': '1', Origin: origin }
    const answer = await profile.context.request.fetch(`${origin}/api/v1/${path}`, {
      method,
      headers,
      data,
      timeout: 180_000,
    })
    const text = await answer.text()
    if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${text}`)
    return text && JSON.parse(text)
  }
  const password = 'correct horse battery'
  await api('POST', 'welcome', { token: link.split('#')[1], email: 'ada@example.com', name: 'Ada', password })
  const { accelerator } = await api('GET', 'host')
  await api('POST', 'workspaces?wait=ready', { name: NAME })
  const { secret } = await api('POST', 'tokens', { name: 'bench' })
  const archive = execFileSync('tar', ['c', '-C', repository, '.'], { maxBuffer: 1 << 28 })
  const env = { ...process.env, ROOST_URL: origin, ROOST_TOKEN: secret }
  const inGuest = (words, input) =>
    execFileSync(program, ['exec', NAME, '--', ...words], { env, input, encoding: 'utf8' })
  inGuest(['tar', 'x', '--no-same-owner'], archive)
  const folder = inGuest(['pwd']).trim()
  await page.goto(`${origin}/open/${NAME}`)
  const url = new URL(page.url())
  const cookies = await profile.context.cookies()
  await profile.close()
  return {
    name: 'roost',
    accelerator,
    url: `${url.origin}${url.pathname}?file=${folder}/${FILE}`,
    cookies,
    async close() {
      execFileSync(program, ['rm', NAME, '--force'], { env })
      await server.close()
      rmSync(data, { recursive: true, force: true })
    },
  }
}
