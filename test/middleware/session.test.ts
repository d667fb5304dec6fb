import { Readable } from 'node:stream'
import { inspect } from 'node:util'
import { runInThisContext } from 'node:vm'
import { test, type Test } from 'tap'
import {
  Builder,
  CookieStore,
  cookies,
  MemoryStore,
  session,
  SessionId,
  type CommitMessage,
  type RackResponse,
  type Session,
  type SessionOptions,
} from '../../lib/index.ts'
import { COMMIT, json, messagesOf, stage, type Action, type StageOptions } from '../http-suite.ts'
import { attributesOf, Client, serve } from '../server.ts'
import { SECRET, sessionApp, type Data } from '../session-app.ts'

const https = { scheme: 'https', host: 'app.example', address: '192.0.2.1' } as const

const warnings: Error[] = []
process.on('warning', (warning) => warnings.push(warning))

/** The cookie that a first write sends. */
async function lineOf(t: Test, options: Omit<StageOptions, 'store'>, path = '/write', host?: string): Promise<string> {
  const { client } = await stage(t, { store: new MemoryStore(), ...options })
  const { status, cookies: lines } = await client.get(path, host === undefined ? {} : { headers: { host } })
  t.equal(status, 200)
  t.ok(lines.length <= 1, 'at most one line')
  return lines[0] ?? ''
}

const thrown = async (run: () => unknown): Promise<unknown> => {
  try {
    await run()
    return undefined
  } catch (error) {
    return error
  }
}

// ---- building the stack

test('wrong options are errors when the stack is built, and say what to change', async (t) => {
  const wrong: [options: Record<string, unknown>, message: RegExp][] = [
    [{ store: {} }, /store.*new CookieStore/],
    [{ store: 'redis' }, /store.*new CookieStore/],
    [{ expireAfter: 0 }, /expireAfter/],
    [{ expireAfter: -1 }, /expireAfter/],
    [{ expireAfter: NaN }, /expireAfter/],
    [{ expireAfter: '3600' }, /expireAfter/],
    [{ expireAfter: Infinity }, /expireAfter/],
    [{ refreshEvery: -1 }, /refreshEvery/],
    [{ refreshEvery: '60' }, /refreshEvery/],
    [{ maxLifetime: 0 }, /maxLifetime/],
    [{ maxLifetime: NaN }, /maxLifetime/],
    [{ onStoreError: 'ignore' }, /onStoreError/],
    [{ owner: 'session_id' }, /owner/],
    [{ owner: 5 }, /owner/],
    [{ secure: 'always' }, /secure/],
    [{ key: 'two words' }, /two words/],
    [{ key: 'a;b' }, /name/],
    [{ key: '' }, /name/],
    [{ path: 'admin' }, /path/],
    [{ path: '/a;b' }, /path/],
    [{ path: '/a\r\nb' }, /path/],
    [{ sameSite: 'relaxed' }, /sameSite/],
    [{ httpOnly: 'yes' }, /httpOnly/],
    [{ partitioned: 'yes' }, /partitioned/],
    [{ domain: 'bad;domain' }, /domain/],
    [{ key: '__Host-id', path: '/admin' }, /path.*domain.*prefix/],
    [{ key: '__Host-id', domain: 'example.org' }, /path.*domain.*prefix/],
    [{ key: '__Host-id', secure: false }, /secure.*prefix/],
    [{ key: '__Secure-id', secure: false }, /secure.*prefix/],
    [{ sameSite: 'none', secure: false }, /sameSite 'none'.*secure/],
    [{ partitioned: true, secure: false }, /partitioned.*secure/],
  ]
  for (const [options, message] of wrong) {
    const error = await thrown(() => session(options as SessionOptions))
    t.match(error, { code: 'ERR_INVALID_OPTION', message }, inspect(options))
  }
})

