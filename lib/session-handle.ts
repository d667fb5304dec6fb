import type { IncomingMessage } from 'node:http'
import { inspect } from 'node:util'
import { isPromise, type Awaitable, type RackResponse } from './app.ts'
import { closeBody, guardBody } from './body.ts'
import { makePrivate } from './cache-control.ts'
import {
  sessionAwait,
  sessionCommit,
  sessionLoad,
  type AwaitMessage,
  type CommitMessage,
  type LoadMessage,
} from './channels.ts'
import type { RequestJar } from './cookie-jar.ts'
import { decodeSealed } from './cookie-value.ts'
import {
  SessionCommittedError,
  SessionDestroyedError,
  SessionNotAwaitedError,
  SessionUnavailableError,
  StackOrderError,
} from './errors.ts'
import { contextOf, MAX_CANDIDATES, SessionCommit, type Committed } from './session-commit.ts'
import type { RetiredCookie, SessionConfig } from './session-config.ts'
import { isOver } from './session-expiry.ts'
import { SessionHash, type SessionData } from './session-hash.ts'
import { SessionId } from './session-id.ts'
import type { SessionRequestOptions } from './session-config.ts'
import type { LoadedSession, SessionStore, StoreContext } from './session-store.ts'
import { loadFrom } from './store-calls.ts'
import { withDetails } from './trace.ts'

/** The session's hash: any key may be absent. */
export type Session<Data> = Partial<Data>

/** `req.session`: awaiting it gives the hash. Nothing is loaded before. */
export interface SessionHandle<Data> extends PromiseLike<Session<Data>> {
  /**
   * Starts over: the same hash, emptied, under a new id. What the browser had is removed. Call it on signing
   * in and out (against session fixation: OWASP ASVS 5.0, 7.2.4). Loads nothing, so it needs no await.
   */
  reset(): Session<Data>
  /** The same data under a new id, from the response on. A session that is gone stays gone. */
  renew(): void
  /** Removes the session and makes the browser forget its cookie. Later writes throw `ERR_SESSION_DESTROYED`. */
  destroy(): void
  /** Deletes every key. The session itself stays. */
  clear(): void
  /** The id that the cookie of an id-based store carries: once loaded, or from the first write on. */
  readonly id: string | undefined
  /** Whether the browser sent a cookie of this name. It may turn out to be no session. */
  readonly exists: boolean
  /** Whether the session was loaded. */
  readonly loaded: boolean
  /** Options of this request and its response; `expireAfter` stays with the session. */
  readonly options: SessionRequestOptions
}

type State = 'open' | 'destroyed' | 'committed'

/** Sees what was loaded before anybody else does, and may reset it. */
export type SessionGuard = (session: SessionData) => Awaitable<void>

/** The session of one request. */
export class RequestSession {
  readonly #config: SessionConfig
  readonly #req: IncomingMessage
  readonly #jar: RequestJar

  #state: State = 'open'
  #looked = false
  #promise: Promise<SessionData> | undefined
  #hash: SessionHash | undefined
  /** The cookie value that opened, the retired cookie that it is of, if it is, and what it opened. */
  #cookie: string | undefined
  #from: Candidate['from']
  /** It is in another store, and is to be brought over. */
  #moves = false
  #record: LoadedSession | undefined
  #loadedAt = 0
  #reset = false
  #restarts = 0
  /** The session that this one stands for: see `emptyOf`. */
  #real: RequestSession | undefined
  #renew = false
  #clear = false
  #newId: SessionId | undefined
  #options: SessionRequestOptions | undefined
  #unavailable: SessionUnavailableError | undefined
  #guard: SessionGuard | undefined

  constructor(config: SessionConfig, req: IncomingMessage, jar: RequestJar) {
    this.#config = config
    this.#req = req
    this.#jar = jar
  }

  // oxlint-disable-next-line unicorn/no-thenable -- a handle that is awaited is what it is for
  then<A = SessionData, B = never>(
    onfulfilled?: ((hash: SessionData) => A | PromiseLike<A>) | null,
    onrejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#guarded().then(onfulfilled, onrejected)
  }

  reset(): SessionData {
    this.#mayChange('reset')
    this.#reset = true
    this.#renew = this.#clear = false
    this.#newId = undefined
    return this.#restart().proxy
  }

