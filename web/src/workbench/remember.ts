// Writes down which editors are open soon after they change: a page that closes has no time for it.
import { getService, IEditorService, IStorageService } from '@codingame/monaco-vscode-api/services'

const SETTLE = 800

export async function rememberEditors(): Promise<void> {
  const [editors, storage] = await Promise.all([getService(IEditorService), getService(IStorageService)])
  let timer: ReturnType<typeof setTimeout> | undefined
  const soon = () => {
    clearTimeout(timer)
    timer = setTimeout(() => void storage.flush(), SETTLE)
  }
  editors.onDidEditorsChange(soon)
  editors.onDidActiveEditorChange(soon)
}
