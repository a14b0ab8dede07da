// Follows the control plane's events. The browser reconnects by itself; `hello` says that lists may be fetched.
import type { ControlEvent } from './contract'

const NAMES = ['hello', 'resync', 'workspace', 'deleted', 'step'] as const

// Calls back for each event until the returned function is called. `connected` is false while the server is away.
export function follow(onEvent: (event: ControlEvent) => void, onConnected: (connected: boolean) => void): () => void {
  const source = new EventSource('/api/v1/events')
  for (const name of NAMES) {
    source.addEventListener(name, (message) => {
      onEvent(JSON.parse((message as MessageEvent<string>).data) as ControlEvent)
    })
  }
  source.onopen = () => onConnected(true)
  source.onerror = () => onConnected(false)
  return () => source.close()
}
