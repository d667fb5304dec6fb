import { createReadStream } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  MemoryStore,
  session,
  type App,
  type RackResponse,
  type SessionHandle,
  type SessionStore,
} from '../../lib/index.ts'
import { MockRequest, type MockInit, type MockResponse } from '../../lib/testing.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { ask, serve } from '../server.ts'
import { SECRET, sessionApp, type Data } from '../session-app.ts'
import { newFile } from '../stores/sqlite-file.ts'

/** What a connection adds. */
const CONNECTION = ['date', 'connection', 'keep-alive', 'transfer-encoding']

/** The same request to the same app, without a socket and over one. */
async function both(
  t: Test,
  app: App,
  method: string,
  path: string,
  headers: Record<string, string | string[]> = {},
  body?: string,
): Promise<MockResponse> {
  const { port } = await serve(t, app)
  const real = await ask(port, path, { method, headers, ...(body !== undefined && { body }) })
  for (const name of CONNECTION) delete real.headers[name]
  const mock = await new MockRequest(app, { url: `http://127.0.0.1:${port}` }).request(method, path, {
    headers,
    ...(body !== undefined && { body }),
  })
  const { status, headers: received, body: read } = mock
  t.same({ status, headers: received, body: read }, { status: real.status, headers: real.headers, body: real.body })
  return mock
}

const plain: App = () => [200, { 'Content-Type': 'text/plain' }, 'hello']

async function* pieces(): AsyncGenerator<string | Uint8Array> {
  yield 'a'
  yield new Uint8Array([0xc3])
  await new Promise((resolve) => setImmediate(resolve))
  yield new Uint8Array([0xa9])
}

test('an app is asked, and what it answers is given back', async (t) => {
  const answer = await new MockRequest(plain).get('/')
  t.same(answer, {
    status: 200,
    headers: { 'content-type': 'text/plain', 'content-length': '5' },
    body: 'hello',
    bytes: new Uint8Array(Buffer.from('hello')),
  })
  t.equal(Object.getPrototypeOf(answer.bytes), Uint8Array.prototype)
})

test('responses are the same as over a socket', async (t) => {
  const responses: Record<string, () => RackResponse> = {
    text: () => [200, { 'Content-Type': 'text/plain' }, 'é'],
    bytes: () => [201, {}, new Uint8Array([1, 2, 3])],
    list: () => [200, {}, ['a', new Uint8Array([98]), 'c']],
    generator: () => [200, {}, pieces()],
    file: () => [200, {}, createReadStream('package.json')],
    nothing: () => [200, {}, null],
    headers: () => [200, { 'X-Number': 3, 'X-List': ['a', 'b'], 'X-None': undefined, 'x-latin': 'é', vary: '' }, ''],
    cookies: () => [200, { 'Set-Cookie': ['a=1; Path=/', 'b=2'] }, ''],
    cookie: () => [200, { 'set-cookie': 'a=1' }, ''],
    'no content': () => [204, { 'content-type': 'text/plain', 'content-length': 3 }, 'abc'],
    'not modified': () => [304, { etag: '"1"', 'content-length': 3 }, pieces()],
    redirect: () => [303, { location: '/there' }, ''],
    'a length of its own': () => [200, { 'Content-Length': '3' }, pieces()],
    'a fault of the request': () => {
      throw Object.assign(new Error('no form'), { status: 415 })
    },
  }
  for (const [name, response] of Object.entries(responses)) {
    await t.test(name, async (t) => {
      for (const method of ['GET', 'HEAD', 'POST']) await both(t, response, method, '/')
    })
  }
})

test('requests are the same as over a socket', async (t) => {
  const sorted = (headers: object): unknown =>
    Object.entries(headers)
      .filter(([name]) => name !== 'connection')
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
  const echo = async (req: IncomingMessage): Promise<RackResponse> => {
    const { method, url, headers, headersDistinct, httpVersion, httpVersionMajor, complete } = req
    const { remoteAddress, remoteFamily } = req.socket
    const read = await text(req)
    const seen = [method, url, httpVersion, httpVersionMajor, complete, req.complete, remoteAddress, remoteFamily, read]
    return [200, {}, JSON.stringify([...seen, sorted(headers), sorted(headersDistinct)])]
  }
  await both(t, echo, 'GET', '/')
  await both(t, echo, 'GET', '//a/../b?c=%20&d#e')
  await both(t, echo, 'OPTIONS', '*')
  await both(t, echo, 'DELETE', '/', { 'X-One': '1', cookie: 'a=1; b=2', 'x-two': ['1', '2'] })
  await both(t, echo, 'POST', '/', { 'content-type': 'text/plain', 'content-length': '5' }, 'héll')
  await both(t, echo, 'PUT', '/', { 'content-length': '0' })
})

