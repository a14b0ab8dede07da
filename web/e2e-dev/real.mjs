// The editor on a real server that `roost up` printed a welcome link for: node e2e-dev/real.mjs LINK [PICTURES]
// With ROOST_RESTART, a command that kills that server and starts it again, that is tried as well.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const [link, pictures = 'reports'] = process.argv.slice(2)
mkdirSync(pictures, { recursive: true })
const { origin } = new URL(link)
const { host } = new URL(origin)
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update'],
})
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'dark' })
const page = await context.newPage()
page.setDefaultTimeout(60_000)
const strangers = new Set()
context.on('request', (request) => {
  const url = new URL(request.url())
  if (/^(http|ws)/.test(url.protocol) && url.host !== host && !url.host.endsWith(`.${host}`))
    strangers.add(request.url())
})
page.on('console', (message) => message.type() === 'error' && console.log('console:', message.text().slice(0, 300)))
page.on('pageerror', (error) => console.log('page error:', String(error.stack).slice(0, 400)))
const picture = (name) => page.screenshot({ path: join(pictures, `real-${name}.png`) })
const started = () => page.waitForFunction(() => performance.getEntriesByName('roost:started').length > 0)
const rows = () => page.locator('.terminal-wrapper .xterm-rows').allInnerTexts()
const seen = async (text) => {
  for (let tries = 0; tries < 200; tries++) {
    if ((await rows()).some((each) => each.replaceAll('\u00a0', ' ').includes(text))) return
    await page.waitForTimeout(100)
  }
  throw new Error(`the terminals never showed ${text}: ${JSON.stringify(await rows())}`)
}

// VS Code takes a click that comes right after a menu opened for the one that opened it.
const chooseDownload = async () => {
  const entry = page.locator('.monaco-menu', { hasText: 'Download...' }).getByText('Download...')
  await entry.hover()
  await page.waitForTimeout(500)
  await entry.click()
}

