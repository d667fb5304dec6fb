import crypto, { createCipheriv, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import { test } from 'tap'
import {
  AbstractStore,
  Builder,
  cookies,
  CookieStore,
  csrf,
  flash,
  form,
  forwarded,
  ironSealer,
  KeyGenerator,
  MemoryStore,
  rackSealer,
  railsSealer,
  session,
  type App,
  type CsrfOptions,
  type Sealer,
  type SessionId,
  type SessionStore,
  type StoredSession,
} from '../../lib/index.ts'
import { BrowserJar } from '../../lib/browser-jar.ts'
import { json, KEY, stage, Time } from '../http-suite.ts'
import { ask, Client, serve, type Answer, type Ask } from '../server.ts'
import { controller, SECRET, type Data } from '../session-app.ts'

// ---- the table in SECURITY.md

const SECURITY = readFileSync('SECURITY.md', 'utf8')

/** The rows of the tables under a heading, each a list of cells. */
function tableOf(heading: string): string[][] {
  const section = SECURITY.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
  const lines = section.split('\n').filter((line) => line.startsWith('|') && !/^[ |-]*$/.test(line))
  return lines.slice(1).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  )
}

/** What the titles of a file's tests may be, as they stand there. */
function titlesIn(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/\b(?:test|it|itIf)\(\s*(?:[^'"`\n]*, )?(['"`])(.*?)\1,/g)].map(
    ([, , title = '']) => title,
  )
}

const LINK = /\[([^\]]+)\]\(([^)]+)\)/g

test('every threat of SECURITY.md names tests that there are', (t) => {
  const rows = tableOf('Threats')
  t.ok(rows.length > 25, `${rows.length} threats`)
  for (const [attacker, goal = '', stops, shown = ''] of rows) {
    const links = [...shown.matchAll(LINK)]
    t.ok(attacker && stops && links.length > 0, `a test for: ${goal}`)
    for (const [, text = '', file = ''] of links) {
      const title = text.replaceAll('\\', '')
      t.ok(existsSync(file) && /^test\/.*\.test\.ts$|^test\/http-suite\.ts$/.test(file), file)
      t.ok(titlesIn(file).some((there) => there.includes(title)) && title.length >= 10, `${title} (${file})`)
    }
  }
  t.end()
})

test('every published failure of SECURITY.md has a test by its number', (t) => {
  const titles = titlesIn('test/middleware/published-failures.test.ts')
  const numbers = tableOf('Failures of others').map(([number = '']) => number)
  t.ok(numbers.length >= 13)
  for (const number of numbers)
    t.ok(
      titles.some((title) => title.startsWith(`${number} `)),
      number,
    )
  t.end()
})

// ---- a cookie of another purpose

const PASSWORD = 'a password of the tests, which is long enough and known to everybody'

test('a cookie that opens under one name opens under no other, and none of the application is a session', async (t) => {
  // what a visitor may write into a cookie of the application, which seals it with the same secret
  const forged = { session_id: '0123456789abcdef0123456789abcdef', userId: 7 }
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ key: '_one' }))
    .run((req) => {
      req.cookies.encrypted.set('prefs', forged)
      req.cookies.signed.set('basket', forged)
      return controller(req)
    })
  const maker = new Client((await serve(t, app)).port)
  await maker.get('/write')
  t.same([...maker.jar.keys()].toSorted(), ['_one', 'basket', 'prefs'])
  const opens = async (store: SessionStore, key: string, value: string): Promise<string> => {
    const { port } = await stage(t, { store, session: { key } })
    return (await ask(port, '/all', { headers: { cookie: `${key}=${value}` } })).body
  }
  for (const [name, value] of maker.jar) {
    for (const key of ['_one', '_two', KEY]) {
      const is = name === '_one' && key === '_one'
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      t.equal(await opens(new CookieStore(), key, value), is ? '{"foo":"bar"}' : '{}', `${name} as ${key}`)
    }
  }
  const sealed = async (sealer: Sealer): Promise<string> => {
    const { client } = await stage(t, { store: new CookieStore({ sealer }), session: { key: '_one' } })
    await client.get('/write')
    return client.jar.get('_one') ?? ''
  }
  const rack = rackSealer({ secret: SECRET })
  t.equal(await opens(new CookieStore({ sealer: rack }), '_one', await sealed(rack)), '{"foo":"bar"}')
  t.equal(await opens(new CookieStore({ sealer: rack }), '_two', await sealed(rack)), '{}')
  const iron = ironSealer({ password: PASSWORD })
  const apart = ironSealer({ password: `${PASSWORD}, of _two` })
  t.equal(await opens(new CookieStore({ sealer: iron }), '_two', await sealed(iron)), '{"foo":"bar"}')
  t.equal(await opens(new CookieStore({ sealer: apart }), '_two', await sealed(iron)), '{}', 'hence two passwords')
})

