// How long a key takes until the terminal shows it, in Roost's editor: node bench/terminal.mjs [KEYS]
// Prints one JSON object: a list of rows with samples in milliseconds.
import { setTimeout as pause } from 'node:timers/promises'
import { inProfile } from './browser.mjs'
import { makeRepository } from './repository.mjs'
import { startRoost } from './roost.mjs'
import { watchKeys } from './watch.mjs'

const keys = Number(process.argv[2] ?? 200)
const ROWS = '.terminal-wrapper.active .xterm-rows'
/** Between two keys, as a quick typist's are apart, in milliseconds. */
const PACE = 90

const repository = makeRepository()
const closing = [repository]
try {
  const roost = await startRoost(repository.folder)
  closing.push(roost)
  const times = await inProfile(roost.cookies, ({ page }) => echo(page, roost.url))
  console.log(
    JSON.stringify({
      accelerator: roost.accelerator,
      unit: 'ms',
      rows: [{ name: 'key to terminal cell', ours: times }],
    }),
  )
} finally {
  for (const each of closing.reverse()) await each.close()
}

async function echo(page, url) {
  await page.goto(url)
  await page.locator('.editor-instance .view-line').first().waitFor({ timeout: 60_000 })
  await page.waitForFunction(() => performance.getEntriesByName('roost:started').length > 0)
  await page.keyboard.press('Control+Backquote')
  await page.locator(ROWS).waitFor({ timeout: 60_000 })
  await page.waitForFunction((rows) => /[$#]/.test(document.querySelector(rows).textContent), ROWS)
  // A program that only echoes: no shell that redraws its line.
  await page.keyboard.type('clear; exec cat\r')
  await page.waitForFunction((rows) => !/[$#]/.test(document.querySelector(rows).textContent), ROWS)
  await pause(1000)
  await page.evaluate(watchKeys, ROWS)
  for (let key = 0; key < keys; key++) {
    await page.keyboard.press('abcdefghijklmnopqrstuvwxyz'[key % 26])
    await pause(PACE)
  }
  await pause(500)
  const times = await page.evaluate(() => window.keyTimes)
  if (times.length < keys * 0.95) throw new Error(`of ${keys} keys ${times.length} were seen on the screen`)
  return times
}
