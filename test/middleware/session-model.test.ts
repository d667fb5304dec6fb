import { isDeepStrictEqual } from 'node:util'
import expressSession from 'express-session'
import * as fc from 'fast-check'
import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  flash,
  MemoryStore,
  session,
  type App,
  type Flash,
  type FlashHandle,
  type JsonValue,
  type SessionHandle,
  type SessionRequestOptions,
  type SessionStore,
} from '../../lib/index.ts'
import { MockRequest, type MockResponse } from '../../lib/testing.ts'
import { ExpressStore } from '../../stores/express-store.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { fuzzing } from '../fuzz.ts'
import { memcached } from '../memcached.ts'
import { clientOf, startRedis } from '../redis.ts'
import { SECRET } from '../session-app.ts'

const { RUNS, SEED } = fuzzing()

const KEY = '_session_id'
const OWNER = 'userId'
const TTL = 1000

/**
 * The one clock of the layers, the stores and the browser. It only goes forward, also from one sequence to the next;
 * and it is years ahead, since express-session's MemoryStore goes by the true one.
 */
let time = Date.now() + 10 * 365 * 24 * 3600 * 1000
const clock = (): number => time

// ---- what a request may do

type Hash = Record<string, unknown>

type Act =
  | { do: 'await' | 'await twice' | 'clear' | 'reset' | 'renew' | 'destroy' | 'id' | 'exists' | 'loaded' }
  | { do: 'read' | 'set again' | 'delete' | 'hold' | 'set undefined'; key: string }
  | { do: 'set' | 'reset and set'; key: string; value: JsonValue }
  | { do: 'alias'; key: string; to: string }
  | { do: 'change in place'; key: string; value: JsonValue }
  | { do: 'change what was held'; value: JsonValue }
  | { do: 'assign'; values: Record<string, JsonValue> }
  | { do: 'skip' | 'no touch' }
  | { do: 'expireAfter'; seconds: number }
  | { do: 'wait'; ms: number }
  | { do: 'flash keep' }
  | { do: 'flash read'; key: string }
  | { do: 'flash set' | 'flash now'; key: string; value: string }

/** What a controller has of the session and the flash, be it the real one or the model's. */
interface Visit {
  readonly session: Omit<SessionHandle<Hash>, 'then'>
  readonly flash: Pick<FlashHandle<Hash>, 'now' | 'keep'>
  load(): Promise<Hash>
  loadFlash(): Promise<Hash>
}

/** What a controller noticed: values as JSON, error codes; ids apart, since those of the model are numbers. */
interface Notes {
  readonly seen: string[]
  readonly ids: (string | number | undefined)[]
}

async function perform(acts: readonly Act[], visit: Visit, { seen, ids }: Notes): Promise<void> {
  const held: { value?: unknown } = {}
  for (const act of acts) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- one after the other, as in a controller
      const result = await performOne(act, visit, held, ids)
      seen.push(canonical(result))
    } catch (error) {
      seen.push((error as { code?: string }).code ?? String(error))
    }
  }
}

