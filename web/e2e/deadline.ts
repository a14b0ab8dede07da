// Waiting for a condition, never for a time.

// Asks `look` until it gives something other than undefined or false; the error names what was waited for.
export async function until<T>(what: string, seconds: number, look: () => Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + seconds * 1_000
  let last: unknown
  while (Date.now() < end) {
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
    } catch (error) {
      last = error
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`${what}: not within ${seconds} s`, { cause: last })
}
