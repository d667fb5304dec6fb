import Database from 'better-sqlite3'
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { isPromise, type Awaitable } from '../lib/app.ts'
import { InvalidOptionError, StoreLockedError } from '../lib/errors.ts'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import type { LoadedSession, SavedSession, StoreContext } from '../lib/session-store.ts'
import { warnOnce } from '../lib/warning.ts'
import {
  AbstractStore,
  type CleanableStore,
  type ClosableStore,
  type DeleteOptions,
  type OwnedSelection,
  type OwnedStore,
  type RenewableStore,
  type RenewOptions,
  type SessionSummary,
  type StoredSession,
  type StoreOptions,
  type TouchableStore,
  type WriteOptions,
} from './abstract-store.ts'
import { activeRecordTable } from './activerecord-table.ts'
import { ownTable, TURN, type SqliteTable, type Step } from './sqlite-table.ts'

export interface SqliteStoreOptions extends StoreOptions {
  /** The file, made if there is none; `':memory:'` for none. The store has a connection of its own to it. */
  filename?: string | undefined
  /**
   * Instead of a file, an open database of better-sqlite3, which is used as it is (its `synchronous`, its key)
   * and never closed. It is switched to WAL. Its busy timeout is taken back to 0 for each call, which costs a few
   * µs, so give it none. While it is in a transaction of yours the store waits. What was opened with `verbose`
   * prints session data: that is what `verbose` does.
   */
  database?: Database.Database | undefined
  /** The table, made if there is none. Default `'sessions'`. */
  table?: string | undefined
  /** Seconds after which expired sessions are removed, again and again; 0 for never. Default 600. */
  sweepEvery?: number | undefined
  /**
   * Milliseconds that a request waits for a locked file before it fails with `ERR_STORE_LOCKED`. Default 5000, as
   * better-sqlite3 and Rails wait: a lock is another writer at work, who will be done. The event loop goes on.
   */
  deadline?: number | undefined
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  clock?: (() => number) | undefined
  /**
   * `'activerecord'`: the table is that of the gem activerecord-session_store with its JSON serializer, made as its
   * migration makes it if there is none, so that a Rails application and this one have the same sessions.
   */
  compatibility?: 'activerecord' | undefined
  /**
   * With `compatibility`: the data key that names whose session it is, as in `session({ owner })`, by which sessions
   * that Rails wrote are told apart in lists. A process that serves sessions learns it from there; until then a list
   * fails with `ERR_INVALID_OPTION` rather than to leave one out, so name it where sessions are only listed.
   */
  owner?: string | undefined
  /**
   * With `compatibility`: whether rows of the gem before 2.0, whose `session_id` is the cookie's id in the clear, are
   * left alone, as the gem's `secure_session_only`. Default `false`: such a row is found, and takes the private id.
   */
  secureSessionOnly?: boolean | undefined
}

const TABLE = /^[a-z_][a-z0-9_]{0,50}$/i

/** Milliseconds between two steps of a task, in which others write; and the most between two tries of a locked file. */
const PAUSE = 10

/** Longest that a timer of Node can wait, in seconds. */
const MAX_INTERVAL = 2_147_483

const BUSY: unique symbol = Symbol('busy')

