import { deepEqual, equal, ok } from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { test as nodeTest } from 'node:test'
import type { Awaitable } from '../lib/app.ts'
import { Keyring } from '../lib/keyring.ts'
import type { SessionChanges, SessionData } from '../lib/session-hash.ts'
import { SessionId } from '../lib/session-id.ts'
import type { SavedSession, StoreContext } from '../lib/session-store.ts'
import type { AbstractStore, OwnedStore, WriteOptions } from './abstract-store.ts'

export interface TestStoreOptions {
  /** What registers a test: `test` of tap, node:test or vitest. Default: node:test's. */
  test?: ((name: string, run: () => Promise<void>) => unknown) | undefined
  /** Put before each test's name. */
  name?: string | undefined
  /** The store keeps the changes of concurrent requests to different keys. Default `false`. */
  merges?: boolean | undefined
  /** The store leaves a marker where it removed a session. Default `false`. */
  markers?: boolean | undefined
  /** The store lists sessions by their owner (`OwnedStore`). Default `false`. */
  owners?: boolean | undefined
  /** The store's time in milliseconds since 1970, where it has a clock of its own. Default: `Date.now()`. */
  now?: (() => number) | undefined
  /** Lets that much time pass for the store, in milliseconds. Default: the tests that need it use times that are over. */
  advance?: ((milliseconds: number) => Awaitable<void>) | undefined
}

const HOUR = 3_600_000

const TRICKY: SessionData = JSON.parse(
  '{"text":"bar \\ud83d\\ude00 \\u00e9 ; , \\" \\\\ \\u0000","empty":"","zero":0,"no":false,"nothing":null,' +
    '"list":[1,[2,{"a":[]}]],"__proto__":{"admin":true},"constructor":1,"then":"then","a.b":{"c:d":1},"1":"one"}',
) as SessionData

/**
 * The contract of `AbstractStore`, as tests. Run it over a store of your own:
 *
 * ```ts
 * testStore(() => new FileStore('/tmp/sessions'))
 * ```
 *
 * @param create makes a store, or gives the same one again; called once for each test
 */