test('each verb has its method, and any other is sent with request()', async (t) => {
  const mock = new MockRequest((req) => [200, { 'x-method': req.method }, ''])
  for (const verb of ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'] as const) {
    t.equal((await mock[verb]('/')).headers['x-method'], verb.toUpperCase())
    t.equal((await mock.client()[verb]('/')).headers['x-method'], verb.toUpperCase())
  }
  t.equal((await mock.request('query', '/')).headers['x-method'], 'QUERY')
})

test('a body is sent as text, bytes, a form or JSON, with its length', async (t) => {
  const mock = new MockRequest(async (req) => {
    const { 'content-type': type, 'content-length': length } = req.headers
    return [200, {}, JSON.stringify([await text(req), type, length])]
  })
  const sent = async (init: MockInit, method = 'POST'): Promise<unknown> =>
    JSON.parse((await mock.request(method, '/', init)).body)
  t.same(await sent({ body: 'é' }), ['é', null, '2'])
  t.same(await sent({ body: new Uint8Array([104, 105]) }), ['hi', null, '2'])
  t.same(await sent({ body: new URLSearchParams({ a: 'b c', d: '&' }) }), [
    'a=b+c&d=%26',
    'application/x-www-form-urlencoded',
    '11',
  ])
  t.same(await sent({ json: { a: [1] } }), ['{"a":[1]}', 'application/json', '9'])
  t.same(await sent({ json: null }), ['null', 'application/json', '4'])
  t.same(await sent({}), ['', null, '0'])
  t.same(await sent({}, 'GET'), ['', null, null])
  t.same(await sent({ body: '' }, 'DELETE'), ['', null, '0'])
  t.same(await sent({ body: 'a=1', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } }), [
    'a=1',
    'application/x-www-form-urlencoded',
    '3',
  ])
  t.same(await sent({ json: {}, headers: { 'CONTENT-TYPE': 'application/vnd.api+json' } }), [
    '{}',
    'application/vnd.api+json',
    '2',
  ])
  t.same(await sent({ body: 'a', headers: { 'transfer-encoding': 'chunked' } }), ['a', null, null])
  await t.rejects(sent({ body: 'a', json: 1 }), { code: 'ERR_INVALID_OPTION' })
  await t.rejects(sent({ body: { a: 1 } as never }), { code: 'ERR_INVALID_OPTION', message: /json/ })
})

test('the url says the scheme and the host; a path may be a whole url', async (t) => {
  const app: App = (req) => [
    200,
    {},
    `${(req.socket as { encrypted?: boolean }).encrypted === true} ${req.headers.host} ${req.url}`,
  ]
  t.equal((await new MockRequest(app).get('/a?b')).body, 'false localhost /a?b')
  const secure = new MockRequest(app, { url: 'https://Shop.example:8443' })
  t.equal((await secure.get('/')).body, 'true shop.example:8443 /')
  t.equal((await secure.get('http://other.example/a?b#c')).body, 'false other.example /a?b')
  t.equal((await secure.get('/', { headers: { Host: 'third.example' } })).body, 'true third.example /')
  t.equal((await new MockRequest(app, { url: 'https://shop.example:443/' }).get('/')).body, 'true shop.example /')
})

test('the error of an app, or of a body, is thrown to whoever asks', async (t) => {
  const broken = new Error('broken')
  const apps: Record<string, App> = {
    'thrown at once': () => {
      throw broken
    },
    'thrown later': async () => {
      await Promise.resolve()
      throw broken
    },
    'with a status that blames no request': () => {
      throw Object.assign(broken, { status: 503 })
    },
    'before the first piece': () => [
      200,
      {},
      { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(broken) }) },
    ],
    'in the middle of a body': () => [
      200,
      {},
      (async function* () {
        yield 'a'
        throw Object.assign(broken, { status: 404 })
      })(),
    ],
  }
  for (const [name, app] of Object.entries(apps)) {
    const error: unknown = await new MockRequest(app).get('/').catch((error: unknown) => error)
    t.equal(error, broken, name)
  }
  t.equal(await new MockRequest(() => Promise.reject(undefined)).get('/').catch((error: unknown) => error), undefined)
})

