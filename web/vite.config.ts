// Two pages from one build: the dashboard (index.html) and the editor (workbench.html).
import vsix from '@codingame/monaco-vscode-rollup-vsix-plugin'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [svelte(), vsix()],
  build: {
    target: 'es2023',
    outDir: 'dist',
    assetsDir: 'assets',
    // The editor's chunks are large by nature; sizes are watched by the benchmark instead.
    chunkSizeWarningLimit: 100_000,
    reportCompressedSize: false,
    rolldownOptions: { input: { index: 'index.html', workbench: 'workbench.html' } },
  },
  worker: { format: 'es' },
  resolve: { dedupe: ['vscode', 'monaco-editor'] },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
