// Which ports there are: those that programs listen on, and those that a person asked for.
import { Emitter } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event'
import type { Ports_Port } from '../../platform/feeds'

export interface Port {
  port: number
  /** The program that listens; empty while none does. */
  process: string
  listening: boolean
}

export class Ports {
  readonly #changed = new Emitter<void>()
  readonly onDidChange = this.#changed.event
  readonly #appeared = new Emitter<Port>()
  /** A program began to listen, after the first list. */
  readonly onDidAppear = this.#appeared.event
  #listening = new Map<number, Port>()
  readonly #asked = new Set<number>()
  #known = false

  get list(): Port[] {
    const all = new Map<number, Port>()
    for (const port of this.#asked) all.set(port, { port, process: '', listening: false })
    for (const [port, each] of this.#listening) all.set(port, each)
    return [...all.values()].sort((a, b) => a.port - b.port)
  }

  /** Shows a port although nothing was seen to listen on it. */
  add(port: number): void {
    this.#asked.add(port)
    this.#changed.fire()
  }

  update(seen: readonly Ports_Port[]): void {
    const before = this.#listening
    this.#listening = new Map(seen.map(({ port, process }) => [port, { port, process, listening: true }]))
    this.#changed.fire()
    for (const [port, each] of this.#listening) {
      if (this.#known && !before.has(port)) this.#appeared.fire(each)
    }
    this.#known = true
  }
}
