// Work that a person replaced by other work, such as a search by the next letter, is no error of the page.

export function silenceCancellations(): void {
  window.addEventListener('unhandledrejection', (event) => {
    if (event.reason instanceof Error && event.reason.name === 'Canceled') event.preventDefault()
  })
}
