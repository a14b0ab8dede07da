// Writes the licences of everything that is built into the pages: node scripts/notices.mjs FOLDER
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.argv[2] ?? 'dist'
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
const licence = /^(licen[cs]e|copying|third-?party-?notices)/i
/** Used to build, and in part built in. */
const builtIn = new Set(['node_modules/svelte'])
const parts = []

for (const [path, { dev, optional, version }] of Object.entries(packages).sort()) {
  if (path === '' || (dev && !builtIn.has(path)) || optional || !existsSync(join(path, 'package.json'))) continue
  const { name, license, author } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'))
  const texts = readdirSync(path).filter((file) => licence.test(file))
  const by = typeof author === 'string' ? author : (author?.name ?? '')
  const head = `${name} ${version}\n${license ?? ''}${by ? `, ${by}` : ''}`
  parts.push([head, ...texts.map((file) => readFileSync(join(path, file), 'utf8').trim())].join('\n\n'))
}
const rule = `\n\n${'-'.repeat(80)}\n\n`
writeFileSync(join(folder, 'third-party-notices.txt'), `${parts.join(rule)}\n`)
console.log(`notices of ${parts.length} packages`)
