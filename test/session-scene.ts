import * as fc from 'fast-check'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { sessionCommit, sessionLoad, type CommitMessage, type LoadMessage } from '../lib/channels.ts'
import type { AbstractStore, OwnedStore, SessionHandle, SessionId, SessionStore, StoredSession } from '../lib/index.ts'

/** The key of the data that names whose session it is. */
export const OWNER = 'userId'

/** The one clock. It is years ahead, since express-session's MemoryStore goes by the true one. */
let time = Date.now() + 10 * 365 * 24 * 3600 * 1000
export const clock = (): number => time

// ---- what is asked

export type Hash = Record<string, unknown>

export type Step =
  | { do: 'load' | 'nested' | 'clear' | 'reset' | 'renew' | 'destroy' | 'sign out' }
  | { do: 'read' | 'write' | 'delete'; key: string }
  | { do: 'sign in'; owner: string }
  | { do: 'wait'; ms: number }

const key: fc.Arbitrary<string> = fc.constantFrom('a', 'b', 'c')
export const owner: fc.Arbitrary<string> = fc.constantFrom('ada', 'bob')

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('load', 'nested') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('read'), key }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write'), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete'), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('clear', 'reset', 'sign out') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('renew', 'destroy') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('sign in'), owner }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait'), ms: fc.constantFrom(1, 999, 1000, 5000) }) },
)

// ---- the order

/** Where whoever is under way waits until it is his turn. */
export class Gates {
  readonly #waiting: (() => Promise<unknown>)[] = []
  #held = false
  #inside = false

  /** Waits for its turn, while others are under way. */
  async pass(): Promise<void> {
    await this.hold(() => {})
  }

  /** Does something when it is its turn. What it calls by itself belongs to it. */
  hold<T>(work: () => T | Promise<T>): T | Promise<T> {
    if (!this.#held || this.#inside) return work()
    return new Promise((resolve, reject) => {
      this.#waiting.push(async () => {
        this.#inside = true
        let done: T | Promise<T>
        try {
          done = work()
        } catch (error) {
          return reject(error)
        } finally {
          this.#inside = false
        }
        await Promise.resolve(done).then(resolve, reject)
      })
    })
  }

  /** Lets one after the other go on until all have ended. */
  async play(order: readonly number[], begin: () => readonly Promise<unknown>[]): Promise<void> {
    this.#held = true
    const actors = begin()
    const ended: unknown[] = []
    const all = Promise.all(actors.map((actor) => actor.finally(() => ended.push(actor))))
    all.catch(() => {})
    for (let i = 0, idle = 0; ended.length < actors.length || this.#waiting.length > 0;) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other is what it is about
      await turn()
      if (this.#waiting.length === 0) {
        if (++idle > 100_000) throw new Error('They wait for each other.')
        continue
      }
      idle = 0
      const [next] = this.#waiting.splice((order[i++] ?? 0) % this.#waiting.length, 1)
      // oxlint-disable-next-line no-await-in-loop
      await next?.()
    }
    this.#held = false
    await all
  }
}

// ---- what happened

/** A request. Times are numbers of the events of the scene. */
export interface Visit {
  readonly name: string
  readonly steps: readonly Step[]
  /** Its session's cookie. */
  sent?: string | undefined
  /** What it read, and how. */
  read: Hash
  loadOutcome?: LoadMessage['outcome']
  loadBegan?: number
  loadEnded?: number
  loadTime?: number
  /** What its changes are changes of: what it read, or nothing after a reset; and what it left. */
  base: Hash
  left: Hash
  outcome?: CommitMessage['outcome']
  commitBegan: number
  commitEnded: number
  commitTime?: number
  /** What the browser was told: a value, `''` for an expired cookie, or nothing. */
  told?: string | undefined
}

let events = 0

export function visitOf(name: string, steps: readonly Step[]): Visit {
  return { name, steps, read: {}, base: {}, left: {}, commitBegan: Infinity, commitEnded: Infinity }
}

const copy = (value: unknown): Hash => JSON.parse(JSON.stringify(value)) as Hash

export async function perform(visit: Visit, handle: SessionHandle<Hash>, gates: Gates): Promise<void> {
  let hash: Hash | undefined
  let destroyed = false
  const load = async (): Promise<Hash> => {
    if (hash) return hash
    // then there is nothing to load
    if (destroyed) return (hash = await handle)
    visit.loadBegan = events++
    visit.loadTime = time
    hash = await handle
    visit.loadEnded = events++
    visit.read = visit.base = copy(hash)
    return hash
  }
  for (const [i, act] of visit.steps.entries()) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other, as in a controller
    await gates.pass()
    try {
      // a value of its own, so that wherever it is found it is known who wrote it
      const value = `${visit.name}.${i}`
      // oxlint-disable-next-line no-await-in-loop
      if (act.do !== 'reset' && act.do !== 'renew' && act.do !== 'destroy' && act.do !== 'wait') await load()
      const data = hash as Hash
      if (act.do === 'write') data[act.key] = value
      else if (act.do === 'delete') delete data[act.key]
      else if (act.do === 'nested') ((data['list'] ??= []) as string[]).push(value)
      else if (act.do === 'clear') handle.clear()
      else if (act.do === 'sign in') data[OWNER] = act.owner
      else if (act.do === 'sign out') delete data[OWNER]
      else if (act.do === 'wait') time += act.ms
      else if (act.do === 'renew') handle.renew()
      else if (act.do === 'destroy') handle.destroy()
      else if (act.do === 'reset') hash = handle.reset()
      if (act.do === 'destroy') destroyed = true
      if (act.do === 'reset') visit.base = {}
    } catch (error) {
      if (!destroyed || (error as { code?: unknown }).code !== 'ERR_SESSION_DESTROYED') throw error
    }
  }
  await gates.pass()
  visit.left = copy({ ...hash })
  visit.commitBegan = events++
  visit.commitTime = time
}

