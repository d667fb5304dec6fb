import { once } from 'node:events'
import { createServer, request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  MemoryStore,
  session,
  sessionFor,
  showExceptions,
  toListener,
  type App,
  type RackError,
  type SessionForOptions,
  type SessionStore,
} from '../../lib/index.ts'
import { MockRequest } from '../../lib/testing.ts'
import { Client } from '../server.ts'
import { controller, SECRET, sessionApp, type Data } from '../session-app.ts'

type Look = (req: IncomingMessage) => Promise<unknown>

interface Served {
  readonly port: number
  readonly origin: string
  readonly client: Client
  /** What an upgrade with these headers finds. */
  readonly upgrade: (headers: Record<string, string>) => Promise<unknown>
}

/** An app, and upgrades beside it, on a real server. */
async function serve(t: Test, app: App, look: Look): Promise<Served> {
  const server = createServer(toListener(app))
  let found: Promise<unknown> = Promise.resolve()
  server.on('upgrade', (req, socket) => {
    found = look(req)
    found.catch(() => {}).finally(() => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const upgrade = async (headers: Record<string, string>): Promise<unknown> => {
    const asked = request({
      port,
      host: '127.0.0.1',
      path: '/socket',
      agent: false,
      headers: { connection: 'upgrade', upgrade: 'websocket', ...headers },
    })
    asked.end()
    await once(asked, 'error')
    return found
  }
  return { port, origin: `http://127.0.0.1:${port}`, client: new Client(port), upgrade }
}

/** A store that writes down what it is asked. */
function watched(store: MemoryStore): { store: SessionStore; calls: string[] } {
  const calls: string[] = []
  for (const name of ['findSession', 'writeSession', 'touchSession', 'deleteSession', 'renewSession'] as const) {
    const original = store[name].bind(store) as (...args: unknown[]) => never
    Object.assign(store, {
      [name]: (...args: unknown[]) => {
        calls.push(name)
        return original(...args)
      },
    })
  }
  return { store, calls }
}

test('an upgrade of our own page reads the session of the browser', async (t) => {
  for (const store of [new CookieStore(), new MemoryStore()]) {
    const app = sessionApp({ store })
    const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
    await client.get('/write?v=bar')
    await client.get('/push?v=tea')
    t.same(await upgrade({ origin, cookie: client.cookie }), { foo: 'bar', cart: ['tea'] })
    t.same(await upgrade({ origin }), {}, 'a visitor has none')
  }
})

test('the stack may be a Builder, run or not, or the app of one', async (t) => {
  const stack = new Builder().use(cookies({ secret: SECRET })).use(session<Data>({ store: new MemoryStore() }))
  const other = new Builder().use(cookies({ secret: SECRET })).use(session<Data>({ store: new MemoryStore() }))
  let asked: App | Builder = stack
  const unrun = await serve(
    t,
    (req) => stack.run(controller)(req),
    (req) => sessionFor(asked, req),
  )
  t.same(await unrun.upgrade({ origin: unrun.origin }), {}, 'not run yet')
  await unrun.client.get('/write?v=bar')
  const { origin } = unrun
  const { cookie } = unrun.client
  t.same(await unrun.upgrade({ origin, cookie }), { foo: 'bar' })
  asked = stack.run(controller)
  t.same(await unrun.upgrade({ origin, cookie }), { foo: 'bar' })
  asked = other
  t.same(await unrun.upgrade({ origin, cookie }), {}, 'another stack has its own')
})

test('a missing, foreign or opaque Origin reads as an empty session, and the store is not asked', async (t) => {
  const { store, calls } = watched(new MemoryStore())
  const app = sessionApp({ store })
  const { port, origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  await client.get('/write?v=bar')
  calls.length = 0
  const { cookie } = client
  t.same(await upgrade({ cookie }), {}, 'none')
  for (const other of [
    'null',
    'http://evil.example',
    `https://127.0.0.1:${port}`,
    'http://127.0.0.1',
    `http://127.0.0.1:${port + 1}`,
    `http://127.0.0.1:${port}.evil.example`,
    `http://localhost:${port}`,
    `${origin}/`,
    `${origin}, http://evil.example`,
    `evil ${origin}`,
  ]) {
    t.same(await upgrade({ origin: other, cookie }), {}, other)
  }
  t.same(await upgrade({ origin }), {}, 'no cookie')
  t.same(calls, [])
  t.same(await upgrade({ origin, cookie }), { foo: 'bar' })
  t.same(calls, ['findSession'])
})

test('a trusted Origin reads the session, for that call', async (t) => {
  const app = sessionApp({ store: new MemoryStore() })
  let options: SessionForOptions = {}
  const { client, upgrade } = await serve(t, app, (req) => sessionFor(app, req, options))
  await client.get('/write?v=bar')
  const { cookie } = client
  const trusted = 'https://www.example.org'
  t.same(await upgrade({ origin: trusted, cookie }), {})
  options = { trustedOrigins: ['https://other.example', trusted] }
  t.same(await upgrade({ origin: trusted, cookie }), { foo: 'bar' })
  for (const origin of [`${trusted}:8443`, 'http://www.example.org', 'https://example.org', 'null']) {
    t.same(await upgrade({ origin, cookie }), {}, origin)
  }
  options = {}
  t.same(await upgrade({ origin: trusted, cookie }), {})
})

test("our own Origin is that of the host that the browser asked for, a trusted proxy's word included", async (t) => {
  const app = new Builder()
    .use<{ forwarded: { scheme: 'http' | 'https'; host: string; address: string } }>((app) => (req) => {
      const host = req.headers['x-forwarded-host']
      if (typeof host !== 'string') return app(req as never)
      return app(Object.assign(req, { forwarded: { scheme: 'https' as const, host, address: '192.0.2.1' } }))
    })
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store: new MemoryStore() }))
    .run(controller)
  const { client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  await client.get('/write?v=bar')
  const { cookie } = client
  t.same(await upgrade({ host: 'Shop.example', origin: 'http://shop.example', cookie }), { foo: 'bar' })
  t.same(await upgrade({ host: 'shop.example:80', origin: 'http://shop.example', cookie }), { foo: 'bar' })
  t.same(await upgrade({ host: 'shop.example', origin: 'https://shop.example', cookie }), {})
  const behind = { host: 'inside:8080', 'x-forwarded-host': 'shop.example', cookie }
  t.same(await upgrade({ ...behind, origin: 'https://shop.example' }), { foo: 'bar' })
  t.same(await upgrade({ ...behind, origin: 'http://inside:8080' }), {})
})

test('what is given is frozen, also where it is empty', async (t) => {
  const app = sessionApp({ store: new MemoryStore() })
  const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  await client.get('/push?v=tea')
  const { cookie } = client
  for (const headers of [{ origin, cookie }, { origin }, { cookie }, { origin: 'http://evil.example', cookie }]) {
    const hash = (await upgrade(headers)) as Data
    const committed = { code: 'ERR_SESSION_COMMITTED' }
    t.throws(() => {
      hash.foo = 1
    }, committed)
    t.throws(() => delete (hash as Partial<Data>).foo, committed)
  }
  const { cart } = (await upgrade({ origin, cookie })) as Data
  t.throws(() => cart.push('map'), TypeError)
  t.equal((await client.get('/all')).body, '{"cart":["tea"]}')
})

test('nothing is written or extended', async (t) => {
  let time = Date.UTC(2026, 0, 1)
  const clock = (): number => time
  const { store, calls } = watched(new MemoryStore({ clock }))
  const stack = new Builder()
    .use(cookies({ secret: SECRET, clock }))
    .use(session<Data>({ store, expireAfter: 60, refreshEvery: 0 }))
  const app = stack.run(controller)
  const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  await client.get('/write?v=bar')
  calls.length = 0
  time += 40_000
  t.same(await upgrade({ origin, cookie: client.cookie }), { foo: 'bar' })
  time += 20_000
  t.same(await upgrade({ origin, cookie: client.cookie }), {}, 'it ended when it would have without')
  t.same(calls, ['findSession', 'findSession'])
})

test('asked again with the same request, it tells that the session is gone', async (t) => {
  const app = sessionApp({ store: new MemoryStore() })
  let kept: IncomingMessage | undefined
  const { origin, client, upgrade } = await serve(t, app, (req) => {
    kept = req
    return sessionFor(app, req)
  })
  await client.get('/write?v=bar')
  t.same(await upgrade({ origin, cookie: client.cookie }), { foo: 'bar' })
  t.same(await sessionFor(app, kept as IncomingMessage), { foo: 'bar' })
  await client.get('/destroy')
  t.same(await sessionFor(app, kept as IncomingMessage), {})
})

test('a store that fails rejects; with onStoreError anonymous it reads as empty', async (t) => {
  for (const onStoreError of ['throw', 'anonymous'] as const) {
    const store = new MemoryStore()
    const app = sessionApp({ store, onStoreError })
    const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
    await client.get('/write?v=bar')
    store.findSession = () => {
      throw new Error('down')
    }
    const found = upgrade({ origin, cookie: client.cookie })
    if (onStoreError === 'throw') await t.rejects(found, { message: 'down' })
    else t.same(await found, {})
  }
})

test('a session inside map is found, and layers above it run', async (t) => {
  const seen: string[] = []
  const app = new Builder()
    .use((app) => (req) => {
      seen.push(`above ${req.url}`)
      return app(req)
    })
    .use(cookies({ secret: SECRET }))
    .map('/app', (inner) =>
      inner
        .use(session<Data>({ store: new MemoryStore() }))
        .use((app) => (req) => {
          seen.push('below')
          return app(req)
        })
        .run(controller),
    )
    .run()
  const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  await client.get('/app/write?v=bar')
  seen.length = 0
  t.same(await upgrade({ origin, cookie: client.cookie }), { foo: 'bar' })
  t.same(seen, ['above /socket'])
})

test('a layer above that answers by itself leaves an empty session, and its body is closed', async (t) => {
  let closed = false
  const app = new Builder()
    .use(() => () => [
      503,
      {},
      {
        [Symbol.iterator]: () => [][Symbol.iterator](),
        return: () => {
          closed = true
        },
      },
    ])
    .use(cookies({ secret: SECRET }))
    .use(session())
    .run(() => [200, {}, ''])
  const { origin, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  t.same(await upgrade({ origin }), {})
  t.ok(closed)
})

test('wrong stacks and origins are refused when it is called', async (t) => {
  const { port } = await serve(t, sessionApp(), async () => {})
  t.ok(port)
  const codeOf = (stack: App | Builder, options?: SessionForOptions): Promise<unknown> =>
    new MockRequest(async (req) => {
      const error = await sessionFor(stack, req, options).then(
        () => undefined,
        (error: RackError) => error.code,
      )
      return [200, {}, String(error)]
    })
      .get('/')
      .then(({ body }) => body)
  t.equal(await codeOf(() => [200, {}, '']), 'ERR_INVALID_OPTION')
  t.equal(await codeOf(cookies({ secret: SECRET })(() => [200, {}, ''])), 'ERR_INVALID_OPTION')
  t.equal(await codeOf(new Builder().use(cookies())), 'ERR_STACK_ORDER')
  for (const trustedOrigins of ['https://a.example', ['a.example'], ['https://a.example/'], ['null'], [42]]) {
    t.equal(await codeOf(sessionApp(), { trustedOrigins: trustedOrigins as string[] }), 'ERR_INVALID_OPTION')
  }
  t.equal(await codeOf(sessionApp(), { trustedOrigins: ['https://a.example:8443'] }), 'undefined')
})

test('the layers are built once for all upgrades', async (t) => {
  let built = 0
  const app = new Builder()
    .use((app) => {
      built++
      return app
    })
    .use(cookies({ secret: SECRET }))
    .use(session<Data>())
    .run(controller)
  const { origin, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  for (let i = 0; i < 3; i++) await upgrade({ origin })
  t.equal(built, 2, 'once for the app, once for its sockets')
})

test("the hash has the type of the Builder's session, an app's where it is named", async (t) => {
  const typed = new Builder().use(cookies({ secret: SECRET })).use(session<{ visits: number }>())
  const { origin, upgrade } = await serve(t, typed.run(), async (req) => {
    const { visits } = await sessionFor(typed, req)
    const named = await sessionFor<{ visits: number }>(typed.run(), req)
    const anything: Readonly<Record<string, unknown>> = await sessionFor(typed.run(), req)
    // @ts-expect-error -- there is no such key
    void named.visit
    // @ts-expect-error -- it is to be read
    t.throws(() => (named.visits = 1), { code: 'ERR_SESSION_COMMITTED' })
    return [visits?.toFixed(), named.visits?.toFixed(), anything['visits']]
  })
  t.same(await upgrade({ origin }), [undefined, undefined, undefined])
})

test('of several sessions in maps the one of the path of the upgrade is given', async (t) => {
  const stack = new Builder()
    .use(cookies({ secret: SECRET }))
    .map('/other', (inner) => inner.use(session<Data>({ key: 'other' })).run(controller))
    .map('/socket', (inner) => inner.use(session<Data>({ key: 'socket' })).run(controller))
  const app = stack.run()
  const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(stack, req))
  await client.get('/other/write?v=other')
  t.same(await upgrade({ origin, cookie: client.cookie }), {})
  await client.get('/socket/write?v=socket')
  t.same(await upgrade({ origin, cookie: client.cookie }), { foo: 'socket' })
})

test('a store that fails rejects also where a layer above makes a page of errors', async (t) => {
  const store = new MemoryStore()
  const app = new Builder()
    .use(showExceptions({ onError: () => {} }))
    .use(cookies())
    .use(session<Data>({ store }))
    .run(controller)
  const { origin, client, upgrade } = await serve(t, app, (req) => sessionFor(app, req))
  await client.get('/write?v=bar')
  store.findSession = () => {
    throw new Error('down')
  }
  await t.rejects(upgrade({ origin, cookie: client.cookie }), { message: 'down' })
})
