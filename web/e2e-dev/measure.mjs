// How long until coloured text and until a key is on the screen: node e2e-dev/measure.mjs [RUNS]
import { resolve } from 'node:path'
import { chromium } from 'playwright-core'
import { serve } from './serve.mjs'

const runs = Number(process.argv[2] ?? 5)
const server = await serve(resolve('dist-fake'))
const url = `http://localhost:${server.address().port}/w/fake/?file=/workspaces/demo/main.py`
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update'],
})

// Notes the moment at which the first coloured token is in the page, seen at the next frame.
const watch = () => {
  const look = () => {
    if (document.querySelectorAll('.view-line span[class*="mtk"]:not(.mtk1)').length > 0) performance.mark('coloured')
    else requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
}

async function load(page) {
  await page.goto(url, { waitUntil: 'commit' })
  await page.waitForFunction(() => performance.getEntriesByName('coloured').length > 0, undefined, { timeout: 60_000 })
  return page.evaluate(() =>
    Object.fromEntries(
      performance
        .getEntriesByType('mark')
        .filter(({ name }) => name === 'coloured' || name.startsWith('roost:'))
        .map(({ name, startTime }) => [name.replace('roost:', ''), Math.round(startTime)]),
    ),
  )
}

async function typing(page) {
  await page.click('.view-lines')
  const times = []
  for (let index = 0; index < 60; index++) {
    times.push(await keyToPaint(page))
  }
  return times.sort((a, b) => a - b)
}

async function keyToPaint(page) {
  await page.evaluate(() => {
    window.painted = new Promise((done) => {
      addEventListener(
        'keydown',
        (event) => {
          requestAnimationFrame(() => {
            const channel = new MessageChannel()
            channel.port1.onmessage = () => done(performance.now() - event.timeStamp)
            channel.port2.postMessage(undefined)
          })
        },
        { once: true, capture: true },
      )
    })
  })
  await page.keyboard.press('x')
  return page.evaluate(() => window.painted)
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]
const print = (title, rows) => {
  const names = Object.keys(rows[0])
  console.log(
    title,
    names.map((name) => `${name} ${median(rows.map((row) => row[name]))}`).join('  '),
    '| coloured:',
    rows.map((row) => row.coloured).join(' '),
  )
}

try {
  const cold = []
  for (let run = 0; run < runs; run++) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
    await context.addInitScript(watch)
    cold.push(await load(await context.newPage()))
    await context.close()
  }
  print('cold', cold)
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  await context.addInitScript(watch)
  const page = await context.newPage()
  await load(page)
  await page.waitForTimeout(3000)
  const warm = []
  for (let run = 0; run < runs; run++) {
    warm.push(await load(page))
    await page.waitForTimeout(1500)
  }
  print('warm', warm)
  const times = await typing(page)
  console.log(
    'key to paint p50',
    Math.round(times[times.length >> 1]),
    'p95',
    Math.round(times[Math.floor(times.length * 0.95)]),
  )
} finally {
  await browser.close()
  server.close()
}
