// Whether the server was upgraded while this page was open: the page's scripts are named by their content.

/** Asks for the page anew; false, too, while the server cannot be reached. */
export async function isOutdated(): Promise<boolean> {
  const own = document.querySelector('script[type=module][src]')?.getAttribute('src')
  try {
    const response = await fetch(location.pathname, { cache: 'no-cache', redirect: 'error' })
    return own != null && response.ok && isOtherRelease(own, await response.text())
  } catch {
    return false
  }
}

/** `entry` is the script that the open page runs, `page` what the server sends for it now. */
export const isOtherRelease = (entry: string, page: string): boolean =>
  page.includes('<script type="module"') && !page.includes(` src="${entry}"`)
