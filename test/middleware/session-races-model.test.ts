import Database from 'better-sqlite3'
import expressSession from 'express-session'
import * as fc from 'fast-check'
import type { Redis } from 'ioredis'
import { Client as MemjsClient } from 'memjs'
import type { IncomingMessage } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import { test, type Test } from 'tap'
import {
  AbstractStore,
  Builder,
  cookies,
  CookieStore,
  MemoryStore,
  session,
  SessionId,
  type App,
  type DeleteOptions,
  type SessionData,
  type SessionStore,
  type StoredSession,
  type WriteOptions,
} from '../../lib/index.ts'
import { MockRequest } from '../../lib/testing.ts'
import { merge } from '../../stores/abstract-store.ts'
import { ExpressStore, type ExpressSessionStore } from '../../stores/express-store.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { fuzzing } from '../fuzz.ts'
import { memcached } from '../memcached.ts'
import { clientOf, startRedis } from '../redis.ts'
import { SECRET } from '../session-app.ts'
import {
  Account,
  changesOf,
  clock,
  demand,
  findIn,
  gated,
  Gates,
  isOwned,
  isReader,
  knows,
  listening,
  nextEvent,
  owner,
  OWNER,
  perform,
  step,
  visitOf,
  type Hash,
  type Method,
  type Played as Events,
  type Step,
  type Traits,
  type Visit,
} from '../session-scene.ts'

const { RUNS, SEED } = fuzzing(200, 300, 5)

const KEY = '_session_id'
const OLD_SECRET = 'the secret of last year, which is long enough and known to everybody'

/** Longer than a run takes: nothing but the order of the calls decides. */
const DEADLINE = 60_000

// ---- what is asked

/** Several requests of one browser, and the order in which they go on. */
interface Scene {
  /** What the browser has when they begin. */
  readonly begins: 'with nothing' | 'with an unknown id' | 'anonymous' | 'signed in'
  /** Seconds. */
  readonly refreshEvery: number
  /** Of the cookie store: whether the first cookie is sealed with the secret of last year. */
  readonly retired: boolean
  /** Who waits, waits longer than a marker stands. */
  readonly slow: boolean
  readonly requests: readonly (readonly Step[])[]
  /** Whom somebody signs out everywhere meanwhile. */
  readonly revokes: string | undefined
  /** Of all that waits, which goes on. */
  readonly order: readonly number[]
}

const scenes: fc.Arbitrary<Scene> = fc.record({
  begins: fc.oneof(
    { weight: 1, arbitrary: fc.constantFrom('with nothing', 'with an unknown id') },
    { weight: 3, arbitrary: fc.constantFrom('anonymous', 'signed in') },
  ),
  refreshEvery: fc.constantFrom(0, 1e9),
  retired: fc.boolean(),
  slow: fc.constantFrom(false, false, false, true),
  requests: fc.array(fc.array(step, { maxLength: 4 }), { minLength: 2, maxLength: 4 }),
  revokes: fc.option(owner, { nil: undefined, freq: 3 }),
  order: fc.array(fc.nat(11), { maxLength: 80, size: 'max' }),
})

// ---- the real one

interface Stage {
  readonly app: App
  /** The stack before its secret was changed. */
  readonly before: App
  readonly store: SessionStore
}

const PROBE = 'probe'

function stageOn(store: SessionStore, refreshEvery: number, visits: ReadonlyMap<string, Visit>, gates: Gates): Stage {
  const appWith = (secret: string | string[]): App =>
    new Builder()
      .use(cookies({ secret, clock }))
      .use(session<Hash>({ store, owner: OWNER, refreshEvery }))
      .run(async (req) => {
        const visit = visits.get(req.headers['x-visit'] as string)
        if (visit) {
          await perform(visit, req.session, gates)
          return [200, {}, '']
        }
        req.session.options.skip = true
        const data = await req.session
        return [200, {}, JSON.stringify({ data, id: req.session.id })]
      })
  return { app: appWith([SECRET, OLD_SECRET]), before: appWith(OLD_SECRET), store }
}

