// Terminals that run in the workspace whoever looks: attaching, numbered output, coming back after a drop.
import type { TerminalExited, TerminalState, Terminals_Terminal } from '../generated/guest_pb'
import type { Answer, Call, ClientBody } from './session/call'
import { SessionError } from './session/errors'
import type { Session } from './session/session'
import { becomesUsable } from './watches'

export type { Terminals_Terminal }

export interface Size {
  columns: number
  rows: number
}

export interface TerminalOptions {
  workingDirectory: string
  /** Empty: the user's login shell. */
  command: readonly string[]
  environment: Record<string, string>
  title: string
  /** Unique; a second create with the same key attaches to the terminal that the first one made. */
  key: string
}

export interface TerminalEvents {
  /** The screen as it is now replaces what was shown; `repaint` was drawn for `size`. */
  onRepaint(repaint: Uint8Array, size: Size | undefined): void
  /** Output that follows what was shown. The receiver grants credit for it once it is drawn. */
  onOutput(bytes: Uint8Array): void
  onState(state: TerminalState): void
  onExit(exit: TerminalExited): void
  /** The terminal cannot be had any more: another boot of the workspace, or closed elsewhere. */
  onGone(error: SessionError): void
}

/** What is being typed while there is no connection is kept up to this many bytes. */
const KEPT_INPUT = 64 * 1024

/** One attachment to one terminal. */
export class TerminalLink {
  #call: Call | undefined
  #terminal: string
  #boot: string | undefined
  #have = 0n
  #size: Size | undefined
  #kept: Uint8Array[] = []
  #keptBytes = 0
  #over = false

  private constructor(
    private readonly session: Session,
    private readonly events: TerminalEvents,
    terminal: string,
  ) {
    this.#terminal = terminal
  }

  /** Makes a terminal. */
  static create(session: Session, options: TerminalOptions, size: Size, events: TerminalEvents): TerminalLink {
    const link = new TerminalLink(session, events, '')
    link.#size = size
    const { command, ...rest } = options
    void link.#follow({ case: 'terminalCreate', value: { ...rest, command: [...command], size } })
    return link
  }

  /** Attaches to a running terminal; without a size it stays as it is. */
  static attach(session: Session, terminal: string, events: TerminalEvents): TerminalLink {
    const link = new TerminalLink(session, events, terminal)
    void link.#follow(undefined)
    return link
  }

  /** The terminal's name in the workspace; empty until it is made. */
  get terminal(): string {
    return this.#terminal
  }

  input(bytes: Uint8Array): void {
    if (this.#over) return
    if (this.#call && !this.#call.over) {
      void this.#call.write(bytes)
      return
    }
    // Dropping the oldest would run half a command: what does not fit is refused whole.
    if (this.#keptBytes + bytes.length > KEPT_INPUT) return
    this.#kept.push(bytes)
    this.#keptBytes += bytes.length
  }

  /** Says that so many bytes of output were drawn, so that more may come. */
  drawn(bytes: number): void {
    this.#call?.grant(bytes)
  }

  resize(size: Size): void {
    const same = this.#size?.columns === size.columns && this.#size.rows === size.rows
    this.#size = size
    if (same || !this.#terminal || this.#over) return
    this.session
      .command({ case: 'terminalResize', value: { terminal: this.#terminal, size } }, { repeatable: true })
      .catch(() => {
        // A lost connection: the next attach carries the size. A terminal that ended needs none.
      })
  }

  /** Stops following; the terminal runs on. */
  detach(): void {
    this.#over = true
    this.#call?.cancel()
  }

  /** Ends the terminal and what runs in it. */
  async close(): Promise<void> {
    this.detach()
    if (!this.#terminal) return
    await this.session.command({ case: 'terminalClose', value: { terminal: this.#terminal } }, { repeatable: true })
  }

  async #follow(create: ClientBody | undefined): Promise<void> {
    let next = create
    while (!this.#over) {
      try {
        const welcome = await this.session.welcome()
        const boot = welcome.boot.join()
        // Output is numbered within one boot only.
        const sameBoot = this.#boot === undefined || this.#boot === boot
        this.#boot = boot
        const attach: ClientBody = {
          case: 'terminalAttach',
          value: {
            terminal: this.#terminal,
            have: sameBoot ? this.#have : 0n,
            ...(this.#size ? { size: this.#size } : {}),
          },
        }
        // A create that was broken off is repeated with the same key, and then attaches.
        this.#call = await this.session.open(this.#terminal ? attach : (next ?? attach), {
          manualCredit: true,
          onAnswer: (answer, call) => this.#receive(answer, call),
          onData: ({ bytes, offset }, call) => this.#output(bytes, offset, call),
        })
        await this.#call.ended
        return
      } catch (error) {
        if (this.#over) return
        if (!(error instanceof SessionError) || error.kind !== 'disconnected') {
          this.#over = true
          this.events.onGone(error instanceof SessionError ? error : new SessionError('internal', String(error)))
          return
        }
        if (this.#terminal) next = undefined
        if (this.session.interactive.state.kind === 'stopped') await becomesUsable(this.session)
      }
    }
  }

  #receive(answer: Answer, call: Call): void {
    if (answer.case === 'terminalState') {
      const state = answer.value
      this.#terminal = state.terminal
      this.#have = state.offset
      if (!state.continued) this.events.onRepaint(state.repaint, state.size)
      this.events.onState(state)
      for (const bytes of this.#kept.splice(0)) void call.write(bytes)
      this.#keptBytes = 0
    } else if (answer.case === 'terminalExited') {
      this.#over = true
      call.finish()
      this.events.onExit(answer.value)
    }
  }

  #output(bytes: Uint8Array, offset: bigint, call: Call): void {
    const already = Number(this.#have - offset)
    if (already >= bytes.length && bytes.length > 0) return call.grant(bytes.length)
    const fresh = already > 0 ? bytes.subarray(already) : bytes
    if (already > 0) call.grant(already)
    this.#have = offset + BigInt(bytes.length)
    this.events.onOutput(fresh)
  }
}

export async function listTerminals(session: Session): Promise<Terminals_Terminal[]> {
  const answer = await session.request({ case: 'terminalList', value: {} }, 'terminals', { repeatable: true })
  return answer.terminals
}
