// What the gauges say.
import { expect, test } from 'vitest'
import { describe } from './gauges'

const metrics = (values: object) =>
  ({
    cpu: 1,
    cpus: 2,
    memoryUsed: 1n << 30n,
    memoryTotal: 4n << 30n,
    diskUsed: 2n << 30n,
    diskTotal: 8n << 30n,
    ...values,
  }) as Parameters<typeof describe>[0]

test('parts of the whole, with the figures in the tooltip', () => {
  const entry = describe(metrics({}), '')
  expect(entry.text).toBe('$(pulse) 50%  $(chip) 25%  $(database) 25%')
  expect(entry.tooltip).toContain('Memory: 1.0 of 4.0 GiB')
  expect(entry.kind).toBeUndefined()
})

test('a nearly full disk warns', () => {
  expect(describe(metrics({ diskUsed: 79n << 27n, diskTotal: 10n << 30n }), '').kind).toBe('warning')
})

test('figures that are not known yet are zero, not NaN', () => {
  expect(describe(metrics({ cpus: 0, memoryTotal: 0n, diskTotal: 0n }), '').text).toBe(
    '$(pulse) 0%  $(chip) 0%  $(database) 0%',
  )
})
