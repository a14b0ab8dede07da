import { expect, test } from 'vitest'
import type { Point, PointList } from '../../platform/control/contract'
import { cameThrough } from './line'

function point(number: number, follows: number | undefined): Point {
  return {
    number,
    name: `point ${number}`,
    kind: 'manual',
    taken_ms: 0,
    size: 0,
    stored: 0,
    alone: 0,
    follows: follows === undefined ? null : { number: follows },
  }
}

function list(points: Point[], now: number): PointList {
  return { points, now: { size: 0, stored: 0, alone: 0, follows: { number: now } }, stored: 0 }
}

test('what a step back left behind is not on the way to now', () => {
  const points = [point(3, undefined), point(7, 3), point(9, 7), point(12, 3)]
  expect([...cameThrough(list(points, 12))]).toEqual([12, 3])
})

test('a point that was deleted ends the way that is known', () => {
  expect([...cameThrough(list([point(7, 3)], 7))]).toEqual([7, 3])
})

test('points of the workspace that it was forked from are not its own', () => {
  const own = point(2, undefined)
  own.follows = { workspace: 'other', number: 2 }
  expect([...cameThrough(list([own], 2))]).toEqual([2])
})
