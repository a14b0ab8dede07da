// The repository that both editors open: this front end's own sources, under Git, and the file that is shown.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const sources = fileURLToPath(new URL('../src', import.meta.url))
/** An ordinary TypeScript file of some hundred lines, below the repository's root. */
export const FILE = 'src/platform/session/channel.ts'

/** Makes the repository in a folder of its own; `needle` is text that the file's first line holds. */
export function makeRepository() {
  const folder = mkdtempSync(join(tmpdir(), 'roost-bench-'))
  cpSync(sources, join(folder, 'src'), { recursive: true })
  const git = (...words) =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=Ada', '-c', 'user.email=ada@example.com', ...words])
  git('init', '-q')
  git('add', '.')
  git('commit', '-q', '-m', 'Sources')
  const needle = readFileSync(join(folder, FILE), 'utf8').split('\n')[0]
  return { folder, needle, close: () => rmSync(folder, { recursive: true, force: true }) }
}
