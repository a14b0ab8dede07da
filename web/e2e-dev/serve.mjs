// Serves a build as the gateway does: the page at /w/ID/, immutable assets, brotli where it is there, a strict policy.
import { createReadStream, existsSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'

export const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  // Small assets are inlined as data: and read by fetch.
  "connect-src 'self' data:",
  "worker-src 'self' blob:",
  "frame-src 'self'",
  "media-src 'self' data:",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.ttf': 'font/ttf',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.mp3': 'audio/mpeg',
}

/** Resolves to the server, which listens on a free port of the loopback. */
export function serve(folder) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost')
    const isPage = pathname.startsWith('/w/')
    const path = join(folder, isPage ? 'workbench.html' : normalize(pathname))
    if (!path.startsWith(folder) || !existsSync(path) || !statSync(path).isFile()) {
      response.writeHead(404).end()
      return
    }
    const headers = { 'Content-Type': types[extname(path)] ?? 'application/octet-stream', Vary: 'Accept-Encoding' }
    headers['Cache-Control'] = isPage ? 'no-cache' : 'public, max-age=31536000, immutable'
    if (isPage) headers['Content-Security-Policy'] = POLICY
    const packed = `${path}.br`
    const useBrotli = existsSync(packed) && /\bbr\b/.test(request.headers['accept-encoding'] ?? '')
    if (useBrotli) headers['Content-Encoding'] = 'br'
    response.writeHead(200, headers)
    createReadStream(useBrotli ? packed : path).pipe(response)
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}
