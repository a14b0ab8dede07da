// Whether the page is on its way out, so that what is torn down is not what a person closed.

let unloading = false

/** Before the editor's own listeners, so that they see it. */
export function noticeLeaving(): void {
  const notice = () => {
    unloading = true
    // A person may decide to stay: what happens after this task is theirs again.
    setTimeout(() => {
      unloading = false
    })
  }
  window.addEventListener('beforeunload', notice, { capture: true })
  window.addEventListener('pagehide', notice, { capture: true })
}

export const leaving = (): boolean => unloading
