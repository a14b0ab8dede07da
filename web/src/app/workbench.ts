// Entry of the editor page.
export {}
