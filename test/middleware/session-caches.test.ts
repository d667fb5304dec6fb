import express from 'express'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { test, type Test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  CookieStore,
  csrf,
  flash,
  fromConnect,
  MemoryStore,
  session,
  showExceptions,
  toConnect,
  type RackHeaders,
  type RequestOf,
} from '../../lib/index.ts'
import { stage, type Action } from '../http-suite.ts'
import { listen } from '../lib/to-connect-app.ts'
import { Client, serve, type Answer } from '../server.ts'
import { SECRET, type Data } from '../session-app.ts'

const warnings: (Error & { code?: string })[] = []
process.on('warning', (warning) => warnings.push(warning))

/** What a cache goes by. */
const said = ({ headers }: Answer): unknown[] => [headers.vary, headers['cache-control']]

const page: Action = async (req) => {
  await req.session
  return [200, {}, 'page']
}

/** A browser with a session, and one without. */
async function visitors(t: Test, pages: Record<string, Action>): Promise<{ known: Client; stranger: Client }> {
  const { client: known, port } = await stage(t, { store: new MemoryStore() }, pages)
  await known.get('/write')
  return { known, stranger: new Client(port) }
}

test('a response varies by the cookie where the session, its id or its existence was looked at, and is private where there was one', async (t) => {
  const looks: Record<string, Action> = {
    await: page,
    exists: (req) => [200, {}, String(req.session.exists)],
    id: (req) => [200, {}, String(req.session.id)],
    'a load that nobody waits for': (req) => {
      void req.session.then((hash) => hash)
      return [200, {}, 'page']
    },
  }
  const pages = Object.fromEntries(Object.values(looks).map((look, i) => [`/${i}`, look]))
  for (const [i, name] of Object.keys(looks).entries()) {
    const { known, stranger } = await visitors(t, pages)
    t.same(said(await known.get(`/${i}`)), ['cookie', 'private'], name)
    const first = await stranger.get(`/${i}`)
    t.same([...said(first), first.cookies], ['cookie', undefined, []], `${name}, without a session`)
  }
})

test('what tells nothing of the session leaves the response alone', async (t) => {
  const headers: RackHeaders = { 'cache-control': 'public, max-age=60', 'cdn-cache-control': 'max-age=600' }
  const { known } = await visitors(t, {
    '/nothing': () => [200, headers, 'for everybody'],
    '/loaded': (req) => [200, headers, String(req.session.loaded)],
    '/options': (req) => {
      req.session.options.touch = false
      return [200, headers, 'for everybody']
    },
  })
  for (const path of ['/nothing', '/loaded', '/options']) {
    const answer = await known.get(path)
    t.same([...said(answer), answer.headers['cdn-cache-control']], [undefined, 'public, max-age=60', 'max-age=600'])
  }
})

test('whatever is done to the session shows: a response with its cookie is private, one for nobody is not', async (t) => {
  for (const path of ['/read', '/write', '/renew', '/clear', '/reset', '/reset-write', '/destroy', '/id']) {
    const { known, stranger } = await visitors(t, {})
    t.same(said(await known.get(path)), ['cookie', 'private'], path)
    const answer = await stranger.get(path)
    t.same(said(answer), ['cookie', answer.cookies.length > 0 ? 'private' : undefined], `${path}, without a session`)
  }
  const { known, stranger } = await visitors(t, {})
  stranger.jar.set('_session_id', known.jar.get('_session_id') ?? '')
  await known.get('/destroy')
  t.same(said(await stranger.get('/read')), ['cookie', undefined], 'a session that is gone is none')
  stranger.jar.set('_session_id', '0'.repeat(32))
  t.same(said(await stranger.get('/read')), ['cookie', undefined], 'an id that nobody gave out is none')
})

test('where the store failed, a response for a browser that sent a cookie is private', async (t) => {
  const caught: Action = async (req) => {
    const failed = await req.session.then(
      () => false,
      () => true,
    )
    return [200, {}, String(failed)]
  }
  for (const onStoreError of ['throw', 'anonymous'] as const) {
    const { client, spy } = await stage(
      t,
      { store: new MemoryStore(), session: { onStoreError } },
      { '/caught': caught },
    )
    await client.get('/write')
    spy.down = new Error('down')
    const answer = await client.get('/caught')
    t.equal(answer.body, String(onStoreError === 'throw'))
    t.same(said(answer), ['cookie', 'private'], onStoreError)
  }
})

test('flash() and csrf() look at the session where a page asks them to', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>())
    .use(flash())
    .use(csrf())
    .run(async (req) => {
      if (req.url === '/token') return [200, {}, await req.csrfToken()]
      if (req.url === '/flash') return [200, {}, JSON.stringify(await req.flash)]
      return [200, { 'cache-control': 'public' }, 'for everybody']
    })
  const client = new Client((await serve(t, app)).port)
  t.same(said(await client.get('/')), ['Sec-Fetch-Site', 'public'])
  t.same(said(await client.get('/flash')), ['Sec-Fetch-Site, cookie', undefined])
  t.same(said(await client.get('/token')), ['cookie, Sec-Fetch-Site', 'private'])
  t.same(said(await client.get('/flash')), ['Sec-Fetch-Site, cookie', 'private'])
  t.same(said(await client.get('/')), ['Sec-Fetch-Site', 'public'])
})

