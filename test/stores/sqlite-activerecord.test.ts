import Database from 'better-sqlite3'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { t as suite, test, type Test } from 'tap'
import {
  Builder,
  cookies,
  flash,
  session,
  SessionId,
  type SessionData,
  type SessionOptions,
  type WriteOptions,
} from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { SqliteStore, type SqliteStoreOptions } from '../../stores/sqlite-store.ts'
import { httpSuite } from '../http-suite.ts'
import { Client, serve } from '../server.ts'
import { sessionApp, type Data } from '../session-app.ts'
import {
  createGemTable,
  railsDestroys,
  railsParses,
  railsReads,
  railsTime,
  railsWrites,
  type GemRow,
} from './activerecord-rails.ts'
import { newFile } from './sqlite-file.ts'

const KEY = '_session_id'
const HOUR = 3_600_000
const DAY = 24 * HOUR
const TTL = 14 * DAY

let time = Date.UTC(2026, 0, 1)
const clock = (): number => time
const advance = (milliseconds: number): void => {
  time += milliseconds
}

const compatibility = 'activerecord'

// ---- the contract, and what a user sees, on the gem's table

const contract = { test, merges: true, markers: true, owners: true, now: clock, advance }

/** A file in which Rails made the table. */
function gemFile(t: { teardown(end: () => void): unknown }): string {
  const filename = newFile(t)
  const rails = new Database(filename)
  createGemTable(rails)
  rails.close()
  return filename
}

const onFile = new SqliteStore({ filename: gemFile(suite), compatibility, clock })
testStore(() => onFile, { ...contract, name: "SqliteStore on a file with the gem's table" })

const inMemory = new SqliteStore({ database: new Database(':memory:'), compatibility, owner: 'user', clock })
testStore(() => inMemory, { ...contract, name: "SqliteStore with a gem's table of its own making" })

suite.teardown(() => {
  onFile.close()
  inMemory.close()
})

const besides = new WeakMap<SqliteStore, { rails: Database.Database; now: () => number }>()

httpSuite<SqliteStore>(test, {
  name: "SqliteStore on the gem's table",
  store: (t, { clock: now }) => {
    const filename = gemFile(t)
    const store = new SqliteStore({ filename, compatibility, clock: now })
    const rails = new Database(filename)
    besides.set(store, { rails, now })
    t.teardown(() => {
      store.close()
      rails.close()
    })
    return store
  },
  serverSide: true,
  merges: true,
  markers: true,
  clocked: true,
  size: (store) => {
    const { rails, now } = besides.get(store) ?? {}
    return rails
      ?.prepare(
        `SELECT count(*) FROM sessions WHERE session_id LIKE '2::%' AND json_extract(data, '$.luggage_rack.expires_at') > ?`,
      )
      .pluck()
      .get(now?.()) as number
  },
  corrupt: (store) => {
    besides.get(store)?.rails.exec(`UPDATE sessions SET data = 'no JSON'`)
  },
})

// ---- beside Rails

const req = new IncomingMessage(new Socket())

const create = (more: Partial<WriteOptions> = {}): WriteOptions => ({
  create: true,
  changes: 'all',
  createdAt: time,
  expiresAt: time + HOUR,
  extend: true,
  owner: undefined,
  ...more,
})

const change = (set: SessionData, more: Partial<WriteOptions> = {}): WriteOptions =>
  create({ create: false, changes: { set, delete: [] }, ...more })

/** A file that a Rails application has open, and a store on it. */
function begin(t: Test, options: Partial<SqliteStoreOptions> = {}) {
  const filename = gemFile(t)
  const rails = new Database(filename)
  const store = new SqliteStore({ filename, compatibility, clock, sweepEvery: 0, ...options })
  t.teardown(() => {
    store.close()
    rails.close()
  })
  const rows = (): GemRow[] => rails.prepare<[], GemRow>('SELECT * FROM sessions ORDER BY id').all()
  /** What Rails wrote, some time ago. */
  const insert = (sessionId: string, data: unknown, at: { created?: number; updated?: number } = {}): number => {
    const { created = time - HOUR, updated = created } = at
    return Number(
      rails
        .prepare('INSERT INTO sessions (session_id, data, created_at, updated_at) VALUES (?, ?, ?, ?)')
        .run(sessionId, data, railsTime(created), railsTime(updated)).lastInsertRowid,
    )
  }
  return { store, filename, rails, rows, insert }
}

/** The same, with the controller of the tests in front of it. */
async function beginHttp(
  t: Test,
  options: Partial<SqliteStoreOptions> = {},
  sessions: Omit<SessionOptions<Data>, 'store'> = { owner: 'userId' },
) {
  const set = begin(t, options)
  const { port, errors } = await serve(t, sessionApp({ ...sessions, store: set.store }, { clock }))
  return { ...set, port, errors, client: new Client(port) }
}

const sidOf = (client: Client): SessionId => new SessionId(client.jar.get(KEY) ?? '')

const all = async (client: Client): Promise<unknown> => JSON.parse((await client.get('/all')).body)

