import type { IncomingMessage } from 'node:http'
import t, { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  csrf,
  flash,
  form,
  methodOverride,
  session,
  type CookieJar,
  type CookiesOptions,
  type FlashHandle,
  type Jar,
  type RackResponse,
  type SessionHandle,
  type SessionOptions,
} from '../../lib/index.ts'
import { SESSION_KEY, startRails } from '../rails.ts'
import { attributesOf, Client, serve, type Answer } from '../server.ts'
import { SECRET } from '../session-app.ts'

const NEW_SECRET = 'another secret of the tests, which is long enough and known as well'
/** In seconds. */
const HOUR = 3600

/** In milliseconds. */
const DAY = 24 * HOUR * 1000
const TWENTY_YEARS = 20 * 365.25 * DAY

const { missing, ports } = await startRails(t, {
  sha1: {},
  sha256: { key_generator_hash_digest_class: 'SHA256' },
  expiring: { expire_after: HOUR },
  cbc: { use_authenticated_cookie_encryption: false },
  rotated: { secret_key_base: NEW_SECRET, retired_secret_key_bases: [SECRET] },
  renewed: { secret_key_base: NEW_SECRET },
})

/** Where there is no Rails, each test says so. */
const live = missing === undefined ? {} : { skip: missing }

type Data = Record<string, unknown>

type Req = IncomingMessage & {
  cookies: CookieJar
  session: SessionHandle<Data>
  flash: FlashHandle<Data>
  csrfToken: (form?: { action: string; method?: string }) => Promise<string>
  form: () => Promise<URLSearchParams>
}

const json = (value: unknown): RackResponse => [
  200,
  { 'content-type': 'application/json' },
  JSON.stringify(value ?? null),
]

/** The pages of test/rails/application.rb, here. */
const pages: Record<string, (req: Req, params: URLSearchParams) => Promise<unknown>> = {
  '/nothing': async () => null,
  '/read': async (req) => {
    const data = { ...(await req.session) }
    return { id: req.session.id ?? null, data }
  },
  '/write': async ({ session }, params) => {
    Object.assign(await session, given(params))
  },
  '/remove': async ({ session }, params) => {
    const hash = await session
    const key = params.get('key') as string
    const value = hash[key]
    delete hash[key]
    return value
  },
  '/count': async ({ session }) => {
    const hash = await session
    return (hash['count'] = ((hash['count'] as number | undefined) ?? 0) + 1)
  },
  '/reset': async ({ session }) => {
    session.reset()
  },
  '/sign-in': async ({ session }, params) => {
    session.reset()['user_id'] = given(params)
  },
  '/destroy': async ({ session }) => {
    session.destroy()
  },
  '/renew': async ({ session }) => {
    session.renew()
  },
  '/say': async ({ flash }, params) => {
    Object.assign(await flash, given(params))
  },
  '/say-now': async ({ flash }, params) => {
    Object.assign(flash.now, given(params))
    return { ...(await flash) }
  },
  '/told': async ({ flash }) => ({ ...(await flash) }),
  '/keep': async ({ flash }, params) => {
    const key = params.get('key')
    await (key === null ? flash.keep() : flash.keep(key))
    return { ...(await flash) }
  },
  '/discard': async ({ flash }, params) => {
    const key = params.get('key')
    await (key === null ? flash.discard() : flash.discard(key))
    return { ...(await flash) }
  },
  '/submit': async (req) => `${req.method} ${(await req.form()).get('name')}`,
  '/set-cookie': async (req, params) => {
    const seconds = params.get('seconds')
    const options = { httpOnly: true, ...(seconds !== null && { maxAge: Number(seconds) }) }
    jarOf(req, params).set(params.get('name') as string, given(params), options)
  },
  '/get-cookie': async (req, params) => jarOf(req, params).get(params.get('name') as string),
  '/delete-cookie': async (req, params) => {
    req.cookies.delete(params.get('name') as string)
  },
}

function given(params: URLSearchParams): unknown {
  return JSON.parse(params.get('json') as string)
}

