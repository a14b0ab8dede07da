// Fails on an import that points the wrong way: app -> pages, features -> workbench -> platform -> generated.
// `ui` imports none of them, and features never import each other: they register with the workbench.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

const allowed = {
  app: ['pages', 'features', 'workbench', 'platform', 'ui', 'fake'],
  pages: ['platform', 'ui'],
  features: ['workbench', 'platform'],
  workbench: ['platform'],
  platform: ['generated'],
  ui: [],
  fake: ['platform', 'generated'],
  generated: [],
}
const root = resolve('src')
const specifier = /(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g
const problems = []

for (const name of readdirSync(root, { recursive: true })) {
  const file = String(name)
  if (!/\.(ts|svelte)$/.test(file)) continue
  // Tests may use the fake whatever they test.
  const isTest = /\.test\.ts$/.test(file)
  const [layer, part] = file.split('/')
  if (!(layer in allowed)) {
    problems.push(`src/${file}: no layer is called ${layer}`)
    continue
  }
  for (const [, target] of readFileSync(join(root, file), 'utf8').matchAll(specifier)) {
    const [otherLayer, otherPart] = relative(root, resolve(root, dirname(file), target)).split('/')
    // A package's file that its own list of exports leaves out is still a package's.
    if (resolve(root, dirname(file), target).startsWith(resolve('node_modules'))) continue
    const sameFeature = layer !== 'features' || part === otherPart
    const fine =
      otherLayer === layer ? sameFeature : allowed[layer].includes(otherLayer) || (isTest && otherLayer === 'fake')
    if (!fine) problems.push(`src/${file}: ${layer} must not import ${target}`)
  }
}

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