test('options that go together are accepted', async (t) => {
  const right: SessionOptions[] = [
    {},
    { expireAfter: 60, refreshEvery: 0, maxLifetime: Infinity, onStoreError: 'anonymous', owner: 'userId' },
    { key: '__Host-id' },
    { key: '__Host-id', path: '/', secure: true },
    { key: '__Secure-id', domain: 'example.org', secure: true },
    { sameSite: 'none' },
    { sameSite: null, secure: false },
    { partitioned: true },
    { secure: () => 'auto', path: () => '/', sameSite: () => 'strict', httpOnly: () => false, domain: () => undefined },
    { domain: ['example.org', 'example.net'] },
    { domain: 'all' },
  ]
  for (const options of right) t.equal(await thrown(() => session(options)), undefined, inspect(options))
})

test('a stack in the wrong order, or without a secret, is an error when it is built', async (t) => {
  const untyped = new Builder() as unknown as { use(layer: unknown): unknown }
  t.match(await thrown(() => untyped.use(session())), { code: 'ERR_STACK_ORDER', message: /cookies/ })
  t.match(await thrown(() => new Builder().use(cookies()).use(session())), { code: 'ERR_SECRET_MISSING' })
  t.match(await thrown(() => cookies({ secret: 'short' })), { code: 'ERR_SECRET_TOO_SHORT' })
  t.equal(
    await thrown(() =>
      new Builder()
        .use(cookies())
        .use(session({ store: new MemoryStore() }))
        .run(),
    ),
    undefined,
  )
  const composed = session()((req) => json(req.session.loaded)) as unknown as (req: object) => unknown
  t.match(await thrown(() => composed({})), { code: 'ERR_STACK_ORDER' }, 'a stack that was composed by hand')
})

test('the types know the data, what is needed, and a forgotten await', async (t) => {
  new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<{ visits: number; user: { name: string } }>({ owner: 'user' }))
    .run(async (req) => {
      const hash = await req.session
      // @ts-expect-error -- may be absent
      const visits: number = hash.visits
      // @ts-expect-error -- a number
      hash.visits = 'one'
      // @ts-expect-error -- no such key
      hash.other = 1
      // @ts-expect-error -- the data is in the hash
      void req.session.visits
      // @ts-expect-error -- readonly
      req.session.id = 'mine'
      return [200, {}, `${visits} ${hash.user?.name}`]
    })
  // @ts-expect-error -- no key of the data
  session<{ visits: number }>({ owner: 'userId' })
  // @ts-expect-error -- needs, above it, the layer that adds req.cookies
  t.throws(() => new Builder().use(session({ store: new MemoryStore() })), { code: 'ERR_STACK_ORDER' })
})

test('one store may serve several stacks', async (t) => {
  const store = new MemoryStore()
  const first = await stage(t, { store })
  const second = await stage(t, { store })
  await first.client.get('/write?v=shared')
  second.client.jar.set('_session_id', first.client.jar.get('_session_id') ?? '')
  t.equal((await second.client.get('/read')).body, 'foo: "shared"')
})

// ---- the cookie's attributes

test('CORE-42: the cookie carries the attributes that were asked for', async (t) => {
  const options = { key: 'my.sid', path: '/', domain: 'example.es', httpOnly: false, partitioned: true }
  const line = await lineOf(t, { session: options, forwarded: https })
  t.match(line, /^my\.sid=/)
  t.same(attributesOf(line), { path: '/', domain: 'example.es', partitioned: true, secure: true, samesite: 'Lax' })
  t.same(attributesOf(await lineOf(t, { session: { path: '/admin' } })), {
    path: '/admin',
    httponly: true,
    samesite: 'Lax',
  })
  const plain = attributesOf(await lineOf(t, {}))
  t.notOk('partitioned' in plain)
  t.notOk('domain' in plain)
})

test('CORE-43: SameSite may be strict, none, left out, or a function of the request', async (t) => {
  const sameSite = async (value: SessionOptions<Data>['sameSite']): Promise<unknown> =>
    attributesOf(await lineOf(t, { session: { sameSite: value }, forwarded: https }))['samesite']
  t.equal(await sameSite('strict'), 'Strict')
  t.equal(await sameSite('none'), 'None')
  t.equal(await sameSite(null), undefined)
  t.equal(await sameSite((req) => (req.url === '/write' ? 'lax' : 'strict')), 'Lax')
  t.equal(await sameSite(() => null), undefined)
})

