// What every browser test starts from: a Git server, a Roost server with its administrator, a browser, a command line.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import { openBrowser, type Tab } from './browser'
import { until } from './deadline'
import { type GitServer, startGitServer } from './git-server'
import { type Driver, type Server, startServer } from './server'

export const EMAIL = 'ada@example.com'
export const PASSWORD = 'correct horse battery'

export interface World {
  git: GitServer
  server: Server
  tab: Tab
  page: Page
  // Runs the `roost` program as Ada would in her own shell.
  roost(...words: string[]): Promise<string>
  close(): Promise<void>
}

// Ada has an account; the browser is signed in when `signedIn`.
export async function openWorld({ signedIn, driver }: { signedIn: boolean; driver?: Driver }): Promise<World> {
  const git = await startGitServer()
  const server = await startServer([git.address], driver)
  const home = mkdtempSync(join(tmpdir(), 'roost-home-'))
  const tab = await openBrowser()
  const page = await tab.context.newPage()
  await page.goto(server.welcome)
  await page.getByLabel('E-mail address').fill(EMAIL)
  await page.getByLabel('Name').fill('Ada')
  await page.getByLabel('Password').fill(PASSWORD)
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('heading', { name: 'Workspaces' }).waitFor()
  if (!signedIn) {
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  }
  const roost = (words: string[], input = '') => {
    const environment = { ...process.env, XDG_CONFIG_HOME: home }
    const running = promisify(execFile)(process.env.ROOST_BIN as string, words, {
      env: environment,
      maxBuffer: 1 << 28,
      encoding: 'latin1',
    })
    running.child.stdin?.end(input)
    return running.then(({ stdout }) => stdout)
  }
  await roost(['login', server.origin, '--email', EMAIL, '--password-stdin'], `${PASSWORD}\n`)
  return {
    git,
    server,
    tab,
    page,
    roost: (...words) => roost(words),
    async close() {
      await tab.browser.close()
      try {
        // Machines outlive their server, and are deleted in their own time.
        const left = async (): Promise<{ name: string }[]> => JSON.parse(await roost(['--json', 'ls']))
        for (const { name } of await left()) await roost(['rm', '--force', name])
        await until('the machines are gone', 60, async () => (await left()).length === 0)
      } finally {
        await server.close()
        git.close()
        rmSync(home, { recursive: true })
      }
    },
  }
}
