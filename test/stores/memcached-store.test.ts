import { Client } from 'memjs'
import { IncomingMessage } from 'node:http'
import { connect, createServer, Socket, type AddressInfo } from 'node:net'
import tap, { test, type Test } from 'tap'
import { SessionId, type SessionData, type WriteOptions } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { MemcachedStore, type MemcachedStoreOptions } from '../../stores/memcached-store.ts'
import { memcached } from '../memcached.ts'
import { Client as Browser, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Of another request each time, so that nothing is known from before. */
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

const setting = (set: SessionData): WriteOptions => creating({ create: false, changes: { set, delete: [] } })

/** A store with connections of its own, as each process of an application has them. */
function open(t: Test, options: MemcachedStoreOptions): MemcachedStore {
  const store = new MemcachedStore(options)
  t.teardown(() => store.close())
  return store
}

const common = memcached(tap)
const opened: { close(): void }[] = []
tap.teardown(() => opened.forEach((one) => one.close()))

// ---- the contract

let offset = 0
const clock = (): number => Date.now() + offset

testStore(
  async () => {
    const store = new MemcachedStore({ servers: (await common).server, clock })
    opened.push(store)
    return store
  },
  { test, name: 'MemcachedStore', merges: true, markers: true, now: clock, advance: (by) => void (offset += by) },
)

testStore(
  async () => {
    const client = Client.create((await common).server, { logger: { log() {} } })
    opened.push(client)
    return new MemcachedStore({ client })
  },
  { test, name: 'MemcachedStore with a client of memjs', merges: true, markers: true },
)

// ---- keys, values and expiry

test('a key is the prefix and the private id, and the public id is nowhere', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server, prefix: 'app:' })
  const { port } = await serve(t, sessionApp({ store }))
  const browser = new Browser(port)
  await browser.get('/write?v=bar')
  const sid = new SessionId(browser.jar.get('_session_id') ?? '')
  const renewed = await browser.get('/renew')
  t.equal(renewed.status, 200)
  const successor = new SessionId(browser.jar.get('_session_id') ?? '')
  const keys = await server.keys()
  t.same(keys.toSorted(), [`app:${sid.privateId}`, `app:${successor.privateId}`].toSorted())
  const values = await Promise.all(keys.map((key) => server.value(key)))
  for (const { publicId } of [sid, successor]) t.notOk([...keys, ...values].join().includes(publicId))
  browser.jar.set('_session_id', successor.privateId.slice(3))
  t.equal((await browser.get('/read')).body, 'foo: null', 'the stored key opens nothing')
})

test('a prefix that memcached could take for something else is refused', async (t) => {
  const servers = 'localhost'
  for (const prefix of ['a b', 'a\r\nflush_all\r\n', 'a\0', 'é', 'tab\t', 'x'.repeat(184)]) {
    t.throws(() => new MemcachedStore({ servers, prefix }), { code: 'ERR_INVALID_OPTION' }, JSON.stringify(prefix))
  }
  const longest = open(t, { servers: (await common).server, prefix: 'x'.repeat(183) })
  t.equal(await longest.writeSession(req(), SessionId.generate(), {}, creating()), true)
})

test('a successor in the store that is no id reaches no command', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, { a: 1 }, creating())
  await store.deleteSession(req(), sid, { markUntil: Date.now() + HOUR, successor: 'x\r\nflush_all\r\n' })
  const [bystander, context] = [SessionId.generate(), { key: '_session_id', now: Date.now(), owner: undefined }]
  await store.writeSession(req(), bystander, { a: 1 }, creating())
  const sealer = { seal: () => '', open: () => undefined }
  await t.rejects(store.forgetCookie(req(), sid.publicId, { ...context, sealer }), { code: 'ERR_STORE_CORRUPT' })
  t.ok(await store.findSession(req(), bystander))
})

