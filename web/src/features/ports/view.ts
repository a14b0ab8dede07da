// The ports as a view beside the terminals.
import { createInstance } from '@codingame/monaco-vscode-api/services'
import { Codicon } from '@codingame/monaco-vscode-api/vscode/vs/base/common/codicons'
import { SyncDescriptor } from '@codingame/monaco-vscode-api/vscode/vs/platform/instantiation/common/descriptors'
import { Registry } from '@codingame/monaco-vscode-api/vscode/vs/platform/registry/common/platform'
import { registerIcon } from '@codingame/monaco-vscode-api/vscode/vs/platform/theme/common/iconRegistry'
import { TreeView, TreeViewPane } from '@codingame/monaco-vscode-api/vscode/vs/workbench/browser/parts/views/treeView'
import { ViewPaneContainer } from '@codingame/monaco-vscode-api/vscode/vs/workbench/browser/parts/views/viewPaneContainer'
import {
  Extensions,
  type ITreeItem,
  type ITreeViewDescriptor,
  type IViewContainersRegistry,
  type IViewsRegistry,
  TreeItemCollapsibleState,
  ViewContainerLocation,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/common/views'
import type { WorkbenchContext } from '../../workbench/context'
import { previewUrl } from '../../workbench/preview-url'
import { OPEN_PORT } from './actions'
import type { Port, Ports } from './ports'

export const VIEW_ID = 'roost.ports'
/** Marks the items to which the actions belong. */
export const PORT_ITEM = 'port'

const icon = registerIcon('roost-ports-view', Codicon.radioTower, 'View icon of the ports view.')
const title = { value: 'Ports', original: 'Ports' }

export async function registerPortsView(context: WorkbenchContext, ports: Ports): Promise<void> {
  const container = Registry.as<IViewContainersRegistry>(Extensions.ViewContainersRegistry).registerViewContainer(
    {
      id: `${VIEW_ID}.container`,
      title,
      icon,
      ctorDescriptor: new SyncDescriptor(ViewPaneContainer, [
        `${VIEW_ID}.container`,
        { mergeViewWithContainerWhenSingleView: true },
      ]),
      storageId: `${VIEW_ID}.state`,
      hideIfEmpty: true,
      order: 5,
    },
    ViewContainerLocation.Panel,
  )
  const tree = await createInstance(TreeView, VIEW_ID, 'Ports')
  tree.showRefreshAction = false
  tree.message = message(ports)
  tree.dataProvider = { getChildren: async () => ports.list.map((port) => item(context, port)) }
  const descriptor: ITreeViewDescriptor = {
    id: VIEW_ID,
    name: title,
    containerIcon: icon,
    ctorDescriptor: new SyncDescriptor(TreeViewPane),
    treeView: tree,
    canToggleVisibility: false,
    canMoveView: true,
    collapsed: false,
  }
  Registry.as<IViewsRegistry>(Extensions.ViewsRegistry).registerViews([descriptor], container)
  ports.onDidChange(() => {
    tree.message = message(ports)
    const { length } = ports.list
    tree.badge = length > 0 ? { value: length, tooltip: `${length} ports` } : undefined
    void tree.refresh()
  })
}

const message = (ports: Ports): string | undefined =>
  ports.list.length > 0 ? undefined : 'No ports yet. Start a web server in the terminal, and its address appears here.'

function item({ status }: WorkbenchContext, { port, process, listening }: Port): ITreeItem {
  const address = previewUrl(status, port)
  return {
    handle: String(port),
    collapsibleState: TreeItemCollapsibleState.None,
    label: { label: String(port) },
    description: `${listening ? process : 'nothing listens yet'}  ${address}`,
    tooltip: `${address}\nPrivate to you. Click to open.`,
    themeIcon: listening ? Codicon.radioTower : Codicon.circleOutline,
    contextValue: PORT_ITEM,
    command: { id: OPEN_PORT, title: 'Open', arguments: [port] },
  }
}
