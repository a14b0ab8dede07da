// Headless Chromium with a fresh profile, and what it asked for.
import { type Browser, type BrowserContext, chromium } from 'playwright-core'

const PROGRAM = process.env.CHROMIUM ?? '/usr/bin/chromium'
// Without 3D the terminal draws text into the page, where a test can read it.
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-3d-apis', '--disable-quic', '--no-first-run']

export interface Tab {
  browser: Browser
  context: BrowserContext
  // Origins that pages have asked, whatever came of it.
  origins: Set<string>
  // Errors that pages threw or logged.
  errors: string[]
}

export async function openBrowser(dark = false): Promise<Tab> {
  const browser = await chromium.launch({
    executablePath: PROGRAM,
    args: [...QUIET, '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    colorScheme: dark ? 'dark' : 'light',
    permissions: ['clipboard-read', 'clipboard-write'],
  })
  const origins = new Set<string>()
  const errors: string[] = []
  context.on('request', (request) => {
    const { protocol, host } = new URL(request.url())
    if (/^(https?|wss?):$/.test(protocol)) origins.add(host)
  })
  context.on('weberror', (error) => errors.push(String(error.error())))
  return { browser, context, origins, errors }
}