// ---- timing

test('signatures and tokens are compared in constant time, whether they are right or wrong', async (t) => {
  const compared: [number, number][] = []
  const { timingSafeEqual } = crypto
  crypto.timingSafeEqual = (a, b) => {
    compared.push([a.byteLength, b.byteLength])
    return timingSafeEqual(a, b)
  }
  syncBuiltinESMExports()
  t.teardown(() => {
    crypto.timingSafeEqual = timingSafeEqual
    syncBuiltinESMExports()
  })
  const took = (): [number, number][] => compared.splice(0)

  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<{ user: number }>())
    .use(csrf({ log: false }))
    .run(async (req) => {
      if (req.url === '/token') return [200, {}, await req.csrfToken()]
      if (req.url === '/sign') req.cookies.signed.set('n', 7)
      return json(req.cookies.signed.get('n'))
    })
  const client = new Client((await serve(t, app)).port)
  /**
   * Near the end, in the middle, and near the beginning of what is compared. Not in the last four characters: base64
   * with other unused bits there is refused before anything is compared.
   */
  const wrong = (text: string): string[] =>
    [text.length - 6, text.length - 20, text.length - 40].map((at) =>
      text.slice(0, at).concat(text[at] === '0' ? '1' : '0', text.slice(at + 1)),
    )

  await client.get('/sign')
  const signed = client.jar.get('n') ?? ''
  took()
  t.equal((await client.get('/')).body, '7')
  t.same(took(), [[40, 40]], 'an HMAC with SHA-1, in hexadecimal')
  for (const value of wrong(signed)) {
    client.jar.set('n', value)
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    t.equal((await client.get('/')).body, 'null')
    t.same(took(), [[40, 40]])
  }
  client.jar.delete('n')

  const { body: token } = await client.get('/token')
  const post = async (given: string): Promise<number> => {
    took()
    return (await client.get('/', { method: 'POST', headers: { 'x-csrf-token': given } })).status
  }
  t.equal(await post(token), 200)
  const all = took()
  t.same(
    all,
    [32, 32, 32].map((bytes) => [bytes, bytes]),
  )
  for (const given of wrong(token)) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    t.equal(await post(given), 422)
    t.same(took(), all, 'nor does it tell which kind of token it was near to')
  }

  const sealer = rackSealer({ secret: SECRET, mode: 'v1' })
  const rack = await sealer.seal({ a: 1 }, KEY, Date.now() + 1e6)
  took()
  t.ok(await sealer.open(rack, KEY, Date.now()))
  t.same(took(), [[32, 32]])
  for (const value of wrong(rack)) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    t.notOk(await sealer.open(value, KEY, Date.now()))
    t.same(took(), [[32, 32]])
  }
})

// ---- anonymous visitors

test('visitors who do not write leave nothing in a store, whatever they send', async (t) => {
  const store = new MemoryStore({ max: 100 })
  const stack = (options: CsrfOptions): App =>
    new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session<Data>({ store, owner: 'userId' }))
      .use(flash<{ notice: string }>())
      .use(form())
      .use(csrf({ log: false, ...options }))
      .run(async (req) => {
        if (req.url === '/token') return [200, {}, await req.csrfToken()]
        if (req.url === '/flash') return json((await req.flash).notice)
        return controller(req)
      })
  const { port } = await serve(t, stack({}))
  const unknown = '0123456789abcdef0123456789abcdef'
  const without: [path: string, options: Ask][] = [
    ...['/nothing', '/read', '/all', '/id', '/flash', '/reset', '/renew', '/destroy', '/clear'].map(
      (path): [string, Ask] => [path, {}],
    ),
    ['/write', { method: 'POST' }],
    ['/write', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } }],
    ['/write', { method: 'POST', headers: { 'x-csrf-token': 'A'.repeat(86) } }],
  ]
  for (const [path, options] of without) {
    for (const cookie of [undefined, `${KEY}=${unknown}`, `${KEY}=; ${KEY}=x; __proto__=1`]) {
      const headers = cookie === undefined ? options.headers : { ...options.headers, cookie }
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await ask(port, path, { ...options, ...(headers && { headers }) })
      t.notOk(
        answer.cookies.some((line) => line.startsWith(KEY) && !line.includes('Max-Age=0')),
        `${path} ${cookie}`,
      )
      t.equal(store.size, 0, `${options.method ?? 'GET'} ${path} ${cookie}`)
    }
  }
  // and this is what each of them can fill it with, which is to be bounded in front
  await ask(port, '/write')
  t.equal(store.size, 1, 'a page that writes')
  await ask(port, '/token')
  t.equal(store.size, 2, 'a page with a form that holds a token')
  const apart = await serve(t, stack({ storage: 'cookie' }))
  t.equal((await ask(apart.port, '/token')).status, 200)
  const tokenless = await serve(t, stack({ tokens: false }))
  t.equal((await ask(tokenless.port, '/nothing')).status, 200)
  t.equal(store.size, 2, 'unless the token is kept in a cookie, or there is none')
})

