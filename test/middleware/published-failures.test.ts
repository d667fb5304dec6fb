import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { inspect } from 'node:util'
import Database from 'better-sqlite3'
import { test, type Test } from 'tap'
import {
  CookieStore,
  InvalidOptionError,
  ironSealer,
  MemoryStore,
  rackSealer,
  railsSealer,
  session,
  SessionId,
  type CookieOptions,
  type Sealer,
  type SessionRequestOptions,
  type SessionStore,
  type StoredSession,
} from '../../lib/index.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { Gate, json, KEY, stage, Time, type Action } from '../http-suite.ts'
import { ask, attributesOf, Client, type Answer } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { newFile } from '../stores/sqlite-file.ts'

const HOUR = 3600
const DAY = 24 * HOUR

/** The stores that keep records, each with a count of the sessions that somebody could still use. */
const records: [name: string, make: (t: Test, time: Time) => { store: SessionStore; count: () => number }][] = [
  [
    'MemoryStore',
    (_t, { clock }) => {
      const store = new MemoryStore({ clock })
      return { store, count: () => store.size }
    },
  ],
  [
    'SqliteStore',
    (t, { clock }) => {
      const database = new Database(newFile(t))
      const store = new SqliteStore({ database, clock })
      t.teardown(() => {
        store.close()
        database.close()
      })
      const live = database.prepare('SELECT count(*) FROM sessions WHERE gone IS NULL AND expires_at > ?').pluck()
      return { store, count: () => live.get(clock()) as number }
    },
  ],
]

/** The same on each store that keeps records. */
async function onRecords(
  t: Test,
  run: (t: Test, store: SessionStore, time: Time, count: () => number) => Promise<void>,
): Promise<void> {
  for (const [name, make] of records) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await t.test(name, (t) => {
      const time = new Time()
      const { store, count } = make(t, time)
      return run(t, store, time, count)
    })
  }
}

/** The formats of a session that stands in the cookie itself. */
const sealers: [name: string, make: () => Sealer | readonly Sealer[]][] = [
  ['Rails', () => railsSealer({ secret: SECRET })],
  ['iron', () => ironSealer({ password: SECRET })],
  ['rack', () => rackSealer({ secret: SECRET })],
  ['a list', () => [railsSealer({ secret: SECRET }), ironSealer({ password: SECRET })]],
]

/** Somebody who holds one cookie, and minds no Max-Age. */
function bearer(port: number, value: string): (path: string) => Promise<Answer> {
  return (path) => ask(port, path, { headers: { cookie: `${KEY}=${value}` } })
}

const cookieOf = (client: Client): string => client.jar.get(KEY) ?? ''

test('CVE-2026-39324 rack-session: a cookie that no secret opens is an empty session, and is not parsed', async (t) => {
  // A cookie that no secret decrypted was given to the plain decoder instead of being turned down, so anybody could
  // write himself a session, and have bytes of his choice deserialized.
  const claim = JSON.stringify({ session_id: 'f'.repeat(32), userId: 1, _created_at: Date.now() })
  const encode = (text: string): string => Buffer.from(text).toString('base64')
  const envelope = JSON.stringify({ _rails: { message: encode(claim), exp: null, pur: `cookie.${KEY}` } })
  const foreign = 'a secret of somebody else, which is as long as the one of the tests'
  const inAWeek = Date.now() + 7 * DAY * 1000
  const forged = [
    claim,
    encode(claim),
    encode(claim).replaceAll('=', ''),
    encode(envelope),
    `${encode(claim)}--${'0'.repeat(64)}`,
    `${encode(envelope)}--${'0'.repeat(64)}`,
    `${encode(envelope)}--${encode('0'.repeat(12))}--${encode('0'.repeat(16))}`,
    `${encode(claim)}--`,
    `Fe26.2*1*${'0'.repeat(64)}*${encode('0'.repeat(16))}*${encode(claim)}**${'0'.repeat(64)}*${encode(claim)}~2`,
    // { 'userId' => 1 }, by Ruby's Marshal
    'BAh7BkkiC3VzZXJJZAY6BkVUaQY=',
    await railsSealer({ secret: foreign }).seal(JSON.parse(claim) as Record<string, never>, KEY, inAWeek),
    await ironSealer({ password: foreign }).seal(JSON.parse(claim) as Record<string, never>, KEY, inAWeek),
    await rackSealer({ secret: foreign }).seal(JSON.parse(claim) as Record<string, never>, KEY, inAWeek),
  ]
  for (const [name, make] of sealers) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await t.test(name, async (t) => {
      const first = await stage(t, { store: new CookieStore({ sealer: make() }) })
      await first.client.get('/signin')
      // one that has not opened any cookie yet
      const { port, errors } = await stage(t, { store: new CookieStore({ sealer: make() }) })
      const parsed = t.capture(JSON, 'parse', JSON.parse)
      const read = (): boolean => parsed().some(({ args }) => args[0].includes('userId'))
      t.equal((await bearer(port, cookieOf(first.client))('/all')).body, '{"userId":1}', 'a true one opens')
      t.ok(read(), 'and is parsed')
      for (const value of forged) {
        const { status, body, cookies } = await bearer(port, encodeURIComponent(value))('/all')
        t.same([status, body, cookies], [200, '{}', []], value.slice(0, 40))
      }
      t.notOk(read())
      t.same(errors, [])
    })
  }
})

