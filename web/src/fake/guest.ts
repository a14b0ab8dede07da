// A guest in the browser's memory that speaks the real protocol: for tests, and to look at the page without a server.
import { create } from '@bufbuild/protobuf'
import {
  type ClientFrame,
  Failure_Kind,
  type FileEvent,
  type FileEvent_Kind,
  FileEventSchema,
} from '../generated/guest_pb'
import { join as joined } from '../platform/files'
import type { Dial } from '../platform/session/socket'
import { type FakeCall, FakeConnection } from './connection'
import { FakeFailure, FakeFiles } from './files'
import { FakeTerminal } from './terminals'

type Body = ClientFrame['body']
const PIECE = 64 * 1024

export interface FakePort {
  port: number
  process: string
}

export class FakeGuest {
  readonly connections = new Set<FakeConnection>()
  /** Every frame that a client sent, in order. */
  readonly received: ClientFrame[] = []
  readonly files: FakeFiles
  readonly terminals = new Map<string, FakeTerminal>()
  /** Milliseconds until a reply arrives. */
  latency = 0
  /** While true the guest answers nothing, as a network that died without a word. */
  mute = false
  /** Set: new connections are closed at once, as the gateway does. */
  refusal: { code: number; reason: string } | undefined
  boot = new Uint8Array(16).fill(1)
  readonly #ports = new Map<number, FakePort>()
  readonly #portWatchers = new Set<FakeCall>()
  #events: FileEvent[] = []
  #next = 1

