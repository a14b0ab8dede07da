// Two pages from one build: the dashboard (index.html) and the editor (workbench.html).
import vsix from '@codingame/monaco-vscode-rollup-vsix-plugin'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'
import { preloadEditor } from './vite-preload'

const workbench = { workbench: 'workbench.html' }

export default defineConfig(({ mode }) => ({
  // The fake guest is part of a build of its own: `vite build --mode fake`.
  define: { ROOST_FAKE: JSON.stringify(mode === 'fake') },
  plugins: [svelte(), vsix(), preloadEditor()],
  build: {
    target: 'es2023',
    outDir: mode === 'fake' ? 'dist-fake' : 'dist',
    assetsDir: 'assets',
    // The editor's chunks are large by nature; sizes are watched by the benchmark instead.
    chunkSizeWarningLimit: 100_000,
    reportCompressedSize: false,
    rolldownOptions: { input: mode === 'fake' ? workbench : { index: 'index.html', ...workbench } },
  },
  worker: { format: 'es' },
  resolve: { dedupe: ['vscode', 'monaco-editor'] },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
}))