test('MemoryStore grows no further than max, and whoever comes back stays signed in', async (t) => {
  const store = new MemoryStore({ max: 10 })
  const { client, port } = await stage(t, { store, session: { owner: 'userId' } })
  await client.get('/signin')
  const idle = client.clone()
  const regular = new Client(port)
  await regular.get('/signin')
  for (let i = 0; i < 50; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await ask(port, '/write')
    // oxlint-disable-next-line no-await-in-loop
    t.match((await regular.get('/all')).body, '"userId":1')
    t.ok(store.size <= 10)
  }
  t.equal((await idle.get('/all')).body, '{}', 'and who does not is pushed out, hence the bound in front')
})

// ---- other sites and other hosts

/** A browser at a stack whose hosts are all this server's, over https as its proxy says. */
class Browser {
  readonly jar = new BrowserJar()
  readonly #port: number

  constructor(port: number) {
    this.#port = port
  }

  async visit(address: string, { method = 'GET', headers = {}, body }: Ask = {}): Promise<Answer> {
    const url = new URL(address)
    const cookie = this.jar.header(url)
    const answer = await ask(this.#port, url.pathname + url.search, {
      method,
      headers: { host: url.host, 'x-forwarded-proto': 'https', ...(cookie && { cookie }), ...headers },
      ...(body === undefined ? {} : { body }),
    })
    for (const line of answer.cookies) this.jar.store(line, url)
    return answer
  }
}

const sites = (key: string, store: MemoryStore): App =>
  new Builder()
    .use(forwarded({ trust: 'loopback' }))
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ key, store, owner: 'userId' }))
    .use(form())
    .use(csrf({ log: false }))
    .run(async (req) => (req.url === '/token' ? [200, {}, await req.csrfToken()] : controller(req)))

test('another site cannot sign a visitor in as somebody of its choice', async (t) => {
  const store = new MemoryStore()
  const { port } = await serve(t, sites(KEY, store))
  const page = 'https://app.example/signin?user=666'
  const attacker = new Browser(port)
  const { body: token } = await attacker.visit('https://app.example/token')
  const before = store.size
  const type = { 'content-type': 'application/x-www-form-urlencoded' }
  const evil = { origin: 'https://evil.example' }
  for (const headers of [
    { ...type, ...evil, 'sec-fetch-site': 'cross-site' },
    { ...type, 'sec-fetch-site': 'cross-site' },
    { ...type, origin: 'null', 'sec-fetch-site': 'cross-site' },
    { ...type, ...evil }, // a browser that does not say
    { ...type, origin: 'null' },
    { ...type, referer: 'https://app.example/' },
    { ...type, origin: 'https://app.example.evil.example', 'sec-fetch-site': 'same-site' },
    { ...type, ...evil, host: 'evil.example', 'x-forwarded-host': 'app.example', 'sec-fetch-site': 'cross-site' },
  ]) {
    for (const body of ['', `authenticity_token=${encodeURIComponent(token)}`]) {
      const victim = new Browser(port)
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await victim.visit(page, { method: 'POST', headers, body })
      t.equal(answer.status, 422, JSON.stringify(headers))
      t.same(answer.cookies, [])
      t.equal(victim.jar.size, 0)
    }
  }
  t.equal(store.size, before)
  const visitor = new Browser(port)
  const own = { ...type, origin: 'https://app.example', 'sec-fetch-site': 'same-origin' }
  t.equal((await visitor.visit(page, { method: 'POST', headers: own, body: '' })).status, 200)
  t.equal((await visitor.visit('https://app.example/all')).body, '{"userId":666}')
})