test('what was there is merged over the wire, in every spelling, and what speaks to shared caches goes', async (t) => {
  const cases: [headers: RackHeaders, vary: string, control: string][] = [
    [
      { Vary: 'Accept-Encoding', 'Cache-Control': 'Public, max-age=60' },
      'Accept-Encoding, cookie',
      'max-age=60, private',
    ],
    [{ VARY: ['Accept', 'accept-encoding'] }, 'Accept, accept-encoding, cookie', 'private'],
    [{ Vary: 'Accept', vary: 'COOKIE' }, 'Accept, COOKIE', 'private'],
    [{ vary: '*', 'cache-control': '' }, '*', 'private'],
    [{ vary: ' cookie ,cookie', 'cache-control': ['public', 'S-MaxAge=10'] }, 'cookie ,cookie', 'private'],
    [{ 'CACHE-CONTROL': 'no-store', 'cache-control': 'public' }, 'cookie', 'no-store, private'],
    [{ 'cache-control': 'no-cache="a, public", public' }, 'cookie', 'no-cache="a, public", private'],
    [{ 'cache-control': 'private="set-cookie, x"' }, 'cookie', 'private'],
    [{ 'cache-control': 'x="open, private' }, 'cookie', 'x=, open, private'],
  ]
  const shared = {
    'CDN-Cache-Control': 'max-age=600',
    'Cloudflare-CDN-Cache-Control': 'max-age=600',
    'akamai-cache-control': ['max-age=600'],
    'SURROGATE-CONTROL': 'max-age=600',
    'edge-control': '!no-store, max-age=1d',
    'X-Accel-Expires': 600,
  }
  const kept = { expires: 'Thu, 01 Dec 2050 16:00:00 GMT', 'surrogate-key': 'front', 'last-modified': 'x', age: '5' }
  const pages = cases.map(([headers], i): [string, Action] => [
    `/${i}`,
    async (req) => {
      await req.session
      return [200, Object.freeze({ ...headers, ...shared, ...kept }), 'page']
    },
  ])
  const { known } = await visitors(t, Object.fromEntries(pages))
  for (const [i, [headers, vary, control]] of cases.entries()) {
    const answer = await known.get(`/${i}`)
    t.same(said(answer), [vary, control], JSON.stringify(headers))
    const names = Object.keys(answer.headers)
    for (const name of Object.keys(shared)) t.notOk(names.includes(name.toLowerCase()), name)
    for (const name of Object.keys(kept)) t.ok(names.includes(name), name)
  }
  await new Promise((resolve) => setImmediate(resolve))
  const told = warnings.filter(({ code }) => code === 'LUGGAGE_RACK_SHARED_CACHE')
  t.equal(told.length, 1)
  t.match(told[0]?.message, /public, s-maxage, CDN-Cache-Control, Surrogate-Control/)
})

test('it is the same for HEAD, for every status, and for a body that is streamed', async (t) => {
  const { known } = await visitors(t, {
    '/stream': async (req) => {
      await req.session
      return [200, { 'cache-control': 'public' }, Readable.from(['a', 'b'])]
    },
    ...Object.fromEntries(
      [201, 204, 206, 301, 302, 304, 404, 410, 500].map((status): [string, Action] => [
        `/${status}`,
        async (req) => {
          await req.session
          return [status, { 'cache-control': 'public, max-age=5' }, null]
        },
      ]),
    ),
  })
  t.same(said(await known.get('/stream')), ['cookie', 'private'])
  t.same(said(await known.get('/stream', { method: 'HEAD' })), ['cookie', 'private'])
  for (const status of [201, 204, 206, 301, 302, 304, 404, 410, 500]) {
    const answer = await known.get(`/${status}`)
    t.same([answer.status, ...said(answer)], [status, 'cookie', 'max-age=5, private'])
  }
})

test('a 304 says it too, whether conditionalGet() stands above the session or below', async (t) => {
  for (const order of ['above', 'below']) {
    const stack =
      order === 'above'
        ? new Builder()
            .use(conditionalGet())
            .use(cookies({ secret: SECRET }))
            .use(session<Data>())
        : new Builder()
            .use(cookies({ secret: SECRET }))
            .use(session<Data>())
            .use(conditionalGet())
    const app = stack.run(async (req) => {
      if (req.url === '/write') (await req.session)['foo'] = 'bar'
      await req.session
      return [200, {}, 'the same for all']
    })
    const client = new Client((await serve(t, app)).port)
    const stranger = await client.get('/')
    t.same(said(stranger), ['cookie', 'max-age=0, private, must-revalidate'], order)
    const { etag = '' } = (await client.get('/write')).headers
    const headers = { 'if-none-match': etag }
    const known = await client.get('/', { headers })
    t.equal(known.status, 304)
    t.equal(known.headers.vary, 'cookie')
    t.match(known.headers['cache-control'], /(^|, )private(,|$)/)
    const written = await client.clone().get('/write?again', { headers })
    t.match(written.headers['cache-control'], /(^|, )private(,|$)/, 'and with a cookie')
  }
})

