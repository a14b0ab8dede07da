// A person's settings, keybindings and snippets: kept by the server, the same in every workspace and browser.

import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import { createIndexedDBProviders } from '@codingame/monaco-vscode-files-service-override'
import type { Gateway, StoredSetting } from '../../platform/gateway'
import type { EarlySettings, SettingName } from '../../platform/settings'
import type { Feature } from '../../workbench/context'

type UserData = Awaited<ReturnType<typeof createIndexedDBProviders>>

/** What the server keeps, and where VS Code has it. */
const FILES: [SettingName, string][] = [
  ['settings', '/User/settings.json'],
  ['keybindings', '/User/keybindings.json'],
  ['tasks', '/User/tasks.json'],
]
const SNIPPETS = '/User/snippets'
/** How long typing in a settings file may go on before it is sent, in milliseconds. */
const SETTLE = 400

export function settingsFeature(early: EarlySettings): Feature {
  return {
    prepare: async ({ gateway }) => {
      // The browser's own store comes first: it holds unsaved files, and is what VS Code reads the settings from.
      const data = await createIndexedDBProviders()
      const parts = [
        ...FILES.map(([name, path]) => new Part(gateway, name, new SingleFile(data, path))),
        new Part(gateway, 'snippets', new Folder(data, SNIPPETS)),
      ]
      await Promise.all(parts.map((part) => part.restore(early[part.name])))
      data.onDidChangeFile((changes) => {
        for (const part of parts) {
          if (changes.some(({ resource }) => part.content.covers(resource.path))) part.changed()
        }
      })
      window.addEventListener('pagehide', () => {
        for (const part of parts) part.flush()
      })
    },
  }
}

interface Content {
  covers(path: string): boolean
  read(): Promise<string | undefined>
  write(text: string | undefined): Promise<void>
}

/** One named text on the server, and what it stands for in the browser. */
class Part {
  #stored: StoredSetting | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #sending: Promise<void> = Promise.resolve()

  constructor(
    private readonly gateway: Gateway,
    readonly name: SettingName,
    readonly content: Content,
  ) {}

  async restore(early: Promise<StoredSetting | undefined>): Promise<void> {
    this.#stored = await early
    if ((await this.content.read()) !== this.#stored?.text) await this.content.write(this.#stored?.text)
  }

  changed(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#send(false), SETTLE)
  }

  /** Sends at once what waits, from a page that goes away. */
  flush(): void {
    if (this.#timer === undefined) return
    this.#send(true)
  }

  #send(keepalive: boolean): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#sending = this.#sending.then(() => this.#store(keepalive)).catch(() => this.#later())
  }

  // The server could not be reached: the browser has the text, and the next change or this timer sends it.
  #later(): void {
    this.#timer ??= setTimeout(() => this.#send(false), 10_000)
  }

  async #store(keepalive: boolean): Promise<void> {
    const text = (await this.content.read()) ?? ''
    if (text === (this.#stored?.text ?? '')) return
    let stored = await this.gateway.storeSetting(this.name, text, this.#stored?.version, keepalive)
    if (!stored) {
      // Another tab or browser stored in between. What a person does last is what they want.
      const theirs = await this.gateway.loadSetting(this.name)
      stored = theirs?.text === text ? theirs : await this.gateway.storeSetting(this.name, text, theirs?.version)
    }
    if (stored) this.#stored = stored
  }
}

const at = (path: string) => URI.from({ scheme: 'vscode-userdata', path })
const options = { create: true, overwrite: true, unlock: false, atomic: false as const }

class SingleFile implements Content {
  constructor(
    private readonly data: UserData,
    private readonly path: string,
  ) {}

  covers(path: string): boolean {
    return path === this.path
  }

  async read(): Promise<string | undefined> {
    try {
      return new TextDecoder().decode(await this.data.readFile(at(this.path)))
    } catch {
      return undefined
    }
  }

  async write(text: string | undefined): Promise<void> {
    if (text !== undefined) await this.data.writeFile(at(this.path), new TextEncoder().encode(text), options)
    else await this.data.delete(at(this.path), { recursive: false, useTrash: false, atomic: false })
  }
}

/** The files of a folder as one JSON object of names and texts. */
class Folder implements Content {
  constructor(
    private readonly data: UserData,
    private readonly path: string,
  ) {}

  covers(path: string): boolean {
    return path.startsWith(`${this.path}/`)
  }

  async read(): Promise<string | undefined> {
    const names = await this.#names()
    if (names.length === 0) return undefined
    const texts = await Promise.all(names.map((name) => new SingleFile(this.data, `${this.path}/${name}`).read()))
    return JSON.stringify(Object.fromEntries(names.sort().map((name, index) => [name, texts[index] ?? ''])))
  }

  async write(text: string | undefined): Promise<void> {
    const wanted = JSON.parse(text || '{}') as Record<string, string>
    for (const name of await this.#names()) {
      if (!(name in wanted)) await new SingleFile(this.data, `${this.path}/${name}`).write(undefined)
    }
    for (const [name, content] of Object.entries(wanted)) {
      await new SingleFile(this.data, `${this.path}/${name}`).write(content)
    }
  }

  async #names(): Promise<string[]> {
    try {
      return (await this.data.readdir(at(this.path))).map(([name]) => name)
    } catch {
      return []
    }
  }
}