/**
 * Sessions as rows of a SQLite file, as Rails' active_record_store keeps them: durable, queryable, one machine.
 * Needs the package `better-sqlite3`.
 *
 * A row is `session_id` (the private id, which opens nothing), `data` (JSON), `owner` (what
 * `session({ owner })` names, as text) and `created_at`, `updated_at`, `expires_at` in milliseconds since 1970.
 * Where a session was removed less than 60 s ago, `gone` is not NULL, `owner` is, and `data` is `{}`. So:
 *
 * ```sql
 * -- the active sessions of a user, by the index on owner
 * SELECT session_id, datetime(updated_at / 1000, 'unixepoch') AS last_seen FROM sessions
 *  WHERE owner = '42' AND expires_at > unixepoch() * 1000 ORDER BY updated_at DESC;
 *
 * -- the same by what the sessions hold; an index on the expression makes it as fast
 * SELECT session_id FROM sessions WHERE json_extract(data, '$.userId') = 42 AND expires_at > unixepoch() * 1000;
 * CREATE INDEX sessions_user ON sessions (json_extract(data, '$.userId'));
 *
 * -- carts above three things
 * SELECT count(*) FROM sessions WHERE json_array_length(data, '$.cart') > 3 AND expires_at > unixepoch() * 1000;
 * ```
 *
 * Concurrent requests that change different keys all keep their changes, also from several processes on one
 * file. A method answers with a value, and with a promise only where it has to wait for a lock.
 *
 * Every call is done wholly or not at all, and so what fails changes nothing: `ERR_STORE_LOCKED` at the deadline,
 * `ERR_STORE_CORRUPT` for data that somebody damaged, and SQLite's own, for example `SQLITE_FULL`.
 *
 * What was answered survives the end of the process, `kill -9` included. A power cut may take the last commits,
 * and never damages the file (`synchronous = NORMAL`, which spares a write of some milliseconds at each commit;
 * to keep those too, pass a `database` with `pragma('synchronous = FULL')`). The file must be on a local disk,
 * and readable by the application alone: session data stands in it in the clear.
 *
 * With `compatibility: 'activerecord'` a row is the gem's: `session_id`, `data` with the session under `value`, and
 * `created_at` and `updated_at` as text in UTC. What the gem has no column for stands in `data` beside `value`, where
 * Rails does not look, and which it drops when it writes: from then on a session ends `ttl` seconds after
 * `updated_at` (or the `expireAfter` of its own), so give `ttl` what `expireAfter` says. Rails moves `updated_at` when
 * a session changes and not when it is read, and its `db:sessions:trim` removes what is 30 days old by it.
 *
 * Where a session was removed less than 60 s ago, its row is gone, and a marker that Rails never finds stands under
 * `0::` in place of `2::`. Changes of concurrent requests are merged here; Rails writes the whole session, and
 * what it loaded before it was removed here, it may write again under a new id. Numbers are JavaScript's: in a session
 * that is changed here, a whole number above 2^53 is rounded, and Rails reads 1.0 back as 1.
 *
 * What the gem's `:hybrid` serializer writes is read, too. Marshal is not: `ERR_STORE_CORRUPT`, and such a row is in
 * no list, and is left alone by all but a `destroy()` or reset of its session. There is no index on the owner or the expiry, so `sessionsOf`,
 * `deleteSessionsOf` and `cleanup` read the whole table, in steps of some milliseconds between which requests are
 * served. Do not add an index on an expression of JSON: with it Rails could not write Marshal any more.
 */
