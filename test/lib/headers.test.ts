import { test } from 'tap'
import { getHeaderLines, withHeader } from '../../lib/headers.ts'

const headers = Object.freeze({ 'Content-Type': 'text/plain', 'X-A': undefined, 'x-a': 1, Vary: ['a', 'b'], vary: 'c' })

test('the lines of a header are collected from all its names, lists and numbers', async (t) => {
  t.same(getHeaderLines(headers, 'vary'), ['a', 'b', 'c'])
  t.same(getHeaderLines(headers, 'x-a'), ['1'])
  t.same(getHeaderLines(headers, 'x-b'), [])
})

test('a header is replaced, added or removed in a copy, under all its names', async (t) => {
  t.same(withHeader(headers, 'vary', '*'), { 'Content-Type': 'text/plain', 'X-A': undefined, 'x-a': 1, vary: '*' })
  t.same(withHeader({}, 'vary', ['a']), { vary: ['a'] })
  const without = withHeader(headers, 'vary', undefined)
  t.notOk('vary' in without || 'Vary' in without)
  t.same(headers.Vary, ['a', 'b'], 'and what came in is as it was')
})
