// The editor on the fake guest, used as a person uses it: node e2e-dev/check.mjs [PICTURES]
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { chromium } from 'playwright-core'
import { serve } from './serve.mjs'

const pictures = process.argv[2] ?? 'reports'
mkdirSync(pictures, { recursive: true })
const server = await serve(resolve('dist-fake'))
const origin = `http://localhost:${server.address().port}`
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update'],
})
const problems = []
const strangers = new Set()

async function openEditor(context, path = '?file=/workspaces/demo/main.py') {
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  page.on('request', (request) => {
    const url = new URL(request.url())
    if (url.protocol.startsWith('http') && url.origin !== origin) strangers.add(request.url())
  })
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text().slice(0, 300)))
  page.on('pageerror', (error) => !/Canceled/.test(String(error)) && problems.push(String(error.stack).slice(0, 500)))
  await page.goto(`${origin}/w/fake/${path}`)
  await page.waitForFunction(() => performance.getEntriesByName('roost:started').length > 0)
  return page
}

const file = (page, path) => page.evaluate((name) => new TextDecoder().decode(window.fakeGuest.files.read(name)), path)

async function palette(page, command) {
  await page.keyboard.press('F1')
  await page.waitForSelector('.quick-input-widget input')
  await page.keyboard.type(command)
  await page.waitForSelector(`.quick-input-list .monaco-list-row >> text=${command}`)
  await page.keyboard.press('Enter')
}

