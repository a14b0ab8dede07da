// Asks the control plane. One translator from problem documents to errors; pages show `detail`.
import type {
  CreateWorkspace,
  DeletePreview,
  Figures,
  FolderSize,
  GitCredential,
  HostStatus,
  LinkInfo,
  Me,
  NewToken,
  OneTimeLink,
  Point,
  PointList,
  Problem,
  Remote,
  Server,
  Start,
  Token,
  Usage,
  User,
  WorkList,
  WorkRestored,
  WorkSaved,
  Workspace,
} from './contract'

const TYPE_PREFIX = 'urn:problem-type:roost:'

// Why a request was not done.
export class ControlError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title)
  }

  // The last part of the problem's type, such as `name-taken`.
  get kind(): string {
    return this.problem.type.startsWith(TYPE_PREFIX) ? this.problem.type.slice(TYPE_PREFIX.length) : 'unknown'
  }

  get field(): string | undefined {
    return this.problem.field ?? undefined
  }
}

// What to tell a person about any error.
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

async function send(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  } catch {
    throw unreachable()
  }
}

async function ask<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const response = await send(method, path, body, headers)
  const text = await response.text()
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T
  throw new ControlError(problemFrom(response, text))
}

// A file, with the name that the server gives it.
async function askFile(path: string): Promise<{ name: string; content: Blob }> {
  const response = await send('GET', path)
  if (!response.ok) throw new ControlError(problemFrom(response, await response.text()))
  const name = /filename="([^"/]+)"/.exec(response.headers.get('content-disposition') ?? '')?.[1]
  try {
    return { name: name ?? 'download', content: await response.blob() }
  } catch {
    throw new Error('The file did not arrive whole. Try again.')
  }
}

function problemFrom(response: Response, text: string): Problem {
  if (response.headers.get('content-type')?.includes('problem+json')) return JSON.parse(text) as Problem
  const detail = `The server answered ${response.status}. Try again; if it stays so, look at its log.`
  return { type: 'about:blank', title: 'Unexpected answer', status: response.status, detail }
}

function unreachable(): ControlError {
  const detail = 'Roost does not answer. Check that it runs and that you are connected; the page goes on by itself.'
  return new ControlError({ type: `${TYPE_PREFIX}unreachable`, title: 'No answer', status: 0, detail })
}

const at = (id: string) => `/workspaces/${encodeURIComponent(id)}`

export const control = {
  server: () => ask<Server>('GET', '/server'),
  host: () => ask<HostStatus>('GET', '/host'),

  me: () => ask<Me>('GET', '/me'),
  updateMe: (changes: Partial<Pick<Me, 'name' | 'git_name' | 'git_email'>>) => ask<Me>('PATCH', '/me', changes),
  changePassword: (current: string, next: string) => ask<void>('POST', '/me/password', { current, new: next }),
  signIn: (email: string, password: string) => ask<Me>('POST', '/session', { email, password }),
  signOut: () => ask<void>('DELETE', '/session'),
  checkLink: (token: string) => ask<LinkInfo>('POST', '/welcome/check', { token }),
  welcome: (token: string, email: string | undefined, name: string | undefined, password: string) =>
    ask<Me>('POST', '/welcome', { token, email, name, password }),

  workspaces: async () => (await ask<{ workspaces: Workspace[] }>('GET', '/workspaces')).workspaces,
  workspace: (id: string) => ask<Workspace>('GET', at(id)),
  create: (request: CreateWorkspace, key: string) =>
    ask<Workspace>('POST', '/workspaces', request, { 'idempotency-key': key }),
  update: (id: string, changes: { name?: string; tags?: string[] }) => ask<Workspace>('PATCH', at(id), changes),
  start: (id: string) => ask<Workspace>('POST', `${at(id)}/start`),
  stop: (id: string) => ask<Workspace>('POST', `${at(id)}/stop`),
  stopAndWait: (id: string) => ask<Workspace>('POST', `${at(id)}/stop?wait=stopped`),
  retryClone: (id: string) => ask<Workspace>('POST', `${at(id)}/retry-clone`),
  deletePreview: (id: string) => ask<DeletePreview>('GET', `${at(id)}/delete-preview`),
  remove: (id: string, force: boolean) => ask<void>('DELETE', `${at(id)}?force=${force}`),
  starts: async (id: string) => (await ask<{ starts: Start[] }>('GET', `${at(id)}/starts`)).starts,
  figures: (id: string) => ask<Figures>('GET', `${at(id)}/figures`),
  largestFolders: async (id: string) =>
    (await ask<{ folders: FolderSize[] }>('GET', `${at(id)}/largest-folders`)).folders,
  console: async (id: string) => (await ask<{ text: string }>('GET', `${at(id)}/console`)).text,
  points: (id: string) => ask<PointList>('GET', `${at(id)}/points`),
  takePoint: (id: string, name: string | undefined) => ask<Point>('POST', `${at(id)}/points`, { name }),
  removePoint: (id: string, number: number) => ask<void>('DELETE', `${at(id)}/points/${number}`),
  // Where the browser gets an archive of what is below /workspaces.
  diskFiles: (id: string, point: number | undefined) =>
    `/api/v1${at(id)}/disk/files${point === undefined ? '' : `?point=${point}`}`,
  restorePoint: (id: string, number: number) => ask<Point>('POST', `${at(id)}/points/${number}/restore`),
  work: (id: string) => ask<WorkList>('GET', `${at(id)}/work`),
  saveWork: (id: string) => ask<WorkSaved>('POST', `${at(id)}/work/save`),
  restoreWork: (id: string, path: string, reference: string) =>
    ask<WorkRestored>('POST', `${at(id)}/work/restore`, { path, reference }),
  workBundle: (id: string, path: string, reference: string) =>
    askFile(`${at(id)}/work/bundle?${new URLSearchParams({ path, reference })}`),
  remote: (url: string) => ask<Remote>('GET', `/remote?url=${encodeURIComponent(url)}`),

  gitCredentials: async () => (await ask<{ credentials: GitCredential[] }>('GET', '/git-credentials')).credentials,
  setGitCredential: (authority: string, username: string, secret: string) =>
    ask<GitCredential>('POST', '/git-credentials', { authority, username, secret }),
  removeGitCredential: (id: string) => ask<void>('DELETE', `/git-credentials/${encodeURIComponent(id)}`),

  tokens: async () => (await ask<{ tokens: Token[] }>('GET', '/tokens')).tokens,
  createToken: (name: string, days: number | undefined) =>
    ask<NewToken>('POST', '/tokens', { name, expires_in_days: days }),
  removeToken: (id: string) => ask<void>('DELETE', `/tokens/${encodeURIComponent(id)}`),

  usage: (everybody: boolean) => ask<Usage>('GET', `/usage?everybody=${everybody}`),
  users: async () => (await ask<{ users: User[] }>('GET', '/users')).users,
  addUser: (email: string, name: string, role: User['role']) =>
    ask<OneTimeLink>('POST', '/users', { email, name, role }),
}
