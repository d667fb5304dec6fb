import type { IncomingMessage } from 'node:http'
import { test, type Test } from 'tap'
import {
  AbstractStore,
  CookieStore,
  KeyGenerator,
  MemoryStore,
  MessageEncryptor,
  type SessionData,
  type SessionId,
  type SessionStore,
  type StoredSession,
  type WriteOptions,
} from '../../lib/index.ts'
import { json, KEY, stage, Time, type Action, type StageOptions } from '../http-suite.ts'
import { attributesOf, type Answer } from '../server.ts'
import { SECRET } from '../session-app.ts'

const DAY = 24 * 3600

const stores: [name: string, make: (time: Time, options?: { ttl: number }) => SessionStore][] = [
  ['CookieStore', (_time, options) => new CookieStore(options)],
  ['MemoryStore', ({ clock }, options) => new MemoryStore({ ...options, clock })],
]

/** The same on the store in the cookie and on one with records. */
function onBoth(
  sentence: string,
  run: (
    t: Test,
    begin: (
      options?: StageOptions['session'] & { ttl?: number },
      pages?: Record<string, Action>,
    ) => ReturnType<typeof stage>,
    inCookie: boolean,
  ) => Promise<void>,
): void {
  for (const [name, make] of stores) {
    test(`${sentence} (${name})`, (t) =>
      run(
        t,
        ({ ttl, ...session } = {}, pages = {}) => {
          const time = new Time()
          return stage(t, { store: make(time, ttl === undefined ? undefined : { ttl }), session, time }, pages)
        },
        name === 'CookieStore',
      ))
  }
}

const maxAge = ({ cookies }: Answer): unknown => attributesOf(cookies[0] ?? '')['max-age']

onBoth('with expireAfter the cookie has Max-Age and Expires', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 3600 })
  const { cookies } = await client.get('/write')
  const { expires, 'max-age': age } = attributesOf(cookies[0] ?? '')
  t.equal(age, '3600')
  t.equal(expires, new Date(time.now + 3600_000).toUTCString())
})

onBoth('without expireAfter the cookie ends with the browser, and the session after the ttl', async (t, begin) => {
  const { client, time } = await begin()
  const { cookies } = await client.get('/write')
  t.notOk('max-age' in attributesOf(cookies[0] ?? ''))
  t.notOk('expires' in attributesOf(cookies[0] ?? ''))
  time.advance(14 * DAY - 1)
  const old = client.clone()
  t.equal((await old.get('/nothing')).status, 200)
  t.equal((await client.clone().get('/read')).body, 'foo: "bar"')
})

onBoth('without expireAfter a session that is not used for 14 days is over', async (t, begin) => {
  const { client, time } = await begin()
  await client.get('/write')
  time.advance(14 * DAY)
  t.equal((await client.get('/read')).body, 'foo: null')
})

onBoth("the store's ttl is the idle time where expireAfter does not say", async (t, begin, inCookie) => {
  const { client, time } = await begin({ ttl: 1000 })
  await client.get('/write')
  time.advance(100)
  const { cookies } = await client.get('/read')
  t.equal(cookies.length, inCookie ? 1 : 0, 'the record moves, and the cookie only if it is the record')
  if (inCookie) t.notOk('max-age' in attributesOf(cookies[0] ?? ''))
  time.advance(999)
  t.equal((await client.get('/read')).body, 'foo: "bar"')
  time.advance(1000)
  t.equal((await client.get('/read')).body, 'foo: null')
})

onBoth('a session has ended exactly when its idle time is over', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 100 })
  await client.get('/write')
  const [before, after] = [client.clone(), client.clone()]
  time.advance(99.999)
  t.equal((await before.get('/nothing')).status, 200)
  t.equal((await before.get('/read')).body, 'foo: "bar"')
  time.advance(100)
  t.equal((await after.get('/read')).body, 'foo: null')
})

onBoth('use extends the idle time at most once per tenth of it, by default', async (t, begin) => {
  const { client, time, spy } = await begin({ expireAfter: 1000 })
  await client.get('/write')
  const writes = []
  for (let i = 0; i < 40; i++) {
    time.advance(10)
    spy.took()
    await client.get('/read')
    writes.push(spy.took().includes('put') ? 1 : 0)
  }
  t.equal(
    writes.join(''),
    '0000000001'.repeat(4),
    'of a request every 10 s, the one that comes 100 s after the last extension',
  )
})

