// The fake guest's files: a tree in memory that behaves as a file system does.
import { create } from '@bufbuild/protobuf'
import { Failure_Kind, FileEvent_Kind, type FileInfo, FileInfoSchema, FileType } from '../generated/guest_pb'

export class FakeFailure extends Error {
  constructor(
    readonly kind: Failure_Kind,
    message: string,
  ) {
    super(message)
  }
}

interface Node {
  content?: Uint8Array
  modified: number
  version: number
}

export type ChangeListener = (kind: FileEvent_Kind, path: string) => void

const parentOf = (path: string) => path.slice(0, path.lastIndexOf('/')) || '/'
const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1)

export class FakeFiles {
  readonly listeners = new Set<ChangeListener>()
  readonly #nodes = new Map<string, Node>([['/', { modified: 1, version: 1 }]])
  #clock = 1_700_000_000_000

  constructor(files: Record<string, string | Uint8Array>) {
    for (const [path, content] of Object.entries(files)) {
      this.write(path, typeof content === 'string' ? new TextEncoder().encode(content) : content, { parents: true })
    }
  }

  get paths(): string[] {
    return [...this.#nodes].filter(([, node]) => node.content).map(([path]) => path)
  }

  info(path: string): FileInfo {
    const node = this.#get(path)
    return create(FileInfoSchema, {
      type: node.content ? FileType.FILE : FileType.DIRECTORY,
      size: BigInt(node.content?.length ?? 0),
      modifiedMs: BigInt(node.modified),
      createdMs: BigInt(node.modified),
      mode: node.content ? 0o644 : 0o755,
      version: String(node.version),
      name: nameOf(path),
      writable: true,
    })
  }

  list(path: string): FileInfo[] {
    if (this.#get(path).content) throw new FakeFailure(Failure_Kind.NOT_A_DIRECTORY, `${path} is not a folder`)
    return [...this.#nodes.keys()]
      .filter((each) => each !== '/' && parentOf(each) === path)
      .map((each) => this.info(each))
  }

  read(path: string): Uint8Array {
    const { content } = this.#get(path)
    if (!content) throw new FakeFailure(Failure_Kind.IS_A_DIRECTORY, `${path} is a folder`)
    return content
  }

  write(
    path: string,
    content: Uint8Array,
    options: { create?: boolean; overwrite?: boolean; ifVersion?: string; parents?: boolean } = {},
  ): FileInfo {
    const { create = true, overwrite = true, ifVersion, parents } = options
    const existing = this.#nodes.get(path)
    if (existing && !overwrite) throw new FakeFailure(Failure_Kind.ALREADY_EXISTS, `${path} exists`)
    if (!existing && !create) throw new FakeFailure(Failure_Kind.NOT_FOUND, `${path} does not exist`)
    if (ifVersion && String(existing?.version) !== ifVersion) {
      throw new FakeFailure(Failure_Kind.CONFLICT, `${path} was changed by somebody else`)
    }
    if (parents) this.makeDirectory(parentOf(path), true)
    this.#get(parentOf(path))
    this.#nodes.set(path, { content, modified: this.#clock++, version: (existing?.version ?? 0) + 1 })
    this.#tell(existing ? FileEvent_Kind.CHANGED : FileEvent_Kind.CREATED, path)
    return this.info(path)
  }

  makeDirectory(path: string, parents: boolean): void {
    if (this.#nodes.has(path)) {
      if (parents) return
      throw new FakeFailure(Failure_Kind.ALREADY_EXISTS, `${path} exists`)
    }
    if (parents) this.makeDirectory(parentOf(path), true)
    this.#get(parentOf(path))
    this.#nodes.set(path, { modified: this.#clock++, version: 1 })
    this.#tell(FileEvent_Kind.CREATED, path)
  }

  move(from: string, to: string, options: { overwrite: boolean; keep: boolean }): void {
    this.#get(from)
    if (this.#nodes.has(to) && !options.overwrite) throw new FakeFailure(Failure_Kind.ALREADY_EXISTS, `${to} exists`)
    for (const [path, node] of [...this.#nodes]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue
      if (!options.keep) this.#nodes.delete(path)
      this.#nodes.set(to + path.slice(from.length), { ...node })
    }
    if (!options.keep) this.#tell(FileEvent_Kind.DELETED, from)
    this.#tell(FileEvent_Kind.CREATED, to)
  }

  remove(path: string, recursive: boolean): void {
    this.#get(path)
    const below = [...this.#nodes.keys()].filter((each) => each.startsWith(`${path}/`))
    if (below.length > 0 && !recursive) throw new FakeFailure(Failure_Kind.DIRECTORY_NOT_EMPTY, `${path} is not empty`)
    for (const each of [path, ...below]) this.#nodes.delete(each)
    this.#tell(FileEvent_Kind.DELETED, path)
  }

  #get(path: string): Node {
    const node = this.#nodes.get(path)
    if (!node) throw new FakeFailure(Failure_Kind.NOT_FOUND, `${path} does not exist`)
    return node
  }

  #tell(kind: FileEvent_Kind, path: string): void {
    for (const listener of this.listeners) listener(kind, path)
  }
}
