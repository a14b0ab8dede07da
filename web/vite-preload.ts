// Lets the browser fetch the editor's code as soon as it has read the page, not once the entry has run.
import type { HtmlTagDescriptor, Plugin } from 'vite'

/** Modules that the first picture needs and that are found late: the editor, and what colours text. */
const EARLY = [
  /src\/app\/editor\.ts$/,
  /src\/workbench\/regular-expressions\.ts$/,
  /monaco-vscode-api\/_virtual\/main\.js$/,
]
const EARLY_ASSETS = /^assets\/(onig-.*\.wasm|codicon-.*\.ttf|vs-seti-icon-theme-.*\.json)$/
/** Themes are chains of files, each of which names the next. */
const EARLY_THEMES = /^assets\/(light|dark)_(?:modern|plus|vs)-.*\.json$/

export function preloadEditor(): Plugin {
  return {
    name: 'roost-preload-editor',
    transformIndexHtml: {
      order: 'post',
      handler(html, { bundle, filename }) {
        if (!bundle || !filename.endsWith('workbench.html')) return html
        const scripts = new Set<string>()
        const styles = new Set<string>()
        for (const chunk of Object.values(bundle)) {
          if (chunk.type !== 'chunk' || !EARLY.some((early) => early.test(chunk.facadeModuleId ?? ''))) continue
          for (const name of [chunk.fileName, ...chunk.imports]) {
            scripts.add(name)
            const script = bundle[name]
            if (script?.type !== 'chunk') continue
            for (const style of script.viteMetadata?.importedCss ?? []) styles.add(style)
          }
        }
        const tag = (attributes: Record<string, string | boolean>): HtmlTagDescriptor => ({
          tag: 'link',
          attrs: attributes,
          injectTo: 'head',
        })
        const assets = Object.keys(bundle).filter((name) => EARLY_ASSETS.test(name))
        const themes = Object.keys(bundle).flatMap((name) => {
          const scheme = EARLY_THEMES.exec(name)?.[1]
          return scheme ? [{ name, media: `(prefers-color-scheme: ${scheme})` }] : []
        })
        return [
          ...[...scripts].map((name) => tag({ rel: 'modulepreload', crossorigin: true, href: `/${name}` })),
          ...[...styles].map((name) => tag({ rel: 'preload', as: 'style', crossorigin: true, href: `/${name}` })),
          ...assets.map((name) =>
            tag({ rel: 'preload', as: name.endsWith('.ttf') ? 'font' : 'fetch', crossorigin: true, href: `/${name}` }),
          ),
          ...themes.map(({ name, media }) =>
            tag({ rel: 'preload', as: 'fetch', crossorigin: true, href: `/${name}`, media }),
          ),
        ]
      },
    },
  }
}
