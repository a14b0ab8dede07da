// When an open page is older than its server.
import { expect, test } from 'vitest'
import { isOtherRelease } from './release'

const page = (name: string) => `<script type="module" crossorigin src="/assets/${name}.js"></script>`

test('only a page with another entry is another release', () => {
  expect(isOtherRelease('/assets/index-a1.js', page('index-a1'))).toBe(false)
  expect(isOtherRelease('/assets/index-a1.js', page('index-b2'))).toBe(true)
})

test('what is no page of ours says nothing', () => {
  expect(isOtherRelease('/assets/index-a1.js', '<h1>502 Bad Gateway</h1>')).toBe(false)
})
