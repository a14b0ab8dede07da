// What the gauges say.
import { expect, test } from 'vitest'
import { figures } from './figures'

const metrics = (values: object) =>
  ({
    cpu: 1,
    cpus: 2,
    memoryUsed: 1n << 30n,
    memoryTotal: 4n << 30n,
    diskUsed: 2n << 30n,
    diskTotal: 8n << 30n,
    ...values,
  }) as Parameters<typeof figures>[0]

test('parts of the whole, with the figures in the tooltip', () => {
  const entry = figures(metrics({}), '')
  expect(entry.text).toBe('$(pulse) 50%  $(chip) 25%  $(database) 25%')
  expect(entry.tooltip).toContain('Memory: 1.0 of 4.0 GiB')
  expect(entry.warns).toBe(false)
})

test('a nearly full disk warns', () => {
  expect(figures(metrics({ diskUsed: 79n << 27n, diskTotal: 10n << 30n }), '').warns).toBe(true)
})

test('figures that are not known yet are zero, not NaN', () => {
  expect(figures(metrics({ cpus: 0, memoryTotal: 0n, diskTotal: 0n }), '').text).toBe(
    '$(pulse) 0%  $(chip) 0%  $(database) 0%',
  )
})
