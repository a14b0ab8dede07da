// Files: the explorer's and the editor's source, changes made outside, pictures, downloads.
import { getService, ICommandService, ITextFileService } from '@codingame/monaco-vscode-api/services'
import { registerCustomProvider } from '@codingame/monaco-vscode-files-service-override'
import type { Feature } from '../../workbench/context'
import { watcherExcludes } from '../../workbench/defaults'
import { registerDownload } from './download'
import { registerImages } from './images'
import { WorkspaceFileSystem } from './provider'

/** The explorer waits no longer for the first picture, in milliseconds. */
const LISTINGS_WAIT = 3000

export function filesFeature(): Feature {
  let provider: WorkspaceFileSystem | undefined
  let list: (() => void) | undefined
  return {
    prepare: ({ session, files, folder }) => {
      provider = new WorkspaceFileSystem(session, files)
      list = provider.holdListings()
      // Whatever the first picture waits for.
      setTimeout(list, LISTINGS_WAIT)
      provider.watchEarly(folder, watcherExcludes)
      // In place of the family's overlay, which would write to the browser's memory what the machine refuses.
      registerCustomProvider('file', provider)
      registerImages(files, provider.onDidChangeFile)
    },
    startLater: async ({ session, files, folder }) => {
      list?.()
      registerDownload(files)
      const [commands, textFiles] = await Promise.all([getService(ICommandService), getService(ITextFileService)])
      const lookAgain = (below: string) => {
        const open = textFiles.files.models.map((model) => model.resource)
        provider?.suspect(open.filter((each) => each.scheme === 'file' && each.path.startsWith(below)))
        void commands.executeCommand('workbench.files.action.refreshFilesExplorer')
      }
      provider?.onDidLoseEvents(({ path }) => lookAgain(path))
      // What the explorer asked of a machine that stopped failed, and it does not ask again by itself.
      let stopped = false
      session.interactive.onState(({ kind }) => {
        if (kind === 'open' && stopped) lookAgain(folder)
        if (kind === 'open' || kind === 'stopped') stopped = kind === 'stopped'
      })
    },
  }
}