/** What a request changed: `undefined` for a key that it deleted. */
export function changesOf({ base, left }: Visit): Map<string, unknown> {
  const keys = new Set([...Object.keys(base), ...Object.keys(left)])
  return new Map(
    [...keys].filter((name) => !isDeepStrictEqual(base[name], left[name])).map((name) => [name, left[name]]),
  )
}

export const isReader = ({ steps }: Visit): boolean => steps.every((act) => ['load', 'read', 'wait'].includes(act.do))

/** The number of an event, the later the higher. */
export function nextEvent(): number {
  return events++
}

/** Hears how each request loads and commits while something is done. They are told apart by the header x-visit. */
export async function listening<T>(visits: ReadonlyMap<string, Visit>, work: () => Promise<T>): Promise<T> {
  const visitBy = ({ req }: LoadMessage | CommitMessage): Visit | undefined =>
    visits.get(req.headers['x-visit'] as string)
  const onLoad = (message: unknown): void => {
    const visit = visitBy(message as LoadMessage)
    if (visit) visit.loadOutcome ??= (message as LoadMessage).outcome
  }
  const onCommit = (message: unknown): void => {
    const visit = visitBy(message as CommitMessage)
    if (visit) visit.outcome = (message as CommitMessage).outcome
  }
  sessionLoad.subscribe(onLoad)
  sessionCommit.subscribe(onCommit)
  try {
    return await work()
  } finally {
    sessionLoad.unsubscribe(onLoad)
    sessionCommit.unsubscribe(onCommit)
  }
}

/** Whether it is known what a request left: one that renews without a look does not tell. */
export const knows = (visit: Visit | undefined): visit is Visit =>
  visit?.loadEnded !== undefined || visit?.outcome === 'reset'

// ---- what must hold

/** What a store can promise of requests at once. */
export interface Traits {
  /** A marker is left where a session was. */
  readonly marks: boolean
  /** Ruling 6: what is gone stays gone. */
  readonly buries: boolean
  /** Ruling 8: changes of different keys are all kept. */
  readonly merges: boolean
  /** And across a renewal. */
  readonly renews: boolean
}

/** What was played. */
export interface Played {
  readonly visits: readonly Visit[]
  /** The one that made the session that the browser began with. */
  readonly first: Visit
  /** A request may have been held up for longer than a marker stands. */
  readonly slow?: boolean
  readonly revocation?: { readonly began: number; readonly ended: number; readonly owner: string } | undefined
}

export function demand(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new Error(what())
}

/** A value that a key may have, and when it was written. */
interface Written {
  readonly value: unknown
  readonly began: number
  readonly ended: number
}

/** The sessions of a scene as their requests tell them. */
export class Account {
  readonly #played: Played
  readonly #traits: Traits
  readonly #origin = new Map<string, Visit>()