test('every attribute may be a function of the request', async (t) => {
  const line = await lineOf(t, {
    session: {
      path: (req) => `${req.url}`,
      domain: (req) => `${req.headers.host?.split(':')[0]}`,
      httpOnly: () => false,
      secure: () => false,
      partitioned: () => false,
      sameSite: () => 'strict',
    },
  })
  t.same(attributesOf(line), { path: '/write', domain: '127.0.0.1', samesite: 'Strict' })
})

test('a request may set the attributes of its own cookie', async (t) => {
  const own: Action = async (req) => {
    Object.assign(req.session.options, { path: '/own', domain: 'own.example', httpOnly: false, sameSite: 'strict' })
    ;(await req.session).foo = 'bar'
    return json('own')
  }
  const { client, port } = await stage(t, { store: new CookieStore() }, { '/own': own })
  const { cookies: lines } = await client.get('/own')
  t.same(attributesOf(lines[0] ?? ''), { path: '/own', domain: 'own.example', samesite: 'Strict' })
  const { cookies: others } = await new Client(port).get('/write')
  t.same(attributesOf(others[0] ?? ''), { path: '/', httponly: true, samesite: 'Lax' }, 'this response only')
})

test('SECURITY-12: with secure: true the cookie is sent over https, with Secure', async (t) => {
  t.equal(attributesOf(await lineOf(t, { session: { secure: true }, forwarded: https }))['secure'], true)
  t.equal(await lineOf(t, { session: { secure: true } }), '', 'and not over plain http, even to this machine')
  t.equal(await lineOf(t, { session: { secure: () => true } }), '')
})

test('SECURITY-14: the word of a trusted proxy decides', async (t) => {
  const options = { session: { secure: true } }
  t.equal(attributesOf(await lineOf(t, { ...options, forwarded: https }))['secure'], true)
  t.equal(await lineOf(t, { ...options, forwarded: { ...https, scheme: 'http' } }), '')
  const { client } = await stage(t, { store: new MemoryStore(), ...options })
  const untrusted = await client.get('/write', { headers: { 'x-forwarded-proto': 'https' } })
  t.same(untrusted.cookies, [], 'a header that nobody vouches for counts for nothing')
})

test("SECURITY-16: 'auto' is Secure over https, and not over plain http to this machine", async (t) => {
  t.equal(attributesOf(await lineOf(t, { forwarded: https }))['secure'], true)
  for (const host of ['127.0.0.1', '127.8.8.8:80', 'localhost', 'LocalHost:3000', 'app.localhost', '[::1]:3000']) {
    const attributes = attributesOf(await lineOf(t, {}, '/write', host))
    t.same(attributes, { path: '/', httponly: true, samesite: 'Lax' }, host)
  }
  const elsewhere = ['app.example', 'localhost.example', '127.0.0.1.example', '10.0.0.1', '128.0.0.1']
  for (const host of elsewhere) t.equal(await lineOf(t, {}, '/write', host), '', host)
})

test("'auto' is always Secure for prefixed keys, SameSite=None and partitioned", async (t) => {
  const needing: SessionOptions<Data>[] = [
    { key: '__Host-id' },
    { key: '__Secure-id' },
    { sameSite: 'none' },
    { sameSite: () => 'none' },
    { partitioned: true },
  ]
  for (const options of needing) {
    t.equal(await lineOf(t, { session: options }), '', `${inspect(options)} over plain http to this machine`)
    const line = await lineOf(t, { session: options, forwarded: https })
    t.equal(attributesOf(line)['secure'], true, `${inspect(options)} over https`)
  }
})

test("in production 'auto' commits nothing over plain http, not even to this machine", async (t) => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  const { client, spy } = await stage(t, { store: new MemoryStore() })
  const secure = await stage(t, { store: new MemoryStore(), forwarded: https })
  const explicit = await stage(t, { store: new MemoryStore(), session: { secure: false } })
  process.env['NODE_ENV'] = 'production'
  t.same((await client.get('/write')).cookies, [])
  t.same(spy.took(), [])
  t.equal((await secure.client.get('/write')).cookies.length, 1)
  t.equal((await explicit.client.get('/write')).cookies.length, 1)
})