/** A browser that Rails gave a session. */
function visitor(port: number, sid: SessionId): Client {
  const client = new Client(port)
  client.jar.set(KEY, sid.publicId)
  return client
}

test("SQL-01: a new visitor's row is one of the gem's, and Rails reads what was written", async (t) => {
  const { client, rows, rails } = await beginHttp(t)
  await client.get('/write?v=bar')
  const [row, ...others] = rows()
  t.same(others, [])
  t.equal(row?.session_id, sidOf(client).privateId)
  t.same(JSON.parse(row?.data ?? ''), { value: { foo: 'bar' }, luggage_rack: { expires_at: time + TTL, owner: null } })
  t.equal(row?.created_at, railsTime(time, '000'))
  t.equal(row?.updated_at, railsTime(time, '000'))
  t.same(railsReads(rails, sidOf(client)), { foo: 'bar' })
})

test('SQL-03: a change keeps the row, its id and its microseconds of creation', async (t) => {
  const { port, insert, rows } = await beginHttp(t)
  const sid = SessionId.generate()
  const id = insert(sid.privateId, '{"value":{"foo":"bar","l":[1,{"k":null}]}}', { updated: time - 1000 })
  const created = railsTime(time - HOUR)
  t.same((await visitor(port, sid).get('/write?v=baz')).cookies, [])
  const [row, ...others] = rows()
  t.same(others, [])
  t.match(row, { id, session_id: sid.privateId, created_at: created, updated_at: railsTime(time, '000') })
  t.same(railsParses(row?.data ?? null), { foo: 'baz', l: [1, { k: null }] })
})

test('a session goes back and forth: each reads what the other wrote, under one cookie', async (t) => {
  const { port, rails, rows, insert } = await beginHttp(t)
  const sid = SessionId.generate()
  insert(sid.privateId, '{"value":{"foo":"Rails"}}')
  const client = visitor(port, sid)
  t.equal((await client.get('/read')).body, 'foo: "Rails"')
  await client.get('/count')
  t.same(railsReads(rails, sid), { foo: 'Rails', counter: 1 })
  advance(1000)
  t.equal(railsWrites(rails, sid, { foo: 'Rails again', counter: 5 }, time), sid)
  t.notOk(rows()[0]?.data?.includes('luggage_rack'), 'what stands beside is lost, as in Rails')
  t.equal((await client.get('/count')).body, '6')
  t.same(railsReads(rails, sid), { foo: 'Rails again', counter: 6 })
  railsDestroys(rails, sid)
  t.same(await all(client), {})
  t.equal(client.jar.get(KEY), sid.publicId, 'and the cookie was never touched')
})

test('what Rails wrote ends ttl seconds after its last change, or after the idle time of its own', async (t) => {
  const { store, rails, insert } = begin(t, { ttl: 3600 })
  const sid = SessionId.generate()
  insert(sid.privateId, '{"value":{"a":1}}', { created: time - 3 * HOUR, updated: time - HOUR + 1000 })
  t.match(await store.findSession(req, sid), { createdAt: time - 3 * HOUR, expiresAt: time + 1000, owner: undefined })
  advance(1000)
  t.equal(await store.findSession(req, sid), undefined)
  t.equal(await store.writeSession(req, sid, {}, change({ a: 2 })), false)
  t.equal(await store.touchSession(req, sid, { expiresAt: time + HOUR }), false)

  railsWrites(rails, sid, { a: 1, _expire_after: 60 }, time)
  t.match(await store.findSession(req, sid), { expiresAt: time + 60_000 })
  t.equal(await store.writeSession(req, sid, {}, change({ b: 2 }, { expiresAt: time + DAY })), true)
  t.match(await store.findSession(req, sid), { data: { a: 1, b: 2 }, expiresAt: time + DAY })
})

test('the time of creation is the column, so a session of Rails is no older or younger than it is', async (t) => {
  const { port, rails, insert, rows } = await beginHttp(t, {}, { maxLifetime: 7200 })
  const sid = SessionId.generate()
  insert(sid.privateId, '{"value":{"foo":1}}', { created: time - HOUR, updated: time })
  const client = visitor(port, sid)
  await client.get('/count')
  t.equal(rows()[0]?.created_at, railsTime(time - HOUR))
  t.same(JSON.parse(rows()[0]?.data ?? ''), {
    value: { foo: 1, counter: 1 },
    luggage_rack: { expires_at: time + TTL, owner: null },
  })
  advance(HOUR)
  railsWrites(rails, sid, { foo: 2 }, time)
  t.same(await all(client), {}, 'it does not live longer because Rails wrote it')
})

test('times without a fraction are read, as raw SQL leaves them', async (t) => {
  const { store, rails } = begin(t, { ttl: 100 * 365 * 24 * 3600 })
  const sid = SessionId.generate()
  rails
    .prepare('INSERT INTO sessions (session_id, data, created_at, updated_at) VALUES (?, ?, ?, ?)')
    .run(sid.privateId, '{"value":{}}', '2024-01-01 00:00:00', '2024-02-03 04:05:06.7')
  t.match(await store.findSession(req, sid), { createdAt: Date.UTC(2024, 0, 1) })
  t.equal((await store.findSession(req, sid))?.expiresAt, Date.UTC(2024, 1, 3, 4, 5, 6, 700) + store.ttl * 1000)
})

