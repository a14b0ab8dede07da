// Moments at which a browser knows that waiting longer is pointless.
import type { Session } from './session'

/** Reconnects at once when the network comes back or the page is looked at again. */
export function reconnectOnWakeup(session: Session): void {
  window.addEventListener('online', () => retryIfWaiting(session))
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') retryIfWaiting(session)
  })
}

// A stopped session stays stopped: a person or the status poll decides.
function retryIfWaiting(session: Session): void {
  if (session.interactive.state.kind === 'waiting') session.retry()
}