async function performOne(act: Act, visit: Visit, held: { value?: unknown }, ids: Notes['ids']): Promise<unknown> {
  const { session: handle } = visit
  switch (act.do) {
    case 'await':
      return { ...(await visit.load()) }
    case 'await twice':
      return (await visit.load()) === (await visit.load())
    case 'read':
      return (await visit.load())[act.key]
    case 'set':
      ;(await visit.load())[act.key] = structuredClone(act.value)
      return undefined
    case 'set undefined':
      ;(await visit.load())[act.key] = undefined
      return undefined
    case 'set again': {
      const hash = await visit.load()
      if (act.key in hash) hash[act.key] = structuredClone(hash[act.key])
      return undefined
    }
    case 'delete':
      return delete (await visit.load())[act.key]
    case 'alias': {
      const hash = await visit.load()
      hash[act.to] = hash[act.key]
      return undefined
    }
    case 'hold':
      held.value = (await visit.load())[act.key]
      return held.value
    case 'change in place':
      return change((await visit.load())[act.key], act.value)
    case 'change what was held':
      return change(held.value, act.value)
    case 'assign':
      Object.assign(await visit.load(), structuredClone(act.values))
      return undefined
    case 'clear':
      return handle.clear()
    case 'reset':
      return { ...handle.reset() }
    case 'reset and set':
      handle.reset()[act.key] = structuredClone(act.value)
      return undefined
    case 'renew':
      return handle.renew()
    case 'destroy':
      return handle.destroy()
    case 'id':
      ids.push(handle.id)
      return undefined
    case 'exists':
      return handle.exists
    case 'loaded':
      return handle.loaded
    case 'skip':
      handle.options.skip = true
      return undefined
    case 'no touch':
      handle.options.touch = false
      return undefined
    case 'expireAfter':
      handle.options.expireAfter = act.seconds
      return undefined
    case 'wait':
      time += act.ms
      return undefined
    case 'flash read':
      return (await visit.loadFlash())[act.key]
    case 'flash set':
      ;(await visit.loadFlash())[act.key] = act.value
      return undefined
    case 'flash now':
      visit.flash.now[act.key] = act.value
      return undefined
    case 'flash keep':
      void visit.flash.keep()
      return undefined
    default:
      throw new Error('no such act')
  }
}

/** Changes a list or an object in place; anything else is left alone. */
function change(value: unknown, by: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (!Array.isArray(value)) (value as Hash)['in'] = structuredClone(by)
  // a list does not grow without end, since a cookie does not hold more
  else if (value.length > 3) value.shift()
  else value.push(structuredClone(by))
  return true
}

/** JSON, with the keys of objects in order. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined'
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join()}}`
}

// ---- the model

/** Times are in seconds. */
interface Options {
  readonly expireAfter: number | undefined
  readonly refreshEvery: number | undefined
  readonly maxLifetime: number
}

interface Saved {
  readonly id: number
  readonly data: Hash
  readonly createdAt: number
  readonly expiresAt: number
  /** An idle time of its own, in seconds. */
  readonly idle: number | undefined
}

/** A browser, what its cookie says, and the session that it stands for. */
class Model {
  readonly inCookie: boolean
  readonly options: Options
  saved: Saved | undefined
  /** `until` is the session's end where the cookie tells it; the cookie itself ends with the whole second after. */
  cookie: { readonly until: number | undefined; readonly ends: number } | undefined
  #ids = 0

  constructor(options: Options, inCookie: boolean) {
    this.options = options
    this.inCookie = inCookie
  }

  newId(): number {
    return ++this.#ids
  }

  /** The session as it could be loaded now. */
  get live(): Saved | undefined {
    if (this.cookie === undefined || this.cookie.ends <= time) this.cookie = this.saved = undefined
    return this.saved !== undefined && this.saved.expiresAt > time ? this.saved : undefined
  }

  /** Seconds that a session may be idle, here in milliseconds. */
  idle(own: number | undefined): number {
    return (own ?? this.options.expireAfter ?? TTL) * 1000
  }

  end(now: number, idle: number | undefined, createdAt: number): number {
    return Math.min(now + this.idle(idle), createdAt + this.options.maxLifetime * 1000)
  }

  /** Keeps a session; whether the browser is told. */
  keep(saved: Saved): boolean {
    const until = (saved.idle ?? this.options.expireAfter) === undefined ? undefined : saved.expiresAt
    const isMoved = until !== undefined && until !== this.cookie?.until
    const isTold = this.inCookie || this.cookie === undefined || saved.id !== this.saved?.id || isMoved
    const data = Object.assign(Object.create(null) as Hash, JSON.parse(JSON.stringify(saved.data)))
    this.saved = { ...saved, data }
    if (isTold) this.cookie = { until, ends: until === undefined ? Infinity : secondsFrom(time, until) }
    return isTold
  }
}

function secondsFrom(now: number, until: number): number {
  return now + Math.ceil((until - now) / 1000) * 1000
}

type Told = 'sent' | 'expired' | 'none'