onBoth('with refreshEvery: 0 every request extends it', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 1000, refreshEvery: 0 })
  await client.get('/write')
  for (let i = 0; i < 3; i++) {
    time.advance(1)
    t.equal(maxAge(await client.get('/read')), '1000')
  }
})

onBoth('a request that does not load the session extends nothing', async (t, begin) => {
  const { client, time, spy } = await begin({ expireAfter: 1000, refreshEvery: 0 })
  await client.get('/write')
  spy.took()
  for (let i = 0; i < 10; i++) {
    time.advance(100)
    t.same((await client.get('/nothing')).cookies, [])
  }
  t.same(spy.took(), [])
  t.equal((await client.get('/read')).body, 'foo: null')
})

onBoth('a change of data before the extension is due does not extend', async (t, begin, inCookie) => {
  const { client, time } = await begin({ expireAfter: 1000, refreshEvery: 500 })
  await client.get('/write')
  time.advance(400)
  const answer = await client.get('/count')
  t.equal(maxAge(answer), inCookie ? '600' : undefined, 'the cookie ends when the session does')
  time.advance(599)
  t.equal((await client.clone().get('/all')).body, '{"foo":"bar","counter":1}')
  time.advance(1)
})

onBoth('a change of data that comes when it is due extends', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 1000, refreshEvery: 500 })
  await client.get('/write')
  time.advance(500)
  t.equal(maxAge(await client.get('/count')), '1000')
  time.advance(999)
  t.equal((await client.get('/all')).body, '{"foo":"bar","counter":1}')
})

onBoth('touch: false reads and writes without extending', async (t, begin) => {
  const poll: Action = async (req) => {
    req.session.options.touch = false
    return json(await req.session)
  }
  const pollWrite: Action = async (req) => {
    req.session.options.touch = false
    ;(await req.session).counter = 1
    return json('written')
  }
  const { client, time } = await begin(
    { expireAfter: 1000, refreshEvery: 0 },
    { '/poll': poll, '/poll-write': pollWrite },
  )
  await client.get('/write')
  time.advance(900)
  t.same((await client.get('/poll')).cookies, [])
  await client.get('/poll-write')
  time.advance(99)
  t.equal((await client.get('/poll')).body, '{"foo":"bar","counter":1}')
  time.advance(1)
  t.equal((await client.get('/poll')).body, '{}')
})

// ---- the longest life

onBoth('the cookie and the session end at maxLifetime, whatever the activity', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 1000, maxLifetime: 1500, refreshEvery: 0 })
  t.equal(maxAge(await client.get('/write')), '1000')
  time.advance(800)
  t.equal(maxAge(await client.get('/read')), '700')
  time.advance(699)
  t.same((await client.get('/read')).cookies, [], 'nothing is left to extend')
  t.equal((await client.get('/count')).body, '1')
  t.equal((await client.get('/read')).body, 'foo: "bar"')
  time.advance(1)
  t.equal((await client.get('/read')).body, 'foo: null')
})

onBoth('maxLifetime is 30 days by default, and may be none', async (t, begin) => {
  const bound = await begin({ expireAfter: 10 * DAY })
  const free = await begin({ expireAfter: 10 * DAY, maxLifetime: Infinity })
  for (const { client } of [bound, free]) await client.get('/write')
  for (let days = 0; days < 27; days += 9) {
    for (const { client, time } of [bound, free]) {
      time.advance(9 * DAY)
      t.equal((await client.get('/read')).body, 'foo: "bar"')
    }
  }
  for (const { time } of [bound, free]) time.advance(3 * DAY)
  t.equal((await bound.client.get('/read')).body, 'foo: null')
  t.equal((await free.client.get('/read')).body, 'foo: "bar"')
})

onBoth('signing in begins the longest life again, and renew() does not', async (t, begin) => {
  const options = { expireAfter: 1000, maxLifetime: 1500, refreshEvery: 0, owner: 'userId' as const }
  const { client, time } = await begin(options)
  await client.get('/write')
  time.advance(800)
  const renewed = client.clone()
  t.equal(maxAge(await renewed.get('/renew')), '700')

  const other = await begin(options)
  await other.client.get('/write')
  other.time.advance(800)
  t.equal(maxAge(await other.client.get('/signin')), '1000')
  other.time.advance(800)
  t.equal(maxAge(await other.client.get('/read')), '700')
  t.equal((await other.client.get('/all')).body, '{"foo":"bar","userId":1}')
  other.time.advance(700)
  t.equal((await other.client.get('/all')).body, '{}')
})

