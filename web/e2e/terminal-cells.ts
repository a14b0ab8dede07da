// The cells of VS Code's terminals, and those of one that was fed the same output and never disturbed.
import type { Page } from 'playwright-core'

// Every cell of the screen with its attributes, the cursor, and the modes that decide what keys send.
export interface Picture {
  columns: number
  rows: number
  buffer: string
  cursor: string
  modes: string
  lines: string[]
}

// Runs in the page: it has no names from here.
function inPage({ number, recording }: { number: number; recording?: string }): Promise<Picture> {
  // biome-ignore lint/suspicious/noExplicitAny: the emulator that VS Code leaves at its element.
  const shown = (document.querySelectorAll('.terminal-wrapper')[number] as any)?.xterm
  if (!shown) throw new Error(`there is no terminal ${number}`)
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  const read = (terminal: any): Picture => {
    const buffer = terminal.buffer.active
    const lines = Array.from({ length: terminal.rows }, (_, row) => {
      const line = buffer.getLine(buffer.baseY + row)
      return Array.from({ length: terminal.cols }, (_, column) => {
        const cell = line.getCell(column)
        const flags = [
          'Bold',
          'Italic',
          'Dim',
          'Underline',
          'Blink',
          'Inverse',
          'Invisible',
          'Strikethrough',
          'Overline',
        ]
        const set = flags.filter((flag) => cell[`is${flag}`]()).join('')
        const colours = [cell.getFgColorMode(), cell.getFgColor(), cell.getBgColorMode(), cell.getBgColor()]
        return `${cell.getChars() || ' '}|${cell.getWidth()}|${colours}|${set}`
      }).join('\n')
    })
    const { cols: columns, rows } = terminal
    const cursor = `${buffer.cursorX},${buffer.cursorY}`
    return { columns, rows, buffer: buffer.type, cursor, modes: JSON.stringify(terminal.modes), lines }
  }
  if (recording === undefined) return Promise.resolve(read(shown))
  const reference = new shown.constructor({ cols: shown.cols, rows: shown.rows, allowProposedApi: true })
  const bytes = Uint8Array.from(recording, (character: string) => character.charCodeAt(0))
  return new Promise((done) => {
    reference.write(bytes, () => {
      done(read(reference))
      reference.dispose()
    })
  })
}

export function cells(page: Page, number: number): Promise<Picture> {
  return page.evaluate(inPage, { number })
}

// What terminal `number` would show, had it got `output` (one byte per character) from the first byte on.
export function cellsOf(page: Page, number: number, output: string): Promise<Picture> {
  return page.evaluate(inPage, { number, recording: output })
}

// The characters of a picture, a line each.
export function textOf(picture: Picture): string {
  const characters = picture.lines.map((line) => line.split(/\n(?=.\||..\|)/).map((cell) => cell.split('|')[0]))
  return characters.map((line) => line.join('').trimEnd()).join('\n')
}