class ModelVisit implements Visit {
  readonly #model: Model
  readonly #sent: boolean
  #looked = false
  #destroyed = false
  #hash: Hash | undefined
  #watchedHash: Hash | undefined
  #record: Saved | undefined
  #loadedAt = 0
  #reset = false
  #renew = false
  #clear = false
  #written = false
  #newId: number | undefined
  #options: SessionRequestOptions = {}
  #flash: { readonly values: Hash; readonly kept: Set<string> } | undefined
  #pending: (() => void)[] = []

  constructor(model: Model) {
    this.#model = model
    void model.live
    this.#sent = model.cookie !== undefined
  }

  get session(): Visit['session'] {
    const id = (): number | undefined => this.#id()
    const exists = (): boolean => {
      this.#looked = true
      return this.#sent
    }
    const loaded = (): boolean => this.#hash !== undefined
    return {
      options: this.#options,
      get id() {
        return id() as unknown as string | undefined
      },
      get exists() {
        return exists()
      },
      get loaded() {
        return loaded()
      },
      clear: () => {
        this.#mayChange()
        if (this.#hash) this.#empty(this.#watched(this.#hash))
        else this.#clear = true
      },
      reset: () => {
        this.#mayChange()
        this.#reset = true
        this.#renew = this.#clear = false
        return this.#restart()
      },
      renew: () => {
        this.#mayChange()
        if (!this.#reset) this.#renew = true
      },
      destroy: () => {
        if (this.#destroyed) return
        this.#mayChange()
        this.#restart()
        this.#destroyed = true
      },
    }
  }

  get flash(): Visit['flash'] {
    const now = new Proxy<Hash>(
      {},
      {
        set: (_target, key: string, value) => {
          this.#ask(({ values, kept }) => {
            values[key] = value
            kept.delete(key)
          })
          return true
        },
      },
    )
    const keep = (): PromiseLike<Flash<Hash>> => {
      this.#mayWrite()
      this.#ask(({ values, kept }) => Object.keys(values).forEach((key) => kept.add(key)))
      return Promise.resolve({})
    }
    return { now, keep }
  }

  async load(): Promise<Hash> {
    return this.#load()
  }

  async loadFlash(): Promise<Hash> {
    const { values, kept } = this.#loadFlash()
    return new Proxy(values, {
      set: (_target, key: string, value) => {
        this.#mayWrite()
        values[key] = value
        kept.add(key)
        return true
      },
    })
  }

  /** What the response does. */
  end(): { told: Told; looked: boolean; isPrivate: boolean } {
    if (this.#flash || this.#pending.length > 0) {
      const { values, kept } = this.#loadFlash()
      const hash = this.#load()
      const left = Object.entries(values).filter(([key]) => kept.has(key))
      if (left.length > 0) hash['flash'] = { discard: [], flashes: Object.fromEntries(left) }
      else if ('flash' in hash) delete hash['flash']
    }
    if (this.#hash === undefined && this.#sent) {
      if (this.#renew || this.#clear || this.#options.expireAfter !== undefined) this.#load()
    }
    const sent = this.#sent
    const found = this.#hash === undefined || this.#reset ? sent : this.#record !== undefined
    const told = this.#hash === undefined ? 'none' : this.#commit(this.#hash)
    return { told, looked: this.#looked, isPrivate: this.#looked && (found || told !== 'none') }
  }

  #commit(data: Hash): Told {
    const model = this.#model
    const { expireAfter: idle, skip, touch } = this.#options
    const isEmpty = Object.keys(data).length === 0
    if (this.#destroyed || (this.#reset && isEmpty && skip !== true)) {
      model.cookie = model.saved = undefined
      return this.#sent ? 'expired' : 'none'
    }
    if (skip === true) return 'none'

    const record = this.#record
    const create = (content: Hash): Told => {
      const expiresAt = model.end(time, idle, time)
      const id = this.#newId ?? model.newId()
      return model.keep({ id, data: content, createdAt: time, expiresAt, idle }) ? 'sent' : 'none'
    }
    if (this.#reset) return create(data)
    if (record === undefined) return isEmpty ? 'none' : create(data)

    const isLost = !model.inCookie && record.expiresAt <= time
    const isOther = (key: string): boolean => canonical(data[key]) !== canonical(record.data[key])
    const own = idle ?? record.idle
    if (this.#renew || isOther(OWNER)) {
      if (isLost) {
        const isOwned = isOther(OWNER) && data[OWNER] !== undefined && data[OWNER] !== null
        // whoever signs in is signed in, with what this request wrote
        return isOwned ? create(Object.fromEntries(Object.entries(data).filter(([key]) => isOther(key)))) : 'none'
      }
      const createdAt = isOther(OWNER) ? time : record.createdAt
      const expiresAt = model.end(time, own, createdAt)
      return model.keep({ id: model.newId(), data, createdAt, expiresAt, idle: own }) ? 'sent' : 'none'
    }

    const isNewIdle = own !== record.idle
    const isChanged = isNewIdle || canonical(data) !== canonical(record.data)
    const { refreshEvery = model.idle(own) / 10_000 } = model.options
    const isDue = touch !== false && time - (record.expiresAt - model.idle(own)) >= refreshEvery * 1000
    const until = model.end(time, own, record.createdAt)
    const expiresAt = isNewIdle ? until : isDue ? Math.max(until, record.expiresAt) : record.expiresAt
    if (!isChanged && expiresAt === record.expiresAt) return 'none'
    // what is sealed anew a second later could undo a sign-out
    if (!isChanged && model.inCookie && time - this.#loadedAt >= 1000) return 'none'
    if (isLost) return 'none'
    return model.keep({ ...record, data, expiresAt, idle: own }) ? 'sent' : 'none'
  }

  #load(): Hash {
    if (this.#hash) return this.#watched(this.#hash)
    this.#looked = true
    this.#record = this.#sent ? this.#model.live : undefined
    this.#loadedAt = time
    this.#hash = Object.assign(Object.create(null) as Hash, structuredClone(this.#record?.data))
    if (this.#clear) this.#empty(this.#watched(this.#hash))
    return this.#watched(this.#hash)
  }

  #watched(hash: Hash): Hash {
    return (this.#watchedHash ??= new Proxy(hash, {
      set: (_target, key: string, value) => {
        this.#mayWrite()
        if (value === undefined) return delete this.#watched(hash)[key]
        this.#written = true
        hash[key] = value
        return true
      },
      deleteProperty: (_target, key: string) => {
        this.#mayWrite()
        this.#written ||= key in hash
        return delete hash[key]
      },
    }))
  }

  #empty(hash: Hash): void {
    for (const key of Object.keys(hash)) delete hash[key]
  }

  #restart(): Hash {
    this.#hash ??= Object.create(null) as Hash
    this.#empty(this.#hash)
    this.#written = false
    this.#newId = undefined
    this.#looked = true
    this.#pending = []
    if (this.#flash) {
      this.#empty(this.#flash.values)
      this.#flash.kept.clear()
    }
    return this.#watched(this.#hash)
  }

