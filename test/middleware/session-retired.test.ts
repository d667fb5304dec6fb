import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import expressSession from 'express-session'
import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  KeyGenerator,
  MemoryStore,
  MessageEncryptor,
  MessageVerifier,
  railsSealer,
  session,
  type App,
  type CookiesOptions,
  type RetiredCookie,
  type Sealer,
  type SessionOptions,
  type SessionStore,
} from '../../lib/index.ts'
import { ExpressSessions } from '../../stores/express-store.ts'
import { attributesOf, Client, serve } from '../server.ts'
import { controller, SECRET, sessionApp, type Data } from '../session-app.ts'

const NEW_SECRET = 'another secret of the tests, which is long enough and known to all'

/** A visitor with foo="bar" in a session of one stack comes to another stack. */
async function moved(t: Test, before: App, after: App): Promise<{ client: Client; old: Client }> {
  const old = new Client((await serve(t, before)).port)
  await old.get('/write')
  const client = new Client((await serve(t, after)).port)
  for (const [name, value] of old.jar) client.jar.set(name, value)
  return { client, old }
}

const names = (lines: readonly string[]): string[] => lines.map((line) => line.split('=')[0] as string)

test('COOKIESTORE-17 after a change of secret, digest, rounds or salts every session is alive, and sealed anew at its next visit', async (t) => {
  const salts = { encrypted: 'salt of an application' }
  const changes: [before: CookiesOptions, now: CookiesOptions][] = [
    [{ keyDigest: 'SHA1' }, { retired: [{ keyDigest: 'SHA1' }] }],
    [{ keyIterations: 2000 }, { retired: [{ keyIterations: 2000 }] }],
    [{ salts }, { retired: [{ salts }] }],
    [{ secret: SECRET }, { secret: NEW_SECRET, retired: [{ secret: SECRET }] }],
    [
      { secret: SECRET, keyDigest: 'SHA1' },
      { secret: NEW_SECRET, retired: [{ salts }, { secret: [NEW_SECRET, SECRET], keyDigest: 'SHA1' }] },
    ],
  ]
  for (const [before, now] of changes) {
    const about = JSON.stringify(before)
    const { client } = await moved(t, sessionApp({}, before), sessionApp({}, now))
    const read = await client.get('/read')
    t.equal(read.body, 'foo: "bar"', about)
    t.equal(read.cookies.length, 1, 'it is sealed anew')
    t.equal((await client.get('/read')).cookies.length, 0, 'once')
    // what was sealed anew opens without the retired settings
    const { retired: _, ...current } = now
    const plain = new Client((await serve(t, sessionApp({}, current))).port)
    for (const [name, value] of client.jar) plain.jar.set(name, value)
    t.equal((await plain.get('/read')).body, 'foo: "bar"', 'under the key of now')
  }
})

test('signed and encrypted cookies open under retired settings too', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET, retired: [{ keyDigest: 'SHA1', signedDigest: 'SHA256' }] }))
    .run((req) => [200, {}, JSON.stringify([req.cookies.signed.get('s'), req.cookies.encrypted.get('e')])])
  const { port } = await serve(t, app)
  const keys = new KeyGenerator(SECRET, { digest: 'SHA1' })
  const signed = new MessageVerifier(keys.generateKey('signed cookie', 64), { digest: 'SHA256' })
  const encrypted = new MessageEncryptor(keys.generateKey('authenticated encrypted cookie', 32))
  const client = new Client(port)
  client.jar.set('s', encodeURIComponent(signed.generate('a', { purpose: 'cookie.s' })))
  client.jar.set('e', encodeURIComponent(encrypted.encryptAndSign('b', { purpose: 'cookie.e' })))
  t.equal((await client.get('/')).body, '["a","b"]')
  const [jar] = [client.jar.get('s') as string]
  client.jar.set(
    's',
    jar.replace(/.$/, (last) => (last === '0' ? '1' : '0')),
  )
  t.equal((await client.get('/')).body, '[null,"b"]', 'but not what was tampered with')
})