test('what cannot be sent is an error, as the listener has it', async (t) => {
  const wrong = { code: 'ERR_INVALID_RESPONSE' }
  await t.rejects(new MockRequest(() => [200, { 'content-length': 3 }, 'four']).get('/'), wrong)
  await t.rejects(new MockRequest(() => [200, { 'content-length': 9 }, pieces()]).get('/'), wrong)
  await t.rejects(new MockRequest(() => [42, {}, '']).get('/'), wrong)
  await t.rejects(new MockRequest(() => 'text' as never).get('/'), wrong)
  await t.rejects(new MockRequest(() => [200, { location: '/\r\nset-cookie: a=1' }, '']).get('/'), {
    code: 'ERR_INVALID_CHAR',
  })
})

test('an app that closes the connection leaves the client without an answer', async (t) => {
  const apps: App[] = [
    (req) => {
      req.destroy()
      return [200, {}, 'never seen']
    },
    (req) => {
      req.socket.destroy()
      return new Promise(() => {})
    },
  ]
  for (const app of apps) await t.rejects(new MockRequest(app).get('/'), { message: 'The app closed the connection.' })
})

test('what cannot be asked for is refused', async (t) => {
  const wrong = { code: 'ERR_INVALID_OPTION' }
  const mock = new MockRequest(plain)
  for (const path of ['', 'a', '/a b', '/a\r\nb', '/€', 'ftp://example.org/', 'http://', undefined as never]) {
    await t.rejects(mock.get(path), wrong, path)
  }
  await t.rejects(mock.get('/', { headers: { 'a b': '1' } }), { code: 'ERR_INVALID_HTTP_TOKEN' })
  await t.rejects(mock.get('/', { headers: { a: '1\n2' } }), { code: 'ERR_INVALID_CHAR' })
  for (const app of [undefined, null, 'app', {}]) t.throws(() => new MockRequest(app as never), wrong)
  for (const url of ['localhost', 'http://localhost/app', 'ftp://localhost', 'http://a@localhost', 42, '']) {
    t.throws(() => new MockRequest(plain, { url: url as string }), wrong, String(url))
  }
  t.throws(() => new MockRequest(plain, { clock: 42 as never }), wrong)
})

test('a Builder that was not run is run', async (t) => {
  t.equal((await new MockRequest(new Builder().map('/a', (a) => a.run(plain))).get('/a')).body, 'hello')
})

// ---- a browser

const counter = (options: { url?: string; clock?: () => number } = {}): MockRequest =>
  new MockRequest((req) => {
    const count = Number(/count=(\d+)/.exec(req.headers.cookie ?? '')?.[1] ?? 0) + 1
    return [
      200,
      { 'set-cookie': [`count=${count}; Path=/; Max-Age=60`, `last=${req.url}; Path=/a`] },
      `${count} ${req.headers.cookie}`,
    ]
  }, options)

test('a client keeps its cookies, and another one has its own', async (t) => {
  const mock = counter()
  const client = mock.client()
  t.equal((await client.get('/')).body, '1 undefined')
  t.equal((await client.post('/b')).body, '2 count=1')
  t.equal((await client.get('/a/c')).body, '3 last=/b; count=2')
  t.equal((await mock.client().get('/')).body, '1 undefined')
  t.equal((await mock.get('/')).body, '1 undefined', 'and the mock itself has none')
  t.equal(client.cookies.get('count')?.value, '3')
  t.equal(client.cookies.size, 2)
})

test("a client's cookies end by the clock", async (t) => {
  let time = Date.UTC(2026, 0, 1)
  const client = counter({ clock: () => time }).client()
  await client.get('/')
  time += 59_999
  t.equal((await client.get('/')).body, '2 count=1')
  time += 60_000
  t.equal((await client.get('/')).body, '1 undefined')
})

test("a client's cookies go to the host and scheme that they are for", async (t) => {
  const mock = new MockRequest((req) => [200, { 'set-cookie': ['a=1', 'b=1; Secure'] }, req.headers.cookie ?? 'none'], {
    url: 'https://shop.example',
  })
  const client = mock.client()
  await client.get('/')
  t.equal((await client.get('/')).body, 'a=1; b=1')
  t.equal((await client.get('http://shop.example/')).body, 'a=1')
  t.equal((await client.get('https://other.example/')).body, 'none')
})

