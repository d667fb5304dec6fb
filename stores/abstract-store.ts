import type { IncomingMessage } from 'node:http'
import { isPromise, type Awaitable } from '../lib/app.ts'
import { InvalidOptionError, StoreCorruptError, StoreFailedError } from '../lib/errors.ts'
import { MARKER_LIFE } from '../lib/session-expiry.ts'
import type { SessionChanges, SessionData } from '../lib/session-hash.ts'
import { SessionId } from '../lib/session-id.ts'
import type { LoadedSession, SavedSession, SessionStore, StoreContext } from '../lib/session-store.ts'

/** A record of a store. Times are in milliseconds since 1970. */
export interface StoredSession {
  readonly data: SessionData
  readonly createdAt: number
  /** From this moment on the record is as good as absent. */
  readonly expiresAt: number
  /** Whose session it is, for stores that list by owner. */
  readonly owner?: string | undefined
  /**
   * A marker that stands where a session was removed less than 60 s ago, so that a late request does not take
   * the id for an unknown one, and a cookie that it would be given does not replace the browser's newer one.
   */
  readonly gone?: boolean
  /** Of a marker: the private id that the session was renewed to. A store that keeps markers must keep it with them. */
  readonly successor?: string | undefined
}

/** How a session is to be written. */
export interface WriteOptions {
  /** `true`: there must be no such record yet; `false`: there must be one, and no marker. Else write nothing and return `false`. */
  readonly create: boolean
  /** What changed, for stores that merge changes of concurrent requests; `'all'` where the whole is new. */
  readonly changes: SessionChanges | 'all'
  readonly createdAt: number
  readonly expiresAt: number
  /**
   * Of an update: where another request has moved the expiry further meanwhile, the later one counts. `false`:
   * the idle time itself was changed, and this one counts.
   */
  readonly extend: boolean
  readonly owner: string | undefined
}

/** How a session is to be removed. A store that keeps no markers ignores this. */
export interface DeleteOptions {
  /** Until when a marker is to stand in the record's place, in milliseconds since 1970. */
  readonly markUntil: number
  /** The private id that the session was renewed to. */
  readonly successor?: string | undefined
}

/** A store that can move an expiry without writing the data. */
export interface TouchableStore {
  /** `false`: it is gone. The expiry never moves backwards. */
  touchSession(req: IncomingMessage, sid: SessionId, options: { readonly expiresAt: number }): Awaitable<boolean>
}

/** How a session is to be renewed: what to change of what is taken, and until when a marker is to stand in its place. */
export interface RenewOptions extends WriteOptions {
  readonly changes: SessionChanges
  /** In milliseconds since 1970. */
  readonly markUntil: number
}

/** A store that can give a session a new id without a moment in which there are two, or a lost change. */
export interface RenewableStore {
  /**
   * Takes what is stored under `from` now, leaves a marker, and creates it with the changes under `to`.
   * `false`: it was gone, and nothing was written.
   */
  renewSession(req: IncomingMessage, from: SessionId, to: SessionId, options: RenewOptions): Awaitable<boolean>
}

/** A session in a list of one owner's. Times are in milliseconds since 1970. */
export interface SessionSummary {
  /** The private id, for `deleteSessionsOf(owner, { only: id })`. It opens nothing. */
  readonly id: string
  readonly createdAt: number
  /** When it was last written, or its idle time extended: as exact as `refreshEvery`. */
  readonly lastSeenAt: number
  readonly expiresAt: number
}

/** Which of an owner's sessions; an id is a public one (`req.session.id`) or a private one (of a list). */
export interface OwnedSelection {
  /** All but this one: sign out everywhere else. */
  readonly except?: string | undefined
  /** This one alone: sign out there. */
  readonly only?: string | undefined
}

/** A store that lists by owner: by what stands under the key that `session({ owner })` names. */
export interface OwnedStore {
  /** The owner's live sessions, the one that was seen last first. */
  sessionsOf(owner: string | number): Awaitable<SessionSummary[]>
  /** Removes the owner's sessions, and gives how many. One that is being renewed meanwhile does not escape. */
  deleteSessionsOf(owner: string | number, selection?: OwnedSelection): Awaitable<number>
}