async function ask(app: App, visit: Visit): Promise<void> {
  const { headers } = await new MockRequest(app, { clock }).get('/', {
    headers: { 'x-visit': visit.name, ...(visit.sent === undefined ? {} : { cookie: `${KEY}=${visit.sent}` }) },
  })
  visit.commitEnded = nextEvent()
  const lines = (headers['set-cookie'] ?? []).filter((line) => line.startsWith(`${KEY}=`))
  if (lines.length > 1) throw new Error(`${visit.name} is told twice`)
  visit.told = /^[^=]*=([^;]*)/.exec(lines[0] ?? '')?.[1]
}

/** What a cookie opens, and the id that it says. */
async function probe({ app }: Stage, cookie: string): Promise<{ data: Hash; id: string | undefined }> {
  const { body } = await new MockRequest(app).get('/', { headers: { 'x-visit': PROBE, cookie: `${KEY}=${cookie}` } })
  return JSON.parse(body) as { data: Hash; id: string | undefined }
}

const ALL: Traits = { marks: true, buries: true, merges: true, renews: true }

/** What the stage of a scene is built on. */
interface Ground {
  /** One, or several on the same records, as in several processes. */
  readonly stores: readonly SessionStore[]
  /** The private ids under which anything was ever written. */
  readonly written: ReadonlySet<string>
}

interface Kind {
  readonly name: string
  readonly traits: Traits
  /** Gives what makes the ground of each scene. */
  readonly make: (t: Test) => Promise<(gates: Gates) => Promise<Ground>>
}

interface Played extends Events {
  readonly scene: Scene
  readonly stage: Stage
  readonly ground: Ground
  /** What the browser has at the end. */
  readonly held: string | undefined
}

const UNKNOWN = 'f'.repeat(32)

async function play(scene: Scene, groundOf: (gates: Gates) => Promise<Ground>, seals: boolean): Promise<Played> {
  const gates = new Gates()
  const ground = await groundOf(gates)
  const first = visitOf('first', [
    { do: 'write', key: 'a' },
    { do: 'nested' },
    ...(scene.begins === 'signed in' ? [{ do: 'sign in', owner: 'ada' } as const] : []),
  ])
  const wait = (act: Step): Step => (act.do === 'wait' && scene.slow ? { do: 'wait', ms: 61_000 } : act)
  const visits = scene.requests.map((steps, i) => visitOf(`r${i}`, steps.map(wait)))
  const byName = new Map([first, ...visits].map((visit) => [visit.name, visit]))
  const stages = ground.stores.map((store) => stageOn(store, scene.refreshEvery, byName, gates))
  const [stage] = stages as [Stage]
  return listening(byName, async () => {
    let held: string | undefined
    if (scene.begins === 'with an unknown id') held = UNKNOWN
    else if (scene.begins !== 'with nothing') {
      await ask(seals && scene.retired ? stage.before : stage.app, first)
      held = first.told
    }
    let revocation: Played['revocation']
    await gates.play(scene.order, () => {
      const actors = visits.map(async (visit, i) => {
        await gates.pass()
        visit.sent = held
        await ask((stages[i % stages.length] as Stage).app, visit)
        // responses do not arrive in the order in which they were sent
        await gates.pass()
        if (visit.told !== undefined) held = visit.told === '' ? undefined : visit.told
      })
      const { revokes } = scene
      const { store } = stage
      if (revokes !== undefined && isOwned(store)) {
        const revoke = async (): Promise<void> => {
          await gates.pass()
          const began = nextEvent()
          await store.deleteSessionsOf(revokes)
          revocation = { began, ended: nextEvent(), owner: revokes }
        }
        actors.push(revoke())
      }
      return actors
    })
    return { scene, slow: scene.slow, visits, stage, ground, first, revocation, held }
  })
}

// ---- what must hold

