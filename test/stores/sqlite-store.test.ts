import Database from 'better-sqlite3'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { t as suite, test, type Test } from 'tap'
import { Builder, cookies, session, SessionId, type SessionData, type WriteOptions } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { SqliteStore, type SqliteStoreOptions } from '../../stores/sqlite-store.ts'
import { ask, Client, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'
import { newFile } from './sqlite-file.ts'

const KEY = '_session_id'
const HOUR = 3_600_000

let time = Date.UTC(2026, 0, 1)
const clock = (): number => time
const advance = (milliseconds: number): void => {
  time += milliseconds
}

const contract = { test, merges: true, markers: true, owners: true, now: clock, advance }

const onFile = new SqliteStore({ filename: newFile(suite), clock })
testStore(() => onFile, { ...contract, name: 'SqliteStore on a file' })

const inMemory = new SqliteStore({ database: new Database(':memory:', { timeout: 50 }), clock })
testStore(() => inMemory, { ...contract, name: 'SqliteStore on a given database' })

suite.teardown(() => {
  onFile.close()
  inMemory.close()
})

const req = new IncomingMessage(new Socket())

const create = (more: Partial<WriteOptions> = {}): WriteOptions => ({
  create: true,
  changes: 'all',
  createdAt: time,
  expiresAt: time + HOUR,
  extend: false,
  owner: undefined,
  ...more,
})

const change = (set: SessionData): WriteOptions => create({ create: false, changes: { set, delete: [] } })

interface Row {
  session_id: string
  data: string
  owner: string | null
  created_at: number
  updated_at: number
  expires_at: number
  gone: string | null
}

/** A store on a file of its own, a connection of the test beside it, and the sessions that there are. */
function begin(t: Test, options: Partial<SqliteStoreOptions> = {}) {
  const filename = newFile(t)
  const store = new SqliteStore({ filename, clock, ...options })
  const database = new Database(filename)
  t.teardown(() => {
    store.close()
    database.close()
  })
  const rows = (): Row[] => database.prepare<[], Row>('SELECT * FROM sessions WHERE gone IS NULL').all()
  return { store, filename, database, rows }
}

/** The same, with the controller of the tests in front of it. */
async function beginHttp(t: Test, options: Partial<SqliteStoreOptions> = {}) {
  const set = begin(t, options)
  const { port, errors } = await serve(t, sessionApp({ store: set.store, owner: 'userId' }, { clock }))
  return { ...set, port, errors, client: new Client(port) }
}

test('SQL-01: a new visitor who writes makes one row, keyed by the digest, with the data as JSON', async (t) => {
  const { client, rows } = await beginHttp(t)
  await client.get('/write?v=bar')
  const [row, ...others] = rows()
  t.same(others, [])
  t.equal(row?.session_id, new SessionId(client.jar.get(KEY) ?? '').privateId)
  t.equal(row?.data, '{"foo":"bar"}')
  t.equal(row?.created_at, time)
  t.equal(row?.updated_at, time)
  t.equal(row?.expires_at, time + 14 * 24 * HOUR)
})

test('SQL-02: neither a visitor who only reads nor an unknown id makes a row', async (t) => {
  const { port, database } = await beginHttp(t)
  const unknown = { headers: { cookie: `${KEY}=${SessionId.generate().publicId}` } }
  for (const [path, headers] of [
    ['/read', {}],
    ['/read', unknown],
    ['/nothing', unknown],
  ] as const) {
    // oxlint-disable-next-line no-await-in-loop
    t.equal((await ask(port, path, headers)).status, 200)
  }
  t.equal(database.prepare('SELECT count(*) FROM sessions').pluck().get(), 0)
})

test('SQL-03: a change updates the row, and sends no cookie', async (t) => {
  const { client, rows } = await beginHttp(t)
  await client.get('/write?v=bar')
  const [before] = rows()
  advance(5000)
  t.same((await client.get('/write?v=baz')).cookies, [])
  t.same(rows(), [{ ...before, data: '{"foo":"baz"}', updated_at: (before?.updated_at ?? 0) + 5000 }])
})

test('SQL-06: after a reset the old row is gone, and the old cookie reads nothing', async (t) => {
  const { client, rows, database } = await beginHttp(t)
  await client.get('/write?v=bar')
  const old = client.clone()
  await client.get('/reset-write?v=new')
  t.equal((await old.get('/read')).body, 'foo: null')
  t.same(
    rows().map(({ data }) => data),
    ['{"foo":"new"}'],
  )
  t.not(client.jar.get(KEY), old.jar.get(KEY))
  const kept = database.prepare<[], string>('SELECT data FROM sessions WHERE gone IS NOT NULL').pluck().all()
  t.same(kept, ['{}'], 'the marker holds no data')
})

test('SQL-11: the table is made with its indexes, under the name that is asked for, and dropped', async (t) => {
  const { store, database } = begin(t, { table: 'Web_Sessions2' })
  const names = (): unknown[] =>
    database.prepare(`SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name`).pluck().all()
  t.same(names(), ['Web_Sessions2', 'Web_Sessions2_expires_at', 'Web_Sessions2_owner'])
  const columnsOf = (index: string): string =>
    (database.pragma(`index_info('${index}')`) as { name: string }[]).map(({ name }) => name).join()
  const indexed = (database.pragma(`index_list('Web_Sessions2')`) as { name: string; unique: number }[]).map(
    ({ name, unique }) => `${columnsOf(name)} ${unique}`,
  )
  t.same(indexed.toSorted(), ['expires_at 0', 'owner 0', 'session_id 1'])
  t.equal(database.pragma('journal_mode', { simple: true }), 'wal')

  const sid = SessionId.generate()
  await store.writeSession(req, sid, { a: 1 }, create())
  await store.dropTable()
  t.same(names(), [])
  await store.createTable()
  t.equal(names().length, 3)
  t.equal(await store.findSession(req, sid), undefined)
  t.equal(await store.writeSession(req, sid, { a: 1 }, create()), true)
})

test('two stores on one file with tables of their own do not see each other', async (t) => {
  const { store, filename } = begin(t)
  const other = new SqliteStore({ filename, table: 'others', clock })
  t.teardown(() => other.close())
  const sid = SessionId.generate()
  await store.writeSession(req, sid, { is: 'one' }, create())
  t.equal(await other.findSession(req, sid), undefined)
  await other.clear()
  t.ok(await store.findSession(req, sid))
})

test('SQL-12: a session is looked up by the index, and no statement scans the table', async (t) => {
  const statements: string[] = []
  const database = new Database(newFile(t), { verbose: (sql) => statements.push(String(sql)) })
  t.teardown(() => database.close())
  const store = new SqliteStore({ database, clock, sweepEvery: 0 })
  const [a, b] = [SessionId.generate(), SessionId.generate()]
  statements.length = 0
  await store.findSession(req, a)
  const [lookup = ''] = statements.filter((sql) => sql.startsWith('SELECT'))
  await store.writeSession(req, a, { a: 1 }, create({ owner: '42' }))
  await store.writeSession(req, a, {}, { ...change({ b: 1 }), owner: '43' })
  await store.writeSession(req, a, {}, { ...change({ b: 2 }), owner: '43' })
  await store.touchSession(req, a, { expiresAt: time + 2 * HOUR })
  await store.renewSession(req, a, b, { ...create(), changes: { set: {}, delete: [] }, markUntil: time + HOUR })
  await store.deleteSession(req, b, { markUntil: time + HOUR })
  await store.sessionsOf('42')
  await store.deleteSessionsOf('42', { except: a.publicId })
  await store.cleanup()
  const used = statements.filter((sql) => /^(SELECT|UPDATE|DELETE)/.test(sql))
  const planOf = (sql: string): string[] =>
    database
      .prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map(({ detail }) => detail)
  t.same(planOf(lookup), ['SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (session_id=?)'])
  t.notMatch(lookup, /ORDER BY/)
  t.ok(used.length >= 9, `${used.length} statements`)
  for (const sql of used) t.notMatch(planOf(sql).join(), /SCAN/, sql.replaceAll(/\s+/g, ' '))
})

test('SQL-14: clear() removes every row, and the application goes on', async (t) => {
  const { client, store, rows } = await beginHttp(t)
  await client.get('/count')
  await new Client(client.port).get('/count')
  t.equal(rows().length, 2)
  await store.clear()
  t.equal(rows().length, 0)
  t.equal((await client.get('/count')).body, '1')
  t.equal((await client.get('/count')).body, '2')
})

test('SQL-17: a query log of the application on the same file holds neither data nor ids', async (t) => {
  const { client, filename } = await beginHttp(t)
  const log: unknown[] = []
  const application = new Database(filename, { verbose: (sql) => log.push(sql) })
  t.teardown(() => application.close())
  application.exec('CREATE TABLE orders (id INTEGER)')
  for (const path of ['/write?v=precious', '/read', '/renew', '/read', '/destroy']) {
    // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
    await client.get(path)
  }
  t.same(log, ['CREATE TABLE orders (id INTEGER)'])
})

test('the data can be queried: the active sessions of a user', async (t) => {
  const { port, database } = await beginHttp(t)
  const [desk, phone, stranger, old] = [new Client(port), new Client(port), new Client(port), new Client(port)]
  await old.get('/signin?user=42')
  await old.get('/destroy')
  await desk.get('/signin?user=42')
  await stranger.get('/signin?user=4')
  advance(1000)
  await phone.get('/signin?user=42')
  const ids = [phone, desk].map(({ jar }) => new SessionId(jar.get(KEY) ?? '').privateId)
  const byOwner = database
    .prepare(`SELECT session_id FROM sessions WHERE owner = '42' AND expires_at > ? ORDER BY updated_at DESC`)
    .pluck()
  t.same(byOwner.all(time), ids)
  const byData = database
    .prepare<[number], string>(
      `SELECT session_id FROM sessions WHERE json_extract(data, '$.userId') = 42 AND expires_at > ?`,
    )
    .pluck()
  t.same(byData.all(time).toSorted(), ids.toSorted())
})

test('SERVERSTORE-28: data that is no JSON object is an error that quotes nothing, and the row stays as it is', async (t) => {
  const { client, errors, database, rows, store } = await beginHttp(t)
  await client.get('/write?v=precious')
  for (const damaged of ['{"foo":"precious', '["precious"]', '"precious"', 'null', '', Buffer.from('precious')]) {
    database.prepare('UPDATE sessions SET data = ?').run(damaged)
    const before = rows()
    for (const path of ['/read', '/write', '/renew', '/count']) {
      // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
      const answer = await client.get(path)
      t.equal(answer.status, 500)
      t.same(answer.cookies, [])
      const error = errors.pop() as Error
      t.match(error, { code: 'ERR_STORE_CORRUPT' })
      t.notMatch(`${error.stack}${String(error.cause)}`, /precious/)
    }
    t.same(rows(), before)
  }
  const sid = new SessionId(client.jar.get(KEY) ?? '')
  t.throws(
    () => store.writeSession(req, sid, {}, change({ a: 1 })),
    { code: 'ERR_STORE_CORRUPT' },
    'a change of what cannot be read is refused',
  )
  t.equal((await client.get('/destroy')).status, 200, 'and it can be removed')
  t.same(rows(), [])
})

test('it answers with values, and with promises only where it has to wait', async (t) => {
  const { store } = begin(t)
  const sid = SessionId.generate()
  t.equal(store.writeSession(req, sid, { a: 1 }, create({ owner: '7' })), true)
  t.match(store.findSession(req, sid), { data: { a: 1 }, owner: '7' })
  t.match(store.sessionsOf(7), [{ id: sid.privateId, createdAt: time, lastSeenAt: time, expiresAt: time + HOUR }])
  t.equal(store.deleteSessionsOf(7), 1)
  t.same(store.sessionsOf(7), [])
})

test('an expired session that was not swept away yet is as good as none', async (t) => {
  const { store } = begin(t)
  const sid = SessionId.generate()
  await store.writeSession(req, sid, { a: 1 }, create({ owner: '7' }))
  advance(HOUR)
  t.equal(await store.findSession(req, sid), undefined)
  t.equal(await store.writeSession(req, sid, {}, change({ a: 2 })), false)
  t.equal(await store.touchSession(req, sid, { expiresAt: time + HOUR }), false)
  t.same(await store.sessionsOf(7), [])
  t.equal(await store.deleteSessionsOf(7), 0)
  t.equal(await store.writeSession(req, sid, { b: 1 }, create()), true)
  t.match(await store.findSession(req, sid), { data: { b: 1 }, owner: undefined })
})

test('the marker of a renewal names its successor, also after a second removal', async (t) => {
  const { store } = begin(t)
  const [from, to] = [SessionId.generate(), SessionId.generate()]
  await store.writeSession(req, from, { a: 1 }, create())
  await store.renewSession(req, from, to, { ...create(), changes: { set: {}, delete: [] }, markUntil: time + 60_000 })
  await store.deleteSession(req, from, { markUntil: time + 60_000 })
  t.match(await store.findSession(req, from), { gone: true, successor: to.privateId })
})

test('cleanup() removes what expired and old markers, and says how many', async (t) => {
  const { store, database } = begin(t)
  for (let i = 0; i < 130; i++) {
    // oxlint-disable-next-line no-await-in-loop
    await store.writeSession(req, SessionId.generate(), {}, create({ expiresAt: time + 1000 }))
  }
  const [kept, removed] = [SessionId.generate(), SessionId.generate()]
  await store.writeSession(req, kept, {}, create())
  await store.writeSession(req, removed, {}, create())
  await store.deleteSession(req, removed, { markUntil: time + 60_000 })
  t.equal(await store.cleanup(), 0)
  advance(1000)
  t.equal(await store.cleanup(), 130)
  advance(59_000)
  t.equal(await store.cleanup(), 1)
  t.same(database.prepare('SELECT session_id FROM sessions').pluck().all(), [kept.privateId])
})

test('expired sessions are swept away every so often, until the store is closed', async (t) => {
  const { database } = begin(t, { sweepEvery: 0 })
  const [open, closed] = ['open', 'closed'].map(
    (table) => new SqliteStore({ database, table, sweepEvery: 0.01, clock }),
  ) as [SqliteStore, SqliteStore]
  t.teardown(() => open.close())
  const expired = create({ expiresAt: time - 1 })
  const count = (table: string): unknown => database.prepare(`SELECT count(*) FROM ${table}`).pluck().get()
  const swept = async (table: string): Promise<void> => {
    // oxlint-disable-next-line no-await-in-loop
    while (count(table) !== 0) await turn()
  }
  await closed.writeSession(req, SessionId.generate(), {}, expired)
  await swept('closed')
  closed.close()
  t.ok(database.open, 'a given database is left open')
  await closed.writeSession(req, SessionId.generate(), {}, expired)
  for (let sweeps = 0; sweeps < 3; sweeps++) {
    // oxlint-disable-next-line no-await-in-loop
    await open.writeSession(req, SessionId.generate(), {}, expired)
    // oxlint-disable-next-line no-await-in-loop
    await swept('open')
  }
  t.equal(count('closed'), 1)
})

test('a sweep that fails is a warning, and no end of the process', async (t) => {
  const { database } = begin(t, { sweepEvery: 0.01 })
  database.exec('DROP TABLE sessions')
  const warned = once(process, 'warning') as Promise<[NodeJS.ErrnoException]>
  // the store's timer alone keeps no process alive
  const alive = setInterval(() => {}, 1000)
  const [warning] = await warned
  clearInterval(alive)
  t.equal(warning.code, 'LUGGAGE_RACK_SWEEP')
  t.match(warning.message, 'no such table: sessions')
})

test('a full disk is an error, and what was there stays', async (t) => {
  const database = new Database(newFile(t))
  t.teardown(() => database.close())
  const store = new SqliteStore({ database, clock, sweepEvery: 0 })
  const app = new Builder()
    .use(cookies({ clock }))
    .use(session<{ text: string }>({ store }))
    .run(async (request) => {
      const hash = await request.session
      if (request.method === 'PUT') hash.text = 'x'.repeat(Number(request.url?.slice(1)))
      return [200, {}, String(hash.text?.length)]
    })
  const { port, errors } = await serve(t, app)
  const client = new Client(port)
  await client.get('/1', { method: 'PUT' })
  database.pragma(`max_page_count = ${String(database.pragma('page_count', { simple: true }))}`)

  const change = await client.get('/100000', { method: 'PUT' })
  const visitor = new Client(port)
  const creation = await visitor.get('/100000', { method: 'PUT' })
  for (const { status, cookies: lines } of [change, creation]) {
    t.equal(status, 500)
    t.same(lines, [])
  }
  t.match(errors, [{ code: 'SQLITE_FULL' }, { code: 'SQLITE_FULL' }])
  t.equal(database.inTransaction, false)
  t.equal((await client.get('/')).body, '1', 'reading goes on')

  database.pragma('max_page_count = 1000000')
  t.equal((await client.get('/100000', { method: 'PUT' })).status, 200)
  t.equal((await client.get('/')).body, '100000')
})

test('a given database keeps its busy timeout, and its integers', async (t) => {
  const database = new Database(newFile(t), { timeout: 1234 })
  t.teardown(() => database.close())
  database.defaultSafeIntegers(true)
  const store = new SqliteStore({ database, clock, sweepEvery: 0 })
  const sid = SessionId.generate()
  t.equal(await store.writeSession(req, sid, { a: 1 }, create({ owner: '1' })), true)
  t.match(await store.findSession(req, sid), { createdAt: time, expiresAt: time + HOUR })
  t.match(await store.sessionsOf(1), [{ createdAt: time }])
  t.equal(database.prepare('PRAGMA busy_timeout').pluck().get(), 1234n)
  store.close()
  t.ok(database.open)
})

test('what the application rolls back in a transaction of its own takes no session with it', async (t) => {
  const database = new Database(newFile(t))
  t.teardown(() => database.close())
  const store = new SqliteStore({ database, clock, sweepEvery: 0 })
  const sid = SessionId.generate()
  database.exec('BEGIN')
  const written = store.writeSession(req, sid, { a: 1 }, create())
  database.exec('ROLLBACK')
  t.equal(await written, true)
  t.match(await store.findSession(req, sid), { data: { a: 1 } })
})

test('no public id stands in the file, and what stands there opens nothing', async (t) => {
  const { client, filename, rows } = await beginHttp(t)
  const ids: string[] = []
  for (const path of ['/write?v=precious', '/renew', '/write', '/signin', '/reset-write']) {
    // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
    await client.get(path)
    ids.push(client.jar.get(KEY) ?? '')
  }
  t.equal(new Set(ids).size, 4)
  const folder = dirname(filename)
  const bytes = readdirSync(folder).map((name) => readFileSync(join(folder, name)))
  t.ok(bytes.length >= 2, 'the database and its log')
  for (const id of ids) {
    t.equal(
      bytes.some((content) => content.includes(new SessionId(id).privateId.slice(3))),
      true,
      'the search finds the private id',
    )
    for (const content of bytes) {
      t.notOk(content.includes(id))
      t.notOk(content.includes(Buffer.from(id, 'hex')))
    }
  }
  const [row] = rows()
  const stored = row?.session_id ?? ''
  for (const stolen of [stored, encodeURIComponent(stored), stored.slice(3), stored.slice(3, 35)]) {
    client.jar.set(KEY, stolen)
    // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
    t.equal((await client.get('/read')).body, 'foo: null')
  }
})

test('options that cannot work are refused', async (t) => {
  const database = new Database(':memory:')
  const wrong: SqliteStoreOptions[] = [
    {},
    { filename: ':memory:', database },
    { database, table: 'a"b' },
    { database, table: 'main.sessions' },
    { database, table: '' },
    { database, table: 'sqlite_sessions' },
    { database, sweepEvery: -1 },
    { database, sweepEvery: Number.NaN },
    { database, sweepEvery: Infinity },
    { database, deadline: -1 },
    { database, deadline: Number.NaN },
    { database, ttl: 0 },
  ]
  for (const options of wrong) t.throws(() => new SqliteStore(options), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => new SqliteStore({ filename: join(dirname(newFile(t)), 'nowhere', 'sessions.db') }))
})

test('a file that is no database is an error at once', async (t) => {
  t.throws(() => new SqliteStore({ filename: join(process.cwd(), 'package.json') }), { code: 'SQLITE_NOTADB' })
})