test('CVE-2025-46336 rack-session: a request that is under way while its user signs out brings no session back', async (t) => {
  // At its end each request wrote back the session that it had loaded, also one that had been deleted meanwhile: who
  // held a stolen cookie kept a slow request under way, and was still signed in after the sign-out.
  await onRecords(t, async (t, store, time, count) => {
    // within the life of the marker, and when that is gone too
    for (const [writes, seconds] of [
      [true, 30],
      [true, 120],
      [false, 30],
      [false, 120],
    ] as const) {
      const gate = new Gate()
      const slow: Action = async (req) => {
        const hash = await req.session
        await gate.wait()
        if (writes) hash.foo = 'late'
        return json(hash)
      }
      const options = { expireAfter: HOUR, refreshEvery: 0, owner: 'userId' }
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { client, port } = await stage(t, { store, time, session: options }, { '/slow': slow })
      await client.get('/signin')
      const stolen = cookieOf(client)
      const late = bearer(port, stolen)('/slow')
      await gate.begun
      await client.get('/destroy')
      time.advance(seconds)
      gate.open()
      const { body, cookies } = await late
      t.match(body, '"userId":1', 'it had loaded the session')
      t.same(cookies, [])
      t.equal(count(), 0)
      t.equal((await bearer(port, stolen)('/all')).body, '{}')
    }
  })
})

test('CVE-2019-16782 Rack: a store is asked for the hash of an id, and what it holds opens nothing', async (t) => {
  // The id in the cookie was the key in the store, whose index compares from the left: the time of a lookup told how
  // much of a guess was right. It also stood there for everybody who reads the store.
  const asked: string[] = []
  class Asked extends MemoryStore {
    override findSession(req: IncomingMessage, sid: SessionId): StoredSession | undefined {
      asked.push(sid.privateId)
      return super.findSession(req, sid)
    }
  }
  const { client, port } = await stage(t, { store: new Asked() })
  await client.get('/write')
  const id = cookieOf(client)
  const near = id.slice(0, -1) + (id.endsWith('0') ? '1' : '0')
  t.match((await bearer(port, id)('/read')).body, 'bar')
  t.match((await bearer(port, near)('/read')).body, 'null')
  const digest = createHash('sha256').update(id).digest('hex')
  t.equal(asked[0], `2::${digest}`)
  t.not(asked[1]?.slice(0, 10), asked[0]?.slice(0, 10), 'ids that are alike but for the end have keys that are not')
  asked.length = 0
  for (const value of [`2::${digest}`, digest, `1::${id}`, id.toUpperCase(), `${id} `, id.slice(1)]) {
    t.match((await bearer(port, encodeURIComponent(value))('/read')).body, 'null', value)
  }
  t.same(asked, [], 'what is no id reaches no store')

  const filename = newFile(t)
  const store = new SqliteStore({ filename })
  t.teardown(() => store.close())
  const other = await stage(t, { store })
  await other.client.get('/write')
  const publicId = cookieOf(other.client)
  const stored = readFileSync(`${filename}-wal`, 'latin1') + readFileSync(filename, 'latin1')
  t.ok(stored.includes(new SessionId(publicId).privateId))
  t.notOk(stored.includes(publicId), 'nor is it in the file')
})

