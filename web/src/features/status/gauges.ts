// How busy the machine is, at a glance.
import { getService, IStatusbarService } from '@codingame/monaco-vscode-api/services'
import {
  type IStatusbarEntry,
  type IStatusbarEntryAccessor,
  StatusbarAlignment,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar'
import { followMetrics, type Metrics } from '../../platform/feeds'
import type { WorkbenchContext } from '../../workbench/context'
import { figures } from './figures'

const EVERY = 3000

export async function showGauges({ session, status }: WorkbenchContext): Promise<void> {
  const bar = await getService(IStatusbarService)
  let entry: IStatusbarEntryAccessor | undefined
  followMetrics(session, EVERY, (metrics) => {
    const content = describe(metrics, status.accelerator_note ?? '')
    if (entry) entry.update(content)
    else entry = bar.addEntry(content, 'roost.gauges', StatusbarAlignment.RIGHT, 1000)
  })
}

function describe(metrics: Metrics, note: string): IStatusbarEntry {
  const { text, tooltip, warns } = figures(metrics, note)
  const ariaLabel = tooltip.replaceAll('\n', ', ')
  return { name: 'Machine', text, ariaLabel, tooltip, ...(warns ? { kind: 'warning' as const } : {}) }
}
