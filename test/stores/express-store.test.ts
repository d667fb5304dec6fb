import Database from 'better-sqlite3'
import { RedisStore } from 'connect-redis'
import expressSession from 'express-session'
import { once } from 'node:events'
import { IncomingMessage } from 'node:http'
import { createConnection, Socket } from 'node:net'
import tap, { test, type Test } from 'tap'
import { SessionId, type SessionData, type WriteOptions } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { ExpressStore, type ExpressSession, type ExpressSessionStore } from '../../stores/express-store.ts'
import { startRedis, type RedisServer } from '../redis.ts'
import { Client as Browser, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'
import { kindsOn, LruStore, QuietSqliteStore, redisClient } from './express-stores.ts'

// up before the first test: tap ends the file when there is none to run
const client = await redisClient(tap, await startRedis(tap))

const HOUR = 3_600_000

const req = (): IncomingMessage => new IncomingMessage(new Socket())

const creating = (more: Partial<WriteOptions> = {}): WriteOptions => ({
  create: true,
  changes: 'all',
  createdAt: Date.now(),
  expiresAt: Date.now() + HOUR,
  extend: false,
  owner: undefined,
  ...more,
})

for (const { name, create, records, damage } of kindsOn(client)) {
  testStore(() => new ExpressStore(create()), { test, name: `ExpressStore over ${name}` })

  test(`${name} is given the private id, and the public id is nowhere`, async (t) => {
    const express = create()
    const store = new ExpressStore(express, { prefix: 'mine:' })
    const { port } = await serve(t, sessionApp({ store }))
    const browser = new Browser(port)
    await browser.get('/write?v=bar')
    const sid = new SessionId(browser.jar.get('_session_id') ?? '')
    const all = await records(express as never)
    t.equal(all.length, 1)
    t.ok(all[0]?.[0].endsWith(`mine:${sid.privateId}`))
    t.notOk(all.join().includes(sid.publicId))
    browser.jar.set('_session_id', sid.privateId.slice(3))
    t.equal((await browser.get('/read')).body, 'foo: null', 'the stored key opens nothing')
  })

  test(`${name} keeps keys that are its own or express-session's as any other`, async (t) => {
    const store = new ExpressStore(create())
    const sid = SessionId.generate()
    const data: SessionData = { cookie: 'crumbs', data: 1, expiresAt: 0, id: 'x', req: {}, touch: null, lastAccess: 2 }
    await store.writeSession(req(), sid, data, creating({ owner: '42' }))
    const found = await store.findSession(req(), sid)
    t.same({ ...found?.data }, data)
    t.equal(found?.owner, '42')
  })

  test(`${name} holds a record until it ends, and moves that end with it`, async (t) => {
    const express = create()
    const store = new ExpressStore(express)
    const sid = SessionId.generate()
    const expiresAt = Date.now() + 40 * 24 * HOUR
    await store.writeSession(req(), sid, { a: 1 }, creating())
    t.equal(await store.touchSession(req(), sid, { expiresAt }), true)
    t.equal(await store.touchSession(req(), sid, { expiresAt: expiresAt - HOUR }), true, 'and never back')
    t.match(await store.findSession(req(), sid), { data: { a: 1 }, expiresAt })
    const [[, json] = ['', '']] = await records(express as never)
    const { cookie } = JSON.parse(json) as { cookie: { expires: string; originalMaxAge: number } }
    t.equal(Date.parse(cookie.expires), expiresAt)
    t.ok(Math.abs(cookie.originalMaxAge - 40 * 24 * HOUR) < 5000)
  })

  test(`SERVERSTORE-28: what ${name} gives and is no session of ours is an error, and stays`, async (t) => {
    const express = create()
    const store = new ExpressStore(express)
    const { port, errors } = await serve(t, sessionApp({ store }))
    const browser = new Browser(port)
    await browser.get('/write')
    const [[key] = ['']] = await records(express as never)
    for (const blob of [
      'precious',
      '{"cookie":{},"user":"precious"}',
      '{"cookie":{},"data":"precious","createdAt":1}',
    ]) {
      await damage(express as never, key, blob)
      for (const path of ['/read', '/write']) {
        const { status, cookies } = await browser.get(path)
        t.equal(status, 500)
        t.same(cookies, [])
        const error = errors.pop()
        t.match(error, { code: 'ERR_STORE_CORRUPT' })
        t.notMatch((error as Error).stack, /precious/)
      }
      t.same(
        (await records(express as never)).map(([, json]) => json),
        [blob],
      )
    }
    t.equal((await browser.get('/destroy')).status, 200)
    t.same(await records(express as never), [])
  })
}

// ---- the time that each store derives from the cookie

test('connect-redis sets the expiry of the key to that of the session', async (t) => {
  const store = new ExpressStore(new RedisStore({ client, prefix: 'expiry:' }))
  const sid = SessionId.generate()
  for (const life of [HOUR, 40 * 24 * HOUR]) {
    await store.deleteSession(req(), sid)
    await store.writeSession(req(), sid, {}, creating({ expiresAt: Date.now() + life }))
    const left = await client.pTTL(`expiry:${sid.privateId}`)
    t.ok(left >= life - 1000 && left <= life + 1000, `${left} of ${life}`)
  }
})

test('better-sqlite3-session-store and memorystore keep a session longer than the day that they default to', async (t) => {
  const expiresAt = Date.now() + 40 * 24 * HOUR
  const database = new Database(':memory:')
  const sqlite = new ExpressStore(new QuietSqliteStore({ client: database }))
  await sqlite.writeSession(req(), SessionId.generate(), {}, creating({ expiresAt }))
  const [expire] = database.prepare('SELECT expire FROM sessions').pluck().all() as string[]
  t.ok(Math.abs(Date.parse(expire ?? '') - expiresAt) < 2000)
  const lives: number[] = []
  const memory = new LruStore({
    ttl: (_options, session: ExpressSession) => lives.push(session.cookie.maxAge) && session.cookie.maxAge,
  })
  await new ExpressStore(memory).writeSession(req(), SessionId.generate(), {}, creating({ expiresAt }))
  t.ok(Math.abs((lives[0] ?? 0) - 40 * 24 * HOUR) < 2000)
})

// ---- stores of every manner

/** A store on a Map, written in one manner or another. */
interface Manner {
  get: (map: Map<string, string>) => ExpressSessionStore['get']
  set: (map: Map<string, string>) => ExpressSessionStore['set']
  destroy: (map: Map<string, string>) => ExpressSessionStore['destroy']
}

const read = (map: Map<string, string>, sid: string): object | undefined => {
  const json = map.get(sid)
  return json === undefined ? undefined : (JSON.parse(json) as object)
}

const manners: Record<string, Manner> = {
  'calls back at once': {
    get: (map) => (sid, callback) => callback(null, read(map, sid)),
    set: (map) => (sid, session, callback) => callback(void map.set(sid, JSON.stringify(session))),
    destroy: (map) => (sid, callback) => (map.delete(sid), callback()),
  },
  'calls back later': {
    get: (map) => (sid, callback) => void setImmediate(() => callback(undefined, read(map, sid) ?? null)),
    set: (map) => (sid, session, callback) => {
      map.set(sid, JSON.stringify(session))
      setImmediate(() => callback(null))
    },
    destroy: (map) => (sid, callback) => {
      map.delete(sid)
      setImmediate(callback)
    },
  },
  'answers with promises, and knows no callbacks': {
    get: (map) => async (sid: string) => read(map, sid),
    set: (map) => async (sid: string, session: object) => void map.set(sid, JSON.stringify(session)),
    destroy: (map) => async (sid: string) => map.delete(sid),
  },
  'does both': {
    get: (map) => async (sid, callback) => {
      const found = read(map, sid)
      callback(null, found)
      return found
    },
    set: (map) => async (sid, session, callback) => {
      map.set(sid, JSON.stringify(session))
      callback()
    },
    destroy: (map) => async (sid, callback) => {
      map.delete(sid)
      callback()
    },
  },
  'is done with its promise before it calls back': {
    get: (map) => async (sid, callback) => void setImmediate(() => callback(null, read(map, sid))),
    set: (map) => async (sid, session, callback) => {
      setImmediate(() => callback(void map.set(sid, JSON.stringify(session))))
    },
    destroy: (map) => async (sid, callback) => {
      setImmediate(() => (map.delete(sid), callback()))
    },
  },
  'calls an absent session ENOENT': {
    get: (map) => (sid, callback) =>
      map.has(sid) ? callback(null, read(map, sid)) : callback(Object.assign(new Error(), { code: 'ENOENT' })),
    set: (map) => (sid, session, callback) => callback(void map.set(sid, JSON.stringify(session))),
    destroy: (map) => (sid, callback) => (map.delete(sid), callback()),
  },
}

for (const [name, manner] of Object.entries(manners)) {
  testStore(
    () => {
      const map = new Map<string, string>()
      const store = { get: manner.get(map), set: manner.set(map), destroy: manner.destroy(map) }
      return new ExpressStore(store, { deadline: 100 })
    },
    { test, name: `ExpressStore over a store that ${name}` },
  )
}

// ---- what goes wrong

test('an error that a store calls back with, throws or rejects with is the error', async (t) => {
  const failure = new Error('down')
  const failing: Record<string, ExpressSessionStore['get'] & ExpressSessionStore['set']> = {
    'calls back': (...args: unknown[]) => (args.at(-1) as (error: Error) => void)(failure),
    throws: () => {
      throw failure
    },
    rejects: () => Promise.reject(failure),
  }
  for (const [how, fail] of Object.entries(failing)) {
    const store = new ExpressStore({ get: fail, set: fail, destroy: fail })
    const { port, errors } = await serve(t, sessionApp({ store }))
    const browser = new Browser(port)
    browser.jar.set('_session_id', SessionId.generate().publicId)
    for (const path of ['/read', '/write', '/destroy', '/reset-write']) {
      const { status, cookies } = await browser.get(path)
      t.equal(status, 500, `${how} ${path}`)
      t.same(cookies, [])
      t.equal(errors.pop(), failure)
    }
    t.equal((await browser.get('/nothing')).status, 200)
  }
})

test('what a store fails with and is no error is named by its type alone', async (t) => {
  const store = new ExpressStore({
    get: (_sid, callback) => callback('down'),
    set: async (_sid, _session, callback) => callback(),
    destroy: () => Promise.reject(undefined),
  })
  await t.rejects(store.findSession(req(), SessionId.generate()), {
    code: 'ERR_STORE_FAILED',
    message: /with a string/,
    cause: undefined,
  })
  await t.rejects(store.deleteSession(req(), SessionId.generate()), { code: 'ERR_STORE_FAILED' })
})

test('a server whose socket does not exist is down, and no session is absent for that', async (t) => {
  const failure = await once(createConnection({ path: '/there/is/none.sock' }), 'connect').catch(
    (error: Error) => error,
  )
  t.match(failure, { code: 'ENOENT', syscall: 'connect' })
  const get: ExpressSessionStore['get'] = (_sid, callback) => callback(failure)
  const store = new ExpressStore({ get, set: () => {}, destroy: () => {} })
  await t.rejects(store.findSession(req(), SessionId.generate()), { code: 'ENOENT' })
})

test('a store that never calls back is an error within the deadline', async (t) => {
  const never = (_sid: string, _callback: unknown): void => {}
  const store = new ExpressStore({ get: never, set: never, destroy: never }, { deadline: 50 })
  const begin = performance.now()
  await t.rejects(store.findSession(req(), SessionId.generate()), {
    code: 'ERR_STORE_TIMEOUT',
    message: /within 50 ms/,
  })
  await t.rejects(store.deleteSession(req(), SessionId.generate()), { code: 'ERR_STORE_TIMEOUT' })
  t.ok(performance.now() - begin < 10_000)
})

async function overRedis(t: Test): Promise<{ server: RedisServer; browser: Browser; errors: unknown[] }> {
  const server = await startRedis(t)
  const own = await redisClient(t, server)
  const store = new ExpressStore(new RedisStore({ client: own }), { deadline: 200 })
  const { port, errors } = await serve(t, sessionApp({ store }))
  const browser = new Browser(port)
  await browser.get('/write?v=bar')
  return { server, browser, errors }
}

test('a Redis behind connect-redis that hangs is an error, and its sessions are there when it goes on', async (t) => {
  const { server, browser, errors } = await overRedis(t)
  server.signal('SIGSTOP')
  t.equal((await browser.get('/nothing')).status, 200)
  const { status, cookies } = await browser.get('/count')
  t.equal(status, 500)
  t.same(cookies, [])
  t.match(errors, [{ code: 'ERR_STORE_TIMEOUT' }])
  server.signal('SIGCONT')
  t.equal((await browser.get('/read')).body, 'foo: "bar"')
})

test('a Redis behind connect-redis that is down is an error', async (t) => {
  const { server, browser, errors } = await overRedis(t)
  await server.kill()
  const { status, cookies } = await browser.get('/read')
  t.equal(status, 500)
  t.same(cookies, [])
  t.equal(errors.length, 1)
})

test('ExpressStore refuses what is no store and a deadline that makes no sense, when it is made', async (t) => {
  const store = new expressSession.MemoryStore()
  for (const none of [undefined, null, {}, { get() {}, set() {} }]) {
    t.throws(() => new ExpressStore(none as unknown as ExpressSessionStore), { code: 'ERR_INVALID_OPTION' })
  }
  for (const deadline of [0, -1, Number.NaN, Infinity]) {
    t.throws(() => new ExpressStore(store, { deadline }), { code: 'ERR_INVALID_OPTION' })
  }
  t.throws(() => new ExpressStore(store, { ttl: 0 }), { code: 'ERR_INVALID_OPTION' })
})
