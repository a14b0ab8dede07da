// Short messages at the foot of the page.

export const toasts = $state<{ id: number; text: string; bad: boolean }[]>([])
let next = 0

export function toast(text: string, bad = false) {
  const id = next++
  toasts.push({ id, text, bad })
  setTimeout(() => dismiss(id), bad ? 10_000 : 4_000)
}

export function dismiss(id: number) {
  const index = toasts.findIndex((one) => one.id === id)
  if (index >= 0) toasts.splice(index, 1)
}
