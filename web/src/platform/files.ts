// The workspace's files, as calls that say what they need: small ones beside the keys, large ones in bulk.
import { type FileInfo, FileType } from '../generated/guest_pb'
import { SessionError } from './session/errors'
import type { RequestOptions, Session } from './session/session'

export { type FileInfo, FileType }

/** Beyond this many bytes a file travels on the bulk connection. */
export const LARGE_FILE = 256 * 1024

export interface WriteOptions {
  create: boolean
  overwrite: boolean
  /** Refuses with `conflict` when the file's version differs. */
  ifVersion?: string
  makeParents?: boolean
  signal?: AbortSignal
}

export class Files {
  constructor(private readonly session: Session) {}

  stat(path: string): Promise<FileInfo> {
    return this.session.request({ case: 'fileStat', value: { path } }, 'fileInfo', { repeatable: true })
  }

  list(path: string): Promise<FileInfo[]> {
    return this.session.repeat({ repeatable: true }, async () => {
      const entries: FileInfo[] = []
      const call = await this.session.open(
        { case: 'fileList', value: { path } },
        {
          onAnswer: (answer, call) => {
            if (answer.case !== 'fileListing') return
            entries.push(...answer.value.entries)
            if (!answer.value.more) call.finish()
          },
        },
      )
      await call.ended
      return entries
    })
  }

  /** The whole file, or the piece of `length` bytes from `offset`. */
  async read(path: string, options: { size?: number; offset?: number; length?: number } = {}): Promise<Uint8Array> {
    const pieces: Uint8Array[] = []
    await this.session.repeat({ repeatable: true }, async () => {
      pieces.length = 0
      await this.stream(path, { ...options, onData: (bytes) => void pieces.push(bytes) })
    })
    return join(pieces)
  }

  /** Hands over the file piece by piece; the sender is not let further ahead than the receiver has taken. */
  async stream(
    path: string,
    options: {
      size?: number
      offset?: number
      length?: number
      onData: (bytes: Uint8Array) => void | Promise<void>
      signal?: AbortSignal
    },
  ): Promise<void> {
    const { offset = 0, length = 0, signal, onData } = options
    const expected = length || (options.size ?? 0)
    await download(
      this.session,
      { case: 'fileRead', value: { path, offset: BigInt(offset), length: BigInt(length) } },
      { bulk: expected > LARGE_FILE, onData, signal },
    )
  }

  async write(path: string, content: Uint8Array, options: WriteOptions): Promise<FileInfo> {
    const { create, overwrite, ifVersion = '', makeParents = false, signal } = options
    // Replacing the content twice is the same as once; making a file that must not exist is not.
    const repeatable = overwrite && !ifVersion
    return this.session.repeat({ repeatable, signal }, async () => {
      let info: FileInfo | undefined
      const call = await this.session.open(
        { case: 'fileWrite', value: { path, create, overwrite, ifVersion, makeParents } },
        {
          bulk: content.length > LARGE_FILE,
          signal,
          onAnswer: (answer, call) => {
            if (answer.case !== 'fileWritten') return
            info = answer.value.info
            call.finish()
          },
        },
      )
      void call.write(content, true)
      await call.ended
      if (!info) throw new SessionError('internal', `The workspace did not say how it wrote ${path}.`)
      return info
    })
  }

  makeDirectory(path: string, parents = false): Promise<void> {
    return this.session.command({ case: 'fileMakeDirectory', value: { path, parents } }, { repeatable: parents })
  }

  rename(from: string, to: string, overwrite: boolean): Promise<void> {
    return this.session.command({ case: 'fileRename', value: { from, to, overwrite } })
  }

  copy(from: string, to: string, overwrite: boolean): Promise<void> {
    return this.session.command({ case: 'fileCopy', value: { from, to, overwrite } }, { bulk: true })
  }

  remove(path: string, recursive: boolean): Promise<void> {
    return this.session.command({ case: 'fileRemove', value: { path, recursive } })
  }

  /** A folder as one archive, handed over piece by piece. */
  archive(
    path: string,
    options: { zip: boolean; onData: (bytes: Uint8Array) => void | Promise<void>; signal?: AbortSignal },
  ): Promise<void> {
    const { zip, onData, signal } = options
    return download(this.session, { case: 'fileArchive', value: { path, zip } }, { bulk: true, onData, signal })
  }
}

type DownloadBody = Parameters<Session['open']>[0]
type DownloadOptions = RequestOptions & { onData: (bytes: Uint8Array) => void | Promise<void> }

async function download(session: Session, body: DownloadBody, options: DownloadOptions): Promise<void> {
  let taken: Promise<void> = Promise.resolve()
  const call = await session.open(body, {
    bulk: options.bulk ?? false,
    manualCredit: true,
    signal: options.signal,
    onData: ({ bytes, end }, call) => {
      taken = taken.then(async () => {
        await options.onData(bytes)
        call.grant(bytes.length)
        if (end) call.finish()
      })
      taken.catch(() => call.cancel())
    },
  })
  await call.ended
  await taken
}

export function join(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces
  if (only && pieces.length === 1) return only
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let offset = 0
  for (const piece of pieces) {
    whole.set(piece, offset)
    offset += piece.length
  }
  return whole
}
