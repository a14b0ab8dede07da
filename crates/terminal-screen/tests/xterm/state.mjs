// Everything of an xterm.js that output can change, as plain data, and what differs between two of them.

import headless from '@xterm/headless';
import unicode11 from '@xterm/addon-unicode11';

/** A terminal with the options that VS Code's workbench passes. */
export function open(cols, rows, scrollback) {
  const terminal = new headless.Terminal({
    cols, rows, scrollback,
    allowProposedApi: true,
    logLevel: 'off',
    scrollOnEraseInDisplay: true,
    vtExtensions: { kittyKeyboard: true },
    windowOptions: { getWinSizePixels: true, getCellSizePixels: true, getWinSizeChars: true },
  });
  terminal.loadAddon(new unicode11.Unicode11Addon());
  terminal.unicode.activeVersion = '11';
  const colors = new Map();
  terminal._core._inputHandler.onColor((events) => {
    for (const { type, index, color } of events) {
      if (type === 1) colors.set(index, color.join());
      if (type === 2) index === undefined ? clearPalette(colors) : colors.delete(index);
    }
  });
  return { terminal, colors };
}

function clearPalette(colors) {
  for (const index of [...colors.keys()]) if (index < 256) colors.delete(index);
}

export const write = (client, bytes) => client.terminal._core.writeSync(bytes);

const FG = { inverse: 0x4000000, bold: 0x8000000, underline: 0x10000000, blink: 0x20000000, invisible: 0x40000000, strike: 0x80000000 };
const BG = { italic: 0x4000000, dim: 0x8000000, protected: 0x20000000, overline: 0x40000000 };
const EXTENDED = 0x10000000;
const COLOR = 0x3ffffff;
const hex = (value) => (value & COLOR).toString(16);
const names = (value, flags) => Object.keys(flags).filter((name) => value & flags[name]);

function attributes(core, fg, bg, extended) {
  const flags = [...names(fg, FG), ...names(bg, BG)].filter((name) => name !== 'underline');
  let line = '', link = '';
  if (bg & EXTENDED && extended) {
    const style = (extended._ext >> 26) & 7;
    if (fg & FG.underline && style) line = `${style}:${hex(extended._ext)}`;
    if (extended.urlId) {
      const data = core._oscLinkService.getLinkData(extended.urlId);
      link = data ? `${data.id ?? ''}|${data.uri}` : 'forgotten';
    }
  } else if (fg & FG.underline) line = '1:0';
  return { fg: hex(fg), bg: hex(bg), flags: flags.join(), line, link };
}

/**
 * A cell as text. What an empty cell does not show is left out, and so are halves of wide characters that xterm.js
 * leaves behind: a left one in the last column after a reflow, a right one on its own after insertions.
 */
function cellText(core, line, x, cell, isLast, blankIsEmpty) {
  line.loadCell(x, cell);
  const alone = (x) => isLast || line.getWidth(x + 1) !== 0 || line.hasContent(x + 1);
  const isRight = cell.getChars() === '' && cell.getWidth() === 0;
  const isHalf = isRight ? x === 0 || line.getWidth(x - 1) !== 2 : cell.getWidth() === 2 && alone(x);
  const isBlank = blankIsEmpty && cell.getChars() === ' ';
  const chars = isHalf || isBlank ? '' : cell.getChars();
  const a = attributes(core, cell.fg, cell.bg, cell.extended);
  if (chars === '' && (isHalf || cell.getWidth() !== 0)) {
    a.flags = a.flags.split(',').filter((flag) => ['inverse', 'strike', 'overline'].includes(flag)).join();
    if (!a.flags && !a.line) a.fg = '0';
    a.link = '';
  }
  if (chars === '' && isRight && !isHalf) return 'right half';
  return [chars, isHalf ? 1 : cell.getWidth(), a.fg, a.bg, a.flags, a.line, a.link].join(' ');
}

const charsetNames = new Map();
function charset(set) {
  if (charsetNames.size === 0) {
    for (const final of '0A4CRQKYEZH=') {
      const probe = open(10, 3, 0);
      write(probe, `\x1b(${final}`);
      charsetNames.set(JSON.stringify(probe.terminal._core._charsetService.charset), final);
    }
  }
  return set ? charsetNames.get(JSON.stringify(set)) : 'B';
}
const charsets = (sets) => [0, 1, 2, 3].map((level) => charset(sets[level])).join('');

const NEVER_SAVED = /^0 \d+ {fg:0,bg:0,flags:,line:,link:} BBBB 0 false true$/;