test('CVE-2024-31999 @fastify/secure-session: a copied cookie ends by itself, and at once where sign-outs are told', async (t) => {
  // Only the browser was told how long a cookie lives. Nothing inside the seal said it, so whoever had a copy could
  // use it for ever, also after its session was deleted.
  for (const [name, make] of sealers) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await t.test(name, async (t) => {
      let signedOut: number | undefined
      const time = new Time()
      const options = { expireAfter: HOUR, maxLifetime: DAY, owner: 'userId' } as const
      const plain = await stage(t, { store: new CookieStore({ sealer: make() }), time, session: options })
      const store = new CookieStore({ sealer: make(), revokedSince: () => signedOut })
      const asking = await stage(t, { store, time, session: options })
      await plain.client.get('/signin')
      const copy = cookieOf(plain.client)
      const kept = plain.client.clone()
      time.advance(1)
      await plain.client.get('/destroy')
      t.match((await bearer(asking.port, copy)('/all')).body, '"userId":1')
      signedOut = time.now
      t.equal((await bearer(asking.port, copy)('/all')).body, '{}', 'where the owner’s sign-out is asked for')
      time.advance(HOUR - 2)
      t.match((await bearer(plain.port, copy)('/all')).body, '"userId":1', 'a second before its idle time is over')
      // a thief who comes again and again gets newer ones
      await kept.get('/all')
      t.not(cookieOf(kept), copy)
      time.advance(1)
      t.equal((await bearer(plain.port, copy)('/all')).body, '{}', 'and when it is')
      for (let i = 0; i < 45; i++) {
        time.advance(HOUR / 2)
        await kept.get('/write')
      }
      t.match((await kept.get('/all')).body, '"userId":1')
      const last = cookieOf(kept)
      time.advance(HOUR / 2)
      t.equal((await bearer(plain.port, last)('/all')).body, '{}', 'no use makes it older than maxLifetime')
    })
  }
})

test('CVE-2024-35220 @fastify/session: a record has ended when it said so, whatever the cookie’s Max-Age', async (t) => {
  // When a session was read back, the end that was stored with it was replaced by a new one made of maxAge, so it was
  // never found to have ended, and an old cookie opened it again.
  const check = async (t: Test, store: SessionStore, time: Time): Promise<void> => {
    const { client, port } = await stage(t, { store, time, session: { expireAfter: HOUR, owner: 'userId' } })
    const { cookies } = await client.get('/signin')
    t.equal(attributesOf(cookies[0] ?? '')['max-age'], String(HOUR))
    const old = cookieOf(client)
    // too soon to be extended: reading alone moves no end
    time.advance(60)
    t.match((await bearer(port, old)('/all')).body, '"userId":1')
    time.advance(HOUR - 61)
    const untouched = bearer(port, old)
    t.match((await untouched('/nothing')).body, 'nothing')
    time.advance(1)
    t.equal((await untouched('/all')).body, '{}')
    const again = await untouched('/write')
    t.equal(again.cookies.length, 1)
    t.notMatch(again.cookies[0], old, 'and what is written gets a new id')
    t.equal((await untouched('/all')).body, '{}')
  }
  await onRecords(t, async (t, store, time, count) => {
    await check(t, store, time)
    t.equal(count(), 1, 'the one that was written last')
    time.advance(HOUR)
    t.equal(count(), 0)
    const cleaned = store as MemoryStore | SqliteStore
    t.ok((await cleaned.cleanup()) >= 1, 'and what has ended is removed, not only hidden')
    t.equal(await cleaned.cleanup(), 0)
  })
  await t.test('a store that lets nothing end', async (t) => {
    const { now } = new Time()
    await check(t, new MemoryStore({ clock: () => now }), new Time())
  })
})

test('CVE-2023-30861 Flask: whatever sends the session’s cookie varies by it and is private', async (t) => {
  // A permanent session was sent again with every response, also by pages that did not look at it, and those went
  // without Vary: Cookie: a shared cache gave one visitor's cookie to the next.
  const pages: Record<string, Action> = {
    '/longer': (req) => {
      req.session.options.expireAfter = 2 * DAY
      return [200, {}, 'page']
    },
    '/exists': (req) => json(req.session.exists),
    '/id-only': (req) => json(req.session.id),
    '/vary': async (req) => {
      await req.session
      return [200, { Vary: 'accept-encoding' }, 'page']
    },
  }
  const makers = [(): SessionStore => new CookieStore(), ({ clock }: Time): SessionStore => new MemoryStore({ clock })]
  for (const make of makers) {
    const time = new Time()
    const options = { store: make(time), time, session: { expireAfter: DAY, refreshEvery: 0 } }
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { client } = await stage(t, options, pages)
    const look = async (path: string): Promise<[sent: number, vary: string, control: string | undefined]> => {
      time.advance(1)
      const { cookies, headers } = await client.get(path)
      return [cookies.length, String(headers.vary), headers['cache-control']]
    }
    t.same(await look('/write'), [1, 'cookie', 'private'])
    t.same(await look('/nothing'), [0, 'undefined', undefined], 'a page that does not use it sends nothing')
    t.same(await look('/read'), [1, 'cookie', 'private'], 'a refresh')
    t.same(await look('/vary'), [1, 'accept-encoding, cookie', 'private'])
    t.same(await look('/longer'), [1, 'cookie', 'private'], 'a refresh of what nobody read')
    t.same(await look('/renew'), [1, 'cookie', 'private'])
    t.same(await look('/clear'), [1, 'cookie', 'private'])
    t.same(await look('/exists'), [0, 'cookie', 'private'])
    t.same(await look('/id-only'), [0, 'cookie', 'private'])
    t.same(await look('/destroy'), [1, 'cookie', 'private'])
    t.same(await look('/read'), [0, 'cookie', undefined], 'without a session only the choice is the cookie’s')
  }
})

