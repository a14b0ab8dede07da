// Names of terminals outlive the page, and not the terminal.
import { expect, test } from 'vitest'
import { Names } from './names'

function memory(): Storage {
  const items = new Map<string, string>()
  return {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => items.set(key, value),
  } as unknown as Storage
}

test('a name is there for the next page, until it is taken back', () => {
  const storage = memory()
  new Names('names', storage).set('a', 'server')
  const next = new Names('names', storage)
  expect(next.get('a')).toBe('server')
  next.set('a', undefined)
  expect(next.get('a')).toBeUndefined()
})

test('a terminal that ended loses its name', () => {
  const names = new Names('names', memory())
  names.set('a', 'server')
  names.set('b', 'tests')
  names.keep(['b', 'c'])
  expect([names.get('a'), names.get('b')]).toEqual([undefined, 'tests'])
})