test('secure: false sends the cookie without Secure to any host', async (t) => {
  const line = await lineOf(t, { session: { secure: false } }, '/write', 'app.example')
  t.same(attributesOf(line), { path: '/', httponly: true, samesite: 'Lax' })
  t.equal(attributesOf(await lineOf(t, { session: { secure: false }, forwarded: https }))['secure'], undefined)
})

test('a session that is not saved over plain http is reported, and warned of once', async (t) => {
  const commits = messagesOf<CommitMessage>(t, COMMIT)
  const { client } = await stage(t, { store: new MemoryStore() })
  for (let i = 0; i < 3; i++) await client.get('/write', { headers: { host: 'app.example' } })
  t.same(
    commits.map(({ outcome, cookie }) => [outcome, cookie]),
    [
      ['insecure', 'none'],
      ['insecure', 'none'],
      ['insecure', 'none'],
    ],
  )
  // warnings come on the next tick
  await new Promise((resolve) => setImmediate(resolve))
  const told = warnings.filter((warning) => (warning as { code?: string }).code === 'LUGGAGE_RACK_INSECURE_SESSION')
  t.equal(told.length, 1, 'in this whole process')
  t.match(told[0]?.message, /forwarded\(\{ trust \}\)/)
  t.match(told[0]?.message, /secure: false/)
})

test('a response for shared caches that depends on the session is warned of once', async (t) => {
  const page: Action = async (req) => {
    await req.session
    return [200, { 'cache-control': 'PUBLIC, max-age=5' }, 'page']
  }
  const { client } = await stage(t, { store: new MemoryStore() }, { '/page': page })
  await client.get('/write')
  for (let i = 0; i < 2; i++) t.equal((await client.get('/page')).headers['cache-control'], 'max-age=5, private')
  await new Promise((resolve) => setImmediate(resolve))
  const told = warnings.filter((warning) => (warning as { code?: string }).code === 'LUGGAGE_RACK_SHARED_CACHE')
  t.equal(told.length, 1)
})

test('private is unqualified, no-store stays, and Vary is not repeated', async (t) => {
  const headers: RackResponse[1][] = [
    { 'Cache-Control': 'private="set-cookie", no-store' },
    { 'cache-control': ['no-store', 'max-age=0'] },
    { 'cache-control': 'private', vary: 'accept, Cookie' },
    { vary: '*' },
  ]
  const { client } = await stage(
    t,
    { store: new MemoryStore() },
    Object.fromEntries(
      headers.map((one, i): [string, Action] => [
        `/${i}`,
        async (req) => {
          await req.session
          return [200, one, 'page']
        },
      ]),
    ),
  )
  await client.get('/write')
  const seen = []
  for (const [i] of headers.entries()) {
    const answer = await client.get(`/${i}`)
    seen.push([answer.headers['cache-control'], answer.headers['vary']])
  }
  t.same(seen, [
    ['no-store, private', 'cookie'],
    ['no-store, max-age=0, private', 'cookie'],
    ['private', 'accept, Cookie'],
    ['private', '*'],
  ])
})

test('SECURITY-25: destroy() expires the cookie with the attributes that it was set with', async (t) => {
  const expiring = async (options: SessionOptions<Data>): Promise<Record<string, string | true>> => {
    const { client } = await stage(t, { store: new MemoryStore(), session: options, forwarded: https })
    await client.get('/write')
    const { cookies: lines } = await client.get('/destroy')
    t.equal(lines.length, 1)
    const { 'max-age': maxAge, expires, ...attributes } = attributesOf(lines[0] ?? '')
    t.equal(maxAge, '0')
    t.equal(expires, 'Thu, 01 Jan 1970 00:00:00 GMT')
    return attributes
  }
  const options = { secure: true, path: '/app', domain: 'example.com' }
  const attributes = { secure: true, path: '/app', domain: 'example.com', samesite: 'Lax' }
  t.same(await expiring(options), { ...attributes, httponly: true })
  t.same(await expiring({ ...options, httpOnly: false }), attributes)
  t.same(await expiring({ key: '__Host-id', partitioned: true, sameSite: 'none' }), {
    secure: true,
    path: '/',
    httponly: true,
    partitioned: true,
    samesite: 'None',
  })
})