function jarOf({ cookies }: Req, params: URLSearchParams): Jar<unknown> {
  const kinds = (params.get('jar') ?? '').split('.').filter((kind) => kind !== '') as ('signed' | 'permanent')[]
  return kinds.reduce<Jar<unknown>>((jar, kind) => jar[kind], cookies as unknown as Jar<unknown>)
}

async function controller(req: Req): Promise<RackResponse> {
  const { pathname, searchParams } = new URL(req.url ?? '/', 'http://test')
  if (pathname !== '/form') return json(await pages[pathname]?.(req, searchParams))
  const field = async (method: string, action: string): Promise<string> =>
    `name="authenticity_token" value="${await req.csrfToken({ action, method })}"`
  return [
    200,
    { 'content-type': 'text/html' },
    `name="csrf-token" content="${await req.csrfToken()}"
    ${await field('post', '/submit')} ${await field('delete', '/submit')} ${await field('post', '/elsewhere')}`,
  ]
}

/** One browser, which has the same cookies for Rails and for us: they know no ports (RFC 6265, section 8.5). */
class Browser {
  /** What it holds: name and value as they stand in a Cookie header. */
  readonly jar: Map<string, string>
  readonly rails: Half
  readonly here: Half

  constructor(railsPort: number, ourPort: number) {
    const client = new Client(railsPort)
    this.jar = client.jar
    this.rails = new Half(client)
    this.here = this.at(ourPort)
  }

  /** The same browser before another application. */
  at(port: number): Half {
    return new Half(Object.assign(new Client(port), { jar: this.jar }))
  }

  /** The cookie of the session. */
  get cookie(): string {
    return this.jar.get(SESSION_KEY) ?? ''
  }
}

/** What a page `/read` answers. */
interface Read {
  id: string | null
  data: Data
  created_at?: number
}

/** One of the applications behind the browser. */
class Half {
  readonly client: Client

  constructor(client: Client) {
    this.client = client
  }