test('a change waits for what Rails is writing, and is merged with it', async (t) => {
  const { store, rails, insert } = begin(t)
  const sid = SessionId.generate()
  insert(sid.privateId, '{"value":{"a":1,"b":1}}')
  rails.exec('BEGIN IMMEDIATE')
  const written = store.writeSession(req, sid, { a: 1, b: 1, c: 3 }, change({ c: 3 }))
  t.ok(written instanceof Promise)
  railsWrites(rails, sid, { a: 2 }, time)
  rails.exec('COMMIT')
  t.equal(await written, true)
  t.same(railsReads(rails, sid), { a: 2, c: 3 })
})

test('concurrent requests at two servers keep all their changes, with the expiry that is later', async (t) => {
  const { store, filename, rails, insert } = begin(t)
  const other = new SqliteStore({ filename, compatibility, clock, sweepEvery: 0 })
  t.teardown(() => other.close())
  const sid = SessionId.generate()
  insert(sid.privateId, '{"value":{"rails":1}}')
  const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
  await Promise.all(
    keys.map(async (key, i) =>
      (i % 2 === 0 ? store : other).writeSession(req, sid, {}, change({ [key]: i }, { expiresAt: time + TTL + i })),
    ),
  )
  t.same(railsReads(rails, sid), { rails: 1, ...Object.fromEntries(keys.map((key, i) => [key, i])) })
  t.equal((await store.findSession(req, sid))?.expiresAt, time + TTL + 99)
})

test('extending the idle time leaves what Rails wrote as it stands, to the letter', async (t) => {
  const { port, insert, rows } = await beginHttp(t)
  const sid = SessionId.generate()
  const value = '{"big":9007199254740993,"one":1.0,"e":1e+16,"s":"<é\\u0041>","2":1,"1":2}'
  insert(sid.privateId, `{"value":${value}}`, { created: time - 3 * DAY })
  const client = visitor(port, sid)
  await client.get('/all')
  t.equal(rows()[0]?.data, `{"value":${value},"luggage_rack":{"expires_at":${time + TTL}}}`)
  t.equal(rows()[0]?.updated_at, railsTime(time, '000'))
  advance(2 * DAY)
  await client.get('/all')
  t.equal(rows()[0]?.data, `{"value":${value},"luggage_rack":{"expires_at":${time + TTL}}}`)
})

test('NULL, null and a value of null are an empty session, as in Rails, and can be written and extended', async (t) => {
  const { store, rails, insert } = begin(t)
  for (const data of [null, 'null', '{"value":null}', '{"value":{}}']) {
    const [written, extended] = [SessionId.generate(), SessionId.generate()]
    for (const sid of [written, extended]) {
      insert(sid.privateId, data)
      t.same((await store.findSession(req, sid))?.data, {})
    }
    t.equal(await store.writeSession(req, written, {}, change({ a: 1 })), true)
    t.same(railsReads(rails, written), { a: 1 })
    t.equal(await store.touchSession(req, extended, { expiresAt: time + 2 * TTL }), true)
    t.same(railsReads(rails, extended), {})
    t.ok(((await store.findSession(req, extended))?.expiresAt ?? 0) >= time + TTL)
  }
})

test('a key that is null, false or odd is a key like any other', async (t) => {
  const { store, rails, insert } = begin(t)
  const sid = SessionId.generate()
  insert(sid.privateId, '{"value":{"n":null,"f":false,"value":{"value":1},"luggage_rack":{"expires_at":1,"gone":"x"}}}')
  t.match(await store.findSession(req, sid), {
    data: { n: null, f: false, value: { value: 1 }, luggage_rack: { expires_at: 1, gone: 'x' } },
    expiresAt: time - HOUR + TTL,
    gone: undefined,
  })
  await store.writeSession(req, sid, {}, change({ m: null }))
  t.same(railsReads(rails, sid), {
    n: null,
    f: false,
    value: { value: 1 },
    luggage_rack: { expires_at: 1, gone: 'x' },
    m: null,
  })
})

