// Figures and lists that the workspace pushes whenever they change, for as long as somebody looks.
import type { Metrics, Ports_Port } from '../generated/guest_pb'
import type { Answer, Call, ClientBody } from './session/call'
import { SessionError } from './session/errors'
import type { Session } from './session/session'
import { becomesUsable } from './watches'

export type { Metrics, Ports_Port }

export interface Feed {
  dispose(): void
}

/** CPU, memory and disk of the workspace every `intervalMs` milliseconds. */
export function followMetrics(session: Session, intervalMs: number, onMetrics: (metrics: Metrics) => void): Feed {
  return follow(session, { case: 'metricsWatch', value: { intervalMs } }, (answer) => {
    if (answer.case === 'metrics') onMetrics(answer.value)
  })
}

/** The ports that the user's processes listen on, at once and at every change. */
export function followPorts(session: Session, onPorts: (ports: Ports_Port[]) => void): Feed {
  return follow(session, { case: 'portsWatch', value: {} }, (answer) => {
    if (answer.case === 'ports') onPorts(answer.value.ports)
  })
}

function follow(session: Session, body: ClientBody, onAnswer: (answer: Answer) => void): Feed {
  let disposed = false
  let call: Call | undefined
  const run = async () => {
    while (!disposed) {
      try {
        call = await session.open(body, { onAnswer })
        if (disposed) call.cancel()
        await call.ended
        return
      } catch (error) {
        if (!(error instanceof SessionError) || error.kind !== 'disconnected') return
        if (session.interactive.state.kind === 'stopped') await becomesUsable(session)
      }
    }
  }
  void run()
  return {
    dispose: () => {
      disposed = true
      call?.cancel()
    },
  }
}
