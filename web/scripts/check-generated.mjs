// Fails when src/generated is not what the .proto file and the API's document give.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const fresh = mkdtempSync(join(tmpdir(), 'roost-generated-'))
try {
  execFileSync('npx', ['buf', 'generate', '--template', templateInto(fresh)], { stdio: 'inherit' })
  execFileSync('npx', ['openapi-typescript', '../openapi/roost.json', '-o', join(fresh, 'control.ts')], {
    stdio: 'ignore',
  })
  const names = (folder) => readdirSync(folder).sort()
  const same =
    names(fresh).join() === names('src/generated').join() &&
    names(fresh).every(
      (name) => readFileSync(join(fresh, name), 'utf8') === readFileSync(join('src/generated', name), 'utf8'),
    )
  if (!same) {
    console.error('src/generated is not current: npm run generate')
    process.exitCode = 1
  }
} finally {
  rmSync(fresh, { recursive: true })
}

// buf takes a template as text; only the output folder differs from the checked-in one.
function templateInto(folder) {
  const lines = readFileSync('buf.gen.yaml', 'utf8').replace('out: src/generated', `out: ${folder}`)
  return lines.replace('clean: true\n', '').replaceAll(/^#.*\n/gm, '')
}
