// The library with which grammars match text, begun while the editor's code is still on its way.
import oniguruma from '@codingame/monaco-vscode-textmate-service-override/_virtual/main2'
import wasm from '../../node_modules/@codingame/monaco-vscode-textmate-service-override/external/vscode-oniguruma/release/onig.wasm?url'

/**
 * The editor's own call finds it loaded. From an answer, unlike from the bytes that the editor would take, the browser
 * keeps the compiled code, and from the second visit on takes the fast one from its cache.
 */
export async function loadRegularExpressions(): Promise<void> {
  await oniguruma.loadWASM({ data: await fetch(wasm) })
}
