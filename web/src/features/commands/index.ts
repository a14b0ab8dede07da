// "Roost: …" in the command palette, and the same as a menu behind the workspace's name.
import {
  getService,
  ICommandService,
  IDialogService,
  INotificationService,
  IQuickInputService,
} from '@codingame/monaco-vscode-api/services'
import { Action2, registerAction2 } from '@codingame/monaco-vscode-api/vscode/vs/platform/actions/common/actions'
import type { ServicesAccessor } from '@codingame/monaco-vscode-api/vscode/vs/platform/instantiation/common/instantiation'
import type { Feature, WorkbenchContext } from '../../workbench/context'

const category = { value: 'Roost', original: 'Roost' }

export function commandsFeature(): Feature {
  return {
    start: (context) => {
      const { status, session } = context
      action('roost.openDashboard', 'Open Dashboard', () => {
        location.assign(status.dashboard_url)
      })
      action('roost.stop', 'Stop Workspace', () => stop(context))
      action('roost.reconnect', 'Reconnect Now', () => session.retry())
      action('roost.menu', 'Show Menu', menu)
      action('roost.notices', 'Show Third-Party Notices', () => {
        window.open('/third-party-notices.txt', '_blank', 'noopener')
      })
    },
  }
}

function action(id: string, title: string, run: (accessor: ServicesAccessor) => void | Promise<void>): void {
  registerAction2(
    class extends Action2 {
      constructor() {
        super({ id, title: { value: title, original: title }, category, f1: true })
      }
      override run(accessor: ServicesAccessor): void | Promise<void> {
        return run(accessor)
      }
    },
  )
}

async function stop({ gateway, status }: WorkbenchContext): Promise<void> {
  const dialogs = await getService(IDialogService)
  const { confirmed } = await dialogs.confirm({
    message: `Stop ${status.name}?`,
    detail: 'What runs in it ends. Its files stay, and it can be started again.',
    primaryButton: 'Stop Workspace',
  })
  if (!confirmed) return
  try {
    await gateway.stop()
    location.assign(status.dashboard_url)
  } catch (error) {
    const notifications = await getService(INotificationService)
    notifications.error(`${status.name} was not stopped: ${(error as Error).message}`)
  }
}

async function menu(accessor: ServicesAccessor): Promise<void> {
  const commands = accessor.get(ICommandService)
  const picked = await accessor.get(IQuickInputService).pick(
    [
      { label: '$(home) Open Dashboard', id: 'roost.openDashboard' },
      { label: '$(radio-tower) Forward a Port…', id: 'roost.ports.forward' },
      { label: '$(copy) Copy Address of Port', id: 'roost.ports.copyAddress' },
      { label: '$(terminal) New Terminal', id: 'workbench.action.terminal.new' },
      { label: '$(debug-stop) Stop Workspace', id: 'roost.stop' },
    ],
    { placeHolder: 'Roost' },
  )
  if (picked) await commands.executeCommand(picked.id)
}
