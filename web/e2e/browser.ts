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
  // What went wrong in pages: thrown, logged as an error, refused, or never answered.
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
  context.on('weberror', (event) => errors.push(`thrown: ${event.error().stack ?? event.error()}`))
  context.on('console', (message) => {
    // What the browser itself says about an answer is told by the answer.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load'))
      errors.push(`logged: ${message.text()}`)
  })
  context.on('response', (response) => {
    if (response.status() >= 400) errors.push(`${response.status()} ${new URL(response.url()).pathname}`)
  })
  context.on('requestfailed', (request) => {
    // A page that is left breaks off what it was waiting for.
    const cause = request.failure()?.errorText ?? ''
    if (cause !== 'net::ERR_ABORTED') errors.push(`${cause} ${request.url()}`)
  })
  return { browser, context, origins, errors }
}
