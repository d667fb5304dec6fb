import { once } from 'node:events'
import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  forwarded,
  MemoryStore,
  session,
  type App,
  type CommitMessage,
  type SessionOptions,
} from '../../lib/index.ts'
import { COMMIT, Gate, messagesOf, Spy, stage } from '../http-suite.ts'
import { ask, attributesOf, Client, serve, type Answer, type Ask } from '../server.ts'
import { controller, SECRET, type Data } from '../session-app.ts'
import { askTls, connectTls, serveTls } from '../tls.ts'

const warnings: (Error & { code?: string })[] = []
process.on('warning', (warning) => warnings.push(warning))

const https = { scheme: 'https', host: 'app.example', address: '192.0.2.1' } as const
const http = { ...https, scheme: 'http' } as const

/** What is said of a cookie, beside `secure`. */
interface Kind {
  readonly key?: string
  readonly sameSite?: 'none'
  readonly partitioned?: true
}

const KINDS: readonly Kind[] = [
  {},
  { key: '__Host-id' },
  { key: '__Secure-id' },
  // browsers take the prefixes in any letter case (RFC 6265bis, section 4.1.3)
  { key: '__hOST-id' },
  { key: '__secure-id' },
  { sameSite: 'none' },
  { partitioned: true },
  { key: '__Host-id', sameSite: 'none', partitioned: true },
]

const SECURE: readonly NonNullable<SessionOptions['secure']>[] = [
  'auto',
  true,
  false,
  () => 'auto',
  () => true,
  () => false,
]

/** A way in which a request comes, and what it is to the stack. */
interface Way {
  readonly name: string
  readonly over: 'http' | 'https' | 'h2'
  readonly headers?: Record<string, string>
  /** Whether the stack believes the headers of a proxy. */
  readonly trust?: true
  readonly is: 'encrypted' | 'loopback' | 'in the clear'
}

const proto = (scheme: string, host?: string): Record<string, string> => ({
  host: 'app.example',
  'x-forwarded-proto': scheme,
  ...(host === undefined ? undefined : { 'x-forwarded-host': host }),
})

const to = (is: Way['is'], ...hosts: string[]): Way[] =>
  hosts.map((host) => ({ name: `plain http to ${host}`, over: 'http', headers: { host }, is }))

const WAYS: readonly Way[] = [
  { name: 'TLS', over: 'https', headers: { host: 'app.example' }, is: 'encrypted' },
  { name: 'TLS to this machine', over: 'https', headers: { host: 'localhost:3000' }, is: 'encrypted' },
  { name: 'HTTP/2 over TLS', over: 'h2', headers: { host: 'app.example' }, is: 'encrypted' },
  ...to('loopback', 'localhost', 'LocalHost:3000', 'localhost.', 'foo.localhost', 'foo.localhost.:80'),
  ...to('loopback', '127.0.0.1', '127.0.0.2:8080', '[::1]', '[::1]:3000'),
  ...to('in the clear', 'app.example', 'app.example:3000', '10.0.0.1', '128.0.0.1', '[::2]:3000', '[2001:db8::1]'),
  ...to('in the clear', 'localhost.example', 'notlocalhost', '127.0.0.1.example', 'localhost..', 'a:b@localhost@x'),
  {
    name: 'an address of its own machine that a page of another site has led here',
    over: 'http',
    headers: { host: 'evil.example:3000' },
    is: 'in the clear',
  },
  { name: 'a proxy that is not trusted', over: 'http', headers: proto('https'), is: 'in the clear' },
  { name: 'a host that nobody vouches for', over: 'http', headers: proto('http', 'localhost'), is: 'in the clear' },
  { name: 'a trusted proxy with TLS', over: 'http', headers: proto('https'), trust: true, is: 'encrypted' },
  { name: 'a trusted proxy without', over: 'http', headers: proto('http'), trust: true, is: 'in the clear' },
  {
    name: 'a trusted proxy that was asked for this machine',
    over: 'http',
    headers: proto('http', 'localhost:3000'),
    trust: true,
    is: 'loopback',
  },
  {
    name: 'a trusted proxy that leads here from outside',
    over: 'http',
    headers: { ...proto('http', 'app.example'), host: 'localhost' },
    trust: true,
    is: 'in the clear',
  },
  {
    name: 'TLS behind a trusted proxy without',
    over: 'https',
    headers: proto('http'),
    trust: true,
    is: 'in the clear',
  },
]

const mustBeSecure = ({ key = '', sameSite, partitioned }: Kind): boolean =>
  /^__(host|secure)-/i.test(key) || sameSite === 'none' || partitioned === true

