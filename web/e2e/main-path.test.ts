// The whole job in a real browser: sign in, create from a Git URL, edit, run, preview, push, stop, start, delete.
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBrowser, type Tab } from './browser'
import { until } from './deadline'
import { type GitServer, startGitServer } from './git-server'
import { picture } from './screenshots'
import { type Server, startServer } from './server'
import { openEditor, openFile, runInTerminal, save, terminalText } from './workbench'

const PASSWORD = 'correct horse battery'
let git: GitServer
let server: Server
let tab: Tab
let page: Page

beforeAll(async () => {
  git = await startGitServer()
  server = await startServer([git.address])
  tab = await openBrowser()
  page = await tab.context.newPage()
})

afterAll(async () => {
  await tab?.browser.close()
  await server?.close()
  git?.close()
})

test('the printed link makes the administrator', async () => {
  await page.goto(server.origin)
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await picture(page, 'sign-in')
  await page.goto(server.welcome)
  await page.getByLabel('E-mail address').fill('ada@example.com')
  await page.getByLabel('Name').fill('Ada')
  await page.getByLabel('Password').fill(PASSWORD)
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('heading', { name: 'Workspaces' }).waitFor()
  await page.getByText('Nothing here yet').waitFor()
  await picture(page, 'dashboard-empty')
})

test('sign out and in again', async () => {
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('E-mail address').fill('ada@example.com')
  await page.getByLabel('Password').fill('not the password')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('alert').waitFor()
  await page.getByLabel('Password').fill(PASSWORD)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('Nothing here yet').waitFor()
})

test('a repository becomes a workspace, and the timeline shows how', async () => {
  await page.goto(`${server.origin}/new?repo=${encodeURIComponent(`${git.origin}/public/hello.git`)}&branch=main`)
  await page.getByRole('button', { name: 'Create workspace' }).click()
  await page.getByRole('heading', { name: 'hello' }).waitFor()
  await page
    .getByRole('listitem')
    .filter({ hasText: /Boot Linux.*running/ })
    .waitFor({ timeout: 60_000 })
  await picture(page, 'workspace-starting')
  await page.getByRole('link', { name: 'Workspaces' }).click()
  await page.getByText('Starting', { exact: true }).waitFor()
  await picture(page, 'dashboard-starting')
  await page.getByRole('link', { name: 'hello' }).click()
  await page.getByText('Running', { exact: true }).waitFor({ timeout: 120_000 })
  await page.getByText('Ready after').waitFor()
  await picture(page, 'workspace-running')
  await page.getByRole('link', { name: 'Workspaces' }).click()
  await page.getByText('Running', { exact: true }).waitFor()
  await page.locator('article').getByRole('meter', { name: 'Memory' }).waitFor()
  await picture(page, 'dashboard-running')
})

test('VS Code opens, edits, saves, and the shell sees it', async () => {
  await page.getByRole('link', { name: 'Open' }).click()
  await openEditor(page)
  await openFile(page, 'main.py')
  await page.keyboard.press('Control+End')
  await page.keyboard.type('print("typed in the browser")\n')
  await save(page)
  await runInTerminal(page, 'cat main.py')
  await until('the shell shows the edit', 30, async () => (await terminalText(page)).includes('typed in the browser'))
  await picture(page, 'workbench-light', false)
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.locator('.monaco-workbench.vs-dark').waitFor({ timeout: 30_000 })
  await picture(page, 'workbench-dark', false)
  await page.emulateMedia({ colorScheme: 'light' })
})

test('a web server in the workspace is seen through its port', async () => {
  await runInTerminal(page, 'python3 -m http.server 8000')
  const notice = page.locator('.notification-list-item', { hasText: '8000' })
  await notice.waitFor({ timeout: 60_000 })
  const [preview] = await Promise.all([
    tab.context.waitForEvent('page'),
    notice.getByRole('button', { name: 'Open' }).click(),
  ])
  await preview.getByRole('heading', { name: 'Served from the workspace' }).waitFor({ timeout: 60_000 })
  expect(new URL(preview.url()).hostname).toBe('8000--hello.localhost')
  await preview.close()
  await page.locator('.terminal-wrapper.active').click()
  await page.keyboard.press('Control+C')
})

test('a commit is pushed', async () => {
  await runInTerminal(page, 'git commit -qam "Edited in Roost" && git push && echo pushed-$?')
  await until('the server has the commit', 60, async () => git.subject('public/hello.git') === 'Edited in Roost')
  expect(git.show('public/hello.git', 'main.py')).toContain('typed in the browser')
})

test('after a stop and a start the files are there', async () => {
  await runInTerminal(page, 'echo kept > kept.txt && sync && echo written-$?')
  await until('it is written', 30, async () => (await terminalText(page)).includes('written-0'))
  await page.goto(`${server.origin}/workspaces/hello`)
  await page.getByText('None yet.').waitFor()
  await page.getByLabel('Name of the point').fill('with kept.txt')
  await page.keyboard.press('Enter')
  await page.getByText('“with kept.txt”, is taken').waitFor({ timeout: 60_000 })
  await picture(page, 'points-first')
  await page.getByRole('button', { name: 'Stop' }).click()
  await page.getByText('Stopped', { exact: true }).waitFor({ timeout: 60_000 })
  await page.getByRole('button', { name: /^Restore with kept.txt/ }).click()
  await picture(page, 'points-restore')
  await page.getByRole('dialog').getByRole('button', { name: 'Go back' }).click()
  await page.getByText('Before going back to with kept.txt').waitFor({ timeout: 60_000 })
  await page.getByRole('button', { name: 'Start' }).click()
  await page.getByText('Running', { exact: true }).waitFor({ timeout: 120_000 })
  await page.getByRole('link', { name: 'Open' }).click()
  await openEditor(page)
  await openFile(page, 'kept.txt')
  await page.locator('.view-line', { hasText: 'kept' }).waitFor()
})

test('another workspace begins with the point', async () => {
  await page.goto(`${server.origin}/workspaces/hello`)
  await page.getByRole('button', { name: /^Fork from with kept.txt/ }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Name').fill('second')
  await picture(page, 'points-fork')
  await dialog.getByRole('button', { name: 'Fork', exact: true }).click()
  await page.getByRole('heading', { name: 'second' }).waitFor()
  await page.getByText('Running', { exact: true }).waitFor({ timeout: 120_000 })
  await page.getByText(/^hello, point \d+$/).waitFor()
  await page.getByRole('link', { name: 'Open' }).click()
  await openEditor(page)
  await openFile(page, 'kept.txt')
  await page.locator('.view-line', { hasText: 'kept' }).waitFor()
  await page.goto(`${server.origin}/workspaces/second`)
  await page.getByRole('button', { name: 'Delete', exact: true }).first().click()
  await page
    .getByRole('dialog')
    .getByRole('button', { name: /^Delete/ })
    .click({ timeout: 60_000 })
  await page.getByRole('link', { name: 'second' }).waitFor({ state: 'detached', timeout: 60_000 })
})

test('no page asked anybody but Roost', () => {
  const host = new URL(server.origin).host
  const foreign = [...tab.origins].filter((origin) => origin !== host && !origin.endsWith(`.${host}`))
  expect(foreign).toEqual([])
})

test('a deleted workspace is gone', async () => {
  await page.goto(server.origin)
  await page.getByRole('button', { name: 'Delete' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: /^Delete/ }).click({ timeout: 60_000 })
  await page.getByText('Nothing here yet').waitFor({ timeout: 60_000 })
})
