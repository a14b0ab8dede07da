// One WebSocket of a session that reconnects by itself: greeting, numbered calls, keep-alive, back-off.
//
//   connecting --welcome--> open --drop--> waiting --timer, online, visible--> connecting
//   any --close 4401/4404/4409--> stopped --retry()--> connecting
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type ClientFrame, ClientFrameSchema, ServerFrameSchema, type Welcome } from '../../generated/guest_pb'
import { Call, type CallOptions, type ClientBody } from './call'
import { Emitter } from './emitter'
import { cancelled, disconnected, SessionError } from './errors'
import { CLOSED_NO_WORKSPACE, CLOSED_NOT_RUNNING, CLOSED_SIGN_IN, type Dial, type Socket } from './socket'

/** The highest generation of the protocol that this client speaks. */
export const GENERATION = 1

export type ChannelState =
  | { kind: 'connecting'; attempt: number }
  | { kind: 'open'; welcome: Welcome }
  | { kind: 'waiting'; attempt: number }
  | { kind: 'stopped'; cause: 'sign-in' | 'no-workspace' | 'not-running' | 'closed'; reason: string }

export interface ChannelOptions {
  url: string
  dial: Dial
  client: string
  /** Largest piece of Data, in bytes: 64 KiB interactive, 256 KiB bulk. */
  largestData: number
  firstDelay?: number
  longestDelay?: number
  /** A connection that says nothing for this long, in milliseconds, is pinged, and dropped after as long again. */
  silence?: number
  /** How long a call waits for a connection before it fails, in milliseconds. */
  patience?: number
}

export class Channel {
  readonly onState: Emitter<ChannelState>['listen']
  readonly #states = new Emitter<ChannelState>()
  #state: ChannelState = { kind: 'connecting', attempt: 0 }
  #socket: Socket | undefined
  #calls = new Map<bigint, Call>()
  #nextCall = 1n
  #attempt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #watchdog: ReturnType<typeof setTimeout> | undefined

  constructor(private readonly options: ChannelOptions) {
    this.onState = this.#states.listen
    this.#connect()
  }

  get state(): ChannelState {
    return this.#state
  }

  /** Resolves when connected; rejects when it is not within the patience, or is stopped for good. */
  ready(signal?: AbortSignal): Promise<Welcome> {
    if (this.#state.kind === 'open') return Promise.resolve(this.#state.welcome)
    if (this.#state.kind === 'stopped') return Promise.reject(new SessionError('disconnected', this.#state.reason))
    return new Promise((resolve, reject) => {
      const settle = (action: () => void) => {
        subscription.dispose()
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        action()
      }
      const abort = () => settle(() => reject(cancelled()))
      const timer = setTimeout(() => settle(() => reject(disconnected())), this.options.patience ?? 20_000)
      const subscription = this.onState((state) => {
        if (state.kind === 'open') settle(() => resolve(state.welcome))
        if (state.kind === 'stopped') settle(() => reject(new SessionError('disconnected', state.reason)))
      })
      if (signal?.aborted) abort()
      signal?.addEventListener('abort', abort)
    })
  }

  /** Starts a call on the present connection. Throws when there is none: await `ready` first. */
  open(body: ClientBody, options: CallOptions = {}): Call {
    const socket = this.#socket
    if (this.#state.kind !== 'open' || !socket) throw disconnected()
    const id = this.#nextCall++
    const transmit = (frame: ClientFrame) => {
      if (socket === this.#socket) socket.send(toBinary(ClientFrameSchema, frame) as Uint8Array<ArrayBuffer>)
    }
    const call = new Call(id, this.options.largestData, transmit, () => this.#calls.delete(id), options)
    this.#calls.set(id, call)
    transmit(create(ClientFrameSchema, { call: id, body }))
    if (options.signal?.aborted) call.cancel()
    return call
  }

  /** Tries at once: the network is back, the page is looked at again, or a person asked. */
  retry(): void {
    if (this.#state.kind === 'open' || this.#state.kind === 'connecting') return
    this.#attempt = 0
    this.#connect()
  }

  /** Ends the session for good. */
  close(): void {
    this.#stop('closed', 'The session was closed.')
  }

  #connect(): void {
    clearTimeout(this.#timer)
    this.#enter({ kind: 'connecting', attempt: this.#attempt })
    const socket = this.options.dial(this.options.url)
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    const current = (action: () => void) => {
      if (socket === this.#socket) action()
    }
    socket.onopen = () =>
      current(() => {
        const hello: ClientBody = { case: 'hello', value: { generation: GENERATION, client: this.options.client } }
        const frame = create(ClientFrameSchema, { call: 0n, body: hello })
        socket.send(toBinary(ClientFrameSchema, frame) as Uint8Array<ArrayBuffer>)
      })
    socket.onmessage = (event) => current(() => this.#receive(new Uint8Array(event.data as ArrayBuffer)))
    socket.onclose = (event) => current(() => this.#dropped(event.code, event.reason))
    this.#watch()
  }

  #receive(bytes: Uint8Array): void {
    this.#watch()
    const frame = fromBinary(ServerFrameSchema, bytes)
    if (frame.call !== 0n) {
      this.#calls.get(frame.call)?.receive(frame.body)
    } else if (frame.body.case === 'welcome') {
      this.#attempt = 0
      this.#enter({ kind: 'open', welcome: frame.body.value })
    } else if (frame.body.case === 'failure') {
      this.#stop('closed', frame.body.value.message)
    }
  }

  #dropped(code: number, reason: string): void {
    if (code === CLOSED_SIGN_IN) return this.#stop('sign-in', reason || 'Please sign in again.')
    if (code === CLOSED_NO_WORKSPACE) return this.#stop('no-workspace', reason || 'There is no such workspace.')
    if (code === CLOSED_NOT_RUNNING) return this.#stop('not-running', reason || 'The workspace is not running.')
    this.#release()
    const first = this.options.firstDelay ?? 250
    // Jitter keeps many tabs from coming back in the same instant.
    const delay = Math.min(first * 2 ** this.#attempt, this.options.longestDelay ?? 5000) * (0.8 + Math.random() * 0.4)
    this.#attempt += 1
    this.#enter({ kind: 'waiting', attempt: this.#attempt })
    this.#timer = setTimeout(() => this.#connect(), delay)
  }

  #stop(cause: 'sign-in' | 'no-workspace' | 'not-running' | 'closed', reason: string): void {
    this.#release()
    this.#enter({ kind: 'stopped', cause, reason })
  }

  #release(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#watchdog)
    const socket = this.#socket
    this.#socket = undefined
    socket?.close()
    for (const call of [...this.#calls.values()]) call.finish(disconnected())
  }

  // A connection can die without a word (a laptop that slept): silence is answered by a ping, and then by a drop.
  #watch(): void {
    clearTimeout(this.#watchdog)
    const silence = this.options.silence ?? 15_000
    this.#watchdog = setTimeout(() => {
      if (this.#state.kind === 'open') {
        const frame = create(ClientFrameSchema, { call: 0n, body: { case: 'ping', value: {} } })
        this.#socket?.send(toBinary(ClientFrameSchema, frame) as Uint8Array<ArrayBuffer>)
      }
      this.#watchdog = setTimeout(() => this.#dropped(1006, ''), silence)
    }, silence)
  }

  #enter(state: ChannelState): void {
    this.#state = state
    this.#states.fire(state)
  }
}