test('AES-CBC can be retired: it is read and never written', async (t) => {
  const { client } = await moved(t, sessionApp(), sessionApp({}, { retired: [{ legacy: true }] }))
  t.equal((await client.get('/read')).body, 'foo: "bar"')
  t.equal((await client.get('/read')).cookies.length, 0, 'what is of now is left alone')
})

test('of a list of sealers the first seals and all open, those that give promises too', async (t) => {
  const calls: string[] = []
  /** Seals nothing, for the test to read. */
  const open = (name: string, async: boolean): Sealer => ({
    seal: (payload) => {
      calls.push(`seal ${name}`)
      const text = `${name}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}`
      return async ? Promise.resolve(text) : text
    },
    open: (value) => {
      calls.push(`open ${name}`)
      const [by, text = ''] = value.split('.')
      const opened =
        by === name
          ? { payload: JSON.parse(Buffer.from(text, 'base64url').toString()), expiresAt: undefined, retired: false }
          : undefined
      return async ? Promise.resolve(opened) : opened
    },
  })
  const old = new CookieStore({ sealer: open('old', true) })
  const now = new CookieStore({ sealer: [open('now', false), open('old', true)] })
  const { client } = await moved(t, sessionApp({ store: old }), sessionApp({ store: now, expireAfter: 3600 }))
  calls.length = 0
  const read = await client.get('/read')
  t.equal(read.body, 'foo: "bar"')
  t.match(read.cookies, [/^_session_id=now\./])
  t.same(calls, ['open now', 'open old', 'seal now'])
  t.throws(() => new CookieStore({ sealer: [] }), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => new CookieStore({ sealer: {} as Sealer }), { code: 'ERR_INVALID_OPTION' })
})

test("railsSealer is the default format with a secret of its own, and needs none of cookies()'", async (t) => {
  const store = new CookieStore({ sealer: [railsSealer({ secret: NEW_SECRET }), railsSealer({ secret: SECRET })] })
  const app = new Builder().use(cookies()).use(session<Data>({ store })).run(controller)
  const { client } = await moved(t, sessionApp(), app)
  t.match(await client.get('/read'), { body: 'foo: "bar"', cookies: [/^_session_id=/] })
  t.match(await client.get('/read'), { body: 'foo: "bar"', cookies: [] })
  t.throws(() => railsSealer({} as { secret: string }), { code: 'ERR_SECRET_MISSING' })
})

for (const [kind, store] of [
  ['the cookie', () => new CookieStore()],
  ['a store', () => new MemoryStore()],
] as const) {
  test(`a session under an old name is read once, goes on under the new one, and the old cookie is expired, in ${kind}`, async (t) => {
    const shared = store()
    const retired: RetiredCookie[] = [{ key: '_old', path: '/app', domain: 'localhost' }]
    const { client } = await moved(
      t,
      sessionApp({ store: shared, key: '_old' }),
      sessionApp({ store: shared, key: '_new', retired }),
    )
    const read = await client.get('/read')
    t.equal(read.body, 'foo: "bar"')
    t.same(names(read.cookies).toSorted(), ['_new', '_old'])
    const expired = read.cookies.find((line) => line.startsWith('_old=')) as string
    t.match(attributesOf(expired), { 'max-age': '0', path: '/app', domain: 'localhost', httponly: true })
    t.match(attributesOf(read.cookies.find((line) => line.startsWith('_new=')) as string), { path: '/' })
    t.same([...client.jar.keys()], ['_new'])
    t.match(await client.get('/read'), { body: 'foo: "bar"', cookies: [] })
    t.match(await client.get('/count'), { body: '1' })
  })

  test(`a change, a renewal and a reset of a session under an old name, in ${kind}`, async (t) => {
    const shared = store()
    const options: SessionOptions<Data> = { store: shared, key: '_new', retired: [{ key: '_old' }] }
    for (const [path, left] of [
      ['/count', '{"foo":"bar","counter":1}'],
      ['/renew', '{"foo":"bar"}'],
      ['/reset-write', '{"foo":"baz"}'],
      ['/clear', '{}'],
    ] as const) {
      const { client, old } = await moved(t, sessionApp({ store: shared, key: '_old' }), sessionApp(options))
      t.equal((await client.get(path)).status, 200)
      t.same([...client.jar.keys()], ['_new'], `${path}: the old cookie is gone`)
      t.equal((await client.get('/all')).body, left, path)
      if (kind === 'a store' && path !== '/count' && path !== '/clear') {
        t.equal((await old.get('/all')).body, '{}', `${path}: the old id opens nothing`)
      }
    }
  })

  test(`whoever signs out is signed out of the old cookie too, in ${kind}`, async (t) => {
    const shared = store()
    const options: SessionOptions<Data> = { store: shared, key: '_new', retired: [{ key: '_old' }] }
    for (const path of ['/destroy', '/reset']) {
      const { client, old } = await moved(t, sessionApp({ store: shared, key: '_old' }), sessionApp(options))
      await client.get(path)
      t.equal(client.jar.size, 0, path)
      t.equal((await client.get('/all')).body, '{}')
      if (kind === 'a store') t.equal((await old.get('/all')).body, '{}', `${path}: the record is gone`)
    }
  })
}