test('a POST that a layer of one’s own makes a GET is a POST to csrf()', async (t) => {
  const app = new Builder()
    .use((inner) => (req) => {
      const { method: originalMethod } = req
      req.method = 'GET'
      return inner(Object.assign(req, { originalMethod }))
    })
    .use(cookies({ secret: SECRET }))
    .use(session<Data>())
    .use(csrf({ log: false }))
    .run(controller)
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/read')).status, 200)
  t.equal((await ask(port, '/read', { method: 'POST' })).status, 422)
})

test('a subdomain cannot plant a session where the cookie is called __Host-, and garbage nowhere', async (t) => {
  const evil = new URL('https://evil.app.example/')
  for (const key of [KEY, '__Secure-session', '__Host-session']) {
    const { port } = await serve(t, sites(key, new MemoryStore()))
    const attacker = new Browser(port)
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await attacker.visit('https://app.example/signin?user=666')
    const his = attacker.jar.get(key)?.value ?? ''
    const victim = new Browser(port)
    // oxlint-disable-next-line no-await-in-loop
    await victim.visit('https://app.example/signin?user=1')

    // what opens nothing stands in front, and the session is found all the same
    for (const path of ['/a', '/al', '/all'])
      victim.jar.store(`${key}=garbage; Domain=app.example; Path=${path}; Secure`, evil)
    // oxlint-disable-next-line no-await-in-loop
    t.equal((await victim.visit('https://app.example/all')).body, '{"userId":1}', key)

    const taken = victim.jar.store(`${key}=${his}; Domain=app.example; Path=/all; Secure`, evil)
    t.equal(taken, key !== '__Host-session', 'the browser refuses a Domain for __Host-')
    for (const other of [`${key}=${his}; Path=/`, `${key}=${his}; Path=/; Secure`, `${key}=${his}; Path=/all; Secure`])
      victim.jar.store(other, evil)
    // oxlint-disable-next-line no-await-in-loop
    const { body } = await victim.visit('https://app.example/all')
    t.equal(body, key === '__Host-session' ? '{"userId":1}' : '{"userId":666}', key)
    // oxlint-disable-next-line no-await-in-loop
    t.equal((await attacker.visit('https://app.example/all')).body, '{"userId":666}', 'nor does he get to hers')
  }
})

// ---- clocks

test('servers whose clocks differ by minutes share sessions, and none ends later than by the difference', async (t) => {
  const SKEW = 300
  const HOUR = 3600
  const stores: Record<string, (time: Time) => SessionStore> = {
    CookieStore: () => new CookieStore(),
    'CookieStore, rack-session': () => new CookieStore({ sealer: rackSealer({ secret: SECRET }) }),
    'CookieStore, iron-session': () => new CookieStore({ sealer: ironSealer({ password: PASSWORD }) }),
    MemoryStore: ({ clock }) => new MemoryStore({ clock }),
  }
  for (const [name, make] of Object.entries(stores)) {
    const [behind, ahead] = [new Time(), new Time()]
    ahead.advance(SKEW)
    const advance = (seconds: number): void => [behind, ahead].forEach((time) => time.advance(seconds))
    const store = make(behind)
    const options = { expireAfter: HOUR, maxLifetime: 10 * HOUR, owner: 'userId' as const }
    // oxlint-disable no-await-in-loop -- one after the other
    const early = await stage(t, { store, time: behind, session: options })
    const late = await stage(t, { store, time: ahead, session: options })
    const at = (port: number, from: Client): Client => {
      const client = new Client(port)
      for (const [key, value] of from.jar) client.jar.set(key, value)
      return client
    }
    const browser = late.client
    await browser.get('/signin')
    for (const { port } of [early, late, early, late, early, late]) {
      const { body, cookies: lines } = await at(port, browser).get('/all')
      t.equal(body, '{"userId":1}', `${name}: from the future is no error`)
      t.same(lines, [], 'and no reason for each to set the other right')
    }
    // a change at the one that is behind does not take time away from what the other promised
    const changed = at(early.port, browser)
    await changed.get('/write')
    advance(HOUR - 1)
    t.match((await at(late.port, changed).get('/all')).body, 'bar')
    t.match((await at(early.port, changed).get('/all')).body, 'bar')
    advance(SKEW + 1)
    const copy = changed.clone()
    t.equal((await at(early.port, copy).get('/nothing')).status, 200)
    if (name !== 'MemoryStore') {
      t.equal((await at(late.port, copy).get('/all')).body, '{}', `${name}: over by the clock of who made it`)
      t.equal((await at(early.port, copy).get('/all')).body, '{}', 'and by the other, the difference later')
    }

    // as long as it is used, at either, it ends with the longest life
    const first = new Client(late.port)
    await first.get('/signin')
    let used = 0
    let jar: Client = first
    while (used < 11 * HOUR) {
      advance(HOUR / 4)
      used += HOUR / 4
      jar = at(used % HOUR === 0 ? late.port : early.port, jar)
      if ((await jar.get('/all')).body === '{}') break
    }
    t.ok(used >= 10 * HOUR && used <= 10 * HOUR + HOUR / 4, `${name}: ${used / HOUR} hours`)
    // oxlint-enable no-await-in-loop
  }
})