test('CVE-2025-48947 nextjs-auth0: a page for shared caches that sends a session’s cookie leaves as private', async (t) => {
  // The rolling session's cookie was put on pages that the framework marks to be kept by the CDN for a year, with no
  // Cache-Control of its own against it: the next visitor got the page with somebody's cookie.
  const shared = {
    'Cache-Control': 'public, s-maxage=31536000, stale-while-revalidate=60',
    'CDN-Cache-Control': 'max-age=31536000',
    'Vercel-CDN-Cache-Control': 'max-age=31536000',
    'Surrogate-Control': 'max-age=31536000',
  }
  const pages: Record<string, Action> = {
    '/sign-in': async (req) => {
      const hash = await req.session
      hash.userId = 1
      return [200, shared, 'page']
    },
    '/page': async (req) => [200, shared, `for ${(await req.session).userId ?? 'everybody'}`],
    '/static': () => [200, shared, 'page'],
  }
  const makers = [(): SessionStore => new CookieStore(), ({ clock }: Time): SessionStore => new MemoryStore({ clock })]
  for (const make of makers) {
    const time = new Time()
    const options = { expireAfter: DAY, refreshEvery: 0, owner: 'userId' } as const
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { client } = await stage(t, { store: make(time), time, session: options }, pages)
    for (const path of ['/sign-in', '/page']) {
      time.advance(1)
      const { cookies, headers } = await client.get(path)
      t.equal(cookies.length, 1, path)
      t.equal(headers['cache-control'], 'stale-while-revalidate=60, private')
      t.equal(headers.vary, 'cookie')
      t.notMatch(Object.keys(headers).join(' '), /cdn-cache-control|surrogate-control/)
    }
    const { cookies, headers } = await client.get('/static')
    t.equal(headers['cache-control'], shared['Cache-Control'], 'a page without the session may be kept')
    t.same(cookies, [], 'and carries none')
  }
})

test('CVE-2024-38513 Fiber: an id that a visitor brings along is never made a session’s', async (t) => {
  // A session was created under whatever id the cookie named, so an attacker could choose the id with which his
  // victim would sign in.
  await onRecords(t, async (t, store, time, count) => {
    const { client, port } = await stage(t, { store, time, session: { owner: 'userId' } })
    for (const chosen of ['0123456789abcdef'.repeat(2), 'f'.repeat(32), 'admin', '1']) {
      const before = count()
      const victim = new Client(port)
      victim.jar.set(KEY, chosen)
      t.same([(await victim.get('/id')).body, count()], ['', before], 'reading makes none')
      await victim.get('/signin')
      t.match(cookieOf(victim), /^[\da-f]{32}$/)
      t.not(cookieOf(victim), chosen)
      t.equal(count(), before + 1)
      t.equal((await victim.get('/all')).body, '{"userId":1}')
      client.jar.set(KEY, chosen)
      t.equal((await client.get('/all')).body, '{}', 'who chose it sees nothing')
    }
  })
})

