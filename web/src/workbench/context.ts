// What every part of the editor is given: the session with the machine, and who and where we are.
import type { Files } from '../platform/files'
import type { Gateway, WorkspaceStatus } from '../platform/gateway'
import type { Session } from '../platform/session/session'

export interface WorkbenchContext {
  gateway: Gateway
  session: Session
  files: Files
  status: WorkspaceStatus
  /** Absolute path of the folder that is open. */
  folder: string
}

/** A part of the editor. Parts do not know each other; each registers what it brings. */
export interface Feature {
  /** Before the editor's services exist: providers that they will ask. */
  prepare?(context: WorkbenchContext): void | Promise<void>
  /** As soon as the services exist: what belongs to the first picture. */
  start?(context: WorkbenchContext): void | Promise<void>
  /** Once the first picture is painted. */
  startLater?(context: WorkbenchContext): void | Promise<void>
}
