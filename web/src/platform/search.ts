// Searching texts and file names in the workspace, streamed and stopped by a signal.
import type { FileMatches, SearchFinished } from '../generated/guest_pb'
import type { Answer, ClientBody } from './session/call'
import type { Session } from './session/session'

export type { FileMatches }

export interface TextQuery {
  root: string
  pattern: string
  regex: boolean
  caseSensitive: boolean
  wholeWord: boolean
  includes: string[]
  excludes: string[]
  noIgnore: boolean
  /** 0: as many as the workspace gives. */
  maxResults: number
}

export interface NameQuery {
  root: string
  /** Fuzzy; empty finds every file. */
  query: string
  includes: string[]
  excludes: string[]
  noIgnore: boolean
  maxResults: number
}

/** Returns whether the limit was hit. */
export function searchText(
  session: Session,
  query: TextQuery,
  onFiles: (files: FileMatches[]) => void,
  signal?: AbortSignal,
): Promise<boolean> {
  return search(session, { case: 'searchText', value: query }, signal, (answer) => {
    if (answer.case === 'searchMatches') onFiles(answer.value.files)
  })
}

/** Returns whether the limit was hit. */
export function searchNames(
  session: Session,
  query: NameQuery,
  onPaths: (paths: string[]) => void,
  signal?: AbortSignal,
): Promise<boolean> {
  return search(session, { case: 'searchFiles', value: query }, signal, (answer) => {
    if (answer.case === 'searchPaths') onPaths(answer.value.paths)
  })
}

async function search(
  session: Session,
  body: ClientBody,
  signal: AbortSignal | undefined,
  onAnswer: (answer: Answer) => void,
): Promise<boolean> {
  let finished: SearchFinished | undefined
  const call = await session.open(body, {
    signal,
    onAnswer: (answer, call) => {
      if (answer.case !== 'searchFinished') return onAnswer(answer)
      finished = answer.value
      call.finish()
    },
  })
  await call.ended
  return finished?.limitHit ?? false
}