/** The ruling: the cookie that a first write sends. */
function expected(secure: boolean | 'auto', kind: Kind, { is }: Way, isProduction: boolean): string {
  if (secure === false) return mustBeSecure(kind) ? 'error' : 'plain'
  if (is === 'encrypted') return 'Secure'
  if (secure === true || mustBeSecure(kind)) return 'nothing'
  return is === 'loopback' && !isProduction ? 'plain' : 'nothing'
}

function inEnvironment(t: Test): (name: string | undefined) => void {
  const before = process.env['NODE_ENV']
  const set = (name: string | undefined): void => {
    if (name === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = name
  }
  t.teardown(() => set(before))
  return set
}

for (const isProduction of [false, true]) {
  const where = isProduction ? 'in production' : 'in development'
  test(`${where}, for every cookie and every way a request may come: what is sent, and that nothing else is saved`, async (t) => {
    inEnvironment(t)(isProduction ? 'production' : 'development')
    let app: App = () => [404, {}, null]
    const inTheClear = await serve(t, (req) => app(req))
    const { port } = await serveTls(t, (req) => app(req))
    const h2 = connectTls(t, port)
    const askOver: Record<Way['over'], (options: Ask) => Promise<Answer>> = {
      http: (options) => ask(inTheClear.port, '/write', options),
      https: (options) => askTls(port, '/write', options),
      h2: (options) => h2.ask('/write', options),
    }
    let tried = 0
    for (const kind of KINDS) {
      for (const secure of SECURE) {
        const said = typeof secure === 'function' ? (secure({} as never) as boolean | 'auto') : secure
        const name = `${JSON.stringify(kind)}, secure: ${typeof secure === 'function' ? `() => ${said}` : said}`
        const spy = new Spy(new MemoryStore())
        const layer = (): ReturnType<typeof session<Data>> => session<Data>({ ...kind, secure, store: spy })
        if (secure === false && mustBeSecure(kind)) {
          t.throws(layer, { code: 'ERR_INVALID_OPTION', message: /must be secure/ }, `${name} cannot be built`)
          continue
        }
        const build = (trust?: string): App =>
          new Builder()
            .use(forwarded(trust === undefined ? {} : { trust }))
            .use(cookies({ secret: SECRET }))
            .use(layer())
            .run(controller)
        const apps = { trusting: build('loopback'), other: build() }
        const wrong: unknown[] = []
        for (const way of WAYS) {
          app = way.trust ? apps.trusting : apps.other
          // oxlint-disable-next-line no-await-in-loop -- there is one app at a time
          const { status, cookies: lines } = await askOver[way.over]({ headers: way.headers ?? {} })
          const isSecure = lines[0] === undefined ? undefined : 'secure' in attributesOf(lines[0])
          const got = status === 500 ? 'error' : isSecure === undefined ? 'nothing' : isSecure ? 'Secure' : 'plain'
          const calls = spy.took().join(' ')
          const want = expected(said, kind, way, isProduction)
          tried++
          // no more than one call of the store, and none where nothing is sent
          if (got !== want || calls !== (want === 'Secure' || want === 'plain' ? 'put' : '')) {
            wrong.push({ way: way.name, want, got, calls })
          }
        }
        t.same(wrong, [], name)
      }
    }
    t.equal(tried, (KINDS.length * 5 + 1) * WAYS.length)
  })
}

test('over plain http nothing of a session that there is is written or removed; but destroy() does', async (t) => {
  for (const options of [{}, { secure: true }, { key: '__Host-id' }, { partitioned: true }]) {
    const { client, spy, time, port } = await stage(t, { store: new MemoryStore(), session: options, forwarded: https })
    await client.get('/write')
    const { spy: other, port: plain } = await stage(t, {
      // the same store, behind another way in
      store: spy,
      session: { ...options, owner: 'userId' },
      forwarded: http,
      time,
    })
    spy.took()
    const commits = messagesOf<CommitMessage>(t, COMMIT)
    const visitor = new Client(plain)
    for (const [name, value] of client.jar) visitor.jar.set(name, value)
    time.advance(10 * 24 * 3600)
    // a change, a change in depth, an extension of its life, a new id, a new owner, another session in its place
    const outcomes: [path: string, outcome: string][] = [
      ['/write?v=other', 'insecure'],
      ['/push', 'insecure'],
      ['/read', 'insecure'],
      ['/renew', 'insecure'],
      ['/signin', 'insecure'],
      ['/clear', 'insecure'],
      ['/reset-write', 'insecure'],
      ['/nothing', ''],
    ]
    for (const [path, outcome] of outcomes) {
      const { status, cookies: lines } = await visitor.get(path)
      t.same([status, lines], [200, []], path)
      t.equal(commits.splice(0)[0]?.outcome ?? '', outcome, path)
    }
    t.same(new Set(other.took()), new Set(['get']), 'the store was only asked')
    const { headers, body } = await visitor.get('/read')
    t.equal(body, 'foo: "bar"', 'it is as it was')
    t.equal(headers['cache-control'], 'private')
    t.equal(headers.vary, 'cookie')
    spy.took()
    const { cookies: lines } = await visitor.get('/destroy')
    t.same(spy.took(), ['delete'])
    const { 'max-age': maxAge, secure = false, partitioned = false } = attributesOf(lines[0] ?? '')
    const isSecure = 'secure' in options || 'key' in options || 'partitioned' in options
    t.same([lines.length, maxAge, secure, partitioned], [1, '0', isSecure, 'partitioned' in options])
    const { body: after } = await new Client(port).get('/read', { headers: { cookie: client.cookie } })
    t.equal(after, 'foo: null', 'it is gone')
  }
})

test('a reset that leaves nothing removes the session over plain http too', async (t) => {
  const { client, spy } = await stage(t, { store: new MemoryStore() })
  await client.get('/write')
  spy.took()
  const { cookies: lines } = await client.get('/reset', { headers: { host: 'app.example' } })
  t.match(lines, [/^_session_id=; Max-Age=0/])
  t.same(spy.took(), ['delete'])
})

test('an id that was not saved is no id of the session any more', async (t) => {
  const ids: unknown[] = []
  const { client } = await stage(
    t,
    { store: new MemoryStore(), forwarded: http },
    {
      '/': async (req) => {
        ;(await req.session).foo = 'bar'
        ids.push(req.session.id)
        return [
          200,
          {},
          (async function* () {
            ids.push(req.session.id)
            yield 'page'
          })(),
        ]
      },
    },
  )
  t.equal((await client.get('/')).body, 'page')
  t.match(ids, [/^[\da-f]{32}$/, undefined])
})

test('a client of HTTP/2 that leaves early does not turn its request into one over plain http', async (t) => {
  const gate = new Gate()
  const commits = messagesOf<CommitMessage>(t, COMMIT)
  let isGone: Promise<unknown> = Promise.resolve()
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store: new MemoryStore() }))
    .run(async (req) => {
      isGone = once(req, 'close')
      await gate.wait()
      ;(await req.session).foo = 'bar'
      return [200, {}, 'written']
    })
  let answered: () => void = () => {}
  const isAnswered = new Promise<void>((resolve) => (answered = resolve))
  const { port } = await serveTls(t, async (req) => {
    const response = await app(req)
    answered()
    return response
  })
  const stream = connectTls(t, port).begin('/', { headers: { host: 'app.example' } })
  stream.on('error', () => {})
  await gate.begun
  stream.close(8)
  await isGone
  gate.open()
  await isAnswered
  t.match(commits, [{ outcome: 'created', cookie: 'sent' }])
})

