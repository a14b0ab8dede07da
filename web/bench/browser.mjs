// Chromium with a profile of its own, on disk as a person's is: what it caches, it caches as theirs would.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const PROGRAM = process.env.CHROMIUM ?? '/usr/bin/chromium'
// Without 3D terminals draw text into the page, where it can be seen to arrive.
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-3d-apis',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
]

/** A network interface came or went, and Chromium gave up what it was fetching: the sample says nothing. */
export class Disturbed extends Error {}

/** Runs `work` in a fresh profile, and again in another one while it is disturbed. */
export async function inProfile(cookies, work) {
  for (let tries = 1; ; tries++) {
    const profile = await openProfile(cookies)
    try {
      return await Promise.race([work(profile), profile.disturbed])
    } catch (error) {
      if (!(error instanceof Disturbed) || tries === 10) throw error
    } finally {
      await profile.close()
    }
  }
}

/** A fresh profile that has these cookies, and its first page. */
export async function openProfile(cookies) {
  const folder = mkdtempSync(join(tmpdir(), 'roost-profile-'))
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: PROGRAM,
    args: ARGUMENTS,
    viewport: { width: 1440, height: 900 },
  })
  const page = context.pages()[0] ?? (await context.newPage())
  const disturbed = new Promise((_, failed) => {
    context.on('requestfailed', (request) => {
      if (request.failure()?.errorText === 'net::ERR_NETWORK_CHANGED') failed(new Disturbed())
    })
  })
  // Whoever waits for it sees it; nobody has to.
  disturbed.catch(() => {})
  if (cookies.length > 0) await context.addCookies(cookies)
  return {
    context,
    page,
    /** Fails when the browser gave up requests because the machine's networks changed. */
    disturbed,
    async close() {
      await context.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