// ---- the handle

test('nothing is loaded before the first await, and looking at the handle loads nothing', async (t) => {
  const { client, spy } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/look': (req) => {
        const seen = [req.session.loaded, req.session.exists, req.session.id ?? 'none']
        const shown = [inspect(req.session), inspect(req), JSON.stringify(req.session)]
        const copied = { ...(req.session as object) }
        return json([...seen, req.session.loaded, shown[0], Object.keys(copied), shown[2], 'foo' in req.session])
      },
    },
  )
  await client.get('/write')
  spy.took()
  const { body } = await client.get('/look')
  const shown = 'SessionHandle { loaded: false }'
  t.same(JSON.parse(body), [false, true, 'none', false, shown, [], '{}', false])
  t.same(spy.took(), [])
})

test('every await gives the same object', async (t) => {
  const { client, spy } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/same': async (req) => {
        const [a, b] = await Promise.all([req.session, req.session])
        const c = await req.session
        return json([a === b, b === c, (await Promise.resolve(req.session)) === c, req.session.loaded])
      },
    },
  )
  await client.get('/write')
  spy.took()
  t.equal((await client.get('/same')).body, '[true,true,true,true]')
  t.same(spy.took(), ['get'])
})

test('setting any key on the handle is a forgotten await, and an error in sloppy code, too', async (t) => {
  const names = ['foo', 'visits', 'id', 'exists', 'loaded', 'options', 'then', 'reset', 'renew', 'destroy', 'clear']
  names.push('commit', 'close', 'constructor', '__proto__', 'toString', 'hasOwnProperty', 'toJSON', '0')
  const sloppy = runInThisContext('(function (handle, key) { handle[key] = {} })') as (
    handle: object,
    key: string,
  ) => void
  const { client } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/forgot': async (req) => {
        const handle = req.session as unknown as Record<string, unknown>
        for (const moment of ['before', 'after']) {
          for (const name of names) {
            t.match(await thrown(() => (handle[name] = {})), { code: 'ERR_SESSION_NOT_AWAITED' }, `${name} ${moment}`)
            t.match(await thrown(() => sloppy(handle, name)), { code: 'ERR_SESSION_NOT_AWAITED' }, `${name}, sloppy`)
          }
          t.match(await thrown(() => Object.assign(handle, { foo: 1 })), { code: 'ERR_SESSION_NOT_AWAITED' })
          await req.session
        }
        t.type(handle['reset'], 'function', 'and the methods are there as before')
        return json(await req.session)
      },
    },
  )
  await client.get('/write')
  t.equal((await client.get('/forgot')).body, '{"foo":"bar"}')
})

test('the error of a forgotten await says what to write', async (t) => {
  const { client, errors } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/forgot': (req) => {
        ;(req.session as unknown as Record<string, unknown>)['visits'] = 1
        return json('never')
      },
    },
  )
  t.equal((await client.get('/forgot')).status, 500)
  t.match(errors[0], { message: /"visits".*const session = await req\.session/ })
})

test('a failed load that nobody awaits again is no unhandled rejection', async (t) => {
  const unhandled: unknown[] = []
  const note = (reason: unknown): unknown => unhandled.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  const { client, spy } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/raced': async (req) => {
        await Promise.race([req.session, Promise.resolve()])
        return json('answered')
      },
      '/caught': async (req) => {
        const error = await thrown(() => req.session)
        const again = await thrown(() => req.session)
        return json([error instanceof Error, again === error])
      },
    },
  )
  await client.get('/write')
  spy.down = new Error('down')
  t.equal((await client.get('/raced')).status, 200)
  t.equal((await client.get('/caught')).body, '[true,true]')
  await new Promise((resolve) => setImmediate(resolve))
  t.same(unhandled, [])
})

