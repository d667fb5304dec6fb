import { once } from 'node:events'
import { Readable } from 'node:stream'
import compression from 'compression'
import helmet from 'helmet'
import { test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  csrf,
  flash,
  form,
  forwarded,
  fromConnect,
  lint,
  MemoryStore,
  methodOverride,
  requestId,
  serverTiming,
  session,
  showExceptions,
  type App,
  type Middleware,
  type RackResponse,
} from '../../lib/index.ts'
import { lifecycle } from '../../middleware/lifecycle.ts'
import { openid } from '../../middleware/openid.ts'
import { Client, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

const boom = Object.assign(new Error('boom'), { code: 'BOOM' })
const refused = Object.assign(new Error('refused'), { code: 'REFUSED', status: 422 })
const quiet = { onError: (): void => {} }

const linted = () => new Builder().use(lint())
const withJar = () =>
  linted()
    .use(cookies({ secret: SECRET }))
    .use(lint())
const withSession = (store = new MemoryStore()) =>
  withJar()
    .use(session<{ count: number }>({ store, expireAfter: 60 }))
    .use(lint())
const withForm = () => linted().use(form()).use(lint())

/** Every layer between two lints, doing what it can. */
const stacks: Record<string, (app: App) => App> = {
  'no layer': (app) => linted().run(app),
  serverTiming: (app) => linted().use(serverTiming()).use(lint()).run(app),
  lifecycle: (app) =>
    linted()
      .use(lifecycle({ data: true }))
      .use(lint())
      .run(app),
  cookies: (app) => withJar().run(app),
  'cookies, written': (app) => withJar().run((req) => (req.cookies.set('a', 'c;d'), app(req))),
  'cookies, sealed': (app) => withJar().run((req) => (req.cookies.encrypted.set('b', { c: 'd' }), app(req))),
  'cookies, deleted': (app) => withJar().run((req) => (req.cookies.delete('a'), app(req))),
  session: (app) => withSession().run(app),
  'session, read': (app) => withSession().run(async (req) => (await req.session, app(req))),
  'session, written': (app) =>
    withSession().run(async (req) => (((await req.session).count = Math.random()), app(req))),
  'session, reset': (app) => withSession().run((req) => ((req.session.reset().count = 1), app(req))),
  'session, destroyed': (app) => withSession().run((req) => (req.session.destroy(), app(req))),
  'session in a cookie': (app) =>
    withJar()
      .use(session<{ count: number }>())
      .use(lint())
      .run(async (req) => (((await req.session).count = Math.random()), app(req))),
  openid: (app) =>
    withSession()
      .use(openid({ issuer: 'http://127.0.0.1:9', clientId: 'a', endWithToken: true, log: false }))
      .use(lint())
      .run(app),
  flash: (app) => withSession().use(flash()).use(lint()).run(app),
  'flash, written': (app) =>
    withSession()
      .use(flash())
      .use(lint())
      .run(async (req) => (((await req.flash).notice = 'saved'), app(req))),
  csrf: (app) =>
    withSession()
      .use(csrf({ log: false }))
      .use(lint())
      .run(app),
  'csrf, with a token': (app) =>
    withSession()
      .use(csrf({ log: false }))
      .use(lint())
      .run(async (req) => (await req.csrfToken(), app(req))),
  form: (app) => withForm().run(async (req) => (await req.form(), app(req))),
  methodOverride: (app) => withForm().use(methodOverride(quiet)).use(lint()).run(app),
  forwarded: (app) =>
    linted()
      .use(forwarded({ trust: ['loopback'] }))
      .use(lint())
      .run(app),
  conditionalGet: (app) => linted().use(conditionalGet()).use(lint()).run(app),
  fromConnect: (app) =>
    linted()
      .use(fromConnect((_req, _res, next) => next()))
      .use(lint())
      .run(app),
  'fromConnect, helmet': (app) => linted().use(fromConnect(helmet())).use(lint()).run(app),
  'fromConnect, compression': (app) =>
    linted()
      .use(fromConnect(compression({ threshold: 0 })))
      .use(lint())
      .run(app),
  requestId: (app) => linted().use(requestId()).use(lint()).run(app),
  showExceptions: (app) => linted().use(showExceptions(quiet)).use(lint()).run(app),
  'showExceptions, with details': (app) =>
    linted()
      .use(showExceptions({ ...quiet, details: true }))
      .use(lint())
      .run(app),
  'showExceptions, with pages of its own': (app) =>
    linted()
      .use(showExceptions({ ...quiet, render: (_error, _req, status) => [status, {}, Readable.from(['sorry'])] }))
      .use(lint())
      .run(app),
  'all of them': (app) =>
    linted()
      .use(requestId())
      .use(lint())
      .use(showExceptions(quiet))
      .use(lint())
      .use(forwarded({ trust: ['loopback'] }))
      .use(lint())
      .use(conditionalGet())
      .use(lint())
      .use(cookies({ secret: SECRET }))
      .use(lint())
      .use(session<{ count: number }>())
      .use(lint())
      .use(flash())
      .use(lint())
      .use(form())
      .use(lint())
      .use(methodOverride(quiet))
      .use(lint())
      .use(csrf({ log: false }))
      .use(lint())
      .run(async (req) => {
        ;(await req.session).count = Math.random()
        ;(await req.flash).notice = await req.csrfToken()
        return app(req)
      }),
}

function* letters(): Generator<string> {
  yield 'a'
  yield 'é'
}

const text = { 'content-type': 'text/plain; charset=utf-8' }
const lines = ['x=1; Path=/', 'y=2; Path=/; HttpOnly']
const constant: RackResponse = Object.freeze([
  200,
  Object.freeze({ ...text, 'set-cookie': Object.freeze(lines), vary: 'accept' }),
  'aé',
])

/** What an app may answer, and what a client then gets. */
const responses: Record<string, { respond: (stream: Readable) => ReturnType<App>; status: number; body: string }> = {
  text: { respond: () => [200, { ...text, 'content-length': 3 }, 'aé'], status: 200, body: 'aé' },
  later: { respond: async () => [200, text, 'aé'], status: 200, body: 'aé' },
  bytes: { respond: () => [201, text, Buffer.from('aé')], status: 201, body: 'aé' },
  list: { respond: () => [200, { 'content-length': '3' }, ['a', Buffer.from('é')]], status: 200, body: 'aé' },
  generator: { respond: () => [200, text, letters()], status: 200, body: 'aé' },
  stream: { respond: (stream) => [200, { 'content-length': '3' }, stream], status: 200, body: 'aé' },
  'web-stream': { respond: () => [200, text, new Blob(['aé']).stream()], status: 200, body: 'aé' },
  nothing: { respond: () => [200, {}, null], status: 200, body: '' },
  constant: { respond: () => constant, status: 200, body: 'aé' },
  '204': { respond: () => [204, {}, null], status: 204, body: '' },
  '304': { respond: () => [304, { etag: '"a"' }, null], status: 304, body: '' },
  '204-stream': { respond: (stream) => [204, {}, stream], status: 204, body: '' },
  cookies: { respond: () => [200, { ...text, 'set-cookie': lines }, 'aé'], status: 200, body: 'aé' },
  redirect: { respond: () => [303, { location: '/' }, null], status: 303, body: '' },
  missing: { respond: () => [404, { 'cache-control': 'public, max-age=5' }, 'aé'], status: 404, body: 'aé' },
  // of an error, each stack makes a page of its own
  throws: { respond: thrower(boom), status: 500, body: '*' },
  rejects: { respond: () => Promise.reject(boom), status: 500, body: '*' },
  refuses: { respond: thrower(refused), status: 422, body: '*' },
}

function thrower(error: Error): () => never {
  return () => {
    throw error
  }
}

const urlencoded = { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' }
const requests = {
  GET: { headers: { 'x-request-id': 'abc', 'x-forwarded-proto': 'http', accept: 'text/html' } },
  HEAD: { headers: {} },
  POST: { headers: urlencoded, body: '_method=put&a=b' },
}

for (const [name, stack] of Object.entries(stacks)) {
  test(`under lint: ${name}`, async (t) => {
    const closed: Promise<unknown>[] = []
    const app: App = (req) => {
      const stream = Readable.from(['a', 'é'])
      const path = (req.url ?? '').slice(1)
      if (path.endsWith('stream') && !path.startsWith('web')) closed.push(once(stream, 'close'))
      return responses[path]?.respond(stream) ?? [404, {}, `no ${path}`]
    }
    const { port, errors } = await serve(t, stack(app))
    const client = new Client(port)
    for (const [path, { status, body }] of Object.entries(responses)) {
      for (const [method, options] of Object.entries(requests)) {
        const answer = await client.get(`/${path}`, { method, ...options })
        const page = method === 'HEAD' ? '' : body === '*' ? answer.body : body
        t.same([answer.status, answer.body], [status, page], `${method} ${path}`)
        if (path === 'cookies' || path === 'constant') t.same(answer.cookies.slice(0, 2), lines)
      }
    }
    await Promise.all(closed)
    t.equal(closed.length, 6, 'streams that were closed')
    // listeners report what is the client's fault too
    const unexpected = errors.filter((error) => error !== boom && error !== refused)
    t.same(unexpected, [])
  })
}

test('under lint: conditionalGet answers 304 and closes the body', async (t) => {
  const streams: Readable[] = []
  const app: App = () => {
    const stream = Readable.from(['a'])
    streams.push(stream)
    return [200, { ...text, etag: '"a"', 'content-length': 1 }, stream]
  }
  const { port, errors } = await serve(t, stacks['conditionalGet']?.(app) as App)
  for (const method of ['GET', 'HEAD']) {
    const { status, headers } = await new Client(port).get('/', { method, headers: { 'if-none-match': '"a"' } })
    t.same([status, headers.etag, headers['content-type']], [304, '"a"', undefined])
  }
  t.same([streams.map((stream) => stream.destroyed), errors], [[true, true], []])
})

test('under lint: what compression makes smaller is the same when it is unpacked', async (t) => {
  const app: App = (req) => responses[(req.url ?? '').slice(1)]?.respond(Readable.from(['a', 'é'])) ?? [404, {}, null]
  const { url, errors } = await serve(t, stacks['fromConnect, compression']?.(app) as App)
  let smaller = 0
  for (const [path, { status, body }] of Object.entries(responses)) {
    if (body === '*') continue
    const answer = await fetch(`${url}/${path}`, { redirect: 'manual', headers: { 'accept-encoding': 'gzip' } })
    t.same([answer.status, await answer.text()], [status, body], path)
    if (answer.headers.get('content-encoding') === 'gzip') smaller++
  }
  t.ok(smaller > 3)
  t.same(errors, [])
})

test('under lint: csrf refuses a request', async (t) => {
  const { port, errors } = await serve(t, stacks['csrf']?.(() => [200, {}, null]) as App)
  const { status } = await new Client(port).get('/', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } })
  t.equal(status, 422)
  t.match(errors, [{ code: 'ERR_CSRF' }])
})

