// Puts the names of bundled extensions into their manifests, where the editor would fetch one file for each of them
// before it knows any language.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'vite'

const EXTENSION = /^(.*\/monaco-vscode-[a-z-]+-default-extension)\/index\.js$/
/** Files that nobody reads once the manifest is complete: lines of the form `registerFileUrl('package.json', …)`. */
const REGISTERED = /^registerFileUrl\('package(?:\.nls)?\.json'.*\n/gm
/** A name as manifests give it: a string that is only a key. */
const KEY = /"%([^"%]+)%"/g

type Messages = Record<string, string | { message: string }>

export function nameExtensions(): Plugin {
  return {
    name: 'roost-name-extensions',
    enforce: 'pre',
    transform: (code, id) => {
      const folder = EXTENSION.exec(id)?.[1]
      if (!folder) return null
      const messages = JSON.parse(readFileSync(join(folder, 'resources/package.nls.json'), 'utf8')) as Messages
      const named = code.replace(KEY, (_, key: string) => {
        const message = messages[key]
        if (message === undefined) throw new Error(`${id}: package.nls.json has no ${key}`)
        return JSON.stringify(typeof message === 'string' ? message : message.message)
      })
      return { code: named.replace(REGISTERED, ''), map: null }
    },
  }
}
