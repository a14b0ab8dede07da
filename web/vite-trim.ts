// Leaves out of the editor what only an extension host would use: none runs in the page.
import type { Plugin } from 'vite'

/** Imported for their effect alone, so that nothing misses them. */
const UNUSED = /vs\/workbench\/api\/browser\/mainThread[A-Za-z0-9]+\.js$/
const IMPORTER = /monaco-vscode-extensions-service-override\/index\.js$/
const EMPTY = '\0roost-empty'

export function trimEditor(): Plugin {
  return {
    name: 'roost-trim-editor',
    enforce: 'pre',
    resolveId: (source, importer) => (importer && IMPORTER.test(importer) && UNUSED.test(source) ? EMPTY : null),
    load: (id) => (id === EMPTY ? { code: 'export {}', moduleSideEffects: false } : null),
  }
}
