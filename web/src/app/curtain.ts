// What stands before the editor while the workspace cannot be reached: why, and what to do about it.

export interface CurtainAction {
  label: string
  primary?: boolean
  /** A place to go, or something to do; the button rests until it is done. */
  run: string | (() => void | Promise<void>)
}

export class Curtain {
  readonly #element: HTMLElement

  constructor(element: HTMLElement) {
    this.#element = element
  }

  show(title: string, text: string, actions: readonly CurtainAction[]): void {
    const box = document.createElement('div')
    const heading = document.createElement('h1')
    heading.id = 'curtain-title'
    heading.textContent = title
    const paragraph = document.createElement('p')
    paragraph.textContent = text
    paragraph.setAttribute('role', 'status')
    box.append(heading, paragraph, ...actions.map(control))
    this.#element.replaceChildren(box)
    this.#element.hidden = false
    box.querySelector<HTMLElement>('.primary')?.focus()
  }

  hide(): void {
    this.#element.hidden = true
  }
}

function control({ label, primary, run }: CurtainAction): HTMLElement {
  const element = typeof run === 'string' ? document.createElement('a') : document.createElement('button')
  element.textContent = label
  if (primary) element.className = 'primary'
  if (element instanceof HTMLAnchorElement) element.href = run as string
  else {
    element.addEventListener('click', async () => {
      element.disabled = true
      await (run as () => void | Promise<void>)()
      element.disabled = false
    })
  }
  return element
}
