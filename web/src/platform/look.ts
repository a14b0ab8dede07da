// Light or dark, as the editor was last seen in this browser; without it the page follows the system.

const KEY = 'roost.look'

export function rememberLook(look: 'light' | 'dark'): void {
  const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
  if (look === system) localStorage.removeItem(KEY)
  else localStorage.setItem(KEY, look)
}

export function applyRememberedLook(): void {
  const look = localStorage.getItem(KEY)
  if (look) document.documentElement.dataset.look = look
}
