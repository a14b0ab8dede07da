// Roost's editor beside code-server, in turn, on the same machine: node bench/workbench.mjs [ROUNDS]
// Prints one JSON object: a list of rows, each with ours and the peer's samples in milliseconds.
import { startCodeServer } from './code-server.mjs'
import { round } from './editor.mjs'
import { makeRepository } from './repository.mjs'
import { startRoost } from './roost.mjs'

const rounds = Number(process.argv[2] ?? 5)
const KEYS = 64

const repository = makeRepository()
const closing = [repository]
try {
  const roost = await startRoost(repository.folder)
  closing.push(roost)
  const peer = await startCodeServer(repository.folder)
  closing.push(peer)
  const results = { roost: [], 'code-server': [] }
  for (let index = 0; index < rounds; index++) {
    for (const editor of index % 2 === 0 ? [roost, peer] : [peer, roost]) {
      const result = await round(editor, repository.needle, KEYS)
      results[editor.name].push(result)
      console.error(editor.name, JSON.stringify({ ...result, keys: result.keys.length }))
    }
  }
  const row = (name, pick) => ({
    name,
    ours: results.roost.flatMap(pick),
    peer: results['code-server'].flatMap(pick),
  })
  const rows = [
    row('cold: coloured text', ({ cold }) => cold.coloured),
    row('cold: typing possible', ({ cold }) => cold.typed),
    row('warm: coloured text', ({ warm }) => warm.coloured),
    row('warm: typing possible', ({ warm }) => warm.typed),
    row('key to paint', ({ keys }) => keys),
  ]
  console.log(JSON.stringify({ accelerator: roost.accelerator, unit: 'ms', peer: 'code-server', rows }))
} finally {
  for (const each of closing.reverse()) await each.close()
}