onBoth('reset() begins the longest life again', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 1000, maxLifetime: 1500 })
  await client.get('/write')
  time.advance(900)
  t.equal(maxAge(await client.get('/reset-write')), '1000')
})

// ---- an idle time of its own

const remember: Action = async (req) => {
  req.session.options.expireAfter = 30 * DAY
  ;(await req.session).userId = 1
  return json('remembered')
}
const shorten: Action = (req) => {
  req.session.options.expireAfter = 60
  return json('shortened')
}

onBoth('an idle time of its own stays with the session', async (t, begin) => {
  const { client, time } = await begin({ maxLifetime: 365 * DAY }, { '/remember': remember })
  t.notOk('max-age' in attributesOf((await client.get('/write')).cookies[0] ?? ''))
  t.equal(maxAge(await client.get('/remember')), String(30 * DAY))
  time.advance(29 * DAY)
  t.equal(maxAge(await client.get('/read')), String(30 * DAY), 'and slides by itself')
  time.advance(29 * DAY)
  t.equal((await client.get('/all')).body, '{"foo":"bar","userId":1}', 'and is not seen in the hash')
  time.advance(30 * DAY)
  t.equal((await client.get('/all')).body, '{}')
})

onBoth('an idle time of its own may be given to a new session, and goes along in a renewal', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 60 }, { '/remember': remember })
  t.equal(maxAge(await client.get('/remember')), String(30 * DAY))
  time.advance(DAY)
  t.equal(maxAge(await client.get('/renew')), String(29 * DAY))
  time.advance(2 * DAY)
  t.equal((await client.get('/all')).body, '{"userId":1}')
})

onBoth('a shorter idle time counts at once, without a change of data or an await', async (t, begin) => {
  const { client, time } = await begin({ expireAfter: 3600 }, { '/shorten': shorten })
  await client.get('/write')
  t.equal(maxAge(await client.get('/shorten')), '60')
  time.advance(59)
  t.equal((await client.clone().get('/read')).body, 'foo: "bar"')
  time.advance(60)
  t.equal((await client.get('/read')).body, 'foo: null')
})

onBoth('an idle time that is set again to the same is no change', async (t, begin) => {
  const { client, spy } = await begin({}, { '/shorten': shorten })
  await client.get('/write')
  await client.get('/shorten')
  spy.took()
  t.same((await client.get('/shorten')).cookies, [])
  t.same(spy.took(), ['get'])
})

onBoth('an idle time for a visitor without a session makes none', async (t, begin) => {
  const { client, spy } = await begin({}, { '/shorten': shorten })
  t.same((await client.get('/shorten')).cookies, [])
  t.same(spy.took(), [])
})

onBoth('reset() forgets the idle time of its own', async (t, begin) => {
  const { client } = await begin({ expireAfter: 3600 }, { '/remember': remember })
  await client.get('/remember')
  t.equal(maxAge(await client.get('/reset-write')), '3600')
})

// ---- never backwards

test('a shorter expireAfter in the configuration does not shorten what was promised', async (t) => {
  for (const [name, make] of stores) {
    const time = new Time()
    const store = make(time)
    const long = await stage(t, { store, time, session: { expireAfter: 1000 } })
    const short = await stage(t, { store, time, session: { expireAfter: 100, refreshEvery: 0 } })
    await long.client.get('/write')
    short.client.jar.set(KEY, long.client.jar.get(KEY) ?? '')
    time.advance(1)
    t.same((await short.client.get('/read')).cookies, [], name)
    await short.client.get('/count')
    time.advance(500)
    t.equal((await short.client.get('/all')).body, '{"foo":"bar","counter":1}', name)
  }
})

test('a polling request that ends after one that extended does not take the extension back', async (t) => {
  const time = new Time()
  let proceed = (): void => {}
  let arrived = (): void => {}
  const waiting = new Promise<void>((resolve) => (arrived = resolve))
  const open = new Promise<void>((resolve) => (proceed = resolve))
  const { client } = await stage(
    t,
    { store: new MemoryStore({ clock: time.clock }), time, session: { expireAfter: 1000, refreshEvery: 0 } },
    {
      '/poll': async (req) => {
        req.session.options.touch = false
        ;(await req.session).counter = 1
        arrived()
        await open
        return json('polled')
      },
    },
  )
  await client.get('/write')
  time.advance(900)
  const poll = client.clone().get('/poll')
  await waiting
  await client.get('/read')
  proceed()
  await poll
  time.advance(500)
  t.equal((await client.get('/all')).body, '{"foo":"bar","counter":1}')
})

