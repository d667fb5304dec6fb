import type { IncomingMessage } from 'node:http'
import { isPromise, type Awaitable } from './app.ts'
import type { CommitMessage, CommitOutcome } from './channels.ts'
import type { RequestJar } from './cookie-jar.ts'
import { isFixed, PREFIXED, type CookieOptions } from './cookie-options.ts'
import { decodeSealed } from './cookie-value.ts'
import { CookieOverflowError, InvalidOptionError } from './errors.ts'
import { isLoopback, isSecure } from './request.ts'
import type { PerRequest, RetiredCookie, SessionConfig, SessionRequestOptions } from './session-config.ts'
import { expiryOf, isDue, MARKER_LIFE } from './session-expiry.ts'
import { RESERVED_KEYS, type SessionChanges, type SessionData, type SessionHash } from './session-hash.ts'
import { SessionId } from './session-id.ts'
import type { LoadedSession, SavedSession, SessionStore, StoreContext } from './session-store.ts'
import { loadFrom, removeFrom, saveTo } from './store-calls.ts'
import { warnOnce } from './warning.ts'

/** What a request did with its session. */
export interface Committing {
  readonly hash: SessionHash
  readonly options: SessionRequestOptions
  /** The cookie value that opened, and what the store found for it. */
  readonly cookie: string | undefined
  readonly record: LoadedSession | undefined
  /** The retired cookie that it was found in. */
  readonly from: (RetiredCookie & { readonly key: string }) | undefined
  /** It is in the store of that cookie, and is to be brought over. */
  readonly moves: boolean
  readonly loadedAt: number
  /** The id of a new session, where it was asked for already. */
  readonly newId: SessionId | undefined
  readonly destroyed: boolean
  readonly reset: boolean
  readonly renew: boolean
}

export interface Committed {
  readonly outcome: CommitOutcome
  readonly cookie: CommitMessage['cookie']
  /** The session's id from now on. */
  readonly sid: SessionId | undefined
}

/**
 * A cookie that is sealed anew without a change of data could arrive after, and so undo, a sign-out that
 * happened meanwhile: it is only sent by a request that took less than this, in milliseconds.
 */
const SLOW_READ = 1000

/** A browser may hold several cookies of one name; more than these are an attack. */
export const MAX_CANDIDATES: number = 4

/** A hundred years, in seconds; Rails' format ends with the year 9999. */
const LONGEST_IDLE = 100 * 366 * 24 * 3600

/** The options of a request that are attributes of the cookie. */
const ATTRIBUTES = ['path', 'domain', 'secure', 'httpOnly', 'sameSite', 'partitioned'] as const

const CSRF_TOKEN = '_csrf_token'
const EXPIRE_AFTER = '_expire_after'

const NO_CHANGES: SessionChanges = Object.freeze({
  set: Object.freeze(Object.create(null) as SessionData),
  delete: Object.freeze([]),
})

export function contextOf(config: SessionConfig, jar: RequestJar): StoreContext {
  return { key: config.key, now: jar.config.clock(), owner: config.owner, sealer: jar.config.keyring }
}

/** Decides what is written and sent at the end of one request, and does it. */
export class SessionCommit {
  readonly #config: SessionConfig
  readonly #req: IncomingMessage
  readonly #jar: RequestJar
  readonly #it: Committing
  readonly #context: StoreContext
  #sid: SessionId | undefined
  /** What differs from what was loaded, once it was saved. */
  changes: SessionChanges | undefined
  /** The cookie's attributes, once they are checked. */
  #checked: CookieOptions = {}

  constructor(config: SessionConfig, req: IncomingMessage, jar: RequestJar, it: Committing) {
    this.#config = config
    this.#req = req
    this.#jar = jar
    this.#it = it
    this.#context = contextOf(config, jar)
    this.#sid = it.newId
  }

