// Starts the editor: settings first, then VS Code's services, then our parts in the order of what is seen.
import { getService, initialize, LogLevel } from '@codingame/monaco-vscode-api'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import { LifecyclePhase } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/lifecycle/common/lifecycle'
import { ILifecycleService } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/lifecycle/common/lifecycle.service'
import { silenceCancellations } from './cancellations'
import type { Feature, WorkbenchContext } from './context'
import { configurationDefaults } from './defaults'
import './languages'
import { prepareColours } from './first-colours'
import { rememberTheme } from './look'
import { previewUrl } from './preview-url'
import { rememberLayout } from './remember'
import { serviceOverrides } from './services'
import { registerWorkers } from './workers'

export interface StartOptions {
  container: HTMLElement
  /** Absolute path of a file to show first, whatever was open before. */
  file?: string | undefined
}

export async function startWorkbench(
  context: WorkbenchContext,
  features: readonly Feature[],
  options: StartOptions,
): Promise<void> {
  registerWorkers()
  silenceCancellations()
  await Promise.all(features.map((feature) => feature.prepare?.(context)))
  performance.mark('roost:services')
  prepareColours(options.file ?? firstFile(context))
  await initialize(serviceOverrides(), options.container, constructionOptions(context, options), {
    userHome: URI.file('/home/dev'),
  })
  performance.mark('roost:initialized')
  await Promise.all(features.map((feature) => feature.start?.(context)))
  const lifecycle = await getService(ILifecycleService)
  // The files that were open are shown: what nobody is waiting for may begin.
  await lifecycle.when(LifecyclePhase.Restored)
  await painted()
  performance.mark('roost:painted')
  // The text gets its colours, and whoever types already is heard, before the rest is built.
  await idle()
  await Promise.all([rememberLayout(), rememberTheme(), ...features.map((feature) => feature.startLater?.(context))])
  performance.mark('roost:started')
}

type ConstructionOptions = NonNullable<Parameters<typeof initialize>[2]>

function constructionOptions(context: WorkbenchContext, options: StartOptions): ConstructionOptions {
  const { status, folder } = context
  const first = options.file ?? firstFile(context)
  return {
    workspaceProvider: {
      trusted: true,
      workspace: { folderUri: URI.file(folder) },
      open: async () => false,
    },
    developmentOptions: { logLevel: LogLevel.Warning },
    productConfiguration: {
      nameShort: 'Roost',
      nameLong: 'Roost',
      applicationName: 'roost',
      dataFolderName: '.roost',
      enableTelemetry: false,
    },
    configurationDefaults,
    defaultLayout: {
      editors: [{ uri: URI.file(first), openOnlyIfExists: true }],
      force: options.file !== undefined,
    },
    // What servers print as their address is the workspace's own.
    additionalTrustedDomains: ['http://0.0.0.0:*', 'https://0.0.0.0:*', 'http://[::]:*', 'https://[::]:*'],
    // A link to localhost that a program prints means the workspace's localhost.
    resolveExternalUri: async (uri) => {
      const local = /^(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::(\d+))?$/.exec(uri.authority)
      if (!local || !uri.scheme.startsWith('http')) return uri
      const port = Number(local[2] ?? (uri.scheme === 'https' ? 443 : 80))
      const target = URI.parse(previewUrl(status, port))
      return target.with({ path: uri.path, query: uri.query, fragment: uri.fragment })
    },
  }
}

/** What is shown where nothing was open before. */
const firstFile = ({ folder }: WorkbenchContext): string => `${folder}/README.md`

/** What follows waits no longer than this, in milliseconds. */
const IDLE_WAIT = 1500
/** Free time, in milliseconds, that is not a gap between two pieces of work: browsers give up to 50 at once. */
const QUIET = 40

const idle = (): Promise<void> =>
  new Promise((resolve) => {
    const end = performance.now() + IDLE_WAIT
    const look = (deadline: IdleDeadline) => {
      if (deadline.didTimeout || deadline.timeRemaining() >= QUIET) resolve()
      else requestIdleCallback(look, { timeout: Math.max(1, end - performance.now()) })
    }
    requestIdleCallback(look, { timeout: IDLE_WAIT })
  })

// Two frames: the first is laid out with what we have just made, the second has been shown.
const painted = (): Promise<void> =>
  new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve())))
