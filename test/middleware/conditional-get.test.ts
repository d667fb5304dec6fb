import { Readable } from 'node:stream'
import { test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  lint,
  session,
  type App,
  type RackBody,
  type RackHeaders,
  type RackResponse,
} from '../../lib/index.ts'
import { ask, Client, serve, type Answer, type Owner } from '../server.ts'
import { SECRET } from '../session-app.ts'

// dates without a zone must not be taken for local ones
process.env['TZ'] = 'America/New_York'

const stackOf = () => new Builder().use(lint()).use(conditionalGet()).use(lint())

/** Serves one response, and asks for it. */
async function site(
  t: Owner,
  response: () => RackResponse,
): Promise<(headers?: Record<string, string>, method?: string) => Promise<Answer>> {
  const { port } = await serve(t, stackOf().run(response))
  return (headers = {}, method = 'GET') => ask(port, '/', { method, headers })
}

const answerOf = async (t: Owner, body: RackBody, headers: RackHeaders = {}, status = 200): Promise<Answer> =>
  (await site(t, () => [status, headers, body]))()

const REVALIDATE = 'max-age=0, private, must-revalidate'

test('HTTP-12: a whole body gets a weak ETag of its bytes, and is to be asked for again', async (t) => {
  const { headers } = await answerOf(t, ['Hello, World!'])
  const tag = headers.etag
  t.match(tag, /^W\/"[^"]+"$/)
  t.equal(headers['cache-control'], REVALIDATE)
  const bytes = new TextEncoder().encode('xHello, World!').subarray(1)
  const same: RackBody[] = [['Hello', '', ', World!'], 'Hello, World!', bytes, ['Hello', Buffer.from(', World!')]]
  for (const body of same) t.equal((await answerOf(t, body)).headers.etag, tag)
  t.equal((await answerOf(t, 'Hello, World!', {}, 201)).headers.etag, tag)
  const { headers: created } = await (await site(t, () => [201, {}, 'Hello, World!']))({}, 'POST')
  t.equal(created.etag, tag)
  t.equal(created['cache-control'], REVALIDATE)

  t.not((await answerOf(t, 'Hello, World?')).headers.etag, tag)
  t.equal((await answerOf(t, ['é'])).headers.etag, (await answerOf(t, Buffer.from('é'))).headers.etag)
})

