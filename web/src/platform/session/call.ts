// One call within a session: its frames, its flow control in both directions, its end.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type ClientFrame, ClientFrameSchema, type Data, DataSchema, type ServerFrame } from '../../generated/guest_pb'
import { cancelled, SessionError } from './errors'

/** Both sides may send this many bytes of Data on a new call before any credit is granted. */
export const INITIAL_CREDIT = 256 * 1024
/** The receiver grants in lumps, so that credit does not cost a frame per frame. */
const GRANT_LUMP = 64 * 1024

export type ClientBody = NonNullable<MessageInitShape<typeof ClientFrameSchema>['body']>
export type ServerBody = ServerFrame['body']
/** An answer other than Data, Credit and the two ends. */
export type Answer = Exclude<ServerBody, { case: 'data' | 'credit' | 'failure' | 'done' | undefined }>

export interface CallOptions {
  /** Receives everything except Data, Credit and the end. */
  onAnswer?: (answer: Answer, call: Call) => void
  onData?: (data: Data, call: Call) => void
  /** True: the receiver calls `grant` itself once it has digested the bytes. */
  manualCredit?: boolean
  signal?: AbortSignal | undefined
}

interface Pending {
  bytes: Uint8Array
  end: boolean
  accepted: () => void
}

export class Call {
  /** Settles when the call ends; rejects with a SessionError. */
  readonly ended: Promise<void>
  #resolve!: () => void
  #reject!: (error: SessionError) => void
  #over = false
  #sendCredit = INITIAL_CREDIT
  #sendOffset = 0n
  #owed = 0
  readonly #outbox: Pending[] = []

  constructor(
    readonly id: bigint,
    private readonly largest: number,
    private readonly transmit: (frame: ClientFrame) => void,
    private readonly forget: () => void,
    private readonly options: CallOptions,
  ) {
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Callers that only follow `onAnswer` need not look at the end.
    this.ended.catch(() => {})
    options.signal?.addEventListener('abort', () => this.cancel(), { once: true })
  }

  get over(): boolean {
    return this.#over
  }

  /** Sends bytes in order; resolves when the last has left, which waits for the receiver's credit. */
  write(bytes: Uint8Array, end = false): Promise<void> {
    return new Promise((accepted) => {
      this.#outbox.push({ bytes, end, accepted })
      this.#pump()
    })
  }

  /** Lets the other side send that many bytes more. */
  grant(bytes: number): void {
    this.#owed += bytes
    if (this.#owed < GRANT_LUMP || this.#over) return
    const owed = this.#owed
    this.#owed = 0
    this.#send({ case: 'credit', value: { bytes: BigInt(owed) } })
  }

  /** Ends the call at once on this side, and asks the other side to stop. */
  cancel(): void {
    if (this.#over) return
    this.#send({ case: 'cancel', value: {} })
    this.finish(cancelled())
  }

  receive(body: ServerBody): void {
    switch (body.case) {
      case 'data':
        this.options.onData?.(body.value, this)
        if (!this.options.manualCredit) this.grant(body.value.bytes.length)
        break
      case 'credit':
        this.#sendCredit += Number(body.value.bytes)
        this.#pump()
        break
      case 'failure':
        this.finish(SessionError.from(body.value))
        break
      case 'done':
        this.finish()
        break
      case undefined:
        // A frame of a later generation: nothing here asked for it.
        break
      default:
        this.options.onAnswer?.(body, this)
    }
  }

  /** Ends the call on this side; the session uses it when the connection is lost. */
  finish(error?: SessionError): void {
    if (this.#over) return
    this.#over = true
    this.forget()
    for (const pending of this.#outbox.splice(0)) pending.accepted()
    if (error) this.#reject(error)
    else this.#resolve()
  }

  #pump(): void {
    for (let next = this.#outbox[0]; next && !this.#over; next = this.#outbox[0]) {
      const size = Math.min(next.bytes.length, this.largest, this.#sendCredit)
      if (size === 0 && next.bytes.length > 0) return
      const last = size === next.bytes.length
      const piece = create(DataSchema, {
        offset: this.#sendOffset,
        bytes: next.bytes.subarray(0, size),
        end: last && next.end,
      })
      this.#sendOffset += BigInt(size)
      this.#sendCredit -= size
      this.#send({ case: 'data', value: piece })
      if (!last) {
        next.bytes = next.bytes.subarray(size)
        continue
      }
      this.#outbox.shift()
      next.accepted()
    }
    if (this.#over) for (const pending of this.#outbox.splice(0)) pending.accepted()
  }

  #send(body: ClientBody): void {
    this.transmit(create(ClientFrameSchema, { call: this.id, body }))
  }
}
