// Listeners of one event. Kept apart from the editor's own, which loads later than the session.

export interface Subscription {
  dispose(): void
}

export class Emitter<T> {
  readonly #listeners = new Set<(value: T) => void>()

  /** Adds a listener until it is disposed of. */
  readonly listen = (listener: (value: T) => void): Subscription => {
    this.#listeners.add(listener)
    return { dispose: () => this.#listeners.delete(listener) }
  }

  fire(value: T): void {
    for (const listener of [...this.#listeners]) listener(value)
  }
}
