import { randomUUID } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import tap, { test } from 'tap'
import { FileStore } from '../../examples/custom-store.ts'
import { MigratingStore } from '../../examples/migrate-stores.ts'
import { MemoryStore, SessionId, type SessionData, type WriteOptions } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { httpSuite } from '../http-suite.ts'
import { Client, serve, type Owner } from '../server.ts'
import { sessionApp } from '../session-app.ts'
import { freePort, start } from './program.ts'

const HOUR = 3_600_000
const req = new IncomingMessage(new Socket())

const creating = (): WriteOptions => ({
  create: true,
  changes: 'all',
  createdAt: Date.now(),
  expiresAt: Date.now() + HOUR,
  extend: false,
  owner: undefined,
})

const setting = (set: SessionData): WriteOptions => ({ ...creating(), create: false, changes: { set, delete: [] } })

// ---- a store of three methods, on files

const folders = tap.testdir()

testStore(() => new FileStore(join(folders, randomUUID())), { test, name: 'FileStore' })

httpSuite(test, {
  name: 'FileStore',
  store: (t) => new FileStore(t.testdir()),
  serverSide: true,
  merges: false,
  markers: false,
  resurrects: true,
  clocked: false,
})

test('FileStore names a file by the private id, and keeps it from others', async (t) => {
  const folder = t.testdir()
  const { port } = await serve(t, sessionApp({ store: new FileStore(folder) }))
  const client = new Client(port)
  await client.get('/write?v=bar')
  const sid = new SessionId(client.jar.get('_session_id') ?? '')
  const names = await readdir(folder)
  t.same(names, [`${sid.privateId.slice(3)}.json`])
  const [name = ''] = names
  t.notOk((await readFile(join(folder, name), 'utf8')).includes(sid.publicId))
  await client.get('/destroy')
  t.same(await readdir(folder), [])
})

test('of many creates of one session in FileStore one succeeds, and nobody ever reads half a file', async (t) => {
  const folder = t.testdir()
  const store = new FileStore(folder)
  const sid = SessionId.generate()
  const text = (i: number): SessionData => ({ text: String(i % 10).repeat(100_000) })
  const creates = Array.from({ length: 10 }, (_, i) => store.writeSession(req, sid, text(i), creating()))
  t.equal((await Promise.all(creates)).filter(Boolean).length, 1)
  const updates = Array.from({ length: 50 }, (_, i) => store.writeSession(req, sid, text(i), setting(text(i))))
  const reads = Array.from({ length: 50 }, async () => (await store.findSession(req, sid))?.data['text'] as string)
  await Promise.all(updates)
  for (const read of await Promise.all(reads)) t.equal(new Set(read).size * read.length, 100_000)
  t.equal((await readdir(folder)).length, 1, 'and no draft is left')
})

test('SERVERSTORE-28: a damaged file of FileStore is an error that does not quote it, and stays', async (t) => {
  const folder = t.testdir()
  const { port, errors } = await serve(t, sessionApp({ store: new FileStore(folder) }))
  const client = new Client(port)
  await client.get('/write')
  const [name = ''] = await readdir(folder)
  await writeFile(join(folder, name), 'precious')
  t.equal((await client.get('/read')).status, 500)
  t.match(errors, [{ message: 'A session file is damaged.' }])
  t.notMatch(String((errors[0] as Error).stack), /precious/)
  t.equal(await readFile(join(folder, name), 'utf8'), 'precious')
})

// ---- from one store to another

const sqlite = (t: Owner): SqliteStore => {
  const store = new SqliteStore({ filename: ':memory:', sweepEvery: 0 })
  t.teardown(() => store.close())
  return store
}

testStore(() => new MigratingStore({ from: new MemoryStore(), to: sqlite(tap) }), {
  test,
  name: 'MigratingStore',
  merges: true,
  markers: true,
})

httpSuite(test, {
  name: 'MigratingStore',
  store: (_t, { clock }) => new MigratingStore({ from: new MemoryStore({ clock }), to: new MemoryStore({ clock }) }),
  serverSide: true,
  merges: false,
  markers: true,
  clocked: true,
})