test('a sign-out that is told by revokedSince counts for a server that is ahead if the difference is added', async (t) => {
  const SKEW = 300
  const [behind, ahead] = [new Time(), new Time()]
  ahead.advance(SKEW)
  let since: number | undefined
  const store = new CookieStore({ revokedSince: () => since })
  const late = await stage(t, { store, time: ahead, session: { owner: 'userId' } })
  const early = await stage(t, { store, time: behind, session: { owner: 'userId' } })
  await late.client.get('/signin')
  behind.advance(60)
  const read = (): Promise<Answer> => ask(early.port, '/all', { headers: { cookie: late.client.cookie } })
  since = behind.now
  t.equal((await read()).body, '{"userId":1}', 'it says that it was created four minutes later')
  since = behind.now + SKEW * 1000
  t.equal((await read()).body, '{}')
})

// ---- what was authenticated, and is hostile all the same

const gcmKey = new KeyGenerator(SECRET).generateKey('authenticated encrypted cookie', 32)

/** A session's cookie in Rails' format around any bytes, as whoever has the secret can make it. */
function sealed(payload: string | Buffer, purpose = `cookie.${KEY}`): string {
  const message = Buffer.from(payload).toString('base64')
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', gcmKey, iv)
  const data = Buffer.concat([
    cipher.update(JSON.stringify({ _rails: { message, exp: null, pur: purpose } })),
    cipher.final(),
  ])
  return encodeURIComponent([data, iv, cipher.getAuthTag()].map((bytes) => bytes.toString('base64')).join('--'))
}