test('a Cookie header that is given goes instead of what the client holds', async (t) => {
  const client = counter().client()
  await client.get('/')
  t.equal((await client.get('/', { headers: { Cookie: 'count=41' } })).body, '42 count=41')
  t.equal((await client.get('/')).body, '43 count=42')
})

// ---- inside a session

type Req = IncomingMessage & { session: SessionHandle<Data> }

const whoami = async (req: Req): Promise<RackResponse> => {
  const hash = await req.session
  if (req.method === 'POST') hash.counter = (hash.counter ?? 0) + 1
  return [200, {}, JSON.stringify(hash)]
}

const stores: Record<string, (t: Test) => SessionStore> = {
  CookieStore: () => new CookieStore(),
  MemoryStore: () => new MemoryStore(),
  SqliteStore: (t) => {
    const store = new SqliteStore({ filename: newFile(t), sweepEvery: 0 })
    t.teardown(() => store.close())
    return store
  },
}

for (const [name, open] of Object.entries(stores)) {
  test(`withSession starts inside a session in ${name}, and session() looks into it`, async (t) => {
    const stack = new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session<Data>({ store: open(t), owner: 'userId', expireAfter: 3600 }))
    const mock = new MockRequest(stack.run(whoami))
    const client = mock.withSession({ userId: 7, cart: ['tea'] })
    t.equal(client.cookies.size, 0, 'nothing happens before the first request')
    t.equal((await client.get('/')).body, '{"userId":7,"cart":["tea"]}')
    t.ok(client.cookies.get('_session_id')?.expiresAt, 'with the options of the layer')
    await client.post('/')
    const held = await client.session()
    t.same(held, { userId: 7, cart: ['tea'], counter: 1 })
    t.equal(Object.getPrototypeOf(held), Object.prototype)
    ;(held['cart'] as string[]).push('changed')
    t.same(await client.session(), { userId: 7, cart: ['tea'], counter: 1 })
    t.same(await mock.client().session(), {}, 'a visitor has none')
    t.same(await mock.withSession({ userId: 8 }).session(), { userId: 8 }, 'and it may come first')
  })
}

test('a session is planted once, also for requests that come at once', async (t) => {
  const store = new MemoryStore()
  const client = new MockRequest(sessionApp({ store })).withSession({ foo: 'bar' })
  const answers = await Promise.all([client.get('/read'), client.get('/read'), client.session()])
  t.match(answers, [{ body: 'foo: "bar"' }, { body: 'foo: "bar"' }, { foo: 'bar' }])
  t.equal(store.size, 1)
})

test('session() neither extends nor saves anything, and sends nothing', async (t) => {
  let time = Date.UTC(2026, 0, 1)
  const clock = (): number => time
  const store = new MemoryStore({ clock })
  const app = sessionApp({ store, expireAfter: 60, refreshEvery: 0 }, { clock })
  const client = new MockRequest(app, { clock }).withSession({ foo: 'bar' })
  await client.get('/nothing')
  time += 40_000
  t.same(await client.session(), { foo: 'bar' })
  time += 20_000
  t.same(await client.session(), {})
})

test('withSession and session() find a session inside map, whatever the path of its cookie', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .map('/admin', (admin) => admin.use(session<Data>({ key: 'admin', path: '/admin' })).run(whoami))
    .run((req) => [200, {}, req.headers.cookie ?? 'none'])
  const client = new MockRequest(app).withSession({ userId: 1 })
  t.equal((await client.get('/admin')).body, '{"userId":1}')
  t.equal((await client.get('/')).body, 'none')
  t.same(await client.session(), { userId: 1 })
})

test('a session that is kept over https alone is planted over https, and said to be impossible over http', async (t) => {
  const app = sessionApp({ store: new MemoryStore(), key: '__Host-id', secure: true })
  const client = new MockRequest(app, { url: 'https://shop.example' }).withSession({ foo: 'bar' })
  t.equal((await client.get('/read')).body, 'foo: "bar"')
  t.ok(client.cookies.get('__Host-id')?.secure)

  const plain = new MockRequest(app, { url: 'http://shop.example:8080' }).withSession({ foo: 'bar' })
  const impossible = {
    code: 'ERR_INVALID_OPTION',
    message: /new MockRequest\(app, \{ url: 'https:\/\/shop.example:8080' \}\)/,
  }
  await t.rejects(plain.get('/read'), impossible)
  await t.rejects(plain.session(), impossible)
})

