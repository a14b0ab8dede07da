// What the gauges say about the machine.
import type { Metrics } from '../../platform/feeds'

/** From this part of the whole on, a gauge warns. */
const NEARLY_FULL = 0.92

export interface Figures {
  text: string
  tooltip: string
  warns: boolean
}

const percent = (part: number) => `${Math.round(part * 100)}%`
const gibibytes = (bytes: bigint) => (Number(bytes) / 2 ** 30).toFixed(1)
const part = (used: bigint, total: bigint) => (total > 0n ? Number(used) / Number(total) : 0)

export function figures(metrics: Metrics, note: string): Figures {
  const { cpu, cpus, memoryUsed, memoryTotal, diskUsed, diskTotal } = metrics
  const busy = cpus > 0 ? Math.min(cpu / cpus, 1) : 0
  const memory = part(memoryUsed, memoryTotal)
  const disk = part(diskUsed, diskTotal)
  const lines = [
    `CPU: ${cpu.toFixed(1)} of ${cpus} cores`,
    `Memory: ${gibibytes(memoryUsed)} of ${gibibytes(memoryTotal)} GiB`,
    `Disk: ${gibibytes(diskUsed)} of ${gibibytes(diskTotal)} GiB`,
    ...(note ? [note] : []),
  ]
  return {
    text: `$(pulse) ${percent(busy)}  $(chip) ${percent(memory)}  $(database) ${percent(disk)}`,
    tooltip: lines.join('\n'),
    warns: memory > NEARLY_FULL || disk > NEARLY_FULL,
  }
}
