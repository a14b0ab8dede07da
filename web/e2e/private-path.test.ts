// The job with a repository that wants a token: asked for in the timeline, added outside, nowhere in the machine.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from './deadline'
import { type Machine, machineOf, searchDisk, searchMemory } from './machine'
import { picture } from './screenshots'
import { openEditor, openFile, runInTerminal, save, terminalText } from './workbench'
import { EMAIL, openWorld, PASSWORD, type World } from './world'

const USER = 'ada'
// Planted in the machine, so that each search is seen to find what is there.
const CANARY = `canary-${crypto.randomUUID()}`
let world: World
let machine: Machine

beforeAll(async () => {
  world = await openWorld({ signedIn: false })
})

afterAll(() => world?.close())

// The token as it is, and as it would travel.
function forms(): string[] {
  const { token } = world.git
  const encoded = Buffer.from(`${USER}:${token}`).toString('base64').replace(/=+$/, '')
  return [token, encoded, Buffer.from(token).toString('hex')]
}

test('a link to a new workspace leads over the sign-in to a form, by keyboard alone', async () => {
  const { page, git, server } = world
  const repository = `${git.origin}/private/secret.git`
  await page.goto(`${server.origin}/new?repo=${encodeURIComponent(repository)}&branch=main`)
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await page.keyboard.type(EMAIL)
  await page.keyboard.press('Tab')
  await page.keyboard.type(PASSWORD)
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'New workspace' }).waitFor()
  expect(await page.getByLabel('Git repository').inputValue()).toBe(repository)
  expect(await page.getByLabel('Branch').inputValue()).toBe('main')
  await picture(page, 'new')
  expect(JSON.parse(await world.roost('--json', 'ls'))).toEqual([])
  const create = page.getByRole('button', { name: 'Create workspace' })
  await until('the button is reached with the tab key', 20, async () => {
    await page.keyboard.press('Tab')
    return create.evaluate((button) => button === document.activeElement)
  })
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'secret' }).waitFor()
})

test('the timeline asks for the token, and the clone goes on with it', async () => {
  const { page } = world
  const question = page.getByRole('heading', { name: /asks for credentials/ })
  await question.waitFor({ timeout: 120_000 })
  await picture(page, 'workspace-credentials')
  await page.getByLabel('User name').focus()
  await page.keyboard.type(USER)
  await page.keyboard.press('Tab')
  await page.keyboard.type(world.git.token)
  await page.keyboard.press('Enter')
  await question.waitFor({ state: 'detached', timeout: 60_000 })
  await until('the repository is there', 180, async () =>
    (await world.roost('exec', 'secret', '--', 'cat', '/workspaces/secret/main.py')).includes('private repository'),
  )
})

test('edited, committed and pushed, without any credentials in the machine', async () => {
  const { page, git } = world
  await page.getByRole('link', { name: 'Open' }).click()
  await openEditor(page)
  await openFile(page, 'main.py')
  await page.keyboard.press('Control+End')
  await page.keyboard.type('print("a private edit")\n')
  await save(page)
  await runInTerminal(page, 'cat main.py')
  await until('the shell shows the edit', 30, async () => (await terminalText(page)).includes('a private edit'))
  await runInTerminal(page, 'git commit -qam "Edited in private" && git push')
  await until('the server has the commit', 60, async () => git.subject('private/secret.git') === 'Edited in private')
  expect(git.show('private/secret.git', 'main.py')).toContain('a private edit')
  expect(git.requests()).toMatch(/POST \/private\/secret\.git\/git-receive-pack authorization/)
})

test("the token is nowhere in the machine's memory and environments", async () => {
  await runInTerminal(world.page, `echo ${CANARY} > canary.txt; CANARY=${CANARY} sleep 1000 & sync; echo planted-$?`)
  await until('the canary is planted', 30, async () => (await terminalText(world.page)).includes('planted-0'))
  machine = machineOf(world.server.data)
  const memory = searchMemory(machine, [CANARY, ...forms()])
  expect([...memory.needles]).toEqual([CANARY])
  // Not less than the machine has.
  expect(memory.bytes).toBeGreaterThan(1 << 30)
  // Looked through here, not there: a search in the machine would bring in what it looks for.
  const script = 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true'
  const environments = await world.roost('exec', 'secret', '--', 'sudo', 'sh', '-c', script)
  expect(environments).toContain(`CANARY=${CANARY}`)
  for (const form of forms()) expect(environments).not.toContain(form)
})

test('the token is nowhere on the disk, and the files are there after a start', async () => {
  const { page, server } = world
  await page.goto(`${server.origin}/workspaces/secret`)
  await page.getByRole('button', { name: 'Stop' }).click()
  await page.getByText('Stopped', { exact: true }).waitFor({ timeout: 60_000 })
  const disk = searchDisk(machine, [CANARY, ...forms()])
  expect([...disk.needles]).toEqual([CANARY])
  await page.getByRole('button', { name: 'Start' }).click()
  await page.getByText('Running', { exact: true }).waitFor({ timeout: 120_000 })
  expect(await world.roost('exec', 'secret', '--', 'cat', '/workspaces/secret/canary.txt')).toBe(`${CANARY}\n`)
  // Folders in memory and on disk as the machine itself sees them; last, since now the token does enter it.
  const places = '/home /root /etc /var /tmp /run /workspaces /dev/shm'
  const look = (text: string) =>
    world.roost(
      'exec',
      'secret',
      '--',
      'sudo',
      'sh',
      '-c',
      `grep -rlF '${text}' --devices=skip ${places} 2>/dev/null; true`,
    )
  expect(await look(CANARY)).toContain('/workspaces/secret/canary.txt')
  expect(await look(world.git.token)).toBe('')
})

test('deleted from the keyboard, it is gone', async () => {
  const { page, server } = world
  await page.goto(server.origin)
  await page.getByRole('button', { name: 'Delete' }).focus()
  await page.keyboard.press('Enter')
  const remove = page.getByRole('dialog').getByRole('button', { name: /^Delete/ })
  await remove.waitFor({ timeout: 60_000 })
  await picture(page, 'workspace-delete', false)
  await until('the button is reached with the tab key', 20, async () => {
    await page.keyboard.press('Tab')
    return remove.evaluate((button) => button === document.activeElement)
  })
  await page.keyboard.press('Enter')
  await page.getByText('Nothing here yet').waitFor({ timeout: 60_000 })
})
