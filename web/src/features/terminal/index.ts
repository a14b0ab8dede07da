// Terminals: VS Code's own panel on shells of the workspace.
import { Registry } from '@codingame/monaco-vscode-api/vscode/vs/platform/registry/common/platform'
import {
  type ITerminalBackendRegistry,
  TerminalExtensions,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal'
import { listTerminals } from '../../platform/terminals'
import type { Feature } from '../../workbench/context'
import { WorkspaceTerminals } from './backend'
import { drawTerminalsWithCard } from './drawing'
import { noticeLeaving } from './leaving'

/** How often the names of running programs are asked for, in milliseconds. */
const NAMES_EVERY = 3000

export function terminalFeature(): Feature {
  let backend: WorkspaceTerminals | undefined
  return {
    prepare: ({ session, status, folder }) => {
      noticeLeaving()
      backend = new WorkspaceTerminals(session, { id: status.id, name: status.name, folder })
      Registry.as<ITerminalBackendRegistry>(TerminalExtensions.Backend).registerTerminalBackend(backend)
    },
    startLater: ({ session }) => {
      drawTerminalsWithCard()
      setInterval(async () => {
        const shown = [...(backend?.shown ?? [])]
        if (shown.length === 0 || document.hidden || session.interactive.state.kind !== 'open') return
        const running = await listTerminals(session).catch(() => [])
        for (const process of shown) {
          const now = running.find(({ terminal }) => terminal === process.terminal)
          if (!now) continue
          if (now.foreground) process.setTitle(now.foreground)
          process.setHasChildProcesses(now.foreground !== '' && !/^-?(ba|z|fi|da)?sh$/.test(now.foreground))
          process.setDirectory(now.workingDirectory)
        }
      }, NAMES_EVERY)
    },
  }
}