test('attributes that no browser accepts are refused for one request too, before the store is asked', async (t) => {
  const wrong: Record<string, SessionOptions<Data>> = {
    'a path of __Host-': { key: '__Host-id', path: () => '/app' },
    'the same in another letter case': { key: '__HOST-id', path: () => '/app' },
    '__Host- that is not secure': { key: '__Host-id', secure: () => false },
    '__Secure- that is not secure': { key: '__sEcure-id', secure: () => false },
    'SameSite=None that is not secure': { sameSite: () => 'none', secure: false },
    'partitioned that is not secure': { partitioned: () => true, secure: false },
    'secure, of what JavaScript takes for true': { secure: () => 'yes' as never },
    'secure, of a number': { secure: () => 1 as never },
    'httpOnly, of a text': { httpOnly: () => 'no' as never },
    'partitioned, of a text': { partitioned: () => 'no' as never },
    'another sameSite': { sameSite: () => 'None' as never },
    'a path that is none': { path: () => 'app' },
    'a domain that is none': { domain: () => 'a b' },
  }
  for (const [name, options] of Object.entries(wrong)) {
    for (const scheme of [https, http]) {
      const { client, spy, errors } = await stage(t, { store: new MemoryStore(), session: options, forwarded: scheme })
      const { status, cookies: lines } = await client.get('/write')
      t.same([status, lines, spy.took()], [500, [], []], name)
      t.match(errors, [{ code: 'ERR_INVALID_OPTION' }], name)
    }
  }
})