test('hostile JSON under our own seal is data or an empty session, and never an error', async (t) => {
  const { port, errors } = await stage(t, { store: new CookieStore(), session: { owner: 'userId' } })
  const id = '"session_id":"0123456789abcdef0123456789abcdef"'
  const lists = (depth: number): string => `{${id},"a":${'['.repeat(depth)}${']'.repeat(depth)}}`
  const empty: Record<string, string | Buffer> = {
    'lists in lists': lists(4000),
    'one list too many': lists(101),
    'objects in objects': `{${id},"a":${'{"a":'.repeat(800)}1${'}'.repeat(800)}}`,
    'a list': `[${id.replace(':', ',')}]`,
    'a text': '"x"',
    null: 'null',
    'a number': '1e999',
    'no id': '{"a":1}',
    'half of it': `{${id},"a"`,
    nothing: '',
    'a byte order mark': `\u{FEFF}{${id},"a":1}`,
    'what is no UTF-8': Buffer.concat([Buffer.from(`{${id},"a":"`), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
    'half a surrogate pair': `{${id},"a":"\\ud800"}`,
    'two documents': `{${id}}{${id},"a":1}`,
    'not JSON': `{${id},'a':0x10,}`,
  }
  const read: Record<string, [payload: string, data: string]> = {
    'as deep as Rails goes': [lists(99), `{"a":${'['.repeat(99)}${']'.repeat(99)}}`],
    'keys that stand twice': [`{${id},"a":1,"userId":1,"a":2,"userId":2}`, '{"a":2,"userId":2}'],
    'two ids': [`{${id},"a":1,"session_id":"fedcba9876543210fedcba9876543210"}`, '{"a":1}'],
    'an id that is an object': ['{"session_id":{"a":1},"a":1}', '{"a":1}'],
    'an id with a header in it': ['{"session_id":"x\\r\\nset-cookie: a=b","a":1}', '{"a":1}'],
    'a huge whole number': [`{${id},"a":123456789012345678901234567890}`, '{"a":1.2345678901234568e+29}'],
    'a number beyond doubles': [`{${id},"a":1e999,"b":-1e999,"c":1e-999}`, '{"a":null,"b":null,"c":0}'],
    'ten thousand digits': [`{${id},"a":1${'0'.repeat(3000)}}`, '{"a":null}'],
    prototypes: [
      `{${id},"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":1,"then":{"a":1}}`,
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":1,"then":{"a":1}}',
    ],
    'prototypes below': [`{${id},"a":{"__proto__":{"polluted":1}}}`, '{"a":{"__proto__":{"polluted":1}}}'],
    'a creation in a thousand years': [`{${id},"_created_at":1e14,"a":1}`, '{"a":1}'],
    'a creation long before all time': [`{${id},"_created_at":-1e300,"a":1}`, '{"a":1}'],
    'a creation and an idle time of ages': [`{${id},"_created_at":1e15,"_expire_after":1e15,"a":1}`, '{"a":1}'],
    'a creation that is none': [`{${id},"_created_at":{"valueOf":1},"a":1}`, '{"a":1}'],
    'a creation before all time': [`{${id},"_created_at":-1,"a":1}`, '{"a":1}'],
    'an idle time of ages': [`{${id},"_expire_after":1e300,"a":1}`, '{"a":1}'],
    'an idle time that is none': [`{${id},"_expire_after":"x","a":1}`, '{"a":1}'],
    'an idle time below nothing': [`{${id},"_expire_after":-1,"a":1}`, '{"a":1}'],
    'flash and token of other types': [
      `{${id},"flash":{"discard":"x","flashes":5},"_csrf_token":{"a":1}}`,
      '{"flash":{"discard":"x","flashes":5},"_csrf_token":{"a":1}}',
    ],
  }
  const cases: [name: string, payload: string | Buffer, data: string][] = [
    ...Object.entries(empty).map(([name, payload]): [string, string | Buffer, string] => [name, payload, '{}']),
    ...Object.entries(read).map(([name, [payload, data]]): [string, string, string] => [name, payload, data]),
  ]
  for (const [name, payload, data] of cases) {
    const cookie = `${KEY}=${sealed(payload)}`
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    t.equal((await ask(port, '/all', { headers: { cookie } })).body, data, name)
    for (const path of ['/write', '/signin', '/push', '/renew', '/clear', '/reset-write', '/destroy']) {
      // oxlint-disable-next-line no-await-in-loop
      const answer = await ask(port, path, { headers: { cookie } })
      t.equal(answer.status, 200, `${name} ${path}`)
      t.ok(answer.cookies.length <= 1 && !('a' in answer.headers))
    }
  }
  t.same(errors, [])
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
  t.equal((await ask(port, '/all', { headers: { cookie: `${KEY}=${sealed(`{${id},"a":1}`)}` } })).body, '{"a":1}')
})

// ---- what can be replayed

test('what is to be used once is used again with an old cookie, and not where there are records', async (t) => {
  for (const [store, again] of [
    [new CookieStore(), 'paid'],
    [new MemoryStore(), 'no voucher'],
  ] as const) {
    // oxlint-disable no-await-in-loop -- one after the other
    const { client } = await stage(
      t,
      { store },
      {
        '/give': async (req) => {
          ;(await req.session)['voucher'] = true
          return [200, {}, 'given']
        },
        '/pay': async (req) => {
          const hash = await req.session
          if (hash['voucher'] !== true) return [200, {}, 'no voucher']
          delete hash['voucher']
          return [200, {}, 'paid']
        },
      },
    )
    await client.get('/give')
    const copy = client.clone()
    t.equal((await client.get('/pay')).body, 'paid')
    t.equal((await client.get('/pay')).body, 'no voucher')
    t.equal((await copy.get('/pay')).body, again)
    // oxlint-enable no-await-in-loop
  }
})

// ---- a store that is wrong

test('a store that answers falsely gives nobody more than what it holds under the hash that it was asked for', async (t) => {
  const asked: string[] = []
  let found: unknown
  class Liar extends AbstractStore {
    findSession(_req: IncomingMessage, sid: SessionId): StoredSession | undefined {
      asked.push(sid.privateId)
      return found as StoredSession
    }
    writeSession(): boolean {
      return false
    }
    deleteSession(): void {}
  }
  const time = new Time()
  const { port, errors } = await stage(t, { store: new Liar(), time, session: { maxLifetime: 1000 } })
  const headers = { cookie: `${KEY}=0123456789abcdef0123456789abcdef` }
  const read = async (record: unknown): Promise<string> => {
    found = record
    return (await ask(port, '/all', { headers })).body
  }
  const there = { data: { a: 1 }, createdAt: time.now, expiresAt: time.now + 1000 }
  t.equal(await read(there), '{"a":1}')
  for (const nothing of [undefined, null, false, 0, '']) t.equal(await read(nothing), '{}', String(nothing))
  t.equal(await read({ ...there, expiresAt: time.now }), '{}', 'one that has ended')
  t.equal(await read({ ...there, createdAt: time.now - 1_000_000 }), '{}', 'one that is too old')
  t.equal(await read({ ...there, gone: true }), '{}', 'one that is gone')
  const hostile = JSON.parse('{"__proto__": {"polluted": 1}, "session_id": "x", "_created_at": 1}') as object
  t.equal(await read({ ...there, data: hostile }), '{"__proto__":{"polluted":1}}')
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
  t.same(errors, [])
  for (const wrong of [
    'text',
    {},
    { ...there, data: undefined },
    { ...there, data: null },
    { ...there, data: 'text' },
    { ...there, data: ['a'] },
    { ...there, expiresAt: undefined },
    { ...there, expiresAt: NaN },
    { ...there, expiresAt: '2001-01-01' },
    { ...there, expiresAt: new Date(0) },
    { ...there, createdAt: undefined },
    { ...there, createdAt: '2001-01-01' },
    { ...there, gone: 1 },
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    t.match(await read(wrong), 'Internal Server Error', JSON.stringify(wrong))
    t.match(errors.splice(0), [{ code: 'ERR_STORE_CORRUPT' }])
  }
  t.equal(new Set(asked).size, 1)
  t.notMatch(asked[0], '0123456789abcdef0123456789abcdef')

  // a write that it says came to nothing hands out no cookie
  found = undefined
  const dropped = await ask(port, '/write', { headers })
  t.equal(dropped.status, 200)
  t.same(dropped.cookies, [])
})

// ---- a secret that leaked

test('a secret that is taken out opens nothing from then on, and while it is retired it opens and does not seal', async (t) => {
  const OLD = 'a secret of last year, which has leaked, of more than 32 characters'
  const kinds: Record<string, readonly [before: Sealer, during: Sealer, after: Sealer]> = {
    Rails: [railsSealer({ secret: OLD }), railsSealer({ secret: [SECRET, OLD] }), railsSealer({ secret: SECRET })],
    'rack-session': [
      rackSealer({ secret: OLD }),
      rackSealer({ secret: [SECRET, OLD] }),
      rackSealer({ secret: SECRET }),
    ],
    'iron-session': [
      ironSealer({ password: { 1: OLD } }),
      ironSealer({ password: { 1: OLD, 2: PASSWORD } }),
      ironSealer({ password: { 2: PASSWORD } }),
    ],
  }
  for (const [name, sealers] of Object.entries(kinds)) {
    // oxlint-disable no-await-in-loop -- one after the other
    const [before, during, after] = await Promise.all(
      sealers.map((sealer) => stage(t, { store: new CookieStore({ sealer }) })),
    )
    const visit = async (of: typeof before, cookie: string): Promise<{ body: string; cookie: string }> => {
      const client = new Client(of?.port ?? 0)
      client.jar.set(KEY, cookie)
      const { body } = await client.get('/read')
      return { body, cookie: client.jar.get(KEY) ?? '' }
    }
    await before?.client.get('/write')
    const forged = before?.client.jar.get(KEY) ?? ''
    const anew = await visit(during, forged)
    t.equal(anew.body, 'foo: "bar"', name)
    t.not(anew.cookie, forged)
    t.equal((await visit(after, anew.cookie)).body, 'foo: "bar"', 'who came meanwhile stays')
    t.equal((await visit(after, forged)).body, 'foo: null', 'and what the old secret can forge is worth nothing')
    // oxlint-enable no-await-in-loop
  }
})
