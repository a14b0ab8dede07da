// A real Git server on a network of its own: a namespace joined to the host by a pair of virtual interfaces.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const TOKEN = 'e2e-token-4f1d9c07b6a2'
const AUTHOR = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.com']

export interface GitServer {
  address: string
  origin: string
  token: string
  // Content of a file at the tip of a repository's branch, as the server has it.
  show(repository: string, path: string): string
  subject(repository: string): string
  requests(): string
  close(): void
}

// Serves public/hello.git and private/secret.git, the second for whoever has the token.
export async function startGitServer(): Promise<GitServer> {
  const folder = mkdtempSync(join(tmpdir(), 'roost-git-'))
  for (const [name, text] of [
    ['public/hello.git', 'print("hello from the repository")\n'],
    ['private/secret.git', 'print("hello from the private repository")\n'],
  ] as const)
    makeRepository(join(folder, name), text)

  const id = process.pid % 10_000
  const namespace = `rtest-git-${id}`
  const [outside, inside] = [`rtg${id}a`, `rtg${id}b`]
  const net = `10.87.${id % 250}`
  const ip = (...words: string[]) => execFileSync('ip', words, { stdio: 'pipe' })
  ip('netns', 'add', namespace)
  ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', namespace)
  ip('address', 'add', `${net}.1/30`, 'dev', outside)
  ip('link', 'set', outside, 'up')
  ip('-n', namespace, 'address', 'add', `${net}.2/30`, 'dev', inside)
  ip('-n', namespace, 'link', 'set', inside, 'up')
  ip('-n', namespace, 'link', 'set', 'lo', 'up')

  const program = resolve('../tests/git-server/git_server.py')
  const words = ['netns', 'exec', namespace, 'python3', program, folder, '--listen', `${net}.2`, '--token', TOKEN]
  const server = spawn('ip', words, { stdio: ['ignore', 'pipe', 'inherit'] })
  const port = await new Promise<string>((done, failed) => {
    server.stdout.once('data', (text: Buffer) => done(text.toString().trim()))
    server.once('exit', (code) => failed(new Error(`the Git server ended with ${code}`)))
  })
  const git = (repository: string, ...words: string[]) =>
    execFileSync('git', ['-C', join(folder, repository), ...words], { encoding: 'utf8' })
  return {
    address: `${net}.2:${port}`,
    origin: `http://${net}.2:${port}`,
    token: TOKEN,
    show: (repository, path) => git(repository, 'show', `main:${path}`),
    subject: (repository) => git(repository, 'log', '-1', '--format=%s', 'main').trim(),
    requests: () => readFileSync(join(folder, 'requests.log'), 'utf8'),
    close() {
      server.kill()
      ip('netns', 'delete', namespace)
      rmSync(folder, { recursive: true })
    },
  }
}

function makeRepository(bare: string, program: string) {
  mkdirSync(bare, { recursive: true })
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', bare])
  const work = mkdtempSync(join(tmpdir(), 'roost-work-'))
  const git = (...words: string[]) => execFileSync('git', ['-C', work, ...AUTHOR, ...words], { stdio: 'pipe' })
  execFileSync('git', ['init', '-q', '-b', 'main', work])
  writeFileSync(join(work, 'main.py'), program)
  writeFileSync(join(work, 'index.html'), '<!doctype html><title>Preview</title><h1>Served from the workspace</h1>\n')
  writeFileSync(join(work, 'README.md'), '# Hello\n\nA repository for tests.\n')
  git('add', '.')
  git('commit', '-q', '-m', 'First commit')
  git('push', '-q', bare, 'main')
  rmSync(work, { recursive: true })
}