test('the cookie of now goes before an old one, and an old one before nothing', async (t) => {
  const store = new MemoryStore()
  const options: SessionOptions<Data> = { store, key: '_new', retired: [{ key: '_old' }] }
  const { client } = await moved(t, sessionApp({ store, key: '_old' }), sessionApp(options))
  const old = client.jar.get('_old') as string
  await client.get('/write?v=new')
  client.jar.set('_old', old)
  t.match(await client.get('/read'), { body: 'foo: "new"', cookies: [] })
  client.jar.set('_new', 'f'.repeat(32))
  t.equal((await client.get('/read')).body, 'foo: "new"', 'the record is one and the same')
})

test('a session that was destroyed is not found again in an old cookie', async (t) => {
  const store = new MemoryStore()
  const jar = { secret: SECRET }
  const options: SessionOptions<Data> = { store, key: '_new', retired: [{ key: '_old', store: new CookieStore() }] }
  const { client } = await moved(t, sessionApp({ key: '_old' }, jar), sessionApp(options, jar))
  const old = client.jar.get('_old') as string
  await client.get('/read')
  const held = client.jar.get('_new') as string
  await client.get('/destroy')
  client.jar.set('_new', held).set('_old', old)
  t.equal((await client.get('/read')).body, 'foo: null')
})

test('a cookie that changes its path is expired at its old one, as soon as the browser sends both, or a new one is sent', async (t) => {
  const store = new CookieStore()
  const options: SessionOptions<Data> = { store, retired: [{ path: '/app' }] }
  const { client } = await moved(t, sessionApp({ store, path: '/app' }), sessionApp(options))
  t.equal((await client.get('/read')).cookies.length, 0, 'a browser does not say where a cookie was set')
  const written = await client.get('/write?v=new')
  const paths = (lines: readonly string[]): string[] =>
    lines.map((line) => `${String(attributesOf(line)['path'])} ${String(attributesOf(line)['max-age'])}`)
  t.same(paths(written.cookies).toSorted(), ['/ undefined', '/app 0'])
  const [value = ''] = written.cookies.map((line) => /^_session_id=([^;]+)/.exec(line)?.[1]).filter(Boolean)
  const doubled = await new Client(client.port).get('/read', {
    headers: { cookie: `_session_id=${value}; _session_id=${value}` },
  })
  t.equal(doubled.body, 'foo: "new"')
  t.same(paths(doubled.cookies).toSorted(), ['/ undefined', '/app 0'])
})

