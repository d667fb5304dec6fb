import Database from 'better-sqlite3'
import { deepEqual } from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { parseSetCookie } from 'cookie'
import { test, type Test } from 'tap'
import { SessionId, type SessionData } from '../../lib/index.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { vectorFiles, type Vector } from '../vectors.ts'
import { createGemTable, railsReads, type GemRow } from './activerecord-rails.ts'

interface StoreVector extends Vector {
  serializer: 'json' | 'hybrid' | 'marshal'
  cookie_header: string
  session_id: string
  private_id: string
  rows: GemRow[]
}

interface DataVector extends Vector {
  serializer: 'json' | 'hybrid' | 'marshal'
  data: string
  read_back_json?: string
  error?: string
}

interface CacheVector extends Vector {
  namespace: string | null
  session_id: string
  private_id: string
  cache_keys_now: string[]
}

const req = new IncomingMessage(new Socket())

/** Rails' clock, when the rows were written. */
const clock = (): number => Date.UTC(2026, 10, 20, 15, 20)

const about = ({ id, label }: Vector): string => `${id} ${label}`

const vectorsOf = <V extends Vector>(kind: string): V[] =>
  vectorFiles(['session-id'])
    .flatMap(({ vectors }) => vectors)
    .filter((vector): vector is V => vector.kind === kind)

/** The gem's table, with these rows, and a store on it. */
function begin(t: Test, rows: Omit<GemRow, 'id'>[]) {
  const database = new Database(':memory:')
  createGemTable(database)
  const insert = database.prepare(
    'INSERT INTO sessions (session_id, data, created_at, updated_at) VALUES (:session_id, :data, :created_at, :updated_at)',
  )
  for (const row of rows) insert.run(row)
  const store = new SqliteStore({ database, compatibility: 'activerecord', sweepEvery: 0, clock })
  t.teardown(() => {
    store.close()
    database.close()
  })
  return { store, database }
}

/** Sets a key of a session that is there. */
const change = (store: SqliteStore, sid: SessionId, set: SessionData, createdAt: number): unknown =>
  store.writeSession(
    req,
    sid,
    {},
    {
      create: false,
      changes: { set, delete: [] },
      createdAt,
      expiresAt: clock() + 1000,
      extend: true,
      owner: undefined,
    },
  )

const valueOf = (json: string): SessionData => (JSON.parse(json) as { value: SessionData }).value

/** As JSON has it, where an object has no prototype, and 1 and 1.0 are the same. */
const plain = (data: unknown): unknown => JSON.parse(JSON.stringify(data ?? null))

test("the gem's rows of a session: the cookie finds its own, and nothing but that", async (t) => {
  const vectors = vectorsOf<StoreVector>('activerecord-store').filter(({ rows }) => rows.length > 0)
  t.ok(vectors.length > 0)
  for (const vector of vectors) {
    const { store, database } = begin(t, vector.rows)
    const [line] = vector.set_cookies ?? []
    if (line !== undefined) {
      const given = SessionId.parse(parseSetCookie(line).value ?? '')
      const ids = vector.rows.map(({ session_id }) => session_id)
      t.ok(given && ids.includes(given.privateId), `${about(vector)}: the cookie that Rails sent`)
    }
    const sid = new SessionId(vector.session_id)
    t.equal(sid.privateId, vector.private_id)
    const row = vector.rows.find(({ session_id }) => session_id === vector.private_id)
    if (row === undefined) {
      t.equal(store.findSession(req, sid), undefined, `${about(vector)}: reset or renewed`)
    } else if (vector.serializer === 'marshal') {
      t.throws(() => store.findSession(req, sid), { code: 'ERR_STORE_CORRUPT', message: /Marshal/ }, about(vector))
      t.throws(() => change(store, sid, { here: 1 }, clock()), { code: 'ERR_STORE_CORRUPT' })
    } else {
      const found = (await store.findSession(req, sid)) as { data: SessionData; createdAt: number }
      t.same(plain(found.data), plain(valueOf(row.data ?? '')), about(vector))
      t.equal(new Date(found.createdAt).toISOString().slice(0, 19).replace('T', ' '), row.created_at.slice(0, 19))
      t.equal(change(store, sid, { here: 1 }, found.createdAt), true)
      t.same(railsReads(database, sid), { ...valueOf(row.data ?? ''), here: 1 }, 'and Rails reads what was added')
    }
    // what the browser sent: an id that Rails knew or not, or the hash that stands in the table
    const [, sent] = /=(.*)/.exec(vector.cookie_header ?? '') ?? []
    const cookie = decodeURIComponent(sent ?? '')
    const known = SessionId.parse(cookie)
    if (known === undefined) t.equal(await store.fromCookie(req, cookie), undefined, about(vector))
    else if (!vector.rows.some(({ session_id }) => session_id === known.privateId)) {
      t.equal(await store.fromCookie(req, cookie), undefined, about(vector))
    }
    const left = database.prepare<[], GemRow>('SELECT * FROM sessions').all()
    const others = (rows: GemRow[]): unknown[] =>
      rows
        .filter(({ session_id, data }) => session_id !== vector.private_id || data?.startsWith('BAh'))
        .map(({ session_id, data }) => [session_id, data])
    t.same(others(left), others(vector.rows), 'and no other row is touched')
  }
})