  #id(): number | undefined {
    this.#looked = true
    if (this.#destroyed) return undefined
    if (this.#record && !this.#reset) return this.#record.id
    return this.#written ? (this.#newId ??= this.#model.newId()) : undefined
  }

  #loadFlash(): { readonly values: Hash; readonly kept: Set<string> } {
    if (this.#flash) return this.#flash
    const { flashes = {} } = (this.#load()['flash'] ?? {}) as { flashes?: Hash }
    this.#flash = { values: { ...flashes }, kept: new Set() }
    for (const act of this.#pending) act()
    return this.#flash
  }

  #ask(act: (flash: { readonly values: Hash; readonly kept: Set<string> }) => void): void {
    const once = (): void => act(this.#loadFlash())
    if (this.#flash) once()
    else this.#pending.push(once)
  }

  #mayChange(): void {
    this.#mayWrite()
    this.#looked = true
  }

  #mayWrite(): void {
    if (this.#destroyed) throw Object.assign(new Error('destroyed'), { code: 'ERR_SESSION_DESTROYED' })
  }
}

// ---- what is asked

/** Names of members of every object and promise among them. */
const key = fc.constantFrom('a', 'b', '__proto__', 'then', 'constructor', OWNER)
const scalar = fc.oneof(
  fc.constantFrom<JsonValue>(null, true, false, 0, -0, 1, -1.5, 1e21, 5e-324, '', ' ', '\u0000', '\u2028</script>'),
  fc.string({ unit: 'grapheme', maxLength: 4 }),
)
const value: fc.Arbitrary<JsonValue> = fc.oneof(
  scalar,
  fc.array(fc.oneof(scalar, fc.array(scalar, { maxLength: 2 })), { maxLength: 2 }),
  fc.array(fc.tuple(fc.constantFrom('x', 'in', '__proto__', 'toJSON'), scalar), { maxLength: 2 }).map(membersOf),
)

/** As JSON.parse makes an object, for which `__proto__` is a key like any other. */
function membersOf(members: readonly (readonly [string, JsonValue])[]): Record<string, JsonValue> {
  return Object.fromEntries(members)
}

const message = fc.constantFrom('hello', 'bye')
const flashKey = fc.constantFrom('notice', 'alert')
const seconds = fc.constantFrom(1, 10, TTL, 2 * TTL, 10 * TTL)
const ms = fc.constantFrom(0, 1, 999, 1000, 50_000, 100_000, 500_000, 999_999, 1_000_000, 3_000_000)

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('set'), key, value }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constantFrom('read', 'set again', 'delete', 'hold', 'set undefined'), key }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom('await', 'await twice', 'id', 'exists', 'loaded') }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('clear', 'reset', 'renew', 'destroy', 'skip', 'no touch') }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('change in place'), key, value }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('change what was held'), value }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reset and set'), key, value }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('alias'), key, to: key }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('assign'),
      values: fc.array(fc.tuple(key, value), { maxLength: 2 }).map(membersOf),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expireAfter'), seconds }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait'), ms }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('flash keep') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flash read'), key: flashKey }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('flash set', 'flash now'), key: flashKey, value: message }) },
)

