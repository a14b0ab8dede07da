// What a person expects of the pages and of VS Code, tried in passing on one workspace.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from './deadline'
import { chooseInMenu, makeInExplorer, nameInExplorer, palette, row, shell } from './explorer'
import { picture } from './screenshots'
import { openEditor, openFile, save, terminalShows } from './workbench'
import { EMAIL, openWorld, PASSWORD, type World } from './world'

// One line of each language, which the editor has to know and to colour.
const LANGUAGES: [file: string, language: string, text: string][] = [
  ['a.rs', 'Rust', 'fn main() { let x = "text"; }'],
  ['a.py', 'Python', 'def hello(): return "text"'],
  ['a.ts', 'TypeScript', 'const x: string = "text"'],
  ['a.go', 'Go', 'package main'],
  ['a.c', 'C', 'int main(void) { return 0; }'],
  ['a.sql', 'SQL', 'SELECT a FROM b WHERE c = 1;'],
  ['a.yaml', 'YAML', 'key: true'],
  ['a.md', 'Markdown', '# Title with **bold**'],
]
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

let world: World
let page: Page
// Files of the person's own machine.
let own: string

beforeAll(async () => {
  own = mkdtempSync(join(tmpdir(), 'roost-own-'))
  world = await openWorld({ signedIn: true, driver: 'process' })
  page = world.page
})

afterAll(async () => {
  await world?.close()
  rmSync(own, { recursive: true, force: true })
})

const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? '')
const dialogBox = () => page.locator('.monaco-dialog-box')
const notice = (text: string | RegExp) => page.locator('.notification-list-item', { hasText: text })
const lines = () => page.locator('.editor-instance .view-lines').first()

test('the dialog says what is wrong with what was typed, and gives the focus back', async () => {
  const opener = page.getByRole('button', { name: 'New workspace' })
  await opener.focus()
  await page.keyboard.press('Enter')
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Git repository').fill('no repository')
  await dialog.getByRole('alert').waitFor()
  await dialog.getByLabel('Git repository').fill(`${world.git.origin}/public/hello.git`)
  await dialog.getByPlaceholder('hello').waitFor()
  await dialog.getByLabel('Name').fill('No Name!')
  await dialog.getByRole('button', { name: 'Create workspace' }).click()
  await dialog.getByText('only the characters').waitFor()
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  expect(await focused()).toBe('New workspace')
  // The refusal was asked for.
  world.tab.errors.length = 0
})

test('a workspace is renamed, tagged and found', async () => {
  await page.keyboard.press('n')
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Git repository').fill(`${world.git.origin}/public/hello.git`)
  await dialog.getByLabel('Name').fill('first')
  await dialog.getByRole('button', { name: 'Create workspace' }).click()
  await page.getByRole('heading', { name: 'first' }).waitFor()
  await page.getByText('Running', { exact: true }).waitFor()
  await page.getByRole('button', { name: 'Rename' }).click()
  await page.getByLabel('New name').fill('bench')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'bench' }).waitFor()
  await page.getByRole('button', { name: 'Add tag' }).click()
  await page.getByLabel('New tag').fill('trial')
  await page.keyboard.press('Enter')
  await page.getByLabel('Remove tag trial').waitFor()
  await page.getByRole('link', { name: 'Workspaces' }).click()
  await page.keyboard.press('/')
  await page.keyboard.type('nothing like it')
  await page.getByText('No workspace matches').waitFor()
  await page.getByLabel('Search workspaces').fill('trial')
  await page.getByRole('link', { name: 'bench', exact: true }).waitFor()
  for (const name of ['CPU', 'Memory', 'Disk']) await page.locator('article').getByRole('meter', { name }).waitFor()
  const disk = page.locator('article').getByRole('meter', { name: 'Disk' })
  expect(Number(await disk.getAttribute('aria-valuenow'))).toBeGreaterThan(0)
})