test('sessions move from one store to another when their visitors come, data, owner and age with them', async (t) => {
  let now = 1_800_000_000_000
  const clock = (): number => now
  const [from, to] = [new MemoryStore({ clock }), new MemoryStore({ clock })]
  const before: SessionOptions<Data> = { store: from, owner: 'userId', maxLifetime: 3600 }
  const after: SessionOptions<Data> = { store: to, owner: 'userId', maxLifetime: 3600, retired: [{ store: from }] }
  const old = new Client((await serve(t, sessionApp(before, { clock }))).port)
  await old.get('/signin?user=7')
  const client = new Client((await serve(t, sessionApp(after, { clock }))).port)
  for (const [name, value] of old.jar) client.jar.set(name, value)
  now += 1_800_000
  const read = await client.get('/all')
  t.equal(read.body, '{"userId":7}')
  t.equal(read.cookies.length, 1, 'under a new id')
  const [moved] = to.sessionsOf(7)
  t.match(moved, { createdAt: now - 1_800_000, expiresAt: now + 1_800_000 }, 'its age is kept')
  t.same(from.sessionsOf(7), [], 'and it is no longer there')
  t.equal((await old.get('/all')).body, '{}')
  t.match(await client.get('/all'), { body: '{"userId":7}', cookies: [] })
  now += 1_800_000
  t.equal((await client.get('/all')).body, '{}', 'it ends when it would have ended')
})

test('a session that is read slowly does not move out of a cookie, since its owner may have signed out meanwhile', async (t) => {
  let now = 1_800_000_000_000
  const clock = (): number => now
  const store = new MemoryStore({ clock })
  const app = new Builder()
    .use(cookies({ secret: SECRET, clock }))
    .use(session<Data>({ store, key: '_new', retired: [{ key: '_old', store: new CookieStore() }] }))
    .run(async (req) => {
      const { foo } = await req.session
      if (req.url === '/slow') now += 5000
      return [200, {}, String(foo)]
    })
  const { client } = await moved(t, sessionApp({ key: '_old' }, { clock }), app)
  t.match(await client.get('/slow'), { body: 'bar', cookies: [] })
  t.match(await client.get('/'), { body: 'bar', cookies: [/^_new=/, /^_old=; Max-Age=0/] })
})

