// What a person does with a port of the workspace.
import {
  IClipboardService,
  INotificationService,
  IOpenerService,
  IQuickInputService,
} from '@codingame/monaco-vscode-api/services'
import { Codicon } from '@codingame/monaco-vscode-api/vscode/vs/base/common/codicons'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import {
  Action2,
  MenuId,
  registerAction2,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/actions/common/actions'
import { ContextKeyExpr } from '@codingame/monaco-vscode-api/vscode/vs/platform/contextkey/common/contextkey'
import type { ServicesAccessor } from '@codingame/monaco-vscode-api/vscode/vs/platform/instantiation/common/instantiation'
import type { TreeViewItemHandleArg } from '@codingame/monaco-vscode-api/vscode/vs/workbench/common/views'
import type { WorkbenchContext } from '../../workbench/context'
import { previewUrl } from '../../workbench/preview-url'
import type { Ports } from './ports'
import { PORT_ITEM, VIEW_ID } from './view'

// Not `roost.ports.open`: that is VS Code's own command for the view.
export const OPEN_PORT = 'roost.ports.openInBrowser'
export const COPY_ADDRESS = 'roost.ports.copyAddress'

const category = { value: 'Roost', original: 'Roost' }
const title = (text: string) => ({ value: text, original: text })
const onItem = ContextKeyExpr.and(ContextKeyExpr.equals('view', VIEW_ID), ContextKeyExpr.equals('viewItem', PORT_ITEM))

export function registerPortActions(context: WorkbenchContext, ports: Ports): void {
  const address = (port: number) => previewUrl(context.status, port)

  registerAction2(
    class extends Action2 {
      constructor() {
        super({
          id: OPEN_PORT,
          title: title('Open Port in Browser'),
          category,
          f1: true,
          icon: Codicon.globe,
          menu: { id: MenuId.ViewItemContext, group: 'inline', order: 1, when: onItem },
        })
      }
      async run(accessor: ServicesAccessor, argument?: number | TreeViewItemHandleArg): Promise<void> {
        const opener = accessor.get(IOpenerService)
        const port = await chosen(accessor, ports, argument)
        if (port !== undefined) await opener.open(URI.parse(address(port)), { openExternal: true })
      }
    },
  )

  registerAction2(
    class extends Action2 {
      constructor() {
        super({
          id: COPY_ADDRESS,
          title: title('Copy Address of Port'),
          category,
          f1: true,
          icon: Codicon.copy,
          menu: { id: MenuId.ViewItemContext, group: 'inline', order: 2, when: onItem },
        })
      }
      async run(accessor: ServicesAccessor, argument?: number | TreeViewItemHandleArg): Promise<void> {
        const clipboard = accessor.get(IClipboardService)
        const port = await chosen(accessor, ports, argument)
        if (port !== undefined) await clipboard.writeText(address(port))
      }
    },
  )

  registerAction2(
    class extends Action2 {
      constructor() {
        super({
          id: 'roost.ports.forward',
          title: title('Forward a Port…'),
          category,
          f1: true,
          icon: Codicon.add,
          menu: { id: MenuId.ViewTitle, group: 'navigation', when: ContextKeyExpr.equals('view', VIEW_ID) },
        })
      }
      async run(accessor: ServicesAccessor): Promise<void> {
        const clipboard = accessor.get(IClipboardService)
        const notifications = accessor.get(INotificationService)
        const opener = accessor.get(IOpenerService)
        const text = await accessor.get(IQuickInputService).input({
          prompt: 'Which port of the workspace?',
          placeHolder: '3000',
          validateInput: async (value) => (isPort(value) ? undefined : 'A number from 1 to 65535.'),
        })
        if (text === undefined || !isPort(text)) return
        const port = Number(text)
        ports.add(port)
        notifications.prompt(1, `Port ${port} is at ${address(port)}`, [
          { label: 'Open', run: () => void opener.open(URI.parse(address(port)), { openExternal: true }) },
          { label: 'Copy Address', run: () => void clipboard.writeText(address(port)) },
        ])
      }
    },
  )
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535

async function chosen(
  accessor: ServicesAccessor,
  ports: Ports,
  argument: number | TreeViewItemHandleArg | undefined,
): Promise<number | undefined> {
  if (typeof argument === 'number') return argument
  if (argument?.$treeItemHandle) return Number(argument.$treeItemHandle)
  const items = ports.list.map(({ port, process }) => ({ label: String(port), description: process }))
  if (items.length === 0) {
    accessor.get(INotificationService).info('Nothing listens on a port in this workspace yet.')
    return undefined
  }
  const picked = await accessor.get(IQuickInputService).pick(items, { placeHolder: 'Which port?' })
  return picked ? Number(picked.label) : undefined
}