// ---- the sealed cookie

test('COOKIESTORE-15: the expiry is inside the seal, and each cookie has its own', async (t) => {
  const time = new Time()
  const HOUR = 3600
  const { client } = await stage(t, { store: new CookieStore(), time, session: { expireAfter: 5 * HOUR } })
  await client.get('/write')
  const first = client.clone()
  time.advance(4 * HOUR)
  await client.get('/count')
  const second = client.clone()
  time.advance(4 * HOUR)
  t.equal((await second.get('/read')).body, 'foo: "bar"')
  t.equal((await first.get('/read')).body, 'foo: null', 'whatever its Max-Age said')
})

const OLD = 'an old secret of the tests, which is long enough and retired'

/** A session that was sealed with a secret that is retired now. */
async function retired(
  t: Test,
  pages: (time: Time) => Record<string, Action> = () => ({}),
): Promise<Awaited<ReturnType<typeof stage>> & { sealed: string }> {
  const time = new Time()
  const store = new CookieStore()
  const old = await stage(t, { store, time, cookies: { secret: OLD } })
  await old.client.get('/write')
  const sealed = old.client.jar.get(KEY) ?? ''
  const now = await stage(t, { store, time, cookies: { secret: [SECRET, OLD] } }, pages(time))
  now.client.jar.set(KEY, sealed)
  return { ...now, sealed }
}

test('COOKIESTORE-17: a session sealed with a retired secret is read, and sealed anew in that response', async (t) => {
  const { client, sealed, time } = await retired(t)
  const { body, cookies } = await client.get('/read')
  t.equal(body, 'foo: "bar"')
  t.equal(cookies.length, 1)
  t.not(client.jar.get(KEY), sealed)
  t.same((await client.get('/read')).cookies, [], 'once')
  const { client: later } = await stage(t, { store: new CookieStore(), time })
  later.jar.set(KEY, client.jar.get(KEY) ?? '')
  t.equal((await later.get('/read')).body, 'foo: "bar"', 'so the old secret can go')
  later.jar.set(KEY, sealed)
  t.equal((await later.get('/read')).body, 'foo: null')
})

test('a page that does not use the session does not seal it anew', async (t) => {
  const { client } = await retired(t)
  t.same((await client.get('/nothing')).cookies, [])
})

test('a read that took a second does not seal anew, and the next request does', async (t) => {
  const { client, sealed } = await retired(t, (time) => ({
    '/slow': async (req) => {
      const { foo } = await req.session
      time.advance(1)
      return json(foo)
    },
    '/slow-write': async (req) => {
      ;(await req.session).foo = 'changed'
      time.advance(1)
      return json('written')
    },
    '/almost': async (req) => {
      const { foo } = await req.session
      time.advance(0.999)
      return json(foo)
    },
  }))
  const slow = await client.get('/slow')
  t.equal(slow.body, '"bar"')
  t.same(slow.cookies, [])
  const almost = client.clone()
  t.equal((await almost.get('/almost')).cookies.length, 1)
  const write = client.clone()
  t.equal((await write.get('/slow-write')).cookies.length, 1, 'a change of data is sent in any case')
  t.equal((await client.get('/read')).cookies.length, 1)
  t.not(client.jar.get(KEY), sealed)
})

test('a read that took a second does not extend the idle time of a sealed cookie either', async (t) => {
  const time = new Time()
  const { client } = await stage(
    t,
    { store: new CookieStore(), time, session: { expireAfter: 1000, refreshEvery: 10 } },
    {
      '/slow': async (req) => {
        await req.session
        time.advance(1)
        return json('slow')
      },
    },
  )
  await client.get('/write')
  time.advance(20)
  t.same((await client.get('/slow')).cookies, [])
  t.equal(maxAge(await client.get('/read')), '1000')
})

test('a slow read of a record extends its idle time: the cookie that it sends opens what there is', async (t) => {
  const time = new Time()
  const { client } = await stage(
    t,
    { store: new MemoryStore({ clock: time.clock }), time, session: { expireAfter: 1000, refreshEvery: 10 } },
    {
      '/slow': async (req) => {
        await req.session
        time.advance(5)
        return json('slow')
      },
    },
  )
  await client.get('/write')
  time.advance(20)
  t.equal(maxAge(await client.get('/slow')), '1000')
})

