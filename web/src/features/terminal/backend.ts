// Where VS Code's terminals come from: the workspace, in which they outlive the page.
import { Event } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event'
import type { IProcessEnvironment } from '@codingame/monaco-vscode-api/vscode/vs/base/common/platform'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import {
  type IShellLaunchConfig,
  type ITerminalBackend,
  type ITerminalChildProcess,
  type ITerminalProfile,
  type ITerminalsLayoutInfo,
  type ITerminalsLayoutInfoById,
  TitleEventSource,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal'
import type { IProcessDetails } from '@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminalProcess'
import type { Session } from '../../platform/session/session'
import { listTerminals, type Terminals_Terminal } from '../../platform/terminals'
import { fromLayout, type Layout, toLayout } from './layout'
import { Names } from './names'
import { type Origin, WorkspaceTerminal } from './process'

const SHELL = '/bin/bash'
/** Marks the terminals that an editor made: those of a command line are not shown unasked. */
const KEY_PREFIX = 'editor:'

export class WorkspaceTerminals implements ITerminalBackend {
  readonly remoteAuthority = undefined
  readonly isResponsive = true
  readonly onPtyHostUnresponsive = Event.None
  readonly onPtyHostResponsive = Event.None
  readonly onPtyHostRestart = Event.None
  readonly onDidRequestDetach = Event.None
  readonly whenReady: Promise<void>
  #markReady!: () => void
  readonly #shown = new Map<number, WorkspaceTerminal>()
  /** The names of running terminals that VS Code knows by a number. */
  readonly #listed = new Map<number, string>()
  #nextId = 1
  readonly #names: Names

  constructor(
    private readonly session: Session,
    private readonly workspace: { id: string; name: string; folder: string },
  ) {
    this.whenReady = new Promise((resolve) => {
      this.#markReady = resolve
    })
    this.#names = new Names(`roost.terminal-names.${workspace.id}`)
  }

  setReady(): void {
    this.#markReady()
  }

  get shown(): Iterable<WorkspaceTerminal> {
    return this.#shown.values()
  }

  async createProcess(
    launch: IShellLaunchConfig,
    cwd: string,
    columns: number,
    rows: number,
    _unicodeVersion: '6' | '11',
    env: IProcessEnvironment,
    _options: unknown,
    shouldPersist: boolean,
  ): Promise<ITerminalChildProcess> {
    const directory = this.#directory(launch.cwd ?? cwd)
    const options = {
      workingDirectory: directory,
      command: commandOf(launch),
      environment: environmentOf(env),
      title: launch.name ?? '',
      key: `${KEY_PREFIX}${crypto.randomUUID()}`,
    }
    return this.#show({ kind: 'new', options, size: { columns, rows } }, directory, shouldPersist)
  }

  async attachToProcess(id: number): Promise<ITerminalChildProcess | undefined> {
    const terminal = this.#listed.get(id)
    return terminal ? this.#show({ kind: 'running', terminal }, this.workspace.folder, true, id) : undefined
  }

  attachToRevivedProcess(id: number): Promise<ITerminalChildProcess | undefined> {
    return this.attachToProcess(id)
  }

  async listProcesses(): Promise<IProcessDetails[]> {
    const shown = new Set([...this.#shown.values()].map(({ terminal }) => terminal))
    const running = await listTerminals(this.session)
    return running.filter(({ terminal }) => !shown.has(terminal)).map((each) => this.#describe(each))
  }

  async getTerminalLayoutInfo(): Promise<ITerminalsLayoutInfo | undefined> {
    const running = await listTerminals(this.session)
    this.#names.keep(running.map(({ terminal }) => terminal))
    const own = this.#stored(sessionStorage)
    // Another tab's arrangement is only a proposal, for terminals that no tab shows any more.
    const unattended = running.filter(({ attached, key }) => attached === 0 && key.startsWith(KEY_PREFIX))
    const candidates = own ? running : unattended
    const targets = new Map(candidates.map((each) => [each.terminal, { ...this.#describe(each), isOrphan: true }]))
    const unclaimed = unattended.map(({ terminal }) => terminal)
    return fromLayout(own ?? this.#stored(localStorage), targets, unclaimed)
  }

  async setTerminalLayoutInfo(info?: ITerminalsLayoutInfoById): Promise<void> {
    // VS Code forgets the layout when a window closes; here the terminals run on.
    if (!info) return
    const text = JSON.stringify(toLayout(info, (id) => this.#nameOf(id)))
    sessionStorage.setItem(this.#storageKey, text)
    localStorage.setItem(this.#storageKey, text)
  }

  async getDefaultSystemShell(): Promise<string> {
    return SHELL
  }

  async getProfiles(): Promise<ITerminalProfile[]> {
    return [{ profileName: 'bash', path: SHELL, isDefault: true }]
  }

  async getEnvironment(): Promise<IProcessEnvironment> {
    return {}
  }

  async getShellEnvironment(): Promise<IProcessEnvironment | undefined> {
    return {}
  }

  async getWslPath(original: string): Promise<string> {
    return original
  }

  async getLatency(): Promise<[]> {
    return []
  }

  async getPerformanceMarks(): Promise<[]> {
    return []
  }

  async requestDetachInstance(): Promise<undefined> {}
  async acceptDetachInstanceReply(): Promise<void> {}
  async persistTerminalState(): Promise<void> {}

  async updateTitle(id: number, title: string, source: TitleEventSource): Promise<void> {
    // What the running program is called is the terminal's own; what a person calls it is kept here.
    const terminal = this.#nameOf(id)
    if (terminal) this.#names.set(terminal, source === TitleEventSource.Api ? title : undefined)
  }

  async reduceConnectionGraceTime(): Promise<void> {}
  async updateIcon(): Promise<void> {}
  async setNextCommandId(): Promise<void> {}
  async installAutoReply(): Promise<void> {}
  async uninstallAllAutoReplies(): Promise<void> {}
  restartPtyHost(): void {}

  get #storageKey(): string {
    return `roost.terminals.${this.workspace.id}`
  }

  #nameOf(id: number): string | undefined {
    return this.#shown.get(id)?.terminal || this.#listed.get(id)
  }

  #stored(storage: Storage): Layout | undefined {
    const text = storage.getItem(this.#storageKey)
    return text ? (JSON.parse(text) as Layout) : undefined
  }

  #show(origin: Origin, directory: string, shouldPersist: boolean, id = this.#nextId++): WorkspaceTerminal {
    const terminal = new WorkspaceTerminal(id, shouldPersist, this.session, origin, directory, () =>
      this.#shown.delete(id),
    )
    this.#shown.set(id, terminal)
    return terminal
  }

  #describe(terminal: Terminals_Terminal): IProcessDetails {
    const known = [...this.#listed].find(([, name]) => name === terminal.terminal)?.[0]
    const id = known ?? this.#nextId++
    this.#listed.set(id, terminal.terminal)
    const given = this.#names.get(terminal.terminal)
    return {
      id,
      pid: terminal.process,
      title: given ?? (terminal.foreground || terminal.title),
      titleSource: given === undefined ? TitleEventSource.Process : TitleEventSource.Api,
      cwd: terminal.workingDirectory,
      workspaceId: this.workspace.id,
      workspaceName: this.workspace.name,
      isOrphan: terminal.attached === 0,
      icon: undefined,
      color: undefined,
      fixedDimensions: undefined,
      environmentVariableCollections: undefined,
      hasChildProcesses: false,
      shellIntegrationNonce: '',
    }
  }

  // On Windows the browser's half of VS Code writes a path of the workspace with backslashes.
  #directory(cwd: string | URI): string {
    const path = URI.isUri(cwd) ? cwd.path : cwd.replaceAll('\\', '/')
    return path || this.workspace.folder
  }
}

/** Empty: the user's login shell, which is what VS Code means by the default one without arguments. */
function commandOf({ executable, args }: IShellLaunchConfig): string[] {
  const list = typeof args === 'string' ? args.split(' ').filter(Boolean) : (args ?? [])
  if (!executable || (executable === SHELL && list.length === 0)) return []
  return [executable, ...list]
}

function environmentOf(env: IProcessEnvironment): Record<string, string> {
  const known = Object.entries(env).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
  return { ...Object.fromEntries(known), TERM: 'xterm-256color', COLORTERM: 'truecolor' }
}