test('the options of one request are checked as those of the stack', async (t) => {
  const wrong: [options: SessionOptions<Data>, own: Record<string, unknown>][] = [
    [{ key: '__Host-id' }, { domain: 'example.com' }],
    [{ key: '__host-id' }, { path: '/app' }],
    [{ key: '__Host-id' }, { secure: false }],
    [{ key: '__Secure-id' }, { secure: false }],
    [{}, { partitioned: true, secure: false }],
    [{ partitioned: true }, { secure: false }],
    [{}, { sameSite: 'none', secure: false }],
    [{}, { secure: 'yes' }],
  ]
  for (const [options, own] of wrong) {
    const { client, spy, errors } = await stage(
      t,
      { store: new MemoryStore(), session: options, forwarded: https },
      {
        '/own': async (req) => {
          Object.assign(req.session.options, own)
          ;(await req.session).foo = 'bar'
          return [200, {}, 'own']
        },
      },
    )
    const { status, cookies: lines } = await client.get('/own')
    t.same([status, lines, spy.took()], [500, [], []], JSON.stringify([options, own]))
    t.match(errors, [{ code: 'ERR_INVALID_OPTION' }])
  }
})

test('what one request asks for itself decides, where it can be', async (t) => {
  const sent = async (own: Record<string, unknown>, scheme: typeof https | typeof http): Promise<unknown> => {
    const { client } = await stage(
      t,
      { store: new MemoryStore(), forwarded: scheme },
      {
        '/own': async (req) => {
          Object.assign(req.session.options, own)
          ;(await req.session).foo = 'bar'
          return [200, {}, 'own']
        },
      },
    )
    const { cookies: lines } = await client.get('/own')
    if (lines[0] === undefined) return 'nothing'
    const { secure, partitioned, samesite } = attributesOf(lines[0])
    return [secure, partitioned, samesite]
  }
  t.same(await sent({ partitioned: true }, https), [true, true, 'Lax'])
  t.equal(await sent({ partitioned: true }, http), 'nothing')
  t.same(await sent({ sameSite: 'none' }, https), [true, undefined, 'None'])
  t.equal(await sent({ sameSite: 'none' }, http), 'nothing')
  t.same(await sent({ secure: false }, http), [undefined, undefined, 'Lax'])
  t.equal(await sent({ secure: true }, http), 'nothing')
})

test('names and attributes that do not go together cannot be built, of cookies of before neither', (t) => {
  const wrong: SessionOptions[] = [
    { key: '__host-id', path: '/admin' },
    { key: '__HOST-id', domain: 'example.org' },
    { key: '__Host-id', domain: () => undefined },
    { key: '__Host-id', domain: 'all' },
    { key: '__SECURE-id', secure: false },
    { retired: [{ key: '__Host-old', path: '/app' }] },
    { retired: [{ key: '__host-old', domain: 'example.com' }] },
    { retired: [{ key: '_old', path: (() => '/') as never }] },
    { retired: [{ key: '_old', partitioned: 'yes' as never }] },
    // the same name, elsewhere than that prefix may be
    { key: '__Host-id', retired: [{ path: '/app' }] },
  ]
  for (const options of wrong) t.throws(() => session(options), { code: 'ERR_INVALID_OPTION' }, JSON.stringify(options))
  const right: SessionOptions[] = [
    { key: '__Host-id', retired: [{ key: '__Secure-id', domain: 'example.com', path: '/app' }] },
    { key: '__Host-id', partitioned: true, retired: [{ partitioned: false }] },
    { retired: [{ key: '__Host-old', partitioned: true }] },
  ]
  for (const options of right) t.doesNotThrow(() => session(options), JSON.stringify(options))
  t.end()
})

test('a cookie of before is made forgotten as a browser wants it, Secure for its prefix and in its partition', async (t) => {
  const retired = [{ key: '__Secure-old', path: '/app' }, { key: '_old', partitioned: true }, { key: '_older' }]
  const { client } = await stage(t, { store: new MemoryStore(), session: { retired } })
  const { client: before } = await stage(t, { store: new MemoryStore() })
  await before.get('/write')
  for (const { key } of retired) client.jar.set(key, before.jar.get('_session_id') ?? '')
  const { cookies: lines } = await client.get('/destroy')
  t.same(
    lines.map((line) => {
      const { secure = false, partitioned = false, 'max-age': maxAge, path } = attributesOf(line)
      return [line.split('=')[0], secure, partitioned, maxAge, path]
    }),
    [
      ['__Secure-old', true, false, '0', '/app'],
      ['_old', true, true, '0', '/'],
      ['_older', false, false, '0', '/'],
    ],
  )
})

test('all that was not saved here was warned of once, and the warning names what to change', async (t) => {
  await new Promise((resolve) => setImmediate(resolve))
  const told = warnings.filter(({ code }) => code === 'LUGGAGE_RACK_INSECURE_SESSION')
  t.equal(told.length, 1)
  t.match(told[0], { name: 'LuggageRackWarning', message: /forwarded\(\{ trust \}\).*secure: false/ })
})
