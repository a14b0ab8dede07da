// What a call can end with, as the person or the caller has to treat it.
import { type Failure, Failure_Kind } from '../../generated/guest_pb'

/** Why a call failed; `disconnected` means that nobody knows whether it was carried out. */
export type FailureKind =
  | 'not-found'
  | 'already-exists'
  | 'not-a-directory'
  | 'is-a-directory'
  | 'permission'
  | 'no-space'
  | 'invalid'
  | 'cancelled'
  | 'conflict'
  | 'unsupported'
  | 'busy'
  | 'internal'
  | 'refused'
  | 'directory-not-empty'
  | 'disconnected'

const kinds: Record<Failure_Kind, FailureKind> = {
  [Failure_Kind.UNSPECIFIED]: 'internal',
  [Failure_Kind.NOT_FOUND]: 'not-found',
  [Failure_Kind.ALREADY_EXISTS]: 'already-exists',
  [Failure_Kind.NOT_A_DIRECTORY]: 'not-a-directory',
  [Failure_Kind.IS_A_DIRECTORY]: 'is-a-directory',
  [Failure_Kind.PERMISSION]: 'permission',
  [Failure_Kind.NO_SPACE]: 'no-space',
  [Failure_Kind.INVALID]: 'invalid',
  [Failure_Kind.CANCELLED]: 'cancelled',
  [Failure_Kind.CONFLICT]: 'conflict',
  [Failure_Kind.UNSUPPORTED]: 'unsupported',
  [Failure_Kind.BUSY]: 'busy',
  [Failure_Kind.INTERNAL]: 'internal',
  [Failure_Kind.REFUSED]: 'refused',
  [Failure_Kind.DIRECTORY_NOT_EMPTY]: 'directory-not-empty',
}

export class SessionError extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
  ) {
    super(message)
    this.name = 'SessionError'
  }

  static from(failure: Failure): SessionError {
    // A kind of a later generation is unknown here, which is what "internal" says.
    return new SessionError(kinds[failure.kind] ?? 'internal', failure.message)
  }
}

export const disconnected = (): SessionError =>
  new SessionError('disconnected', 'The connection to the workspace was lost before an answer came.')

export const cancelled = (): SessionError => new SessionError('cancelled', 'Cancelled.')

/** Whether an error says that the connection was lost. */
export const isDisconnected = (error: unknown): boolean =>
  error instanceof SessionError && error.kind === 'disconnected'