test('SQL-09: a row under the public id is found, as Rails finds it, and takes the private id', async (t) => {
  const vectors = vectorsOf<StoreVector>('activerecord-store').filter(
    ({ label, serializer }) => label.includes('row stored under the public id') && serializer !== 'marshal',
  )
  t.ok(vectors.length > 0)
  for (const vector of vectors) {
    const row = vector.rows.find(({ session_id }) => session_id === vector.private_id)
    if (row === undefined) continue
    const { store, database } = begin(t, [{ ...row, session_id: vector.session_id }])
    const found = await store.findSession(req, new SessionId(vector.session_id))
    t.same(plain(found?.data), valueOf(row.data ?? ''), about(vector))
    t.same(database.prepare('SELECT session_id, data, updated_at FROM sessions').all(), [
      { session_id: vector.private_id, data: row.data, updated_at: row.updated_at },
    ])
  }
})

test("what the gem's serializers write: JSON is read, and Marshal and NaN are turned down and left alone", async (t) => {
  const vectors = vectorsOf<DataVector>('activerecord-data')
  let read = 0
  for (const vector of vectors) {
    const sid = SessionId.generate()
    const time = '2026-11-20 15:16:39.882314'
    const row = { session_id: sid.privateId, data: vector.data, created_at: time, updated_at: time }
    const { store, database } = begin(t, [row])
    if (vector.serializer === 'marshal' || vector.error !== undefined) {
      t.throws(() => store.findSession(req, sid), { code: 'ERR_STORE_CORRUPT' }, about(vector))
      t.throws(() => change(store, sid, { here: 1 }, clock()), { code: 'ERR_STORE_CORRUPT' })
      t.throws(() => store.touchSession(req, sid, { expiresAt: clock() + 1000 }), { code: 'ERR_STORE_CORRUPT' })
      t.equal(await store.cleanup(), 0)
      t.same(database.prepare('SELECT session_id, data, created_at, updated_at FROM sessions').all(), [row])
      continue
    }
    read++
    const found = await store.findSession(req, sid)
    const expected = JSON.parse(vector.read_back_json ?? '') as SessionData
    // tap's own comparison does not see the key __proto__
    deepEqual(Object.entries(found?.data ?? {}), Object.entries(expected), about(vector))
    t.equal(change(store, sid, { here: 1 }, found?.createdAt ?? 0), true)
    const after = Object.entries(railsReads(database, sid))
    // as text, which has 0 for -0
    t.equal(JSON.stringify(after), JSON.stringify([...Object.entries(expected), ['here', 1]]), about(vector))
  }
  t.ok(read > 0)
  t.ok(vectors.length > read)
})

test('a cache of Rails has a session under the same private id, and its own id is no cookie here', async (t) => {
  const vectors = vectorsOf<CacheVector>('cache-store')
  t.ok(vectors.length > 0)
  for (const vector of vectors) {
    const sid = new SessionId(vector.session_id)
    t.equal(sid.privateId, vector.private_id, about(vector))
    if (vector.label.includes('private id')) t.equal(SessionId.parse(vector.session_id), undefined)
    const prefix = vector.namespace === null ? '' : `${vector.namespace}:`
    t.ok(vector.cache_keys_now.includes(`${prefix}_session_id:${sid.privateId}`), about(vector))
  }
})
