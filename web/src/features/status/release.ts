// Says once that Roost was upgraded under the open page, whose own scripts may be gone from the server.
import { getService, INotificationService } from '@codingame/monaco-vscode-api/services'
import { Severity } from '@codingame/monaco-vscode-api/vscode/vs/platform/notification/common/notification'
import { isOutdated } from '../../platform/release'
import type { WorkbenchContext } from '../../workbench/context'

export function watchRelease({ session }: WorkbenchContext): void {
  let told = false
  const look = async () => {
    if (told || !(await isOutdated()) || told) return
    told = true
    const notifications = await getService(INotificationService)
    notifications.prompt(
      Severity.Info,
      'Roost was updated while this page was open. Reload it to get the new version: terminals run on, and unsaved edits are kept.',
      [{ label: 'Reload', run: () => location.reload() }],
      { sticky: true },
    )
  }
  // A server that was upgraded was away for a moment; a script that cannot be had any more is the other sign.
  let connected = true
  session.interactive.onState(({ kind }) => {
    if (kind === 'open' && !connected) void look()
    connected = kind === 'open'
  })
  window.addEventListener('vite:preloadError', () => void look())
}