/** A store whose expired records need to be removed by somebody. */
export interface CleanableStore {
  /** Removes what has expired, and gives how many. */
  cleanup(): Awaitable<number>
}

/** A store that holds a connection, a file or a timer. */
export interface ClosableStore {
  /** Gives them back; a client or database that the store was given stays open. */
  close(): Awaitable<void>
}

export interface StoreOptions {
  /** Seconds that an idle session lives where `expireAfter` does not say. Default 1209600 (14 days). */
  ttl?: number | undefined
}

/** Two weeks, in seconds, as Django and @hapi/yar have it. */
export const DEFAULT_TTL: number = 14 * 24 * 3600

/** Links that a destruction follows from marker to successor. */
const MAX_SUCCESSORS = 8

/**
 * What a store of your own extends: Rails' three methods. A record is found by `sid.privateId`, the only key
 * that a store ever sees.
 *
 * A store may add the methods of `TouchableStore` and `RenewableStore`; without them this class does with the
 * three what can be done: a touch writes the record again, and a renewal is a find, a delete and a create, so
 * that a change of another request may be lost in between.
 */
export abstract class AbstractStore implements SessionStore {
  readonly ttl: number

  constructor({ ttl = DEFAULT_TTL }: StoreOptions = {}) {
    this.ttl = checkTtl(ttl)
  }

  /** The record; absent or expired is `undefined`. An error means that the store could not tell. */
  abstract findSession(req: IncomingMessage, sid: SessionId): Awaitable<StoredSession | undefined>

  /** Writes the record as the options say. `false`: an update found none, or a create found one; nothing was written. */
  abstract writeSession(
    req: IncomingMessage,
    sid: SessionId,
    session: SessionData,
    options: WriteOptions,
  ): Awaitable<boolean>

  /** Removes the record. One that does not exist is no error; a marker that stands there keeps its successor. */
  abstract deleteSession(req: IncomingMessage, sid: SessionId, options: DeleteOptions): Awaitable<void>

  /** @internal */
  fromCookie(req: IncomingMessage, cookie: string): Awaitable<LoadedSession | undefined> {
    const sid = SessionId.parse(cookie)
    if (sid === undefined) return undefined
    const found = this.findSession(req, sid)
    return isPromise(found) ? Promise.resolve(found).then((record) => loadedFrom(sid, record)) : loadedFrom(sid, found)
  }

  /** @internal */
  toCookie(req: IncomingMessage, session: SavedSession, { now }: StoreContext): Awaitable<string | undefined> {
    const { sid, replaces, create, data, changes, createdAt, expiresAt, extend, owner } = session
    let written: Awaitable<boolean>
    if (replaces) {
      const how = { create: true, changes, createdAt, expiresAt, extend, owner, markUntil: now + MARKER_LIFE }
      written = this.#renew(req, replaces, sid, how)
    } else if (!create && isEmpty(changes) && isTouchable(this)) {
      written = this.touchSession(req, sid, { expiresAt })
    } else {
      const how = { create, changes: create ? ('all' as const) : changes, createdAt, expiresAt, extend, owner }
      written = this.writeSession(req, sid, data, how)
    }
    return isPromise(written) ? Promise.resolve(written).then((is) => idIf(is, sid)) : idIf(written, sid)
  }

  /** @internal */
  async forgetCookie(req: IncomingMessage, cookie: string, { now }: StoreContext): Promise<void> {
    let sid = SessionId.parse(cookie)
    // what was renewed elsewhere in the meantime is found through its marker
    for (let i = 0; sid && i < MAX_SUCCESSORS; i++) {
      // a renewal that is under way may be about to create it: over a marker it creates nothing
      if (i > 0) await this.writeSession(req, sid, {}, graveAt(now))
      // asked before, for a store whose new marker replaces the old one; and after, for a renewal in between
      const before = await this.#successorOf(req, sid)
      await this.deleteSession(req, sid, { markUntil: now + MARKER_LIFE })
      const successor = (await this.#successorOf(req, sid)) ?? before
      sid = successor === undefined ? undefined : SessionId.ofPrivate(successor)
    }
  }

  async #successorOf(req: IncomingMessage, sid: SessionId): Promise<string | undefined> {
    try {
      return (await this.findSession(req, sid))?.successor
    } catch {
      // what cannot be read is removed all the same
      return undefined
    }
  }

