// The fake guest's terminals: they keep all output by number and answer as a very small shell.
import { create } from '@bufbuild/protobuf'
import {
  type TerminalAttach,
  type TerminalCreate,
  type Terminals_Terminal,
  Terminals_TerminalSchema,
} from '../generated/guest_pb'
import type { FakeCall } from './connection'

const encoder = new TextEncoder()

export class FakeTerminal {
  output = new Uint8Array()
  size: { columns: number; rows: number }
  exited = false
  readonly attached = new Set<FakeCall>()
  #line = ''

  constructor(
    readonly id: string,
    readonly process: number,
    readonly request: TerminalCreate,
    private readonly commands: (line: string) => string,
  ) {
    this.size = { columns: request.size?.columns ?? 80, rows: request.size?.rows ?? 24 }
    this.print('dev@roost:~$ ')
  }

  describe(): Terminals_Terminal {
    const { title, workingDirectory, command, key } = this.request
    return create(Terminals_TerminalSchema, {
      terminal: this.id,
      title: title || 'bash',
      size: this.size,
      process: this.process,
      attached: this.attached.size,
      workingDirectory,
      foreground: 'bash',
      command,
      key,
    })
  }

  print(text: string): void {
    const bytes = encoder.encode(text)
    const offset = BigInt(this.output.length)
    const all = new Uint8Array(this.output.length + bytes.length)
    all.set(this.output)
    all.set(bytes, this.output.length)
    this.output = all
    for (const call of this.attached) call.reply({ case: 'data', value: { offset, bytes } })
  }

  type(text: string): void {
    for (const key of text) {
      if (key === '\x04' && this.#line === '') return this.exit(0)
      if (key === '\r') this.#run()
      else {
        this.#line += key
        this.print(key)
      }
    }
  }

  exit(code: number): void {
    this.exited = true
    for (const call of [...this.attached]) call.end({ case: 'terminalExited', value: { code } })
  }

  attach(call: FakeCall, request: Partial<Pick<TerminalAttach, 'size' | 'have' | 'repaint'>>): void {
    if (request.size) this.size = { columns: request.size.columns, rows: request.size.rows }
    const have = Number(request.have ?? 0n)
    const continued = have > 0 && have <= this.output.length && !request.repaint
    const missed = this.output.subarray(continued ? have : 0)
    const offset = BigInt(continued ? have : this.output.length)
    const state = { terminal: this.id, offset, continued, size: this.size, title: 'bash', process: this.process }
    call.reply({ case: 'terminalState', value: { ...state, ...(continued ? {} : { repaint: missed }) } })
    if (continued && missed.length > 0) call.reply({ case: 'data', value: { offset, bytes: missed } })
    this.attached.add(call)
    call.onOver = () => this.attached.delete(call)
    call.onData = (bytes) => this.type(new TextDecoder().decode(bytes))
  }

  #run(): void {
    const line = this.#line
    this.#line = ''
    if (line === 'exit') return this.exit(0)
    const answer = this.commands(line).replaceAll('\n', '\r\n')
    this.print(`\r\n${answer}dev@roost:~$ `)
  }
}
