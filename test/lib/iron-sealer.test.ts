import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { H3, toNodeHandler, useSession, type SessionConfig } from 'h3'
import { sealData, unsealData, getIronSession, type SessionOptions as IronOptions } from 'iron-session'
import { defaults, seal as ironSeal, unseal as ironUnseal } from 'iron-webcrypto'
import { test, type Test } from 'tap'
import {
  CookieStore,
  ironSealer,
  toListener,
  type IronSealerOptions,
  type OpenedSeal,
  type SessionOptions,
} from '../../lib/index.ts'
import { httpSuite, KEY, stage, Time } from '../http-suite.ts'
import { Client } from '../server.ts'
import { sessionApp, type Data } from '../session-app.ts'

const PASSWORD = 'a password of the tests, which is long enough'
const NEWER = 'another password of the tests, also long enough'

const store = (options: Partial<IronSealerOptions> = {}) =>
  new CookieStore({ sealer: ironSealer({ password: PASSWORD, ...options }) })

for (const form of ['iron-session', 'h3'] as const) {
  httpSuite(test, {
    name: `ironSealer, ${form}`,
    store: () => store({ form }),
    serverSide: false,
    merges: false,
    markers: false,
    clocked: true,
  })
}

// ---- beside the real packages

/** Pages of another package below `/their`, and the controller of the tests beside them, on one server. */
async function beside(t: Test, theirs: RequestListener, options: SessionOptions<Data>): Promise<Client> {
  const ours = toListener(sessionApp(options, { secret: undefined }))
  const server = createServer((req, res) => (req.url?.startsWith('/their/') ? theirs : ours)(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  return new Client((server.address() as AddressInfo).port)
}

const bodyOf = async (client: Client, path: string): Promise<unknown> => JSON.parse((await client.get(path)).body)

type GetIronSession = (
  req: IncomingMessage,
  res: ServerResponse,
  options: IronOptions,
) => Promise<Record<string, unknown> & { save(): Promise<void>; destroy(): void }>

interface IronSessionPackage {
  getIronSession: GetIronSession
  sealData(data: unknown, options: Pick<IronOptions, 'password' | 'ttl'>): Promise<string>
  unsealData<T>(seal: string, options: Pick<IronOptions, 'password' | 'ttl'>): Promise<T>
}

const ironSession8 = { getIronSession: getIronSession as unknown as GetIronSession, sealData, unsealData }

/** Version 9 says that it needs Node 22.13. */
const ironSession9 = await import('iron-session-9').then(
  (found) => found as unknown as IronSessionPackage,
  (error: unknown) => `iron-session 9 does not load on Node ${process.version}: ${String(error)}`,
)

/** What an iron-session handler does with a session. */
function ironPages({ getIronSession: get }: IronSessionPackage, options: Partial<IronOptions> = {}): RequestListener {
  return (req, res) => {
    void (async () => {
      const { pathname, searchParams } = new URL(req.url ?? '', 'http://test')
      const session = await get(req, res, {
        password: PASSWORD,
        cookieName: KEY,
        cookieOptions: { secure: false },
        ...options,
      })
      if (pathname === '/their/set') {
        Object.assign(session, JSON.parse(searchParams.get('data') ?? '{}'))
        await session.save()
      }
      if (pathname === '/their/destroy') session.destroy()
      res.end(JSON.stringify(session))
    })()
  }
}

const set = (data: unknown): string => `/their/set?data=${encodeURIComponent(JSON.stringify(data))}`

for (const [version, found] of [
  ['8', ironSession8],
  ['9', ironSession9],
] as const) {
  const skip = typeof found === 'string' ? found : false
  const theirs = found as IronSessionPackage

  test(`iron-session ${version} and our pages share one session and one cookie`, { skip }, async (t) => {
    const client = await beside(t, ironPages(theirs), { store: store() })
    await client.get(set({ user: 'ada', theme: null }))
    t.match(client.cookie, /^_session_id=Fe26\.2\*1\*.*~2$/)
    t.same(await bodyOf(client, '/all'), { user: 'ada', theme: null })

    t.equal((await client.get('/count')).body, '1')
    t.match(client.cookie, /^_session_id=Fe26\.2\*1\*.*~2$/)
    await client.get('/push?v=tea')
    t.strictSame(
      await bodyOf(client, '/their/all'),
      { user: 'ada', theme: null, cart: ['tea'], counter: 1 },
      'with nothing of ours in it',
    )
    await client.get(set({ user: 'bob', cart: ['tea', 'cup'] }))
    await client.get('/push?v=pot')
    t.equal((await client.get('/count')).body, '2')
    t.same(await bodyOf(client, '/their/all'), { user: 'bob', theme: null, cart: ['tea', 'cup', 'pot'], counter: 2 })

    const before = client.clone()
    await client.get('/destroy')
    t.equal(client.jar.size, 0)
    t.same(await bodyOf(client, '/their/all'), {})
    await before.get('/their/destroy')
    t.equal(before.jar.size, 0)
    t.same(await bodyOf(before, '/all'), {})
  })

  test(`iron-session ${version}: the highest password seals, all open, on either side`, { skip }, async (t) => {
    const both = { 1: PASSWORD, 2: NEWER }
    const client = await beside(t, ironPages(theirs, { password: { 1: PASSWORD } }), {
      store: store({ password: both }),
    })
    await client.get(set({ user: 'ada' }))
    t.match(client.cookie, /=Fe26\.2\*1\*/)
    const { body, cookies } = await client.get('/read')
    t.equal(body, 'foo: null')
    t.equal(cookies.length, 1, 'sealed anew in the response that read it')
    t.match(client.cookie, /=Fe26\.2\*2\*/)
    const seal = client.jar.get(KEY) ?? ''
    t.same(await theirs.unsealData(seal, { password: { 2: NEWER } }), { user: 'ada' })
    t.same(await theirs.unsealData(seal, { password: both }), { user: 'ada' })
    t.same((await client.get('/read')).cookies, [], 'and once')

    const open = (password: IronSealerOptions['password']) => ironSealer({ password }).open(seal, KEY, Date.now())
    t.match(await open({ 2: NEWER }), { payload: { user: 'ada' }, retired: false })
    t.match(await open({ 10: PASSWORD, 2: NEWER }), { payload: { user: 'ada' }, retired: true })
    t.equal(await open({ 1: NEWER, 3: PASSWORD }), undefined, 'under another number')
    t.equal(await open({ 1: PASSWORD }), undefined)
  })

  test(`iron-session ${version}: a seal ends when it says, on either side`, { skip }, async (t) => {
    const sealer = ironSealer({ password: PASSWORD })
    const before = Date.now()
    const theirSeal = await theirs.sealData({ user: 'ada' }, { password: PASSWORD, ttl: 60 })
    const { expiresAt = 0 } = (await sealer.open(theirSeal, KEY, before)) ?? {}
    t.ok(expiresAt >= before + 60_000 && expiresAt <= Date.now() + 60_000)
    t.ok(sealer.open(theirSeal, KEY, expiresAt - 1), 'opened before')
    t.equal(sealer.open(theirSeal, KEY, expiresAt), undefined, 'also where it was opened before')
    t.equal(ironSealer({ password: PASSWORD }).open(theirSeal, KEY, expiresAt), undefined)

    const endless = await theirs.sealData({ user: 'ada' }, { password: PASSWORD, ttl: 0 })
    t.match(await sealer.open(endless, KEY, before), { payload: { user: 'ada' }, expiresAt: undefined })

    const payload = { session_id: 'abc', user: 'ada', _created_at: before }
    t.same(await theirs.unsealData(await sealer.seal(payload, KEY, before + 1000), { password: PASSWORD }), {
      user: 'ada',
    })
    // iron allows for clocks that differ by a minute
    const over = await sealer.seal(payload, KEY, before - 60_000)
    t.same(await theirs.unsealData(over, { password: PASSWORD }), {})
    const unended = await sealer.seal(payload, KEY, Infinity)
    t.same(await theirs.unsealData(unended, { password: PASSWORD }), { user: 'ada' })
    t.match(await sealer.open(unended, KEY, before), { payload, expiresAt: undefined })
  })
}

test('the session ends inside the seal, whatever the cookie says, and extends as it is used', async (t) => {
  const time = new Time()
  const { client } = await stage(t, { store: store(), session: { expireAfter: 600 }, time })
  const { cookies } = await client.get('/count')
  t.match(cookies[0], /Max-Age=600;/)
  const endOf = (): number => Number(client.jar.get(KEY)?.split('*')[5])
  t.equal(endOf(), time.now + 600_000)
  time.advance(300)
  await client.get('/read')
  t.equal(endOf(), time.now + 600_000)
  const seal = client.jar.get(KEY) ?? ''
  await t.resolves(ironUnseal(seal.replace('~2', ''), { 1: PASSWORD }, { ...defaults, localtimeOffsetMsec: 899_000 }))
  await t.rejects(ironUnseal(seal.replace('~2', ''), { 1: PASSWORD }, { ...defaults, localtimeOffsetMsec: 961_000 }), {
    message: 'Expired seal',
  })
  time.advance(600)
  client.jar.set(KEY, seal)
  t.equal((await client.get('/count')).body, '1')
})

test('a ttl of the sealer, as iron-session’s own, limits a seal', async (t) => {
  // as they are
  const options: IronOptions = { password: PASSWORD, cookieName: KEY, ttl: 3600 }
  const sealer = ironSealer(options)
  const before = Date.now()
  const endOf = async (expiresAt: number): Promise<number> =>
    Number((await sealer.seal({ session_id: 'abc' }, KEY, expiresAt)).split('*')[5])
  const end = await endOf(before + 86_400_000)
  t.ok(end >= before + 3_600_000 && end <= Date.now() + 3_600_000)
  t.equal(await endOf(before + 1000), before + 1000)
})

test('a seal without ~2, as the first versions of iron-session made them, is read as version 9 reads it', async (t) => {
  const data = { user: 'ada', persistent: { user: 'somebody else' } }
  const seal = await sealData(data, { password: PASSWORD })
  const bare = seal.replace(/~2$/, '')
  const opened = await ironSealer({ password: PASSWORD }).open(bare, KEY, Date.now())
  t.match(opened, { payload: data })
  t.same(await unsealData(bare, { password: PASSWORD }), data.persistent, 'version 8 lets the browser choose')
  if (typeof ironSession9 !== 'string') t.same(await ironSession9.unsealData(bare, { password: PASSWORD }), data)
})

test('a session that iron-session made has an id of its own, the same at every read and from the first write on', async (t) => {
  const client = await beside(t, ironPages(ironSession8), { store: store() })
  await client.get(set({ user: 'ada' }))
  const other = client.clone()
  const { body: id } = await client.get('/id')
  t.match(id, /^[\da-f]{32}$/)
  t.equal((await other.get('/id')).body, id)
  t.equal((await client.get('/count')).body, '1')
  t.equal((await client.get('/id')).body, id, 'after a write')
  await client.get('/push')
  t.equal((await client.get('/id')).body, id)
  await client.get('/renew')
  const { body: renewed } = await client.get('/id')
  t.match(renewed, /^[\da-f]{32}$/)
  t.not(renewed, id)
  t.same(await bodyOf(client, '/their/all'), { user: 'ada', counter: 1, cart: ['thing'] })
  await client.get(set({ user: 'ada' }))
  t.not((await client.get('/id')).body, renewed, 'iron-session keeps none')
  const visitor = new Client(client.port)
  await visitor.get(set({ user: 'ada' }))
  t.not((await visitor.get('/id')).body, (await other.get('/id')).body, 'the same data, another session')
})

test('the time of creation stays with the session, and nobody stays signed in for longer than maxLifetime', async (t) => {
  const day = 24 * 3600
  const { client, time } = await stage(t, { store: store(), session: { maxLifetime: 10 * day, expireAfter: 2 * day } })
  for (let count = 1; count <= 10; count++) {
    t.equal((await client.get('/count')).body, String(count))
    time.advance(day)
  }
  t.equal((await client.get('/count')).body, '1')
})

// ---- h3

/** What an h3 handler does with a session. */
function h3Pages(config: Partial<SessionConfig> = {}): RequestListener {
  const app = new H3()
  const open = (event: Parameters<typeof useSession>[0]) =>
    useSession(event, { password: PASSWORD, cookie: { secure: false }, ...config })
  app.get('/their/set', async (event) => {
    const session = await open(event)
    await session.update(JSON.parse(event.url.searchParams.get('data') ?? '{}') as object)
    return session.data
  })
  app.get('/their/all', async (event) => (await open(event)).data)
  app.get('/their/id', async (event) => (await open(event)).id)
  app.get('/their/clear', async (event) => {
    await (await open(event)).clear()
    return {}
  })
  return toNodeHandler(app)
}

test('h3 and our pages share one session, one id and one cookie', async (t) => {
  const client = await beside(t, h3Pages(), { store: store(), key: 'h3' })
  await client.get(set({ user: 'ada', theme: null }))
  t.match(client.cookie, /^h3=Fe26\.2\*\*/)
  t.same(await bodyOf(client, '/all'), { user: 'ada', theme: null })
  const { body: id } = await client.get('/their/id')
  t.equal((await client.get('/id')).body, id)

  t.equal((await client.get('/count')).body, '1')
  t.match(client.cookie, /^h3=Fe26\.2\*\*/)
  t.strictSame(await bodyOf(client, '/their/all'), { user: 'ada', theme: null, counter: 1 })
  t.equal((await client.get('/their/id')).body, id)
  await client.get(set({ user: 'bob' }))
  t.equal((await client.get('/count')).body, '2')
  t.same(await bodyOf(client, '/their/all'), { user: 'bob', theme: null, counter: 2 })

  await client.get('/renew')
  const { body: renewed } = await client.get('/id')
  t.not(renewed, id)
  t.equal((await client.get('/their/id')).body, renewed)
  t.same(await bodyOf(client, '/their/all'), { user: 'bob', theme: null, counter: 2 })
  await client.get('/their/clear')
  t.same(await bodyOf(client, '/all'), {})
})

test('h3 under another name, with both of its lifetimes, reads what we seal', async (t) => {
  const time = new Time()
  const sealer = ironSealer({ password: PASSWORD, form: 'h3' })
  const payload = { session_id: 'abc', user: 'ada', _created_at: time.now - 50_000 }
  const client = await beside(t, h3Pages({ name: KEY, maxAge: 60, idleTimeout: 30 }), {
    store: new CookieStore({ sealer }),
  })
  client.jar.set(KEY, await sealer.seal(payload, KEY, time.now + 20_000))
  t.same(await bodyOf(client, '/their/all'), { user: 'ada' }, 'idle since it was sealed, and not since it was created')
  t.equal((await client.get('/their/id')).body, 'abc')
  client.jar.set(KEY, await sealer.seal({ ...payload, _created_at: time.now - 61_000 }, KEY, time.now + 20_000))
  t.same(await bodyOf(client, '/their/all'), {})
})

test('the time when h3 created a session counts', async (t) => {
  const client = await beside(t, h3Pages(), { store: store(), key: 'h3' })
  const before = Date.now()
  await client.get(set({ user: 'ada' }))
  const seal = client.jar.get('h3') ?? ''
  const opened = await ironSealer({ password: PASSWORD }).open(seal, 'h3', before)
  const createdAt = Number(opened?.payload['_created_at'])
  t.ok(createdAt >= before && createdAt <= Date.now())
})

test('a seal of h3 1, which derives its keys with one round, is read and sealed anew', async (t) => {
  const session = { id: 'd3b07384-d9a0-4c9b-8f3c-2e1a5b6c7d8e', createdAt: Date.now(), data: { user: 'ada' } }
  const old = await ironSeal(session, PASSWORD, { ...defaults, ttl: 60_000 })
  const client = await beside(t, h3Pages({ legacySealFallback: false }), { store: store(), key: 'h3' })
  client.jar.set('h3', old)
  t.equal((await client.get('/id')).body, session.id)
  t.not(client.jar.get('h3'), old)
  t.same(await bodyOf(client, '/their/all'), { user: 'ada' })
  t.equal((await client.get('/their/id')).body, session.id)
})

test('passwords of h3’s form may be changed one by one, though h3 names none', async (t) => {
  const seal = (password: IronSealerOptions['password']) =>
    ironSealer({ password, form: 'h3' }).seal({ session_id: 'abc', user: 'ada' }, KEY, Date.now() + 60_000)
  const sealer = ironSealer({ password: { 1: PASSWORD, 2: NEWER }, form: 'h3' })
  t.match(await sealer.open(await seal(PASSWORD), KEY, Date.now()), { payload: { user: 'ada' }, retired: true })
  t.match(await sealer.open(await seal(NEWER), KEY, Date.now()), { payload: { user: 'ada' }, retired: false })
  const client = await beside(t, h3Pages({ name: KEY, password: NEWER }), { store: store() })
  client.jar.set(KEY, await seal({ 1: PASSWORD, 2: NEWER }))
  t.same(await bodyOf(client, '/their/all'), { user: 'ada' }, 'h3 takes its password whatever the seal calls it')
})

// ---- what is not to be believed

const FAR = Date.now() + 86_400_000

async function sealed(form: 'iron-session' | 'h3', data: object = {}): Promise<string> {
  const sealer = ironSealer({ password: PASSWORD, form })
  return sealer.seal({ session_id: 'abc', user: 'ada', ...data, _created_at: Date.now() }, KEY, FAR)
}

for (const form of ['iron-session', 'h3'] as const) {
  test(`a seal in the form of ${form} of which any byte was changed opens as nothing`, async (t) => {
    const sealer = ironSealer({ password: PASSWORD, form })
    const seal = await sealed(form)
    // a key of h3 takes milliseconds
    const step = form === 'h3' ? 11 : 1
    const opened: string[] = []
    for (let at = 0; at < seal.length; at += step) {
      const changed = seal[at] === 'A' ? 'B' : 'A'
      const tampered = seal.slice(0, at) + changed + seal.slice(at + 1)
      if ((await sealer.open(tampered, KEY, Date.now())) !== undefined) opened.push(tampered)
    }
    t.same(opened, [])
    t.match(await sealer.open(seal, KEY, Date.now()), { payload: { user: 'ada' } })
  })
}

test('a seal has one spelling', async (t) => {
  const sealer = ironSealer({ password: PASSWORD })
  const seal = await sealed('iron-session')
  const bare = seal.slice(0, -2)
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  let spellings = 0
  for (const digit of digits) if (await sealer.open(bare.slice(0, -1) + digit, KEY, Date.now())) spellings++
  t.equal(spellings, 1)
  for (const text of [
    `${seal} `,
    ` ${seal}`,
    `${seal}\n`,
    `${bare}=~2`,
    `${bare}~3`,
    `${bare}~22`,
    `${seal}~2`,
    `${bare}~`,
  ]) {
    t.equal(await sealer.open(text, KEY, Date.now()), undefined, JSON.stringify(text.slice(-5)))
  }
})

test('anything else is nothing, and is no exception', async (t) => {
  const seal = await sealed('iron-session')
  const [prefix, , ...rest] = seal.split('*')
  const sealers = [
    ironSealer({ password: PASSWORD }),
    ironSealer({ password: { 1: PASSWORD, 2: NEWER } }),
    ironSealer({ password: NEWER }),
  ]
  const [ours, , other] = sealers as [(typeof sealers)[0], (typeof sealers)[0], (typeof sealers)[0]]
  t.ok(await ours.open(seal, KEY, Date.now()))
  t.equal(await other.open(seal, KEY, Date.now()), undefined, 'another password')
  const hostile = [
    '',
    '*',
    '*******',
    '~2',
    'Fe26.2',
    'Fe26.2*******',
    'Fe26.2**a*a*a**a*a',
    `Fe26.2*${'*'.repeat(5000)}`,
    `Fe26.2*1*${'a'.repeat(9000)}`,
    `${'Fe26.2*1*'.repeat(1000)}~2`,
    'a'.repeat(16_000),
    '0123456789abcdef0123456789abcdef',
    `Fe26.2*1*a*a*a**a*${'A'.repeat(43)}`,
    `Fe26.2*1*a*a*a*${'9'.repeat(400)}*a*${'A'.repeat(43)}`,
    `Fe26.2*1*a*a*a*1e99*a*${'A'.repeat(43)}`,
    ...['__proto__', 'constructor', 'toString', '2', '7', 'default'].map((id) => [prefix, id, ...rest].join('*')),
    seal.replace('Fe26.2', 'Fe26.1'),
    seal.slice(0, -20),
    seal + seal,
  ]
  for (const text of hostile) {
    for (const sealer of sealers) t.equal(await sealer.open(text, KEY, Date.now()), undefined, text.slice(0, 40))
  }
})

test('what is in the seal and no object is nothing', async (t) => {
  const sealer = ironSealer({ password: PASSWORD })
  for (const value of ['text', 7, null, true, ['list']]) {
    const seal = await ironSeal(value, { id: '1', secret: PASSWORD }, defaults)
    t.equal(await sealer.open(`${seal}~2`, KEY, Date.now()), undefined, JSON.stringify(value))
  }
  const inH3 = ironSealer({ password: PASSWORD, form: 'h3' })
  for (const value of [{}, { id: 'a', createdAt: 1 }, { id: 'a', createdAt: 1, data: [] }, { id: 'a', data: 'text' }]) {
    t.equal(
      await inH3.open(await ironSeal(value, PASSWORD, defaults), KEY, Date.now()),
      undefined,
      JSON.stringify(value),
    )
  }
  t.match(await inH3.open(await ironSeal({ id: 7, createdAt: 'now', data: { a: 1 } }, PASSWORD, defaults), KEY, 1), {
    payload: { a: 1, session_id: /^[\da-f]{32}$/, _created_at: 0 },
  })
})

test('nothing reaches the parser of JSON that was not authenticated', async (t) => {
  const { parse } = JSON
  let parsed = 0
  JSON.parse = ((...args: Parameters<typeof parse>) => {
    parsed++
    return parse(...args) as unknown
  }) as typeof parse
  t.teardown(() => (JSON.parse = parse))
  const sealer = ironSealer({ password: PASSWORD })
  const seal = await sealed('iron-session')
  const parts = seal.split('*')
  parts[4] = `${parts[4]?.startsWith('A') ? 'B' : 'A'}${parts[4]?.slice(1)}`
  await sealer.open(parts.join('*'), KEY, Date.now())
  await ironSealer({ password: NEWER }).open(seal, KEY, Date.now())
  t.equal(parsed, 0)
  await sealer.open(seal, KEY, Date.now())
  t.equal(parsed, 1)
})

test('a cookie that was opened is not decrypted again, and still ends', async (t) => {
  const sealer = ironSealer({ password: PASSWORD })
  const seal = await sealed('iron-session')
  const first = sealer.open(seal, KEY, FAR - 1)
  t.ok(first instanceof Promise)
  const opened = (await first) as OpenedSeal
  t.equal(sealer.open(seal, KEY, FAR - 1), opened)
  t.equal(sealer.open(seal, KEY, FAR), undefined)
  t.equal(await sealer.open(seal, 'h3', FAR - 1), undefined, 'in the other form')
})

test('keys of every name go through, and the session’s own are not taken from the data', async (t) => {
  const data = JSON.parse('{"__proto__":{"admin":true},"constructor":"c","toString":1,"then":2,"":3}') as object
  for (const form of ['iron-session', 'h3'] as const) {
    const sealer = ironSealer({ password: PASSWORD, form })
    const { payload } = (await sealer.open(await sealed(form, data), KEY, Date.now())) as OpenedSeal
    t.same(Object.keys(payload).toSorted(), [
      '',
      '__proto__',
      '_created_at',
      'constructor',
      'session_id',
      'then',
      'toString',
      'user',
    ])
    t.equal(Object.getPrototypeOf(payload), Object.prototype)
  }
  const own = await sealData({ session_id: 'theirs', _created_at: 'theirs', user: 'ada' }, { password: PASSWORD })
  t.match(await ironSealer({ password: PASSWORD }).open(own, KEY, Date.now()), {
    payload: { session_id: /^[\da-f]{32}$/, _created_at: 0, user: 'ada' },
  })
})

test('an id that a salt cannot hold is left out, and the session opens all the same', async (t) => {
  const sealer = ironSealer({ password: PASSWORD })
  for (const session_id of ['', 'a*b', 'x'.repeat(65), 'é', 7, null]) {
    const text = await sealer.seal({ session_id, user: 'ada' }, KEY, FAR)
    t.match(await sealer.open(text, KEY, Date.now()), { payload: { user: 'ada', session_id: /^[\da-f]{32}$/ } })
  }
})

test('wrong options are errors when the sealer is built', (t) => {
  const wrong = (options: unknown, code: string): void => {
    t.throws(() => ironSealer(options as IronSealerOptions), { code }, JSON.stringify(options))
  }
  wrong({ password: 'x'.repeat(31) }, 'ERR_SECRET_TOO_SHORT')
  wrong({ password: '' }, 'ERR_SECRET_TOO_SHORT')
  wrong({ password: { 1: PASSWORD, 2: 'short' } }, 'ERR_SECRET_TOO_SHORT')
  wrong({}, 'ERR_INVALID_OPTION')
  wrong({ password: null }, 'ERR_INVALID_OPTION')
  wrong({ password: {} }, 'ERR_INVALID_OPTION')
  wrong({ password: [PASSWORD] }, 'ERR_INVALID_OPTION')
  wrong({ password: { 1: 7 } }, 'ERR_INVALID_OPTION')
  for (const id of ['new', '-1', '01', '1.5', '']) wrong({ password: { [id]: PASSWORD } }, 'ERR_INVALID_OPTION')
  wrong({ password: PASSWORD, form: 'iron' }, 'ERR_INVALID_OPTION')
  wrong({ password: PASSWORD, form: 'toString' }, 'ERR_INVALID_OPTION')
  wrong({ password: PASSWORD, ttl: -1 }, 'ERR_INVALID_OPTION')
  wrong({ password: PASSWORD, ttl: '60' }, 'ERR_INVALID_OPTION')
  t.throws(() => ironSealer({ password: { 1: PASSWORD, new: 'hush' } }), { message: /^(?!.*(hush|a password of))/ })
  t.end()
})
