// Usage: node compare.mjs RECORDING CUTS SCROLLBACK exact|visible
// Prints one JSON line per cut that differs: at the cut, or when the rest of the recording was replayed after it.
// RECORDING: records of 'r' u16 columns u16 rows, or 'o' u32 length, output. CUTS: records of u32 event, u32 byte in
// it, u16 columns, u16 rows, u32 length, repaint. All numbers little-endian.

import fs from 'node:fs';
import { differences, open, snapshot, write } from './state.mjs';

const [recording, cuts, scrollback] = [readRecording(process.argv[2]), readCuts(process.argv[3]), Number(process.argv[4])];
const blankIsEmpty = process.argv[5] === 'visible';

function readRecording(path) {
  const data = fs.readFileSync(path);
  const events = [];
  for (let at = 0; at < data.length;) {
    if (data[at] === 0x72) {
      events.push({ size: [data.readUInt16LE(at + 1), data.readUInt16LE(at + 3)] });
      at += 5;
    } else {
      const length = data.readUInt32LE(at + 1);
      events.push({ output: data.subarray(at + 5, at + 5 + length) });
      at += 5 + length;
    }
  }
  return events;
}

function readCuts(path) {
  const data = fs.readFileSync(path);
  const found = [];
  for (let at = 0; at < data.length;) {
    const length = data.readUInt32LE(at + 12);
    found.push({
      event: data.readUInt32LE(at), byte: data.readUInt32LE(at + 4),
      cols: data.readUInt16LE(at + 8), rows: data.readUInt16LE(at + 10),
      repaint: data.subarray(at + 16, at + 16 + length),
    });
    at += 16 + length;
  }
  return found;
}

/** Replays events from (event, byte) up to (end, endByte). */
function replay(client, from, to) {
  for (let i = from.event; i <= to.event && i < recording.length; i++) {
    const { size, output } = recording[i];
    if (size) {
      if (i < to.event) client.terminal.resize(...size);
      continue;
    }
    const start = i === from.event ? from.byte : 0;
    const end = i === to.event ? to.byte : output.length;
    if (end > start) write(client, output.subarray(start, end));
  }
}

const END = { event: recording.length, byte: 0 };
const reference = open(...recording[0].size, scrollback);
let at = { event: 0, byte: 0 };
const expected = cuts.map((cut) => {
  replay(reference, at, cut);
  at = cut;
  return snapshot(reference, blankIsEmpty);
});
replay(reference, at, END);
const expectedEnd = snapshot(reference, blankIsEmpty);

cuts.forEach((cut, index) => {
  const client = open(cut.cols, cut.rows, scrollback);
  write(client, cut.repaint);
  const atCut = differences(expected[index], snapshot(client, blankIsEmpty));
  replay(client, cut, END);
  const atEnd = differences(expectedEnd, snapshot(client, blankIsEmpty));
  if (atCut.length || atEnd.length) console.log(JSON.stringify({ event: cut.event, byte: cut.byte, atCut, atEnd }));
});