test('a record that its store gives after its end reads as empty', async (t) => {
  const time = new Time()
  const records = new Map<string, StoredSession>()
  class Forgetful extends AbstractStore {
    findSession(_req: IncomingMessage, sid: SessionId): StoredSession | undefined {
      return records.get(sid.privateId)
    }
    writeSession(_req: IncomingMessage, sid: SessionId, data: SessionData, options: WriteOptions): boolean {
      records.set(sid.privateId, { data, createdAt: options.createdAt, expiresAt: options.expiresAt })
      return true
    }
    deleteSession(): void {}
  }
  const { client } = await stage(t, { store: new Forgetful(), time, session: { expireAfter: 100 } })
  await client.get('/write')
  time.advance(99)
  t.equal((await client.clone().get('/nothing')).status, 200)
  t.equal((await client.get('/read')).body, 'foo: "bar"')
  time.advance(100)
  t.equal((await client.get('/read')).body, 'foo: null')
})

// ---- Rails' sessions

/** A cookie as a Rails application writes it, which knows no time of creation. */
function railsCookie(session: Record<string, unknown>, expiresAt?: number): string {
  const encryptor = new MessageEncryptor(
    new KeyGenerator(SECRET, { iterations: 1000, digest: 'SHA256' }).generateKey('authenticated encrypted cookie', 32),
  )
  return encodeURIComponent(encryptor.encryptAndSign(session, { purpose: `cookie.${KEY}`, expiresAt }))
}

const ID = '0123456789abcdef0123456789abcdef'

test('a session of Rails without an expiry gets one, and a time of creation, when it is read', async (t) => {
  const time = new Time()
  const session = { expireAfter: 1000, maxLifetime: 1500, refreshEvery: 0 }
  const { client } = await stage(t, { store: new CookieStore(), time, session })
  client.jar.set(KEY, railsCookie({ session_id: ID, foo: 'from Rails' }))
  time.advance(10_000)
  const answer = await client.get('/read')
  t.equal(answer.body, 'foo: "from Rails"')
  t.equal(maxAge(answer), '1000')
  t.equal((await client.get('/id')).body, ID)
  time.advance(800)
  t.equal(maxAge(await client.get('/read')), '700', 'its longest life began at that first request')
  time.advance(700)
  t.equal((await client.get('/read')).body, 'foo: null')
})

test('maxLifetime holds also where Rails carried the time of creation along and extended the session', async (t) => {
  const time = new Time()
  const { client } = await stage(t, { store: new CookieStore(), time, session: { maxLifetime: 1000 } })
  const created = time.now
  client.jar.set(KEY, railsCookie({ session_id: ID, foo: 'bar', _created_at: created }, created + 90 * DAY * 1000))
  time.advance(999)
  t.equal((await client.clone().get('/read')).body, 'foo: "bar"')
  time.advance(1)
  t.equal((await client.get('/read')).body, 'foo: null')
})

test('the expiry that Rails gave is kept to', async (t) => {
  const time = new Time()
  const { client } = await stage(t, { store: new CookieStore(), time })
  client.jar.set(KEY, railsCookie({ session_id: ID, foo: 'from Rails' }, time.now + 60_000))
  const early = client.clone()
  time.advance(59)
  t.equal((await early.get('/read')).body, 'foo: "from Rails"')
  time.advance(1)
  t.equal((await client.get('/read')).body, 'foo: null')
})

test('a payload without a time of creation counts as the oldest', async (t) => {
  const time = new Time()
  let since: number | Date | undefined
  const asked: unknown[] = []
  const revokedSince = (owner: unknown): number | Date | undefined => {
    asked.push(owner)
    return since
  }
  const { client } = await stage(t, {
    store: new CookieStore({ revokedSince }),
    time,
    session: { owner: 'userId' },
  })
  const sealed = railsCookie({ session_id: ID, userId: 7 })
  client.jar.set(KEY, sealed)
  t.equal((await client.clone().get('/all')).body, '{"userId":7}')
  since = 1
  t.equal((await client.clone().get('/all')).body, '{}', 'revoked since the beginning of time')
  t.same(asked, [7, 7])

  since = undefined
  await client.get('/read') // from now on it has a time of creation
  since = time.now - 1
  t.equal((await client.get('/all')).body, '{"userId":7}', 'created after that')
  since = new Date(time.now + 1)
  t.equal((await client.get('/all')).body, '{}')
})
