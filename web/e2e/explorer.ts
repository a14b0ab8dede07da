// More of what a person does in VS Code: the palette, the explorer, a shell whose answer is waited for.
import type { Page } from 'playwright-core'
import { until } from './deadline'
import { runInTerminal, terminalText } from './workbench'

// Tells a command by its whole name in the palette.
export async function palette(page: Page, command: string) {
  await page.keyboard.press('F1')
  await page.locator('.quick-input-widget input').first().fill(`>${command}`)
  const row = page
    .locator('.quick-input-list .monaco-list-row')
    .filter({ has: page.getByText(command, { exact: true }) })
  await row.first().click()
}

// A file or folder in the explorer.
export const row = (page: Page, name: string) =>
  page.locator('.explorer-folders-view .monaco-list-row').filter({ has: page.getByText(name, { exact: true }) })

// Chooses an entry of the menu that a right click opens.
export async function chooseInMenu(page: Page, name: string, entry: string) {
  await row(page, name).click({ button: 'right' })
  // VS Code takes a click where the pointer did not move for the one that opened the menu.
  const item = page.locator('.monaco-menu .action-item', { hasText: entry })
  await item.hover()
  await page.locator('.monaco-menu .action-item.focused', { hasText: entry }).waitFor()
  await page.keyboard.press('Enter')
}

// Types a name where the explorer asks for one.
export async function nameInExplorer(page: Page, name: string) {
  await page.locator('.explorer-folders-view .monaco-inputbox input').fill(name, { timeout: 3_000 })
  await page.keyboard.press('Enter')
}

// Makes a file or folder with a button of the explorer, again if a file that opens took the focus from the name.
export async function makeInExplorer(page: Page, button: string, name: string) {
  await until(`${name} is made`, 30, async () => {
    await page.getByRole('button', { name: button }).click()
    await nameInExplorer(page, name)
    return row(page, name)
      .waitFor({ timeout: 3_000 })
      .then(() => true)
  })
}

// What the shell shows once a command has ended.
export async function shell(page: Page, command: string): Promise<string> {
  const mark = Math.random().toString(36).slice(2, 8)
  await runInTerminal(page, `clear; ${command}; echo end""-${mark}`)
  return until(`${command} ends`, 30, async () => {
    const text = await terminalText(page)
    return text.includes(`end-${mark}`) && text
  })
}
