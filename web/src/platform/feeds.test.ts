// Watches, feeds and searches over a session that drops.
import { afterEach, expect, test } from 'vitest'
import { FakeGuest } from '../fake/guest'
import { followMetrics, followPorts } from './feeds'
import { searchNames, searchText } from './search'
import { Session } from './session/session'
import { type FileChange, Watch } from './watches'

const sessions: Session[] = []

function connect(guest: FakeGuest): Session {
  const session = new Session({ url: 'ws://fake/w/1/session', dial: guest.dial, firstDelay: 1 })
  sessions.push(session)
  return session
}

afterEach(() => {
  for (const session of sessions.splice(0)) session.close()
})

const text = new TextEncoder().encode('text')

function watch(session: Session, path: string): { changes: FileChange[]; rescans: number } {
  const seen = { changes: [] as FileChange[], rescans: 0 }
  new Watch(session, {
    path,
    recursive: true,
    excludes: [],
    onChanges: (changes) => seen.changes.push(...changes),
    onRescan: () => {
      seen.rescans += 1
    },
  })
  return seen
}

const armed = (guest: FakeGuest) => expect.poll(() => guest.files.listeners.size).toBeGreaterThan(1)

test('changes below a folder are told, also those during a lost connection', async () => {
  const guest = new FakeGuest({ '/a/file': 'x' })
  const seen = watch(connect(guest), '/a')
  await armed(guest)
  guest.files.write('/a/file', text)
  await expect.poll(() => seen.changes).toEqual([{ kind: 'changed', path: '/a/file' }])
  guest.drop()
  guest.files.write('/a/away', text)
  guest.files.makeDirectory('/b', false)
  await expect.poll(() => seen.changes).toHaveLength(2)
  expect(seen.changes[1]).toEqual({ kind: 'created', path: '/a/away' })
  expect(seen.rescans).toBe(0)
})

test('events that the guest no longer has are told as a rescan', async () => {
  const guest = new FakeGuest({ '/a/file': 'x' })
  const seen = watch(connect(guest), '/a')
  await armed(guest)
  guest.files.write('/a/file', text)
  await expect.poll(() => seen.changes).toHaveLength(1)
  guest.boot = new Uint8Array(16).fill(2)
  guest.drop()
  await expect.poll(() => seen.rescans).toBe(1)
})

test('ports are told at once, at every change, and after a lost connection', async () => {
  const guest = new FakeGuest()
  const seen: number[][] = []
  const feed = followPorts(connect(guest), (ports) => seen.push(ports.map(({ port }) => port)))
  await expect.poll(() => seen).toEqual([[]])
  guest.listen({ port: 8000, process: 'python3' })
  await expect.poll(() => seen).toEqual([[], [8000]])
  guest.drop()
  await expect.poll(() => seen).toEqual([[], [8000], [8000]])
  feed.dispose()
})

test('figures arrive', async () => {
  let cpus = 0
  followMetrics(connect(new FakeGuest()), 1000, (metrics) => {
    cpus = metrics.cpus
  })
  await expect.poll(() => cpus).toBe(2)
})

test('texts and names are found', async () => {
  const guest = new FakeGuest({ '/p/one.txt': 'a needle\nhay', '/p/two.txt': 'hay' })
  const session = connect(guest)
  const found: string[] = []
  const query = { root: '/p', includes: [], excludes: [], noIgnore: false, maxResults: 0 }
  await searchText(
    session,
    { ...query, pattern: 'needle', regex: false, caseSensitive: false, wholeWord: false },
    (files) => found.push(...files.map(({ path }) => path)),
  )
  expect(found).toEqual(['/p/one.txt'])
  const names: string[] = []
  await searchNames(session, { ...query, query: 'TWO' }, (paths) => names.push(...paths))
  expect(names).toEqual(['/p/two.txt'])
})