async function check(played: Played, { ...traits }: Traits): Promise<number> {
  // then there is none that could be relied on
  if (played.scene.slow) Object.assign(traits, { marks: false })
  const { visits, stage, ground } = played
  const account = new Account(played, traits)

  for (const visit of visits) {
    const { name, sent, outcome, told, read } = visit
    demand(told !== UNKNOWN, () => `${name}: an unknown id was adopted`)
    demand(told === undefined || told === '' || told !== sent, () => `${name}: is told what it sent`)
    const isNew = outcome === 'created' || outcome === 'renewed' || (outcome === 'reset' && told !== '')
    const ends = outcome === 'destroyed' || outcome === 'reset'
    demand(isNew || ends || told === undefined, () => `${name}: ${outcome}, and is told ${told}`)
    demand(!isNew || Boolean(told), () => `${name}: ${outcome}, and is told nothing`)
    if (isReader(visit)) {
      const still = outcome === undefined || outcome === 'unchanged'
      const touched = played.scene.refreshEvery === 0 && (outcome === 'refreshed' || outcome === 'dropped')
      demand(still || touched, () => `${name}: read, and ${outcome}`)
    }
    account.demandKept(visit)
    if (sent === undefined || visit.loadEnded === undefined) continue
    const gone = account.wasGone(sent, visit.loadBegan as number)
    if (gone || visit.loadOutcome !== 'found')
      demand(Object.keys(read).length === 0, () => `${name}: read what is gone`)
    // a revocation may be by a store that keeps no markers of it
    if (gone && traits.marks) demand(visit.loadOutcome === 'gone', () => `${name}: ${visit.loadOutcome}, and not gone`)
    if (visit.loadOutcome === 'found')
      account.demandData(`${name} reads`, sent, read, visit.loadBegan as number, visit.loadEnded)
  }

  // what was written to what is gone is dropped, and nothing is sent
  for (const { name, sent, outcome, left, base, commitBegan } of visits) {
    if (sent === undefined || !traits.marks || !traits.buries || !account.wasGone(sent, commitBegan)) continue
    const signsIn = left[OWNER] !== undefined && left[OWNER] !== base[OWNER]
    const may = ['dropped', 'unchanged', 'reset', 'destroyed', undefined, ...(signsIn ? ['created'] : [])]
    demand(may.includes(outcome), () => `${name}: ${outcome} after its session was gone`)
  }

  let live = 0
  const owned = new Map<string, string[]>()
  for (const id of account.ids) {
    const { data } = await probe(stage, id)
    const who = [played.first, ...visits].find(({ told }) => told === id)?.name
    const isLive = Object.keys(data).length > 0
    const enders = account.enders(id)
    const revoked = account.revoked(id)
    if (traits.buries && (enders.length > 0 || revoked === true)) {
      demand(!isLive, () => `of ${who}: gone by ${enders.map(({ name }) => name).join() || 'revocation'}, and is there`)
    }
    const found = await findIn(stage.store, SessionId.parse(id) as SessionId)
    const isThere = found !== undefined && found.gone !== true
    if (account.enders(id, true).length === 0 && revoked === false && !account.mayBeLost(id))
      demand(isThere, () => `of ${who}: was acknowledged, and is lost`)
    if (!isThere) continue
    live++
    account.demandData(`of ${who}`, id, data, Infinity, Infinity)
    const whose = data[OWNER] as string | undefined
    if (whose !== undefined)
      owned.set(whose, [...(owned.get(whose) ?? []), (SessionId.parse(id) as SessionId).privateId])
  }
  demand(Object.keys((await probe(stage, UNKNOWN)).data).length === 0, () => 'an unknown id was adopted')

  if (isOwned(stage.store)) {
    for (const whose of ['ada', 'bob']) {
      const listed = (await stage.store.sessionsOf(whose)).map((one) => one.id)
      const wanted = owned.get(whose) ?? []
      demand(
        isDeepStrictEqual(listed.toSorted(), wanted.toSorted()),
        () => `of ${whose} ${listed.length} are listed, and not ${wanted.length}`,
      )
    }
  }
  const known = new Set(account.ids.map((id) => (SessionId.parse(id) as SessionId).privateId))
  for (const privateId of ground.written) {
    const found = await findIn(stage.store, SessionId.ofPrivate(privateId))
    demand(
      found === undefined || found.gone === true || known.has(privateId),
      () => 'there is a record that no cookie names',
    )
  }
  return live
}

