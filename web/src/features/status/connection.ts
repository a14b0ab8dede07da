// The connection in the status bar: silent while all is well, calm while it comes back.
import { getService, IStatusbarService } from '@codingame/monaco-vscode-api/services'
import {
  type IStatusbarEntry,
  type IStatusbarEntryAccessor,
  StatusbarAlignment,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/statusbar/browser/statusbar'
import type { ChannelState } from '../../platform/session/channel'
import type { WorkbenchContext } from '../../workbench/context'

const ENTRY = 'roost.connection'
/** A connection that is back sooner than this was never gone, as far as a person is concerned. */
const GRACE = 700

export async function showConnection({ session }: WorkbenchContext): Promise<void> {
  const bar = await getService(IStatusbarService)
  let entry: IStatusbarEntryAccessor | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  const show = (state: ChannelState) => {
    const content = describe(state)
    if (!content) {
      entry?.dispose()
      entry = undefined
    } else if (entry) entry.update(content)
    else entry = bar.addEntry(content, ENTRY, StatusbarAlignment.LEFT, 90)
  }
  session.interactive.onState((state) => {
    clearTimeout(timer)
    if (state.kind === 'open' || entry) show(state)
    else timer = setTimeout(() => show(session.interactive.state), GRACE)
  })
}

function describe(state: ChannelState): IStatusbarEntry | undefined {
  const name = 'Connection'
  switch (state.kind) {
    case 'open':
      return undefined
    case 'connecting':
    case 'waiting': {
      const text = 'Reconnecting…'
      const tooltip = 'The connection to the workspace is coming back. What runs in it goes on meanwhile.'
      return { name, text: `$(sync~spin) ${text}`, ariaLabel: text, tooltip, command: 'roost.reconnect' }
    }
    case 'stopped': {
      const text = state.cause === 'not-running' ? 'Workspace is not running' : 'Disconnected'
      return { name, text: `$(debug-disconnect) ${text}`, ariaLabel: text, tooltip: state.reason, kind: 'warning' }
    }
  }
}
