// Pictures for the documents, made where the browser test passes by. ROOST_SCREENSHOTS names the folder.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'

const folder = process.env.ROOST_SCREENSHOTS ?? ''

// Wide and, unless it makes no sense, as wide as a phone.
export async function picture(page: Page, name: string, narrow = true) {
  if (!folder) return
  mkdirSync(folder, { recursive: true })
  await page.screenshot({ path: join(folder, `${name}.png`), animations: 'disabled' })
  if (!narrow) return
  const size = page.viewportSize()
  await page.setViewportSize({ width: 390, height: 844 })
  await page.screenshot({ path: join(folder, `${name}-390.png`), animations: 'disabled' })
  if (size) await page.setViewportSize(size)
}