/** What a session in the cookie can promise. */
async function checkSealed({ scene, visits, stage, first, held }: Played): Promise<number> {
  const all = [first, ...visits]
  for (const visit of visits) {
    const { name, sent, outcome, told, read, left } = visit
    const before = all.find((one) => one.told === sent)
    if (visit.loadEnded !== undefined && visit.loadOutcome === 'found') {
      demand(
        !knows(before) || isDeepStrictEqual(read, before.left),
        () => `${name}: reads what ${before?.name} did not leave`,
      )
    }
    if (isReader(visit)) {
      const late = (visit.commitTime as number) - (visit.loadTime ?? 0) >= 1000
      const anew = (scene.retired && sent === first.told) || scene.refreshEvery === 0
      demand(
        outcome === undefined || outcome === (told === undefined ? 'unchanged' : 'refreshed'),
        () => `${name}: read, and ${outcome}`,
      )
      demand(told === undefined || (anew && !late), () => `${name}: read, and the cookie is sealed anew`)
    }
    if (told === undefined) continue
    if (told === '') {
      demand(outcome === 'destroyed' || outcome === 'reset', () => `${name}: ${outcome}, and the cookie is expired`)
      continue
    }
    const opened = await probe(stage, told)
    if (knows(visit)) {
      demand(
        isDeepStrictEqual(opened.data, left),
        () => `${name}: ${JSON.stringify(left)} was sealed as ${JSON.stringify(opened.data)}`,
      )
    }
    const { id } = sent === undefined ? { id: undefined } : await probe(stage, sent)
    const isSame = outcome === 'updated' || outcome === 'refreshed'
    demand((opened.id === id) === isSame, () => `${name}: ${outcome}, and its id is ${isSame ? 'another' : 'the same'}`)
    if (changesOf(visit).has(OWNER)) demand(!isSame, () => `${name}: signed in under the same id`)
  }
  if (held !== undefined && held !== UNKNOWN)
    demand(
      all.some(({ told }) => told === held),
      () => 'a cookie from nowhere',
    )
  return held === undefined ? 0 : 1
}

// ---- the stores

/** Notes under which ids something is written. */
function groundOf(stores: readonly AbstractStore[]): Ground {
  const written = new Set<string>()
  for (const store of stores) {
    const methods = store as unknown as Record<string, Method | undefined>
    for (const name of ['writeSession', 'renewSession']) {
      const method = methods[name]
      if (!method) continue
      methods[name] = (...args) => {
        for (const arg of args) if (arg instanceof SessionId) written.add(arg.privateId)
        return method.apply(store, args)
      }
    }
  }
  return { stores, written }
}

/** A store of somebody's own, with three methods and no more; with markers, or without. */
class OwnStore extends AbstractStore {
  readonly #records = new Map<string, string>()
  readonly #marks: boolean

  constructor(marks: boolean) {
    super()
    this.#marks = marks
  }

  override findSession(_req: IncomingMessage, sid: SessionId): StoredSession | undefined {
    const found = this.#records.get(sid.privateId)
    const record = found === undefined ? undefined : (JSON.parse(found) as StoredSession)
    return record && record.expiresAt > clock() ? record : undefined
  }

  override writeSession(req: IncomingMessage, sid: SessionId, data: SessionData, how: WriteOptions): boolean {
    const found = this.findSession(req, sid)
    if (how.create ? found !== undefined : found === undefined || found.gone === true) return false
    const { changes, createdAt, expiresAt, extend, owner } = how
    const record: StoredSession = {
      data: found === undefined || changes === 'all' ? data : merge(found.data, changes),
      createdAt,
      expiresAt: found !== undefined && extend ? Math.max(found.expiresAt, expiresAt) : expiresAt,
      owner,
    }
    this.#records.set(sid.privateId, JSON.stringify(record))
    return true
  }

