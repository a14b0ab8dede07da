// Which points in time a disk came through, and which it left behind.
import type { PointList } from '../../platform/control/contract'

// Numbers of the points that the disk as it is now came through.
export function cameThrough(list: PointList): Set<number> {
  const found = new Set<number>()
  let next = list.now.follows
  while (next && !next.workspace && !found.has(next.number)) {
    const { number } = next
    found.add(number)
    next = list.points.find((point) => point.number === number)?.follows ?? null
  }
  return found
}
