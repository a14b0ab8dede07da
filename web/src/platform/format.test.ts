import { expect, test } from 'vitest'
import { ago, duration, memory, shortRepository, size } from './format'

test('durations read like a person would say them', () => {
  expect(duration(12)).toBe('12 ms')
  expect(duration(1_540)).toBe('1.5 s')
  expect(duration(61_000)).toBe('1 min 1 s')
})

test('times are told from now', () => {
  expect(ago(0, 59_000)).toBe('just now')
  expect(ago(0, 60_000)).toBe('1 minute ago')
  expect(ago(0, 7_200_000)).toBe('2 hours ago')
  expect(ago(0, 40 * 86_400_000)).toBe('1 month ago')
})

test('memory is in the unit that fits', () => {
  expect(memory(512)).toBe('512 MiB')
  expect(memory(1_536)).toBe('1.5 GiB')
})

test('repositories are shown without scheme and suffix', () => {
  expect(shortRepository('https://example.com/a/b.git')).toBe('example.com/a/b')
  expect(shortRepository('git@example.com:a/b.git')).toBe('example.com:a/b')
})

test('sizes are in the unit that fits', () => {
  expect(size(0)).toBe('0 B')
  expect(size(1_023)).toBe('1023 B')
  expect(size(1_536)).toBe('1.5 KiB')
  expect(size(20 * 2 ** 30)).toBe('20 GiB')
})
