// One connection to the fake guest: frames in, frames out, with the delays and drops that a test asks for.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { ClientFrameSchema, type ServerFrame, ServerFrameSchema } from '../generated/guest_pb'
import type { Socket } from '../platform/session/socket'
import type { FakeGuest } from './guest'

const INITIAL_CREDIT = 256 * 1024

export type Reply = NonNullable<MessageInitShape<typeof ServerFrameSchema>['body']>

/** What the guest keeps about a call that has not ended. */
export class FakeCall {
  /** Bytes that may still be sent on this call. */
  credit = INITIAL_CREDIT
  onData: ((bytes: Uint8Array, end: boolean) => void) | undefined
  onCredit: (() => void) | undefined
  onOver: (() => void) | undefined

  constructor(
    readonly id: bigint,
    readonly connection: FakeConnection,
  ) {}

  reply(body: Reply): void {
    this.connection.send(this.id, body)
  }

  /** Ends the call with its last answer. */
  end(body: Reply): void {
    this.reply(body)
    this.connection.forget(this.id)
  }

  grant(bytes: number): void {
    this.reply({ case: 'credit', value: { bytes: BigInt(bytes) } })
  }
}

export class FakeConnection implements Socket {
  binaryType = 'blob'
  onopen: ((event: Event) => void) | null = null
  onmessage: ((event: MessageEvent) => void) | null = null
  onclose: ((event: CloseEvent) => void) | null = null
  #closed = false
  readonly #calls = new Map<bigint, FakeCall>()

  constructor(
    private readonly guest: FakeGuest,
    readonly bulk: boolean,
    refusal?: { code: number; reason: string },
  ) {
    setTimeout(() => {
      if (refusal) this.drop(refusal.code, refusal.reason)
      else if (!this.#closed) this.onopen?.(new Event('open'))
    })
  }

  send(target: Uint8Array | bigint, body?: Reply): void {
    if (target instanceof Uint8Array) this.#fromClient(target)
    else if (body) this.#toClient(create(ServerFrameSchema, { call: target, body }))
  }

  close(): void {
    this.#over()
  }

  /** Breaks the connection, as a network does. */
  drop(code = 1006, reason = ''): void {
    if (this.#closed) return
    this.#over()
    this.onclose?.({ code, reason } as CloseEvent)
  }

  forget(id: bigint): void {
    const call = this.#calls.get(id)
    this.#calls.delete(id)
    call?.onOver?.()
  }

  #over(): void {
    this.#closed = true
    this.guest.connections.delete(this)
    for (const id of [...this.#calls.keys()]) this.forget(id)
  }

  #fromClient(bytes: Uint8Array): void {
    if (this.#closed) return
    const frame = fromBinary(ClientFrameSchema, bytes)
    this.guest.received.push(frame)
    const existing = this.#calls.get(frame.call)
    switch (frame.body.case) {
      case 'data':
        existing?.onData?.(frame.body.value.bytes, frame.body.value.end)
        break
      case 'credit':
        if (existing) {
          existing.credit += Number(frame.body.value.bytes)
          existing.onCredit?.()
        }
        break
      case 'cancel':
        this.forget(frame.call)
        break
      case 'ping':
        if (!this.guest.mute) this.send(frame.call, { case: 'pong', value: {} })
        break
      default: {
        const call = new FakeCall(frame.call, this)
        if (frame.call !== 0n) this.#calls.set(frame.call, call)
        this.guest.handle(call, frame.body)
      }
    }
  }

  #toClient(frame: ServerFrame): void {
    const bytes = toBinary(ServerFrameSchema, frame)
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
    // Always later: a real answer never arrives while the request is still being sent.
    setTimeout(() => {
      if (!this.#closed) this.onmessage?.({ data: buffer } as MessageEvent)
    }, this.guest.latency)
  }
}