test('every row that is written is one that Rails reads, a marker as nothing at all', async (t) => {
  const { store, rails, rows } = begin(t)
  const [a, b, c, d] = [SessionId.generate(), SessionId.generate(), SessionId.generate(), SessionId.generate()]
  for (const sid of [a, b, c, d]) await store.writeSession(req, sid, { is: sid === a }, create({ owner: '7' }))
  const renewal = { ...create({ owner: '7' }), changes: { set: { more: 1 }, delete: [] }, markUntil: time + 60_000 }
  const to = SessionId.generate()
  await store.renewSession(req, a, to, renewal)
  await store.deleteSession(req, b, { markUntil: time + 60_000 })
  await store.touchSession(req, c, { expiresAt: time + 2 * HOUR })
  await store.deleteSessionsOf('7', { only: d.privateId })
  t.equal(rows().length, 5)
  for (const { data, created_at, updated_at } of rows()) {
    t.type(railsParses(data), 'object')
    t.match(created_at, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/)
    t.match(updated_at, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/)
  }
  t.same(
    [a, b, c, d, to].map((sid) => railsReads(rails, sid)),
    [{}, {}, { is: false }, {}, { is: true, more: 1 }],
  )
  const markers = rows().filter(({ session_id }) => session_id.startsWith('0::'))
  t.same(
    markers.map(({ session_id, data }) => [session_id.slice(3), JSON.parse(data ?? '')]),
    [
      [a.privateId.slice(3), { value: {}, luggage_rack: { expires_at: time + 60_000, gone: to.privateId } }],
      [b.privateId.slice(3), { value: {}, luggage_rack: { expires_at: time + 60_000, gone: '' } }],
      [d.privateId.slice(3), { value: {}, luggage_rack: { expires_at: time + 60_000, gone: '' } }],
    ],
  )
})

test('SQL-06: after a reset the old row is gone, and neither Rails nor this application reads the old cookie', async (t) => {
  const { client, rails, rows } = await beginHttp(t)
  await client.get('/write?v=precious')
  const old = client.clone()
  await client.get('/reset-write?v=new')
  t.equal((await old.get('/read')).body, 'foo: null')
  t.notOk(rows().some(({ session_id }) => session_id === sidOf(old).privateId))
  t.notOk(rows().some(({ data }) => data?.includes('precious')))
  t.same(railsReads(rails, sidOf(old)), {})
  t.same(railsReads(rails, sidOf(client)), { foo: 'new' })
})

test('what is gone stays gone: a late request of Rails does not bring the old id back', async (t) => {
  const { client, rails } = await beginHttp(t)
  await client.get('/write?v=bar')
  const sid = sidOf(client)
  const old = client.clone()
  const loaded = railsReads(rails, sid)
  await client.get('/destroy')
  const given = railsWrites(rails, sid, { ...loaded, late: true }, time)
  t.not(given.publicId, sid.publicId, 'Rails gives it a new id, as it does for any that it cannot find')
  t.same(railsReads(rails, sid), {})
  t.same(await all(old), {})
  t.same((await old.get('/write?v=again')).cookies, [], 'the marker still drops what is late here')
  advance(61_000)
  t.equal((await old.get('/write?v=again')).cookies.length, 1)
})

test('after a renewal here the old id leads destroy() to the new one', async (t) => {
  const { client, rails } = await beginHttp(t)
  await client.get('/write?v=bar')
  const old = client.clone()
  await client.get('/renew')
  t.same(railsReads(rails, sidOf(client)), { foo: 'bar' })
  await old.get('/destroy')
  t.same(railsReads(rails, sidOf(client)), {})
  t.same(await all(client), {})
})

test('a flash of one is shown by the other, once', async (t) => {
  const { store, rails, insert } = begin(t)
  const app = new Builder()
    .use(cookies({ clock }))
    .use(session({ store }))
    .use(flash<{ notice: string }>())
    .run(async (request) => {
      const messages = await request.flash
      const { notice } = messages
      if (request.url === '/set') messages.notice = 'from here'
      return [200, {}, String(notice)]
    })
  const { port } = await serve(t, app)
  const sid = SessionId.generate()
  const flashed = { discard: [], flashes: { notice: 'from Rails' } }
  insert(sid.privateId, JSON.stringify({ value: { user_id: 3, flash: flashed } }))
  const client = visitor(port, sid)
  t.equal((await client.get('/')).body, 'from Rails')
  t.same(railsReads(rails, sid), { user_id: 3 })
  await client.get('/set')
  t.same(railsReads(rails, sid), { user_id: 3, flash: { discard: [], flashes: { notice: 'from here' } } })
})

// ---- what is not the gem's JSON

const MARSHAL = 'BAh7B0kiDHVzZXJfaWQGOgZFVGkvSSIJbmFtZQY7AFRJIhRwcmVjaW91cwY7AFQ=\n'

test('SERVERSTORE-28: what another serializer wrote is an error that quotes nothing, and stays as it is', async (t) => {
  const { port, errors, rails, rows, insert, store } = await beginHttp(t)
  const foreign: [string, unknown][] = [
    ['Marshal', MARSHAL],
    ['bare Marshal', '\u0004\b{\u0007precious'],
    ['no wrapper, as null and old gems write', '{"user_id":3,"name":"precious"}'],
    ['a list', '["precious"]'],
    ['a text', '"precious"'],
    ['a value that is none', '{"value":["precious"]}'],
    ['NaN, which Ruby writes and does not read', '{"value":{"precious":NaN}}'],
    ['half of it', '{"value":{"precious'],
    ['nothing', ''],
    ['bytes', Buffer.from('precious')],
    ['a prototype', '{"__proto__":{"value":{"precious":1}}}'],
  ]
  for (const [what, data] of foreign) {
    rails.exec('DELETE FROM sessions')
    const sid = SessionId.generate()
    insert(sid.privateId, data, { created: time - 1000 * DAY })
    const before = rows()
    const client = visitor(port, sid)
    for (const path of ['/read', '/write', '/count', '/renew']) {
      const answer = await client.get(path)
      t.equal(answer.status, 500, `${what}: ${path}`)
      t.same(answer.cookies, [])
      const error = errors.pop() as Error
      t.match(error, { code: 'ERR_STORE_CORRUPT' })
      t.notMatch(`${error.stack}${String(error.cause)}`, /precious/)
      if (what === 'Marshal') t.match(error.message, /serializer = :hybrid/)
    }
    t.equal(await store.cleanup(), 0)
    t.equal(await store.deleteSessionsOf(3), 0)
    t.same(rows(), before, `${what} is left as it is`)
    t.equal((await client.get('/destroy')).status, 200, 'and who signs out is signed out')
    t.same(railsReads(rails, sid), {})
  }
})

