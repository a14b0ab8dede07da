// Figures and times for people.

export function duration(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`
  const seconds = milliseconds / 1_000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}

export function ago(thenMs: number, nowMs: number): string {
  const seconds = Math.max(0, (nowMs - thenMs) / 1_000)
  if (seconds < 60) return 'just now'
  for (const [unit, size, most] of [
    ['minute', 60, 60],
    ['hour', 3_600, 24],
    ['day', 86_400, 30],
    ['month', 2_592_000, Number.POSITIVE_INFINITY],
  ] as const) {
    const count = Math.floor(seconds / size)
    if (count < most) return `${count} ${unit}${count === 1 ? '' : 's'} ago`
  }
  return ''
}

// From MiB.
export function memory(mebibytes: number): string {
  return mebibytes >= 1_024 ? `${Number((mebibytes / 1_024).toFixed(1))} GiB` : `${mebibytes} MiB`
}

// From bytes.
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1_024 ** step
  return `${value.toFixed(step > 0 && value < 10 ? 1 : 0)} ${units[step]}`
}

// A repository's URL without what everybody knows.
export function shortRepository(url: string): string {
  return url
    .replace(/^(https?|ssh):\/\//, '')
    .replace(/^git@/, '')
    .replace(/\.git$/, '')
}