  async #renew(req: IncomingMessage, from: SessionId, to: SessionId, options: RenewOptions): Promise<boolean> {
    if (isRenewable(this)) return this.renewSession(req, from, to, options)
    const found = await this.findSession(req, from)
    if (!found || found.gone === true) return false
    await this.deleteSession(req, from, { markUntil: options.markUntil, successor: to.privateId })
    // where another request removed or renewed it just before, the marker is that one's
    const marker = await this.findSession(req, from)
    if (marker?.gone === true && marker.successor !== to.privateId) return false
    return this.writeSession(req, to, merge(found.data, options.changes), { ...options, changes: 'all' })
  }
}

const NO_RECORD =
  'findSession must give { data, createdAt, expiresAt }, data an object and the times in milliseconds, or undefined.'

/** @throws {StoreCorruptError} what a store of somebody's own found is no record */
function loadedFrom(sid: SessionId, found: StoredSession | undefined): LoadedSession | undefined {
  if (!found) return undefined
  if (!isRecord(found)) throw new StoreCorruptError(NO_RECORD)
  const { data, createdAt, expiresAt, gone } = found
  return { sid, data, createdAt, expiresAt, gone: gone === true }
}

/** Whether it is a record: a time that is none would never come, and the session never end. */
function isRecord({ data, createdAt, expiresAt, gone }: StoredSession): boolean {
  const isData = typeof data === 'object' && data !== null && !Array.isArray(data)
  const isMarked = gone === undefined || typeof gone === 'boolean'
  return isData && isMarked && Number.isFinite(createdAt) && Number.isFinite(expiresAt)
}

/** @throws {StoreFailedError} a store of somebody's own did not say whether it wrote */
function idIf(written: boolean, sid: SessionId): string | undefined {
  if (typeof written === 'boolean') return written ? sid.publicId : undefined
  throw new StoreFailedError(
    'writeSession must tell whether it wrote: true, or false where there was nothing to update.',
  )
}

/** Of a record that is made to be marked. */
const graveAt = (now: number): WriteOptions => ({
  create: true,
  changes: 'all',
  createdAt: now,
  expiresAt: now + MARKER_LIFE,
  extend: false,
  owner: undefined,
})

/** @throws {InvalidOptionError} */
export function checkTtl(ttl: number): number {
  if (Number.isFinite(ttl) && ttl > 0) return ttl
  throw new InvalidOptionError('ttl must be a number of seconds above 0.')
}

/** The private id, of a private or a public one. */
export function privateIdOf(id: string): string {
  return SessionId.parse(id)?.privateId ?? id
}

/** Whether a selection takes a session. */
export function selects({ except, only }: OwnedSelection, privateId: string): boolean {
  if (only !== undefined && privateIdOf(only) !== privateId) return false
  return except === undefined || privateIdOf(except) !== privateId
}

/** What a record holds after a change. */
export function merge(data: SessionData, changes: SessionChanges): SessionData {
  const merged = Object.assign(Object.create(null) as SessionData, data, changes.set)
  for (const key of changes.delete) delete merged[key]
  return merged
}

function isEmpty(changes: SessionChanges): boolean {
  for (const _ in changes.set) return false
  return changes.delete.length === 0
}

function isTouchable(store: object): store is TouchableStore {
  return typeof (store as Partial<TouchableStore>).touchSession === 'function'
}

function isRenewable(store: object): store is RenewableStore {
  return typeof (store as Partial<RenewableStore>).renewSession === 'function'
}