test('whoever comes from express-session stays signed in, and his old record and cookie go', async (t) => {
  const secret = 'the secret of express-session'
  const oldStore = new expressSession.MemoryStore()
  const middleware = expressSession({
    store: oldStore,
    secret,
    resave: false,
    saveUninitialized: false,
    rolling: true,
    cookie: { maxAge: 60_000 },
  })
  const server = createServer((req, res) => {
    middleware(req as never, res as never, () => {
      const { session } = req as unknown as { session: Record<string, unknown> }
      if (req.url === '/write') Object.assign(session, { foo: 'bar', cart: [{ id: 1 }] })
      res.end(JSON.stringify({ ...session, cookie: undefined }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const old = new Client((server.address() as AddressInfo).port)
  await old.get('/write')

  const store = new MemoryStore()
  const retired = [{ key: 'connect.sid', store: new ExpressSessions({ store: oldStore, secret: ['new', secret] }) }]
  const { port, errors } = await serve(t, sessionApp({ store, retired }))
  const client = new Client(port)
  for (const [name, value] of old.jar) client.jar.set(name, value)
  t.equal((await client.get('/all')).body, '{"foo":"bar","cart":[{"id":1}]}')
  t.same([...client.jar.keys()], ['_session_id'])
  t.equal((await client.get('/all')).body, '{"foo":"bar","cart":[{"id":1}]}')
  t.equal((await old.get('/')).body, '{}', 'the old record is gone')

  const forged = new Client(port)
  for (const value of [
    's%3Aid.signature',
    's%3A.x',
    's%3Ax',
    'x',
    old.jar.get('connect.sid')?.replace('s%3A', '') ?? '',
  ]) {
    forged.jar.set('connect.sid', value)
    t.match(await forged.get('/all'), { status: 200, body: '{}', cookies: [] }, value)
  }
  t.same(errors, [])
})

test('an express-session session that has ended is not brought over, and a store that fails is an error', async (t) => {
  const secret = 'the secret of express-session'
  let ids = 0
  const signed = (): string => {
    const id = `id${ids++}`
    return `${id}.${createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, '')}`
  }
  let answer: unknown
  const oldStore = {
    get: (_sid: string, callback: (error?: unknown, found?: object | null) => void) =>
      answer instanceof Error ? callback(answer) : callback(null, answer as object),
    set: () => {},
    destroy: (_sid: string, callback: (error?: unknown) => void) => callback(),
  }
  const old = new ExpressSessions({ store: oldStore, secret })
  const { port, errors } = await serve(
    t,
    sessionApp({ store: new MemoryStore(), retired: [{ key: 'sid', store: old }] }),
  )
  const client = new Client(port)
  const ask = async (found: unknown): Promise<unknown> => {
    answer = found
    client.jar.clear()
    client.jar.set('sid', encodeURIComponent(`s:${signed()}`))
    const { status, body } = await client.get('/all')
    return [status, body]
  }
  t.same(await ask({ a: 1, cookie: { expires: new Date(0) } }), [200, '{}'])
  t.same(await ask({ a: 1, cookie: { expires: null } }), [200, '{"a":1}'])
  t.same(await ask({ a: 1 }), [200, '{"a":1}'])
  t.same(await ask({ when: new Date(0) }), [200, '{"when":"1970-01-01T00:00:00.000Z"}'], 'as JSON has it')
  t.same(await ask(null), [200, '{}'])
  t.same(await ask(new Error('down')), [500, 'Internal Server Error\n'])
  t.same(await ask(Object.assign(new Error('no file'), { code: 'ENOENT' })), [200, '{}'], 'a store of files')
  let quoting: unknown
  try {
    JSON.parse('{"token":s3cret}')
  } catch (error) {
    quoting = error
  }
  t.same(await ask(quoting), [500, 'Internal Server Error\n'])
  t.match(errors, [{ message: 'down' }, { code: 'ERR_STORE_CORRUPT', message: /^[^{]*$/ }])
  await t.rejects(old.toCookie(), { code: 'ERR_STORE_FAILED' })
})

test('what cannot be a retired cookie, or retired settings, is refused when the stack is built', (t) => {
  for (const retired of [
    '_old',
    [{ key: '' }],
    [{ key: 'a b' }],
    [{ store: {} }],
    [{ path: 'x;y' }],
    [{ key: '__Host-x', path: '/app' }],
    [{}],
    [null],
    ['_old'],
  ]) {
    const options = { retired } as unknown as SessionOptions
    t.throws(() => session(options), { code: 'ERR_INVALID_OPTION' }, JSON.stringify(retired))
  }
  for (const retired of [{}, ['SHA1'], [null], [{}], [{ digest: 'SHA1' }], [{ keyDigest: 'MD5' }]]) {
    const options = { secret: SECRET, retired } as unknown as CookiesOptions
    t.throws(() => cookies(options), { code: 'ERR_INVALID_OPTION' }, JSON.stringify(retired))
  }
  t.throws(() => cookies({ secret: SECRET, retired: [{ secret: 'short' }] }), { code: 'ERR_SECRET_TOO_SHORT' })
  const revoked = new CookieStore({ revokedSince: () => undefined })
  t.throws(() => session({ store: new MemoryStore(), retired: [{ store: revoked }] }), { code: 'ERR_INVALID_OPTION' })
  const sealed = session({ store: new MemoryStore(), retired: [{ store: new CookieStore() }] })
  t.throws(() => new Builder().use(cookies()).use(sealed), { code: 'ERR_SECRET_MISSING' })
  const store = new MemoryStore()
  for (const options of [{ secret: '' }, { secret: [] }, { store: {} }, { deadline: -1 }]) {
    const given = { store, secret: 'x', ...options } as unknown as ConstructorParameters<typeof ExpressSessions>[0]
    t.throws(() => new ExpressSessions(given), { code: 'ERR_INVALID_OPTION' })
  }
  t.end()
})

/** A site on a store of now, with sessions in another before; `/slow` waits where `hold` does. */
async function moving(
  t: Test,
  from: SessionStore,
  to: SessionStore = new MemoryStore(),
): Promise<{ client: Client; old: Client; errors: unknown[]; hold: (wait: Promise<void>) => Promise<void> }> {
  let entered: () => void = () => {}
  let held: Promise<void> = Promise.resolve()
  const hold = (wait: Promise<void>): Promise<void> => {
    held = wait
    return new Promise((resolve) => (entered = resolve))
  }
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store: to, key: 's', owner: 'userId', retired: [{ key: 'old', store: from }] }))
    .run(async (req) => {
      const url = new URL(req.url ?? '/', 'http://test')
      if (url.pathname === '/slow') {
        const hash = await req.session
        entered()
        await held
        for (const [name, value] of url.searchParams) hash[name] = value
        return [200, {}, 'slow']
      }
      if (url.pathname === '/defer') {
        req.session.options.defer = true
        ;(await req.session).foo = 'deferred'
        return [200, {}, '']
      }
      return controller(req)
    })
  const { port, errors } = await serve(t, app)
  const old = new Client((await serve(t, sessionApp({ store: from, key: 'old', owner: 'userId' }))).port)
  await old.get('/write')
  await old.get('/signin?user=7')
  const client = new Client(port)
  for (const [name, value] of old.jar) client.jar.set(name, value)
  return { client, old, errors, hold }
}

const signal = (): { promise: Promise<void>; fire: () => void } => {
  let fire: () => void = () => {}
  const promise = new Promise<void>((resolve) => (fire = resolve))
  return { promise, fire }
}

for (const [kind, before] of [
  ['a store', () => new MemoryStore()],
  ['a cookie', () => new CookieStore()],
] as const) {
  test(`of several requests at once each brings the same session out of ${kind}, and no change is lost`, async (t) => {
    const { client, hold } = await moving(t, before())
    const { promise, fire } = signal()
    const others = ['a', 'b', 'c'].map(async (name) => {
      const other = client.clone()
      await other.get(`/slow?${name}=1`)
      return other
    })
    await hold(promise)
    fire()
    const clients = await Promise.all(others)
    t.equal(new Set(clients.map(({ jar }) => jar.get('s'))).size, 1, 'one id')
    const { body } = await (clients[0] as Client).get('/all')
    t.match(JSON.parse(body), { foo: 'bar', userId: 7, a: '1', b: '1', c: '1' })
  })

  test(`a request that is under way does not undo a sign-out while its session comes out of ${kind}`, async (t) => {
    for (const query of ['', '?late=1']) {
      const { client, hold } = await moving(t, before())
      const slow = client.clone()
      const { promise, fire } = signal()
      const entered = hold(promise)
      const answer = slow.get(`/slow${query}`)
      await entered
      await client.get('/destroy')
      t.equal(client.jar.size, 0)
      fire()
      t.same((await answer).cookies, [], `nothing is sent ${query}`)
      t.equal((await slow.get('/all')).body, '{}')
    }
  })

  test(`a late request with the old cookie goes on with the session that came out of ${kind}`, async (t) => {
    const { client } = await moving(t, before())
    const late = client.clone()
    await client.get('/read')
    t.equal((await late.get('/count')).body, '1')
    t.equal(late.jar.get('s'), client.jar.get('s'))
    t.match(JSON.parse((await client.get('/all')).body), { foo: 'bar', counter: 1 })
  })

  test(`a response that sends no cookie loses nothing of a session that comes out of ${kind}`, async (t) => {
    const { client } = await moving(t, before())
    t.same((await client.get('/defer')).cookies, [])
    t.match(await client.get('/read'), { body: 'foo: "deferred"', cookies: [/^s=/, /^old=;/] })
  })

  test(`the id in the request that brings a session out of ${kind} is the one that its cookie then has`, async (t) => {
    const { client } = await moving(t, before())
    const { body } = await client.get('/id')
    t.equal(body, client.jar.get('s'))
  })
}

test('an old store that cannot remove is no error, and leaves one session and no more', async (t) => {
  const from = new MemoryStore()
  const to = new MemoryStore()
  const { client, errors } = await moving(t, from, to)
  const [old] = [client.clone()]
  from.deleteSession = () => {
    throw new Error('a replica that only reads')
  }
  for (let i = 0; i < 3; i++) t.equal((await old.clone().get('/read')).status, 200)
  t.equal(to.sessionsOf(7).length, 1)
  t.same(errors, [])
})

test('who signs in while his session is brought over has a new id, and the old cookie is worth nothing', async (t) => {
  const { client } = await moving(t, new MemoryStore())
  const thief = client.clone()
  await client.get('/signin?user=8')
  t.match(JSON.parse((await client.get('/all')).body), { userId: 8 })
  t.equal((await thief.get('/all')).body, '{}')
  t.notOk(thief.jar.has('s'))
})

test('a session that the cookie of now cannot hold is left where it is while it is only read', async (t) => {
  const { client, errors } = await moving(t, new MemoryStore(), new CookieStore())
  const large = new Client(client.port)
  const old = new MemoryStore()
  const app = sessionApp({ store: new CookieStore(), retired: [{ key: 'old', store: old }] })
  const { port, errors: others } = await serve(t, app)
  const before = new Client((await serve(t, sessionApp({ store: old, key: 'old' }))).port)
  await before.get(`/write?v=${'x'.repeat(5000)}`)
  const after = new Client(port)
  for (const [name, value] of before.jar) after.jar.set(name, value)
  t.match(await after.get('/read'), { status: 200, cookies: [], body: /x{5000}/ })
  t.equal((await after.get('/count')).status, 500, 'a change cannot be kept, and that is an error')
  t.match(others, [{ code: 'ERR_COOKIE_OVERFLOW' }])
  t.same([large.jar.size, errors], [0, []])
})

test('a browser that sends the cookie twice keeps the session, also where both hold the same id', async (t) => {
  const store = new MemoryStore()
  const options: SessionOptions<Data> = { store, retired: [{ path: '/app' }] }
  const { client } = await moved(t, sessionApp({ store, path: '/app' }), sessionApp(options))
  const id = client.jar.get('_session_id') as string
  const { cookies: lines } = await new Client(client.port).get('/read', {
    headers: { cookie: `_session_id=${id}; _session_id=${'f'.repeat(32)}` },
  })
  t.match(lines, [/^_session_id=; Max-Age=0; Path=\/app/, new RegExp(`^_session_id=${id}; Path=/;`)])
})

test('of several retired cookies the first that is a session counts, whatever the others were', async (t) => {
  let now = 1_800_000_000_000
  const clock = (): number => now
  const [a, store] = [new MemoryStore({ clock }), new MemoryStore({ clock })]
  const first = new Client((await serve(t, sessionApp({ store: a, key: 'a', expireAfter: 10 }, { clock }))).port)
  const second = new Client((await serve(t, sessionApp({ store, key: 'b' }, { clock }))).port)
  await first.get('/write?v=a')
  await second.get('/write?v=b')
  now += 20_000
  const retired = [{ key: 'a', store: a }, { key: 'b' }]
  const { port, errors } = await serve(t, sessionApp({ store, key: 'now', retired }, { clock }))
  const client = new Client(port)
  for (const [name, value] of [...first.jar, ...second.jar]) client.jar.set(name, value)
  t.equal((await client.get('/read')).body, 'foo: "b"')
  t.same([...client.jar.keys()], ['now'])
  t.same(errors, [])
})