export class SqliteStore
  extends AbstractStore
  implements TouchableStore, RenewableStore, OwnedStore, CleanableStore, ClosableStore
{
  readonly #database: Database.Database
  readonly #isOwn: boolean
  readonly #open: () => SqliteTable
  readonly #deadline: number
  readonly #sweep: NodeJS.Timeout | undefined
  readonly #name: string
  /** Where a session's owner stands in its data, as far as it is known. */
  readonly #ownerKeys = new Set<string>()
  #table: SqliteTable | undefined
  /** What waits for a lock, the oldest first: each tries again, and says whether it is settled. */
  readonly #waiting: (() => boolean)[] = []
  #poll: NodeJS.Timeout | undefined

  /**
   * @throws {InvalidOptionError} also for a table that is not the gem's
   * @throws {Database.SqliteError} for a file that cannot be opened, or is no database
   */
  constructor(options: SqliteStoreOptions) {
    super(options)
    const { filename, database, table = 'sessions', sweepEvery = 600, deadline = 5000, clock = Date.now } = options
    const { compatibility, owner, secureSessionOnly = false } = options
    if (!TABLE.test(table) || /^sqlite_/i.test(table)) {
      throw new InvalidOptionError('table must be a name of letters, digits and _, for example sessions.')
    }
    if (!(sweepEvery >= 0 && sweepEvery <= MAX_INTERVAL)) {
      throw new InvalidOptionError(`sweepEvery must be a number of seconds up to ${MAX_INTERVAL}, or 0 for never.`)
    }
    if (!(deadline >= 0)) throw new InvalidOptionError('deadline must be a number of milliseconds, at least 0.')
    if ((filename === undefined) === (database === undefined)) {
      throw new InvalidOptionError(
        "SqliteStore takes a filename or an open database: new SqliteStore({ filename: 'sessions.db' }).",
      )
    }
    if (compatibility !== undefined && (compatibility as string) !== 'activerecord') {
      throw new InvalidOptionError("compatibility must be 'activerecord', or left out for the store's own table.")
    }
    if (compatibility === undefined && (owner !== undefined || options.secureSessionOnly !== undefined)) {
      throw new InvalidOptionError("owner and secureSessionOnly go with compatibility: 'activerecord'.")
    }
    if (owner !== undefined && (typeof owner !== 'string' || owner === '')) {
      throw new InvalidOptionError("owner must be a key of the session's data, for example user_id.")
    }
    if (typeof secureSessionOnly !== 'boolean') {
      throw new InvalidOptionError('secureSessionOnly must be true or false.')
    }
    this.#isOwn = database === undefined
    this.#database = database ?? new Database(filename, { timeout: 0 })
    this.#name = table
    this.#deadline = deadline
    if (owner !== undefined) this.#ownerKeys.add(owner)
    const gem = { clock, ttl: this.ttl, ownerKeys: this.#ownerKeys, secureSessionOnly }
    this.#open = () =>
      compatibility === undefined
        ? ownTable(this.#database, table, clock)
        : activeRecordTable(this.#database, table, gem)
    // a table that cannot be made now, because the file is locked, is made on first use
    this.#attempt(() => undefined)
    if (sweepEvery > 0) this.#sweep = setInterval(() => void this.#sweepUp(), sweepEvery * 1000).unref()
  }

  override findSession(_req: IncomingMessage, sid: SessionId): Awaitable<StoredSession | undefined> {
    return this.#run((table) => table.find(sid))
  }

  override writeSession(
    _req: IncomingMessage,
    sid: SessionId,
    session: SessionData,
    options: WriteOptions,
  ): Awaitable<boolean> {
    return this.#run((table) => table.write(sid, session, options))
  }

  override deleteSession(_req: IncomingMessage, sid: SessionId, options: DeleteOptions): Awaitable<void> {
    return this.#run((table) => table.delete(sid, options))
  }

  touchSession(
    _req: IncomingMessage,
    sid: SessionId,
    { expiresAt }: { readonly expiresAt: number },
  ): Awaitable<boolean> {
    return this.#run((table) => table.touch(sid, expiresAt))
  }

  renewSession(_req: IncomingMessage, from: SessionId, to: SessionId, options: RenewOptions): Awaitable<boolean> {
    return this.#run((table) => table.renew(from, to, options))
  }

  /** @internal */
  override fromCookie(
    req: IncomingMessage,
    cookie: string,
    context?: StoreContext,
  ): Awaitable<LoadedSession | undefined> {
    if (context?.owner !== undefined) this.#ownerKeys.add(context.owner)
    return super.fromCookie(req, cookie)
  }

  /** @internal */
  override toCookie(req: IncomingMessage, session: SavedSession, context: StoreContext): Awaitable<string | undefined> {
    if (context.owner !== undefined) this.#ownerKeys.add(context.owner)
    return super.toCookie(req, session, context)
  }

  sessionsOf(owner: string | number): Awaitable<SessionSummary[]> {
    return this.#proceed((table) => table.list(String(owner)))
  }

  deleteSessionsOf(owner: string | number, selection: OwnedSelection = {}): Awaitable<number> {
    return this.#proceed((table) => table.deleteOwned(String(owner), selection))
  }

  /**
   * Removes expired sessions and markers, and gives how many. It goes in steps of some milliseconds, between
   * which requests are served, here and in other processes.
   */
  async cleanup(): Promise<number> {
    return this.#database.open ? this.#proceed((table) => table.cleanup()) : 0
  }

  /**
   * With `compatibility`: puts the private id in the place of every public one, and gives how many there were, as
   * Rails' `db:sessions:upgrade`. All stay signed in.
   */
  async upgrade(): Promise<number> {
    return this.#proceed((table) => table.upgrade())
  }

  /** Removes every session, as Rails' `db:sessions:clear`. */
  clear(): Awaitable<void> {
    return this.#run((table) => table.clear())
  }

  /** Makes the table and its indexes where there are none. The constructor did, unless the file was locked. */
  createTable(): Awaitable<void> {
    return this.#run(() => {})
  }

  /** Removes the table. The next use makes it again. */
  dropTable(): Awaitable<void> {
    return this.#run(() => {
      this.#database.exec(`DROP TABLE "${this.#name}"`)
      this.#table = undefined
    })
  }

  /** Stops the timer, and closes the file unless the store was given a database. Later calls are errors. */
  close(): void {
    clearInterval(this.#sweep)
    if (this.#isOwn) this.#database.close()
  }

  /** Does it now where it can, and else when the lock is released. It is done wholly or not at all. */
  #run<T>(work: (table: SqliteTable) => T): Awaitable<T> {
    const result = this.#attempt(work)
    return result === BUSY ? this.#wait(work) : result
  }

  /** Does a longer task in steps, and gives a promise only where one is not enough. */
  #proceed<T>(begin: (table: SqliteTable) => Step<T>): Awaitable<T> {
    let step: Step<T> | undefined
    const next = (): Awaitable<ReturnType<Step<T>>> => this.#run((table) => (step ??= begin(table))())
    const first = next()
    return !isPromise(first) && !first.more ? first.value : this.#finish(first, next)
  }

  async #finish<T>(first: Awaitable<ReturnType<Step<T>>>, next: () => Awaitable<ReturnType<Step<T>>>): Promise<T> {
    let done = await first
    // one step after the other, and not all at once, is what it is about
    while (done.more && this.#database.open) {
      // oxlint-disable-next-line no-await-in-loop
      await sleep(PAUSE)
      // oxlint-disable-next-line no-await-in-loop
      if (this.#database.open) done = await next()
    }
    return done.value
  }

  #attempt<T>(work: (table: SqliteTable) => T): T | typeof BUSY {
    // what the application does in a transaction of its own, it may roll back
    if (this.#database.inTransaction) return BUSY
    const timeout = this.#isOwn ? 0 : (this.#database.pragma('busy_timeout', { simple: true }) as number)
    // SQLite would wait in this thread, and no other request be served
    if (timeout > 0) this.#database.pragma('busy_timeout = 0')
    try {
      return work((this.#table ??= this.#open()))
    } catch (error) {
      if (isBusy(error)) return BUSY
      throw error
    } finally {
      if (timeout > 0) this.#database.pragma(`busy_timeout = ${timeout}`)
    }
  }

  #wait<T>(work: (table: SqliteTable) => T): Promise<T> {
    const until = performance.now() + this.#deadline
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          const result = this.#attempt(work)
          if (result !== BUSY) resolve(result)
          else if (performance.now() < until) return false
          else reject(this.#locked())
        } catch (error) {
          reject(error)
        }
        return true
      })
      this.#tryAgainIn(1)
    })
  }

  /** One asks for all that wait, so that it costs the same however many they are. */
  #tryAgainIn(milliseconds: number): void {
    if (this.#poll !== undefined) return
    this.#poll = setTimeout(() => {
      this.#poll = undefined
      const end = performance.now() + TURN
      let settled: boolean | undefined
      while (performance.now() < end && (settled = this.#waiting[0]?.()) === true) this.#waiting.shift()
      if (this.#waiting.length > 0) this.#tryAgainIn(settled === true ? 0 : Math.min(milliseconds * 2, PAUSE))
    }, milliseconds)
  }

  #locked(): StoreLockedError {
    return new StoreLockedError(this.#deadline)
  }

  async #sweepUp(): Promise<void> {
    try {
      await this.cleanup()
    } catch (error) {
      warnOnce(
        'LUGGAGE_RACK_SWEEP',
        `Expired sessions could not be removed, and will be tried again: ${(error as Error).message}`,
      )
    }
  }
}

/** By its code, since a given database may be of another copy of better-sqlite3, or of a fork. */
function isBusy(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^SQLITE_(BUSY|LOCKED)/.test(code)
}
