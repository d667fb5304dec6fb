import { test } from 'tap'
import type { RackHeaders } from '../../lib/index.ts'
import { makePrivate, withVary } from '../../lib/cache-control.ts'

/** The headers of a response that had a session. */
function withSession(headers: RackHeaders): RackHeaders {
  return makePrivate([200, Object.freeze(headers), ''], true)[1]
}

function cacheControl(value: string | readonly string[] | undefined): unknown {
  return withSession({ 'cache-control': value })['cache-control']
}

// the first test here that makes it warn, as it warns once for a process
test('what asked to be kept by shared caches is warned of, once', async (t) => {
  const warnings: (Error & { code?: string })[] = []
  const listener = (warning: Error): void => void warnings.push(warning)
  process.on('warning', listener)
  t.teardown(() => process.off('warning', listener))
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

  for (const value of ['no-store', 'private="set-cookie"', 'max-age=60', 'private', '']) cacheControl(value)
  await turn()
  t.same(warnings, [], 'not of what is none of it')

  for (const headers of [{ 'surrogate-control': 'max-age=60' }, { 'cache-control': 'public' }]) {
    withSession(headers)
    await turn()
    t.same(
      warnings.map(({ code }) => code),
      ['LUGGAGE_RACK_SHARED_CACHE'],
    )
  }
})

test('a response that depends on the session varies by the cookie', (t) => {
  const cases: [RackHeaders, unknown][] = [
    [{}, 'cookie'],
    [{ vary: undefined }, 'cookie'],
    [{ vary: '' }, 'cookie'],
    [{ vary: 'Accept' }, 'Accept, cookie'],
    [{ vary: 'accept,origin' }, 'accept,origin, cookie'],
    [{ Vary: ['Accept', 'Origin'] }, 'Accept, Origin, cookie'],
    [{ VARY: 'Accept', vary: 'origin' }, 'Accept, origin, cookie'],
    [{ vary: 'x-cookie, cookies' }, 'x-cookie, cookies, cookie'],
  ]
  for (const [headers, vary] of cases) {
    const result = makePrivate([200, headers, ''], false)[1]
    t.same(Object.entries(result), [['vary', vary]], JSON.stringify(headers))
  }
  t.end()
})

test('what varies by the cookie already, or by everything, is given on as it is', (t) => {
  for (const vary of [
    'cookie',
    'Cookie',
    'accept,COOKIE',
    '*',
    'accept, *',
    ['Accept', ' Cookie '],
    'cookie, cookie',
  ]) {
    const response = Object.freeze([200, Object.freeze({ Vary: vary }), ''] as const)
    t.equal(makePrivate(response, false), response, String(vary))
  }
  t.end()
})

test('without a session only Vary is touched', (t) => {
  const headers = { 'Cache-Control': 'public, s-maxage=60', 'CDN-Cache-Control': 'max-age=60', vary: 'accept' }
  t.same(makePrivate([200, headers, ''], false), [200, { ...headers, vary: 'accept, cookie' }, ''])
  t.end()
})

test('withVary adds any name', (t) => {
  t.same(withVary({ Vary: 'Cookie' }, 'origin'), { vary: 'Cookie, origin' })
  t.end()
})

test('with a session the response is private to its browser, and keeps what else was said', (t) => {
  const cases: [string | readonly string[] | undefined, string][] = [
    [undefined, 'private'],
    ['', 'private'],
    ['public', 'private'],
    ['Public, Max-Age=60', 'Max-Age=60, private'],
    ['public,s-maxage=3600,max-age=60', 'max-age=60, private'],
    ['S-MaxAge = 60', 'private'],
    ['max-age=60', 'max-age=60, private'],
    ['no-store', 'no-store, private'],
    ['no-cache, no-store', 'no-cache, no-store, private'],
    ['private="set-cookie"', 'private'],
    ['private="set-cookie, x-y", max-age=5', 'max-age=5, private'],
    ['PRIVATE = set-cookie', 'private'],
    ['private="x", private', 'private'],
    ['no-cache="public, s-maxage=1", public', 'no-cache="public, s-maxage=1", private'],
    ['ext="a\\", public, b", s-maxage=1', 'ext="a\\", public, b", private'],
    [['public', 'max-age=60'], 'max-age=60, private'],
    ['public, public, ,', 'private'],
    ['x-public, publicly, s-maxage-x=1', 'x-public, publicly, s-maxage-x=1, private'],
    // a semicolon for a comma is a mistake that some caches overlook
    ['public; max-age=60', 'private'],
    ['private; max-age=60', 'private; max-age=60, private'],
    [' \t, ', 'private'],
    ['private=""', 'private'],
    ['no-cache="set-cookie, private"', 'no-cache="set-cookie, private", private'],
    // a quote that does not end must not hide what stands behind it
    ['ext="open, public, s-maxage=9', 'ext=, open, private'],
    // nor a private that a cache would take for a part of it
    ['ext="open, private', 'ext=, open, private'],
    ['max-age=1, "private', 'max-age=1, private'],
    ['x="a\\", private', 'x=, a\\, private'],
    [['x="', 'private'], 'x=, private'],
  ]
  for (const [value, expected] of cases) t.equal(cacheControl(value), expected, JSON.stringify(value))

  const split = withSession({ 'Cache-Control': 'public', 'cache-control': 'max-age=1' })
  t.same(split, { vary: 'cookie', 'cache-control': 'max-age=1, private' })
  t.end()
})

test('what is private already is left as it is', (t) => {
  for (const value of [
    'private',
    'Private',
    'private, max-age=60',
    'max-age=0,must-revalidate,private',
    'private, no-store',
    'private, x="a, b"',
  ]) {
    const response = Object.freeze([200, Object.freeze({ 'Cache-Control': value, vary: 'cookie' }), 'x'] as const)
    t.equal(makePrivate(response, true), response, value)
  }
  t.end()
})

test('headers that speak to shared caches alone are removed, in any letter case', (t) => {
  const headers = {
    'CDN-Cache-Control': 'max-age=60',
    'surrogate-control': ['max-age=60'],
    'Surrogate-CONTROL': 'content="ESI/1.0"',
    'Cloudflare-CDN-Cache-Control': 'max-age=60',
    'Akamai-Cache-Control': 'max-age=60',
    'Edge-Control': 'cache-maxage=60m',
    'x-accel-expires': 60,
    'surrogate-key': 'front',
    'cache-controls': 'none',
    'xcache-control': 'none',
    'x-kept': undefined,
    'Content-Type': 'text/plain',
  }
  const result = withSession(headers)
  t.same(
    new Set(Object.keys(result)),
    new Set(['Content-Type', 'cache-control', 'cache-controls', 'surrogate-key', 'vary', 'x-kept', 'xcache-control']),
  )
  t.equal(result['cache-control'], 'private')
  t.end()
})

test('a header of odd quotes is read in bounded time', (t) => {
  const start = performance.now()
  for (const odd of ['"', '\\"', '",', 'a="', ' ']) cacheControl(odd.repeat(8000))
  t.ok(performance.now() - start < 5000)
  t.end()
})
