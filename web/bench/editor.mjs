// One round with one editor in a fresh profile: opened cold, opened warm, typed in.
import { setTimeout as pause } from 'node:timers/promises'
import { inProfile } from './browser.mjs'
import { watchKeys, watchOpening } from './watch.mjs'

const LINES = '.editor-instance .view-lines'
/** How long the page is left alone before the next thing is measured, in milliseconds. */
const SETTLE = 4000
/** Between two keys, as a quick typist's are apart, in milliseconds. */
const PACE = 90
/** Typed again and again; ends of line are not in it, since they also answer suggestions. */
const TEXT = ' const total = count + size * 2;'

export const round = (editor, needle, keys) =>
  inProfile(editor.cookies, async (profile) => {
    // What the browser does when it has just been started is neither editor's.
    await pause(SETTLE)
    const cold = await open(profile, editor, needle)
    const warm = await open(profile, editor, needle)
    const times = await type(warm.page, keys)
    return { cold: cold.marks, warm: warm.marks, keys: times }
  })

/** Navigates, waits for colours, types one character and takes it back. */
async function open({ context }, editor, needle) {
  for (const old of context.pages().slice(0, -1)) await old.close()
  const page = await context.newPage()
  await page.addInitScript(watchOpening, needle)
  await page.goto(editor.url, { waitUntil: 'commit' })
  await marked(page, 'coloured')
  const { x, y, width } = await page.evaluate(
    (lines) => document.querySelector(lines).getBoundingClientRect().toJSON(),
    LINES,
  )
  const typed = marked(page, 'typed')
  let done = false
  void typed.then(() => (done = true))
  // Until the editor listens keys go nowhere; whoever waits for it tries again.
  while (!done) {
    await page.mouse.click(x + width / 2, y + 100)
    await page.keyboard.press('Z')
    await Promise.race([typed, pause(100)])
  }
  const marks = await page.evaluate(() => ({
    coloured: performance.getEntriesByName('coloured')[0].startTime,
    typed: performance.getEntriesByName('typed')[0].startTime,
    steps: Object.fromEntries(
      performance
        .getEntriesByType('mark')
        .filter(({ name }) => name.startsWith('roost:'))
        .map(({ name, startTime }) => [name.slice(6), Math.round(startTime)]),
    ),
  }))
  await pause(SETTLE)
  await page.keyboard.press('Control+z')
  await pause(SETTLE)
  return { page, marks }
}

const marked = (page, name) =>
  page.waitForFunction((name) => performance.getEntriesByName(name).length > 0, name, { timeout: 120_000 })

async function type(page, keys) {
  const { x, y, width } = await page.locator(LINES).first().boundingBox()
  await page.mouse.click(x + width / 2, y + 100)
  await page.keyboard.press('End')
  await pause(500)
  await page.evaluate(watchKeys, LINES)
  for (let key = 0; key < keys; key++) {
    await page.keyboard.press(TEXT[key % TEXT.length])
    await pause(PACE)
  }
  await pause(500)
  const times = await page.evaluate(() => window.keyTimes)
  if (times.length < keys * 0.95) throw new Error(`of ${keys} keys ${times.length} were seen on the screen`)
  return times
}