test('rows whose times cannot be read are errors, and are left alone', async (t) => {
  const { store, rails, rows } = begin(t)
  const insert = rails.prepare('INSERT INTO sessions (session_id, data, created_at, updated_at) VALUES (?, ?, ?, ?)')
  for (const wrong of [1_767_225_600_000, '', 'yesterday', '2026-13-45 00:00:00', '2026-01-01T00:00:00Z']) {
    const sid = SessionId.generate()
    insert.run(sid.privateId, '{"value":{"a":1}}', railsTime(time), wrong)
    t.throws(() => store.findSession(req, sid), { code: 'ERR_STORE_CORRUPT' }, String(wrong))
  }
  t.equal(await store.cleanup(), 0)
  t.equal(rows().length, 5)
})

test('a session that Rails could not read is refused', async (t) => {
  const { store, rails } = begin(t)
  const nested = (levels: number): SessionData => {
    let value: SessionData = { end: 'a long text'.repeat(20) }
    for (let i = 1; i < levels; i++) value = { k: value }
    return value
  }
  const [fits, deep] = [SessionId.generate(), SessionId.generate()]
  t.equal(await store.writeSession(req, fits, nested(99), create()), true)
  t.same(railsReads(rails, fits), nested(99))
  t.throws(() => store.writeSession(req, deep, nested(100), create()), {
    code: 'ERR_SESSION_VALUE',
    message: /session is nested over 99 deep/,
  })
  t.equal(await store.findSession(req, deep), undefined)
})

// ---- ids

test('SQL-09: a row under the public id is read, takes the private one, and keeps all else', async (t) => {
  const { port, insert, rows, rails } = await beginHttp(t)
  const sid = SessionId.generate()
  insert(sid.publicId, '{"value":{"foo":"old gem"}}')
  const [before] = rows()
  const client = visitor(port, sid)
  t.equal((await client.get('/read')).body, 'foo: "old gem"')
  t.same(rows(), [{ ...before, session_id: sid.privateId }])
  await client.get('/count')
  t.same(railsReads(rails, sid), { foo: 'old gem', counter: 1 })
  t.equal(rows().length, 1)
})

test('SQL-09: with secureSessionOnly it is ignored, and who writes gets a new session', async (t) => {
  const { port, insert, rows } = await beginHttp(t, { secureSessionOnly: true })
  const sid = SessionId.generate()
  insert(sid.publicId, '{"value":{"foo":"old gem"}}')
  const before = rows()
  const client = visitor(port, sid)
  t.equal((await client.get('/read')).body, 'foo: null')
  await client.get('/destroy')
  t.same(rows(), before)
  client.jar.set(KEY, sid.publicId)
  t.equal((await client.get('/write?v=new')).cookies.length, 1)
  t.not(client.jar.get(KEY), sid.publicId)
  t.equal(rows().length, 2)
})

test('a row under the public id is destroyed unread, and in no list stands its id', async (t) => {
  const { port, insert, rails, rows, store } = await beginHttp(t, { owner: 'userId' })
  const [desk, phone] = [SessionId.generate(), SessionId.generate()]
  for (const sid of [desk, phone]) insert(sid.publicId, '{"value":{"userId":7}}')
  await visitor(port, desk).get('/destroy')
  t.same(railsReads(rails, desk), {})
  const marshal = SessionId.generate()
  insert(marshal.publicId, MARSHAL)
  await visitor(port, marshal).get('/destroy')
  t.notOk(rows().some(({ data }) => data === MARSHAL))
  t.match(await store.sessionsOf(7), [{ id: phone.privateId }])
  t.equal(await store.deleteSessionsOf(7, { only: phone.publicId }), 1)
  t.notOk(rows().some(({ session_id }) => [desk.publicId, phone.publicId].includes(session_id)))
  t.equal((await visitor(port, phone).get('/write')).cookies.length, 0, 'a marker stands there')
})

test('one that has ended is neither read nor upgraded', async (t) => {
  const { store, insert, rows } = begin(t)
  const sid = SessionId.generate()
  insert(sid.publicId, '{"value":{"a":1}}', { created: time - TTL - 1 })
  t.equal(await store.findSession(req, sid), undefined)
  t.equal(rows()[0]?.session_id, sid.publicId)
})