function bufferState(core, buffer, active, blankIsEmpty) {
  const { rows, cols } = core;
  const cell = new buffer._nullCell.constructor();
  const history = buffer._hasScrollback;
  const lines = [];
  for (let y = history ? 0 : buffer.ybase; y < Math.min(buffer.lines.length, buffer.ybase + rows); y++) {
    const line = buffer.lines.get(y);
    const cells = [];
    for (let x = 0; x < cols; x++) cells.push(cellText(core, line, x, cell, x === cols - 1, blankIsEmpty));
    lines.push({ wrapped: line.isWrapped, cells });
  }
  const saved = buffer.savedCurAttrData;
  const savedState = [
    Math.min(buffer.savedX, cols - 1), Math.min(Math.max(buffer.savedY - buffer.ybase, 0), rows - 1),
    JSON.stringify(attributes(core, saved.fg & ~FG.underline, saved.bg & ~EXTENDED, null)).replace(/"/g, ''),
    charsets(buffer.savedCharsets), buffer.savedGlevel, buffer.savedOriginMode, buffer.savedWraparoundMode,
  ].join(' ');
  return {
    lines,
    history: history ? buffer.ybase : 0,
    cursor: active ? `${Math.min(buffer.x, cols)},${buffer.y}` : history ? `row ${buffer.y}` : '',
    region: `${buffer.scrollTop},${buffer.scrollBottom}`,
    tabs: Object.keys(buffer.tabs).map(Number).filter((x) => x < cols && buffer.tabs[x]).join(),
    // Reflow moves the row even of a cursor that was never saved.
    saved: NEVER_SAVED.test(savedState) ? 'never' : savedState,
  };
}

/** With `blankIsEmpty`, a space counts as the empty cell that looks like it. */
export function snapshot({ terminal, colors }, blankIsEmpty) {
  const core = terminal._core;
  const { coreService: service, _inputHandler: input } = core;
  const alternate = core.buffers.active === core.buffers.alt;
  const pen = input._curAttrData;
  const kitty = service.kittyKeyboard;
  const modes = { ...service.decPrivateModes };
  return {
    size: `${terminal.cols}x${terminal.rows}`,
    alternate,
    buffers: {
      normal: bufferState(core, core.buffers._normal, !alternate, blankIsEmpty),
      alternate: bufferState(core, core.buffers._alt, alternate, blankIsEmpty),
    },
    whole: {
      ...modes,
      pen: Object.values(attributes(core, pen.fg, pen.bg, pen.extended)).join(' '),
      charsets: charsets(core._charsetService.charsets) + core._charsetService.glevel,
      insert: service.modes.insertMode,
      newLine: core.optionsService.rawOptions.convertEol,
      cursorHidden: service.isCursorHidden,
      mouse: `${core.mouseStateService.activeProtocol} ${core.mouseStateService.activeEncoding}`,
      title: input._windowTitle,
      icon: input._iconName,
      kitty: JSON.stringify({ ...kitty, altFlags: alternate ? 0 : kitty.altFlags }),
      colors: [...colors].sort().join(' '),
    },
  };
}

/** What differs, at most `limit` things, as lines for a person. */
export function differences(expected, found, limit = 6) {
  const out = [];
  const note = (what, a, b) => { if (a !== b && out.length < limit) out.push(`${what}: ${show(a)}, after the repaint ${show(b)}`); };
  const show = (value) => JSON.stringify(value) ?? 'nothing';
  note('size', expected.size, found.size);
  note('alternate screen', expected.alternate, found.alternate);
  for (const key of Object.keys(expected.whole)) {
    const [want, got] = [expected.whole[key], found.whole[key]];
    if (!(key === 'pen' && onlyForgotten(want, got))) note(key, want, got);
  }
  for (const name of ['normal', 'alternate']) {
    const [a, b] = [expected.buffers[name], found.buffers[name]];
    for (const key of ['history', 'cursor', 'region', 'tabs', 'saved']) note(`${name} ${key}`, a[key], b[key]);
    note(`${name} lines`, a.lines.length, b.lines.length);
    for (let y = 0; y < Math.min(a.lines.length, b.lines.length); y++) {
      const at = `${name} line ${y - a.history}`;
      note(`${at} wrapped`, a.lines[y].wrapped, b.lines[y].wrapped);
      for (let x = 0; x < a.lines[y].cells.length; x++) {
        const [want, got] = [a.lines[y].cells[x], b.lines[y].cells[x]];
        if (want !== got && !onlyForgotten(want, got)) note(`${at} column ${x}`, want, got);
      }
    }
  }
  return out;
}

/** xterm.js forgets a link with the lines it stood on; which those are depends on how the text moved. */
function onlyForgotten(a, b) {
  const withoutLink = (text) => text.slice(0, text.lastIndexOf(' '));
  return (a.endsWith('forgotten') || b.endsWith('forgotten')) && withoutLink(a) === withoutLink(b);
}
