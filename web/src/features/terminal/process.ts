// One terminal as VS Code sees it, on a terminal that runs in the workspace.
import { Emitter, Event } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event'
import {
  type IProcessDataEvent,
  type IProcessProperty,
  type IProcessPropertyMap,
  type IProcessReadyEvent,
  type ITerminalChildProcess,
  type ITerminalLaunchError,
  ProcessPropertyType,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal'
import type { SessionError } from '../../platform/session/errors'
import type { Session } from '../../platform/session/session'
import { type Size, type TerminalEvents, TerminalLink, type TerminalOptions } from '../../platform/terminals'
import { leaving } from './leaving'

const encoder = new TextEncoder()
/**
 * A size is told once it has stayed for so long, in milliseconds: a split is laid out in several steps, and a shell that
 * is told of each draws its prompt for one width while the next one already holds, over the lines above.
 */
const SETTLED = 150

/** What is to be done when VS Code starts the process: make a terminal, or attach to a running one. */
export type Origin = { kind: 'new'; options: TerminalOptions; size: Size } | { kind: 'running'; terminal: string }

/** Output that VS Code was given and has not drawn: its characters are acknowledged, the credit is in bytes. */
interface Undrawn {
  characters: number
  bytes: number
}

export class WorkspaceTerminal implements ITerminalChildProcess {
  readonly #data = new Emitter<IProcessDataEvent | string>()
  readonly onProcessData = this.#data.event
  readonly #ready = new Emitter<IProcessReadyEvent>()
  readonly onProcessReady = this.#ready.event
  readonly #replayed = new Emitter<void>()
  readonly onProcessReplayComplete = this.#replayed.event
  readonly #property = new Emitter<IProcessProperty>()
  readonly onDidChangeProperty = this.#property.event
  readonly #exit = new Emitter<number | undefined>()
  readonly onProcessExit = this.#exit.event
  readonly onRestoreCommands = Event.None

  #link: TerminalLink | undefined
  #decoder = new TextDecoder()
  readonly #undrawn: Undrawn[] = []
  #acknowledged = 0
  #painting: Promise<void> | undefined
  #resizing: ReturnType<typeof setTimeout> | undefined
  #announced = false
  #title = ''
  #directory: string

  constructor(
    readonly id: number,
    readonly shouldPersist: boolean,
    private readonly session: Session,
    private readonly origin: Origin,
    directory: string,
    private readonly onOver: () => void,
  ) {
    this.#directory = directory
  }

  /** The terminal's name in the workspace; empty until it is made. */
  get terminal(): string {
    return this.#link?.terminal ?? (this.origin.kind === 'running' ? this.origin.terminal : '')
  }

  async start(): Promise<ITerminalLaunchError | undefined> {
    const events: TerminalEvents = {
      onRepaint: (repaint, size) => this.#repaint(repaint, size),
      onOutput: (bytes) => this.#output(bytes),
      onState: ({ process, title }) => {
        if (title) this.setTitle(title)
        if (this.#announced) return
        this.#announced = true
        this.#ready.fire({ pid: process, cwd: this.#directory, windowsPty: undefined })
        // VS Code labels a terminal that it attached to at the first change after it is ready.
        setTimeout(() => this.#property.fire({ type: ProcessPropertyType.Cwd, value: this.#directory }))
      },
      onExit: ({ code, signaled }) => this.#over(signaled ? 128 + code : code),
      onGone: (error) => this.#gone(error),
    }
    this.#link =
      this.origin.kind === 'new'
        ? TerminalLink.create(this.session, this.origin.options, this.origin.size, events)
        : TerminalLink.attach(this.session, this.origin.terminal, events)
    return undefined
  }

  input(data: string): void {
    // While a screen is painted anew the emulator answers questions that were asked long ago.
    if (!this.#painting) this.#link?.input(encoder.encode(data))
  }

  async processBinary(data: string): Promise<void> {
    this.#link?.input(Uint8Array.from(data, (character) => character.charCodeAt(0)))
  }

  resize(columns: number, rows: number): void {
    clearTimeout(this.#resizing)
    this.#resizing = setTimeout(() => this.#link?.resize({ columns, rows }), SETTLED)
  }

  acknowledgeDataEvent(characters: number): void {
    this.#acknowledged += characters
    for (let first = this.#undrawn[0]; first && first.characters <= this.#acknowledged; first = this.#undrawn[0]) {
      this.#acknowledged -= first.characters
      this.#link?.drawn(first.bytes)
      this.#undrawn.shift()
    }
  }

  shutdown(): void {
    // A page that goes away leaves its terminals running for whoever comes back.
    if (leaving() && this.shouldPersist) this.#link?.detach()
    else void this.#link?.close().catch(() => {})
    this.onOver()
  }

  async detach(): Promise<void> {
    this.#link?.detach()
    this.onOver()
  }

  sendSignal(signal: string): void {
    if (signal === 'SIGINT') this.input('\x03')
  }

  setTitle(title: string): void {
    if (title === this.#title) return
    this.#title = title
    this.#property.fire({ type: ProcessPropertyType.Title, value: title })
  }

  setHasChildProcesses(value: boolean): void {
    this.#property.fire({ type: ProcessPropertyType.HasChildProcesses, value })
  }

  setDirectory(directory: string): void {
    if (!directory || directory === this.#directory) return
    this.#directory = directory
    this.#property.fire({ type: ProcessPropertyType.Cwd, value: directory })
  }

  async getInitialCwd(): Promise<string> {
    return this.#directory
  }

  async getCwd(): Promise<string> {
    return this.#directory
  }

  async refreshProperty<T extends ProcessPropertyType>(property: T): Promise<IProcessPropertyMap[T]> {
    const known: Partial<IProcessPropertyMap> = {
      [ProcessPropertyType.Cwd]: this.#directory,
      [ProcessPropertyType.InitialCwd]: this.#directory,
      [ProcessPropertyType.Title]: this.#title,
    }
    return known[property] as IProcessPropertyMap[T]
  }

  async updateProperty(): Promise<void> {}

  clearBuffer(): void {}

  async setUnicodeVersion(): Promise<void> {}

  // The screen was drawn in the workspace for a size of its own: the emulator takes that size while it is painted.
  #repaint(repaint: Uint8Array, size: Size | undefined): void {
    this.#decoder = new TextDecoder()
    const text = `\x1bc${this.#decoder.decode(repaint, { stream: true })}`
    const painting = (async () => {
      if (size) {
        const value = { cols: size.columns, rows: size.rows, forceExactSize: true }
        this.#property.fire({ type: ProcessPropertyType.OverrideDimensions, value })
      }
      const event: IProcessDataEvent = { data: text, trackCommit: true }
      this.#data.fire(event)
      await event.writePromise
      this.#property.fire({ type: ProcessPropertyType.OverrideDimensions, value: undefined })
      this.#replayed.fire()
    })()
    this.#painting = painting
    void painting.finally(() => {
      if (this.#painting === painting) this.#painting = undefined
    })
  }

  #output(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true })
    if (text.length === 0) {
      // Half a character: it is drawn with the rest of it.
      this.#link?.drawn(bytes.length)
      return
    }
    this.#undrawn.push({ characters: text.length, bytes: bytes.length })
    this.#data.fire(text)
  }

  #gone(error: SessionError): void {
    this.#data.fire(`\r\n\x1b[2m${error.message}\x1b[0m\r\n`)
    this.#over(undefined)
  }

  #over(code: number | undefined): void {
    this.onOver()
    this.#exit.fire(code)
  }
}
