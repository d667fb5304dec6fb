import type { Redis } from 'ioredis'
import { IncomingMessage } from 'node:http'
import { connect, createServer, Socket, type AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import t, { test } from 'tap'
import { SessionId, type SessionData } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { RedisStore, type RedisStoreOptions } from '../../stores/redis-store.ts'
import { clientOf, dump, keysOf, RedisServer, startRedis } from '../redis.ts'
import { ask, Client, serve, type Owner } from '../server.ts'
import { sessionApp } from '../session-app.ts'

const server = await startRedis(t)
const shared = clientOf(t, server)

for (const [name, options] of [
  ['RedisStore', {}],
  ['RedisStore with automatic pipelining', { enableAutoPipelining: true }],
  ['RedisStore on a client with a prefix', { keyPrefix: 'app{1}:' }],
] as const) {
  const client = clientOf(t, server, options)
  let time = Date.now()
  testStore(() => new RedisStore({ client, clock: () => time }), {
    test,
    name,
    merges: true,
    markers: true,
    owners: true,
    now: () => time,
    advance: (milliseconds) => {
      time += milliseconds
    },
  })
}

const HOUR = 3_600_000
const req = new IncomingMessage(new Socket())

const creation = (owner?: string) =>
  ({ create: true, changes: 'all', createdAt: Date.now(), expiresAt: Date.now() + HOUR, extend: false, owner }) as const

const change = (set: SessionData, deleted: string[] = []) =>
  ({ ...creation(), create: false, changes: { set, delete: deleted }, extend: true }) as const

/** A store under a prefix of its own. */
function storeOf(options: Partial<RedisStoreOptions> = {}): { store: RedisStore; prefix: string } {
  const prefix = `${SessionId.generate().publicId}:`
  return { store: new RedisStore({ client: shared, prefix, ...options }), prefix }
}

/** The sessions of the tests, served from a store. */
async function stage(t: Owner, store: RedisStore, options = {}): Promise<{ client: Client; errors: unknown[] }> {
  const { port, errors } = await serve(t, sessionApp({ store, owner: 'userId', ...options }))
  return { client: new Client(port), errors }
}

/** The commands that a Redis is sent meanwhile, those of scripts aside. */
async function watch(client: Redis, work: () => Promise<unknown>): Promise<string[]> {
  const monitor = await client.monitor()
  const commands: string[] = []
  const end = SessionId.generate().publicId
  const ended = new Promise<void>((resolve) => {
    monitor.on('monitor', (_time: string, [command = '', text]: string[], source: string) => {
      if (text === end) resolve()
      else if (source !== 'lua') commands.push(command.toLowerCase())
    })
  })
  await work()
  await client.echo(end)
  await ended
  monitor.disconnect()
  return commands
}

test('a request takes one round trip to read, one to commit, and none when it leaves the session alone', async (t) => {
  for (const enableAutoPipelining of [false, true]) {
    const { store } = storeOf({ client: clientOf(t, server, { enableAutoPipelining }) })
    const { client } = await stage(t, store)
    await client.get('/push')
    const path = (name: string) => () => client.get(name)
    t.same(await watch(shared, path('/nothing')), [])
    t.same(await watch(shared, path('/read')), ['hgetall'])
    t.same(await watch(shared, path('/write')), ['hgetall', 'evalsha'])
    t.same(await watch(shared, path('/push')), ['hgetall', 'evalsha'])
    t.same(await watch(shared, path('/renew')), ['hgetall', 'evalsha', 'evalsha'])
    t.same(await watch(shared, path('/destroy')), ['evalsha'])
    t.same(await watch(shared, path('/write')), ['evalsha'], 'a first write reads nothing')
    const refreshing = await stage(t, store, { refreshEvery: 0 })
    await refreshing.client.get('/write')
    t.same(await watch(shared, () => refreshing.client.get('/read')), ['hgetall', 'evalsha'], 'sliding')
  }
})

test('a write carries only what changed, and moves the expiry only when it is due', async (t) => {
  const { store, prefix } = storeOf()
  const sid = SessionId.generate()
  const expiresAt = Date.now() + HOUR
  await store.writeSession(req, sid, { a: 1, b: 2 }, { ...creation(), expiresAt })
  const before = await shared.hgetall(prefix + sid.privateId)
  await shared.pexpire(prefix + sid.privateId, 1_000_000)
  await store.writeSession(req, sid, { a: 1, b: 3 }, { ...change({ b: 3 }), expiresAt })
  const after = await shared.hgetall(prefix + sid.privateId)
  t.match(before, { ...after, ':b': '2' })
  t.equal(after[':b'], '3')
  t.ok((await shared.pttl(prefix + sid.privateId)) <= 1_000_000, 'the expiry was not set again')
  await store.writeSession(req, sid, { a: 1, b: 3 }, { ...change({ b: 3 }), expiresAt: expiresAt + 1 })
  t.ok((await shared.pttl(prefix + sid.privateId)) > 1_000_000)
})

test('SERVERSTORE-05: the time to live is set with the session, in the same command', async (t) => {
  const { store, prefix } = storeOf()
  const { client } = await stage(t, store, { expireAfter: 60 })
  t.same(await watch(shared, () => client.get('/write')), ['evalsha'])
  const [key = ''] = await keysOf(shared, `${prefix}*`)
  const left = await shared.pttl(key)
  t.ok(left > 58_000 && left <= 60_000, `${left} ms`)
})

test("SERVERSTORE-06: without expireAfter the key lives for the store's ttl, and the cookie has no Expires", async (t) => {
  const { store, prefix } = storeOf({ ttl: 86_400 })
  const { client } = await stage(t, store)
  const { cookies } = await client.get('/write')
  t.notMatch(cookies[0], /expires|max-age/i)
  const [key = ''] = await keysOf(shared, `${prefix}*`)
  const left = await shared.ttl(key)
  t.ok(left > 86_390 && left <= 86_400, `${left} s`)
})

test('whatever happens to a session, every key has an expiry', async (t) => {
  const { store, prefix } = storeOf()
  for (const options of [{}, { refreshEvery: 0 }]) {
    const { client } = await stage(t, store, options)
    const signedIn = '/write /signin?user=1 /count /renew /clear /signin?user=2 /reset-write /signin /all'
    const signedOut = '/destroy /destroy /signin?user=3 /reset /write'
    for (const path of `${signedIn} ${signedOut}`.split(' ')) {
      t.equal((await client.get(path)).status, 200)
      for (const key of await keysOf(shared, `${prefix}*`)) t.ok((await shared.pttl(key)) > 0, `${path}: ${key}`)
    }
    await store.deleteSessionsOf(3)
  }
})

test('SERVERSTORE-09: clearing one prefix leaves every session of another', async (t) => {
  const stores = ['a:', '[a]*:'].map((prefix) => new RedisStore({ client: shared, prefix })) as [RedisStore, RedisStore]
  const others = [SessionId.generate(), SessionId.generate()]
  await Promise.all(
    Array.from({ length: 1000 }, () => stores[1].writeSession(req, SessionId.generate(), {}, creation())),
  )
  await stores[1].writeSession(req, SessionId.generate(), {}, creation('ada'))
  for (const sid of others) await stores[0].writeSession(req, sid, { of: 'a' }, creation('ada'))
  t.equal((await keysOf(shared, String.raw`\[a]\*:*`)).length, 1002)
  await stores[1].clear()
  t.same(await keysOf(shared, String.raw`\[a]\*:*`), [])
  for (const sid of others) t.match(await stores[0].findSession(req, sid), { data: { of: 'a' } })
  t.equal((await stores[0].sessionsOf('ada')).length, 2)
  const client = clientOf(t, server, { keyPrefix: 'app:' })
  const prefixed = new RedisStore({ client, prefix: 'a:' })
  await prefixed.writeSession(req, SessionId.generate(), {}, creation('ada'))
  t.equal((await keysOf(shared, 'app:a:*')).length, 2)
  await prefixed.clear()
  t.same(await keysOf(shared, 'app:a:*'), [])
  t.match(await stores[0].findSession(req, others[0] as SessionId), { data: { of: 'a' } })
})

test('SERVERSTORE-28: a record that cannot be decoded is a 500, and stays as it was', async (t) => {
  const { store, prefix } = storeOf()
  for (const damage of [
    (key: string) => shared.hset(key, ':foo', '{"secret":"of ada'),
    (key: string) => shared.hset(key, 'created', 'secret'),
    (key: string) => shared.hdel(key, 'expires'),
  ]) {
    const { client, errors } = await stage(t, store)
    await store.clear()
    await client.get('/write')
    const [key = ''] = await keysOf(shared, `${prefix}*`)
    await damage(key)
    const before = await dump(shared, `${prefix}*`)
    const { status, cookies } = await client.get('/read')
    t.equal(status, 500)
    t.same(cookies, [])
    t.match(errors, [{ code: 'ERR_STORE_CORRUPT' }])
    t.notMatch(inspect(errors), /secret|of ada/)
    t.equal(await dump(shared, `${prefix}*`), before)
  }
})

test('an error of Redis holds no session data, for it ends in a log', async (t) => {
  const small = await startRedis(t, '--maxmemory', '1', '--maxmemory-policy', 'noeviction')
  const { client, errors } = await stage(t, new RedisStore({ client: clientOf(t, small) }))
  const { status, cookies } = await client.get('/write?v=secret-of-ada')
  t.equal(status, 500)
  t.same(cookies, [])
  t.match(errors, [/OOM/])
  t.notMatch(inspect(errors, { depth: 9, showHidden: true }), /secret-of-ada|2::/)
})

test('the public id stands nowhere in Redis, and what stands there opens nothing', async (t) => {
  const { store, prefix } = storeOf()
  const { client } = await stage(t, store)
  const ids: string[] = []
  for (const path of ['/write', '/signin?user=7', '/renew', '/reset-write', '/signin?user=8']) {
    await client.get(path)
    ids.push(client.jar.get('_session_id') ?? '')
  }
  const everything = await dump(shared, `${prefix}*`)
  t.equal(new Set(ids).size, 5)
  for (const id of ids) t.notOk(everything.includes(id))
  const id = new SessionId(ids.at(-1) as string)
  t.ok(everything.includes(id.privateId))
  for (const stolen of [id.privateId, `${prefix}${id.privateId}`, id.privateId.slice(3), id.privateId.slice(3, 35)]) {
    const headers = { cookie: `_session_id=${encodeURIComponent(stolen)}` }
    t.equal((await ask(client.port, '/read', { headers })).body, 'foo: null')
  }
  t.equal((await client.get('/read')).body, 'foo: "baz"')
})

test('keys of the data are kept apart from the fields of the store', async (t) => {
  const { store } = storeOf()
  const sid = SessionId.generate()
  const data = JSON.parse(
    '{"":0,"expires":"x","gone":true,"owner":1,":":2,"::":3,"created":[],"__proto__":{"a":1},"toString":null}',
  ) as SessionData
  await store.writeSession(req, sid, data, creation())
  const found = await store.findSession(req, sid)
  t.same(new Map(Object.entries(found?.data ?? {})), new Map(Object.entries(data)))
  t.equal(found?.owner, undefined)
  await store.writeSession(req, sid, {}, change({}, Object.keys(data)))
  t.same(Object.keys((await store.findSession(req, sid))?.data ?? { a: 1 }), [])
})

test('a session may have thousands of keys', async (t) => {
  const { store } = storeOf()
  const [sid, to] = [SessionId.generate(), SessionId.generate()]
  const keys = Array.from({ length: 9000 }, (_, i) => `key${i}`)
  const data = Object.fromEntries(keys.map((key) => [key, key]))
  await store.writeSession(req, sid, data, creation())
  await store.writeSession(req, sid, data, change(data))
  const options = { ...creation(), changes: { set: {}, delete: [] }, markUntil: Date.now() + 60_000 }
  t.equal(await store.renewSession(req, sid, to, options), true)
  t.same((await store.findSession(req, to))?.data, data)
  await store.writeSession(req, to, {}, change({}, keys.slice(1)))
  t.same((await store.findSession(req, to))?.data, { key0: 'key0' })
})

test('an update of everything leaves nothing of what there was', async (t) => {
  const { store } = storeOf()
  const sid = SessionId.generate()
  await store.writeSession(req, sid, { a: 1, b: 2 }, creation())
  t.equal(await store.writeSession(req, sid, { c: 3 }, { ...creation(), create: false }), true)
  t.same((await store.findSession(req, sid))?.data, { c: 3 })
})

test('a creation that is sent twice, since its answer was lost, succeeds', async (t) => {
  const time = Date.now()
  const { store } = storeOf({ clock: () => time })
  const sid = SessionId.generate()
  const options = { ...creation(), createdAt: time, expiresAt: time + HOUR }
  t.equal(await store.writeSession(req, sid, { a: 1 }, options), true)
  t.equal(await store.writeSession(req, sid, { a: 1 }, options), true)
  t.equal(await store.writeSession(req, sid, { a: 2 }, options), false)
  t.equal(await store.writeSession(req, sid, { a: 1, b: 1 }, options), false)
  await store.deleteSession(req, sid, { markUntil: time + 60_000 })
  t.equal(await store.writeSession(req, sid, { a: 1 }, options), false, 'and never over a marker')
})

test('a script that Redis forgot is sent again', async (t) => {
  for (const enableAutoPipelining of [false, true]) {
    const { store } = storeOf({ client: clientOf(t, server, { enableAutoPipelining }) })
    const { client } = await stage(t, store)
    for (const [path, answer] of [
      ['/count', '1'],
      ['/count', '2'],
      ['/renew', 'renewed'],
      ['/signin', 'signed in'],
      ['/count', '3'],
      ['/destroy', 'destroyed'],
      ['/count', '1'],
    ] as const) {
      await shared.script('FLUSH')
      t.equal((await client.get(path)).body, answer)
    }
  }
})

test("an owner's list ends with the last of his sessions, and stands as long as they are used", async (t) => {
  let time = Date.now()
  const { store, prefix } = storeOf({ clock: () => time })
  const list = `${prefix}owner:ada`
  const options = () => ({ ...creation('ada'), createdAt: time, expiresAt: time + HOUR })
  const [used, idle] = [SessionId.generate(), SessionId.generate()]
  await store.writeSession(req, used, {}, options())
  await store.writeSession(req, idle, {}, options())
  for (let i = 0; i < 100; i++) {
    time += HOUR / 4
    if (i % 2) await store.touchSession(req, used, { expiresAt: time + HOUR })
    else
      await store.writeSession(
        req,
        used,
        { i },
        { ...options(), ...change({ i }), expiresAt: time + HOUR, owner: 'ada' },
      )
    const { expires } = await shared.hgetall(prefix + used.privateId)
    t.equal(Number(expires), time + HOUR)
    t.ok(Number(await shared.zscore(list, used.privateId)) >= Number(expires), 'a record never outlives its place')
    t.ok((await shared.pttl(list)) >= (await shared.pttl(prefix + used.privateId)))
  }
  t.same(
    (await store.sessionsOf('ada')).map(({ id }) => id),
    [used.privateId],
  )
  t.same(await shared.zrange(list, '0', '-1'), [used.privateId], 'what expired was taken out')
  t.equal(await store.deleteSessionsOf('ada'), 1)
  t.equal(await shared.exists(list), 0)
})

test('an update that gives a session to somebody lists it with him, before it is his', async (t) => {
  const { store } = storeOf()
  const sid = SessionId.generate()
  await store.writeSession(req, sid, {}, creation('ada'))
  await store.writeSession(req, sid, {}, { ...change({ user: 'bob' }), owner: 'bob' })
  t.same(await store.sessionsOf('ada'), [])
  t.match(await store.sessionsOf('bob'), [{ id: sid.privateId }])
  t.equal(await store.deleteSessionsOf('ada'), 0)
  t.equal((await store.findSession(req, sid))?.owner, 'bob')
  t.equal(await store.deleteSessionsOf('bob'), 1)
})

test('sessions that a list names and Redis does not have are not shown, and new ones are', async (t) => {
  const { store, prefix } = storeOf()
  const [lost, gone, live] = [SessionId.generate(), SessionId.generate(), SessionId.generate()]
  for (const sid of [lost, gone, live]) await store.writeSession(req, sid, {}, creation('5'))
  const list = await shared.zrange(`${prefix}owner:5`, '0', '-1', 'WITHSCORES')
  await shared.unlink(prefix + lost.privateId)
  await store.deleteSession(req, gone, { markUntil: Date.now() + 60_000 })
  await shared.zadd(`${prefix}owner:5`, list.at(-1) as string, gone.privateId)
  t.match(await store.sessionsOf(5), [{ id: live.privateId }])
  t.notOk((await shared.zrange(`${prefix}owner:5`, '0', '-1')).includes(gone.privateId), 'its place was taken back')
  t.equal(await store.deleteSessionsOf(5), 1)
})

test('who signs out one session of a list signs it out also when it was renewed since', async (t) => {
  const { store } = storeOf()
  const [seen, now, other] = [SessionId.generate(), SessionId.generate(), SessionId.generate()]
  await store.writeSession(req, seen, {}, creation('ada'))
  await store.writeSession(req, other, {}, creation('bob'))
  const options = { ...creation('ada'), changes: { set: {}, delete: [] }, markUntil: Date.now() + 60_000 }
  await store.renewSession(req, seen, now, options)
  t.equal(await store.deleteSessionsOf('bob', { only: seen.privateId }), 0, "not another's")
  t.match(await store.sessionsOf('ada'), [{ id: now.privateId }])
  t.equal(await store.deleteSessionsOf('ada', { only: seen.privateId }), 1)
  t.same(await store.sessionsOf('ada'), [])
  t.equal(await store.deleteSessionsOf('ada', { only: SessionId.generate().privateId }), 0)
  t.ok(await store.findSession(req, other))
})

test('a Redis that hangs is an error within the deadline, and the sessions are there when it goes on', async (t) => {
  const hanging = await startRedis(t)
  const store = new RedisStore({ client: clientOf(t, hanging), deadline: 150 })
  const { client, errors } = await stage(t, store)
  await client.get('/write?v=kept')
  hanging.signal('SIGSTOP')
  t.equal((await client.get('/nothing')).status, 200)
  const began = performance.now()
  const answers = await Promise.all(
    ['/read', '/write', '/renew', '/destroy', '/reset-write', '/signin'].map((path) => client.clone().get(path)),
  )
  const took = performance.now() - began
  t.ok(took > 140 && took < 10_000, `${took} ms`)
  for (const { status, cookies } of answers) {
    t.equal(status, 500)
    t.same(cookies, [])
  }
  t.equal(errors.length, 6)
  for (const error of errors) t.match(error, { code: 'ERR_STORE_TIMEOUT', message: /unknown/ })
  t.equal((await client.get('/nothing')).status, 200)
  hanging.signal('SIGCONT')
  const visitor = new Client(client.port)
  await visitor.get('/write')
  t.equal((await visitor.get('/read')).body, 'foo: "bar"')
  t.equal(errors.length, 6)
})

test('a session is there after a hang that no request fell into, and a page that timed out can be asked again', async (t) => {
  const hanging = await startRedis(t)
  const { client } = await stage(t, new RedisStore({ client: clientOf(t, hanging), deadline: 100 }))
  await client.get('/write?v=kept')
  hanging.signal('SIGSTOP')
  t.equal((await client.get('/read')).status, 500)
  hanging.signal('SIGCONT')
  t.equal((await client.get('/read')).body, 'foo: "kept"')
})

test('a process that was held up takes the answer that is there, and no timeout', async (t) => {
  const { store } = storeOf({ deadline: 50 })
  const sid = SessionId.generate()
  await store.writeSession(req, sid, { a: 1 }, creation())
  const found = store.findSession(req, sid)
  const until = performance.now() + 100
  await new Promise((resolve) => setImmediate(resolve))
  while (performance.now() < until);
  t.match(await found, { data: { a: 1 } })
})

test('with a url the store has a connection of its own, which comes back after a crash of Redis and ends with close()', async (t) => {
  const crashing = await startRedis(t, '--appendonly', 'yes', '--appendfsync', 'always')
  const store = new RedisStore({ url: crashing.url })
  const { client, errors } = await stage(t, store)
  await client.get('/write?v=kept')
  await crashing.kill()
  const { status, cookies } = await client.get('/read')
  t.equal(status, 500)
  t.same(cookies, [])
  t.equal(errors.length, 1)
  await crashing.start()
  let answer = await client.get('/read')
  for (const until = Date.now() + 5000; answer.status === 500 && Date.now() < until;) answer = await client.get('/read')
  t.equal(answer.body, 'foo: "kept"')
  const watcher = clientOf(t, crashing)
  const connections = async () =>
    String(await watcher.client('LIST'))
      .trim()
      .split('\n').length
  t.equal(await connections(), 2)
  await store.close()
  t.equal(await connections(), 1)
  await t.rejects(store.findSession(req, SessionId.generate()))
})

test('close() of a store that hangs ends in time, and leaves a client that was given alone', async (t) => {
  const hanging = await startRedis(t)
  const store = new RedisStore({ url: hanging.url, deadline: 50 })
  await store.findSession(req, SessionId.generate())
  hanging.signal('SIGSTOP')
  await store.close()
  const { store: given } = storeOf()
  await given.close()
  t.equal(await given.findSession(req, SessionId.generate()), undefined)
})

test('RedisStore refuses what cannot work', async (t) => {
  const nowhere = new RedisServer(1, '', []).url
  for (const options of [
    {},
    { client: shared, url: nowhere },
    { url: 'http://localhost' },
    { client: shared, deadline: 0 },
    { client: shared, deadline: Number.NaN },
    { client: shared, deadline: Infinity },
    { client: shared, ttl: -1 },
  ]) {
    t.throws(() => new RedisStore(options), { code: 'ERR_INVALID_OPTION' })
  }
  const unreachable = new RedisStore({ url: nowhere })
  await t.rejects(unreachable.findSession(req, SessionId.generate()))
  await unreachable.close()
})

test('what is asked for in one turn of the event loop leaves in one write', async (t) => {
  let writes = 0
  const proxy = createServer((socket) => {
    const there = connect(server.port, '127.0.0.1')
    socket.on('data', (chunk) => {
      writes++
      there.write(chunk)
    })
    there.pipe(socket)
    for (const one of [socket, there]) one.on('error', () => {})
    socket.on('close', () => there.destroy())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const { port } = proxy.address() as AddressInfo
  const store = new RedisStore({ url: `redis://127.0.0.1:${port}`, prefix: `${SessionId.generate().publicId}:` })
  t.teardown(async () => {
    await store.close()
    proxy.close()
  })
  const sids = Array.from({ length: 50 }, () => SessionId.generate())
  const all = async (work: (sid: SessionId) => Promise<unknown>): Promise<number> => {
    const before = writes
    await Promise.all(sids.map(work))
    return writes - before
  }
  await store.findSession(req, SessionId.generate())
  await all((sid) => store.writeSession(req, sid, { a: 1 }, creation()))
  t.equal(await all((sid) => store.findSession(req, sid)), 1)
  t.equal(await all((sid) => store.writeSession(req, sid, { a: 2 }, change({ a: 2 }))), 1)
  // one that is alone goes out as well, and so does the next
  t.same((await store.findSession(req, sids[0] as SessionId))?.data, { a: 2 })
  t.same((await store.findSession(req, sids[49] as SessionId))?.data, { a: 2 })
})