  constructor(played: Played, traits: Traits) {
    this.#played = played
    this.#traits = traits
    for (const visit of [played.first, ...played.visits]) {
      // one that stays, as where it is brought over from another store, is the first one's
      if (!visit.told || (visit !== played.first && visit.told === visit.sent)) continue
      demand(!this.#origin.has(visit.told), () => `${visit.name}: an id is used twice`)
      this.#origin.set(visit.told, visit)
    }
  }

  /** Every id that a browser was told. */
  get ids(): string[] {
    return [...this.#origin.keys()]
  }

  /** An id, what it was renewed from, and so on. */
  chain(id: string): string[] {
    const visit = this.#origin.get(id)
    return visit?.outcome === 'renewed' && visit.sent !== undefined ? [id, ...this.chain(visit.sent)] : [id]
  }

  ownerOf(id: string): unknown {
    const visit = this.#origin.get(id)
    if (visit === undefined) return undefined
    const changes = changesOf(visit)
    if (changes.has(OWNER)) return changes.get(OWNER)
    return visit.outcome === 'renewed' ? this.ownerOf(visit.sent as string) : undefined
  }

  /**
   * The requests that ended what an id stood for: those that had the id, and where markers lead on, those that had one
   * of which it was renewed.
   */
  enders(id: string, markers: boolean = this.#traits.marks): Visit[] {
    const chain = markers ? this.chain(id) : [id]
    return this.#played.visits.filter(
      ({ outcome, sent, told }) =>
        (outcome === 'renewed' && sent === id && told !== id) ||
        ((outcome === 'destroyed' || outcome === 'reset') && sent !== undefined && chain.includes(sent)),
    )
  }

  /** Whether whoever signed the owner out everywhere reached this one; `undefined`: they met. */
  revoked(id: string): boolean | undefined {
    const { revocation } = this.#played
    if (revocation === undefined || this.ownerOf(id) !== revocation.owner) return false
    const since = this.chain(id).findLast((_older, i, all) =>
      all.slice(0, i + 1).every((each) => this.ownerOf(each) === revocation.owner),
    )
    const { commitBegan, commitEnded } = this.#origin.get(since as string) as Visit
    if (commitEnded < revocation.began) return true
    return commitBegan > revocation.ended ? false : undefined
  }

  /**
   * Whether a session may be lost without a request that ended it: somebody signed in, and was signed out everywhere
   * before his new session was there. He is signed in, with what he wrote. Or a renewal was held up for so long that it
   * is not known any more whether somebody signed out meanwhile.
   */
  mayBeLost(id: string): boolean {
    const { visits, revocation, slow = false } = this.#played
    return visits.some(
      ({ sent, outcome, left, commitBegan, commitEnded }) =>
        sent === id &&
        ((slow && (outcome === 'created' || outcome === 'dropped')) ||
          (outcome === 'created' &&
            left[OWNER] === revocation?.owner &&
            commitBegan < (revocation?.ended ?? 0) &&
            commitEnded > (revocation?.began ?? Infinity))),
    )
  }

  /** Throws where a request did not find its session, or lost what it wrote, and nobody had ended it. */
  demandKept({ name, sent, loadOutcome, outcome, loadEnded, commitEnded }: Visit): void {
    if (sent === undefined || !this.#origin.has(sent)) return
    const isLost = loadEnded !== undefined && loadOutcome !== 'found'
    if (!isLost && outcome !== 'dropped') return
    const until = isLost ? loadEnded : commitEnded
    const isEnded = this.enders(sent, true).some(({ commitBegan }) => commitBegan < until)
    const may = isEnded || this.revoked(sent) !== false || this.mayBeLost(sent)
    demand(may, () => `${name}: ${isLost ? loadOutcome : outcome}, and its session was there`)
  }

  /** Whether an id was gone for certain at that time. */
  wasGone(id: string, at: number): boolean {
    // of what never was there is no marker
    if (!this.#traits.buries || !this.#origin.has(id)) return false
    if (this.enders(id).some(({ commitEnded }) => commitEnded < at)) return true
    const { revocation } = this.#played
    return this.revoked(id) === true && (revocation?.ended ?? Infinity) < at
  }

  /** What a key of a session may hold for who looks from one time to another; `undefined` for nothing. */
  values(id: string, name: string, from: number, until: number): unknown[] {
    const chain = this.chain(id)
    const root = this.#origin.get(chain.at(-1) as string) as Visit
    const written: Written[] = [{ value: changesOf(root).get(name), began: -1, ended: -1 }]
    for (const visit of this.#played.visits) {
      const changes = changesOf(visit)
      const { outcome, sent, told, commitBegan: began, commitEnded: ended } = visit
      const wrote =
        (outcome === 'updated' && chain.includes(sent as string)) ||
        (outcome === 'renewed' && chain.includes(told as string))
      if (wrote && changes.has(name) && began < until) written.push({ value: changes.get(name), began, ended })
    }
    const isOver = (one: Written): boolean => written.some(({ began, ended }) => began > one.ended && ended <= from)
    const { merges, renews } = this.#traits
    const all = merges && (renews || chain.length === 1)
    return (all ? written.filter((one) => !isOver(one)) : written).map(({ value }) => value)
  }

  /** Throws where the data of a session is not what its requests made of it. */
  demandData(who: string, id: string, data: Hash, from: number, until: number): void {
    for (const name of ['a', 'b', 'c', 'list', OWNER]) {
      const values = this.values(id, name, from, until)
      demand(
        values.some((value) => isDeepStrictEqual(value, data[name])),
        () => `${who}: ${name} is ${JSON.stringify(data[name])}, and not of ${JSON.stringify(values)}`,
      )
    }
  }
}

// ---- stores

export const isOwned = (store: unknown): store is OwnedStore =>
  typeof (store as Partial<OwnedStore>).deleteSessionsOf === 'function'

const NOBODY = new IncomingMessage(new Socket())

/** What a store of records has under an id. */
export async function findIn(store: SessionStore, sid: SessionId): Promise<StoredSession | undefined> {
  return (store as AbstractStore).findSession(NOBODY, sid)
}

const METHODS = ['findSession', 'writeSession', 'deleteSession', 'touchSession', 'renewSession', 'deleteSessionsOf']

export type Method = (...args: unknown[]) => unknown

/** Every call of the store waits for its turn. */
export function gated<T extends AbstractStore>(store: T, gates: Gates): T {
  const methods = store as unknown as Record<string, Method | undefined>
  for (const name of METHODS) {
    const method = methods[name]
    if (method) methods[name] = (...args) => gates.hold(() => method.apply(store, args))
  }
  return store
}
