import { test } from 'tap'
import { getHeader, getHeaderLines, withHeader } from '../../lib/headers.ts'

const headers = Object.freeze({ 'Content-Type': 'text/plain', 'X-A': undefined, 'x-a': 1, Vary: ['a', 'b'], vary: 'c' })

test('a header is found in any letter case', async (t) => {
  t.equal(getHeader(headers, 'content-type'), 'text/plain')
  t.equal(getHeader({ 'CONTENT-TYPE': 'a' }, 'content-type'), 'a')
  t.equal(getHeader(headers, 'x-a'), 1)
  t.equal(getHeader({ 'X-A': undefined, 'x-A': 2 }, 'x-a'), 2, 'past one that is undefined')
  t.equal(getHeader(headers, 'x-b'), undefined)
})

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