  /**
   * Reads the hash at once, and then does what a store needs time for.
   *
   * @throws {SessionValueError} for a change in place that JSON cannot carry
   */
  save(): Awaitable<Committed> {
    const { hash, options, record, destroyed, reset, renew } = this.#it
    if (destroyed) return this.#remove('destroyed')
    if (options.skip === true) return this.#done('skipped', 'none')
    const changes = hash.changes()
    this.changes = changes
    if (reset) return hash.isEmpty ? this.#remove('reset') : this.#replace(changes ?? NO_CHANGES)
    if (record === undefined || record.gone === true) {
      if (changes === undefined || hash.isEmpty) return this.#done('unchanged', 'none')
      if (record !== undefined && !this.#hasNewOwner(changes)) return this.#done('dropped', 'none')
      return this.#insecure() ?? this.#create('created', changes)
    }
    const renews = renew || this.#signsIn(changes)
    if (this.#it.moves) return this.#unlessTooLarge(changes, renews, () => this.#adopt(record, changes, renews))
    if (renews) return this.#insecure() ?? this.#renew(record, changes)
    return this.#update(record, changes)
  }

  // ---- the six things that can happen

  /** A session that there was not. */
  #create(outcome: CommitOutcome, { set }: SessionChanges): Awaitable<Committed> {
    const { now } = this.#context
    this.#sid ??= SessionId.generate()
    const { expireAfter } = this.#it.options
    const data = expireAfter === undefined ? set : withIdle(set, expireAfter)
    return this.#put(outcome, {
      sid: this.#sid,
      create: true,
      data,
      changes: { set: data, delete: [] },
      createdAt: now,
      expiresAt: expiryOf(now, this.#idle(undefined), now, this.#config.maxLifetime),
      extend: false,
      owner: this.#ownerOf(data),
    })
  }