test('CVE-2022-25896 passport: signing in, and out, takes a new id by itself, and the old one opens nothing', async (t) => {
  // Signing in and out kept the session as it was, id included: who knew a visitor's id before he signed in was
  // signed in with him.
  const pages: Record<string, Action> = {
    '/sign-out': async (req) => {
      const hash = await req.session
      delete hash.userId
      return [200, {}, 'page']
    },
  }
  await onRecords(t, async (t, store, time, count) => {
    const { client, port } = await stage(t, { store, time, session: { owner: 'userId' } }, pages)
    await client.get('/write?v=cart')
    const ids = [cookieOf(client)]
    for (const path of ['/signin?user=1', '/signin?user=2', '/sign-out']) {
      await client.get(path)
      const before = ids.at(-1) as string
      t.not(cookieOf(client), before, path)
      ids.push(cookieOf(client))
      t.equal((await bearer(port, before)('/all')).body, '{}')
      t.same((await bearer(port, before)('/write')).cookies, [], 'nor does it write')
      t.equal(count(), 1)
    }
    t.equal(new Set(ids).size, 4)
    t.equal((await client.get('/all')).body, '{"foo":"cart"}', 'what the visitor had goes with him')
  })
  await t.test('CookieStore', async (t) => {
    const { client, port } = await stage(t, { store: new CookieStore(), session: { owner: 'userId' } }, pages)
    await client.get('/write?v=cart')
    const id = (await client.get('/id')).body
    const known = cookieOf(client)
    await client.get('/signin')
    t.not((await client.get('/id')).body, id)
    t.equal((await bearer(port, known)('/all')).body, '{"foo":"cart"}', 'an old cookie is what it was, and nobody’s')
  })
})

test('GHSA-q5pr-72pq-83v3 h3: a cookie that claims a million pieces costs no more than any other', async (t) => {
  // The number of pieces that a large session was cut into was taken from the cookie itself: writing or deleting it
  // then expired as many cookies as any visitor named, and searched them all for each.
  const claim = '__chunked__999999'
  for (const [name, inner] of [
    ['h3', ironSealer({ password: SECRET })],
    ['_session_id', railsSealer({ secret: SECRET })],
  ] as const) {
    let opened = 0
    const sealer: Sealer = {
      seal: (...args) => inner.seal(...args),
      open: (...args) => {
        opened++
        return inner.open(...args)
      },
    }
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { port } = await stage(t, { store: new CookieStore({ sealer }), session: { key: name } })
    const pieces = Array.from({ length: 200 }, (_, i) => `${name}.${i + 1}=piece`)
    const headers = [
      `${name}=${claim}`,
      [`${name}=${claim}`, ...pieces].join('; '),
      Array.from({ length: 200 }, () => `${name}=${claim}`).join('; '),
    ]
    for (const cookie of headers) {
      const lines = []
      for (const path of ['/read', '/write', '/reset', '/destroy', '/renew']) {
        opened = 0
        const { status, cookies } = await ask(port, path, { headers: { cookie } })
        t.ok(opened <= 4, `${path} tried ${opened}`)
        lines.push([status, cookies.length])
        t.ok(cookies.every((line) => line.startsWith(`${name}=`)))
      }
      t.same(lines, [
        [200, 0],
        [200, 1],
        [200, 1],
        [200, 1],
        [200, 0],
      ])
    }
  }
})

/** Whether requests without a session, with these cookies, leave a store as it is. */
async function floods(t: Test, paths: readonly string[], cookies: () => string[]): Promise<void> {
  const options = { expireAfter: DAY, refreshEvery: 0, owner: 'userId' } as const
  const time = new Time()
  const database = new Database(newFile(t))
  const sqlite = new SqliteStore({ database, clock: time.clock })
  t.teardown(() => {
    sqlite.close()
    database.close()
  })
  const rows = (): unknown => database.prepare('SELECT count(*) FROM sessions').pluck().get()
  // it has place for one, and a marker would take it, too
  for (const store of [new MemoryStore({ max: 1, clock: time.clock }), sqlite]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { client, port, errors } = await stage(t, { store, time, session: options })
    await client.get('/signin')
    for (const path of paths) {
      for (const cookie of cookies()) {
        const { status, cookies: lines } = await ask(port, path, cookie === '' ? {} : { headers: { cookie } })
        t.equal(status, 200)
        t.notOk(
          lines.some((line) => attributesOf(line)['max-age'] !== '0'),
          `${path} gives no session to "${cookie}"`,
        )
      }
    }
    t.equal((await client.get('/all')).body, '{"userId":1}', 'nobody else lost his')
    t.same(errors, [])
  }
  t.equal(rows(), 1)
}

const unknownIds = (): string[] => Array.from({ length: 5 }, () => `${KEY}=${SessionId.generate().publicId}`)

test('CVE-2015-5963 Django: signing out without having signed in stores nothing', async (t) => {
  // Signing out emptied the session and then saved the empty one, so anonymous visitors could fill the store by
  // signing out again and again, and push out the sessions of others.
  await floods(t, ['/reset', '/destroy', '/clear', '/renew'], () => ['', `${KEY}=no-id`, ...unknownIds()])
})

