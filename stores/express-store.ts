import type { IncomingMessage } from 'node:http'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import {
  AbstractStore,
  merge,
  type StoredSession,
  type StoreOptions,
  type TouchableStore,
  type WriteOptions,
} from './abstract-store.ts'
import { askExpressStore, checkExpressStore, corruptExpressSession, findInExpressStore } from './express-answer.ts'

export { ExpressSessions, type ExpressSessionsOptions } from './express-sessions.ts'

/** What a store for express-session is given to keep: its `cookie` as express-session has it, and ours beside it. */
export interface ExpressSession extends StoredSession {
  /** Stores take from it how long they keep the record; some read one of these, some another. */
  readonly cookie: {
    /** Milliseconds. */
    readonly originalMaxAge: number
    readonly maxAge: number
    readonly expires: Date
    readonly httpOnly: true
    readonly path: '/'
  }
}

/** A store for express-session, as far as it is used here. It calls back, or answers with a promise, or both. */
export interface ExpressSessionStore {
  get(sid: string, callback: (error?: unknown, session?: object | null) => void): unknown
  set(sid: string, session: ExpressSession, callback: (error?: unknown) => void): unknown
  destroy(sid: string, callback: (error?: unknown) => void): unknown
}

export interface ExpressStoreOptions extends StoreOptions {
  /** Stands in front of every id that the store is given, beside a prefix of its own. Default `''`. */
  prefix?: string | undefined
  /** Milliseconds that the store may take before a call fails with `ERR_STORE_TIMEOUT`. Default 1000. */
  deadline?: number | undefined
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  clock?: (() => number) | undefined
}

/**
 * Sessions in any store written for express-session: PostgreSQL (connect-pg-simple), MongoDB (connect-mongo),
 * DynamoDB and the many others.
 *
 * ```ts
 * session({ store: new ExpressStore(new PgStore({ pool })) })
 * ```
 *
 * The store keeps `{ cookie, data, createdAt, expiresAt, owner }` under the private id, with the session's own
 * keys in `data`. It is no format of express-session's: to read the sessions of that, see `ExpressSessions`.
 *
 * Such a store can get, set and destroy, and no more, so it can neither check and write in one step nor tell
 * what changed. Hence, other than with Redis or SQLite: of concurrent requests the last one to write wins, save
 * for what the others had written before it read again, just before its write; a request that is under way
 * while the session is destroyed, reset or renewed may bring the old one back; and no marker stands for what is
 * gone, so that such a request is given a new session where it writes. A write is two calls, a get and a set.
 *
 * The `touch` of such a store is not used: it moves the store's expiry, and not that of the record.
 *
 * @throws `ERR_STORE_TIMEOUT`: the store did not call back in time
 * @throws `ERR_STORE_CORRUPT`: what it gave is no session of ours
 * @throws whatever error it called back with
 */
export class ExpressStore extends AbstractStore implements TouchableStore {
  readonly #store: ExpressSessionStore
  readonly #prefix: string
  readonly #deadline: number
  readonly #clock: () => number

  /** @throws {InvalidOptionError} */
  constructor(
    store: ExpressSessionStore,
    { prefix = '', deadline = 1000, clock, ...options }: ExpressStoreOptions = {},
  ) {
    super(options)
    checkExpressStore('ExpressStore', store, deadline)
    this.#store = store
    this.#prefix = prefix
    this.#deadline = deadline
    this.#clock = clock ?? Date.now
  }

  override async findSession(_req: IncomingMessage, sid: SessionId): Promise<StoredSession | undefined> {
    const found = await findInExpressStore(this.#store, this.#key(sid), this.#deadline)
    if (found === undefined || found === null || found === false) return undefined
    if (!isSession(found)) throw corruptExpressSession()
    const { data, createdAt, expiresAt, owner } = found
    return expiresAt > this.#clock() ? { data, createdAt, expiresAt, owner } : undefined
  }

  override async writeSession(
    req: IncomingMessage,
    sid: SessionId,
    session: SessionData,
    { create, changes, createdAt, expiresAt, extend, owner }: WriteOptions,
  ): Promise<boolean> {
    const found = await this.findSession(req, sid)
    if (create ? found !== undefined : found === undefined) return false
    await this.#set(sid, {
      data: found === undefined || changes === 'all' ? session : merge(found.data, changes),
      createdAt,
      expiresAt: found !== undefined && extend ? Math.max(found.expiresAt, expiresAt) : expiresAt,
      owner,
    })
    return true
  }

  override async deleteSession(_req: IncomingMessage, sid: SessionId): Promise<void> {
    const store = this.#store
    await this.#answer(store.destroy.length >= 2, (callback) => store.destroy(this.#key(sid), callback))
  }

  async touchSession(
    req: IncomingMessage,
    sid: SessionId,
    { expiresAt }: { readonly expiresAt: number },
  ): Promise<boolean> {
    const found = await this.findSession(req, sid)
    if (found === undefined) return false
    if (expiresAt > found.expiresAt) await this.#set(sid, { ...found, expiresAt })
    return true
  }

  async #set(sid: SessionId, { data, createdAt, expiresAt, owner }: StoredSession): Promise<void> {
    const store = this.#store
    const maxAge = expiresAt - this.#clock()
    const session: ExpressSession = {
      cookie: { originalMaxAge: maxAge, maxAge, expires: new Date(expiresAt), httpOnly: true, path: '/' },
      // with the methods of an object, which a store may call
      data: { ...data },
      createdAt,
      expiresAt,
      ...(owner === undefined ? undefined : { owner }),
    }
    await this.#answer(store.set.length >= 3, (callback) => store.set(this.#key(sid), session, callback))
  }

  #key(sid: SessionId): string {
    return this.#prefix + sid.privateId
  }

  #answer(
    callsBack: boolean,
    ask: (callback: (error?: unknown, answer?: unknown) => void) => unknown,
  ): Promise<unknown> {
    return askExpressStore(this.#deadline, callsBack, ask)
  }
}

function isSession(found: unknown): found is ExpressSession {
  const { data, createdAt, expiresAt } = found as Partial<ExpressSession>
  return typeof data === 'object' && data !== null && typeof createdAt === 'number' && typeof expiresAt === 'number'
}
