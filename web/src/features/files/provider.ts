// The workspace's files as VS Code's `file:` scheme: paths in the browser are the paths in the machine.

import type { CancellationToken } from '@codingame/monaco-vscode-api/vscode/vs/base/common/cancellation'
import { Emitter, Event } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event'
import type { IDisposable } from '@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle'
import {
  newWriteableStream,
  type ReadableStreamEvents,
} from '@codingame/monaco-vscode-api/vscode/vs/base/common/stream'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import {
  createFileSystemProviderError,
  type FileChangeFilter,
  FileChangeType,
  FilePermission,
  FileSystemProviderCapabilities,
  type FileSystemProviderError,
  FileSystemProviderErrorCode,
  FileType,
  type IFileChange,
  type IFileDeleteOptions,
  type IFileOverwriteOptions,
  type IFileReadStreamOptions,
  type IFileSystemProviderWithFileFolderCopyCapability,
  type IFileSystemProviderWithFileReadStreamCapability,
  type IFileSystemProviderWithFileReadWriteCapability,
  type IFileWriteOptions,
  type IStat,
  type IWatchOptions,
} from '@codingame/monaco-vscode-api/vscode/vs/platform/files/common/files'
import { type FileInfo, type Files, FileType as GuestFileType, join } from '../../platform/files'
import { type FailureKind, SessionError } from '../../platform/session/errors'
import type { Session } from '../../platform/session/session'
import { type FileChange, Watch } from '../../platform/watches'

const codes: Partial<Record<FailureKind, FileSystemProviderErrorCode>> = {
  'not-found': FileSystemProviderErrorCode.FileNotFound,
  'already-exists': FileSystemProviderErrorCode.FileExists,
  'not-a-directory': FileSystemProviderErrorCode.FileNotADirectory,
  'is-a-directory': FileSystemProviderErrorCode.FileIsADirectory,
  'no-space': FileSystemProviderErrorCode.FileExceedsStorageQuota,
  permission: FileSystemProviderErrorCode.NoPermissions,
  refused: FileSystemProviderErrorCode.NoPermissions,
  disconnected: FileSystemProviderErrorCode.Unavailable,
  busy: FileSystemProviderErrorCode.Unavailable,
}

const changeTypes: Record<FileChange['kind'], FileChangeType> = {
  created: FileChangeType.ADDED,
  changed: FileChangeType.UPDATED,
  deleted: FileChangeType.DELETED,
}

type Provider = IFileSystemProviderWithFileReadWriteCapability &
  IFileSystemProviderWithFileReadStreamCapability &
  IFileSystemProviderWithFileFolderCopyCapability

export class WorkspaceFileSystem implements Provider {
  readonly capabilities =
    FileSystemProviderCapabilities.FileReadWrite |
    FileSystemProviderCapabilities.FileReadStream |
    FileSystemProviderCapabilities.FileFolderCopy |
    FileSystemProviderCapabilities.PathCaseSensitive
  readonly onDidChangeCapabilities = Event.None
  readonly #changes = new Emitter<readonly IFileChange[]>()
  readonly onDidChangeFile = this.#changes.event
  readonly #rescans = new Emitter<URI>()
  /** Events below this folder were lost: what is shown of it has to be looked at again. */
  readonly onDidLoseEvents = this.#rescans.event
  readonly #sizes = new Map<string, number>()
  #early: Watch | undefined
  /** Listings wait for it. */
  #listings = Promise.resolve()

  constructor(
    private readonly session: Session,
    private readonly files: Files,
  ) {}

