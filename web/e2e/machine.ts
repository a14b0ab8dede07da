// What the host can see of a running machine: its memory and its disk, searched byte by byte.
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PIECE = 16 << 20

export interface Found {
  // How much was searched.
  bytes: number
  needles: Set<string>
}

export interface Machine {
  pid: number
  // The files it has open: its own layer, and the image below that.
  layer: string
  base: string
}

// The only virtual machine of the server on a data folder.
export function machineOf(data: string): Machine {
  const machines = readdirSync('/proc').flatMap((name): Machine[] => {
    if (!/^\d+$/.test(name) || !isMachine(name)) return []
    const files = readdirSync(`/proc/${name}/fd`).map((number) => target(`/proc/${name}/fd/${number}`))
    const layer = files.find((file) => file.startsWith(data) && file.endsWith('disk.qcow2'))
    const base = files.find((file) => file.startsWith(data) && file.endsWith('.ext4'))
    return layer && base ? [{ pid: Number(name), layer, base }] : []
  })
  if (machines.length !== 1) throw new Error(`${machines.length} machines run below ${data}`)
  return machines[0] as Machine
}

function isMachine(process: string): boolean {
  try {
    return readFileSync(`/proc/${process}/cmdline`, 'utf8').includes('memory-backend=')
  } catch {
    return false
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return ''
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
  const folder = mkdtempSync(join(tmpdir(), 'roost-disk-'))
  try {
    const image = join(folder, 'disk.raw')
    const disk = `driver=qcow2,file.driver=file,file.filename=${layer},backing.driver=raw,backing.file.driver=file,backing.file.filename=${base}`
    execFileSync('qemu-img', ['convert', '--image-opts', '-O', 'raw', disk, image])
    const map = execFileSync('qemu-img', ['map', '-f', 'raw', '--output=json', image], { maxBuffer: 1 << 28 })
    const extents: { start: number; length: number; data: boolean }[] = JSON.parse(map.toString())
    return search(
      image,
      extents.filter((extent) => extent.data),
      needles,
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
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
