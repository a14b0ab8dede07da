// Which ports are shown and which are news.
import { expect, test } from 'vitest'
import { Ports } from './ports'

const seen = (port: number) => ({ port, process: 'python3' }) as Parameters<Ports['update']>[0][number]

function watch(ports: Ports): number[] {
  const news: number[] = []
  ports.onDidAppear(({ port }) => news.push(port))
  return news
}

test('what listened before the page came is shown, but is no news', () => {
  const ports = new Ports()
  const news = watch(ports)
  ports.update([seen(8000)])
  expect(ports.list.map(({ port }) => port)).toEqual([8000])
  expect(news).toEqual([])
})

test('what begins to listen is news once, and again after it stopped', () => {
  const ports = new Ports()
  const news = watch(ports)
  ports.update([])
  ports.update([seen(8000)])
  ports.update([seen(8000), seen(9000)])
  ports.update([seen(9000)])
  ports.update([seen(8000), seen(9000)])
  expect(news).toEqual([8000, 9000, 8000])
})

test('a port that a person asked for stays, listening or not', () => {
  const ports = new Ports()
  ports.add(3000)
  expect(ports.list).toEqual([{ port: 3000, process: '', listening: false }])
  ports.update([seen(3000)])
  expect(ports.list).toEqual([{ port: 3000, process: 'python3', listening: true }])
})