test('HTTP-13: what has an ETag or a date, no body, a streaming one or another status gets no ETag', async (t) => {
  const plain: Record<string, () => RackResponse> = {
    'an ETag': () => [200, { etag: '"own"' }, 'x'],
    'a date': () => [200, { 'last-modified': 'Sun, 06 Nov 1994 08:49:37 GMT' }, 'x'],
    'an empty text': () => [200, {}, ''],
    'an empty list': () => [200, {}, []],
    'a list of nothing': () => [200, {}, ['', Buffer.alloc(0)]],
    'no body': () => [200, {}, null],
    'a stream': () => [200, {}, Readable.from(['x'])],
    'an iterable': () => [200, {}, new Set(['x'])],
    '401': () => [401, {}, 'x'],
    '302': () => [302, { location: '/' }, 'x'],
    '404': () => [404, {}, 'x'],
    '206': () => [206, {}, 'x'],
  }
  for (const name in plain) {
    const { headers } = await (await site(t, plain[name] as () => RackResponse))()
    t.equal(headers.etag, name === 'an ETag' ? '"own"' : undefined, name)
    t.equal(headers['cache-control'], undefined, name)
  }
  for (const control of ['no-cache', 'public, max-age=60', 'no-store']) {
    const { headers } = await answerOf(t, 'x', { 'cache-control': control })
    t.equal(headers['cache-control'], control)
    t.match(headers.etag, /^W\//, control)
  }
})

test('headers are found in any letter case, and what the app returned is not changed', async (t) => {
  const headers = Object.freeze({ 'Cache-Control': 'private', 'Content-Type': 'text/plain', 'Content-Length': 1 })
  const response = Object.freeze([200, headers, Object.freeze(['x'])]) as unknown as RackResponse
  const { port } = await serve(
    t,
    new Builder().use(conditionalGet()).run(() => response),
  )
  const { headers: sent } = await ask(port, '/')
  t.equal(sent['cache-control'], 'private')
  const { status, headers: kept } = await ask(port, '/', { headers: { 'if-none-match': sent.etag ?? '' } })
  t.equal(status, 304)
  t.equal(kept['content-type'], undefined)
  t.equal(kept['cache-control'], 'private')

  const own: App = () => [200, { ETag: '"own"', 'Last-MODIFIED': 'Sun, 06 Nov 1994 08:49:37 GMT' }, 'x']
  const { port: other } = await serve(t, new Builder().use(conditionalGet()).run(own))
  t.equal((await ask(other, '/')).headers.etag, '"own"')
  t.equal((await ask(other, '/', { headers: { 'if-none-match': '"own"' } })).status, 304)
})

test('a GET or HEAD for what the browser has is a 304 that keeps every header but those of the body', async (t) => {
  const headers = {
    'content-type': 'text/plain',
    'content-length': 5,
    'set-cookie': ['a=1; Path=/', 'b=2; Path=/'],
    vary: 'accept',
    'x-other': 'x',
  }
  const get = await site(t, () => [200, headers, 'hello'])
  const { etag = '' } = (await get()).headers
  for (const method of ['GET', 'HEAD']) {
    const answer = await get({ 'if-none-match': etag }, method)
    t.equal(answer.status, 304)
    t.equal(answer.body, '')
    t.same(answer.cookies, headers['set-cookie'])
    t.match(answer.headers, { etag, vary: 'accept', 'x-other': 'x', 'cache-control': REVALIDATE })
    t.equal(answer.headers['content-type'], undefined)
    t.equal(answer.headers['content-length'], undefined)
  }
})

test('the ETag counts before the date, in a list too, weak or strong; a reload gets all', async (t) => {
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT'
  const get = await site(t, () => [200, { etag: '"a"', 'last-modified': date }, 'x'])
  const asked: [noneMatch: string, status: number][] = [
    ['"a"', 304],
    ['W/"a"', 304],
    ['"b", W/"c" ,"a"', 304],
    ['*', 304],
    ['"b"', 200],
    ['a', 200],
    ['"A"', 200],
    ['"a', 200],
    [',,,', 200],
  ]
  for (const [noneMatch, status] of asked) {
    t.equal((await get({ 'if-none-match': noneMatch })).status, status, noneMatch)
    t.equal((await get({ 'if-none-match': noneMatch, 'if-modified-since': date })).status, status, noneMatch)
  }
  t.equal((await get({ 'if-none-match': '"a"', 'cache-control': 'no-cache' })).status, 200)
})

test('HTTP-10: a date is a 304 from the time of the last change on, for a GET that is answered 200', async (t) => {
  const hourAgo = new Date(Date.now() - 3_600_000).toUTCString()
  const before = new Date(Date.now() - 3_602_000).toUTCString()
  const headers = { 'last-modified': hourAgo, 'content-type': 'text/plain' }
  const get = await site(t, () => [200, headers, 'x'])
  for (const since of [hourAgo, new Date().toUTCString()]) {
    t.equal((await get({ 'if-modified-since': since })).status, 304)
    t.equal((await get({ 'if-modified-since': since }, 'HEAD')).status, 304)
    const posted = await get({ 'if-modified-since': since }, 'POST')
    t.equal(`${posted.status} ${posted.body}`, '200 x')
    for (const status of [201, 302, 404]) {
      const other = await (await site(t, () => [status, headers, 'x']))({ 'if-modified-since': since })
      t.equal(`${other.status} ${other.body}`, `${status} x`)
    }
  }
  t.equal((await get({ 'if-modified-since': before })).status, 200)
  t.equal((await get()).status, 200)
  const undated = await site(t, () => [200, {}, Readable.from(['x'])])
  t.equal((await undated({ 'if-modified-since': hourAgo })).status, 200)
})

test('HTTP-10: a date that is malformed or too short, on either side, is as none', async (t) => {
  const good = 'Sun, 06 Nov 1994 08:49:37 GMT'
  const wrong = [
    'x',
    '0',
    '2',
    '2099',
    '2099-01-01',
    '2099-01-01T00:00:00Z',
    '1 Nov 97',
    'Nov 6 2099',
    'Invalid Date',
    '06 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 06 Nov 1994 08:49:37 GMT+0200',
    'Sun, 06 Nov 1994 08:49:37 -0000',
    'sun, 06 nov 1994 08:49:37 gmt',
    'Mon, 06 Nov 1994 08:49:37 GMT',
    'Sun, 6 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 31 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 94 08:49:37 GMT',
    'Tue, 06 Nov 12345 08:49:37 GMT',
    'Sun, 06 Nov 1994  08:49:37 GMT',
    'Sunnesday, 06-Nov-94 08:49:37 GMT',
    'Monday, 06-Nov-94 08:49:37 GMT',
    'Sunday, 06-Nov-1994 08:49:37 GMT',
    'Sun Nov 06 08:49:37 EST 1994',
    'Mon Nov  6 08:49:37 1994',
    `${good}, ${good}`,
    `${good}(comment)`,
    '('.repeat(10_000),
  ]
  const fresh = await site(t, () => [200, { 'last-modified': good }, 'x'])
  t.equal((await fresh({ 'if-modified-since': good })).status, 304)
  for (const date of wrong) {
    t.equal((await fresh({ 'if-modified-since': date })).status, 200, date)
    const undated = await site(t, () => [200, { 'last-modified': date }, 'x'])
    t.equal((await undated({ 'if-modified-since': 'Fri, 01 Jan 2100 00:00:00 GMT' })).status, 200, date)
    t.equal((await undated({ 'if-modified-since': date })).status, 200, date)
  }
})

test('the obsolete forms of a date are read, and in GMT', async (t) => {
  const get = await site(t, () => [200, { 'last-modified': 'Sun, 06 Nov 1994 08:49:37 GMT' }, 'x'])
  const dates: Record<string, number> = {
    'Sunday, 06-Nov-94 08:49:37 GMT': 304,
    'Sunday, 06-Nov-94 08:49:36 GMT': 200,
    'Wednesday, 09-Nov-94 08:49:37 GMT': 304,
    'Friday, 20-Nov-26 00:00:00 GMT': 304,
    'Saturday, 05-Nov-94 08:49:37 GMT': 200,
    'Sun Nov  6 08:49:37 1994': 304,
    'Sun Nov  6 08:49:36 1994': 200,
    'Tue Nov 15 08:49:37 1994': 304,
  }
  for (const date in dates) t.equal((await get({ 'if-modified-since': date })).status, dates[date], date)
  const old = await site(t, () => [200, { 'last-modified': 'Sun Nov  6 08:49:37 1994' }, 'x'])
  t.equal((await old({ 'if-modified-since': 'Sun, 06 Nov 1994 08:49:37 GMT' })).status, 304)
  t.equal((await old({ 'if-modified-since': 'Sun, 06 Nov 1994 08:49:36 GMT' })).status, 200)
})

test('the body that a 304 does not send is closed', async (t) => {
  let closed = 0
  let read = 0
  const bodies: Record<string, () => RackBody> = {
    '/stream': () =>
      new Readable({
        read() {
          read++
          this.push(null)
        },
        destroy(error, done) {
          closed++
          done(error)
        },
      }),
    '/iterator': () => ({
      [Symbol.iterator]: () => {
        read++
        return [].values()
      },
      return() {
        closed++
        return { done: true, value: undefined }
      },
    }),
  }
  const app = stackOf().run((req) => [200, { etag: '"a"' }, bodies[req.url ?? '']?.() ?? null])
  const { port } = await serve(t, app)
  for (const path in bodies) {
    t.equal((await ask(port, path, { headers: { 'if-none-match': '"a"' } })).status, 304)
    t.same([closed, read], [1, 0], path)
    closed = 0
  }
})

test('a session is saved and its cookie sent with a 304, above session() and below', async (t) => {
  const page: RackResponse = [200, { 'content-type': 'text/plain' }, 'the same for all']
  const above = new Builder()
    .use(lint())
    .use(conditionalGet())
    .use(cookies({ secret: SECRET }))
    .use(session<{ visits: number }>())
    .use(lint())
    .run(async (req) => {
      const hash = await req.session
      hash.visits = (hash.visits ?? 0) + 1
      return page
    })
  const below = new Builder()
    .use(lint())
    .use(cookies({ secret: SECRET }))
    .use(session<{ visits: number }>())
    .use(conditionalGet())
    .use(lint())
    .run(async (req) => {
      const hash = await req.session
      hash.visits = (hash.visits ?? 0) + 1
      return page
    })
  for (const [app, control] of [
    [above, 'private'],
    [below, REVALIDATE],
  ] as const) {
    const client = new Client((await serve(t, app)).port)
    const first = await client.get('/', { headers: { host: 'localhost' } })
    t.equal(first.headers['cache-control'], control)
    const { etag = '' } = first.headers
    for (let visit = 0; visit < 2; visit++) {
      const cookie = client.cookie
      const {
        status,
        headers,
        cookies: lines,
      } = await client.get('/', {
        headers: { host: 'localhost', 'if-none-match': etag },
      })
      t.equal(status, 304)
      t.equal(lines.length, 1)
      t.not(client.cookie, cookie)
      t.match(headers, { etag, vary: 'cookie', 'cache-control': control })
    }
  }
})
