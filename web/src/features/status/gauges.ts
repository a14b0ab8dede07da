// How busy the machine is, at a glance.
import { getService, IStatusbarService } from '@codingame/monaco-vscode-api/services'
import {
  type IStatusbarEntry,
  type IStatusbarEntryAccessor,
  StatusbarAlignment,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar'
import { followMetrics, type Metrics } from '../../platform/feeds'
import type { WorkbenchContext } from '../../workbench/context'

const EVERY = 3000
/** From this part of the whole on, a gauge warns. */
const NEARLY_FULL = 0.92

export async function showGauges({ session, status }: WorkbenchContext): Promise<void> {
  const bar = await getService(IStatusbarService)
  let entry: IStatusbarEntryAccessor | undefined
  followMetrics(session, EVERY, (metrics) => {
    const content = describe(metrics, status.accelerator_note ?? '')
    if (entry) entry.update(content)
    else entry = bar.addEntry(content, 'roost.gauges', StatusbarAlignment.RIGHT, 1000)
  })
}

const percent = (part: number) => `${Math.round(part * 100)}%`
const gibibytes = (bytes: bigint) => (Number(bytes) / 2 ** 30).toFixed(1)
const part = (used: bigint, total: bigint) => (total > 0n ? Number(used) / Number(total) : 0)

export function describe(metrics: Metrics, note: string): IStatusbarEntry {
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
  const full = memory > NEARLY_FULL || disk > NEARLY_FULL
  return {
    name: 'Machine',
    text: `$(pulse) ${percent(busy)}  $(chip) ${percent(memory)}  $(database) ${percent(disk)}`,
    ariaLabel: lines.join(', '),
    tooltip: lines.join('\n'),
    ...(full ? { kind: 'warning' as const } : {}),
  }
}
