// The page's address as state. Links are ordinary anchors; those within the dashboard do not load anew.

export const route = $state({ path: location.pathname, query: new URLSearchParams(location.search) })

function read() {
  route.path = location.pathname
  route.query = new URLSearchParams(location.search)
}

// Goes to another page of the dashboard.
export function go(to: string, replace = false) {
  if (replace) history.replaceState(null, '', to)
  else history.pushState(null, '', to)
  read()
  scrollTo(0, 0)
}

// Turns clicks on links within the dashboard into `go`. Call once.
export function interceptLinks(isOurs: (path: string) => boolean) {
  addEventListener('popstate', read)
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return
    const link = (event.target as Element).closest?.('a')
    if (!link || link.target || link.origin !== location.origin || !isOurs(link.pathname)) return
    event.preventDefault()
    go(link.pathname + link.search)
  })
}
