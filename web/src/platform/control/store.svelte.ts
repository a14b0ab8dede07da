// What the dashboard shows: workspaces and the steps of their starts, kept current by events.
import { isOutdated } from '../release'
import { ControlError, control } from './client'
import type { ControlEvent, Me, Start, Step, Workspace } from './contract'
import { follow } from './events'

export const session = $state<{ me: Me | null | undefined }>({ me: undefined })
export const state = $state({
  workspaces: [] as Workspace[],
  loaded: false,
  connected: true,
  // The server was upgraded since this page was loaded.
  outdated: false,
  now: Date.now(),
  starts: {} as Record<string, Start[]>,
})

let stop: (() => void) | undefined

// Begins to follow; called when somebody is signed in.
export function begin() {
  if (stop) return
  const unfollow = follow({
    onEvent: apply,
    onConnected: (connected) => {
      if (connected && !state.connected) void lookForRelease()
      state.connected = connected
    },
    onRefused: () => void leaveIfSignedOut(),
  })
  const clock = setInterval(() => {
    state.now = Date.now()
  }, 1_000)
  stop = () => {
    unfollow()
    clearInterval(clock)
  }
}

// Forgets everything; called at sign-out.
export function end() {
  stop?.()
  stop = undefined
  state.workspaces = []
  state.loaded = false
  state.starts = {}
  session.me = null
}

// Who is signed in, or null.
export async function loadMe() {
  session.me = await control.me().catch(() => null)
}

async function lookForRelease() {
  state.outdated = await isOutdated()
}

// Signed out in another tab, or by an administrator.
async function leaveIfSignedOut() {
  try {
    await control.me()
  } catch (error) {
    if (error instanceof ControlError && error.problem.status === 401) end()
  }
}

export async function loadStarts(id: string) {
  state.starts[id] = await control.starts(id)
}

async function reload() {
  state.workspaces = sorted(await control.workspaces())
  state.loaded = true
  await Promise.all(Object.keys(state.starts).map((id) => loadStarts(id).catch(() => undefined)))
}

function apply(event: ControlEvent) {
  switch (event.event) {
    case 'hello':
    case 'resync':
      reload().catch(() => {
        state.connected = false
      })
      break
    case 'workspace':
      put(event.workspace)
      break
    case 'deleted':
      state.workspaces = state.workspaces.filter((workspace) => workspace.id !== event.id)
      break
    case 'step':
      putStep(event.workspace, event.epoch, event.step)
      break
  }
}

// A workspace as an answer or an event has it; an older one is dropped.
export function put(workspace: Workspace) {
  const known = state.workspaces.find(({ id }) => id === workspace.id)
  if (known && known.generation > workspace.generation) return
  state.workspaces = sorted([...state.workspaces.filter(({ id }) => id !== workspace.id), workspace])
  const starts = state.starts[workspace.id]
  if (starts) loadStarts(workspace.id).catch(() => undefined)
}

function putStep(id: string, epoch: number, step: Step) {
  const starts = state.starts[id]
  if (!starts) return
  const start = starts.find((one) => one.epoch === epoch)
  const index = start?.steps.findIndex((one) => one.step === step.step) ?? -1
  if (start && index >= 0) start.steps[index] = step
  else loadStarts(id).catch(() => undefined)
}

function sorted(workspaces: Workspace[]): Workspace[] {
  return workspaces.toSorted((one, other) => lastUse(other) - lastUse(one) || one.name.localeCompare(other.name))
}

const lastUse = (workspace: Workspace) => Math.max(workspace.used_ms ?? 0, workspace.created_ms)
