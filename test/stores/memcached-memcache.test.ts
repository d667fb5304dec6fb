import { Memcache } from 'memcache'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import tap, { test, type Test } from 'tap'
import { SessionId, type SessionData, type WriteOptions } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { memcached } from '../memcached.ts'
import type { Owner } from '../server.ts'

const DAY = 24 * 3_600_000

// up before the first test: tap ends the file when there is none to run
const common = await memcached(tap)

function clientOf(t: Owner, server: string): Memcache {
  const client = new Memcache({ nodes: [server] })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  return client
}

const req = (): IncomingMessage => new IncomingMessage(new Socket())

const creating = (more: Partial<WriteOptions> = {}): WriteOptions => ({
  create: true,
  changes: 'all',
  createdAt: Date.now(),
  expiresAt: Date.now() + DAY,
  extend: false,
  owner: undefined,
  ...more,
})

const setting = (set: SessionData): WriteOptions => creating({ create: false, changes: { set, delete: [] } })

const client = clientOf(tap, common.server)

testStore(() => new MemcachedStore({ client }), {
  test,
  name: 'MemcachedStore with a client of memcache',
  merges: true,
  markers: true,
})

test('requests that find no connection yet are answered each with its own session', async (t) => {
  const store = new MemcachedStore({ client: clientOf(t, common.server), deadline: 20_000 })
  const sids = Array.from({ length: 50 }, () => SessionId.generate())
  await Promise.all(sids.map((sid, i) => store.writeSession(req(), sid, { i }, creating())))
  const found = await Promise.all(sids.map((sid) => store.findSession(req(), sid)))
  for (const [i, session] of found.entries()) t.equal(session?.data['i'], i)
})

test('100 concurrent changes of one session by two clients of memcache are all kept', async (t) => {
  const stores = [0, 1].map(() => new MemcachedStore({ client: clientOf(t, common.server), deadline: 20_000 }))
  const sid = SessionId.generate()
  await stores[0]?.writeSession(req(), sid, {}, creating())
  const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
  await Promise.all(keys.map(async (key, i) => stores[i % 2]?.writeSession(req(), sid, {}, setting({ [key]: key }))))
  t.same(Object.keys((await stores[0]?.findSession(req(), sid))?.data ?? {}).toSorted(), keys.toSorted())
})

test('a client of memcache sends an expiry beyond 30 days as a time, and a size as an error', async (t) => {
  const store = new MemcachedStore({ client: clientOf(t, common.server) })
  const sid = SessionId.generate()
  const expiresAt = Date.now() + 40 * DAY
  await store.writeSession(req(), sid, { a: 'é' }, creating({ expiresAt }))
  const left = (await common.secondsLeft(`session:${sid.privateId}`)) ?? 0
  t.ok(Math.abs(Date.now() + left * 1000 - expiresAt) <= 6000)
  const text = 'x'.repeat(1_200_000)
  await t.rejects(store.writeSession(req(), sid, { text }, setting({ text })), { code: 'ERR_STORE_TOO_LARGE' })
  t.same({ ...(await store.findSession(req(), sid))?.data }, { a: 'é' })
})

test('with a client of memcache a server that hangs or is down is an error, and never an empty session', async (t: Test) => {
  const server = await memcached(t)
  const store = new MemcachedStore({ client: clientOf(t, server.server), deadline: 400 })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, { a: 1 }, creating())
  await server.pause()
  await t.rejects(store.findSession(req(), sid), { code: 'ERR_STORE_TIMEOUT' })
  await t.rejects(store.writeSession(req(), sid, {}, setting({ a: 2 })), { code: 'ERR_STORE_TIMEOUT' })
  server.resume()
  t.ok(await store.findSession(req(), sid))
  await server.kill()
  await t.rejects(store.findSession(req(), sid), { code: 'ERR_STORE_FAILED' })
  await t.rejects(store.writeSession(req(), SessionId.generate(), {}, creating()), { code: 'ERR_STORE_FAILED' })
  await server.start()
  t.equal(await store.findSession(req(), sid), undefined)
})
