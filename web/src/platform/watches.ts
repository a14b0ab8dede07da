// Following changes below a folder, without losing any over a lost connection.
import { FileEvent_Kind, type FileEvents } from '../generated/guest_pb'
import type { Call } from './session/call'
import { SessionError } from './session/errors'
import type { Session } from './session/session'

export interface FileChange {
  kind: 'created' | 'changed' | 'deleted'
  path: string
}

export interface WatchOptions {
  path: string
  recursive: boolean
  excludes: readonly string[]
  onChanges: (changes: FileChange[]) => void
  /** Events were lost: everything below the path has to be looked at again. */
  onRescan: () => void
  /** From now on nothing is missed. */
  onArmed?: () => void
}

const kinds: Record<FileEvent_Kind, FileChange['kind']> = {
  [FileEvent_Kind.UNSPECIFIED]: 'changed',
  [FileEvent_Kind.CREATED]: 'created',
  [FileEvent_Kind.CHANGED]: 'changed',
  [FileEvent_Kind.DELETED]: 'deleted',
}

/** Follows until disposed of; comes back by itself and asks for what it missed. */
export class Watch {
  #call: Call | undefined
  #disposed = false
  #sequence = 0n
  #watch = new Uint8Array()
  #armed = false

  constructor(
    private readonly session: Session,
    private readonly options: WatchOptions,
  ) {
    void this.#follow()
  }

  dispose(): void {
    this.#disposed = true
    this.#call?.cancel()
  }

  async #follow(): Promise<void> {
    while (!this.#disposed) {
      try {
        this.#call = await this.session.open(
          {
            case: 'fileWatch',
            value: {
              path: this.options.path,
              recursive: this.options.recursive,
              excludes: [...this.options.excludes],
              resume: this.#sequence,
              resumeWatch: this.#watch,
            },
          },
          { onAnswer: (answer) => answer.case === 'fileEvents' && this.#receive(answer.value) },
        )
        if (this.#disposed) this.#call.cancel()
        await this.#call.ended
        return
      } catch (error) {
        // A folder that is gone or forbidden cannot be watched; a lost connection is waited out.
        if (!(error instanceof SessionError) || error.kind !== 'disconnected') return
        if (this.session.interactive.state.kind === 'stopped') await becomesUsable(this.session)
      }
    }
  }

  #receive(events: FileEvents): void {
    this.#sequence = events.sequence
    this.#watch = new Uint8Array(events.watch)
    // The first frame of a watch that never saw anything has nothing to look at again.
    if (events.rescan && this.#armed) this.options.onRescan()
    if (!this.#armed) this.options.onArmed?.()
    this.#armed = true
    if (events.events.length > 0) {
      this.options.onChanges(events.events.map(({ kind, path }) => ({ kind: kinds[kind] ?? 'changed', path })))
    }
  }
}

/** Resolves when a session that stopped is tried again. */
export function becomesUsable(session: Session): Promise<void> {
  return new Promise((resolve) => {
    const subscription = session.interactive.onState((state) => {
      if (state.kind === 'stopped') return
      subscription.dispose()
      resolve()
    })
  })
}
