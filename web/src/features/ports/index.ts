// Ports: what listens in the workspace, how to get there, and word of it when it appears.
import {
  getService,
  IClipboardService,
  INotificationService,
  IOpenerService,
  NotificationPriority,
  Severity,
} from '@codingame/monaco-vscode-api/services'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import { followPorts } from '../../platform/feeds'
import type { Feature } from '../../workbench/context'
import { previewUrl } from '../../workbench/preview-url'
import { registerPortActions } from './actions'
import { Ports } from './ports'
import { registerPortsView } from './view'

export function portsFeature(): Feature {
  const ports = new Ports()
  return {
    startLater: async (context) => {
      const { session, status } = context
      registerPortActions(context, ports)
      await registerPortsView(context, ports)
      const notifications = await getService(INotificationService)
      const opener = await getService(IOpenerService)
      const clipboard = await getService(IClipboardService)
      ports.onDidAppear(({ port, process }) => {
        const address = previewUrl(status, port)
        const who = process ? ` (${process})` : ''
        notifications.prompt(
          Severity.Info,
          `Port ${port}${who} is listening.`,
          [
            { label: 'Open', run: () => void opener.open(URI.parse(address), { openExternal: true }) },
            { label: 'Copy Address', run: () => void clipboard.writeText(address) },
          ],
          { priority: NotificationPriority.DEFAULT },
        )
      })
      followPorts(session, (seen) => ports.update(seen))
    },
  }
}