export function testStore(create: () => Awaitable<AbstractStore>, options: TestStoreOptions = {}): void {
  const { test = nodeTest, name, merges = false, markers = false, owners = false, now = Date.now, advance } = options
  const req = new IncomingMessage(new Socket())

  const check = (behaviour: string, run: (store: AbstractStore) => Promise<void>): void => {
    const title = name === undefined ? behaviour : `${name}: ${behaviour}`
    test(title, async () => run(await create()))
  }

  const write = (
    store: AbstractStore,
    sid: SessionId,
    data: SessionData,
    how: Partial<WriteOptions> = {},
  ): Awaitable<boolean> =>
    store.writeSession(req, sid, data, {
      create: true,
      changes: 'all',
      createdAt: now(),
      expiresAt: now() + HOUR,
      extend: false,
      owner: undefined,
      ...how,
    })

  const update = (set: SessionData, deleted: string[] = []): { create: false; changes: SessionChanges } => ({
    create: false,
    changes: { set, delete: deleted },
  })

  const read = async (store: AbstractStore, sid: SessionId): Promise<SessionData | undefined> => {
    const found = await store.findSession(req, sid)
    return found && found.gone !== true ? plain(found.data) : undefined
  }

  check('finds nothing under an id that was never written', async (store) => {
    equal(await store.findSession(req, SessionId.generate()), undefined)
  })

  check('gives back what was created', async (store) => {
    const sid = SessionId.generate()
    const createdAt = now()
    const expiresAt = createdAt + HOUR
    equal(await write(store, sid, { user: 'ada', cart: [{ id: 1 }] }, { createdAt, expiresAt }), true)
    const found = await store.findSession(req, sid)
    deepEqual(plain(found?.data), { user: 'ada', cart: [{ id: 1 }] })
    equal(found?.createdAt, createdAt)
    // a store may count in seconds
    ok(found !== undefined && Math.abs(found.expiresAt - expiresAt) <= 1000)
  })

  check('gives back every JSON value, and every key', async (store) => {
    const sid = SessionId.generate()
    await write(store, sid, TRICKY)
    deepEqual(await read(store, sid), plain(TRICKY))
  })

  check('keeps a session that is empty, and one that was emptied', async (store) => {
    const [empty, emptied] = [SessionId.generate(), SessionId.generate()]
    await write(store, empty, {})
    deepEqual(await read(store, empty), {})
    await write(store, emptied, { a: 1 })
    equal(await write(store, emptied, {}, update({}, ['a'])), true)
    deepEqual(await read(store, emptied), {})
  })

  check('keeps 100 kB', async (store) => {
    const sid = SessionId.generate()
    const text = 'é'.repeat(50_000)
    await write(store, sid, { text })
    deepEqual(await read(store, sid), { text })
  })

  check('tells sessions apart', async (store) => {
    const [one, other] = [SessionId.generate(), SessionId.generate()]
    await write(store, one, { is: 'one' })
    await write(store, other, { is: 'other' })
    await store.deleteSession(req, one, { markUntil: now() + HOUR })
    equal(await read(store, one), undefined)
    deepEqual(await read(store, other), { is: 'other' })
  })

  check('changes a session', async (store) => {
    const sid = SessionId.generate()
    const createdAt = now() - 5000
    await write(store, sid, { a: 1, b: 2 }, { createdAt })
    equal(await write(store, sid, { a: 3, c: 4 }, { ...update({ a: 3, c: 4 }, ['b']), createdAt }), true)
    deepEqual(await read(store, sid), { a: 3, c: 4 })
    equal((await store.findSession(req, sid))?.createdAt, createdAt)
  })

  check('never creates with an update', async (store) => {
    const [never, deleted] = [SessionId.generate(), SessionId.generate()]
    equal(await write(store, never, { a: 1 }, update({ a: 1 })), false)
    equal(await read(store, never), undefined)
    await write(store, deleted, { a: 1 })
    await store.deleteSession(req, deleted, { markUntil: now() + HOUR })
    equal(await write(store, deleted, { a: 2 }, update({ a: 2 })), false)
    equal(await read(store, deleted), undefined)
  })

  check('never overwrites with a create', async (store) => {
    const sid = SessionId.generate()
    await write(store, sid, { a: 1 })
    equal(await write(store, sid, { a: 2 }), false)
    deepEqual(await read(store, sid), { a: 1 })
  })

  check('finds nothing, and updates nothing, once a session has expired', async (store) => {
    const sid = SessionId.generate()
    await write(store, sid, { a: 1 }, { expiresAt: advance ? now() + 1000 : now() - 1000 })
    await advance?.(2000)
    const found = await store.findSession(req, sid)
    ok(found === undefined || found.expiresAt <= now())
    equal(await write(store, sid, { a: 2 }, update({ a: 2 })), false)
  })

  check('deletes what does not exist without an error', async (store) => {
    await store.deleteSession(req, SessionId.generate(), { markUntil: now() + HOUR })
  })

  check('shares nothing with who wrote and who read', async (store) => {
    const sid = SessionId.generate()
    const list = [1]
    await write(store, sid, { list })
    list.push(2)
    const found = await store.findSession(req, sid)
    ok(found)
    ;(found.data['list'] as number[]).push(3)
    deepEqual(await read(store, sid), { list: [1] })
  })

  check('moves the expiry with an update', async (store) => {
    const sid = SessionId.generate()
    const expiresAt = now() + 2 * HOUR
    await write(store, sid, { a: 1 })
    await write(store, sid, { a: 1 }, { ...update({}), expiresAt })
    const found = await store.findSession(req, sid)
    ok(found !== undefined && Math.abs(found.expiresAt - expiresAt) <= 1000)
    deepEqual(plain(found.data), { a: 1 })
  })

  // ---- what the session makes of it

  const context = (): StoreContext => ({ key: '_session_id', now: now(), owner: undefined, sealer: new Keyring({}) })

  const save = async (store: AbstractStore, sid: SessionId, more: Partial<SavedSession>): Promise<string | undefined> =>
    store.toCookie(
      req,
      {
        sid,
        create: false,
        data: {},
        changes: { set: {}, delete: [] },
        createdAt: now(),
        expiresAt: now() + HOUR,
        extend: false,
        owner: undefined,
        ...more,
      },
      context(),
    )

  check('takes the public id for a cookie, and nothing else', async (store) => {
    const sid = SessionId.generate()
    equal(await save(store, sid, { create: true, data: { a: 1 } }), sid.publicId)
    deepEqual(plain((await store.fromCookie(req, sid.publicId))?.data), { a: 1 })
    for (const forged of [sid.privateId, sid.privateId.slice(3), sid.publicId.toUpperCase(), '', `${sid.publicId} `]) {
      equal(await store.fromCookie(req, forged), undefined)
    }
  })

  check('extends a session without a change', async (store) => {
    const sid = SessionId.generate()
    const expiresAt = now() + 2 * HOUR
    await save(store, sid, { create: true, data: { a: 1 } })
    equal(await save(store, sid, { data: { a: 1 }, expiresAt }), sid.publicId)
    const found = await store.findSession(req, sid)
    deepEqual(plain(found?.data), { a: 1 })
    ok(found !== undefined && Math.abs(found.expiresAt - expiresAt) <= 1000)
    equal(await save(store, SessionId.generate(), { expiresAt }), undefined)
  })

  check('renews a session: the data under a new id, and nothing under the old one', async (store) => {
    const [from, to] = [SessionId.generate(), SessionId.generate()]
    await save(store, from, { create: true, data: { a: 1, b: 2 } })
    const changes = { set: { c: 3 }, delete: ['b'] }
    equal(await save(store, to, { replaces: from, data: { a: 1, c: 3 }, changes }), to.publicId)
    deepEqual(await read(store, to), { a: 1, c: 3 })
    equal(await read(store, from), undefined)
    equal(await write(store, from, { a: 9 }, update({ a: 9 })), false)
  })

  check('renews nothing that is gone', async (store) => {
    const [from, to, never] = [SessionId.generate(), SessionId.generate(), SessionId.generate()]
    await save(store, from, { create: true, data: { a: 1 } })
    await store.forgetCookie(req, from.publicId, context())
    equal(await save(store, to, { replaces: from, data: { a: 1 } }), undefined)
    equal(await save(store, to, { replaces: never, data: { a: 1 } }), undefined)
    equal(await read(store, to), undefined)
  })

  check('renews what is stored, and not what was loaded', async (store) => {
    const [from, to] = [SessionId.generate(), SessionId.generate()]
    await save(store, from, { create: true, data: { a: 1 } })
    await save(store, from, { data: { a: 1, b: 2 }, changes: { set: { b: 2 }, delete: [] } })
    await save(store, to, { replaces: from, data: { a: 1 } })
    deepEqual(await read(store, to), { a: 1, b: 2 })
  })

  if (merges) {
    check('never moves the expiry back, but where the idle time itself was changed', async (store) => {
      const sid = SessionId.generate()
      const [late, early] = [now() + 3 * HOUR, now() + HOUR]
      await write(store, sid, { a: 1 }, { expiresAt: late })
      await write(store, sid, { a: 2 }, { ...update({ a: 2 }), expiresAt: early, extend: true })
      ok(Math.abs(((await store.findSession(req, sid))?.expiresAt ?? 0) - late) <= 1000)
      await save(store, sid, { expiresAt: early, extend: true })
      ok(Math.abs(((await store.findSession(req, sid))?.expiresAt ?? 0) - late) <= 1000)
      await write(store, sid, { a: 3 }, { ...update({ a: 3 }), expiresAt: early, extend: false })
      ok(Math.abs(((await store.findSession(req, sid))?.expiresAt ?? 0) - early) <= 1000)
    })

    check('keeps the changes of 100 concurrent requests to different keys', async (store) => {
      const sid = SessionId.generate()
      await write(store, sid, { a: 1 })
      const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
      await Promise.all(keys.map(async (key) => write(store, sid, { a: 1, [key]: key }, update({ [key]: key }))))
      deepEqual(await read(store, sid), { a: 1, ...Object.fromEntries(keys.map((key) => [key, key])) })
    })
  }

  if (owners) {
    const listed = async (store: AbstractStore): Promise<AbstractStore & OwnedStore> => {
      ok('sessionsOf' in store && 'deleteSessionsOf' in store)
      return Promise.resolve(store as AbstractStore & OwnedStore)
    }
    const idsOf = async (store: OwnedStore, owner: string | number): Promise<string[]> =>
      (await store.sessionsOf(owner)).map(({ id }) => id).toSorted()
    const idsIn = (...sids: SessionId[]): string[] => sids.map(({ privateId }) => privateId).toSorted()

    check("lists an owner's sessions, and nobody else's", async (created) => {
      const store = await listed(created)
      const [owner, other] = [SessionId.generate().publicId, SessionId.generate().publicId]
      const [a, b, c, d] = [SessionId.generate(), SessionId.generate(), SessionId.generate(), SessionId.generate()]
      const createdAt = now() - 1000
      await write(store, a, { user: owner }, { owner, createdAt })
      await write(store, b, { user: owner }, { owner })
      await write(store, c, { user: other }, { owner: other })
      await write(store, d, {})
      deepEqual(await idsOf(store, owner), idsIn(a, b))
      deepEqual(await idsOf(store, other), idsIn(c))
      const summary = (await store.sessionsOf(owner)).find(({ id }) => id === a.privateId)
      equal(summary?.createdAt, createdAt)
      ok(summary !== undefined && summary.lastSeenAt >= createdAt && summary.expiresAt > now())
    })

    check('forgets in the list what was removed, renewed, or given to another owner', async (created) => {
      const store = await listed(created)
      const owner = SessionId.generate().publicId
      const [a, b, c, to] = [SessionId.generate(), SessionId.generate(), SessionId.generate(), SessionId.generate()]
      for (const sid of [a, b, c]) await write(store, sid, { user: owner }, { owner })
      await store.deleteSession(req, a, { markUntil: now() + HOUR })
      await save(store, to, { replaces: b, data: { user: owner }, owner })
      await save(store, c, { data: {}, changes: { set: {}, delete: ['user'] } })
      deepEqual(await idsOf(store, owner), idsIn(to))
    })

    check("removes all of an owner's sessions, all but one, or one", async (created) => {
      const store = await listed(created)
      const owner = SessionId.generate().publicId
      const sids = [SessionId.generate(), SessionId.generate(), SessionId.generate(), SessionId.generate()] as const
      const stranger = SessionId.generate()
      for (const sid of sids) await write(store, sid, { user: owner }, { owner })
      await write(store, stranger, { user: 'other' }, { owner: 'other' })
      equal(await store.deleteSessionsOf(owner, { only: sids[0].privateId }), 1)
      deepEqual(await idsOf(store, owner), idsIn(sids[1], sids[2], sids[3]))
      equal(await store.deleteSessionsOf(owner, { only: stranger.privateId }), 0)
      equal(await store.deleteSessionsOf(owner, { except: sids[1].publicId }), 2)
      deepEqual(await idsOf(store, owner), idsIn(sids[1]))
      equal(await read(store, sids[2]), undefined)
      equal(await write(store, sids[2], {}, update({ a: 1 })), false)
      equal(await store.deleteSessionsOf(owner), 1)
      deepEqual(await idsOf(store, owner), [])
      ok(await read(store, stranger))
    })

    check('lets no session escape by a renewal when all are removed', async (created) => {
      const store = await listed(created)
      const owner = SessionId.generate().publicId
      const pairs = Array.from({ length: 20 }, () => [SessionId.generate(), SessionId.generate()] as const)
      for (const [from] of pairs) await write(store, from, { user: owner }, { owner })
      const renewals = pairs.map(([from, to]) => save(store, to, { replaces: from, data: { user: owner }, owner }))
      // every one of them was there when they were all removed, under whatever id
      await Promise.all([store.deleteSessionsOf(owner), ...renewals])
      deepEqual(await idsOf(store, owner), [])
      for (const [from, to] of pairs) {
        equal(await read(store, from), undefined)
        equal(await read(store, to), undefined)
      }
    })
  }

  if (markers) {
    check('marks where a session was removed, until the marker ends', async (store) => {
      const sid = SessionId.generate()
      await write(store, sid, { a: 1 })
      await store.deleteSession(req, sid, { markUntil: now() + 60_000 })
      const marker = await store.findSession(req, sid)
      equal(marker?.gone, true)
      deepEqual(plain(marker?.data), {})
      equal(await write(store, sid, { a: 2 }), false)
      if (advance) {
        await advance(61_000)
        equal(await store.findSession(req, sid), undefined)
      }
    })

    check('keeps the name of the successor in a marker that is removed once more', async (store) => {
      const [from, to] = [SessionId.generate(), SessionId.generate()]
      await save(store, from, { create: true, data: { a: 1 } })
      await save(store, to, { replaces: from, data: { a: 1 } })
      await store.deleteSession(req, from, { markUntil: now() + 60_000 })
      equal((await store.findSession(req, from))?.successor, to.privateId)
    })

    check('leaves no marker where there was no session', async (store) => {
      const sid = SessionId.generate()
      await store.deleteSession(req, sid, { markUntil: now() + 60_000 })
      equal(await store.findSession(req, sid), undefined)
    })

    check('removes what a session was renewed to, when it is removed by its old id', async (store) => {
      const ids = [SessionId.generate(), SessionId.generate(), SessionId.generate()] as const
      await save(store, ids[0], { create: true, data: { a: 1 } })
      await save(store, ids[1], { replaces: ids[0], data: { a: 1 } })
      await save(store, ids[2], { replaces: ids[1], data: { a: 1 } })
      await store.forgetCookie(req, ids[0].publicId, context())
      for (const sid of ids) equal(await read(store, sid), undefined)
    })
  }
}

/** An ordinary object, which compares with one whatever its prototype. */
function plain(data: SessionData | undefined): SessionData | undefined {
  return data && Object.fromEntries(Object.entries(data))
}