  /**
   * Follows a folder until VS Code watches it itself, which it does well after it has read and shown files:
   * what changes in between would not be seen.
   */
  watchEarly(path: string, excludes: readonly string[]): void {
    this.#early = new Watch(this.session, {
      path,
      recursive: true,
      excludes,
      onChanges: (changes) =>
        this.#changes.fire(changes.map(({ kind, path }) => ({ type: changeTypes[kind], resource: URI.file(path) }))),
      onRescan: () => this.#rescans.fire(URI.file(path)),
    })
  }

  async stat(resource: URI): Promise<IStat> {
    const info = await asProviderError(this.files.stat(resource.path))
    // Remembered so that reading it, which follows, knows which connection suits its size.
    this.#sizes.set(resource.path, Number(info.size))
    return {
      type: fileType(info),
      size: Number(info.size),
      mtime: Number(info.modifiedMs),
      ctime: Number(info.createdMs),
      ...(info.writable ? {} : { permissions: FilePermission.Readonly }),
    }
  }

  /** Lets listings wait, until the answer is called: the file that is shown first comes before the explorer. */
  holdListings(): () => void {
    let release = () => {}
    this.#listings = new Promise((resolve) => {
      release = resolve
    })
    return release
  }

  async readdir(resource: URI): Promise<[string, FileType][]> {
    await this.#listings
    const entries = await asProviderError(this.files.list(resource.path))
    return entries.map((info) => [info.name, fileType(info)])
  }

  readFile(resource: URI): Promise<Uint8Array> {
    return asProviderError(this.files.read(resource.path, { size: this.#size(resource.path) }))
  }

  readFileStream(
    resource: URI,
    options: IFileReadStreamOptions,
    token: CancellationToken,
  ): ReadableStreamEvents<Uint8Array> {
    const stream = newWriteableStream<Uint8Array>((pieces) => join(pieces), { highWaterMark: 16 })
    const abort = new AbortController()
    const cancellation = token.onCancellationRequested(() => abort.abort())
    const { position = 0, length = 0 } = options
    this.files
      .stream(resource.path, {
        size: this.#size(resource.path),
        offset: position,
        length,
        signal: abort.signal,
        onData: (bytes) => stream.write(bytes),
      })
      .catch((error: unknown) => stream.error(providerError(error)))
      .finally(() => {
        cancellation.dispose()
        stream.end()
      })
    return stream
  }

  async writeFile(resource: URI, content: Uint8Array, { create, overwrite }: IFileWriteOptions): Promise<void> {
    await asProviderError(this.files.write(resource.path, content, { create, overwrite }))
  }

  mkdir(resource: URI): Promise<void> {
    return asProviderError(this.files.makeDirectory(resource.path))
  }

  delete(resource: URI, { recursive }: IFileDeleteOptions): Promise<void> {
    return asProviderError(this.files.remove(resource.path, recursive))
  }

  rename(from: URI, to: URI, { overwrite }: IFileOverwriteOptions): Promise<void> {
    return asProviderError(this.files.rename(from.path, to.path, overwrite))
  }

  copy(from: URI, to: URI, { overwrite }: IFileOverwriteOptions): Promise<void> {
    return asProviderError(this.files.copy(from.path, to.path, overwrite))
  }

  watch(resource: URI, { recursive, excludes, correlationId, filter }: IWatchOptions): IDisposable {
    return new Watch(this.session, {
      path: resource.path,
      recursive,
      excludes,
      onChanges: (changes) => {
        const wanted = changes.filter(({ kind }) => filter === undefined || wants(filter, changeTypes[kind]))
        if (wanted.length === 0) return
        this.#changes.fire(
          wanted.map(({ kind, path }) => ({
            type: changeTypes[kind],
            resource: URI.file(path),
            ...(correlationId === undefined ? {} : { cId: correlationId }),
          })),
        )
      },
      onRescan: () => this.#rescans.fire(resource),
      onArmed: () => {
        if (!recursive) return
        this.#early?.dispose()
        this.#early = undefined
      },
    })
  }

  /** Says that these files may have changed, when events about them were lost. */
  suspect(resources: readonly URI[]): void {
    if (resources.length === 0) return
    this.#changes.fire(resources.map((resource) => ({ type: FileChangeType.UPDATED, resource })))
  }

  #size(path: string): number {
    const size = this.#sizes.get(path) ?? 0
    this.#sizes.delete(path)
    return size
  }
}

// The filter's bits are 1 << (type + 1): UPDATED 0, ADDED 1, DELETED 2.
const wants = (filter: FileChangeFilter, type: FileChangeType): boolean => (filter & (1 << (type + 1))) !== 0

function fileType(info: FileInfo): FileType {
  const link = info.symlink ? FileType.SymbolicLink : FileType.Unknown
  if (info.type === GuestFileType.DIRECTORY) return FileType.Directory | link
  if (info.type === GuestFileType.FILE) return FileType.File | link
  return info.type === GuestFileType.SYMLINK ? FileType.SymbolicLink : FileType.Unknown
}

export function providerError(error: unknown): FileSystemProviderError {
  const kind = error instanceof SessionError ? error.kind : 'internal'
  const message = error instanceof Error ? error.message : String(error)
  return createFileSystemProviderError(message, codes[kind] ?? FileSystemProviderErrorCode.Unknown)
}

async function asProviderError<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw providerError(error)
  }
}
