// Terminals come back where they were, and none that runs is forgotten.
import { expect, test } from 'vitest'
import { fromLayout, toLayout } from './layout'

type Running = Parameters<typeof fromLayout>[1] extends ReadonlyMap<string, infer Target> ? Target : never

const target = (id: number) => ({ id }) as Running
const running = new Map([
  ['a', target(1)],
  ['b', target(2)],
  ['c', target(3)],
])
const ids = new Map([
  [1, 'a'],
  [2, 'b'],
])

test('a split comes back as a split', () => {
  const layout = toLayout(
    {
      tabs: [
        {
          isActive: true,
          activePersistentProcessId: 2,
          terminals: [
            { terminal: 1, relativeSize: 0.25 },
            { terminal: 2, relativeSize: 0.75 },
          ],
        },
      ],
      background: null,
    },
    (id) => ids.get(id),
  )
  expect(fromLayout(layout, running, [])).toEqual({
    tabs: [
      {
        isActive: true,
        activePersistentProcessId: 2,
        terminals: [
          { terminal: { id: 1 }, relativeSize: 0.25 },
          { terminal: { id: 2 }, relativeSize: 0.75 },
        ],
      },
    ],
    background: null,
  })
})

test('what ended is left out, with its tab when that is empty', () => {
  const layout = {
    tabs: [
      { active: true, activeTerminal: 'gone', terminals: [{ name: 'gone', relativeSize: 1 }] },
      { active: false, activeTerminal: 'a', terminals: [{ name: 'a', relativeSize: 1 }] },
    ],
  }
  const restored = fromLayout(layout, running, [])
  expect(restored.tabs).toHaveLength(1)
  expect(restored.tabs[0]?.activePersistentProcessId).toBe(1)
})

test('a terminal that runs and is shown nowhere gets a tab, once', () => {
  const layout = { tabs: [{ active: true, activeTerminal: 'a', terminals: [{ name: 'a', relativeSize: 1 }] }] }
  const restored = fromLayout(layout, running, ['a', 'c'])
  expect(restored.tabs.map((tab) => tab.activePersistentProcessId)).toEqual([1, 3])
})

test('a terminal that has no name yet is not kept', () => {
  const tabs = [{ isActive: true, activePersistentProcessId: 9, terminals: [{ terminal: 9, relativeSize: 1 }] }]
  expect(toLayout({ tabs, background: null }, () => undefined)).toEqual({ tabs: [] })
})
