// Leaves out of the editor what nothing here can reach: none of it is small, and a browser compiles all that it gets.
import type { Plugin } from 'vite'

/** Imported for their effect alone, so that nothing misses them. */
const UNUSED: { file: RegExp; by: RegExp }[] = [
  // What only an extension host would use: none runs in the page.
  {
    file: /vs\/workbench\/api\/browser\/mainThread[A-Za-z0-9]+\.js$/,
    by: /monaco-vscode-extensions-service-override\/index\.js$/,
  },
  // Recommends an extension to users of Windows, with all of the extensions' user interface behind it.
  { file: /terminal\.wslRecommendation\.contribution\.js$/, by: /monaco-vscode-terminal-service-override\// },
]

/** Asked for only whether something is one of theirs. There are no notebooks here, so nothing is. */
const CLASSES: { file: RegExp; by: RegExp; name: string }[] = [
  {
    file: /notebook\/browser\/notebookEditorWidget(\.js)?$/,
    by: /search\/browser\/searchTreeModel\/searchResult\.js$/,
    name: 'NotebookEditorWidget',
  },
  {
    file: /notebook\/browser\/notebookEditor\.js$/,
    by: /search\/browser\/searchView\.js$/,
    name: 'NotebookEditor',
  },
]

const EMPTY = '\0roost-empty'
const CLASS = '\0roost-class-'

export function trimEditor(): Plugin {
  const matches = (source: string, importer: string) => (one: { file: RegExp; by: RegExp }) =>
    one.by.test(importer) && one.file.test(source)
  return {
    name: 'roost-trim-editor',
    enforce: 'pre',
    resolveId: (source, importer) => {
      if (!importer) return null
      if (UNUSED.some(matches(source, importer))) return EMPTY
      const found = CLASSES.find(matches(source, importer))
      return found ? CLASS + found.name : null
    },
    load: (id) => {
      if (id === EMPTY) return { code: 'export {}', moduleSideEffects: false }
      if (!id.startsWith(CLASS)) return null
      return { code: `export class ${id.slice(CLASS.length)} {}`, moduleSideEffects: false }
    },
  }
}
