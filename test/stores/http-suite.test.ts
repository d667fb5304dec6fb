import type { IncomingMessage } from 'node:http'
import { test } from 'tap'
import {
  AbstractStore,
  CookieStore,
  MemoryStore,
  SessionId,
  type CommitMessage,
  type DeleteOptions,
  type SessionData,
  type StoredSession,
  type WriteOptions,
} from '../../lib/index.ts'
import { COMMIT, httpSuite, messagesOf, stage } from '../http-suite.ts'

httpSuite(test, {
  name: 'CookieStore',
  store: () => new CookieStore(),
  serverSide: false,
  merges: false,
  markers: false,
  clocked: true,
})

httpSuite(test, {
  name: 'MemoryStore',
  store: (_t, { clock }) => new MemoryStore({ clock }),
  serverSide: true,
  merges: true,
  markers: true,
  clocked: true,
  size: (store) => store.size,
})

/** A store as somebody writes it who reads no more than the names of the three methods. */
class ThreeMethods extends AbstractStore {
  readonly records = new Map<string, string>()
  readonly #clock: () => number

  constructor(clock: () => number) {
    super()
    this.#clock = clock
  }

  override async findSession(_req: IncomingMessage, sid: SessionId): Promise<StoredSession | undefined> {
    const record = this.records.get(sid.privateId)
    if (record === undefined) return undefined
    const session = JSON.parse(record) as StoredSession
    return session.expiresAt > this.#clock() ? session : undefined
  }

  override async writeSession(
    req: IncomingMessage,
    sid: SessionId,
    data: SessionData,
    { create, createdAt, expiresAt }: WriteOptions,
  ): Promise<boolean> {
    if ((await this.findSession(req, sid)) ? create : !create) return false
    this.records.set(sid.privateId, JSON.stringify({ data, createdAt, expiresAt }))
    return true
  }

  override async deleteSession(_req: IncomingMessage, sid: SessionId, _options: DeleteOptions): Promise<void> {
    this.records.delete(sid.privateId)
  }

  get size(): number {
    const sessions = [...this.records.values()].map((record) => JSON.parse(record) as StoredSession)
    return sessions.filter(({ expiresAt, gone }) => expiresAt > this.#clock() && gone !== true).length
  }
}

httpSuite(test, {
  name: 'a store of three methods',
  store: (_t, { clock }) => new ThreeMethods(clock),
  serverSide: true,
  merges: false,
  markers: false,
  clocked: true,
  size: (store) => store.size,
  corrupt: (store) => {
    for (const key of store.records.keys()) store.records.set(key, 'no JSON')
  },
})

/** The same with markers, as a store that keeps the promise of 60 s. */
class WithMarkers extends ThreeMethods {
  override async writeSession(
    req: IncomingMessage,
    sid: SessionId,
    data: SessionData,
    options: WriteOptions,
  ): Promise<boolean> {
    if ((await this.findSession(req, sid))?.gone === true) return false
    return super.writeSession(req, sid, data, options)
  }

  override async deleteSession(
    req: IncomingMessage,
    sid: SessionId,
    { markUntil: expiresAt, successor }: DeleteOptions,
  ): Promise<void> {
    if ((await this.findSession(req, sid)) === undefined) return
    this.records.set(sid.privateId, JSON.stringify({ data: {}, createdAt: 0, expiresAt, gone: true, successor }))
  }
}

httpSuite(test, {
  name: 'a store of three methods with markers',
  store: (_t, { clock }) => new WithMarkers(clock),
  serverSide: true,
  merges: false,
  markers: true,
  clocked: true,
  size: (store) => store.size,
})

test('SERVERSTORE-16: a store may answer with plain values instead of promises', async (t) => {
  const store = new MemoryStore()
  const { client } = await stage(t, { store })
  t.equal((await client.get('/count')).body, '1')
  t.equal((await client.get('/count')).body, '2')
  const found: unknown = store.findSession({} as IncomingMessage, new SessionId(client.jar.get('_session_id') ?? ''))
  t.match(found, { data: { counter: 2 } }, 'a value, and no promise')
  t.equal((await client.get('/destroy')).cookies.length, 1)
  t.equal(store.size, 0)
  t.equal((await client.get('/count')).body, '1')
})

test('SERVERSTORE-21: where a store saves nothing, no cookie is sent, and it is reported', async (t) => {
  class Full extends ThreeMethods {
    override async writeSession(): Promise<boolean> {
      return false
    }
  }
  const commits = messagesOf<CommitMessage>(t, COMMIT)
  const { client } = await stage(t, { store: new Full(Date.now) })
  const { status, cookies } = await client.get('/write?v=precious')
  t.equal(status, 200)
  t.same(cookies, [])
  t.equal(commits.length, 1)
  t.match(commits[0], { key: '_session_id', outcome: 'dropped', cookie: 'none' })
  t.same(Object.keys(commits[0] ?? {}), ['req', 'key', 'outcome', 'cookie', 'changed'], 'neither data nor id')
})

test('a store that holds a copy of the database opens nothing with the ids it holds', async (t) => {
  const store = new ThreeMethods(Date.now)
  const { client } = await stage(t, { store })
  await client.get('/write')
  const [stored = ''] = store.records.keys()
  const cookie = client.jar.get('_session_id') ?? ''
  t.equal(stored, new SessionId(cookie).privateId)
  t.notOk(stored.includes(cookie))
  for (const stolen of [stored, encodeURIComponent(stored), stored.slice(3), stored.slice(3, 35)]) {
    client.jar.set('_session_id', stolen)
    t.equal((await client.get('/read')).body, 'foo: null')
  }
})