test('an item lives as long as its session, to the second, also beyond 30 days', async (t) => {
  const server = await common
  const store = open(t, { servers: server.server })
  for (const life of [1, 1500, HOUR, 30 * DAY - 1000, 30 * DAY - 1, 30 * DAY, 30 * DAY + 1, 31 * DAY, 400 * DAY]) {
    const sid = SessionId.generate()
    const expiresAt = Date.now() + life
    await store.writeSession(req(), sid, { a: 1 }, creating({ expiresAt }))
    const left = (await server.secondsLeft(`session:${sid.privateId}`)) ?? 0
    // memcached's second began at another moment than ours
    const late = Date.now() + left * 1000 - expiresAt
    t.ok(late > -1000 && late < 6000, `${life} ms: ${late} ms late`)
  }
})

test('a session that ends beyond what memcached can count to is stored', async (t) => {
  const store = open(t, { servers: (await common).server })
  const sid = SessionId.generate()
  const expiresAt = Date.UTC(2500, 0)
  await store.writeSession(req(), sid, { a: 1 }, creating({ expiresAt }))
  t.match(await store.findSession(req(), sid), { data: { a: 1 }, expiresAt })
})

test('a marker stands in the same key, and ends by itself', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, { secret: 'gone' }, creating({ expiresAt: Date.now() + 40 * DAY }))
  const markUntil = Date.now() + 60_000
  await store.deleteSession(req(), sid, { markUntil })
  t.same(await server.keys(), [`session:${sid.privateId}`])
  const left = await server.secondsLeft(`session:${sid.privateId}`)
  t.ok(left !== undefined && left >= 55 && left <= 63, `${left} s`)
  t.notMatch(await server.value(`session:${sid.privateId}`), /secret/)
})

test('touching moves the expiry of the item and of the record, and never back', async (t) => {
  const server = await common
  const store = open(t, { servers: server.server })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, { a: 1 }, creating())
  const expiresAt = Date.now() + 50 * DAY
  t.equal(await store.touchSession(req(), sid, { expiresAt }), true)
  t.equal(await store.touchSession(req(), sid, { expiresAt: expiresAt - DAY }), true)
  t.match(await store.findSession(req(), sid), { data: { a: 1 }, expiresAt })
  const left = (await server.secondsLeft(`session:${sid.privateId}`)) ?? 0
  t.ok(Math.abs(Date.now() + left * 1000 - expiresAt) <= 6000)
  t.equal(await store.touchSession(req(), SessionId.generate(), { expiresAt }), false)
})

// ---- concurrency

test('100 concurrent changes of one session are all kept, by one process or by two', async (t) => {
  const server = await memcached(t)
  const conflicts = async (): Promise<number> => Number(/STAT cas_badval (\d+)/.exec(await server.say('stats'))?.[1])
  // time enough for a machine that is busy with other tests
  const store = (): MemcachedStore => open(t, { servers: server.server, deadline: 20_000 })
  const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
  const [one, other] = [store(), store()]
  for (const stores of [[one], [one, other]] as const) {
    const sid = SessionId.generate()
    await one.writeSession(req(), sid, {}, creating())
    const write = (key: string, i: number): Promise<boolean> =>
      (stores[i % stores.length] ?? one).writeSession(req(), sid, { [key]: key }, setting({ [key]: key }))
    t.ok((await Promise.all(keys.map(write))).every(Boolean))
    t.same(Object.keys((await one.findSession(req(), sid))?.data ?? {}).toSorted(), keys.toSorted())
    const inTheWay = await conflicts()
    if (stores.length === 1) t.equal(inTheWay, 0, 'a process is not in its own way')
    else t.ok(inTheWay > 0)
  }
})

test('a change that was read before a removal brings nothing back', async (t) => {
  const servers = (await common).server
  const [slow, fast] = [open(t, { servers }), open(t, { servers })]
  for (const remove of ['delete', 'renew', 'evict'] as const) {
    const [sid, to, request] = [SessionId.generate(), SessionId.generate(), req()]
    await slow.writeSession(req(), sid, { a: 1 }, creating())
    t.ok(await slow.findSession(request, sid))
    const markUntil = Date.now() + HOUR
    if (remove === 'delete') await fast.deleteSession(req(), sid, { markUntil })
    if (remove === 'evict') await (await common).say(`delete session:${sid.privateId}`)
    if (remove === 'renew') {
      const changes = { set: {}, delete: [] }
      t.equal(await fast.renewSession(req(), sid, to, { ...creating({ changes }), changes, markUntil }), true)
      t.same({ ...(await slow.findSession(req(), to))?.data }, { a: 1 })
    }
    t.equal(await slow.writeSession(request, sid, { a: 2 }, setting({ a: 2 })), false, remove)
    t.equal((await slow.findSession(req(), sid))?.gone, remove === 'evict' ? undefined : true)
  }
})

