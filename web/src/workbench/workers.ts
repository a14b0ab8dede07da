// Where the editor finds the scripts of its workers.

// Vite emits a worker's chunk where it sees `new Worker(new URL(…))`; this stand-in only keeps the address.
class Worker {
  constructor(
    readonly url: URL,
    readonly options: WorkerOptions,
  ) {}
}

const workers: Record<string, Worker> = {
  editorWorkerService: new Worker(new URL('monaco-editor/esm/vs/editor/editor.worker.js', import.meta.url), {
    type: 'module',
  }),
  extensionHostWorkerMain: new Worker(
    new URL('@codingame/monaco-vscode-api/workers/extensionHost.worker', import.meta.url),
    { type: 'module' },
  ),
  TextMateWorker: new Worker(new URL('@codingame/monaco-vscode-textmate-service-override/worker', import.meta.url), {
    type: 'module',
  }),
  OutputLinkDetectionWorker: new Worker(
    new URL('@codingame/monaco-vscode-output-service-override/worker', import.meta.url),
    { type: 'module' },
  ),
}

export function registerWorkers(): void {
  window.MonacoEnvironment = {
    getWorkerUrl: (_module, label) => workers[label]?.url.toString() as string,
    getWorkerOptions: (_module, label) => workers[label]?.options,
  }
}
