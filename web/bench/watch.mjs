// What runs in the page that is measured: the same in every editor, since all of them are VS Code's.

/** Marks the moments at which the file's text is coloured and at which a typed `Z` is in it. */
export function watchOpening(needle) {
  const plain = (text) => text.replaceAll('\u00a0', ' ')
  let before
  const look = () => {
    const lines = document.querySelector('.editor-instance .view-lines')
    const text = lines ? plain(lines.textContent) : ''
    const here = text.includes(needle)
    if (before === undefined && here && lines.querySelector('span[class*="mtk"]:not(.mtk1)')) {
      performance.mark('coloured')
      before = text.split('Z').length
    }
    if (before !== undefined && text.split('Z').length > before) performance.mark('typed')
    else requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
}

/**
 * Notes for each key the milliseconds from its event to the end of the frame in which `selector` changed.
 * A message posted from the change, which is made just before the frame is painted, arrives after it.
 */
export function watchKeys(selector) {
  window.keyTimes = []
  let pressed
  addEventListener('keydown', (event) => (pressed = event.timeStamp), { capture: true })
  const channel = new MessageChannel()
  channel.port1.onmessage = ({ data }) => window.keyTimes.push(performance.now() - data)
  new MutationObserver(() => {
    if (pressed === undefined) return
    channel.port2.postMessage(pressed)
    pressed = undefined
  }).observe(document.querySelector(selector), { subtree: true, childList: true, characterData: true })
}