const steps = {
  async 'become the administrator'() {
    await page.goto(link)
    await page.getByLabel('E-mail address').fill('ada@example.com')
    await page.getByLabel('Name').fill('Ada')
    await page.getByLabel('Password').fill('correct horse battery')
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('heading', { name: 'Workspaces' }).waitFor()
  },
  async 'make an empty workspace'() {
    const answer = await page.evaluate(async () => {
      const response = await fetch('/api/v1/workspaces?wait=ready', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Roost': '1' },
        body: JSON.stringify({ name: 'trial' }),
      })
      return `${response.status} ${await response.text()}`
    })
    console.log(answer.slice(0, 300))
  },
  async 'the editor opens'() {
    await page.goto(`${origin}/open/trial`)
    await started()
    await page.waitForTimeout(1000)
    await picture('open')
  },
  async 'a terminal answers'() {
    await page.keyboard.press('Control+Backquote')
    await page.locator('.terminal-wrapper.active').waitFor()
    await page.waitForTimeout(1500)
    await page.keyboard.type(
      'mkdir -p src && printf "def hello():\\n    return 1\\n" > src/app.py && seq 3 && echo do""ne\r',
      { delay: 5 },
    )
    await seen('done')
    await picture('terminal')
  },
  async 'the new file opens, is edited and saved'() {
    await page.keyboard.press('Control+p')
    await page.locator('.quick-input-widget input').fill('app.py')
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'app.py' }).first().waitFor()
    await page.keyboard.press('Enter')
    await page.locator('.editor-instance .view-line', { hasText: 'hello' }).waitFor()
    await page.locator('.editor-instance .view-lines').click()
    await page.keyboard.press('Control+End')
    await page.keyboard.type('needle = 42\n')
    await page.keyboard.press('Control+s')
    await page.locator('.tab.active:not(.dirty)').waitFor()
    await page.locator('.terminal-wrapper.active').click()
    await page.keyboard.type('grep -c needle src/app.py | sed s/1/saved-one/\r', { delay: 5 })
    await seen('saved-one')
  },
  async 'a change from the shell is shown'() {
    await page.keyboard.type('echo "shell = 1" >> src/app.py\r', { delay: 5 })
    await page.locator('.editor-instance .view-line', { hasText: 'shell' }).waitFor()
  },
  async 'find in files'() {
    await page.keyboard.press('Control+Shift+f')
    await page.locator('.search-view textarea').first().fill('needle')
    await page.keyboard.press('Enter')
    await page.locator('.search-view .monaco-list-row', { hasText: 'app.py' }).waitFor()
    await picture('search')
  },
  async 'a reload finds the terminal again'() {
    await page.locator('.terminal-wrapper.active').click()
    await page.keyboard.type('export KEPT=yes-$((40+2)); clear; echo before-reload\r', { delay: 5 })
    await seen('before-reload')
    await page.reload()
    await started()
    await page.locator('.terminal-wrapper.active').waitFor()
    await seen('before-reload')
    await page.locator('.terminal-wrapper.active').click()
    await page.keyboard.type('echo $KEPT\r', { delay: 5 })
    await seen('yes-42')
    await picture('reloaded')
  },
  async 'unsaved text survives a reload'() {
    await page.locator('.tab', { hasText: 'app.py' }).click()
    await page.locator('.editor-instance .view-lines').click()
    await page.keyboard.press('Control+End')
    await page.keyboard.type('unsaved = 7')
    await page.locator('.tab.active.dirty').waitFor()
    await page.waitForTimeout(1500)
    page.once('dialog', (dialog) => dialog.accept())
    await page.reload()
    await started()
    await page.locator('.editor-instance .view-line', { hasText: 'unsaved' }).waitFor()
    await page.locator('.tab.active.dirty').waitFor()
    await page.locator('.editor-instance .view-lines').click()
    await page.keyboard.press('Control+s')
    await page.locator('.tab.active:not(.dirty)').waitFor()
  },
  async 'a large file goes up and comes down whole'() {
    const folder = mkdtempSync(join(tmpdir(), 'roost-upload-'))
    const path = join(folder, 'large.bin')
    // Zeros at the start: the editor opens what is uploaded, and must see that it is no text.
    const content = randomBytes(30_000_000).fill(0, 0, 512)
    writeFileSync(path, content)
    await page.keyboard.press('Control+Shift+e')
    const box = await page.locator('.explorer-folders-view .monaco-list').boundingBox()
    const devtools = await context.newCDPSession(page)
    const data = { items: [], files: [path], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop']) {
      await devtools.send('Input.dispatchDragEvent', { type, x: box.x + 200, y: box.y + box.height - 30, data })
    }
    const row = page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'large.bin' })
    await row.waitFor()
    await page.waitForTimeout(3000)
    await row.click({ button: 'right' })
    const download = page.waitForEvent('download')
    await chooseDownload()
    assert.ok(readFileSync(await (await download).path()).equals(content))
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'src' }).click({ button: 'right' })
    const archive = page.waitForEvent('download')
    await chooseDownload()
    const packed = await (await archive).path()
    assert.match(execFileSync('tar', ['tzf', packed], { encoding: 'utf8' }), /app\.py/)
    await page.locator('.terminal-wrapper.active').click()
  },
  async 'a port is news, and its preview opens'() {
    await page.keyboard.type('python3 -m http.server 8123\r', { delay: 5 })
    const notice = page.locator('.notification-list-item', { hasText: '8123' })
    await notice.waitFor()
    await picture('port')
    const [preview] = await Promise.all([
      context.waitForEvent('page'),
      notice.getByRole('button', { name: 'Open' }).click(),
    ])
    await preview.waitForLoadState()
    console.log('preview', preview.url(), (await preview.title()) || (await preview.textContent('body')).slice(0, 80))
    await preview.close()
    await page.locator('.terminal-wrapper.active').click()
    await page.keyboard.press('Control+c')
  },
  async 'a killed server is only a pause'() {
    // A command that kills the server and starts it again on the same data.
    const restart = process.env.ROOST_RESTART
    if (!restart) return
    await page.keyboard.type('clear; echo before-$((40+3))\r', { delay: 5 })
    await seen('before-43')
    execFileSync('bash', ['-c', restart])
    await page.keyboard.type('echo after-$((40+4))\r', { delay: 5 })
    await seen('after-44')
    await seen('before-43')
  },
  async 'settings are kept by the server'() {
    await page.keyboard.press('F1')
    await page.locator('.quick-input-widget input').fill('>Preferences: Open User Settings (JSON)')
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'User Settings (JSON)' }).first().waitFor()
    await page.keyboard.press('Enter')
    await page.locator('.tab.active', { hasText: 'settings.json' }).waitFor()
    await page.locator('.editor-instance .view-lines').first().click()
    await page.keyboard.press('Control+a')
    await page.keyboard.type('{"window.autoDetectColorScheme": false, "workbench.colorTheme": "Light Modern"')
    await page.keyboard.press('Control+s')
    await page.locator('.monaco-workbench.vs').waitFor()
    await page.waitForTimeout(1000)
    const stored = await page.evaluate(async () => (await fetch(`${location.pathname}settings/settings`)).text())
    console.log('settings:', stored.slice(0, 200))
    await picture('themed')
  },
}

let failed = 0
for (const [name, step] of Object.entries(steps)) {
  try {
    await step()
    console.log(`ok   ${name}`)
  } catch (error) {
    failed += 1
    console.log(`FAIL ${name}: ${String(error.message).slice(0, 500)}`)
    await picture(`failed-${failed}`)
  }
}
await browser.close()
if (strangers.size > 0) console.log('asked of other hosts:', [...strangers])
console.log(`${Object.keys(steps).length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 || strangers.size > 0 ? 1 : 0
