// Terminals over a session that drops: nothing lost, nothing doubled.
import { afterEach, expect, test } from 'vitest'
import { FakeGuest } from '../fake/guest'
import { Session } from './session/session'
import { listTerminals, TerminalLink, type TerminalOptions } from './terminals'

const sessions: Session[] = []
const options: TerminalOptions = { workingDirectory: '', command: [], environment: {}, title: '', key: 'one' }
const size = { columns: 80, rows: 24 }
const decoder = new TextDecoder()

/** A terminal's screen, as far as a test needs one. */
class Screen {
  text = ''
  repaints = 0
  exit: number | undefined
  gone = false
  link: TerminalLink | undefined

  readonly onRepaint = (repaint: Uint8Array) => {
    this.text = decoder.decode(repaint)
    this.repaints += 1
  }
  readonly onOutput = (bytes: Uint8Array) => {
    this.text += decoder.decode(bytes)
    this.link?.drawn(bytes.length)
  }
  readonly onState = () => {}
  readonly onExit = ({ code }: { code: number }) => {
    this.exit = code
  }
  readonly onGone = () => {
    this.gone = true
  }
}

function connect(guest: FakeGuest): Session {
  const session = new Session({ url: 'ws://fake/w/1/session', dial: guest.dial, firstDelay: 1 })
  sessions.push(session)
  return session
}

function terminal(session: Session): Screen {
  const screen = new Screen()
  screen.link = TerminalLink.create(session, options, size, screen)
  return screen
}

const type = (screen: Screen, text: string) => screen.link?.input(new TextEncoder().encode(text))

afterEach(() => {
  for (const session of sessions.splice(0)) session.close()
})

test('what is typed is echoed and answered', async () => {
  const screen = terminal(connect(new FakeGuest()))
  type(screen, 'echo hello\r')
  await expect.poll(() => screen.text).toBe('dev@roost:~$ echo hello\r\nhello\r\ndev@roost:~$ ')
})

test('output during a lost connection is shown once', async () => {
  const guest = new FakeGuest()
  const screen = terminal(connect(guest))
  await expect.poll(() => screen.text).toContain('$ ')
  guest.drop()
  guest.terminals.get('t1')?.print('while away\r\n')
  await expect.poll(() => screen.text).toContain('while away')
  type(screen, 'x')
  await expect.poll(() => screen.text).toBe(decoder.decode(guest.terminals.get('t1')?.output))
  expect(screen.repaints).toBe(1)
})

test('what is typed during a lost connection arrives', async () => {
  const guest = new FakeGuest()
  const screen = terminal(connect(guest))
  await expect.poll(() => screen.text).toContain('$ ')
  guest.drop()
  type(screen, 'echo later\r')
  await expect.poll(() => screen.text).toContain('later\r\n')
})

test('a second tab attaches and is painted', async () => {
  const guest = new FakeGuest()
  const session = connect(guest)
  const first = terminal(session)
  type(first, 'echo one\r')
  await expect.poll(() => first.text).toContain('one\r\n')
  const [listed] = await listTerminals(session)
  const second = new Screen()
  second.link = TerminalLink.attach(session, listed?.terminal ?? '', second)
  await expect.poll(() => second.text).toBe(first.text)
})

test('a create that was broken off does not make two terminals', async () => {
  const guest = new FakeGuest()
  guest.latency = 20
  const session = connect(guest)
  await session.welcome()
  const screen = terminal(session)
  await expect.poll(() => guest.terminals.size).toBe(1)
  guest.drop()
  await expect.poll(() => screen.text).toContain('$ ')
  expect(guest.terminals.size).toBe(1)
})

test('another boot says that the terminal is gone', async () => {
  const guest = new FakeGuest()
  const screen = terminal(connect(guest))
  await expect.poll(() => screen.text).toContain('$ ')
  guest.boot = new Uint8Array(16).fill(2)
  guest.terminals.clear()
  guest.drop()
  await expect.poll(() => screen.gone).toBe(true)
})

test('the exit code is told', async () => {
  const screen = terminal(connect(new FakeGuest()))
  type(screen, 'exit\r')
  await expect.poll(() => screen.exit).toBe(0)
})