test('SQL-15: upgrade() puts the digest in the place of every public id, once, and touches nothing else', async (t) => {
  const { store, insert, rows } = begin(t)
  const other = { created: time - 1000 * DAY }
  insert('original_session_id', '{"value":{"a":1}}', other)
  insert('2::already', '{"value":{}}')
  insert('3::later', '{"value":{}}')
  insert('0123456789abcdef0123456789abcdef', MARSHAL, other)
  const before = rows()
  t.equal(await store.upgrade(), 2)
  t.equal(await store.upgrade(), 0)
  t.same(rows(), [
    { ...before[0], session_id: new SessionId('original_session_id').privateId },
    before[1],
    before[2],
    { ...before[3], session_id: new SessionId('0123456789abcdef0123456789abcdef').privateId },
  ])
  t.equal(await new SqliteStore({ filename: ':memory:', sweepEvery: 0 }).upgrade(), 0, 'the own table has none')
})

test('what stands in the table opens nothing', async (t) => {
  const { client, rows, insert, port } = await beginHttp(t)
  await client.get('/write?v=precious')
  await client.clone().get('/renew')
  insert('2::already', '{"value":{"foo":"precious"}}')
  insert('original_session_id', '{"value":{"foo":"precious"}}')
  for (const { session_id: stored } of rows()) {
    for (const stolen of [stored, encodeURIComponent(stored), stored.slice(3), stored.slice(3, 35)]) {
      const thief = new Client(port)
      thief.jar.set(KEY, stolen)
      t.equal((await thief.get('/read')).body, 'foo: null')
    }
  }
})

// ---- whose they are

test("an owner's sessions are listed and removed, also those that Rails wrote", async (t) => {
  const { port, rails, rows, store } = await beginHttp(t)
  const [desk, phone] = [new Client(port), new Client(port)]
  await desk.get('/signin?user=42')
  advance(1000)
  await phone.get('/signin?user=42')
  await new Client(port).get('/signin?user=4')
  advance(1000)
  railsWrites(rails, sidOf(desk), { userId: 42, seen: 'by Rails' }, time)
  const tablet = railsWrites(rails, SessionId.generate(), { userId: 42 }, time - 5000)
  railsWrites(rails, SessionId.generate(), { userId: 4, cart: 42, note: '42', list: [42] }, time)
  railsWrites(rails, SessionId.generate(), { userId: '4 2' }, time - TTL)
  t.same(
    (await store.sessionsOf(42)).map(({ id, lastSeenAt }) => [id, lastSeenAt]),
    [
      [sidOf(desk).privateId, time],
      [sidOf(phone).privateId, time - 1000],
      [tablet.privateId, time - 5000],
    ],
  )
  t.same(await store.sessionsOf('42'), await store.sessionsOf(42))
  t.equal(await store.deleteSessionsOf(42, { except: sidOf(phone).publicId }), 2)
  t.same(railsReads(rails, tablet), {})
  t.same(await all(desk), {})
  t.same(await all(phone), { userId: 42 })
  t.equal(rows().filter(({ session_id }) => session_id.startsWith('2::')).length, 4)
})

test('a process that serves no sessions is told the key of the owner', async (t) => {
  const { store, filename, rails } = begin(t)
  const touched = railsWrites(rails, SessionId.generate(), { user_id: 42 }, time)
  await store.touchSession(req, touched, { expiresAt: time + DAY })
  rails.prepare('DELETE FROM sessions WHERE session_id <> ?').run(touched.privateId)
  for (const ask of [() => store.sessionsOf(42), () => store.deleteSessionsOf(42)]) {
    t.throws(ask, { code: 'ERR_INVALID_OPTION', message: /owner: 'user_id'/ }, 'and none is left out in silence')
  }
  railsWrites(rails, SessionId.generate(), { 'warden.user.user.key': [[42], '$2a$12$x'] }, time)
  const told = new SqliteStore({ filename, compatibility, owner: 'user_id', clock, sweepEvery: 0 })
  t.teardown(() => told.close())
  t.equal((await told.sessionsOf(42)).length, 1)
  const devise = new SqliteStore({ filename, compatibility, owner: 'warden.user.user.key', clock, sweepEvery: 0 })
  t.teardown(() => devise.close())
  t.equal((await devise.sessionsOf('[[42],"$2a$12$x"]')).length, 1)
})

// ---- the whole table