const acts = fc.array(act, { maxLength: 6 })

const requests = fc.array(fc.record({ before: ms, acts }), { minLength: 1, maxLength: 6 })

const OPTIONS: readonly Options[] = [
  // nothing is ever extended
  { expireAfter: undefined, refreshEvery: 1e9, maxLifetime: Infinity },
  { expireAfter: TTL, refreshEvery: undefined, maxLifetime: Infinity },
  { expireAfter: TTL, refreshEvery: 0, maxLifetime: 3 * TTL },
  { expireAfter: undefined, refreshEvery: undefined, maxLifetime: 1.5 * TTL },
]

// ---- the real one

/** What the controller of the real stack is to do in the request that is under way. */
let plan: { acts: readonly Act[]; notes: Notes } = { acts: [], notes: { seen: [], ids: [] } }

function appOn(store: SessionStore, options: Options): App {
  return new Builder()
    .use(cookies({ secret: SECRET, clock }))
    .use(session<Hash>({ store, owner: OWNER, ...options }))
    .use(flash<Hash>())
    .run(async (req) => {
      const visit: Visit = {
        session: req.session,
        flash: req.flash,
        load: async () => req.session,
        loadFlash: async () => req.flash,
      }
      await perform(plan.acts, visit, plan.notes)
      return [200, { 'cache-control': 'public, max-age=60' }, 'done']
    })
}

function toldBy({ headers }: MockResponse): Told | 'twice' {
  const lines = (headers['set-cookie'] ?? []).filter((line) => line.startsWith(`${KEY}=`))
  if (lines.length === 0) return 'none'
  if (lines.length > 1) return 'twice'
  return lines[0]?.startsWith(`${KEY}=;`) === true ? 'expired' : 'sent'
}

/** Which id of the real session is which of the model's. */
class Ids {
  readonly #real = new Map<number, string>()
  readonly #known = new Set<string>()

