// The session of one tab: what people feel on one connection, what may take its time on another.
import type { Welcome } from '../../generated/guest_pb'
import type { Answer, Call, CallOptions, ClientBody } from './call'
import { Channel, type ChannelOptions } from './channel'
import { isDisconnected, SessionError } from './errors'
import { type Dial, dialWebSocket } from './socket'

export interface SessionOptions extends Partial<Omit<ChannelOptions, 'url' | 'dial' | 'largestData'>> {
  /** Where the workspace's session lives, without the class: ws://host/w/ID/session */
  url: string
  dial?: Dial
}

export interface RequestOptions {
  signal?: AbortSignal | undefined
  /** Whether doing it twice is the same as once, so that it may be sent again after a lost connection. */
  repeatable?: boolean
  bulk?: boolean
}

/** What an answer of a kind carries. */
type AnswerValues = { [A in Answer as A['case']]: A['value'] }

/** How often a repeatable request is sent again before its failure is the caller's. */
const REPEATS = 3

export class Session {
  readonly interactive: Channel
  #bulk: Channel | undefined

  constructor(private readonly options: SessionOptions) {
    this.interactive = this.#channel('interactive', 64 * 1024)
  }

  /** Connected at first use: most sessions start without anything large to carry. */
  get bulk(): Channel {
    this.#bulk ??= this.#channel('bulk', 256 * 1024)
    return this.#bulk
  }

  welcome(signal?: AbortSignal): Promise<Welcome> {
    return this.interactive.ready(signal)
  }

  /** Starts a call as soon as there is a connection. */
  async open(body: ClientBody, options: CallOptions & { bulk?: boolean } = {}): Promise<Call> {
    const channel = options.bulk ? this.bulk : this.interactive
    await channel.ready(options.signal)
    return channel.open(body, options)
  }

  /** A request with a single answer of the given kind. */
  async request<K extends Answer['case']>(
    body: ClientBody,
    expected: K,
    options: RequestOptions = {},
  ): Promise<AnswerValues[K]> {
    return this.repeat(options, async () => {
      let value: AnswerValues[K] | undefined
      const onAnswer = (answer: Answer, call: Call) => {
        if (answer.case !== expected) return
        value = answer.value as AnswerValues[K]
        call.finish()
      }
      const call = await this.open(body, { onAnswer, signal: options.signal, bulk: options.bulk ?? false })
      await call.ended
      if (value === undefined) throw new SessionError('internal', `The workspace did not answer with ${expected}.`)
      return value
    })
  }

  /** A request whose answer is only that it was done. */
  async command(body: ClientBody, options: RequestOptions = {}): Promise<void> {
    await this.repeat(options, async () => {
      const call = await this.open(body, { signal: options.signal, bulk: options.bulk ?? false })
      await call.ended
    })
  }

  /** Runs again what a lost connection broke off, when that is allowed. */
  async repeat<T>(options: RequestOptions, attempt: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt()
      } catch (error) {
        const again = options.repeatable && isDisconnected(error) && tries < REPEATS
        const stopped = this.interactive.state.kind === 'stopped'
        if (!again || stopped || options.signal?.aborted) throw error
      }
    }
  }

  /** Tries to connect at once. */
  retry(): void {
    this.interactive.retry()
    this.#bulk?.retry()
  }

  close(): void {
    this.interactive.close()
    this.#bulk?.close()
  }

  #channel(name: string, largestData: number): Channel {
    const { url, dial = dialWebSocket, client = 'workbench', ...rest } = this.options
    return new Channel({ ...rest, url: `${url}/${name}`, dial, client, largestData })
  }
}