  /** A session that is there: changed, or its idle time extended, or neither. */
  #update(record: LoadedSession, changed: SessionChanges | undefined): Awaitable<Committed> {
    const { store, maxLifetime, refreshEvery } = this.#config
    const { now } = this.#context
    const idle = this.#idle(record)
    const changes = this.#withExpireAfter(record, changed)
    const newIdle = changes !== changed
    const due =
      newIdle || (this.#it.options.touch !== false && isDue(record.expiresAt, idle, refreshEvery ?? idle / 10, now))
    const createdAt = record.createdAt === 0 ? now : record.createdAt
    const until = expiryOf(now, idle, createdAt, maxLifetime)
    const before = record.expiresAt ?? 0
    // only an idle time of its own shortens it
    const expiresAt = due && (newIdle || until > before) ? until : before === 0 ? until : before
    // a cookie that ended with the browser, and is to stay from now on, has to say so
    const stays = newIdle && (idleOf(record.data) ?? this.#config.expireAfter) === undefined
    const moves = stays || (due && expiresAt !== record.expiresAt)
    const retired = record.retired === true || this.#it.from !== undefined || this.#isDoubled()
    if (changes === undefined && (!(moves || retired) || (store.inCookie === true && this.#isLate()))) {
      return this.#done('unchanged', 'none')
    }
    const data = this.#dataOf(record, changes)
    const session = {
      sid: record.sid,
      create: false,
      data,
      changes: changes ?? NO_CHANGES,
      createdAt,
      expiresAt,
      extend: !newIdle,
      owner: this.#ownerOf(data),
    }
    const outcome = changes === undefined ? 'refreshed' : 'updated'
    return this.#insecure() ?? this.#unlessTooLarge(changes, false, () => this.#put(outcome, session, moves))
  }

  /** A session that another store has: it goes on in this one. */
  async #adopt(record: LoadedSession, changed: SessionChanges | undefined, renews: boolean): Promise<Committed> {
    const { now } = this.#context
    const { cookie = '', from } = this.#it
    const before = from?.store as SessionStore
    const there: StoreContext = { ...this.#context, key: from?.key ?? this.#context.key }
    const isSealed = before.inCookie === true
    if (changed === undefined && !renews && isSealed && this.#isLate()) return this.#done('unchanged', 'none')
    const insecure = this.#insecure()
    if (insecure) return insecure
    if (renews && this.#config.store.inCookie !== true) return this.#adoptAndRenew(record, changed, before, there)
    const changes = this.#withExpireAfter(record, changed)
    const data = this.#dataOf(record, changes)
    if (renews && this.#it.hash.unchanged(CSRF_TOKEN)) delete data[CSRF_TOKEN]
    const createdAt = this.#signsIn(changes) || record.createdAt === 0 ? now : record.createdAt
    const session = this.#arriving(record, data, createdAt, renews ? SessionId.generate() : record.sid)
    const outcome = changed === undefined ? 'refreshed' : 'updated'
    this.#sid = session.sid
    const isThere = await this.#isStillIn(before, cookie, there)
    // whoever signs in is signed in; but what was gone does not come back with him
    if (!isThere && changes && this.#hasNewOwner(changes)) return this.#create('created', changes)
    let committed: Committed = { outcome: 'dropped', cookie: 'none', sid: undefined }
    if (isThere) committed = await this.#put(outcome, session)
    if (committed.outcome === 'dropped' && this.#config.store.inCookie !== true) {
      this.#sid = session.sid
      committed = await this.#put(outcome, { ...session, create: false, changes: changes ?? NO_CHANGES, extend: true })
    }
    if (committed.outcome !== 'dropped') await this.#forgetThere(before, cookie, there)
    return committed
  }

  /**
   * Under the id that every request gives it, and renewed from there, so that what other requests do at the same time
   * goes with it, and whoever signs out finds it.
   */
  async #adoptAndRenew(
    record: LoadedSession,
    changed: SessionChanges | undefined,
    before: SessionStore,
    there: StoreContext,
  ): Promise<Committed> {
    const { now } = this.#context
    const { cookie = '' } = this.#it
    if (await this.#isStillIn(before, cookie, there)) {
      const data = Object.assign(Object.create(null) as SessionData, record.data)
      for (const key of RESERVED_KEYS) if (key !== EXPIRE_AFTER) delete data[key]
      const createdAt = record.createdAt === 0 ? now : record.createdAt
      const carried = this.#arriving(record, data, createdAt, record.sid)
      await saveTo(this.#config.store, this.#req, carried, this.#context)
      await this.#forgetThere(before, cookie, there)
    }
    return this.#renew(record, changed)
  }

  /** What is created in the store of now for a session that another one has. */
  #arriving(record: LoadedSession, data: SessionData, createdAt: number, sid: SessionId): SavedSession {
    const expiresAt = expiryOf(this.#context.now, this.#idle(record), createdAt, this.#config.maxLifetime)
    const changes = { set: data, delete: [] }
    return { sid, create: true, data, changes, createdAt, expiresAt, extend: false, owner: this.#ownerOf(data) }
  }

  /** Asked once more: another request may have signed out, or brought it over. What is sealed is where its cookie is. */
  async #isStillIn(before: SessionStore, cookie: string, there: StoreContext): Promise<boolean> {
    if (before.inCookie === true) return true
    const found = await loadFrom(before, this.#req, cookie, there)
    return found !== undefined && found.gone !== true
  }

  /** Removes from a retired store what was brought over. */
  async #forgetThere(before: SessionStore, cookie: string, there: StoreContext): Promise<void> {
    try {
      await removeFrom(before, this.#req, cookie, there)
    } catch {
      warnOnce(
        'LUGGAGE_RACK_RETIRED_STORE',
        'A session was brought over from a retired store, which failed to remove it. It is there until it ends.',
      )
    }
  }

  /** Leaves a marker where another request may be about to bring a session over. */
  async #bury(sid: SessionId): Promise<void> {
    const { store } = this.#config
    const { now } = this.#context
    const nothing = { data: {}, changes: NO_CHANGES, owner: undefined }
    const grave = { sid, create: true, createdAt: now, expiresAt: now + MARKER_LIFE, extend: false, ...nothing }
    await saveTo(store, this.#req, grave, this.#context)
    await removeFrom(store, this.#req, sid.publicId, this.#context)
  }

  /** The same session under a new id, or another owner's. */
  #renew(record: LoadedSession, changed: SessionChanges | undefined): Awaitable<Committed> {
    const { now } = this.#context
    const { hash } = this.#it
    const signsIn = this.#signsIn(changed)
    let changes = this.#withExpireAfter(record, changed) ?? NO_CHANGES
    const data = this.#dataOf(record, changes)
    // whoever knew the token before must not know it after
    if (CSRF_TOKEN in data && hash.unchanged(CSRF_TOKEN)) {
      delete data[CSRF_TOKEN]
      changes = { set: changes.set, delete: [...changes.delete, CSRF_TOKEN] }
    }
    const createdAt = signsIn || record.createdAt === 0 ? now : record.createdAt
    this.#sid = SessionId.generate()
    const renewed = this.#put(
      'renewed',
      {
        sid: this.#sid,
        replaces: record.sid,
        create: false,
        data,
        changes,
        createdAt,
        expiresAt: expiryOf(now, this.#idle(record), createdAt, this.#config.maxLifetime),
        extend: false,
        owner: this.#ownerOf(data),
      },
      true,
    )
    // whoever signs in is signed in; but what was gone does not come back with him
    const or = (result: Committed): Awaitable<Committed> =>
      this.#hasNewOwner(changes) && result.outcome === 'dropped' ? this.#create('created', changes) : result
    return isPromise(renewed) ? renewed.then(or) : or(renewed)
  }

  /** A new session in the place of the one that was reset. */
  #replace(changes: SessionChanges): Awaitable<Committed> {
    const insecure = this.#insecure()
    if (insecure) return insecure
    const removed = this.#delete()
    return removed ? removed.then(() => this.#create('reset', changes)) : this.#create('reset', changes)
  }

  /** No session any more. */
  #remove(outcome: CommitOutcome): Awaitable<Committed> {
    this.#sid = undefined
    const { key, retired } = this.#config
    const isSent = this.#jar.sent(key)
    if (!isSent && !retired.some((one) => this.#jar.sent(one.key))) return this.#done('unchanged', 'none')
    const expire = (): Committed => {
      const attributes = this.#attributes()
      if (isSent) this.#jar.expire(key, attributes)
      this.#expireRetired(attributes, () => true)
      return this.#done(outcome, 'expired')
    }
    return this.#delete()?.then(expire) ?? expire()
  }

  // ---- the steps that they share

  /**
   * What was only read stays as it is where it is too large for the cookie of now: the format may be another one, which
   * holds less, or the store.
   */
  #unlessTooLarge(
    changes: SessionChanges | undefined,
    renews: boolean,
    save: () => Awaitable<Committed>,
  ): Awaitable<Committed> {
    if (changes !== undefined || renews) return save()
    const leave = (error: unknown): Committed => {
      if (!(error instanceof CookieOverflowError)) throw error
      warnOnce(
        'LUGGAGE_RACK_SESSION_TOO_LARGE',
        `A session that was only read was left as it was, since it is too large to be sealed anew. ${error.message}`,
      )
      return this.#done('unchanged', 'none')
    }
    try {
      const saved = save()
      return isPromise(saved) ? saved.then(undefined, leave) : saved
    } catch (error) {
      return leave(error)
    }
  }

  #put(outcome: CommitOutcome, session: SavedSession, moves = true): Awaitable<Committed> {
    const put = saveTo(this.#config.store, this.#req, session, this.#context)
    const send = (cookie: string | undefined): Committed => {
      if (cookie === undefined) {
        this.#sid = undefined
        return this.#done('dropped', 'none')
      }
      this.#sid = session.sid
      return this.#done(outcome, this.#send(cookie, session, moves))
    }
    return isPromise(put) ? put.then(send) : send(put)
  }

  #send(cookie: string, { data, expiresAt }: SavedSession, moves: boolean): CommitMessage['cookie'] {
    if (this.#it.options.defer === true) return 'none'
    const persists = (idleOf(data) ?? this.#config.expireAfter) !== undefined
    const isThere = cookie === this.#it.cookie && this.#it.from === undefined && !this.#isDoubled()
    if (isThere && !(persists && moves)) return 'none'
    const attributes = this.#checked
    // of one name first, so that the line of now is the last word on it; of another last, as curl wants it
    this.#expireRetired(attributes, (name) => name === this.#config.key)
    this.#jar.put(
      this.#config.key,
      cookie,
      persists
        ? {
            ...attributes,
            expires: new Date(expiresAt),
            maxAge: Math.ceil((expiresAt - this.#context.now) / 1000),
          }
        : attributes,
    )
    this.#expireRetired(attributes, (name) => name !== this.#config.key)
    return 'sent'
  }

  /** Removes what the browser's cookies stand for. */
  #delete(): Promise<void> | undefined {
    const { key, store, retired } = this.#config
    const { cookie, from } = this.#it
    const removals: PromiseLike<void>[] = []
    const forget = (value: string | undefined, of: SessionStore, name: string): void => {
      if (value === undefined) return
      const removal = removeFrom(of, this.#req, value, { ...this.#context, key: name })
      if (typeof removal === 'object' && isPromise(removal)) removals.push(removal)
    }
    const valuesOf = (name: string): (string | undefined)[] =>
      this.#jar.rawValues(name, MAX_CANDIDATES).map(decodeSealed)
    // the one that opened, where one did
    for (const value of cookie !== undefined && !from ? [cookie] : valuesOf(key)) forget(value, store, key)
    for (const one of retired) {
      if (one.key === key && one.store === undefined) continue
      for (const value of valuesOf(one.key)) {
        forget(value, one.store ?? store, one.key)
        if (value === undefined || one.store === undefined || store.inCookie === true) continue
        removals.push(this.#bury(SessionId.derive(one.key, value)))
      }
    }
    return removals.length === 0 ? undefined : Promise.all(removals).then(() => undefined)
  }

  /** Makes the browser forget the cookies that it had before, in the same response as the one that is in their place. */
  #expireRetired(attributes: CookieOptions, isMeant: (name: string) => boolean): void {
    for (const { key, path = '/', domain, partitioned = false } of this.#config.retired) {
      if (!isMeant(key)) continue
      const { path: there, domain: whose, partitioned: apart = false } = attributes
      // the cookie of now is in its place
      if (key === this.#config.key && path === there && domain === whose && partitioned === apart) continue
      if (this.#jar.sent(key)) this.#jar.expire(key, { ...attributes, path, domain, partitioned })
    }
  }

  #done(outcome: CommitOutcome, cookie: CommitMessage['cookie']): Committed {
    return { outcome, cookie, sid: this.#sid ?? (outcome === 'dropped' ? undefined : this.#it.record?.sid) }
  }

  // ---- what they decide by

  /** Whether somebody signs in, or out, by a change of the owner's key. */
  #signsIn(changes: SessionChanges | undefined): boolean {
    const { owner } = this.#config
    if (owner === undefined || changes === undefined) return false
    return Object.hasOwn(changes.set, owner) || changes.delete.includes(owner)
  }

  /** Whether a cookie that is sealed anew could undo a sign-out that happened meanwhile. */
  #isLate(): boolean {
    return this.#context.now - this.#it.loadedAt >= SLOW_READ
  }

  /** Whether the browser holds the cookie twice, here and where it was set before. */
  #isDoubled(): boolean {
    const { key, retired } = this.#config
    const moved = retired.some((one) => one.key === key && one.store === undefined)
    return moved && this.#jar.rawValues(key, 2).length > 1
  }

  #hasNewOwner(changes: SessionChanges): boolean {
    const { owner } = this.#config
    return owner !== undefined && Object.hasOwn(changes.set, owner) && changes.set[owner] !== null
  }

  #ownerOf(data: SessionData): string | undefined {
    const { owner } = this.#config
    const value = owner === undefined ? undefined : data[owner]
    return value === undefined || value === null
      ? undefined
      : typeof value === 'object'
        ? JSON.stringify(value)
        : String(value)
  }

  #dataOf(record: LoadedSession, changes: SessionChanges | undefined): SessionData {
    const data = this.#it.hash.snapshot(changes)
    const idle = changes?.set[EXPIRE_AFTER] ?? record.data[EXPIRE_AFTER]
    if (idle !== undefined) data[EXPIRE_AFTER] = idle
    return data
  }

  /** Seconds that the session may be idle stay with it under a key of their own. */
  #withExpireAfter(record: LoadedSession, changes: SessionChanges | undefined): SessionChanges | undefined {
    const { expireAfter } = this.#it.options
    if (expireAfter === undefined || record.data[EXPIRE_AFTER] === expireAfter) return changes
    return { set: withIdle(changes?.set, expireAfter), delete: changes?.delete ?? [] }
  }

  /** Milliseconds. */
  #idle(record: LoadedSession | undefined): number {
    const { expireAfter, store } = this.#config
    const own = this.#it.options.expireAfter ?? (record && idleOf(record.data))
    return own === undefined ? (expireAfter ?? store.ttl * 1000) : own * 1000
  }

  /** The cookie's attributes for this response. */
  #attributes(secure = this.#secure() === true): CookieOptions {
    const { cookie, fixed } = this.#config
    const { options } = this.#it
    if (fixed && !ATTRIBUTES.some((name) => options[name] !== undefined)) return secure ? fixed.secure : fixed.insecure
    return {
      path: options.path ?? this.#resolve(cookie.path),
      domain: options.domain ?? (typeof cookie.domain === 'function' ? cookie.domain(this.#req) : cookie.domain),
      secure,
      httpOnly: options.httpOnly ?? this.#resolve(cookie.httpOnly) ?? true,
      sameSite: this.#sameSite(),
      partitioned: options.partitioned ?? this.#resolve(cookie.partitioned),
    }
  }

  #resolve<T>(value: PerRequest<T>): T {
    return typeof value === 'function' ? (value as (req: IncomingMessage) => T)(this.#req) : value
  }

  #sameSite(): CookieOptions['sameSite'] {
    const { sameSite } = this.#it.options
    return sameSite === undefined ? (this.#resolve(this.#config.cookie.sameSite) ?? null) : sameSite
  }

  /** @throws {InvalidOptionError} */
  #secure(): boolean | 'auto' {
    const { cookie, key } = this.#config
    const { options } = this.#it
    const secure = options.secure ?? this.#resolve(cookie.secure) ?? 'auto'
    if (typeof secure === 'boolean') return secure
    // what JavaScript takes for true must not go out in the clear
    if (secure !== 'auto') throw new InvalidOptionError(`The cookie ${key} needs secure to be true, false or 'auto'.`)
    if (isSecure(this.#req) || PREFIXED.test(key) || this.#sameSite() === 'none') return true
    return (options.partitioned ?? this.#resolve(cookie.partitioned)) === true ? true : 'auto'
  }

  /**
   * Asked before the store is: commits nothing where the cookie would not arrive, or would be sent in the clear.
   *
   * @throws {InvalidOptionError} options of this request that cannot work, while nothing is changed yet
   */
  #insecure(): Committed | undefined {
    const { expireAfter } = this.#it.options
    if (expireAfter !== undefined) checkIdle(expireAfter)
    const secure = this.#secure()
    this.#checked = this.#attributes(secure === true)
    // those that are the same for all requests were checked when the stack was built
    if (!isFixed(this.#checked)) this.#jar.check(this.#config.key, this.#checked)
    if (secure === false || isSecure(this.#req)) return undefined
    const production = process.env['NODE_ENV'] === 'production'
    if (secure === 'auto' && !production && isLoopback(this.#req)) return undefined
    warnOnce(
      'LUGGAGE_RACK_INSECURE_SESSION',
      'A session was not saved, because the request came over plain http. Serve https; behind a proxy that ends ' +
        'TLS, say whom to trust with forwarded({ trust }); or, where the network is safe, set session({ secure: false }).',
    )
    this.#sid = undefined
    return this.#done('insecure', 'none')
  }
}

function idleOf(data: SessionData): number | undefined {
  const idle = data[EXPIRE_AFTER]
  return typeof idle === 'number' ? idle : undefined
}

/** @throws {InvalidOptionError} */
function withIdle(data: SessionData | undefined, seconds: number): SessionData {
  return Object.assign(Object.create(null) as SessionData, data, { [EXPIRE_AFTER]: checkIdle(seconds) })
}

/** @throws {InvalidOptionError} */
export function checkIdle(seconds: number): number {
  if (typeof seconds === 'number' && seconds > 0 && seconds <= LONGEST_IDLE) return seconds
  throw new InvalidOptionError('expireAfter must be a number of seconds above 0, and at most a hundred years.')
}