test('a session whose cookie is for another host cannot be planted, and the error says so', async (t) => {
  const app = sessionApp({ domain: 'shop.example' })
  await t.rejects(new MockRequest(app).withSession({ foo: 1 }).get('/'), {
    code: 'ERR_INVALID_OPTION',
    message: /_session_id.*Give the host/,
  })
  const client = new MockRequest(app, { url: 'https://www.shop.example' }).withSession({ foo: 1 })
  t.equal((await client.get('/read')).body, 'foo: 1')
})

test('a session that holds nothing is none', async (t) => {
  const client = new MockRequest(sessionApp()).withSession({ foo: undefined })
  t.equal((await client.get('/all')).body, '{}')
  t.equal(client.cookies.size, 0)
})

test('what a session cannot hold, and a store that fails, are errors of the first request', async (t) => {
  const app = sessionApp()
  await t.rejects(new MockRequest(app).withSession({ foo: 1n }).get('/'), { code: 'ERR_SESSION_VALUE' })
  const store = new MemoryStore()
  store.writeSession = () => {
    throw new Error('full')
  }
  await t.rejects(new MockRequest(sessionApp({ store })).withSession({ foo: 1 }).get('/'), { message: 'full' })
})

test('without a Builder or a session, withSession and session() say what is missing', async (t) => {
  const composed = cookies({ secret: SECRET })(plain)
  t.throws(() => new MockRequest(composed).withSession({ a: 1 }), { code: 'ERR_INVALID_OPTION', message: /Builder/ })
  await t.rejects(new MockRequest(composed).client().session(), { code: 'ERR_INVALID_OPTION' })
  const bare = new Builder().use(cookies({ secret: SECRET }))
  t.throws(() => new MockRequest(bare).withSession({ a: 1 }), {
    code: 'ERR_STACK_ORDER',
    message: /use\(session\(\)\)/,
  })
  await t.rejects(new MockRequest(bare).client().session(), { code: 'ERR_STACK_ORDER' })
})

test('a layer above the session that answers by itself is said to', async (t) => {
  const app = new Builder()
    .use(() => () => [401, {}, ''])
    .use(cookies({ secret: SECRET }))
    .use(session())
    .run(plain)
  const stopped = { code: 'ERR_INVALID_OPTION', message: /status 401/ }
  await t.rejects(new MockRequest(app).withSession({ a: 1 }).get('/'), stopped)
  await t.rejects(new MockRequest(app).client().session(), stopped)
})

test("a Builder's data are checked by the compiler, an app's where they are named", async (t) => {
  const typed = new Builder().use(cookies({ secret: SECRET })).use(session<{ visits: number }>())
  const client = new MockRequest(typed).withSession({ visits: 41 })
  const { visits } = await client.session()
  t.equal(visits?.toFixed(), '41')
  // @ts-expect-error -- a number is wanted
  new MockRequest(typed).withSession({ visits: '41' })
  // @ts-expect-error -- there is no such key
  new MockRequest(typed).withSession({ visit: 41 })
  // @ts-expect-error -- a number is wanted
  new MockRequest<{ visits: number }>(typed.run()).withSession({ visits: '41' })
  t.same(await new MockRequest(typed.run()).withSession({ anything: 'goes' }).session(), { anything: 'goes' })
})

test('of several sessions in maps the one of the path is meant', async (t) => {
  const inner = (key: string): App =>
    new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session<Data>({ key }))
      .run(async (req) => [200, {}, JSON.stringify(await req.session)])
  const app = new Builder()
    .map('/admin', () => inner('admin'))
    .map('/app', () => inner('app'))
    .run()
  const mock = new MockRequest(app)
  await t.rejects(mock.withSession({ foo: 1 }).get('/app'), {
    code: 'ERR_INVALID_OPTION',
    message: /several sessions, at \/admin\/, \/app\//,
  })
  const client = mock.withSession({ foo: 1 }, { path: '/app/x' })
  t.equal((await client.get('/app')).body, '{"foo":1}')
  t.equal((await client.get('/admin')).body, '{}')
  t.same(await client.session({ path: '/app' }), { foo: 1 })
  t.same(await client.session({ path: '/admin' }), {})
})
