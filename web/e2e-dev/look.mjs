// Opens the editor on the fake guest and takes pictures: node e2e-dev/look.mjs OUT [light]
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { chromium } from 'playwright-core'
import { serve } from './serve.mjs'

const [out = 'reports', scheme = 'dark'] = process.argv.slice(2)
mkdirSync(out, { recursive: true })
const server = await serve(resolve('dist-fake'))
const origin = `http://localhost:${server.address().port}`
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update'],
})
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: scheme })
  const page = await context.newPage()
  const strangers = new Set()
  page.on('request', (request) => {
    const { host, protocol } = new URL(request.url())
    if (protocol.startsWith('http') && `http://${host}` !== origin) strangers.add(request.url())
  })
  page.on(
    'console',
    (message) =>
      ['error', 'warning'].includes(message.type()) &&
      console.log(`console ${message.type()}: ${message.text().slice(0, 400)}`),
  )
  page.on('pageerror', (error) => console.log(`page error: ${String(error.stack).slice(0, 600)}`))
  const picture = (name) => page.screenshot({ path: join(out, `${name}.png`) })

  await page.goto(`${origin}/w/fake/?file=/workspaces/demo/main.py`)
  await page.waitForSelector('.view-line span.mtk5, .view-line span[class*=mtk]', { timeout: 60_000 })
  await page.waitForFunction(() => performance.getEntriesByName('roost:started').length > 0, undefined, {
    timeout: 60_000,
  })
  const marks = await page.evaluate(() =>
    performance
      .getEntriesByType('mark')
      .filter((mark) => mark.name.startsWith('roost:'))
      .map((mark) => `${mark.name} ${Math.round(mark.startTime)}`),
  )
  console.log(marks.join('\n'))
  await page.waitForTimeout(1500)
  await picture('editor')
  await page.keyboard.press('Control+Backquote')
  await page.waitForSelector('.terminal-wrapper .xterm-screen', { timeout: 20_000 })
  await page.waitForTimeout(1500)
  await page.keyboard.type('echo hello\rserve 8000\r', { delay: 20 })
  await page.waitForTimeout(1500)
  await picture('terminal')
  if (strangers.size > 0) console.log('asked of other hosts:', [...strangers])
} finally {
  await browser.close()
  server.close()
}
