// The server killed under programs that fill the screen: each terminal shows what one that was never disturbed shows.
import { availableParallelism, loadavg } from 'node:os'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from './deadline'
import { cells, cellsOf, textOf } from './terminal-cells'
import { openEditor } from './workbench'
import { openWorld, type World } from './world'

// What runs, what shows that it has drawn, keys that change the screen, what they bring, and keys that end it.
const PROGRAMS = [
  {
    name: 'vim',
    command: 'vim -c "syntax on" -c "set cursorline number" long.py',
    first: 'def line_1(',
    keys: 'Gohello before\x1b',
    shows: 'hello before',
    quit: ':q!\n',
  },
  { name: 'less', command: 'less -N long.py', first: 'def line_1(', keys: '/line_77\n', shows: 'line_77', quit: 'q' },
  {
    name: 'tmux',
    command: 'tmux -f /dev/null new-session "cat long.py; exec cat"',
    first: '[0]',
    keys: 'typed before\n',
    shows: 'typed before',
    quit: '\x03',
  },
  { name: 'htop', command: 'htop -d 20', first: 'F10', keys: 't', shows: 'F10', quit: 'q' },
]
const LATER = ['ggOhello after\x1b', '/line_99\n', 'typed after\n', 'I']
// How many times slower than when it is idle this machine may be, for what else it does.
const crowd = Math.max(1, (loadavg()[0] ?? 0) / availableParallelism())
let world: World

beforeAll(async () => {
  world = await openWorld({ signedIn: true })
  await world.roost('create', '--name', 'sturdy')
  const script =
    'for n in $(seq 200); do printf "def line_%d(): return %d  # é ─ 漢字\\n" $n $n; done > /workspaces/sturdy/long.py'
  await world.roost('exec', 'sturdy', '--', 'bash', '-c', script)
})

afterAll(() => world?.close())

// All that the program has printed so far, as a terminal would get it from the first byte on.
async function recording(name: string): Promise<string> {
  const all = await world.roost('exec', 'sturdy', '--', 'cat', `/tmp/${name}.rec`)
  return all.slice(all.indexOf('\n') + 1)
}

const show = (number: number) => world.page.locator('.terminal-tabs-entry').nth(number).click()

async function untilShown(number: number, text: string) {
  await until(`terminal ${number} shows ${text}`, 60, async () =>
    textOf(await cells(world.page, number)).includes(text),
  )
}

async function untilPrompt(number: number) {
  await until(`terminal ${number} prompts`, 60, async () => {
    return textOf(await cells(world.page, number))
      .trimEnd()
      .endsWith('$')
  })
}

// Waits until the terminal shows what an undisturbed one does. A program that goes on drawing is compared where no
// output came in between.
async function equals(number: number, name: string, seconds: number) {
  let last: unknown[] = []
  await until(`terminal ${number} (${name}) equals an undisturbed one`, seconds, async () => {
    const before = await recording(name)
    const shown = await cells(world.page, number)
    if ((await recording(name)) !== before) return false
    last = [shown, await cellsOf(world.page, number, before)]
    return JSON.stringify(last[0]) === JSON.stringify(last[1])
  }).catch((error) => {
    // Says which cells differ.
    expect(last[0], String(error)).toEqual(last[1])
    throw error
  })
}

test('vim, less, tmux and htop show the same after the server was killed', async () => {
  const { page, server } = world
  await page.goto(`${server.origin}/workspaces/sturdy`)
  await page.getByRole('link', { name: 'Open' }).click()
  await openEditor(page)
  for (const number of PROGRAMS.keys()) {
    await until(`terminal ${number} is made`, 60, async () => {
      // The keys have no meaning yet when the page has just been loaded.
      await page.keyboard.press('Control+Shift+Backquote')
      return page.waitForFunction((count) => document.querySelectorAll('.terminal-wrapper').length > count, number, {
        timeout: 5_000,
      })
    })
    await untilPrompt(number)
  }
  for (const [number, { name, command, first, keys, shows }] of PROGRAMS.entries()) {
    await show(number)
    await page.locator('.terminal-wrapper.active').click()
    await page.keyboard.type(`echo shell-$$ > /tmp/${name}.pid; script -qfc '${command}' /tmp/${name}.rec\n`)
    await untilShown(number, first)
    await type(keys)
    await untilShown(number, shows)
    await equals(number, name, 20)
  }
  const shells = await world.roost('exec', 'sturdy', '--', 'sh', '-c', 'cat /tmp/*.pid')

  await server.kill()
  await page
    .getByText(/reconnecting/i)
    .first()
    .waitFor({ timeout: 30_000 })
  // What is typed while there is no server is not lost.
  await show(0)
  await page.locator('.terminal-wrapper.active').click()
  await type('Gohello meanwhile\x1b')
  const restarted = performance.now()
  await server.again()
  await untilShown(0, 'hello meanwhile')
  const seconds = (performance.now() - restarted) / 1_000
  console.log(`the terminal worked again ${seconds.toFixed(1)} s after the restart began`)
  expect(seconds).toBeLessThan(5 * crowd)
  for (const [number, { name }] of PROGRAMS.entries()) await equals(number, name, 30)

  for (const [number, { name }] of PROGRAMS.entries()) {
    await show(number)
    await page.locator('.terminal-wrapper.active').click()
    const before = await recording(name)
    await type(LATER[number] as string)
    await until(`${name} answers`, 20, async () => (await recording(name)) !== before)
    await equals(number, name, 20)
  }
  for (const [number, { name, quit }] of PROGRAMS.entries()) {
    await show(number)
    await page.locator('.terminal-wrapper.active').click()
    await type(quit)
    await untilPrompt(number)
    await page.keyboard.type(`echo shell-$$ >> /tmp/${name}.pid\n`)
  }
  const twice = (text: string) =>
    text
      .split('\n')
      .filter(Boolean)
      .flatMap((line) => [line, line])
  await until('the shells are the same', 20, async () => {
    const now = await world.roost('exec', 'sturdy', '--', 'sh', '-c', 'cat /tmp/*.pid')
    return now.split('\n').filter(Boolean).join() === twice(shells).join()
  })
})

// Control characters as the keys that make them.
async function type(keys: string) {
  for (const key of keys) {
    if (key === '\x1b') await world.page.keyboard.press('Escape')
    else if (key === '\x03') await world.page.keyboard.press('Control+c')
    else await world.page.keyboard.type(key)
  }
}