test('uncommitted work is saved, restored and downloaded', async () => {
  await page.goto(`${world.server.origin}/workspaces/bench`)
  const section = page.locator('section', { has: page.getByRole('heading', { name: 'Saved work' }) })
  const inWorkspace = (line: string) => world.roost('exec', 'bench', '--', 'sh', '-c', line)
  await section.getByText('Nothing is saved').waitFor()
  await picture(page, 'saved-work-empty')
  await inWorkspace('echo "by hand" >> main.py')
  await section.getByRole('button', { name: 'Save now' }).click()
  const row = section.getByRole('listitem').filter({ hasText: '1 file (+1 −0) on main, saved on request' })
  await row.getByText('in the store').waitFor()
  await inWorkspace('git checkout -q main.py')
  await row.getByRole('button', { name: /^Restore/ }).focus()
  await page.keyboard.press('Enter')
  const dialog = page.getByRole('dialog')
  await picture(page, 'saved-work-restore')
  await dialog.getByRole('button', { name: 'Restore' }).focus()
  await page.keyboard.press('Enter')
  await page.getByText('1 file restored').waitFor()
  await dialog.waitFor({ state: 'detached' })
  expect(await inWorkspace('tail -n 1 main.py')).toBe('by hand\n')
  expect(await focused()).toBe('Restore')
  await section.getByText('before a restore').waitFor()
  await section.scrollIntoViewIfNeeded()
  await picture(page, 'saved-work')
  await page.emulateMedia({ colorScheme: 'dark' })
  await picture(page, 'saved-work-dark')
  await page.emulateMedia({ colorScheme: 'light' })
  const [bundle] = await Promise.all([
    page.waitForEvent('download'),
    row.getByRole('button', { name: /^Download/ }).click(),
  ])
  expect(bundle.suggestedFilename()).toMatch(/^bench-hello-\d+T\d+\.\d+Z\.bundle$/)
  expect(readFileSync(await bundle.path(), 'latin1')).toMatch(/^# v\d git bundle\n/)
  // What is wrong is said, and what can be done about it.
  await inWorkspace('git checkout -q main.py')
  const folder = (await inWorkspace('pwd')).trim()
  const rename = (from: string, to: string) => world.roost('exec', 'bench', '-C', '/', '--', 'mv', from, to)
  await rename(folder, `${folder}-away`)
  await row.getByRole('button', { name: /^Restore/ }).click()
  await dialog.getByRole('button', { name: 'Restore' }).click()
  await dialog.getByRole('alert').filter({ hasText: 'clone the repository there' }).waitFor()
  await picture(page, 'saved-work-refused')
  await page.keyboard.press('Escape')
  await rename(`${folder}-away`, folder)
  world.tab.errors.length = 0
})

test('the profile keeps names, tokens and credentials', async () => {
  await page.getByRole('link', { name: 'Ada' }).click()
  await page.getByLabel('Git author name').fill('Countess Ada')
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await page.getByText('Saved. Workspaces use it from their next start on.').waitFor()
  await page.getByPlaceholder('laptop').fill('my laptop')
  await page.getByRole('button', { name: 'Create' }).click()
  await page.getByText('Copy it now').waitFor()
  await page.getByLabel('Server').fill('git.example.com')
  await page.getByLabel('Token or password').fill('secret')
  await page.getByRole('button', { name: 'Add' }).first().click()
  await page.getByText('git.example.com', { exact: true }).waitFor()
  await page.reload()
  await page.getByText('my laptop').waitFor()
  expect(await page.getByText('Copy it now').count()).toBe(0)
  expect(await page.getByLabel('Git author name').inputValue()).toBe('Countess Ada')
  await page.locator('.row', { hasText: 'my laptop' }).getByRole('button', { name: 'Revoke' }).click()
  await page.getByRole('button', { name: 'Remove' }).click()
  await page.getByText('None. Public repositories need none').waitFor()
})

test('every page fits a phone, and each stop of the keyboard is seen', async () => {
  await page.setViewportSize({ width: 390, height: 844 })
  for (const path of ['/', '/settings', '/workspaces/bench', '/new']) {
    await page.goto(`${world.server.origin}${path}`)
    await page.getByRole('heading').first().waitFor()
    expect(await page.evaluate(() => document.documentElement.scrollWidth), path).toBeLessThanOrEqual(390)
  }
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.goto(world.server.origin)
  await page.getByRole('link', { name: 'bench' }).waitFor()
  const stops: string[] = []
  while (stops.at(-1) !== 'Delete' && stops.length < 20) {
    await page.keyboard.press('Tab')
    stops.push(await focused())
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle)
    expect(outline, stops.at(-1) ?? '').not.toBe('none')
  }
  expect(stops).toEqual(expect.arrayContaining(['New workspace', 'bench', 'Open', 'Stop', 'Delete']))
})

