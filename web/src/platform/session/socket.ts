// The part of a WebSocket that a session uses; the fake guest has another one.

export interface Socket {
  binaryType: string
  onopen: ((event: Event) => void) | null
  onmessage: ((event: MessageEvent) => void) | null
  onclose: ((event: CloseEvent) => void) | null
  send(data: Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
}

export type Dial = (url: string) => Socket

export const dialWebSocket: Dial = (url) => new WebSocket(url) as unknown as Socket

/** Close codes by which the gateway says that trying again does not help by itself. */
export const CLOSED_SIGN_IN = 4401
export const CLOSED_NO_WORKSPACE = 4404
export const CLOSED_NOT_RUNNING = 4409
