// Getting to a running workspace, and back to it: signing in, starting it, waiting for it.
import type { Gateway, WorkspaceStatus } from '../platform/gateway'
import type { Session } from '../platform/session/session'
import type { Curtain } from './curtain'

/** How often a workspace that is on its way is asked after, in milliseconds. */
const POLL = 1000

const delay = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Resolves once the workspace runs; until then says what it is doing, and offers to start it. */
export async function runningWorkspace(gateway: Gateway, curtain: Curtain): Promise<WorkspaceStatus> {
  for (;;) {
    const answer = await gateway.status()
    switch (answer.kind) {
      case 'known':
        if (isRunning(answer.status)) {
          curtain.hide()
          return answer.status
        }
        showState(answer.status, gateway, curtain)
        break
      case 'sign-in':
        location.assign(answer.url)
        break
      case 'missing':
        curtain.show('There is no such workspace', 'It may have been deleted, or it belongs to somebody else.', [
          { label: 'Open Dashboard', primary: true, run: dashboard() },
        ])
        break
      case 'unreachable':
        curtain.show('Roost cannot be reached', 'Trying again…', [])
        break
    }
    await delay(POLL)
  }
}

/** Whenever the gateway says that coming back does not help by itself, says why and helps. */
export function guardSession(gateway: Gateway, session: Session, curtain: Curtain): void {
  session.interactive.onState((state) => {
    if (state.kind !== 'stopped' || state.cause === 'closed') return
    if (state.cause === 'sign-in') {
      curtain.show('Please sign in again', 'What you typed is kept in this browser.', [
        { label: 'Sign In', primary: true, run: () => signIn(gateway, session) },
      ])
      return
    }
    void runningWorkspace(gateway, curtain).then(() => session.retry())
  })
}

async function signIn(gateway: Gateway, session: Session): Promise<void> {
  const answer = await gateway.status()
  if (answer.kind === 'sign-in') location.assign(answer.url)
  else session.retry()
}

const isRunning = ({ state }: WorkspaceStatus): boolean => state.toLowerCase() === 'running'

function showState(status: WorkspaceStatus, gateway: Gateway, curtain: Curtain): void {
  const state = status.state.toLowerCase()
  const toDashboard = { label: 'Open Dashboard', run: status.dashboard_url }
  const start = {
    label: 'Start',
    primary: true,
    run: () =>
      gateway
        .start()
        .catch((error: Error) => curtain.show(`${status.name} did not start`, error.message, [toDashboard])),
  }
  if (state === 'stopped') return curtain.show(`${status.name} is stopped`, status.detail, [start, toDashboard])
  if (state === 'failed') return curtain.show(`${status.name} failed`, status.detail, [start, toDashboard])
  curtain.show(`${status.name} is ${state}`, status.detail || 'This page opens by itself when it is ready.', [
    toDashboard,
  ])
}

// Without a status nobody has said where the dashboard is; the gateway's root leads there.
const dashboard = (): string => new URL('/', location.href).href