const steps = {
  async 'edit and save'(page) {
    await page.click('.view-lines')
    await page.keyboard.press('Control+Home')
    await page.keyboard.type('# typed\n')
    await page.keyboard.press('Control+s')
    await page.waitForFunction(() =>
      new TextDecoder().decode(window.fakeGuest.files.read('/workspaces/demo/main.py')).startsWith('# typed'),
    )
    await page.waitForSelector('.tab.active:not(.dirty)')
  },
  async 'a change from outside is shown'(page) {
    await page.evaluate(() =>
      window.fakeGuest.files.write('/workspaces/demo/main.py', new TextEncoder().encode('outside = 1\n')),
    )
    await page.waitForFunction(() => document.querySelector('.view-lines')?.textContent?.includes('outside'))
  },
  async 'a new file appears in the explorer'(page) {
    await page.evaluate(() =>
      window.fakeGuest.files.write('/workspaces/demo/appeared.txt', new TextEncoder().encode('x')),
    )
    await page.waitForSelector('.explorer-folders-view >> text=appeared.txt')
  },
  async 'quick open'(page) {
    await page.keyboard.press('Control+p')
    await page.waitForSelector('.quick-input-widget input')
    await page.keyboard.type('lib')
    await page.waitForSelector('.quick-input-list .monaco-list-row >> text=lib.rs')
    await page.keyboard.press('Enter')
    await page.waitForSelector('.tabs-container >> text=lib.rs')
  },
  async 'find in files'(page) {
    await page.keyboard.press('Control+Shift+f')
    await page.waitForSelector('.search-view textarea')
    await page.keyboard.type('greeting')
    await page.keyboard.press('Enter')
    await page.waitForSelector('.search-view .monaco-list-row >> text=index.ts')
    await page.screenshot({ path: join(pictures, 'search.png') })
  },
  async 'terminals: two, split, echo'(page) {
    await palette(page, 'Terminal: Create New Terminal')
    await page.waitForSelector('.terminal-wrapper .xterm-screen')
    await page.waitForFunction(() => window.fakeGuest.terminals.size === 1)
    await page.keyboard.type('echo first\r', { delay: 15 })
    await page.waitForFunction(() =>
      new TextDecoder().decode([...window.fakeGuest.terminals.values()][0].output).includes('\nfirst'),
    )
    await palette(page, 'Terminal: Split Terminal')
    await page.waitForFunction(() => window.fakeGuest.terminals.size === 2)
    await page.keyboard.type('echo second\r', { delay: 15 })
    await page.waitForFunction(() =>
      new TextDecoder().decode([...window.fakeGuest.terminals.values()][1].output).includes('\nsecond'),
    )
  },
  async 'a lost connection comes back'(page) {
    await page.evaluate(() => {
      window.fakeGuest.drop()
      ;[...window.fakeGuest.terminals.values()][1].print('while away\r\n')
    })
    await page.waitForFunction(() => [...window.fakeGuest.terminals.values()][1].attached.size === 1)
    await page.keyboard.type('echo back\r', { delay: 15 })
    await page.waitForFunction(() =>
      new TextDecoder().decode([...window.fakeGuest.terminals.values()][1].output).includes('\nback'),
    )
    await page.screenshot({ path: join(pictures, 'terminals.png') })
  },
  async 'ports: notification and view'(page) {
    await page.evaluate(() => window.fakeGuest.listen({ port: 8000, process: 'python3' }))
    await page.waitForSelector('.notifications-toasts >> text=Port 8000')
    await page.click('.panel .composite-bar >> text=Ports')
    await page.waitForSelector('.pane-body .monaco-list-row >> text=8000--fake')
    await page.screenshot({ path: join(pictures, 'ports.png') })
  },
  async 'settings are stored by the server'(page) {
    await palette(page, 'Preferences: Open User Settings (JSON)')
    await page.waitForSelector('.tabs-container >> text=settings.json')
    await page.click('.editor-instance .view-lines')
    await page.keyboard.press('Control+a')
    await page.keyboard.type('{"editor.fontSize": 20')
    await page.keyboard.press('Control+s')
    await page.waitForFunction(() => localStorage.getItem('fake.settings')?.includes('20'))
  },
  async 'a folder is downloaded'(page) {
    await page.keyboard.press('Control+Shift+e')
    await page.click('.explorer-folders-view >> text=web', { button: 'right' })
    const download = page.waitForEvent('download')
    // VS Code takes a click that comes right after a menu opened for the one that opened it.
    await page.hover('.monaco-menu >> text=Download...')
    await page.waitForTimeout(500)
    await page.click('.monaco-menu >> text=Download...')
    const got = await download
    assert.equal(got.suggestedFilename(), 'web.tar.gz')
    assert.equal(readFileSync(await got.path(), 'utf8'), 'archive of /workspaces/demo/web')
  },
  async 'a dropped file is uploaded'(page) {
    const folder = mkdtempSync(join(tmpdir(), 'roost-drop-'))
    const path = join(folder, 'dropped.txt')
    writeFileSync(path, 'from outside')
    const box = await page.locator('.explorer-folders-view .monaco-list').boundingBox()
    const devtools = await page.context().newCDPSession(page)
    const data = { items: [], files: [path], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop']) {
      await devtools.send('Input.dispatchDragEvent', {
        type,
        x: box.x + box.width - 40,
        y: box.y + box.height - 40,
        data,
      })
    }
    await page.waitForFunction(() => window.fakeGuest.files.paths.includes('/workspaces/demo/dropped.txt'))
    assert.equal(await file(page, '/workspaces/demo/dropped.txt'), 'from outside')
  },
  async 'a stopped workspace says so and starts again'(page) {
    await palette(page, 'Roost: Stop Workspace')
    await page.click('.monaco-dialog-box >> text=Cancel')
    await page.evaluate(() => {
      window.fakeGuest.refusal = { code: 4409, reason: 'It was stopped by its owner.' }
      window.fakeGuest.drop(4409, 'It was stopped by its owner.')
    })
    await page.waitForSelector('#curtain:not([hidden]) >> text=demo is stopped')
    await page.screenshot({ path: join(pictures, 'stopped.png') })
    await page.click('#curtain >> text=Start')
    await page.waitForSelector('#curtain[hidden]', { state: 'attached' })
  },
}

let failed = 0
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'light' })
  const page = await openEditor(context)
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step(page)
      console.log(`ok   ${name}`)
    } catch (error) {
      failed += 1
      console.log(`FAIL ${name}: ${String(error.message).slice(0, 400)}`)
      await page.screenshot({ path: join(pictures, `failed-${failed}.png`) })
      await page.keyboard.press('Escape')
    }
  }
  await page.screenshot({ path: join(pictures, 'light.png') })
} finally {
  await browser.close()
  server.close()
}
for (const problem of new Set(problems)) console.log('problem:', problem)
assert.deepEqual([...strangers], [], 'requests to other hosts')
console.log(`${Object.keys(steps).length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