test('CVE-2015-5143 Django: reading a session under an unknown id stores nothing', async (t) => {
  // Looking at the session was enough for an empty record, whenever the cookie named an id that the store did not
  // know: each request with another made-up id took more of the store.
  await floods(t, ['/read', '/all', '/id', '/nothing'], () => ['', `${KEY}=no-id`, ...unknownIds()])
})

test('CVE-2024-47764 cookie: no name, path or domain adds an attribute or another cookie', async (t) => {
  // Names, paths and domains went into Set-Cookie with their semicolons and all, so that a name could bring along a
  // value, a path or a domain of its own.
  const names = ['a=<script>; Max-Age=2592000; b', 'a;b', 'a b', 'a,b', 'a\r\nSet-Cookie: b', 'a\0', 'ä', '', '"a"']
  const paths = ['/; Domain=example.com', '/a;HttpOnly', '/\r\nSet-Cookie: a=b', '/\0', 'a', '/<', '/ä']
  const domains = ['a.com; Path=/b', 'a.com\r\nX-A: b', 'a.com,b.com', 'a .com', 'ä.com', 'a..com', '', 'a.com\0']
  const attributes: CookieOptions[] = [
    ...paths.map((path) => ({ path })),
    ...domains.flatMap((domain) => [{ domain }, { domain: [domain] }, { domain: () => domain }]),
  ]
  const by = (act: (req: Parameters<Action>[0]) => unknown): Action => {
    return async (req) => {
      await act(req)
      return [200, {}, 'page']
    }
  }
  const written = (options: SessionRequestOptions): Action =>
    by(async (req) => {
      Object.assign(req.session.options, options)
      ;(await req.session).foo = 'bar'
    })
  const hostile: [what: string, action: Action][] = [
    ...names.flatMap((name): [string, Action][] => [
      [`set ${name}`, by(({ cookies }) => cookies.set(name, 'v'))],
      [`sign ${name}`, by(({ cookies }) => cookies.signed.set(name, 'v'))],
    ]),
    ...attributes.flatMap((options): [string, Action][] => [
      [`set with ${inspect(options)}`, by(({ cookies }) => cookies.set('a', 'v', options))],
      [`delete with ${inspect(options)}`, by(({ cookies }) => cookies.delete('a', options))],
    ]),
    ...paths.map((path): [string, Action] => [`session at ${path}`, written({ path })]),
    ...domains.map((domain): [string, Action] => [`session for ${domain}`, written({ domain })]),
  ]
  const store = new MemoryStore()
  const pages = Object.fromEntries(hostile.map(([, action], i) => [`/${i}`, action]))
  pages['/good'] = by(({ cookies }) => cookies.set('a', 'v; Path=/evil\r\nX: y', { path: '/p', domain: 'a.com' }))
  pages['/host'] = by(({ cookies }) => cookies.set('a', 'v', { domain: 'all' }))
  const { port, errors } = await stage(t, { store }, pages)
  for (const [i, [what]] of hostile.entries()) {
    const { status, headers, cookies } = await ask(port, `/${i}`, { headers: { cookie: 'a=b' } })
    t.same([status, cookies, headers['x-a']], [500, [], undefined], JSON.stringify(what))
  }
  t.equal(errors.length, hostile.length)
  t.ok(errors.every((error) => error instanceof InvalidOptionError))
  t.equal(store.size, 0, 'and no session is stored whose cookie cannot be sent')
  for (const options of [
    ...names.map((key) => ({ key })),
    ...attributes.filter(({ domain }) => typeof domain !== 'function'),
  ]) {
    t.throws(() => session(options), InvalidOptionError, JSON.stringify(options))
  }

  const good = await ask(port, '/good')
  t.same(good.cookies, ['a=v%3B%20Path%3D%2Fevil%0D%0AX%3A%20y; Domain=a.com; Path=/p; SameSite=Lax'])
  for (const host of ['a.example.com; Path=/evil', 'a.example.com,b', 'a.ex ample.com']) {
    const { cookies } = await ask(port, '/host', { headers: { host } })
    t.same(cookies, ['a=v; Path=/; SameSite=Lax'], host)
  }
  t.same((await ask(port, '/host', { headers: { host: 'a.example.com' } })).cookies, [
    'a=v; Domain=example.com; Path=/; SameSite=Lax',
  ])
})