  same(model: unknown, real: unknown): boolean {
    if (typeof model !== 'number' || typeof real !== 'string') return model === real
    const before = this.#real.get(model)
    if (before !== undefined) return before === real
    if (this.#known.has(real)) return false
    this.#real.set(model, real)
    this.#known.add(real)
    return true
  }
}

/** Throws where the stack and the model differ. */
async function play(app: App, model: Model, sequence: readonly { before: number; acts: readonly Act[] }[]) {
  const client = new MockRequest(app, { clock }).client()
  const ids = new Ids()
  const notesOf = async (acts: readonly Act[]): Promise<[Notes, MockResponse]> => {
    const notes: Notes = { seen: [], ids: [] }
    plan = { acts, notes }
    return [notes, await client.get('/')]
  }
  for (const [i, { before, acts }] of sequence.entries()) {
    time += before
    const began = time
    // oxlint-disable-next-line no-await-in-loop -- one request after the other
    const [real, response] = await notesOf(acts)
    time = began
    const wanted: Notes = { seen: [], ids: [] }
    const visit = new ModelVisit(model)
    // oxlint-disable-next-line no-await-in-loop
    await perform(acts, visit, wanted)
    const { told, looked, isPrivate } = visit.end()

    agree(`request ${i}: what it read`, real.seen, wanted.seen)
    agree(`request ${i}: Set-Cookie`, toldBy(response), told)
    agree(`request ${i}: vary`, response.headers.vary, looked ? 'cookie' : undefined)
    agree(`request ${i}: is private`, response.headers['cache-control'] !== 'public, max-age=60', isPrivate)
    for (const [n, id] of wanted.ids.entries()) {
      if (!ids.same(id, real.ids[n])) throw new Error(`request ${i}: id ${n} is ${real.ids[n]}, and not ${id}`)
    }

    const { live } = model
    // oxlint-disable-next-line no-await-in-loop
    const [left, probe] = await notesOf([{ do: 'skip' }, { do: 'await' }, { do: 'id' }, { do: 'exists' }])
    const exists = model.cookie !== undefined
    agree(`after request ${i}: what is left`, left.seen.slice(1), [
      canonical({ ...live?.data }),
      'undefined',
      `${exists}`,
    ])
    agree(`after request ${i}: a probe is told`, toldBy(probe), 'none')
    if (!ids.same(live?.id, left.ids[0])) throw new Error(`after request ${i}: the id is ${left.ids[0]}`)
  }
}

function agree(what: string, real: unknown, wanted: unknown): void {
  if (isDeepStrictEqual(real, wanted)) return
  throw new Error(`${what}: ${JSON.stringify(real)}, and in the model ${JSON.stringify(wanted)}`)
}

const stores: Record<string, (t: Test) => SessionStore | Promise<SessionStore>> = {
  CookieStore: () => new CookieStore({ ttl: TTL }),
  MemoryStore: () => new MemoryStore({ ttl: TTL, clock }),
  SqliteStore: (t) => {
    const store = new SqliteStore({ filename: ':memory:', ttl: TTL, clock, sweepEvery: 0 })
    t.teardown(() => store.close())
    return store
  },
  ExpressStore: () => new ExpressStore(new expressSession.MemoryStore(), { ttl: TTL, clock }),
  RedisStore: async (t) => new RedisStore({ client: clientOf(t, await startRedis(t)), ttl: TTL, clock }),
  MemcachedStore: async (t) => {
    const store = new MemcachedStore({ servers: (await memcached(t)).server, ttl: TTL, clock })
    t.teardown(() => store.close())
    return store
  },
}

for (const [name, make] of Object.entries(stores)) {
  test(`${name}: whatever a browser's requests do to a session is what an ordinary object would have come to`, async (t) => {
    const store = await make(t)
    const apps = OPTIONS.map((options) => [appOn(store, options), options] as const)
    let found = 0
    const run = fc.asyncProperty(fc.constantFrom(...apps.keys()), requests, async (which, sequence) => {
      const [app, options] = apps[which] as (typeof apps)[number]
      const model = new Model(options, name === 'CookieStore')
      await play(app, model, sequence)
      if (model.live) found++
    })
    await fc.assert(run, { numRuns: RUNS, ...SEED })
    t.ok(found > RUNS / 10, `${found} of ${RUNS} ended in a session`)
  })
}