test('destroy() makes later writes throw, and may be called twice', async (t) => {
  const { client } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/destroy-write': async (req) => {
        const hash = await req.session
        const list = hash['cart']
        req.session.destroy()
        req.session.destroy()
        const attempts = [
          (): unknown => (hash.foo = 'after'),
          (): unknown => delete hash.foo,
          (): unknown => req.session.reset(),
          (): unknown => req.session.renew(),
          (): unknown => req.session.clear(),
        ]
        const codes = []
        for (const attempt of attempts) codes.push(((await thrown(attempt)) as { code?: string } | undefined)?.code)
        return json([codes, Object.keys(hash), (await req.session) === hash, req.session.id ?? 'none', list])
      },
    },
  )
  await client.get('/push')
  const { status, body, cookies: lines } = await client.get('/destroy-write')
  t.equal(status, 200)
  const code = 'ERR_SESSION_DESTROYED'
  t.same(JSON.parse(body), [[code, code, code, code, code], [], true, 'none', ['thing']])
  t.equal(attributesOf(lines[0] ?? '')['max-age'], '0')
})

test('after the response was made, a first await, the methods and the jar throw', async (t) => {
  const codes: unknown[] = []
  const note = async (attempt: () => unknown): Promise<unknown> =>
    codes.push(((await thrown(attempt)) as { code?: string } | undefined)?.code)
  const { client } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/late': (req) => {
        async function* body(): AsyncGenerator<string> {
          yield 'head'
          await note(() => req.session)
          await note(() => req.session.reset())
          await note(() => req.session.renew())
          await note(() => req.session.clear())
          await note(() => req.session.destroy())
          await note(() => req.cookies.set('a', 'b'))
          await note(() => req.cookies.delete('_session_id'))
        }
        return [200, {}, body()]
      },
      '/read-late': async (req) => {
        const { foo } = await req.session
        async function* body(): AsyncGenerator<string> {
          yield `${foo as string} ${(await req.session).foo as string}`
        }
        return [200, {}, body()]
      },
    },
  )
  await client.get('/write')
  t.equal((await client.get('/late')).body, 'head')
  t.same(
    codes,
    Array.from({ length: 7 }, () => 'ERR_SESSION_COMMITTED'),
  )
  t.equal((await client.get('/read-late')).body, 'bar bar', 'a session that was loaded stays readable')
})

test('a session that is still being loaded when the response is made takes no writes', async (t) => {
  const late: unknown[] = []
  let ended = (): void => {}
  const end = new Promise<void>((resolve) => (ended = resolve))
  const { client } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/forgot': (req) => {
        // loads at once, where an await would load a moment later
        const visit = async (hash: Session<Data>): Promise<void> => {
          late.push(await thrown(() => (hash.foo = 'late')), hash.foo)
          ended()
        }
        void req.session.then(visit)
        return json('answered')
      },
    },
  )
  await client.get('/write')
  t.equal((await client.get('/forgot')).status, 200)
  await end
  t.match(late, [{ code: 'ERR_SESSION_COMMITTED' }, 'bar'])
  t.equal((await client.get('/read')).body, 'foo: "bar"')
})

test('after a controller threw, nothing is saved, and later writes throw', async (t) => {
  const late: unknown[] = []
  for (const how of ['sync', 'async']) {
    let hash: Data | undefined
    const { client, spy } = await stage(
      t,
      { store: new MemoryStore() },
      {
        '/throw': (req) => {
          hash = req.session.reset() as Data
          hash.foo = 'lost'
          if (how === 'sync') throw new Error('controller')
          return Promise.reject(new Error('controller'))
        },
      },
    )
    t.equal((await client.get('/throw')).status, 500)
    t.same(spy.took(), [])
    late.push(await thrown(() => ((hash as Data).foo = 'late')))
  }
  for (const error of late) t.match(error, { code: 'ERR_SESSION_COMMITTED' })
})