test('cleanup() removes what has ended by the same rule, and nothing else', async (t) => {
  const { store, rails, insert, rows } = begin(t)
  const ids = {
    live: SessionId.generate(),
    ended: SessionId.generate(),
    rails: SessionId.generate(),
    old: SessionId.generate(),
    long: SessionId.generate(),
    short: SessionId.generate(),
    gone: SessionId.generate(),
    marshal: SessionId.generate(),
    empty: SessionId.generate(),
  }
  await store.writeSession(req, ids.live, {}, create({ expiresAt: time + 100 * DAY }))
  await store.writeSession(req, ids.ended, {}, create())
  await store.writeSession(req, ids.gone, {}, create())
  await store.deleteSession(req, ids.gone, { markUntil: time + 60_000 })
  t.equal(await store.cleanup(), 0)
  advance(50 * DAY)
  insert(ids.rails.privateId, '{"value":{}}', { created: time - 40 * DAY, updated: time - TTL + 1 })
  insert(ids.old.privateId, '{"value":{}}', { created: time - TTL - 1 })
  insert(ids.long.privateId, `{"value":{"_expire_after":${30 * 24 * 3600}}}`, { created: time - 29 * DAY })
  insert(ids.short.privateId, '{"value":{"_expire_after":60}}', { created: time - 61_000 })
  insert(ids.marshal.privateId, MARSHAL, { created: time - 1000 * DAY })
  insert(ids.empty.privateId, null, { created: time - TTL - 1 })
  insert('original_session_id', '{"value":{}}', { created: time - TTL - 1 })
  t.equal(await store.cleanup(), 6, 'ended, the marker, old, short, empty, original')
  t.same(
    rows().map(({ session_id }) => session_id),
    [ids.live, ids.rails, ids.long, ids.marshal].map(({ privateId }) => privateId),
  )
  t.equal(await store.cleanup(), 0)
  railsWrites(rails, ids.rails, { a: 1 }, time)
  advance(2)
  t.equal(await store.cleanup(), 0, 'a write of Rails moves the end')
})

