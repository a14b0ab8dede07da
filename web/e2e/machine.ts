// What the host can see of a running machine: its memory and its disk, searched byte by byte.
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'

const PIECE = 16 << 20

export interface Found {
  // How much was searched.
  bytes: number
  needles: Set<string>
}

export interface Machine {
  pid: number
  // What it wrote, block by block as it was, and the image below that.
  layer: string
  base: string
}

// The only virtual machine of the server on a data folder.
export function machineOf(data: string): Machine {
  const machines = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isMachine(name) && isBelow(data, name))
  const only = (folder: string, fits: (name: string) => boolean) => join(folder, readdirSync(folder).find(fits) ?? '')
  if (machines.length !== 1) throw new Error(`${machines.length} machines run below ${data}`)
  return {
    pid: Number(machines[0]),
    layer: join(
      only(join(data, 'workspaces'), () => true),
      'disk/log',
    ),
    base: only(join(data, 'images'), (name) => name.endsWith('.ext4')),
  }
}

// Its monitor, which names the folder, is its parent.
function isBelow(data: string, process: string): boolean {
  try {
    const parent = /PPid:\s*(\d+)/.exec(readFileSync(`/proc/${process}/status`, 'utf8'))?.[1]
    return readFileSync(`/proc/${parent}/cmdline`, 'utf8').includes(data)
  } catch {
    return false
  }
}

function isMachine(process: string): boolean {
  try {
    return readFileSync(`/proc/${process}/cmdline`, 'utf8').includes('memory-backend=')
  } catch {
    return false
  }
}

// The whole memory of the machine's process, with the machine's own in it.
export function searchMemory({ pid }: Machine, needles: readonly string[]): Found {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n')
  const readable = maps.filter((line) => / r/.test(line) && !/\[v(var|syscall)/.test(line))
  const ranges = readable.map((line) => {
    const [from, to] = (line.split(' ')[0] as string).split('-').map((text) => Number.parseInt(text, 16))
    return { start: from as number, length: (to as number) - (from as number) }
  })
  return search(`/proc/${pid}/mem`, ranges, needles)
}

// All that a stopped machine's disk holds, what it inherits from its base with it.
export function searchDisk({ layer, base }: Machine, needles: readonly string[]): Found {
  const whole = (path: string) => search(path, [{ start: 0, length: statSync(path).size }], needles)
  const [written, inherited] = [whole(layer), whole(base)]
  return { bytes: written.bytes + inherited.bytes, needles: new Set([...written.needles, ...inherited.needles]) }
}

function search(path: string, ranges: readonly { start: number; length: number }[], needles: readonly string[]): Found {
  const overlap = Math.max(...needles.map((needle) => needle.length))
  const file = openSync(path, 'r')
  const piece = Buffer.allocUnsafe(PIECE + overlap)
  const found: Found = { bytes: 0, needles: new Set() }
  try {
    for (const { start, length } of ranges) {
      // Pieces overlap, so that nothing hides on a border.
      for (let at = 0; at < length; at += PIECE) {
        const size = readSome(file, piece, Math.min(piece.length, length - at), start + at)
        found.bytes += Math.min(size, PIECE)
        for (const needle of needles) if (piece.subarray(0, size).includes(needle)) found.needles.add(needle)
      }
    }
  } finally {
    closeSync(file)
  }
  return found
}

function readSome(file: number, into: Buffer, length: number, position: number): number {
  let size = 0
  while (size < length) {
    let read = 0
    try {
      read = readSync(file, into, size, length - size, position + size)
    } catch {
      // Device memory and pages that were never there cannot be read.
    }
    if (read === 0) break
    size += read
  }
  return size
}