  renew(): void {
    this.#mayChange('renewed')
    if (!this.#reset) this.#renew = true
  }

  destroy(): void {
    if (this.#state === 'destroyed') return
    this.#mayChange('destroyed')
    this.#state = 'destroyed'
    this.#restart().refuseWrites(() => new SessionDestroyedError())
  }

  clear(): void {
    this.#mayChange('cleared')
    if (this.#hash) this.#hash.clear()
    else this.#clear = true
  }

  get id(): string | undefined {
    this.#looked = true
    if (this.#state === 'committed') return this.#newId?.publicId
    if (this.#state === 'destroyed') return undefined
    if (this.#record && this.#record.gone !== true && !this.#reset) return this.#record.sid.publicId
    if (!this.#hash?.isWritten) return undefined
    return (this.#newId ??= SessionId.generate()).publicId
  }

  get exists(): boolean {
    this.#looked = true
    return this.#sent()
  }

  get loaded(): boolean {
    return this.#hash !== undefined
  }

  get options(): SessionRequestOptions {
    return (this.#options ??= {})
  }

  /** How often the session was emptied by a reset or a destroy, for what keeps a part of it, as the flash does. */
  get restarts(): number {
    return this.#restarts
  }

  /** A session with the same options that holds nothing, and of which nothing will be saved. */
  static emptyOf(handle: RequestSession, jar: RequestJar): RequestSession {
    const empty = new RequestSession(handle.#config, handle.#req, jar)
    empty.#real = handle
    return empty
  }

  /** The session that a layer found when it was entered, or the empty one that stands for it now. */
  static now(own: RequestSession, req: { readonly session?: unknown }): RequestSession {
    const { session } = req
    return session instanceof RequestSession && session.#real === own ? session : own
  }

  /** @throws {SessionDestroyedError}, {SessionCommittedError} what is kept in the session cannot be written any more */
  static checkWritable(handle: RequestSession): void {
    if (handle.#state === 'committed') throw writtenLate()
    if (handle.#state === 'destroyed') throw new SessionDestroyedError()
  }

  /** What a layer needs to know before it writes: `now` in milliseconds since 1970, `inCookie` as a store has it. */
  static stateOf(handle: RequestSession): { destroyed: boolean; inCookie: boolean; now: number } {
    const inCookie = handle.#config.store.inCookie === true
    return { destroyed: handle.#state === 'destroyed', inCookie, now: handle.#jar.config.clock() }
  }

  /** Whoever awaits a session from now on has it seen by `guard` first, if there is one. */
  static guard(handle: RequestSession, guard: SessionGuard): void {
    const first = handle.#guard
    handle.#guard =
      first === undefined ? guard : (session) => Promise.resolve(first(session)).then(() => guard(session))
  }

  /** Takes the guards off, where the session is about to end, or to be another one. */
  static unguard(handle: RequestSession): void {
    handle.#guard = undefined
  }

  #restart(): SessionHash {
    this.#restarts++
    this.#hash ??= new SessionHash()
    this.#hash.restart()
    this.#promise = Promise.resolve(this.#hash.proxy)
    return this.#hash
  }

  /** Whether the browser sent a cookie that may hold the session. */
  #sent(): boolean {
    const { key, retired } = this.#config
    return this.#jar.sent(key) || retired.some((one) => this.#jar.sent(one.key))
  }

  #mayChange(what: string): void {
    if (this.#state === 'committed') throw new SessionCommittedError(`The session was ${what}`)
    if (this.#state === 'destroyed') throw new SessionDestroyedError()
    this.#looked = true
  }

  #load(): Promise<SessionData> {
    if (this.#promise) return this.#promise
    if (this.#state === 'committed') {
      return Promise.reject(new SessionCommittedError('The session was first awaited'))
    }
    this.#looked = true
    if (sessionAwait.hasSubscribers) {
      const message: AwaitMessage = { req: this.#req, key: this.#config.key }
      sessionAwait.publish(message)
    }
    const cookies = candidatesOf(this.#config, this.#jar)
    try {
      const found = this.#find(cookies, 0, contextOf(this.#config, this.#jar), undefined)
      // whoever asked for it hears of a failure, so there is none that nobody handles
      this.#promise = isPromise(found)
        ? Promise.resolve(found).catch((error: unknown) => this.#failed(error))
        : Promise.resolve(found)
    } catch (error) {
      this.#promise = new Promise((resolve) => resolve(this.#failed(error)))
    }
    return this.#promise
  }

  /** The session, once it is loaded and its guard has seen it. */
  #guarded(): Promise<SessionData> {
    const loading = this.#load()
    const guard = this.#guard
    if (guard === undefined || this.#state !== 'open') return loading
    this.#guard = undefined
    return (this.#promise = loading.then(async (session) => {
      const isFound = this.#record !== undefined && this.#record.gone !== true && !this.#reset && this.#state === 'open'
      if (isFound) await guard(session)
      return session
    }))
  }

  /** The first of the cookies, from the `nth` on, that opens; at once, where the store answers at once. */
  #find(
    cookies: readonly Candidate[],
    nth: number,
    context: StoreContext,
    gone: LoadedSession | undefined,
  ): Awaitable<SessionData> {
    const { store: own, maxLifetime } = this.#config
    for (let i = nth; i < cookies.length; i++) {
      const { raw, from } = cookies[i] as Candidate
      const cookie = own.takesRaw === true && !from?.store ? raw : decodeSealed(raw)
      if (cookie === undefined) continue
      // whoever has signed out is not to be found in an older cookie
      if (from && gone) break
      this.#moves = false
      const there = from ? { ...context, key: from.key } : context
      const found = from?.store ? this.#findIn(from.store, cookie, there) : loadFrom(own, this.#req, cookie, there)
      const take = (record: LoadedSession | undefined): Awaitable<SessionData> | undefined => {
        if (!record || isOver(record, maxLifetime, context.now)) return undefined
        this.#cookie = cookie
        this.#from = from
        if (record.gone === true) {
          gone ??= record
          return undefined
        }
        this.#publishLoad('found', record.data)
        this.#loadedAt = context.now
        return this.#begin(record, record.data)
      }
      if (isPromise(found))
        return Promise.resolve(found).then((record) => take(record) ?? this.#find(cookies, i + 1, context, gone))
      const hash = take(found)
      if (hash !== undefined) return hash
    }
    this.#publishLoad(cookies.length === 0 ? 'none' : gone ? 'gone' : own.inCookie === true ? 'refused' : 'unknown')
    return this.#begin(gone, undefined)
  }

  /** An empty hash, where the store's failure is to be one. @throws the store's error, where it is not */
  #failed(error: unknown): SessionData {
    this.#publishLoad('failed')
    if (this.#config.onStoreError === 'throw') throw error
    if (this.#hash) return this.#hash.proxy
    const unavailable = new SessionUnavailableError(error)
    this.#unavailable = unavailable
    const hash = this.#open(undefined)
    hash.refuseWrites(() => unavailable)
    return hash.proxy
  }

  /** The session of a retired cookie that another store has, or that was brought over from there already. */
  async #findIn(before: SessionStore, cookie: string, there: StoreContext): Promise<LoadedSession | undefined> {
    const { store, key } = this.#config
    const sid = store.inCookie === true ? SessionId.generate() : SessionId.derive(there.key, cookie)
    if (store.inCookie !== true) {
      const moved = await loadFrom(store, this.#req, sid.publicId, { ...there, key })
      if (moved) return moved
    }
    const found = await loadFrom(before, this.#req, cookie, there)
    this.#moves = true
    if (store.inCookie !== true && (found === undefined || found.gone === true)) {
      // another request may have brought it over meanwhile
      const moved = await loadFrom(store, this.#req, sid.publicId, { ...there, key })
      if (moved) {
        this.#moves = false
        return moved
      }
    }
    return found && { ...found, sid }
  }

  /** The hash of what was found, unless a reset or a destroy came meanwhile. */
  #begin(record: LoadedSession | undefined, data: SessionData | undefined): SessionData {
    if (this.#hash) return this.#hash.proxy
    this.#record = record
    const hash = this.#open(data)
    if (this.#state === 'committed') hash.freeze(writtenLate)
    else if (this.#clear) hash.clear()
    return hash.proxy
  }

  #open(data: SessionData | undefined): SessionHash {
    return (this.#hash = new SessionHash(data))
  }

  /** Saves what changed and gives the response on; nothing is done for a session that nobody touched. */
  commit(response: RackResponse): Awaitable<RackResponse> {
    if (!this.#looked && this.#options === undefined) {
      this.#state = 'committed'
      return response
    }
    const fail = (error: unknown): never => {
      this.close()
      closeBody(response[2])
      throw error
    }
    try {
      const saved = this.#save()
      if (!isPromise(saved)) return this.#finish(response, saved)
      // the body waits for the store, and may fail meanwhile
      guardBody(response)
      return saved.then((sent) => this.#finish(response, sent)).then(undefined, fail)
    } catch (error) {
      return fail(error)
    }
  }

  /** Nothing is saved any more, and later writes throw. */
  close(): void {
    this.#state = 'committed'
    this.#hash?.freeze(writtenLate)
  }

  #save(): Awaitable<CommitMessage['cookie']> {
    const acts = this.#renew || this.#clear || this.#options?.expireAfter !== undefined
    if (this.#hash === undefined && acts && this.#sent()) {
      return this.#guarded().then(() => this.#commit())
    }
    return this.#commit()
  }

  #commit(): Awaitable<CommitMessage['cookie']> {
    const destroyed = this.#state === 'destroyed'
    const hash = this.#hash
    if (hash === undefined) {
      this.#state = 'committed'
      return 'none'
    }
    // these are writes, and refused as such
    if (this.#unavailable && (this.#renew || this.#clear)) throw this.#unavailable
    const commit = new SessionCommit(this.#config, this.#req, this.#jar, {
      hash,
      options: this.#options ?? {},
      cookie: this.#cookie,
      from: this.#from,
      moves: this.#moves,
      record: this.#record,
      loadedAt: this.#loadedAt,
      newId: this.#newId,
      destroyed,
      reset: this.#reset,
      renew: this.#renew,
    })
    const saved = commit.save()
    this.close()
    if (!isPromise(saved)) return this.#committed(saved, commit)
    return saved.then((result) => this.#committed(result, commit))
  }

  #committed({ outcome, cookie, sid }: Committed, { changes }: SessionCommit): CommitMessage['cookie'] {
    this.#newId = sid
    if (sessionCommit.hasSubscribers) {
      const changed = changes === undefined ? [] : [...Object.keys(changes.set), ...changes.delete]
      const message: CommitMessage = { req: this.#req, key: this.#config.key, outcome, cookie, changed }
      sessionCommit.publish(withDetails(message, { before: this.#record?.data, after: this.#hash?.snapshot(changes) }))
    }
    return cookie
  }

  #finish(response: RackResponse, cookie: CommitMessage['cookie']): RackResponse {
    if (!this.#looked) return response
    const found = this.#record !== undefined && this.#record.gone !== true
    const unknown = this.#hash === undefined || this.#reset || this.#unavailable !== undefined
    const existed = unknown ? this.#sent() : found
    return makePrivate(response, existed || cookie !== 'none')
  }

  #publishLoad(outcome: LoadMessage['outcome'], data?: SessionData): void {
    if (!sessionLoad.hasSubscribers) return
    const message: LoadMessage = { req: this.#req, key: this.#config.key, outcome }
    sessionLoad.publish(withDetails(message, data))
  }
}

/** A cookie value as it stood in the header, and the retired cookie that it is of, if it is. */
interface Candidate {
  readonly raw: string
  readonly from: (RetiredCookie & { readonly key: string }) | undefined
}

/** What the browser sent that may be the session, in the order in which it is tried. */
function candidatesOf({ key, retired }: SessionConfig, jar: RequestJar): Candidate[] {
  const candidates: Candidate[] = []
  for (const raw of jar.rawValues(key, MAX_CANDIDATES)) candidates.push({ raw, from: undefined })
  for (const from of retired) {
    // one that differs in its place alone has been read under its name
    if (from.key === key && from.store === undefined) continue
    for (const raw of jar.rawValues(from.key, MAX_CANDIDATES)) candidates.push({ raw, from })
  }
  return candidates
}

/**
 * The session of a request, for a layer that needs it.
 *
 * @throws {StackOrderError} there is none
 */
export function requireSession(req: { readonly session?: unknown }, layer: string): RequestSession {
  if (req.session instanceof RequestSession) return req.session
  throw new StackOrderError(`${layer} needs, above it, the layer that adds req.session: use(session()) first.`)
}

const writtenLate = (): Error => new SessionCommittedError('The session was written')

/**
 * A key that is set on the handle was meant for the hash. The last prototype of the handle catches it, which
 * costs a request nothing; and no name of a method can be overwritten by mistake.
 */
const refuse = (key: string | symbol): never => {
  throw new SessionNotAwaitedError(String(key))
}

Object.setPrototypeOf(
  RequestSession.prototype,
  new Proxy(Object.create(null) as object, { set: (_target, key) => refuse(key) }),
)

for (const key of Reflect.ownKeys(RequestSession.prototype)) {
  const member = Reflect.getOwnPropertyDescriptor(RequestSession.prototype, key) as PropertyDescriptor
  const set = (): void => refuse(key)
  const accessors = 'value' in member ? { get: (): unknown => member.value, set } : { ...member, set }
  Object.defineProperty(RequestSession.prototype, key, accessors)
}

// what console.log shows; it loads nothing
Object.defineProperty(RequestSession.prototype, inspect.custom, {
  value(this: RequestSession): string {
    return `SessionHandle { loaded: ${this.loaded} }`
  },
})