  constructor(
    files: Record<string, string | Uint8Array> = {},
    readonly folder = '/workspaces/project',
  ) {
    this.files = new FakeFiles(files)
    this.files.makeDirectory(folder, true)
    this.files.listeners.add((kind, path) => this.#events.push(create(FileEventSchema, { kind, path })))
  }

  readonly dial: Dial = (url) => {
    const connection = new FakeConnection(this, url.endsWith('/bulk'), this.refusal)
    this.connections.add(connection)
    return connection
  }

  /** Breaks every connection. */
  drop(code?: number, reason?: string): void {
    for (const connection of [...this.connections]) connection.drop(code, reason)
  }

  listen(port: FakePort): void {
    this.#ports.set(port.port, port)
    for (const call of this.#portWatchers) this.#tellPorts(call)
  }

  handle(call: FakeCall, body: Body): void {
    if (this.mute) return
    try {
      this.#handle(call, body)
    } catch (error) {
      if (!(error instanceof FakeFailure)) throw error
      call.end({ case: 'failure', value: { kind: error.kind, message: error.message } })
    }
  }

  #handle(call: FakeCall, body: Body): void {
    const done = () => call.end({ case: 'done', value: {} })
    switch (body.case) {
      case 'hello':
        return call.reply({
          case: 'welcome',
          value: { generation: 1, agentVersion: 'fake', boot: this.boot, home: '/home/dev', workspace: this.folder },
        })
      case 'fileStat':
        return call.end({ case: 'fileInfo', value: this.files.info(body.value.path) })
      case 'fileList':
        return call.end({ case: 'fileListing', value: { entries: this.files.list(body.value.path) } })
      case 'fileRead':
        return this.#read(call, body.value.path, Number(body.value.offset), Number(body.value.length))
      case 'fileWrite':
        return this.#write(call, body.value)
      case 'fileMakeDirectory':
        this.files.makeDirectory(body.value.path, body.value.parents)
        return done()
      case 'fileRename':
        this.files.move(body.value.from, body.value.to, { overwrite: body.value.overwrite, keep: false })
        return done()
      case 'fileCopy':
        this.files.move(body.value.from, body.value.to, { overwrite: body.value.overwrite, keep: true })
        return done()
      case 'fileRemove':
        this.files.remove(body.value.path, body.value.recursive)
        return done()
      case 'fileWatch':
        return this.#watch(call, body.value)
      case 'fileArchive':
        return this.#send(call, new TextEncoder().encode(`archive of ${body.value.path}`))
      case 'searchText':
        return this.#searchText(call, body.value.root, body.value.pattern)
      case 'searchFiles':
        call.reply({ case: 'searchPaths', value: { paths: this.#names(body.value.root, body.value.query) } })
        return call.end({ case: 'searchFinished', value: {} })
      case 'terminalCreate': {
        const existing = [...this.terminals.values()].find(({ request }) => request.key === body.value.key)
        const id = `t${this.#next++}`
        const terminal = existing ?? new FakeTerminal(id, 1000 + this.#next, body.value, (line) => this.#command(line))
        this.terminals.set(terminal.id, terminal)
        return terminal.attach(call, { ...(body.value.size ? { size: body.value.size } : {}) })
      }
      case 'terminalAttach':
        return this.#terminal(body.value.terminal).attach(call, body.value)
      case 'terminalResize':
        if (body.value.size) this.#terminal(body.value.terminal).size = body.value.size
        return done()
      case 'terminalClose':
        this.#terminal(body.value.terminal).exit(0)
        this.terminals.delete(body.value.terminal)
        return done()
      case 'terminalList':
        return call.end({
          case: 'terminals',
          value: {
            terminals: [...this.terminals.values()].filter((each) => !each.exited).map((each) => each.describe()),
          },
        })
      case 'portsWatch':
        this.#portWatchers.add(call)
        call.onOver = () => this.#portWatchers.delete(call)
        return this.#tellPorts(call)
      case 'metricsWatch':
        return call.reply({
          case: 'metrics',
          value: {
            cpu: 0.4,
            cpus: 2,
            memoryUsed: 612n << 20n,
            memoryTotal: 2n << 30n,
            diskUsed: 3n << 30n,
            diskTotal: 16n << 30n,
          },
        })
      default:
        throw new FakeFailure(Failure_Kind.UNSUPPORTED, `the fake guest does not know ${body.case}`)
    }
  }

  #terminal(id: string): FakeTerminal {
    const terminal = this.terminals.get(id)
    if (!terminal) throw new FakeFailure(Failure_Kind.NOT_FOUND, `there is no terminal ${id}`)
    return terminal
  }

  #read(call: FakeCall, path: string, offset: number, length: number): void {
    const content = this.files.read(path)
    call.reply({ case: 'fileInfo', value: this.files.info(path) })
    this.#send(call, content.subarray(offset, length ? offset + length : undefined))
  }

  // Sends no byte beyond the credit, so that a client that never grants is found out.
  #send(call: FakeCall, content: Uint8Array): void {
    let sent = 0
    const pump = () => {
      while (sent < content.length && call.credit > 0) {
        const bytes = content.subarray(sent, sent + Math.min(PIECE, call.credit))
        const offset = BigInt(sent)
        sent += bytes.length
        call.credit -= bytes.length
        call.reply({ case: 'data', value: { offset, bytes, end: sent === content.length } })
      }
    }
    call.onCredit = pump
    if (content.length === 0) call.reply({ case: 'data', value: { end: true } })
    pump()
  }

  #write(call: FakeCall, request: Extract<Body, { case: 'fileWrite' }>['value']): void {
    const pieces: Uint8Array[] = []
    let unacknowledged = 0
    call.onData = (bytes, end) => {
      pieces.push(bytes)
      unacknowledged += bytes.length
      if (unacknowledged >= PIECE) {
        call.grant(unacknowledged)
        unacknowledged = 0
      }
      if (!end) return
      try {
        const { create, overwrite, ifVersion, makeParents: parents } = request
        const info = this.files.write(request.path, joined(pieces), { create, overwrite, ifVersion, parents })
        call.end({ case: 'fileWritten', value: { info } })
      } catch (error) {
        if (!(error instanceof FakeFailure)) throw error
        call.end({ case: 'failure', value: { kind: error.kind, message: error.message } })
      }
    }
  }

  #watch(call: FakeCall, request: Extract<Body, { case: 'fileWatch' }>['value']): void {
    const below = (path: string) => path === request.path || path.startsWith(`${request.path}/`)
    const watch = this.boot
    const resumed = request.resume > 0n && request.resumeWatch.join() === watch.join()
    const sequence = () => BigInt(this.#events.length)
    const missed = resumed ? this.#events.slice(Number(request.resume)).filter(({ path }) => below(path)) : []
    const rescan = request.resume > 0n && !resumed
    call.reply({ case: 'fileEvents', value: { events: missed, sequence: sequence(), watch, rescan } })
    const listener = (kind: FileEvent_Kind, path: string) => {
      if (below(path))
        call.reply({ case: 'fileEvents', value: { events: [{ kind, path }], sequence: sequence(), watch } })
    }
    this.files.listeners.add(listener)
    call.onOver = () => this.files.listeners.delete(listener)
  }

  #searchText(call: FakeCall, root: string, pattern: string): void {
    for (const path of this.#names(root, '')) {
      const lines = new TextDecoder().decode(this.files.read(path)).split('\n')
      const found = lines.flatMap((text, index) => {
        const start = text.indexOf(pattern)
        return start < 0 ? [] : [{ line: index + 1, text, spans: [{ start, end: start + pattern.length }] }]
      })
      if (found.length > 0) call.reply({ case: 'searchMatches', value: { files: [{ path, lines: found }] } })
    }
    call.end({ case: 'searchFinished', value: {} })
  }

  #names(root: string, query: string): string[] {
    return this.files.paths.filter(
      (path) => path.startsWith(`${root}/`) && path.toLowerCase().includes(query.toLowerCase()),
    )
  }

  #tellPorts(call: FakeCall): void {
    call.reply({ case: 'ports', value: { ports: [...this.#ports.values()] } })
  }

  #command(line: string): string {
    const [name, argument = ''] = line.trim().split(/\s+/)
    if (name === 'cat') return new TextDecoder().decode(this.files.read(`${this.folder}/${argument}`))
    if (name === 'ls')
      return `${this.files
        .list(this.folder)
        .map((info) => info.name)
        .join('  ')}\n`
    if (name === 'serve') this.listen({ port: Number(argument) || 8000, process: 'python3' })
    return name === 'echo' ? `${line.slice(5)}\n` : ''
  }
}
