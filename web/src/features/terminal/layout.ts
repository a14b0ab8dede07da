// Which terminals this tab shows, and how they are split: kept by name, since numbers are of one page only.
import type {
  ITerminalsLayoutInfo,
  ITerminalsLayoutInfoById,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal'

interface Tab {
  active: boolean
  activeTerminal: string | undefined
  terminals: { name: string; relativeSize: number }[]
}

export interface Layout {
  tabs: Tab[]
}

type AttachTarget = NonNullable<ITerminalsLayoutInfo['background']>[number]

export function toLayout(info: ITerminalsLayoutInfoById, nameOf: (id: number) => string | undefined): Layout {
  const tabs = info.tabs.map((tab) => ({
    active: tab.isActive,
    activeTerminal: tab.activePersistentProcessId === undefined ? undefined : nameOf(tab.activePersistentProcessId),
    terminals: tab.terminals.flatMap(({ terminal, relativeSize }) => {
      const name = nameOf(terminal)
      return name ? [{ name, relativeSize }] : []
    }),
  }))
  return { tabs: tabs.filter((tab) => tab.terminals.length > 0) }
}

/** The layout with those terminals that still run; the others that run and nobody shows get a tab each. */
export function fromLayout(
  layout: Layout | undefined,
  running: ReadonlyMap<string, AttachTarget>,
  unclaimed: readonly string[],
): ITerminalsLayoutInfo {
  const claimed = new Set<string>()
  const tabs: ITerminalsLayoutInfo['tabs'] = []
  for (const tab of layout?.tabs ?? []) {
    const terminals = tab.terminals.flatMap(({ name, relativeSize }) => {
      const terminal = running.get(name)
      if (!terminal) return []
      claimed.add(name)
      return [{ terminal, relativeSize }]
    })
    if (terminals.length === 0) continue
    const active = running.get(tab.activeTerminal ?? '') ?? terminals[0]?.terminal
    tabs.push({ isActive: tab.active, activePersistentProcessId: active?.id, terminals })
  }
  for (const name of unclaimed) {
    const terminal = running.get(name)
    if (!terminal || claimed.has(name)) continue
    tabs.push({
      isActive: tabs.length === 0,
      activePersistentProcessId: terminal.id,
      terminals: [{ terminal, relativeSize: 1 }],
    })
  }
  return { tabs, background: null }
}
