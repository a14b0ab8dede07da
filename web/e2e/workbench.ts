// What a person does in VS Code, by what they see.
import type { Page } from 'playwright-core'
import { until } from './deadline'

// Waits until all of the editor is there: before that, a file that opens late takes the focus from what was typed into.
export async function openEditor(page: Page) {
  const started = () => performance.getEntriesByName('roost:started').length > 0
  await page.waitForFunction(started, undefined, { timeout: 120_000 })
}

// Opens a file by its name with quick open.
export async function openFile(page: Page, name: string) {
  const input = page.locator('.quick-input-widget input')
  await until(`quick open finds ${name}`, 60, async () => {
    // The services behind it may still be on their way when the page has just been loaded.
    await page.keyboard.press('Escape')
    await page.keyboard.press('Control+p')
    await input.waitFor({ timeout: 5_000 })
    await page.keyboard.type(name)
    const row = page.locator('.quick-input-list .monaco-list-row', { hasText: name }).first()
    // Not with Enter: what is first in the list may have changed when it arrives.
    return row.click({ timeout: 5_000 }).then(() => true)
  })
  await page.locator('.tab.active', { hasText: name }).waitFor({ timeout: 30_000 })
  await page.locator('.editor-instance .view-line').first().waitFor({ timeout: 30_000 })
  await page.locator('.editor-instance .view-lines').first().click()
}

export async function save(page: Page) {
  await page.keyboard.press('Control+s')
  await page.locator('.tab.active:not(.dirty)').waitFor({ timeout: 30_000 })
}

// Types a command into the terminal, opening one when there is none.
export async function runInTerminal(page: Page, command: string) {
  const terminal = page.locator('.terminal-wrapper.active')
  if ((await terminal.count()) === 0) {
    await page.keyboard.press('Control+`')
    await terminal.waitFor({ timeout: 30_000 })
    await until('the prompt', 60, async () => /[$#]\s*$/.test((await terminalText(page)).trimEnd()))
  }
  await terminal.click()
  await page.keyboard.type(`${command}\n`)
}

// What the terminal shows.
export async function terminalText(page: Page): Promise<string> {
  const rows = await page.locator('.terminal-wrapper.active .xterm-rows > div').allTextContents()
  return rows.map((row) => row.replaceAll('\u00a0', ' ').trimEnd()).join('\n')
}

// Waits until a terminal that is in sight shows `text`; the error tells what there is instead.
export async function terminalShows(page: Page, text: string): Promise<void> {
  const inSight = page.locator('.xterm-rows:visible')
  await until(`a terminal shows ${text}`, 30, async () => {
    return (await inSight.allTextContents()).some((rows) => rows.includes(text))
  }).catch(async (error: Error) => {
    const tabs = await page.locator('.terminal-tabs-entry').allTextContents()
    throw new Error(
      `${error.message}; tabs ${JSON.stringify(tabs)}, in sight ${JSON.stringify(await inSight.allTextContents())}`,
    )
  })
}