  async get(path: string, params: Record<string, string> = {}): Promise<Answer> {
    const answer = await this.client.get(`${path}?${new URLSearchParams(params).toString()}`)
    if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body}`)
    return answer
  }

  async ask(path: string, params?: Record<string, string>): Promise<unknown> {
    return JSON.parse((await this.get(path, params)).body)
  }

  async read(): Promise<Read> {
    return (await this.ask('/read')) as Read
  }

  async write(data: Data): Promise<Answer> {
    return this.get('/write', { json: JSON.stringify(data) })
  }

  async say(messages: Data): Promise<void> {
    await this.get('/say', { json: JSON.stringify(messages) })
  }

  async set(jar: string, name: string, value: unknown, params: Record<string, string> = {}): Promise<Answer> {
    return this.get('/set-cookie', { jar, name, json: JSON.stringify(value), ...params })
  }

  async value(jar: string, name: string): Promise<unknown> {
    return this.ask('/get-cookie', { jar, name })
  }

  /** The tokens of a page: for any form, and for its three forms. */
  async tokens(): Promise<Record<'global' | 'post' | 'delete' | 'elsewhere', string>> {
    const { body } = await this.get('/form')
    const [global = ''] = /(?<=name="csrf-token" content=")[^"]*/.exec(body) ?? []
    const fields = body.match(/(?<=name="authenticity_token" value=")[^"]*/g) ?? []
    const [post = '', remove = '', elsewhere = ''] = fields
    return { global, post, delete: remove, elsewhere }
  }

  /** Sends a form to `/submit`, as a browser that says neither Sec-Fetch-Site nor Origin. */
  async submit(token: string, fields: Record<string, string> = {}): Promise<string> {
    const answer = await this.client.get('/submit', {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ name: 'ada', authenticity_token: token, ...fields }).toString(),
    })
    return answer.status === 200 ? (JSON.parse(answer.body) as string) : String(answer.status)
  }
}

interface Options {
  cookies?: CookiesOptions
  session?: SessionOptions<Data>
}

/** The port of an application of ours. */
async function start(t: Test, options: Options = {}): Promise<number> {
  const app = new Builder()
    .use(cookies({ secret: SECRET, keyDigest: 'SHA1', ...options.cookies }))
    .use(session<Data>({ key: SESSION_KEY, ...options.session }))
    .use(flash<Data>())
    .use(form())
    .use(methodOverride())
    .use(csrf({ log: false }))
    .run(controller)
  const { port } = await serve(t, app)
  return port
}

/** A browser before an application of Rails and one of ours. */
async function browser(t: Test, name: keyof typeof ports, options: Options = {}): Promise<Browser> {
  return new Browser(ports[name], await start(t, options))
}

/** Who begins. */
const DIRECTIONS = [
  ['Rails', 'rails', 'here'],
  ['us', 'here', 'rails'],
] as const

for (const [name, keyDigest] of [
  ['sha1', 'SHA1'],
  ['sha256', 'SHA256'],
] as const) {
  test(`${keyDigest}: we change a session of Rails, and Rails reads it under the same id`, live, async (t) => {
    const { rails, here } = await browser(t, name, { cookies: { keyDigest } })
    await rails.write({ name: 'ada', cart: ['tea'] })
    const { id } = await rails.read()
    t.match(id, /^[\da-f]{32}$/)
    t.strictSame(await here.read(), { id, data: { name: 'ada', cart: ['tea'] } })

    await here.write({ cart: ['tea', 'milk'], seen: true })
    t.equal(await here.ask('/remove', { key: 'name' }), 'ada')
    const { created_at: createdAt, ...session } = await rails.read()
    t.strictSame(session, { id, data: { cart: ['tea', 'milk'], seen: true } })
    t.type(createdAt, 'number', 'which Rails carries along')

    await rails.write({ cart: [] })
    t.strictSame(await here.read(), { id, data: { cart: [], seen: true } })
  })

  test(`${keyDigest}: Rails changes a session of ours, and we read it under the same id`, live, async (t) => {
    const { rails, here } = await browser(t, name, { cookies: { keyDigest } })
    await here.write({ name: 'ada' })
    const { id } = await here.read()
    t.match(id, /^[\da-f]{32}$/)
    t.match(await rails.read(), { id, data: { name: 'ada' } })
    t.equal(await rails.ask('/remove', { key: 'name' }), 'ada')
    await rails.write({ cart: ['tea'] })
    t.strictSame(await here.read(), { id, data: { cart: ['tea'] } })
  })

  for (const [one, first, second] of DIRECTIONS) {
    test(`${keyDigest}: signed and encrypted cookies set by ${one} are read by the other`, live, async (t) => {
      const both = await browser(t, name, { cookies: { keyDigest } })
      for (const jar of ['signed', 'encrypted']) {
        for (const [name, value] of Object.entries({
          text: 'Grüße & <b>',
          number: 45,
          no: false,
          list: [1, { a: null }],
        })) {
          await both[first].set(jar, `${jar}_${name}`, value)
          t.strictSame(await both[second].value(jar, `${jar}_${name}`), value, `${jar} ${name}`)
        }
      }
    })
  }
}

test('requests take turns, and none of their changes is lost', live, async (t) => {
  const { rails, here } = await browser(t, 'sha1')
  for (let count = 1; count < 10; count += 2) {
    t.equal(await rails.ask('/count'), count)
    t.equal(await here.ask('/count'), count + 1)
  }
})

const VALUES: Data = {
  text: 'Grüße, 世界, здравствуй, \u{1F682}\u{1F1E9}\u{1F1EA}, e\u0301',
  markup: '<b class="x">\'&amp;\' \\ \u2028\u2029 %41 +--;, =</b>',
  controls: '\u0000\u0001\b\t\n\f\r\u001b\u007f\ufeff',
  empty: '',
  zero: 0,
  negative: -42,
  large: Number.MAX_SAFE_INTEGER,
  fraction: 0.1,
  tiny: 5e-324,
  huge: 1.7976931348623157e308,
  yes: true,
  no: false,
  list: [1, 'two', null, [[]], { three: [3] }],
  hash: { nothing: null, 'a key with spaces': { 'ключ \u{1F511}': {} }, '': '' },
  'ключ.with-dots': 'x',
  constructor: 'a word like any other',
}

for (const [one, first, second] of DIRECTIONS) {
  test(`values of each kind written by ${one} mean the same to the other, and survive its write`, live, async (t) => {
    const both = await browser(t, 'sha1')
    for (const [key, value] of Object.entries(VALUES)) {
      const session = await browser(t, 'sha1')
      await session[first].write({ [key]: value })
      t.strictSame((await session[second].read()).data, { [key]: value }, key)
    }
    await both[first].write(VALUES)
    await both[second].write({ more: 1 })
    t.strictSame((await both[first].read()).data, { ...VALUES, more: 1 })
  })
}

test('symbols, times, decimals and ranges of Ruby are read here as Rails itself reads them back', live, async (t) => {
  const { rails, here } = await browser(t, 'sha1')
  await rails.get('/ruby')
  const { data } = await here.read()
  t.strictSame(data, (await rails.read()).data)
  t.match(data, { symbol: 'value', time: '2026-03-14T15:09:26.000Z', decimal: '1.5', keys: { 1: 'one', '': null } })
  t.notOk('nothing' in data, 'Rails keeps no nil')
})

test('a page that does not use the session leaves the cookie alone, whoever wrote it', live, async (t) => {
  const { rails, here } = await browser(t, 'sha1')
  await rails.write({ name: 'ada' })
  t.same((await here.get('/nothing')).cookies, [])
  await here.write({ name: 'eve' })
  t.same((await rails.get('/nothing')).cookies, [])
  t.same((await here.get('/read')).cookies, [], 'nor does one here that only reads')
})

test('the cookies of both have the same attributes, so that one replaces the other', live, async (t) => {
  const { rails, here } = await browser(t, 'sha1')
  for (const half of [rails, here]) {
    const { cookies } = await half.write({ name: 'ada' })
    t.equal(cookies.length, 1)
    // Rack 3 writes the values in small letters
    const [line = ''] = cookies.map((line) => line.toLowerCase())
    t.strictSame(attributesOf(line), { path: '/', httponly: true, samesite: 'lax' })
  }
})

// ---- signing in and out

for (const [one, first, second] of DIRECTIONS) {
  test(`whoever is signed in by ${one} is signed in for the other, under a new id`, live, async (t) => {
    const both = await browser(t, 'sha1', { session: { owner: 'user_id' } })
    await both[second].write({ cart: ['tea'] })
    const { id: before } = await both[first].read()
    await both[first].get('/sign-in', { json: '7' })
    const { id, data } = await both[second].read()
    t.strictSame(data, { user_id: 7 })
    t.not(id, before)
    t.match(await both[first].read(), { id, data: { user_id: 7 } })
  })

  test(`a session that was reset by ${one} is empty for the other, and its tokens are no good`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[second].write({ user_id: 7 })
    const { global } = await both[second].tokens()
    await both[first].get('/reset')
    t.equal(await both[second].submit(global), '422')
    t.equal(await both[first].submit(global), '422')
    t.strictSame((await both[second].read()).data, {})
    await both[second].write({ name: 'eve' })
    t.strictSame((await both[first].read()).data, { name: 'eve' })
  })

  test(`a session that was destroyed by ${one} is gone for the other`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[second].write({ user_id: 7 })
    const { id: before } = await both[second].read()
    await both[first].get('/destroy')
    const { id, data } = await both[second].read()
    t.strictSame(data, {})
    t.not(id, before)
  })

  test(`a session that was renewed by ${one} has its data under a new id for the other`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[second].write({ user_id: 7 })
    const { id: before } = await both[second].read()
    await both[first].get('/renew')
    const { id, data } = await both[second].read()
    t.strictSame(data, { user_id: 7 })
    t.match(id, /^[\da-f]{32}$/)
    t.not(id, before)
  })
}

test('our destroy leaves no cookie of the session in the browser', live, async (t) => {
  const { rails, here, jar } = await browser(t, 'sha1')
  await rails.write({ user_id: 7 })
  await here.get('/destroy')
  t.equal(jar.size, 0)
})

// ---- flash

for (const [one, first, second] of DIRECTIONS) {
  test(`a message left by ${one} is shown once by the other, and is gone for both`, live, async (t) => {
    const both = await browser(t, 'sha1')
    const messages = { notice: 'Grüße & <b>', alert: 'Beware', joyride: { horses: 2 } }
    await both[first].say(messages)
    await both[first].get('/nothing')
    await both[second].get('/nothing')
    t.strictSame(await both[second].ask('/told'), messages)
    t.strictSame(await both[first].ask('/told'), {})
    t.strictSame(await both[second].ask('/told'), {})
    t.notOk('flash' in (await both[first].read()).data)
  })

  test(`a message left and shown by ${one} is not shown again by the other`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[first].say({ notice: 'hello' })
    t.strictSame(await both[first].ask('/told'), { notice: 'hello' })
    t.strictSame(await both[second].ask('/told'), {})
  })

  test(`of messages left by ${one} the other keeps and discards what it likes`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[first].say({ notice: 'hello', alert: 'beware' })
    t.strictSame(await both[second].ask('/keep', { key: 'notice' }), { notice: 'hello', alert: 'beware' })
    t.strictSame(await both[first].ask('/keep'), { notice: 'hello' })
    t.strictSame(await both[second].ask('/told'), { notice: 'hello' })
    t.strictSame(await both[first].ask('/told'), {})

    await both[first].say({ notice: 'hello' })
    await both[second].say({ alert: 'beware' })
    t.strictSame(await both[first].ask('/told'), { alert: 'beware' }, 'the first message had its request')

    await both[first].say({ notice: 'hello' })
    t.strictSame(await both[second].ask('/discard', { key: 'notice' }), { notice: 'hello' })
    t.strictSame(await both[first].ask('/told'), {})
  })

  test(`what is said now by ${one} is for that page alone`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[second].say({ alert: 'beware' })
    const now = { json: '{"notice":"hello"}' }
    t.strictSame(await both[first].ask('/say-now', now), { alert: 'beware', notice: 'hello' })
    t.strictSame(await both[second].ask('/told'), {})
  })
}

// ---- tokens

for (const [one, first, second] of DIRECTIONS) {
  test(`tokens of pages made by ${one} are accepted by both`, live, async (t) => {
    const both = await browser(t, 'sha1')
    const tokens = await both[first].tokens()
    t.equal(new Set(Object.values(tokens)).size, 4)
    for (const half of [both.rails, both.here]) {
      t.equal(await half.submit(tokens.global), 'POST ada')
      t.equal(await half.submit(tokens.post), 'POST ada')
      t.equal(await half.submit(tokens.delete, { _method: 'delete' }), 'DELETE ada')
      t.equal(await half.submit(tokens.global, { _method: 'delete' }), 'DELETE ada')
      const headers = { 'x-csrf-token': tokens.global }
      t.equal((await half.client.get('/submit', { method: 'PUT', headers })).status, 200, 'in the header')
    }
    const more = await both[second].tokens()
    t.equal(await both[first].submit(more.post), 'POST ada', 'the session has one token for both')
    t.equal(await both[first].submit(tokens.post), 'POST ada')
  })

  test(
    `tokens of pages made by ${one} are refused by both for another form and in another session`,
    live,
    async (t) => {
      const both = await browser(t, 'sha1')
      const tokens = await both[first].tokens()
      const other = await browser(t, 'sha1')
      await other[first].tokens()
      for (const half of [both.rails, both.here]) {
        t.equal(await half.submit(tokens.elsewhere), '422', 'another path')
        t.equal(await half.submit(tokens.delete), '422', 'another method')
        t.equal(await half.submit(tokens.post, { _method: 'delete' }), '422', 'another method')
        t.equal(await half.submit(''), '422')
        t.equal(await half.submit(tokens.global.slice(1)), '422')
        t.equal(await half.submit(flipped(tokens.global, 50)), '422')
      }
      for (const half of [other.rails, other.here]) t.equal(await half.submit(tokens.global), '422')
    },
  )
}

// ---- other cookies

for (const [one, first, second] of DIRECTIONS) {
  test(`plain and permanent cookies set by ${one} are read and deleted by the other`, live, async (t) => {
    const both = await browser(t, 'sha1')
    for (const jar of ['', 'permanent', 'permanent.signed', 'permanent.encrypted']) {
      const name = `c_${jar.replace('.', '_')}`
      const { cookies } = await both[first].set(jar, name, 'Grüße&<b>;=+%41"')
      const { expires } = attributesOf(cookies[0] as string)
      t.equal(expires === undefined, jar === '', jar)
      if (expires !== undefined)
        t.ok(Math.abs(Date.parse(expires as string) - Date.now() - TWENTY_YEARS) < 2 * DAY, jar)
      t.equal(await both[second].value(jar, name), 'Grüße&<b>;=+%41"', jar)
      await both[second].get('/delete-cookie', { name })
      t.equal(await both[first].value(jar, name), null, jar)
    }
    t.equal(both.jar.size, 0)
  })

  test(`a cookie sealed by ${one} opens under its own name and in its own jar alone`, live, async (t) => {
    const both = await browser(t, 'sha1')
    for (const jar of ['signed', 'encrypted']) {
      await both[first].set(jar, 'role', 'reader')
      both.jar.set('owner', both.jar.get('role') as string)
      for (const half of [both.rails, both.here]) {
        t.equal(await half.value(jar, 'role'), 'reader')
        t.equal(await half.value(jar, 'owner'), null)
        t.equal(await half.value(jar === 'signed' ? 'encrypted' : 'signed', 'role'), null)
      }
    }
  })

  test(`no character of a cookie sealed by ${one} can be changed for either`, live, async (t) => {
    const both = await browser(t, 'sha1')
    await both[first].write({ name: 'ada' })
    await both[first].set('signed', 'user_id', 7)
    const sealed = decodeURIComponent(both.cookie)
    const signed = decodeURIComponent(both.jar.get('user_id') as string)
    for (const half of [both.rails, both.here]) {
      t.match((await half.read()).data, { name: 'ada' })
      t.equal(await half.value('signed', 'user_id'), 7)
    }
    const opened = { rails: [] as number[], here: [] as number[] }
    for (let at = 0; at < Math.max(sealed.length, signed.length); at++) {
      both.jar.set(SESSION_KEY, encodeURIComponent(flipped(sealed, at)))
      both.jar.set('user_id', encodeURIComponent(flipped(signed, at)))
      const [cookie, userId] = [both.cookie, both.jar.get('user_id') as string]
      for (const half of ['rails', 'here'] as const) {
        if (at < sealed.length && 'name' in (await both[half].read()).data) opened[half].push(at)
        if (at < signed.length && (await both[half].value('signed', 'user_id')) !== null) opened[half].push(at)
        both.jar.set(SESSION_KEY, cookie).set('user_id', userId)
      }
    }
    t.strictSame(opened, { rails: [], here: [] })
  })
}

/** Another character of the same alphabet, or another dash. */
function flipped(text: string, at: number): string {
  const character = text[at] ?? ''
  const other = character === '-' ? '_' : character === '=' ? 'A' : /[a-f\d]/.test(character) ? '0' : 'B'
  return text.slice(0, at) + (other === character ? '1' : other) + text.slice(at + 1)
}

test(
  'a space in a plain cookie of Rails is a plus sign here, since Rack encodes cookies like forms',
  live,
  async (t) => {
    const { rails, here } = await browser(t, 'sha1')
    await rails.set('', 'name', 'ada lovelace')
    t.equal(await here.value('', 'name'), 'ada+lovelace')
    await here.set('', 'name', 'ada lovelace')
    t.equal(await rails.value('', 'name'), 'ada lovelace')
  },
)

// ---- expiry, which both keep inside the seal: this browser sends every cookie for ever

/** Milliseconds until a session's cookie ends, by its Set-Cookie line. */
function lastsFor({ cookies }: Answer, now: number): number {
  return Date.parse(attributesOf(cookies[0] as string)['expires'] as string) - now
}

test('a session of Rails ends here when Rails said', live, async (t) => {
  let now = Date.now()
  const { rails, here, jar } = await browser(t, 'expiring', { cookies: { clock: () => now } })
  const lasts = lastsFor(await rails.write({ name: 'ada' }), now)
  t.ok(Math.abs(lasts - HOUR * 1000) < 60_000)
  const sealed = new Map(jar)
  for (const [time, data] of [
    [now + lasts - 1000, { name: 'ada' }],
    [now + lasts + 1000, {}],
  ] as const) {
    now = time
    for (const [name, value] of sealed) jar.set(name, value)
    t.strictSame((await here.read()).data, data)
  }
})

test('a session of ours ends in Rails when we said, also where its cookie ends with the browser', live, async (t) => {
  for (const expireAfter of [HOUR, undefined]) {
    const idle = expireAfter === undefined ? 14 * DAY : expireAfter * 1000
    for (const [age, data] of [
      [idle - 60_000, { name: 'ada' }],
      [idle + 1000, {}],
    ] as const) {
      const then = Date.now() - age
      const { rails, here } = await browser(t, 'sha1', { cookies: { clock: () => then }, session: { expireAfter } })
      const answer = await here.write({ name: 'ada' })
      const lasts = lastsFor(answer, then)
      if (expireAfter === undefined) t.ok(Number.isNaN(lasts))
      else t.ok(Math.abs(lasts - idle) < 2000)
      t.strictSame((await rails.read()).data, data, `${expireAfter} ${age}`)
    }
  }
})

test('use in Rails extends a session of ours, and use here one of Rails', live, async (t) => {
  const real = Date.now()
  let now = real - 50 * 60_000
  const clock = (): number => now
  const ours = await browser(t, 'expiring', { cookies: { clock }, session: { expireAfter: HOUR } })
  await ours.here.write({ name: 'ada' })
  await ours.rails.read()
  now = real + 50 * 60_000
  t.strictSame((await ours.here.read()).data, { name: 'ada' })

  const theirs = await browser(t, 'expiring', { cookies: { clock }, session: { expireAfter: HOUR } })
  await theirs.rails.write({ name: 'ada' })
  t.strictSame((await theirs.here.read()).data, { name: 'ada' })
  now = real + 100 * 60_000
  t.strictSame((await theirs.here.read()).data, { name: 'ada' })
})

test('a session ends here after its lifetime, although Rails seals it anew without an end', live, async (t) => {
  const start = Date.now()
  let now = start
  const { rails, here } = await browser(t, 'sha1', { cookies: { clock: () => now }, session: { maxLifetime: HOUR } })
  await here.write({ name: 'ada' })
  now = start + HOUR * 1000 - 1
  for (const count of [1, 2]) {
    t.equal(await rails.ask('/count'), count)
    t.equal((await rails.read()).created_at, start)
    t.strictSame((await here.read()).data, { name: 'ada', count })
  }
  await rails.write({ name: 'ada' })
  now++
  t.strictSame((await here.read()).data, {})
})

for (const jar of ['signed', 'encrypted']) {
  test(`in the ${jar} jar a cookie with an expiry ends in the other application, too`, live, async (t) => {
    let now = Date.now()
    const { rails, here } = await browser(t, 'sha1', { cookies: { clock: () => now } })
    await rails.set(jar, 'from_rails', 'x', { seconds: '3600' })
    now += HOUR * 1000 - 60_000
    t.equal(await here.value(jar, 'from_rails'), 'x')
    now += 120_000
    t.equal(await here.value(jar, 'from_rails'), null)

    now = Date.now() - HOUR * 1000 + 60_000
    await here.set(jar, 'from_us', 'x', { seconds: '3600' })
    t.equal(await rails.value(jar, 'from_us'), 'x')
    now -= 120_000
    await here.set(jar, 'from_us', 'x', { seconds: '3600' })
    t.equal(await rails.value(jar, 'from_us'), null)
  })
}

// ---- other keys and formats

test('without a common secret neither reads what the other wrote, and both go on', live, async (t) => {
  const { rails, here } = await browser(t, 'renewed')
  await rails.write({ name: 'ada' })
  t.strictSame((await here.read()).data, {})
  await here.write({ name: 'eve' })
  t.strictSame((await rails.read()).data, {})
  await rails.set('signed', 'user_id', 7)
  t.equal(await here.value('signed', 'user_id'), null)
})

test('with other digests of the keys neither reads what the other wrote', live, async (t) => {
  const { rails, here } = await browser(t, 'sha256')
  await rails.write({ name: 'ada' })
  t.strictSame((await here.read()).data, {})
  await here.write({ name: 'eve' })
  t.strictSame((await rails.read()).data, {})
})

test('a secret that Rails retired opens what we sealed, and Rails seals it anew', live, async (t) => {
  const browsing = await browser(t, 'rotated')
  const { rails, here } = browsing
  await here.write({ name: 'ada' })
  await here.set('signed', 'signed', 7)
  await here.set('encrypted', 'encrypted', 8)
  const { id } = await here.read()
  t.match(await rails.read(), { id, data: { name: 'ada' } })
  t.equal(await rails.value('signed', 'signed'), 7)
  t.equal(await rails.value('encrypted', 'encrypted'), 8)

  const renewed = browsing.at(await start(t, { cookies: { secret: NEW_SECRET } }))
  for (const half of [browsing.at(ports.renewed), renewed]) {
    t.match(await half.read(), { id, data: { name: 'ada' } })
    t.equal(await half.value('signed', 'signed'), 7)
    t.equal(await half.value('encrypted', 'encrypted'), 8)
  }
})

test('a secret that we retired opens what Rails sealed, and we seal the session anew', live, async (t) => {
  const browsing = await browser(t, 'sha1', { cookies: { secret: [NEW_SECRET, SECRET] } })
  const { rails, here } = browsing
  await rails.write({ name: 'ada' })
  await rails.set('signed', 'signed', 7)
  await rails.set('encrypted', 'encrypted', 8)
  const { id } = await rails.read()
  t.strictSame(await here.read(), { id, data: { name: 'ada' } })
  t.equal(await here.value('signed', 'signed'), 7)
  t.equal(await here.value('encrypted', 'encrypted'), 8)
  t.match(await browsing.at(ports.renewed).read(), { id, data: { name: 'ada' } })
})

test('what Rails encrypts with AES-CBC is read with legacy alone, and Rails reads what we answer', live, async (t) => {
  const browsing = await browser(t, 'cbc', { cookies: { legacy: true } })
  const { rails, here, jar } = browsing
  await rails.write({ name: 'ada' })
  await rails.set('encrypted', 'encrypted', [8])
  t.equal(decodeURIComponent(browsing.cookie).split('--').length, 2, 'data and HMAC')
  const before = new Map(jar)
  const without = browsing.at(await start(t))
  t.strictSame((await without.read()).data, {})
  t.equal(await without.value('encrypted', 'encrypted'), null)

  for (const [name, value] of before) jar.set(name, value)
  const { id } = await here.read()
  t.equal(decodeURIComponent(browsing.cookie).split('--').length, 3, 'data, nonce and tag')
  t.strictSame(await here.value('encrypted', 'encrypted'), [8])
  await here.write({ cart: ['tea'] })
  t.match(await rails.read(), { id, data: { name: 'ada', cart: ['tea'] } })
  await rails.write({ more: 1 })
  t.equal(decodeURIComponent(browsing.cookie).split('--').length, 2)
  t.strictSame(await here.read(), { id, data: { name: 'ada', cart: ['tea'], more: 1 } })
})