test('a page that fails after the session was looked at is kept by no cache', async (t) => {
  const gone = Object.assign(new Error('gone'), { status: 410 })
  const fail: Action = async (req) => {
    await req.session
    throw gone
  }
  const { known } = await visitors(t, { '/': fail })
  const plain = await known.get('/')
  t.same([plain.status, ...said(plain)], [410, undefined, 'no-store'])

  for (const options of [{}, { details: true }, { render: () => [410, {}, 'own'] as const }]) {
    const app = new Builder()
      .use(showExceptions(options))
      .use(cookies({ secret: SECRET }))
      .use(session<Data>())
      .run(fail)
    const shown = await new Client((await serve(t, app)).port).get('/')
    t.same([shown.status, ...said(shown)], [410, undefined, 'no-store'])
  }
})

test('of two sessions, one inside map, the response says it once', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ key: 'outer' }))
    .use((inner) => async (req) => {
      const response = await inner(req)
      ;(await req.session)['n'] = 1
      return response
    })
    .map('/shop', (shop) =>
      shop.use(session<Data>({ key: 'inner', store: new MemoryStore() })).run(async (req) => {
        ;(await req.session)['n'] = 1
        return [200, { 'cache-control': 'public, max-age=9', vary: 'accept' }, 'shop']
      }),
    )
    .run(() => [200, {}, null])
  const answer = await new Client((await serve(t, app)).port).get('/shop')
  t.same(said(answer), ['accept, cookie', 'max-age=9, private'])
  t.same(new Set(answer.cookies.map((line) => line.split('=')[0])), new Set(['inner', 'outer']))
})

test("what Connect's middleware say of caches is merged, above the session and below", async (t) => {
  const says = (req: IncomingMessage, res: ServerResponse, next: () => void): void => {
    res.setHeader('Vary', 'Accept-Encoding')
    res.setHeader('Cache-Control', 'public, max-age=60')
    if (req.url === '/own') res.end('own')
    else next()
  }
  const above = new Builder()
    .use(fromConnect(says))
    .use(cookies({ secret: SECRET }))
    .use(session<Data>())
  const below = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>())
    .use(fromConnect(says))
  for (const stack of [above, below]) {
    const app = stack.run(async (req) => {
      ;(await req.session)['n'] = 1
      return [200, {}, 'page']
    })
    const client = new Client((await serve(t, app)).port)
    const [vary, control] = said(await client.get('/'))
    t.same(String(vary).split(', ').toSorted(), ['Accept-Encoding', 'cookie'])
    t.equal(control, stack === above ? 'private' : 'max-age=60, private')
    t.same(said(await client.get('/own')), ['Accept-Encoding', 'public, max-age=60'], 'nobody looked at the session')
  }
})

test('in Express what a handler says of caches is merged, also after the session was loaded', async (t) => {
  const stack = new Builder().use(cookies({ secret: SECRET })).use(session<Data>({ store: new CookieStore() }))
  const of = (req: IncomingMessage): RequestOf<typeof stack>['session'] => (req as RequestOf<typeof stack>).session
  const app = express()
  app.use(toConnect(stack))
  app.get('/write', async (req, res) => {
    res.vary('Accept')
    ;(await of(req)).foo = 'bar'
    res.set('Cache-Control', 'public, s-maxage=60').set('CDN-Cache-Control', 'max-age=60').vary('Origin')
    res.send('written')
  })
  app.get('/head', async (req, res) => {
    await of(req)
    res.writeHead(200, { 'Cache-Control': 'public', VARY: 'Cookie' })
    res.write('a')
    res.end('b')
  })
  app.get('/early', async (req, res) => {
    res.set('Cache-Control', 'public').write('begun ')
    if (req.query['late'] !== undefined) await new Promise((resolve) => setImmediate(resolve))
    const late = await of(req).then(
      () => 'read',
      (error: { code: string }) => error.code,
    )
    res.end(late)
  })
  app.get('/nothing', (_req, res) => void res.set('Cache-Control', 'public').send('for everybody'))
  const client = new Client(await listen(t, app))
  const written = await client.get('/write')
  t.same(said(written), ['Accept, Origin, cookie', 'private'])
  t.notOk('cdn-cache-control' in written.headers)
  t.same(said(await client.get('/head')), ['Cookie', 'private'])
  const early = await client.get('/early')
  t.same([early.body, ...said(early)], ['begun read', 'cookie', 'private'], 'the head is still held')
  const late = await client.get('/early?late')
  t.same(
    [late.body, ...said(late)],
    ['begun ERR_SESSION_COMMITTED', undefined, 'public'],
    'it is sent, and says nothing',
  )
  t.same(said(await client.get('/nothing')), [undefined, 'public'])
})
