// What goes wrong says why and what to do: a repository that is not there, a machine that cannot start.
import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { picture } from './screenshots'
import { EMAIL, openWorld, PASSWORD, type World } from './world'

let world: World

beforeAll(async () => {
  world = await openWorld({ signedIn: false })
})

afterAll(() => world?.close())

test('a page that wants a sign-in is gone back to after it, and never to another site', async () => {
  const { page, server } = world
  const signIn = async (next: string) => {
    await page.goto(`${server.origin}/sign-in?next=${encodeURIComponent(next)}`)
    await page.getByLabel('E-mail address').fill(EMAIL)
    await page.getByLabel('Password').fill(PASSWORD)
    await page.getByRole('button', { name: 'Sign in' }).click()
  }
  await signIn('//elsewhere.example/')
  await page.getByRole('heading', { name: 'Workspaces' }).waitFor()
  expect(new URL(page.url()).origin).toBe(server.origin)
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await signIn('/settings')
  await page.getByRole('heading', { name: 'Settings' }).waitFor()
})

test('a repository that does not exist: the cause, the next step, the log', async () => {
  const { page, server, git } = world
  await page.goto(server.origin)
  await page.getByRole('button', { name: 'New workspace' }).first().click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Git repository').fill(`${git.origin}/public/missing.git`)
  await picture(page, 'dialog-new')
  await dialog.getByRole('button', { name: 'Create workspace' }).click()
  await page.getByRole('heading', { name: 'missing' }).waitFor()
  await page.getByText('Clone failed', { exact: true }).waitFor({ timeout: 180_000 })
  const alert = page.getByRole('alert').first()
  expect(await alert.textContent()).toMatch(/has no repository .*Check the URL/)
  await page.getByRole('button', { name: 'Clone again' }).waitFor()
  await page.getByRole('button', { name: 'Show' }).click()
  await page.locator('pre.log', { hasText: /\S/ }).waitFor()
  await picture(page, 'workspace-clone-failed')
})

test('a machine whose disk is damaged: the cause, the ways out', async () => {
  const { page, server } = world
  await page.getByRole('button', { name: 'Stop' }).click()
  await page.getByText('Stopped', { exact: true }).waitFor({ timeout: 60_000 })
  const workspaces = join(server.data, 'workspaces')
  truncateSync(join(workspaces, readdirSync(workspaces)[0] as string, 'disk.json'), 10)
  await page.getByRole('button', { name: 'Start' }).click()
  await page.getByText('Failed', { exact: true }).waitFor({ timeout: 180_000 })
  await page.getByRole('button', { name: 'Try again' }).waitFor()
  expect(await page.getByRole('alert').first().textContent()).toMatch(/disk/)
  await picture(page, 'workspace-failed')
  await page.goto(server.origin)
  await page.getByText('Failed', { exact: true }).waitFor()
  await picture(page, 'dashboard-failed')
})
