// The status bar: which workspace this is, the way back, the connection, how busy the machine is.
import { getService, IStatusbarService } from '@codingame/monaco-vscode-api/services'
import { StatusbarAlignment } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar'
import type { Feature } from '../../workbench/context'
import { showConnection } from './connection'
import { showGauges } from './gauges'
import { watchRelease } from './release'

export function statusFeature(): Feature {
  return {
    start: async (context) => {
      const bar = await getService(IStatusbarService)
      const { name } = context.status
      bar.addEntry(
        {
          name: 'Workspace',
          text: `$(server-environment) ${name}`,
          ariaLabel: `Workspace ${name}`,
          tooltip: 'Roost: dashboard, ports, stop…',
          command: 'roost.menu',
          kind: 'remote',
        },
        'roost.workspace',
        StatusbarAlignment.LEFT,
        Number.MAX_SAFE_INTEGER,
      )
      await showConnection(context)
    },
    startLater: async (context) => {
      watchRelease(context)
      await showGauges(context)
    },
  }
}
