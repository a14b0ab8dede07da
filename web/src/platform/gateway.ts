// What the page asks of the gateway over plain HTTP: the workspace's state, starting it, the user's settings.

export interface WorkspaceStatus {
  id: string
  name: string
  state: string
  /** A sentence about the state: what it waits for, or why it failed. */
  detail: string
  /** Absolute path of the folder to open. */
  folder: string
  dashboard_url: string
  /** With `{port}` where the port goes. */
  preview_url_template: string
  user: { id: string; name: string; email: string }
  accelerator_note?: string
}

export type StatusAnswer =
  | { kind: 'known'; status: WorkspaceStatus }
  | { kind: 'sign-in'; url: string }
  | { kind: 'missing' }
  | { kind: 'unreachable' }

export interface StoredSetting {
  text: string
  version: string | undefined
}

/** Marks requests as made by Roost's own page: another site's form cannot set it. */
const OWN = { 'X-Roost': '1' }

export class Gateway {
  /** `base` is the workspace's path on this origin: /w/ID */
  constructor(
    readonly base: string,
    private readonly request: typeof fetch = (...args) => fetch(...args),
  ) {}

  get sessionUrl(): string {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    return `${scheme}://${location.host}${this.base}/session`
  }

  async status(): Promise<StatusAnswer> {
    try {
      const response = await this.request(`${this.base}/status`, { headers: OWN, cache: 'no-store' })
      if (response.status === 401) return { kind: 'sign-in', url: await signInUrl(response) }
      if (response.status === 404) return { kind: 'missing' }
      if (!response.ok) return { kind: 'unreachable' }
      return { kind: 'known', status: (await response.json()) as WorkspaceStatus }
    } catch {
      return { kind: 'unreachable' }
    }
  }

  /** Asks for the workspace to be started; the status tells how it goes. */
  start(): Promise<void> {
    return this.#command('start')
  }

  stop(): Promise<void> {
    return this.#command('stop')
  }

  /** Undefined: nothing stored yet. */
  async loadSetting(name: string): Promise<StoredSetting | undefined> {
    const response = await this.request(`${this.base}/settings/${name}`, { headers: OWN, cache: 'no-store' })
    if (response.status === 404 || response.status === 204) return undefined
    if (!response.ok) throw new Error(`Loading ${name}: ${response.status}`)
    return { text: await response.text(), version: response.headers.get('ETag') ?? undefined }
  }

  /** Stores unless somebody else did since `version`: then undefined, and the caller loads and decides. */
  async storeSetting(
    name: string,
    text: string,
    version: string | undefined,
    keepalive = false,
  ): Promise<StoredSetting | undefined> {
    const response = await this.request(`${this.base}/settings/${name}`, {
      method: 'PUT',
      headers: {
        ...OWN,
        'Content-Type': 'application/json',
        ...(version ? { 'If-Match': version } : { 'If-None-Match': '*' }),
      },
      body: text,
      keepalive,
    })
    if (response.status === 412) return undefined
    if (!response.ok) throw new Error(`Storing ${name}: ${response.status}`)
    return { text, version: response.headers.get('ETag') ?? undefined }
  }

  async #command(name: string): Promise<void> {
    const response = await this.request(`${this.base}/${name}`, { method: 'POST', headers: OWN })
    if (!response.ok) throw new Error((await problem(response)) || `${name}: ${response.status}`)
  }
}

async function signInUrl(response: Response): Promise<string> {
  const body = (await response.json().catch(() => ({}))) as { sign_in_url?: string }
  return body.sign_in_url ?? '/'
}

async function problem(response: Response): Promise<string> {
  const body = (await response.json().catch(() => ({}))) as { detail?: string; title?: string }
  return body.detail ?? body.title ?? ''
}
