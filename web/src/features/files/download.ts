// The explorer's "Download…": a file as it is, a folder as one archive.
import {
  IEditorGroupsService,
  IEditorService,
  IExplorerService,
  INotificationService,
  IProgressService,
} from '@codingame/monaco-vscode-api/services'
import { basename } from '@codingame/monaco-vscode-api/vscode/vs/base/common/resources'
import type { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import { CommandsRegistry } from '@codingame/monaco-vscode-api/vscode/vs/platform/commands/common/commands'
import { IListService } from '@codingame/monaco-vscode-api/vscode/vs/platform/list/browser/listService.service'
import { ProgressLocation } from '@codingame/monaco-vscode-api/vscode/vs/platform/progress/common/progress'
import { getMultiSelectedResources } from '@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/files/browser/files'
import { type Files, FileType } from '../../platform/files'

/** Takes the place of VS Code's own, which asks the browser for a folder to write into file by file. */
export function registerDownload(files: Files): void {
  CommandsRegistry.registerCommand('explorer.download', async (accessor, resource?: URI) => {
    const notifications = accessor.get(INotificationService)
    const progress = accessor.get(IProgressService)
    const chosen = getMultiSelectedResources(
      resource,
      accessor.get(IListService),
      accessor.get(IEditorService),
      accessor.get(IEditorGroupsService),
      accessor.get(IExplorerService),
    )
    for (const each of chosen) {
      const name = basename(each)
      const abort = new AbortController()
      try {
        await progress.withProgress(
          { location: ProgressLocation.Notification, title: `Downloading ${name}`, cancellable: true, delay: 500 },
          (report) => {
            let total = 0
            return download(files, each.path, name, abort.signal, (bytes) => {
              total += bytes
              report.report({ message: `${(total / 1e6).toFixed(1)} MB` })
            })
          },
          () => abort.abort(),
        )
      } catch (error) {
        if (!abort.signal.aborted) notifications.error(`${name} was not downloaded: ${(error as Error).message}`)
      }
    }
  })
}

async function download(
  files: Files,
  path: string,
  name: string,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const info = await files.stat(path)
  const folder = info.type === FileType.DIRECTORY
  const pieces: Uint8Array<ArrayBuffer>[] = []
  const onData = (bytes: Uint8Array) => {
    pieces.push(new Uint8Array(bytes))
    onBytes(bytes.length)
  }
  if (folder) await files.archive(path, { zip: false, onData, signal })
  else await files.stream(path, { size: Number(info.size), onData, signal })
  save(new Blob(pieces), folder ? `${name}.tar.gz` : name)
}

function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // The browser has taken hold of the content once it has handled the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