test('under lint: a session that cannot be saved closes the body', async (t) => {
  const failure = new Error('the store is down')
  class BrokenStore extends MemoryStore {
    override writeSession(): never {
      throw failure
    }
  }
  const stream = Readable.from(['a'])
  const app = withSession(new BrokenStore()).run(async (req) => {
    ;(await req.session).count = 1
    return [200, {}, stream]
  })
  const { port, errors } = await serve(t, app)
  t.same(await new Client(port).get('/').then(({ status, cookies }) => [status, cookies]), [500, []])
  t.ok(stream.destroyed)
  t.same(errors, [failure])
})

test('layers that break the rules do not get through here', async (t) => {
  const layers: Record<string, Middleware> = {
    'changes the headers': (app) => async (req) => {
      const response = await app(req)
      ;(response[1] as Record<string, unknown>)['x-a'] = 'b'
      return response
    },
    'adds to a list': (app) => async (req) => {
      const response = await app(req)
      ;(response[1]['set-cookie'] as string[]).push('z=3')
      return response
    },
    'writes names in capitals': (app) => async (req) => {
      const [status, headers, body] = await app(req)
      return [status, { ...headers, 'X-A': 'b' }, body]
    },
    'changes the body and not its length': (app) => async (req) => [200, (await app(req))[1], 'a'],
    'breaks the request': (app) => (req) => app(Object.assign(req, { url: 'no path' })),
  }
  for (const [name, layer] of Object.entries(layers)) {
    const respond: App = () => [200, { 'set-cookie': ['x=1'], 'content-length': 2 }, 'ab']
    const { port, errors } = await serve(t, linted().use(layer).use(lint()).run(respond))
    t.equal((await new Client(port).get('/')).status, 500, name)
    t.equal(errors.length, 1, name)
  }
})
