// The session against the fake guest: greeting, calls, flow control, coming back.
import { afterEach, describe, expect, test } from 'vitest'
import { FakeGuest } from '../../fake/guest'
import { Files } from '../files'
import { SessionError } from './errors'
import { Session } from './session'

const open: Session[] = []

function connect(guest: FakeGuest, options = {}): Session {
  const session = new Session({ url: 'ws://fake/w/1/session', dial: guest.dial, firstDelay: 1, ...options })
  open.push(session)
  return session
}

afterEach(() => {
  for (const session of open.splice(0)) session.close()
})

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(() => undefined).catch((error) => error.kind)

describe('greeting', () => {
  test('welcome says which folder to open', async () => {
    const session = connect(new FakeGuest({}, '/workspaces/demo'))
    expect((await session.welcome()).workspace).toBe('/workspaces/demo')
  })

  test('the bulk connection is made at first use', async () => {
    const guest = new FakeGuest()
    const session = connect(guest)
    await session.welcome()
    expect(guest.connections.size).toBe(1)
    await session.bulk.ready()
    expect(guest.connections.size).toBe(2)
  })
})

describe('files', () => {
  test('a failure of the guest arrives with its kind', async () => {
    const files = new Files(connect(new FakeGuest({ '/a/file': 'x' })))
    expect(await failureOf(files.stat('/nothing'))).toBe('not-found')
    expect(await failureOf(files.read('/a'))).toBe('is-a-directory')
    expect(await failureOf(files.remove('/a', false))).toBe('directory-not-empty')
  })

  test('a file far beyond the credit arrives whole, both ways', async () => {
    const guest = new FakeGuest({ '/a/other': '' })
    const files = new Files(connect(guest))
    const content = new Uint8Array(3_000_000).map((_, index) => index % 251)
    await files.write('/a/large', content, { create: true, overwrite: false })
    expect(Buffer.compare(guest.files.read('/a/large'), content)).toBe(0)
    expect(Buffer.compare(await files.read('/a/large', { size: content.length }), content)).toBe(0)
    const pieces = guest.received.flatMap(({ body }) => (body.case === 'data' ? [body.value.bytes.length] : []))
    expect(Math.max(...pieces)).toBeLessThanOrEqual(256 * 1024)
  })

  test('an empty file is written and read', async () => {
    const files = new Files(connect(new FakeGuest({ '/a/other': '' })))
    await files.write('/a/empty', new Uint8Array(), { create: true, overwrite: false })
    expect(await files.read('/a/empty')).toHaveLength(0)
  })

  test('a slow receiver holds the sender back', async () => {
    const guest = new FakeGuest({ '/a/large': new Uint8Array(2_000_000) })
    const files = new Files(connect(guest))
    let arrived = 0
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const reading = files.stream('/a/large', {
      onData: async (bytes) => {
        arrived += bytes.length
        await gate
      },
    })
    await expect.poll(() => arrived).toBeGreaterThan(0)
    const credits = () => guest.received.filter(({ body }) => body.case === 'credit').length
    expect(credits()).toBe(0)
    release()
    await reading
    expect(arrived).toBe(2_000_000)
    expect(credits()).toBeGreaterThan(0)
  })

  test('a write that names an old version is refused', async () => {
    const files = new Files(connect(new FakeGuest({ '/a/file': 'one' })))
    const text = new TextEncoder().encode('two')
    const { version } = await files.stat('/a/file')
    await files.write('/a/file', text, { create: false, overwrite: true, ifVersion: version })
    expect(await failureOf(files.write('/a/file', text, { create: false, overwrite: true, ifVersion: version }))).toBe(
      'conflict',
    )
  })

  test('cancelling ends the call and tells the guest', async () => {
    const guest = new FakeGuest({ '/a/large': new Uint8Array(2_000_000) })
    const files = new Files(connect(guest))
    const abort = new AbortController()
    const reading = files.stream('/a/large', { onData: () => abort.abort(), signal: abort.signal })
    expect(await failureOf(reading)).toBe('cancelled')
    await expect.poll(() => guest.received.some(({ body }) => body.case === 'cancel')).toBe(true)
  })
})

describe('lost connections', () => {
  test('what may be repeated is asked again', async () => {
    const guest = new FakeGuest({ '/a/file': 'x' })
    guest.latency = 20
    const session = connect(guest)
    await session.welcome()
    const stat = new Files(session).stat('/a/file')
    await expect.poll(() => guest.received.some(({ body }) => body.case === 'fileStat')).toBe(true)
    guest.drop()
    expect((await stat).name).toBe('file')
  })

  test('what must not be repeated fails with a reason', async () => {
    const guest = new FakeGuest({ '/a/file': 'x' })
    guest.latency = 20
    const session = connect(guest)
    await session.welcome()
    const rename = failureOf(new Files(session).rename('/a/file', '/a/other', false))
    await expect.poll(() => guest.received.some(({ body }) => body.case === 'fileRename')).toBe(true)
    guest.drop()
    expect(await rename).toBe('disconnected')
  })

  test('the gateway saying stop is not tried again until somebody asks', async () => {
    const guest = new FakeGuest()
    const session = connect(guest)
    await session.welcome()
    guest.refusal = { code: 4409, reason: 'It was stopped.' }
    guest.drop()
    await expect
      .poll(() => session.interactive.state)
      .toEqual({
        kind: 'stopped',
        cause: 'not-running',
        reason: 'It was stopped.',
      })
    await expect(session.welcome()).rejects.toBeInstanceOf(SessionError)
    guest.refusal = undefined
    session.retry()
    await session.welcome()
  })

  test('a connection that went silent is given up', async () => {
    const guest = new FakeGuest()
    const session = connect(guest, { silence: 10 })
    await session.welcome()
    const [first] = guest.connections
    guest.mute = true
    await expect.poll(() => first && guest.connections.has(first)).toBe(false)
    guest.mute = false
    await session.welcome()
  })

  test('pings keep a quiet connection', async () => {
    const guest = new FakeGuest()
    const session = connect(guest, { silence: 20 })
    await session.welcome()
    const [first] = guest.connections
    const pings = () => guest.received.filter(({ body }) => body.case === 'ping').length
    await expect.poll(pings).toBeGreaterThan(2)
    expect(first && guest.connections.has(first)).toBe(true)
  })

  test('a call made without a connection fails after the patience', async () => {
    const guest = new FakeGuest()
    guest.mute = true
    const files = new Files(connect(guest, { patience: 10 }))
    expect(await failureOf(files.makeDirectory('/a'))).toBe('disconnected')
  })
})