test('the explorer makes, renames and deletes, and undoes', async () => {
  await page.getByRole('link', { name: 'Open' }).click()
  await openEditor(page)
  await shell(page, 'git config user.email a@b; mkdir -p src ignored; echo ignored > .gitignore; echo x > src/x')
  await row(page, 'src').click()
  await makeInExplorer(page, 'New File...', 'made.txt')
  // A file that opens takes the focus with it.
  await page.locator('.tab.active', { hasText: 'made.txt' }).waitFor()
  await row(page, 'made.txt').click()
  await page.keyboard.press('F2')
  await nameInExplorer(page, 'named.txt')
  await page.locator('.tab.active', { hasText: 'named.txt' }).waitFor()
  await makeInExplorer(page, 'New Folder...', 'inner')
  await row(page, 'named.txt').click()
  await page.keyboard.press('Delete')
  expect(await dialogBox().textContent()).toContain('restore this file using the Undo command')
  await dialogBox().getByRole('button', { name: 'Delete' }).click()
  await row(page, 'named.txt').waitFor({ state: 'detached' })
  await page.keyboard.press('Control+z')
  await row(page, 'named.txt').waitFor()
  await row(page, 'inner').click()
  await page.keyboard.press('Delete')
  expect(await dialogBox().textContent()).toContain('irreversible')
  await dialogBox().getByRole('button', { name: 'Cancel' }).click()
  expect(await shell(page, 'ls src')).toMatch(/inner\s+named.txt\s+x/)
})

test('files and folders are dropped in, and downloaded as they were', async () => {
  mkdirSync(join(own, 'folder/inner'), { recursive: true })
  writeFileSync(join(own, 'folder/inner/deep.txt'), 'deep')
  const large = Buffer.alloc(10_000_000, 'a text of ten megabytes\n')
  writeFileSync(join(own, 'large.txt'), large)
  const list = await page.locator('.explorer-folders-view .monaco-list').boundingBox()
  if (!list) throw new Error('the explorer is not shown')
  const devtools = await world.tab.context.newCDPSession(page)
  const data = { items: [], files: [join(own, 'folder'), join(own, 'large.txt')], dragOperationsMask: 1 }
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await devtools.send('Input.dispatchDragEvent', { type, x: list.x + 200, y: list.y + list.height - 12, data })
  await until('all of it arrives', 30, async () => {
    const text = await shell(page, 'cat folder/inner/deep.txt; stat -c %s large.txt')
    return /^deep.*10000000/s.test(text)
  })
  const download = async (name: string) => {
    const [got] = await Promise.all([page.waitForEvent('download'), chooseInMenu(page, name, 'Download...')])
    return { name: got.suggestedFilename(), path: await got.path() }
  }
  expect(readFileSync((await download('large.txt')).path).equals(large)).toBe(true)
  const archive = await download('folder')
  expect(archive.name).toBe('folder.tar.gz')
  expect([...readFileSync(archive.path).subarray(0, 2)]).toEqual([0x1f, 0x8b])
})