test('of many renewals of one session at once, one succeeds', async (t) => {
  const servers = (await common).server
  const stores = [open(t, { servers }), open(t, { servers }), open(t, { servers })]
  const sid = SessionId.generate()
  await stores[0]?.writeSession(req(), sid, { a: 1 }, creating())
  const changes = { set: {}, delete: [] }
  const renewals = stores.flatMap((store) =>
    Array.from({ length: 5 }, () =>
      store.renewSession(req(), sid, SessionId.generate(), {
        ...creating({ changes }),
        changes,
        markUntil: Date.now() + HOUR,
      }),
    ),
  )
  t.equal((await Promise.all(renewals)).filter(Boolean).length, 1)
})

test('a request makes one round trip to read its session and one to write it', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server })
  const { port } = await serve(t, sessionApp({ store, refreshEvery: 0 }))
  const browser = new Browser(port)
  const count = async (path: string): Promise<number[]> => {
    const asked = async (): Promise<number[]> => {
      const stats = await server.say('stats')
      return ['cmd_get', 'cmd_set'].map((name) => Number(new RegExp(`STAT ${name} (\\d+)`).exec(stats)?.[1]))
    }
    const before = await asked()
    t.equal((await browser.get(path)).status, 200)
    return (await asked()).map((value, i) => value - (before[i] ?? 0))
  }
  t.same(await count('/nothing'), [0, 0])
  t.same(await count('/read'), [0, 0], 'no cookie yet')
  t.same(await count('/write'), [0, 1], 'created')
  t.same(await count('/read'), [1, 1], 'read, and its idle time moved')
  t.same(await count('/count'), [1, 1], 'read and changed')
  t.same(await count('/renew'), [1, 2], 'read, marked, and created anew')
})

// ---- what goes wrong

test('a session larger than an item may be is an error that says its size, and changes nothing', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server })
  const text = 'precious'.repeat(140_000)
  const tooLarge = (error: unknown): void => {
    t.match(error, { code: 'ERR_STORE_TOO_LARGE', message: /A session of 1120\d\d\d bytes .* 1 MB .* -I/ })
    t.notMatch((error as Error).message, /precious/)
  }
  const [fresh, old] = [SessionId.generate(), SessionId.generate()]
  await store.writeSession(req(), fresh, { text }, creating()).then(() => t.fail('stored'), tooLarge)
  t.equal(await store.findSession(req(), fresh), undefined)
  await store.writeSession(req(), old, { a: 1 }, creating())
  await store.writeSession(req(), old, { text }, setting({ text })).then(() => t.fail('stored'), tooLarge)
  t.same({ ...(await store.findSession(req(), old))?.data }, { a: 1 })

  const larger = await memcached(t, '-I', '2m')
  const roomy = open(t, { servers: larger.server })
  await roomy.writeSession(req(), fresh, { text }, creating())
  t.equal((await roomy.findSession(req(), fresh))?.data['text'], text)
})

test('SERVERSTORE-25: a memcached that is down is an error for pages that use the session, and no other', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server })
  const { port, errors } = await serve(t, sessionApp({ store }))
  const browser = new Browser(port)
  await browser.get('/write?v=bar')
  const { cookie } = browser
  await server.kill()
  t.equal((await browser.get('/nothing')).status, 200)
  for (const path of ['/read', '/write', '/renew', '/destroy', '/reset-write']) {
    const { status, cookies } = await browser.get(path)
    t.equal(status, 500, path)
    t.same(cookies, [], path)
    t.match(errors.pop(), { code: 'ERR_STORE_FAILED', message: /ECONNREFUSED/ }, path)
  }
  t.equal((await new Browser(port).get('/write')).status, 500, 'nothing is created either')
  t.match(errors.pop(), { code: 'ERR_STORE_FAILED' })
  await server.start()
  t.equal(browser.cookie, cookie)
  t.equal((await browser.get('/read')).body, 'foo: null', 'a restart loses everything')
  t.equal((await browser.get('/count')).body, '1')
  t.not(browser.cookie, cookie, 'and an id that the store does not know is not adopted')
})