test('no layer changes the response that an app returned', async (t) => {
  const frozen: RackResponse = Object.freeze([200, Object.freeze({ 'X-Own': 'kept' }), 'body'] as const)
  const { client } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/frozen': async (req) => {
        const hash = await req.session
        hash.counter = (hash.counter ?? 0) + 1
        return frozen
      },
    },
  )
  const first = await client.get('/frozen')
  t.equal(first.cookies.length, 1)
  t.equal(first.headers['x-own'], 'kept')
  t.same((await client.get('/frozen')).cookies, [])
  t.same(frozen, [200, { 'X-Own': 'kept' }, 'body'])
})

test('when the commit fails, the body of the response that is dropped is closed', async (t) => {
  const bodies: Readable[] = []
  const { client, spy } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/file': async (req) => {
        ;(await req.session).foo = 'bar'
        bodies.push(Readable.from(['file']))
        return [200, {}, bodies[0] as Readable]
      },
    },
  )
  spy.down = new Error('down')
  t.equal((await client.get('/file')).status, 500)
  t.equal(bodies[0]?.destroyed, true)
})

test('a wrong expireAfter of a request is an error, and nothing is saved', async (t) => {
  for (const expireAfter of [0, -5, NaN, '60' as unknown as number]) {
    const { client, errors } = await stage(
      t,
      { store: new MemoryStore() },
      {
        '/wrong': async (req) => {
          req.session.options.expireAfter = expireAfter
          ;(await req.session).foo = 'bar'
          return json('wrong')
        },
      },
    )
    const { status, cookies: lines } = await client.get('/wrong')
    t.equal(status, 500)
    t.same(lines, [])
    t.match(errors[0], { code: 'ERR_INVALID_OPTION' })
  }
})

test('the session of a mapped path concerns that path alone', async (t) => {
  const app = new Builder()
    .map('/admin', (builder) =>
      builder
        .use(cookies({ secret: SECRET }))
        .use(session<Data>({ path: '/admin' }))
        .run(async (req) => {
          const hash = await req.session
          hash.counter = (hash.counter ?? 0) + 1
          return json(hash.counter)
        }),
    )
    .run((req) => json('session' in req))
  const { port } = await serve(t, app)
  const client = new Client(port)
  const { body, cookies: lines } = await client.get('/admin')
  t.equal(body, '1')
  t.equal(attributesOf(lines[0] ?? '')['path'], '/admin')
  t.equal((await client.get('/admin/again')).body, '2')
  t.equal((await client.get('/')).body, 'false')
})

test('the store and key are the defaults when nothing is said: an encrypted cookie, _session_id', async (t) => {
  const { port } = await serve(t, sessionApp())
  const client = new Client(port)
  await client.get('/write')
  t.match(client.jar.get('_session_id'), /^[\w%]+--[\w%]+--[\w%]+$/)
  t.equal((await client.get('/read')).body, 'foo: "bar"')
})

test('SECURITY-09: ids differ, carry 128 bits, and need no escaping in a cookie', async (t) => {
  const ids = new Set<string>()
  for (let i = 0; i < 10_000; i++) ids.add(SessionId.generate().publicId)
  t.equal(ids.size, 10_000)
  t.equal(
    [...ids].find((id) => !/^[0-9a-f]{32}$/.test(id)),
    undefined,
  )
  // every one of the 128 bits is set in about half of them
  const counts = Array.from({ length: 128 }, () => 0)
  for (const id of ids) {
    for (const [byte, value] of Buffer.from(id, 'hex').entries()) {
      for (let bit = 0; bit < 8; bit++)
        if ((value >> bit) & 1) counts[byte * 8 + bit] = (counts[byte * 8 + bit] ?? 0) + 1
    }
  }
  t.ok(Math.min(...counts) > 4500 && Math.max(...counts) < 5500)
})

test('an id shows its private part alone', async (t) => {
  const sid = SessionId.generate()
  t.match(sid.privateId, /^2::[0-9a-f]{64}$/)
  for (const shown of [String(sid), JSON.stringify(sid), sid.privateId]) t.notOk(shown.includes(sid.publicId))
})