test('find in files keeps to .gitignore, and replaces', async () => {
  await shell(page, 'echo needle > src/found.txt; echo needle > ignored/not.txt')
  await page.keyboard.press('Control+Shift+f')
  await page.locator('.search-view textarea').first().fill('needle')
  const found = (name: string) => page.locator('.search-view .monaco-list-row', { hasText: name })
  await found('found.txt').waitFor()
  expect(await found('not.txt').count()).toBe(0)
  await page.getByRole('button', { name: 'Toggle Replace' }).click()
  await page.locator('.search-view .replace-input textarea').fill('thread')
  await page.locator('.search-view .replace-input textarea').press('Control+Alt+Enter')
  await dialogBox().getByRole('button', { name: 'Replace' }).click()
  await page.getByText('Replaced 1 occurrence across 1 file').waitFor()
  expect(await shell(page, 'cat src/found.txt ignored/not.txt')).toMatch(/^thread\s+needle/)
  await page.keyboard.press('Control+Shift+e')
})

test('files of many languages are coloured', async () => {
  for (const [name, , text] of LANGUAGES) writeFileSync(join(own, name), text)
  await shell(page, `cp ${own}/a.* .`)
  for (const [name, language] of LANGUAGES) {
    await openFile(page, name)
    await page.getByRole('button', { name: new RegExp(`^(MS )?${language}$`) }).waitFor()
    await until(`${name} is coloured`, 20, async () => {
      const words = await page.locator('.editor-instance .view-line span span').evaluateAll((spans) => {
        return new Set(spans.map((span) => getComputedStyle(span).color)).size
      })
      return words >= 2
    })
  }
  await palette(page, 'View: Close All Editors')
})