/** As many rows of Rails, written a moment ago. */
function fill(rails: Database.Database, rows: number): void {
  rails.exec(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO sessions (session_id, data, created_at, updated_at)
      SELECT printf('2::%064x', i), json_object('value', json_object('user_id', i % 100, 'text', 'a few words')),
        '${railsTime(time)}', '${railsTime(time)}' FROM n`)
}

test('a large table is read in steps, and the event loop goes on', async (t) => {
  const { store, rails } = begin(t, { owner: 'user_id' })
  fill(rails, 40_000)
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const listed = store.sessionsOf(7)
  t.ok(listed instanceof Promise)
  t.equal((await listed).length, 400)
  t.ok(turns > 0)
  clearInterval(timer)
  t.equal(await store.deleteSessionsOf(7, { except: `2::${'7'.padStart(64, '0')}` }), 399)
  t.equal((await store.sessionsOf(7)).length, 1)
  advance(TTL)
  t.equal(await store.cleanup(), 40_000 - 399 + 399)
})

test('a session that is renewed while all of its owner are removed does not escape', async (t) => {
  const { store, rails } = begin(t, { owner: 'user_id' })
  fill(rails, 40_000)
  const [from, to] = [SessionId.generate(), SessionId.generate()]
  await store.writeSession(req, from, { user_id: 7 }, create({ owner: '7' }))
  const removed = store.deleteSessionsOf(7)
  t.ok(removed instanceof Promise, 'the end of the table was not reached')
  await turn()
  const renewal = { ...create({ owner: '7' }), changes: { set: {}, delete: [] }, markUntil: time + 60_000 }
  t.equal(await store.renewSession(req, from, to, renewal), true)
  t.equal(await removed, 401)
  t.match(await store.findSession(req, to), { gone: true })
  t.same(await store.sessionsOf(7), [])
})

test('what finds the file locked in the middle of the table goes on there when it is released', async (t) => {
  const { store, rails } = begin(t, { owner: 'user_id' })
  fill(rails, 1000)
  rails.exec('BEGIN IMMEDIATE')
  const removed = store.deleteSessionsOf(7)
  const upgraded = store.upgrade()
  await turn()
  railsWrites(rails, SessionId.generate(), { user_id: 7 }, time)
  rails.exec('COMMIT')
  t.equal(await removed, 11)
  t.equal(await upgraded, 0)
  rails.exec('BEGIN IMMEDIATE')
  advance(TTL)
  const cleaned = store.cleanup()
  await turn()
  rails.exec(`UPDATE sessions SET updated_at = '${railsTime(time)}' WHERE id <= 500`)
  rails.exec('COMMIT')
  t.equal(await cleaned, 495 + 11, 'what Rails wrote meanwhile stays')
})

test('a store that is closed ends what it is about', async (t) => {
  const { filename, rails } = begin(t)
  fill(rails, 40_000)
  const store = new SqliteStore({ filename, compatibility, clock: () => time + TTL, sweepEvery: 0 })
  const cleanup = store.cleanup()
  await turn()
  store.close()
  const removed = await cleanup
  t.ok(removed > 0 && removed < 40_000, `${removed} were removed until then`)
  t.equal(rails.prepare('SELECT count(*) FROM sessions').pluck().get(), 40_000 - removed)
  t.equal(await store.cleanup(), 0)
})

// ---- the table itself

test("SQL-11: where there is no table, the gem's is made, with its indexes, and dropped", async (t) => {
  const database = new Database(newFile(t))
  t.teardown(() => database.close())
  const store = new SqliteStore({ database, table: 'Web_Sessions2', compatibility, clock, sweepEvery: 0 })
  const gem = new Database(':memory:')
  t.teardown(() => gem.close())
  createGemTable(gem, 'Web_Sessions2')
  const shape = (of: Database.Database): unknown => [
    of.pragma('table_info(Web_Sessions2)'),
    of.prepare(`SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name`).pluck().all(),
    (of.pragma('index_list(Web_Sessions2)') as { name: string; unique: number }[])
      .map(({ name, unique }) => `${name} ${unique}`)
      .toSorted(),
  ]
  t.same(shape(database), shape(gem))
  t.equal(database.pragma('journal_mode', { simple: true }), 'wal')
  const sid = SessionId.generate()
  await store.writeSession(req, sid, { a: 1 }, create())
  await store.dropTable()
  t.same(database.prepare(`SELECT count(*) FROM sqlite_schema WHERE name LIKE '%Sessions2%'`).pluck().get(), 0)
  await store.createTable()
  t.same(shape(database), shape(gem))
  t.equal(await store.findSession(req, sid), undefined)
  t.equal(await store.writeSession(req, sid, { a: 1 }, create()), true)
})

test('SQL-14: clear() removes every row, and the application goes on', async (t) => {
  const { client, store, rows } = await beginHttp(t)
  await client.get('/count')
  await client.clone().get('/renew')
  t.equal(rows().length, 2)
  await store.clear()
  t.same(rows(), [])
  t.equal((await client.get('/count')).body, '1')
})

test('SQL-12: a session is found by the index, whatever stands there', async (t) => {
  const statements: string[] = []
  const database = new Database(gemFile(t), { verbose: (sql) => statements.push(String(sql)) })
  t.teardown(() => database.close())
  const store = new SqliteStore({ database, compatibility, clock, sweepEvery: 0 })
  statements.length = 0
  const [a, b] = [SessionId.generate(), SessionId.generate()]
  await store.findSession(req, a)
  await store.writeSession(req, a, {}, create())
  await store.writeSession(req, a, {}, change({ a: 1 }))
  await store.touchSession(req, a, { expiresAt: time + 2 * HOUR })
  await store.renewSession(req, a, b, { ...create(), changes: { set: {}, delete: [] }, markUntil: time + HOUR })
  await store.deleteSession(req, b, { markUntil: time + HOUR })
  const used = statements.filter((sql) => /^(SELECT|UPDATE|DELETE)/.test(sql))
  t.ok(used.length >= 12, `${used.length} statements`)
  for (const sql of used) {
    const plan = database.prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all()
    t.match(plan[0]?.detail, /^SEARCH sessions USING (INDEX index_sessions_on_session_id|INTEGER PRIMARY KEY)/)
    t.notMatch(sql, /ORDER BY/)
  }
})

test("tables that are not the gem's are refused, with what is wrong", async (t) => {
  const database = new Database(newFile(t))
  t.teardown(() => database.close())
  const columns = 'session_id varchar NOT NULL, data text, created_at datetime(6) NOT NULL, updated_at datetime(6)'
  const wrong: [string, RegExp][] = [
    ['CREATE TABLE sessions (id integer PRIMARY KEY, sid text)', /it has no session_id, it has no data, it has no cre/],
    ['CREATE TABLE sessions (id integer PRIMARY KEY, session_id varchar, data text)', /no created_at, it has no upda/],
    [`CREATE TABLE sessions (id integer PRIMARY KEY, ${columns}, tenant text NOT NULL)`, /demands a value for tenant/],
    [`CREATE TABLE sessions (id varchar PRIMARY KEY NOT NULL, ${columns})`, /demands a value for id/],
  ]
  const open = (): SqliteStore => new SqliteStore({ database, compatibility, clock, sweepEvery: 0 })
  for (const [ddl, message] of wrong) {
    database.exec(`DROP TABLE IF EXISTS sessions; ${ddl}`)
    t.throws(open, { code: 'ERR_INVALID_OPTION', message })
  }
  database.exec('DROP TABLE sessions')
  new SqliteStore({ database, clock, sweepEvery: 0 }).close()
  t.throws(open, { code: 'ERR_INVALID_OPTION', message: /demands a value for expires_at/ }, "the store's own")

  // without a key of its own, with columns more, and without an index: as long as a row fits
  database.exec(`DROP TABLE sessions; CREATE TABLE sessions (${columns}, tenant text, kind text NOT NULL DEFAULT 'x')`)
  database.defaultSafeIntegers(true)
  const store = open()
  const sid = SessionId.generate()
  t.equal(await store.writeSession(req, sid, { a: 1 }, create()), true)
  t.match(await store.findSession(req, sid), { data: { a: 1 }, createdAt: time })
})

test('options that cannot work are refused', async (t) => {
  const filename = ':memory:'
  const wrong = [
    { compatibility: 'rails' },
    { compatibility: null },
    { compatibility: true },
    { owner: 'user_id' },
    { secureSessionOnly: true },
    { compatibility, owner: '' },
    { compatibility, owner: 7 },
    { compatibility, secureSessionOnly: 'yes' },
  ]
  for (const options of wrong) {
    t.throws(() => new SqliteStore({ filename, ...options } as SqliteStoreOptions), { code: 'ERR_INVALID_OPTION' })
  }
})
