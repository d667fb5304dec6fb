import Database from 'better-sqlite3'
import { IncomingMessage } from 'node:http'
import { createServer, Socket, type AddressInfo } from 'node:net'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import t, { test, type Test } from 'tap'
import { SessionId } from '../../lib/index.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import type { AbstractStore } from '../../stores/abstract-store.ts'
import { memcached } from '../memcached.ts'
import { startCluster, startRedis } from '../redis.ts'
import { Client, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'
import { newFile } from '../stores/sqlite-file.ts'
import { errorIn, luggageRack, shown, type Ran } from './cli-program.ts'

const HOUR = 3_600_000
const DATA = 'DataMarker4711'
const PASSWORD = 'PasswordMarker4711'

// up before the first test: tap ends the file when there is none to run
const redis = await startRedis(t, '--requirepass', PASSWORD)

const req = new IncomingMessage(new Socket())

interface Listed {
  id: string
  owner: string | null
  createdAt: string
  lastSeenAt: string | null
  expiresAt: string
}

function newClient(t: Test): Redis {
  const client = new Redis({ host: '127.0.0.1', port: redis.port, password: PASSWORD })
  t.teardown(() => client.disconnect())
  return client
}

/** A store that an application uses, and the arguments that name it to the command. */
interface Place {
  store: AbstractStore
  args: string[]
}

const places: Record<string, (t: Test) => Place> = {
  SQLite: (t) => {
    const filename = newFile(t)
    const store = new SqliteStore({ filename, table: 'visits' })
    t.teardown(() => store.close())
    return { store, args: ['--store', `sqlite:${filename}`, '--table', 'visits'] }
  },
  Redis: (t) => {
    const prefix = `${SessionId.generate().publicId}*:`
    const store = new RedisStore({ client: newClient(t), prefix })
    return { store, args: ['--store', redis.url.replace('//', `//:${PASSWORD}@`), '--prefix', prefix] }
  },
}

/** Runs `sessions`, and sees that it shows neither what sessions hold nor a password. */
async function sessions(t: Test, ...args: string[]): Promise<Ran> {
  const ran = await luggageRack(['sessions', ...args])
  t.same(shown(ran, [DATA, PASSWORD]), [], args.join(' '))
  return ran
}

async function inJson<T>(t: Test, ...args: string[]): Promise<T> {
  const ran = await sessions(t, ...args, '--json')
  t.same([ran.code, ran.stderr], [0, ''], args.join(' '))
  return JSON.parse(ran.stdout) as T
}

async function write(store: AbstractStore, left: number, owner?: string): Promise<SessionId> {
  const sid = SessionId.generate()
  const now = Date.now()
  const options = { create: true, changes: 'all', createdAt: now - HOUR, expiresAt: now + left, extend: false } as const
  await store.writeSession(req, sid, { foo: DATA }, { ...options, owner })
  return sid
}

for (const [name, place] of Object.entries(places)) {
  test(`${name}: list shows an application's sessions, all or an owner's or some, and never what they hold`, async (t) => {
    const { store, args } = place(t)
    t.same(await inJson(t, 'list', ...args), [])
    t.equal((await sessions(t, 'list', ...args)).stdout, 'There are no sessions.\n')

    const before = Date.now()
    const { port } = await serve(t, sessionApp({ store, owner: 'userId', expireAfter: 3600 }))
    const [ada, again, visitor] = [new Client(port), new Client(port), new Client(port)]
    for (const client of [ada, again]) {
      await client.get('/signin?user=1')
      await client.get(`/write?v=${DATA}`)
    }
    await visitor.get(`/write?v=${DATA}`)
    const idOf = async (client: Client): Promise<string> =>
      (SessionId.parse((await client.get('/id')).body) as SessionId).privateId
    const [first, second, third] = [await idOf(ada), await idOf(again), await idOf(visitor)]

    const all = await inJson<Listed[]>(t, 'list', ...args)
    t.same(all.map(({ id }) => id).toSorted(), [first, second, third].toSorted())
    for (const { id, owner, createdAt, lastSeenAt, expiresAt } of all) {
      t.equal(owner, id === third ? null : '1')
      t.ok(Date.parse(createdAt) >= before && Date.parse(createdAt) <= Date.now())
      t.ok(Date.parse(expiresAt) >= before + HOUR && Date.parse(expiresAt) <= Date.now() + HOUR)
      if (name === 'Redis' && owner === null) t.equal(lastSeenAt, null)
      else t.ok(Date.parse(lastSeenAt as string) >= before)
    }
    const owned = await inJson<Listed[]>(t, 'list', ...args, '--owner', '1')
    t.same(owned.map(({ id }) => id).toSorted(), [first, second].toSorted())
    t.same(await inJson(t, 'list', ...args, '--owner', '2'), [])
    t.equal((await inJson<Listed[]>(t, 'list', ...args, '--limit', '2')).length, 2)

    const text = await sessions(t, 'list', ...args)
    const [head, ...rows] = text.stdout.trimEnd().split('\n')
    t.match(head, /^private id {59}created {15}last seen {13}expires {15}owner$/)
    t.equal(rows.length, 3)
    for (const row of rows) t.match(row, /^2::[0-9a-f]{64} {2}20\S{17}Z {2}(20\S{17}Z|- {18} ) {2}20\S{17}Z( {2}1)?$/)
    t.same(
      shown(
        text,
        [first, second, third].map((id) => id),
      ),
      [first, second, third],
    )
    for (const client of [ada, again, visitor]) t.same(shown(text, [...client.jar.values()]), [], 'no public id')
  })

  test(`${name}: what has expired, and what was removed a moment ago, is not listed`, async (t) => {
    const { store, args } = place(t)
    const live = await write(store, HOUR, 'ada')
    const removed = await write(store, HOUR, 'ada')
    await store.deleteSession(req, removed, { markUntil: Date.now() + 60_000 })
    if (store instanceof SqliteStore) await write(store, -1, 'ada')
    for (const more of [[], ['--owner', 'ada']]) {
      const listed = await inJson<Listed[]>(t, 'list', ...args, ...more)
      t.same(
        listed.map(({ id, owner }) => [id, owner]),
        [[live.privateId, 'ada']],
      )
    }
  })

  test(`${name}: delete signs out an owner, one session, or everybody`, async (t) => {
    const { store, args } = place(t)
    const { port } = await serve(t, sessionApp({ store, owner: 'userId' }))
    const signedIn = async (user: number): Promise<Client> => {
      const client = new Client(port)
      await client.get(`/signin?user=${user}`)
      await client.get(`/write?v=${DATA}`)
      return client
    }
    const isIn = async (client: Client): Promise<boolean> => (await client.get('/all')).body.includes(DATA)
    const clients = [await signedIn(1), await signedIn(1), await signedIn(2), await signedIn(3)]
    const [one, other, two, three] = clients as [Client, Client, Client, Client]

    t.same(await inJson(t, 'delete', ...args, '--owner', '1'), { removed: 2 })
    t.same(await Promise.all(clients.map(isIn)), [false, false, true, true])
    t.equal((await sessions(t, 'delete', ...args, '--owner', '1')).stdout, '0 sessions removed.\n')

    const { privateId } = SessionId.parse((await two.get('/id')).body) as SessionId
    t.equal((await sessions(t, 'delete', ...args, '--id', privateId)).stdout, '1 session removed.\n')
    t.same([await isIn(two), await isIn(three)], [false, true])
    const again = await sessions(t, 'delete', ...args, '--id', privateId, '--json')
    t.same([again.code, again.stdout, errorIn(again).code], [1, '', 'ERR_SESSION_MISSING'])

    t.equal((await sessions(t, 'delete', ...args, '--all')).code, 2, 'not without --yes')
    t.equal(await isIn(three), true)
    t.same(await inJson(t, 'delete', ...args, '--all', '--yes'), { removed: null })
    t.equal(await isIn(three), false)
    t.same(await inJson(t, 'list', ...args), [])
    t.same([await isIn(one), await isIn(other)], [false, false])
  })

  test(`${name}: delete --id follows a session that was renewed a moment ago, and removes what cannot be read`, async (t) => {
    const { store, args } = place(t)
    const [from, to] = [await write(store, HOUR, 'ada'), SessionId.generate()]
    const now = Date.now()
    const options = { create: true, changes: { set: {}, delete: [] }, createdAt: now, expiresAt: now + HOUR } as const
    const renew = { ...options, extend: false, owner: 'ada', markUntil: now + 60_000 }
    await (store as RedisStore | SqliteStore).renewSession(req, from, to, renew)
    t.same(await inJson(t, 'delete', ...args, '--id', from.privateId), { removed: 1 })
    t.match(await store.findSession(req, to), { gone: true })

    const broken = await write(store, HOUR)
    if (name === 'SQLite') {
      const database = new Database((args[1] as string).slice('sqlite:'.length))
      database.prepare('UPDATE visits SET data = ? WHERE session_id = ?').run(`{${DATA}`, broken.privateId)
      database.close()
    } else {
      await newClient(t).hset(`${args[3]}${broken.privateId}`, ':foo', `{${DATA}`)
    }
    t.same(await inJson(t, 'delete', ...args, '--id', broken.privateId), { removed: 1 })
    t.match(await store.findSession(req, broken), { gone: true })
  })

  test(`${name}: a terminal obeys nothing of what an owner is called`, async (t) => {
    const { store, args } = place(t)
    const evil = '\u001b[2J\u009b31m\u202e\n2::forged row'
    await write(store, HOUR, evil)
    const [text, listed] = [await sessions(t, 'list', ...args), await inJson<Listed[]>(t, 'list', ...args)]
    t.notMatch(text.stdout, /(?!\n)[\p{Cc}\p{Cf}]/u)
    t.equal(text.stdout.split('\n').length, 3, 'a head, a row, and the end')
    t.equal(listed[0]?.owner, evil)
    t.same(await inJson(t, 'delete', ...args, '--owner', evil), { removed: 1 })
  })
}

test('SQLite: trim removes what has expired, and nothing else', async (t) => {
  const { store, args } = (places['SQLite'] as (t: Test) => Place)(t)
  const live = await write(store, HOUR)
  for (let i = 0; i < 120; i++) await write(store, -HOUR)
  t.same(await inJson(t, 'trim', ...args), { removed: 120 })
  t.equal((await sessions(t, 'trim', ...args)).stdout, '0 expired sessions removed.\n')
  const listed = await inJson<Listed[]>(t, 'list', ...args)
  t.same(
    listed.map(({ id }) => id),
    [live.privateId],
  )
})

test('SQLite: list gives the newest first, over many pages', async (t) => {
  const filename = newFile(t)
  const store = new SqliteStore({ filename })
  t.teardown(() => store.close())
  const ids: string[] = []
  for (let i = 0; i < 1203; i++) ids.unshift((await write(store, HOUR)).privateId)
  const listed = await inJson<Listed[]>(t, 'list', '--store', filename)
  t.same(
    listed.map(({ id }) => id),
    ids,
  )
})

test('SQLite: a file or a table that is not there is not made, and what is none of ours is left alone', async (t) => {
  const filename = newFile(t)
  const none = await sessions(t, 'trim', '--store', filename, '--json')
  t.same([none.code, errorIn(none).code], [1, 'ERR_STORE_FAILED'])
  t.notOk(existsSync(filename))

  writeFileSync(filename, `no database, and ${DATA}`.repeat(100))
  const before = readFileSync(filename)
  for (const action of [['list'], ['trim'], ['delete', '--all', '--yes']]) {
    const ran = await sessions(t, ...action, '--store', filename)
    t.same([ran.code, ran.stdout], [1, ''])
    t.match(ran.stderr, 'SQLite: file is not a database')
  }
  t.same(readFileSync(filename), before)

  const other = newFile(t)
  const database = new Database(other)
  database.exec('CREATE TABLE sessions (id INTEGER PRIMARY KEY, session_id TEXT, data TEXT)')
  for (const args of [[], ['--table', 'nosuch'], ['--table', 'x" (a); DROP TABLE sessions; --']]) {
    for (const action of [['list'], ['trim'], ['delete', '--all', '--yes']]) {
      const ran = await sessions(t, ...action, '--store', other, ...args)
      t.same([ran.code, ran.stdout], [1, ''])
      t.match(ran.stderr, args.length === 0 ? /not one that SqliteStore made/ : /no such table/)
    }
  }
  t.same(database.prepare('SELECT name FROM sqlite_master').pluck().all(), ['sessions'])
  database.close()
})

test('SQLite: list writes nothing, and gives what an application has just written', async (t) => {
  const filename = newFile(t)
  const store = new SqliteStore({ filename })
  t.teardown(() => store.close())
  const sid = await write(store, HOUR)
  const before = readFileSync(filename)
  const listed = await inJson<Listed[]>(t, 'list', '--store', filename)
  t.equal(listed[0]?.id, sid.privateId)
  t.same(readFileSync(filename), before)
})

test('Redis: it trims by itself; a wrong password and a server that is down are told, without the password', async (t) => {
  const { args } = (places['Redis'] as (t: Test) => Place)(t)
  t.equal((await sessions(t, 'trim', ...args)).stdout, 'Redis removes by itself what has expired.\n')
  t.same(await inJson(t, 'trim', ...args), { removed: null })
  const cases = [
    [redis.url.replace('//', `//:wrong${PASSWORD}@`), /WRONGPASS/],
    [redis.url, /NOAUTH/],
    [`redis://:${PASSWORD}@127.0.0.1:1`, /ECONNREFUSED/],
    [`redis://:${PASSWORD}@[`, /Redis: /],
  ] as const
  for (const [store, message] of cases) {
    for (const args of [['list'], ['list', '--json'], ['delete', '--all', '--yes']]) {
      const ran = await sessions(t, ...args, '--store', store)
      t.same([ran.code, ran.stdout], [1, ''], String(message))
      t.match(ran.stderr, message)
    }
  }
})

test('Redis: keys of other programs are neither listed nor removed', async (t) => {
  const { store, args } = (places['Redis'] as (t: Test) => Place)(t)
  const client = newClient(t)
  const prefix = args[3] as string
  const sid = await write(store, HOUR)
  await client.set(`${prefix}2::${'0'.repeat(64)}`, DATA)
  await client.hset(`${prefix}2::${'1'.repeat(64)}`, 'foo', DATA)
  await client.set(`${prefix}cache`, DATA)
  const listed = await inJson<Listed[]>(t, 'list', ...args)
  t.same(
    listed.map(({ id }) => id),
    [sid.privateId],
  )
  await inJson(t, 'delete', ...args, '--all', '--yes')
  t.equal(await client.get(`${prefix}cache`), DATA)
})

test('Redis: more sessions than one step of the scan gives are each listed once', async (t) => {
  const { store, args } = (places['Redis'] as (t: Test) => Place)(t)
  const sids = await Promise.all(Array.from({ length: 1203 }, () => write(store, HOUR)))
  const listed = await inJson<Listed[]>(t, 'list', ...args)
  t.same(listed.map(({ id }) => id).toSorted(), sids.map(({ privateId }) => privateId).toSorted())
})

test('Redis: a node of a cluster leads to all of it', async (t) => {
  const { servers, client } = await startCluster(t)
  const store = new RedisStore({ client: client() })
  const sids = await Promise.all(Array.from({ length: 30 }, () => write(store, HOUR, 'ada')))
  const [node] = servers
  const args = ['--store', node?.url as string]
  const listed = await inJson<Listed[]>(t, 'list', ...args)
  t.same(listed.map(({ id }) => id).toSorted(), sids.map(({ privateId }) => privateId).toSorted())
  const [first, second] = sids as [SessionId, SessionId]
  t.same(await inJson(t, 'delete', ...args, '--id', first.privateId), { removed: 1 })
  t.same(await inJson(t, 'delete', ...args, '--owner', 'ada'), { removed: 29 })
  t.match(await store.findSession(req, second), { gone: true })
  await write(store, HOUR)
  await inJson(t, 'delete', ...args, '--all', '--yes')
  t.same(await inJson(t, 'list', ...args), [])
})

test('memcached: it lists nothing and says so; one session can be removed by its private id', async (t) => {
  const server = await memcached(t)
  const store = new MemcachedStore({ servers: server.server, prefix: 'visits:' })
  t.teardown(() => store.close())
  const args = ['--store', `memcached://${server.server}`, '--prefix', 'visits:']
  const sid = await write(store, HOUR)
  for (const action of [['list'], ['list', '--owner', '1'], ['delete', '--owner', '1'], ['delete', '--all', '--yes']]) {
    const ran = await sessions(t, ...action, ...args, '--json')
    t.same([ran.code, ran.stdout, errorIn(ran).code], [1, '', 'ERR_STORE_UNSUPPORTED'], action.join(' '))
    t.match(errorIn(ran).message, /^memcached /)
  }
  t.equal((await sessions(t, 'trim', ...args)).stdout, 'memcached removes by itself what has expired.\n')
  t.same(await inJson(t, 'delete', ...args, '--id', sid.privateId), { removed: 1 })
  t.match(await store.findSession(req, sid), { gone: true })
  t.equal((await sessions(t, 'delete', ...args, '--id', sid.privateId)).code, 1)

  await server.kill()
  const down = await sessions(
    t,
    'delete',
    '--store',
    `memcached://user:${PASSWORD}@${server.server}`,
    '--id',
    sid.privateId,
  )
  t.same([down.code, down.stdout], [1, ''])
  t.match(down.stderr, /memcached/)
})

test('a server that takes the connection and says nothing is given up', async (t) => {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const id = SessionId.generate().privateId
  const runs = await Promise.all(
    [`redis://:${PASSWORD}@127.0.0.1:${port}`, `memcached://127.0.0.1:${port}`].map((store) =>
      sessions(t, 'delete', '--id', id, '--store', store, '--json'),
    ),
  )
  for (const ran of runs) t.same([ran.code, ran.stdout, errorIn(ran).code], [1, '', 'ERR_STORE_TIMEOUT'])
})

test('the store may stand in the environment, where no list of processes shows its password', async (t) => {
  const { args } = (places['Redis'] as (t: Test) => Place)(t)
  const [, store = '', ...prefix] = args
  const ran = await luggageRack(['sessions', 'list', ...prefix], { env: { LUGGAGE_RACK_STORE: store } })
  t.same(ran, { code: 0, stdout: 'There are no sessions.\n', stderr: '' })
})
