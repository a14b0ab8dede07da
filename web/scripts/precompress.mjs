// Writes a .br beside each text asset of 1 KiB or more, so that the server compresses nothing while it serves.
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants } from 'node:zlib'

const folder = process.argv[2] ?? 'dist'
const smallest = 1024
const text = /\.(js|css|html|json|svg|wasm|ttf|txt|map|code-snippets|tmLanguage|mp3)$/
const compress = promisify(brotliCompress)

const names = (await readdir(folder, { recursive: true })).filter((name) => text.test(name))
let before = 0
let after = 0
await Promise.all(
  names.map(async (name) => {
    const path = join(folder, name)
    if ((await stat(path)).size < smallest) return
    const plain = await readFile(path)
    const packed = await compress(plain, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 10, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
    })
    if (packed.length >= plain.length * 0.95) return
    await writeFile(`${path}.br`, packed)
    before += plain.length
    after += packed.length
  }),
)
console.log(`precompressed ${names.length} files: ${(before / 1e6).toFixed(1)} MB -> ${(after / 1e6).toFixed(1)} MB`)
