// Entry of the editor page. Small on purpose: it connects and asks while the editor's code is still loading.
import { Files } from '../platform/files'
import { Gateway } from '../platform/gateway'
import { applyRememberedLook } from '../platform/look'
import { reconnectOnWakeup } from '../platform/session/browser-wakeups'
import { Session } from '../platform/session/session'
import { loadSettings } from '../platform/settings'
import { guardSession, runningWorkspace } from './access'
import { Curtain } from './curtain'

declare const ROOST_FAKE: boolean

async function open(): Promise<void> {
  performance.mark('roost:entry')
  applyRememberedLook()
  void import('../workbench/regular-expressions').then(({ loadRegularExpressions }) => loadRegularExpressions())
  const code = import('./editor')
  const base = /^\/w\/[^/]+/.exec(location.pathname)?.[0] ?? '/w/fake'
  const fake = ROOST_FAKE ? await (await import('../fake/world')).fakeWorld() : undefined
  const gateway = new Gateway(base, fake?.request)
  const session = new Session({ url: gateway.sessionUrl, ...(fake ? { dial: fake.guest.dial } : {}) })
  const settings = loadSettings(gateway)
  const curtain = new Curtain(element('curtain'))
  reconnectOnWakeup(session)
  const status = await runningWorkspace(gateway, curtain)
  guardSession(gateway, session, curtain)
  if (session.interactive.state.kind === 'stopped') session.retry()
  document.title = `${status.name} — Roost`
  const welcome = await session.welcome()
  performance.mark('roost:connected')
  const context = { gateway, session, files: new Files(session), status, folder: welcome.workspace || status.folder }
  const { startEditor } = await code
  performance.mark('roost:code')
  await startEditor(context, settings, {
    container: element('workbench'),
    file: new URLSearchParams(location.search).get('file') ?? undefined,
  })
  element('skeleton').remove()
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (!found) throw new Error(`The page has no #${id}.`)
  return found
}

void open()
