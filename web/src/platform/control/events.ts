// Follows the control plane's events. It reconnects by itself; `hello` says that lists may be fetched.
import type { ControlEvent } from './contract'

const NAMES = ['hello', 'resync', 'workspace', 'deleted', 'step'] as const
/** After a refusal, such as that of a proxy whose server is away, the browser gives up: then we try again, in milliseconds. */
const AGAIN = 3_000

export interface Listener {
  onEvent(event: ControlEvent): void
  /** False while the server is away. */
  onConnected(connected: boolean): void
  /** There is a server, and it did not want to answer. */
  onRefused(): void
}

// Calls back until the returned function is called.
export function follow({ onEvent, onConnected, onRefused }: Listener): () => void {
  let source: EventSource
  let timer: ReturnType<typeof setTimeout> | undefined
  const connect = () => {
    source = new EventSource('/api/v1/events')
    for (const name of NAMES) {
      source.addEventListener(name, (message) => {
        onEvent(JSON.parse((message as MessageEvent<string>).data) as ControlEvent)
      })
    }
    source.onopen = () => onConnected(true)
    source.onerror = () => {
      onConnected(false)
      if (source.readyState !== EventSource.CLOSED) return
      onRefused()
      timer = setTimeout(connect, AGAIN)
    }
  }
  connect()
  return () => {
    clearTimeout(timer)
    source.close()
  }
}