  override deleteSession(req: IncomingMessage, sid: SessionId, { markUntil, successor }: DeleteOptions): void {
    const found = this.findSession(req, sid)
    if (found === undefined || found.gone === true) return
    this.#records.delete(sid.privateId)
    if (!this.#marks) return
    const marker: StoredSession = { data: {}, createdAt: 0, expiresAt: markUntil, gone: true, successor }
    this.#records.set(sid.privateId, JSON.stringify(marker))
  }
}

/** Of a client of ioredis each command waits for its turn. */
function gatedRedis(client: Redis, gates: Gates): Redis {
  const commands = new Set<unknown>(['evalsha', 'eval', 'hgetall', 'hmget', 'zrange', 'zrem'])
  return new Proxy(client, {
    get(target, name): unknown {
      const member = Reflect.get(target, name) as unknown
      if (!commands.has(name)) return member
      return async (...args: unknown[]) => gates.hold(() => (member as Method).apply(target, args))
    },
  })
}

/** Of a store for express-session each call waits for its turn. */
function gatedExpress(store: ExpressSessionStore, gates: Gates): ExpressSessionStore {
  const held = (
    ask: (callback: (...answer: unknown[]) => void) => unknown,
    answer: (...answer: never[]) => unknown,
  ): void =>
    void gates.hold(
      () =>
        new Promise<void>((resolve) =>
          ask((...answered) => {
            answer(...(answered as never[]))
            resolve()
          }),
        ),
    )
  return {
    get: (sid, callback) => held((answer) => store.get(sid, answer), callback),
    set: (sid, record, callback) => held((answer) => store.set(sid, record, answer), callback),
    destroy: (sid, callback) => held((answer) => store.destroy(sid, answer), callback),
  }
}

let prefixes = 0

const kinds: readonly Kind[] = [
  {
    name: 'MemoryStore',
    traits: ALL,
    make: async () => async (gates) => groundOf([gated(new MemoryStore({ clock }), gates)]),
  },
  {
    name: 'a store of three methods, with markers',
    traits: { ...ALL, renews: false },
    make: async () => async (gates) => groundOf([gated(new OwnStore(true), gates)]),
  },
  {
    name: 'a store of three methods, without markers',
    traits: { ...ALL, marks: false, renews: false },
    make: async () => async (gates) => groundOf([gated(new OwnStore(false), gates)]),
  },
  ...([undefined, 'activerecord'] as const).map((compatibility): Kind => ({
    name: `SqliteStore ${compatibility ?? ''}`,
    traits: ALL,
    make: async (t) => {
      const database = new Database(':memory:')
      t.teardown(() => void database.close())
      return async (gates) => {
        const options = { database, clock, sweepEvery: 0, ...(compatibility && { compatibility }) }
        const stores = [new SqliteStore(options), new SqliteStore(options)] as const
        await stores[0].clear()
        return groundOf(stores.map((store) => gated(store, gates)))
      }
    },
  })),
  {
    name: 'RedisStore',
    traits: ALL,
    make: async (t) => {
      const client = clientOf(t, await startRedis(t))
      return async (gates) => {
        await client.flushdb()
        const options = { client: gatedRedis(client, gates), deadline: DEADLINE, clock }
        return groundOf([new RedisStore(options), new RedisStore(options)])
      }
    },
  },
  {
    name: 'MemcachedStore',
    traits: ALL,
    make: async (t) => {
      const { server } = await memcached(t)
      const memjs = MemjsClient.create(server, { retries: 1, timeout: DEADLINE / 1000 })
      t.teardown(() => memjs.close())
      return async (gates) => {
        const perform: typeof memjs.perform = (name, request, seq, callback, retries) =>
          void gates.hold(
            () =>
              new Promise<void>((resolve) => {
                const answer: typeof callback = (error, response) => {
                  callback?.(error, response)
                  resolve()
                }
                memjs.perform(name, request, seq, answer, retries)
              }),
          )
        const client = new Proxy(memjs, {
          get: (target, name) => (name === 'perform' ? perform : Reflect.get(target, name)),
        })
        const options = { client, prefix: `${prefixes++}:`, deadline: DEADLINE, clock }
        return groundOf([new MemcachedStore(options), new MemcachedStore(options)])
      }
    },
  },
  {
    name: 'ExpressStore',
    traits: { marks: false, buries: false, merges: false, renews: false },
    make: async () => async (gates) => {
      const store = gatedExpress(new expressSession.MemoryStore(), gates)
      return groundOf([new ExpressStore(store, { deadline: DEADLINE, clock })])
    },
  },
]

for (const { name, traits, make } of kinds) {
  test(`${name}: whatever the order of a browser's requests, what is gone stays gone, and what was acknowledged is kept`, async (t) => {
    const ground = await make(t)
    let found = 0
    const run = fc.asyncProperty(scenes, async (scene) => {
      if ((await check(await play(scene, ground, false), traits)) > 0) found++
    })
    await fc.assert(run, { numRuns: RUNS, ...SEED })
    t.ok(found > RUNS / 10, `${found} of ${RUNS} ended in a session`)
  })
}

test('CookieStore: of requests at once each seals what it left, one that only reads nothing, and who signs in has a new id', async (t) => {
  let found = 0
  const run = fc.asyncProperty(scenes, async (scene) => {
    const ground = async (): Promise<Ground> => ({ stores: [new CookieStore()], written: new Set() })
    found += await checkSealed(await play(scene, ground, true))
  })
  await fc.assert(run, { numRuns: RUNS, ...SEED })
  t.ok(found > RUNS / 10, `${found} of ${RUNS} ended in a session`)
})