test('pictures are shown, binary files are not, ten megabytes are text', async () => {
  await shell(page, `echo ${PIXEL} | base64 -d > dot.png; head -c 5000 /dev/zero > zero.bin`)
  await row(page, 'dot.png').dblclick()
  await page.getByText('1 × 1, 0.1 kB').waitFor()
  expect(await page.locator('.roost-picture img').evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(1)
  await row(page, 'zero.bin').dblclick()
  await page.getByText(/binary or uses an unsupported text encoding/).waitFor()
  await row(page, 'large.txt').dblclick()
  await page.locator('.view-line', { hasText: 'a text of ten megabytes' }).first().waitFor()
  await palette(page, 'View: Close All Editors')
})

test('a file changed outside is shown; one with edits of one’s own is not overwritten in silence', async () => {
  await openFile(page, 'found.txt')
  await shell(page, 'echo outside >> src/found.txt')
  await page.locator('.view-line', { hasText: 'outside' }).waitFor()
  await lines().click()
  await page.keyboard.press('Control+End')
  await page.keyboard.type('mine')
  await page.locator('.tab.active.dirty').waitFor()
  await shell(page, 'echo again >> src/found.txt')
  await lines().click()
  await page.keyboard.press('Control+s')
  await notice('content of the file is newer').waitFor()
  expect(await shell(page, 'cat src/found.txt')).toMatch(/again\s/)
  await page.locator('.view-line', { hasText: 'mine' }).waitFor()
  await palette(page, 'File: Revert File')
  await page.locator('.view-line', { hasText: 'again' }).waitFor()
  await palette(page, 'Notifications: Clear All Notifications')
  // That it was not saved was asked for.
  world.tab.errors.length = 0
})

test('terminals are split, named, copied from, and the same after a reload', async () => {
  await shell(page, 'echo first-$((40+2))')
  await page.keyboard.press('Control+Shift+5')
  await page.locator('.terminal-wrapper.active').nth(1).locator('.xterm-rows', { hasText: '#' }).waitFor()
  await page.keyboard.type('echo second-$((40+2))\n')
  const answer = page.locator('.xterm-rows > div', { hasText: /^second-42/ })
  await answer.dblclick({ position: { x: 10, y: 8 }, force: true })
  await page.keyboard.press('Control+Shift+C')
  await until('it is copied', 10, async () => {
    return (await page.evaluate(() => navigator.clipboard.readText())).includes('second')
  })
  await palette(page, 'Terminal: Rename...')
  await page.getByText('Enter terminal name').waitFor()
  await page.locator('.quick-input-widget input').first().fill('my shell')
  await page.keyboard.press('Enter')
  await page.locator('.terminal-tabs-entry', { hasText: 'my shell' }).waitFor()
  // VS Code tells of a name when it has not changed for half a second.
  await until('the name is kept', 10, () => page.evaluate(() => JSON.stringify(localStorage).includes('my shell')))
  await page.reload()
  await openEditor(page)
  await page.locator('.terminal-tabs-entry', { hasText: 'my shell' }).waitFor()
  for (const text of ['first-42', 'second-42']) await terminalShows(page, text)
})

test('a server that starts is offered, and the link that it prints is the workspace’s', async () => {
  await palette(page, 'Terminal: Create New Terminal')
  await page.locator('.terminal-wrapper.active .xterm-rows', { hasText: '#' }).waitFor()
  const port = 20_000 + (process.pid % 20_000)
  await page.keyboard.type(`clear; python3 -m http.server ${port}\n`)
  await notice(String(port)).getByRole('button', { name: 'Copy Address' }).click()
  const address = await page.evaluate(() => navigator.clipboard.readText())
  expect(address).toContain(`://${port}--bench.localhost`)
  const link = page.locator('.terminal-wrapper.active .xterm-rows > div', { hasText: `http://0.0.0.0:${port}` }).first()
  const preview = await until('the link opens', 20, async () => {
    // A link is one once it was looked at for a moment.
    await link.hover({ position: { x: 340, y: 8 }, force: true })
    const opened = world.tab.context.waitForEvent('page', { timeout: 1_000 })
    await link.click({ position: { x: 350, y: 8 }, modifiers: ['Control'], force: true })
    return opened
  })
  await preview.getByText('Served from the workspace').waitFor()
  expect(preview.url()).toBe(`${address}/`)
  await preview.close()
  await page.getByRole('tab', { name: /^Ports/ }).click()
  await page.getByText(`python3  ${address}`).waitFor()
  await page.getByRole('tab', { name: /^Terminal/ }).click()
  await page.locator('.terminal-wrapper.active .xterm').first().click()
  await page.keyboard.press('Control+c')
})

test('settings and keys are the same in another browser', async () => {
  const write = async (command: string, file: string, text: string) => {
    await palette(page, command)
    await page.locator('.tab.active', { hasText: file }).waitFor()
    await lines().click()
    await page.keyboard.press('Control+a')
    await page.keyboard.insertText(text)
    await save(page)
  }
  const look = { 'workbench.colorTheme': 'Dark Modern', 'window.autoDetectColorScheme': false }
  await write('Preferences: Open User Settings (JSON)', 'settings.json', JSON.stringify(look))
  await page.locator('.monaco-workbench.vs-dark').waitFor()
  const key = { key: 'ctrl+alt+y', command: 'workbench.action.files.newUntitledFile' }
  await write('Preferences: Open Keyboard Shortcuts (JSON)', 'keybindings.json', JSON.stringify([key]))
  await palette(page, 'View: Close All Editors')
  const other = await world.tab.browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' })
  const fresh = await other.newPage()
  await fresh.goto(`${world.server.origin}/open/bench`)
  await fresh.getByLabel('E-mail address').fill(EMAIL)
  await fresh.getByLabel('Password').fill(PASSWORD)
  await fresh.getByRole('button', { name: 'Sign in' }).click()
  await openEditor(fresh)
  await fresh.locator('.monaco-workbench.vs-dark').waitFor()
  await fresh.keyboard.press('Control+Alt+y')
  await fresh.locator('.tab.active', { hasText: 'Untitled-1' }).waitFor()
  await other.close()
})

test('an ordinary session has no error, and asks no stranger', () => {
  const host = new URL(world.server.origin).host
  expect([...world.tab.origins].filter((origin) => origin !== host && !origin.endsWith(`.${host}`))).toEqual([])
  // A page asks who is signed in before anybody is, and a browser asks every server for its icon. An editor whose text
  // became shorter may ask for a line that was there: the workbench's own (microsoft/vscode#172784), and nothing is lost.
  const expected = /^(401 \/api\/v1\/me$|404 \/favicon.ico$|thrown: \w+: Illegal value for lineNumber\b)/
  expect(world.tab.errors.filter((error) => !expected.test(error))).toEqual([])
})

test('a server that is gone is said calmly; what was typed arrives, and a newer front end is offered', async () => {
  const dashboard = await world.tab.context.newPage()
  await dashboard.goto(world.server.origin)
  await dashboard.getByRole('link', { name: 'bench' }).waitFor()
  await openFile(page, 'found.txt')
  await page.keyboard.press('Control+End')
  await world.server.kill()
  await page.getByText('Reconnecting…').waitFor()
  await dashboard.getByText('Reconnecting…').waitFor()
  await page.keyboard.type('typed meanwhile')
  await page.keyboard.press('Control+s')
  await page.locator('.terminal-wrapper.active .xterm').first().click()
  await page.keyboard.type('echo still-$((40+2))\n')

  const web = join(own, 'web')
  cpSync(process.env.ROOST_WEB as string, web, { recursive: true })
  for (const html of ['index.html', 'workbench.html']) rename(web, html)
  await world.server.again(web)
  await page.getByText('Reconnecting…').waitFor({ state: 'detached' })
  await page.locator('.xterm-rows', { hasText: 'still-42' }).waitFor()
  await page.locator('.tab.active:not(.dirty)').waitFor()
  expect(await shell(page, 'cat src/found.txt')).toContain('typed meanwhile')
  await dashboard.getByText('Roost was updated').waitFor()
  await dashboard.close()
  await notice('Roost was updated').getByRole('button', { name: 'Reload' }).click()
  await page.locator('script[src*="-later.js"]').waitFor({ state: 'attached' })
  await openEditor(page)
})

test('a workspace that was stopped under an open editor is started from there', async () => {
  await world.roost('stop', 'bench')
  await page.getByRole('heading', { name: 'bench is stopped' }).waitFor()
  await page.getByRole('button', { name: 'Start' }).click()
  await page.locator('#curtain').waitFor({ state: 'hidden' })
  await row(page, 'README.md').waitFor()
  expect(await shell(page, 'cat src/found.txt')).toContain('typed meanwhile')
})

test('a deletion says first what it would lose', async () => {
  await page.goto(`${world.server.origin}/workspaces/bench`)
  await page.getByRole('button', { name: 'Delete' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText(/uncommitted files/).waitFor()
  await page.keyboard.press('Escape')
  await page.locator('dialog').waitFor({ state: 'detached' })
  expect(await focused()).toBe('Delete')
  await page.keyboard.press('Enter')
  await dialog.getByRole('button', { name: 'Delete and lose this work' }).click()
  await page.getByText('Nothing here yet').waitFor()
})

// A later build of a page: its entry has another name, as all that changes has.
function rename(web: string, html: string) {
  const file = join(web, html)
  const text = readFileSync(file, 'utf8')
  const entry = /<script type="module"[^>]* src="\/assets\/([^"]+)\.js"/.exec(text)?.[1] as string
  writeFileSync(join(web, 'assets', `${entry}-later.js`), `import './${entry}.js'\n`)
  writeFileSync(file, text.replace(`src="/assets/${entry}.js"`, `src="/assets/${entry}-later.js"`))
  rmSync(`${file}.br`, { force: true })
}
