// Leaves out of the editor what nothing here can reach: none of it is small, and a browser compiles all that it gets.
import type { Plugin } from 'vite'

interface Part {
  file: RegExp
  by: RegExp
  /** Stands for the module. Absent: it is imported for its effect alone, and nothing misses it. */
  code?: string
}

const PARTS: Part[] = [
  // What only an extension host would use: none runs in the page.
  {
    file: /vs\/workbench\/api\/browser\/mainThread[A-Za-z0-9]+\.js$/,
    by: /monaco-vscode-extensions-service-override\/index\.js$/,
  },
  // Recommends an extension to users of Windows, with all of the extensions' user interface behind it.
  { file: /terminal\.wslRecommendation\.contribution\.js$/, by: /monaco-vscode-terminal-service-override\// },
  // Opened by source control alone, which is not here yet.
  { file: /mergeEditor\.contribution\.js$/, by: /monaco-vscode-view-common-service-override\/index\.js$/ },
  // There are no notebooks here, so nothing is one of theirs.
  {
    file: /notebook\/browser\/notebookEditorWidget(\.js)?$/,
    by: /search\/browser\/searchTreeModel\/searchResult\.js$/,
    code: 'export class NotebookEditorWidget {}',
  },
  {
    file: /notebook\/browser\/notebookEditor\.js$/,
    by: /search\/browser\/searchView\.js$/,
    code: 'export class NotebookEditor {}',
  },
  // Nobody offers completions that are drawn into the text; the editor makes this view all the same.
  {
    file: /view\/inlineSuggestionsView\.js$/,
    by: /inlineCompletions\/browser\/controller\/inlineCompletionsController\.js$/,
    code: `export class InlineSuggestionsView {
      static hot = { read: () => InlineSuggestionsView }
      shouldShowHoverAtViewZone() { return false }
      dispose() {}
    }`,
  },
  // The rest is of AI features, which are off, and of remote machines as VS Code has them.
  {
    file: /common\/customizationHarnessService\.js$/,
    by: /monaco-vscode-api\/missing-services\.js$/,
    code: 'export const createVSCodeHarnessDescriptor = () => ({})',
  },
  {
    file: /mcp\/common\/mcpTypes\.js$/,
    by: /monaco-vscode-api\/missing-services\.js$/,
    code: 'export const LazyCollectionState = { AllKnown: 2 }',
  },
  {
    file: /chat\/browser\/actions\/chatContext\.js$/,
    by: /terminal\/browser\/xterm\/decorationAddon\.js$/,
    code: 'export class TerminalContext {}',
  },
  {
    file: /chat\/browser\/actions\/chatActions(\.js)?$/,
    by: /tasks\/browser\/abstractTaskService\.js$/,
    code: "export const CHAT_OPEN_ACTION_ID = 'workbench.action.chat.open'",
  },
  {
    file: /remote\/browser\/remoteExplorer(\.js)?$/,
    by: /api\/browser\/viewsExtensionPoint\.js$/,
    code: "export const VIEWLET_ID = 'workbench.view.remote'",
  },
  {
    file: /common\/extHostTypes\.js$/,
    by: /api\/browser\/statusBarExtensionPoint\.js$/,
    code: `export const asStatusBarItemIdentifier = (extension, id) => (extension.value ?? extension).toLowerCase() + '.' + id`,
  },
  // Settings are kept by the server, not by VS Code's own synchronisation.
  {
    file: /userDataSyncInit\.js$/,
    by: /monaco-vscode-user-data-profile-service-override\/index\.js$/,
    code: `export class UserDataSyncInitializer {
      async requiresInitialization() { return false }
      async initializeRequiredResources() {}
      async initializeOtherResources() {}
      async initializeInstalledExtensions() {}
    }`,
  },
]

const STAND_IN = '\0roost-stand-in-'

export function trimEditor(): Plugin {
  return {
    name: 'roost-trim-editor',
    enforce: 'pre',
    resolveId: (source, importer) => {
      if (!importer) return null
      const found = PARTS.findIndex(({ file, by }) => by.test(importer) && file.test(source))
      return found < 0 ? null : STAND_IN + found
    },
    load: (id) => {
      if (!id.startsWith(STAND_IN)) return null
      return { code: PARTS[Number(id.slice(STAND_IN.length))]?.code ?? 'export {}', moduleSideEffects: false }
    },
  }
}
