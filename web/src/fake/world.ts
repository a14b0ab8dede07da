// A whole server in the browser's memory: a workspace that runs, and a gateway that keeps settings in this browser.
import { FakeGuest } from './guest'

const folder = '/workspaces/demo'

const python = `"""Greets whoever asks."""
from http.server import BaseHTTPRequestHandler, HTTPServer


class Greeter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the workspace\\n")


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 8000), Greeter).serve_forever()
`

export interface FakeWorld {
  guest: FakeGuest
  request: typeof fetch
}

export function fakeWorld(): FakeWorld {
  const guest = new FakeGuest(
    {
      [`${folder}/README.md`]: '# Demo\n\nStart the server with `python3 main.py`.\n',
      [`${folder}/main.py`]: python,
      [`${folder}/src/lib.rs`]: '//! A library.\n\npub fn add(left: u64, right: u64) -> u64 {\n    left + right\n}\n',
      [`${folder}/web/index.ts`]: "export const greeting: string = 'hello'\n",
      [`${folder}/package.json`]: '{\n  "name": "demo"\n}\n',
    },
    folder,
  )
  Object.assign(window, { fakeGuest: guest })
  return {
    guest,
    request: (input, init) => Promise.resolve(respond(guest, new URL(String(input), location.href), init)),
  }
}

function respond(guest: FakeGuest, url: URL, init: RequestInit = {}): Response {
  const [name, setting = ''] = url.pathname.split('/').slice(3)
  if (name === 'status') return Response.json(status(guest))
  if (name === 'start') {
    guest.refusal = undefined
    return new Response(null, { status: 202 })
  }
  if (name === 'stop') {
    guest.refusal = { code: 4409, reason: 'It was stopped.' }
    guest.drop(4409, 'It was stopped.')
    return new Response(null, { status: 202 })
  }
  if (name !== 'settings') return new Response(null, { status: 404 })
  const key = `fake.${setting}`
  if (init.method !== 'PUT') {
    const text = localStorage.getItem(key)
    return text === null
      ? new Response(null, { status: 404 })
      : new Response(text, { headers: { ETag: `"${text.length}"` } })
  }
  localStorage.setItem(key, String(init.body))
  return new Response(null, { status: 204, headers: { ETag: `"${String(init.body).length}"` } })
}

function status(guest: FakeGuest) {
  return {
    id: 'fake',
    name: 'demo',
    state: guest.refusal ? 'stopped' : 'running',
    detail: guest.refusal?.reason ?? '',
    folder,
    dashboard_url: '/',
    preview_url_template: 'http://{port}--fake.localhost:7070/',
    user: { id: 'u1', name: 'Dev', email: 'dev@example.org' },
    accelerator_note: 'Emulated CPU: slower than the host.',
  }
}
