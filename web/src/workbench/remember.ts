// Writes down which editors and parts are shown soon after they change: a page that closes has no time for it.
import {
  getService,
  IEditorService,
  IStorageService,
  IWorkbenchLayoutService,
} from '@codingame/monaco-vscode-api/services'

const SETTLE = 800

export async function rememberLayout(): Promise<void> {
  const [editors, layout, storage] = await Promise.all([
    getService(IEditorService),
    getService(IWorkbenchLayoutService),
    getService(IStorageService),
  ])
  let timer: ReturnType<typeof setTimeout> | undefined
  const soon = () => {
    clearTimeout(timer)
    timer = setTimeout(() => void storage.flush(), SETTLE)
  }
  editors.onDidEditorsChange(soon)
  editors.onDidActiveEditorChange(soon)
  layout.onDidChangePartVisibility(soon)
}
