// What a person calls their terminals, kept in the browser for as long as the terminals run.

export class Names {
  constructor(
    private readonly key: string,
    private readonly storage: Storage = localStorage,
  ) {}

  get(terminal: string): string | undefined {
    return this.#all()[terminal]
  }

  /** Without a name, the terminal is called after what runs in it. */
  set(terminal: string, name: string | undefined): void {
    const all = this.#all()
    if (all[terminal] === name) return
    if (name === undefined) delete all[terminal]
    else all[terminal] = name
    this.#store(all)
  }

  /** Forgets the others. */
  keep(running: readonly string[]): void {
    const all = this.#all()
    const kept = Object.fromEntries(Object.entries(all).filter(([terminal]) => running.includes(terminal)))
    if (Object.keys(kept).length < Object.keys(all).length) this.#store(kept)
  }

  #all(): Record<string, string> {
    return JSON.parse(this.storage.getItem(this.key) ?? '{}') as Record<string, string>
  }

  #store(all: Record<string, string>): void {
    this.storage.setItem(this.key, JSON.stringify(all))
  }
}