test('a session of the old store is read, moves with the next write, and keeps its cookie', async (t) => {
  const [from, to] = [new MemoryStore(), sqlite(t)]
  const before = await serve(t, sessionApp({ store: from }))
  const client = new Client(before.port)
  await client.get('/write?v=bar')
  await client.get('/count')
  const sid = new SessionId(client.jar.get('_session_id') ?? '')
  const createdAt = from.findSession(req, sid)?.createdAt

  const after = await serve(t, sessionApp({ store: new MigratingStore({ from, to }) }))
  const moved = new Client(after.port)
  moved.jar.set('_session_id', sid.publicId)
  const read = await moved.get('/all')
  t.same(JSON.parse(read.body), { foo: 'bar', counter: 1 })
  t.same(read.cookies, [])
  t.ok(from.findSession(req, sid), 'reading moves nothing')
  const written = await moved.get('/count')
  t.equal(written.body, '2')
  t.same(written.cookies, [], 'the browser notices nothing')
  t.equal(from.size, 0)
  t.match(await to.findSession(req, sid), { data: { foo: 'bar', counter: 2 }, createdAt })

  const alone = await serve(t, sessionApp({ store: to }))
  const later = new Client(alone.port)
  later.jar.set('_session_id', sid.publicId)
  t.same(JSON.parse((await later.get('/all')).body), { foo: 'bar', counter: 2 }, 'the new store alone is enough')
})

test('renewing, resetting and destroying reach a session that was not moved yet', async (t) => {
  for (const path of ['/renew', '/reset', '/destroy', '/signin']) {
    const [from, to] = [new MemoryStore(), sqlite(t)]
    const sid = SessionId.generate()
    from.writeSession(req, sid, { foo: 'bar' }, creating())
    const { port } = await serve(t, sessionApp({ store: new MigratingStore({ from, to }), owner: 'userId' }))
    const client = new Client(port)
    client.jar.set('_session_id', sid.publicId)
    const old = client.clone()
    t.equal((await client.get(path)).status, 200)
    t.equal(from.size, 0, path)
    t.equal((await old.get('/read')).body, 'foo: null', path)
    const kept = path === '/renew' || path === '/signin'
    t.equal((await client.get('/read')).body, kept ? 'foo: "bar"' : 'foo: null', path)
    t.same((await old.get('/write')).cookies, [], 'a late request is given nothing')
  }
})

test('what many requests change at once while a session moves is all kept', async (t) => {
  const [from, to] = [new MemoryStore(), sqlite(t)]
  const store = new MigratingStore({ from, to })
  const sid = SessionId.generate()
  from.writeSession(req, sid, { a: 1 }, creating())
  const keys = Array.from({ length: 50 }, (_, i) => `key${i}`)
  const write = (key: string): Promise<boolean> => store.writeSession(req, sid, { a: 1 }, setting({ [key]: key }))
  const reads = keys.map(() => store.findSession(req, sid))
  t.ok((await Promise.all(keys.map(write))).every(Boolean))
  t.ok(
    (await Promise.all(reads)).every((found) => found?.data['a'] === 1),
    'and nobody misses it',
  )
  t.same(Object.keys((await store.findSession(req, sid))?.data ?? {}).toSorted(), ['a', ...keys].toSorted())
  t.equal(from.size, 0)
})

test('a session that is signed out while it moves does not come back', async (t) => {
  /** Lets something happen just before its nth find. */
  class Interrupted extends FileStore {
    finds = 0
    at: () => Promise<void> = async () => {}
    when = 0

    override async findSession(...args: Parameters<FileStore['findSession']>): ReturnType<FileStore['findSession']> {
      if (++this.finds === this.when) await this.at()
      return super.findSession(...args)
    }
  }
  for (const when of [1, 2]) {
    const [from, to] = [new Interrupted(t.testdir()), sqlite(t)]
    const store = new MigratingStore({ from, to })
    const sid = SessionId.generate()
    await from.writeSession(req, sid, { a: 1 }, creating())
    from.when = when
    from.at = async () => store.deleteSession(req, sid, { markUntil: Date.now() + 60_000 })
    t.equal(await store.writeSession(req, sid, { a: 2 }, setting({ a: 2 })), false, `find ${when}`)
    const left = await store.findSession(req, sid)
    t.ok(left === undefined || left.gone === true)
  }
})

test('migrate-stores takes over the sessions of a folder, and nobody is signed out', async (t) => {
  const folder = t.testdir()
  const sid = SessionId.generate()
  await new FileStore(join(folder, 'old')).writeSession(req, sid, { visits: 41 }, creating())
  const env = { OLD_SESSIONS: join(folder, 'old'), NEW_SESSIONS: join(folder, 'new.db') }
  const { port } = await start(t, 'migrate-stores', { env: { ...env, PORT: await freePort() } })
  const client = new Client(port)
  client.jar.set('_session_id', sid.publicId)
  t.equal((await client.get('/')).body, 'visit 42\n')
  t.same(await readdir(env.OLD_SESSIONS), [])
  const again = await start(t, 'migrate-stores', { env: { ...env, PORT: await freePort() } })
  const later = new Client(again.port)
  later.jar.set('_session_id', sid.publicId)
  t.equal((await later.get('/')).body, 'visit 43\n')
})