test('a memcached that hangs is an error within the deadline, and its sessions are there when it goes on', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server, deadline: 400 })
  const { port, errors } = await serve(t, sessionApp({ store }))
  const browser = new Browser(port)
  await browser.get('/write?v=bar')
  await server.pause()
  const begin = performance.now()
  const answers = await Promise.all(['/read', '/write', '/read'].map((path) => browser.clone().get(path)))
  t.same(
    answers.map(({ status, cookies }) => [status, cookies]),
    [
      [500, []],
      [500, []],
      [500, []],
    ],
  )
  t.match(errors.shift(), { code: 'ERR_STORE_TIMEOUT', message: /within 400 ms/ })
  t.equal((await new Browser(port).get('/write')).status, 500)
  t.ok(performance.now() - begin < 4000)
  t.equal((await browser.get('/nothing')).status, 200)
  server.resume()
  t.match((await browser.get('/read')).body, /^foo: "bar"$/)
  t.equal((await browser.get('/count')).body, '1')
})

test('a hundred changes that wait for a memcached that hangs all end within the deadline', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server, deadline: 400 })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, {}, creating())
  await server.pause()
  const begin = performance.now()
  const writes = Array.from({ length: 100 }, (_, i) => store.writeSession(req(), sid, {}, setting({ [`key${i}`]: i })))
  const outcomes = await Promise.allSettled(writes)
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  t.ok(performance.now() - begin < 4000)
  server.resume()
  t.equal(await store.writeSession(req(), sid, {}, setting({ a: 1 })), true)
})

test('what is under way when memcached ends is an error, and the next call finds the new one', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server, deadline: 400 })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, { a: 1 }, creating())
  await server.pause()
  const asked = t.rejects(store.findSession(req(), sid), { code: /^ERR_STORE_/ })
  await server.kill()
  await asked
  await server.start()
  t.equal(await store.findSession(req(), sid), undefined)
  t.equal(await store.writeSession(req(), sid, { a: 1 }, creating()), true)
})

test('an answer that breaks off does not spoil the ones after it', async (t) => {
  const server = await memcached(t)
  const direct = open(t, { servers: server.server })
  const sid = SessionId.generate()
  await direct.writeSession(req(), sid, { text: 'x'.repeat(50_000) }, creating())
  let whole = false
  const wire = createServer((socket) => {
    const upstream = connect(server.port, '127.0.0.1')
    socket.pipe(upstream)
    if (whole) upstream.pipe(socket)
    else upstream.once('data', (chunk: Buffer) => socket.write(chunk.subarray(0, 1000)))
    for (const end of [socket, upstream]) {
      end.on('error', () => {})
      end.on('close', () => (socket.destroy(), upstream.destroy()))
    }
  })
  await new Promise<void>((resolve) => wire.listen(0, '127.0.0.1', resolve))
  t.teardown(() => wire.close())
  const store = open(t, { servers: `127.0.0.1:${(wire.address() as AddressInfo).port}`, deadline: 400 })
  await t.rejects(store.findSession(req(), sid), { code: 'ERR_STORE_TIMEOUT' })
  whole = true
  t.equal((await store.findSession(req(), sid))?.data['text'], 'x'.repeat(50_000))
  t.equal(await store.findSession(req(), SessionId.generate()), undefined)
})

test('SERVERSTORE-28: what is no session is an error that does not quote it, and is left as it is', async (t) => {
  const server = await memcached(t)
  const store = open(t, { servers: server.server })
  const { port, errors } = await serve(t, sessionApp({ store }))
  for (const blob of ['precious', '"precious"', 'null', '[]', '{"data":1}', '{"data":{},"createdAt":"precious"}', '']) {
    const sid = SessionId.generate()
    const key = `session:${sid.privateId}`
    await server.say(`set ${key} 0 0 ${blob.length}\r\n${blob}`)
    const browser = new Browser(port)
    browser.jar.set('_session_id', sid.publicId)
    for (const path of ['/read', '/write', '/renew']) {
      const { status, cookies } = await browser.get(path)
      t.equal(status, 500, `${blob} ${path}`)
      t.same(cookies, [])
      const error = errors.pop() as Error
      t.match(error, { code: 'ERR_STORE_CORRUPT' })
      t.notMatch(`${error.stack} ${String(error.cause)}`, /precious/)
    }
    t.equal(await server.value(key), blob)
    t.equal((await browser.get('/destroy')).status, 200, 'it can be removed')
    t.match(await store.findSession(req(), sid), { gone: true })
  }
})

