// Two pages from one build: the dashboard (index.html) and the editor (workbench.html).
import vsix from '@codingame/monaco-vscode-rollup-vsix-plugin'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'
import { nameExtensions } from './vite-manifests'
import { preloadEditor } from './vite-preload'
import { trimEditor } from './vite-trim'

const workbench = { workbench: 'workbench.html' }

export default defineConfig(({ mode }) => ({
  // The fake guest is part of a build of its own: `vite build --mode fake`.
  define: { ROOST_FAKE: JSON.stringify(mode === 'fake') },
  plugins: [trimEditor(), nameExtensions(), svelte(), vsix(), preloadEditor()],
  build: {
    target: 'es2023',
    outDir: mode === 'fake' ? 'dist-fake' : 'dist',
    assetsDir: 'assets',
    // What the editor's page names in its head (vite-preload) is not asked for a second time; style sheets are applied.
    modulePreload: {
      resolveDependencies: (file, needed) =>
        /assets\/editor-/.test(file) ? needed.filter((name) => name.endsWith('.css')) : needed,
    },
    // The editor's chunks are large by nature; sizes are watched by the benchmark instead.
    chunkSizeWarningLimit: 100_000,
    reportCompressedSize: false,
    rolldownOptions: {
      input: mode === 'fake' ? workbench : { index: 'index.html', ...workbench },
      // Several scripts are fetched, unpacked and compiled side by side; one of twelve megabytes is not.
      output: {
        codeSplitting: {
          groups: [
            // The small entry must not hang on the large scripts for the sake of a helper.
            { name: 'preload', test: /vite\/(preload-helper|modulepreload-polyfill)/, priority: 9 },
            { name: 'code-base', test: /\/vs\/(base|platform)\//, priority: 3 },
            { name: 'code-editor', test: /\/vs\/editor\//, priority: 2 },
            // Of the layouts of keyboards, one system's are fetched.
            {
              name: 'code-workbench',
              test: /\/vs\/workbench\/(common|services|browser)\/(?!.*\/keyboardLayouts\/)/,
              priority: 1,
            },
          ],
        },
      },
    },
  },
  worker: { format: 'es' },
  resolve: { dedupe: ['vscode', 'monaco-editor'] },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
}))