test('a memcached that is full evicts the session that was used longest ago, and refuses none', async (t) => {
  const server = await memcached(t, '-m', '8')
  const store = open(t, { servers: server.server })
  const text = 'x'.repeat(100_000)
  const sids = Array.from({ length: 200 }, () => SessionId.generate())
  for (const sid of sids) t.equal(await store.writeSession(req(), sid, { text }, creating()), true)
  const [first, last] = [sids[0] as SessionId, sids.at(-1) as SessionId]
  t.equal(await store.findSession(req(), first), undefined)
  t.equal(await store.writeSession(req(), first, {}, setting({ a: 1 })), false)
  t.ok(await store.findSession(req(), last))
})

// ---- several servers, clients, options

test('several servers share the sessions; one that is down is an error for its own alone', async (t) => {
  const [one, other] = [await memcached(t), await memcached(t)]
  for (const servers of [[one.server, other.server], `${one.server}, ${other.server}`]) {
    const store = open(t, { servers, prefix: `${typeof servers}:` })
    const sids = Array.from({ length: 32 }, () => SessionId.generate())
    for (const sid of sids) await store.writeSession(req(), sid, { a: 1 }, creating())
    const held = [(await one.keys()).length, (await other.keys()).length]
    t.ok(Math.min(...held) > 0, held.join(' and '))
    await other.kill()
    const found = await Promise.allSettled(sids.map((sid) => store.findSession(req(), sid)))
    t.equal(found.filter(({ status }) => status === 'rejected').length, held[1])
    t.equal(found.filter((it) => it.status === 'fulfilled' && it.value !== undefined).length, held[0])
    await other.start()
    await one.say('flush_all')
    await one.kill()
    await one.start()
  }
})

test('a client that was given stays open when the store is closed', async (t) => {
  const client = Client.create((await common).server, { logger: { log() {} } })
  t.teardown(() => client.close())
  const store = new MemcachedStore({ client })
  const sid = SessionId.generate()
  await store.writeSession(req(), sid, { a: 1 }, creating())
  store.close()
  t.ok((await client.get(`session:${sid.privateId}`)).value)
})

test('the number of a request may pass what 31 bits hold', async (t) => {
  const client = Client.create((await common).server, { logger: { log() {} } })
  t.teardown(() => client.close())
  Object.assign(client, { seq: 2 ** 31 - 2 })
  const store = new MemcachedStore({ client })
  const sid = SessionId.generate()
  t.equal(await store.writeSession(req(), sid, { a: 1 }, creating()), true)
  for (let i = 0; i < 4; i++) t.ok(await store.findSession(req(), sid))
  t.ok(client.seq < 0)
})

test('MemcachedStore refuses options that cannot work, when it is made', async (t) => {
  const refused = (options: object, why: RegExp): void => {
    t.throws(() => new MemcachedStore(options), { code: 'ERR_INVALID_OPTION', message: why }, JSON.stringify(options))
  }
  const client = Client.create('localhost', { logger: { log() {} } })
  refused({}, /servers or a client/)
  refused({ client, servers: 'localhost' }, /servers or a client/)
  refused({ client: {} }, /memjs.*memcache/)
  refused({ client: Client.create('localhost', { failover: true }) }, /failover/)
  for (const servers of ['', [], ' ', 'a b', 'localhost:port', 'http://localhost', ['localhost', ''], '::1']) {
    refused({ servers }, /host and port/)
  }
  for (const deadline of [0, -1, Number.NaN, Infinity]) refused({ client, deadline }, /deadline/)
  for (const ttl of [0, -1, Number.NaN]) refused({ client, ttl }, /ttl/)
})
