import Database from 'better-sqlite3'
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Awaitable } from '../lib/app.ts'
import { InvalidOptionError, StoreCorruptError, StoreLockedError } from '../lib/errors.ts'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import { warnOnce } from '../lib/warning.ts'
import {
  AbstractStore,
  MARKER_LIFE,
  merge,
  privateIdOf,
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

export interface SqliteStoreOptions extends StoreOptions {
  /** The file, made if there is none; `':memory:'` for none. The store has a connection of its own to it. */
  filename?: string
  /**
   * Instead of a file, an open database of better-sqlite3, which is used as it is (its `synchronous`, its key)
   * and never closed. It is switched to WAL. Its busy timeout is taken back to 0 for each call, which costs a few
   * µs, so give it none. While it is in a transaction of yours the store waits. What was opened with `verbose`
   * prints session data: that is what `verbose` does.
   */
  database?: Database.Database
  /** The table, made if there is none. Default `'sessions'`. */
  table?: string
  /** Seconds after which expired sessions are removed, again and again; 0 for never. Default 600. */
  sweepEvery?: number
  /**
   * Milliseconds that a request waits for a locked file before it fails with `ERR_STORE_LOCKED`. Default 5000, as
   * better-sqlite3 and Rails wait: a lock is another writer at work, who will be done. The event loop goes on.
   */
  deadline?: number
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  clock?: () => number
}

type Row = [data: string, createdAt: number, expiresAt: number, owner: string | null, gone: string | null]

const TABLE = /^[a-z_][a-z0-9_]{0,50}$/i

/** Milliseconds that cleaning up, or what waited for a lock, may keep the event loop at a time. */
const TURN = 5

/** Milliseconds between two steps of a cleanup, in which others write; and the most between two tries of a locked file. */
const PAUSE = 10

/** Rows that a cleanup removes at once: in a table of a million about a millisecond's work. */
const BATCH = 50

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
 */
export class SqliteStore
  extends AbstractStore
  implements TouchableStore, RenewableStore, OwnedStore, CleanableStore, ClosableStore
{
  readonly #database: Database.Database
  readonly #isOwn: boolean
  readonly #table: string
  readonly #deadline: number
  readonly #clock: () => number
  readonly #sweep: NodeJS.Timeout | undefined
  #statements: Statements | undefined
  /** What waits for a lock, the oldest first: each tries again, and says whether it is settled. */
  readonly #waiting: (() => boolean)[] = []
  #poll: NodeJS.Timeout | undefined

  /**
   * @throws {InvalidOptionError}
   * @throws {Database.SqliteError} for a file that cannot be opened, or is no database
   */
  constructor(options: SqliteStoreOptions) {
    super(options)
    const { filename, database, table = 'sessions', sweepEvery = 600, deadline = 5000 } = options
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
    this.#isOwn = database === undefined
    this.#database = database ?? new Database(filename, { timeout: 0 })
    this.#table = table
    this.#deadline = deadline
    this.#clock = options.clock ?? Date.now
    // a table that cannot be made now, because the file is locked, is made on first use
    this.#attempt(() => undefined)
    if (sweepEvery > 0) this.#sweep = setInterval(() => void this.#sweepUp(), sweepEvery * 1000).unref()
  }

  override findSession(_req: IncomingMessage, sid: SessionId): Awaitable<StoredSession | undefined> {
    return this.#run(({ find }) => {
      const row = find.get(sid.privateId)
      if (row === undefined) return undefined
      const [json, createdAt, expiresAt, owner, gone] = row
      if (expiresAt <= this.#clock()) return undefined
      const data = this.#parse(json)
      if (gone === null) return { data, createdAt, expiresAt, owner: owner ?? undefined }
      return { data, createdAt, expiresAt, gone: true, successor: gone === '' ? undefined : gone }
    })
  }

  override writeSession(
    _req: IncomingMessage,
    sid: SessionId,
    session: SessionData,
    options: WriteOptions,
  ): Awaitable<boolean> {
    if (options.create) return this.#run(({ create }) => this.#create(create, sid, session, options))
    return this.#run(({ transaction, find, change, changeData }) =>
      transaction(() => {
        const now = this.#clock()
        const row = live(find.get(sid.privateId), now)
        if (row === undefined) return false
        const { changes, createdAt, extend, owner = null } = options
        const json = JSON.stringify(changes === 'all' ? session : merge(this.#parse(row[0]), changes))
        const expiresAt = extend ? Math.max(row[2], options.expiresAt) : options.expiresAt
        // what is indexed is written only where it differs: that costs as much again
        if (owner === row[3] && expiresAt === row[2]) changeData.run(json, createdAt, now, sid.privateId)
        else change.run(json, createdAt, now, owner, expiresAt, sid.privateId)
        return true
      }),
    )
  }

  override deleteSession(_req: IncomingMessage, sid: SessionId, options: DeleteOptions): Awaitable<void> {
    return this.#run(({ mark }) => {
      mark.run(options.successor ?? '', options.markUntil, sid.privateId, this.#clock())
    })
  }

  touchSession(
    _req: IncomingMessage,
    sid: SessionId,
    { expiresAt }: { readonly expiresAt: number },
  ): Awaitable<boolean> {
    return this.#run(({ touch }) => {
      const now = this.#clock()
      return touch.run(now, expiresAt, sid.privateId, now).changes === 1
    })
  }

  renewSession(_req: IncomingMessage, from: SessionId, to: SessionId, options: RenewOptions): Awaitable<boolean> {
    return this.#run(({ transaction, find, create, mark }) =>
      transaction(() => {
        const now = this.#clock()
        const row = live(find.get(from.privateId), now)
        if (row === undefined) return false
        if (!this.#create(create, to, merge(this.#parse(row[0]), options.changes), options)) return false
        mark.run(to.privateId, options.markUntil, from.privateId, now)
        return true
      }),
    )
  }

  sessionsOf(owner: string | number): Awaitable<SessionSummary[]> {
    return this.#run(({ list }) => list.all(String(owner), this.#clock()))
  }

  deleteSessionsOf(owner: string | number, { except, only }: OwnedSelection = {}): Awaitable<number> {
    return this.#run(({ markOwned }) => {
      const now = this.#clock()
      return markOwned.run({
        owner: String(owner),
        except: except === undefined ? null : privateIdOf(except),
        only: only === undefined ? null : privateIdOf(only),
        markUntil: now + MARKER_LIFE,
        now,
      }).changes
    })
  }

  /**
   * Removes expired sessions and markers, and gives how many. It goes in steps of some milliseconds, between
   * which requests are served, here and in other processes.
   */
  async cleanup(): Promise<number> {
    let removed = 0
    const step = ({ expire }: Statements): boolean => {
      const end = performance.now() + TURN
      do {
        const { changes } = expire.run(this.#clock(), BATCH)
        removed += changes
        if (changes < BATCH) return false
      } while (performance.now() < end)
      return true
    }
    // one step after the other, and not all at once, is what it is about
    // oxlint-disable-next-line no-await-in-loop
    while (this.#database.open && (await this.#run(step))) await sleep(PAUSE)
    return removed
  }

  /** Removes every session, as Rails' `db:sessions:clear`. */
  clear(): Awaitable<void> {
    return this.#run(({ clear }) => {
      clear.run()
    })
  }

  /** Makes the table and its indexes where there are none. The constructor did, unless the file was locked. */
  createTable(): Awaitable<void> {
    return this.#run(() => {})
  }

  /** Removes the table. The next use makes it again. */
  dropTable(): Awaitable<void> {
    return this.#run(() => {
      this.#database.exec(`DROP TABLE "${this.#table}"`)
      this.#statements = undefined
    })
  }

  /** Stops the timer, and closes the file unless the store was given a database. Later calls are errors. */
  close(): void {
    clearInterval(this.#sweep)
    if (this.#isOwn) this.#database.close()
  }

  /** Does it now where it can, and else when the lock is released. It is done wholly or not at all. */
  #run<T>(work: (statements: Statements) => T): Awaitable<T> {
    const result = this.#attempt(work)
    return result === BUSY ? this.#wait(work) : result
  }

  #attempt<T>(work: (statements: Statements) => T): T | typeof BUSY {
    // what the application does in a transaction of its own, it may roll back
    if (this.#database.inTransaction) return BUSY
    const timeout = this.#isOwn ? 0 : (this.#database.pragma('busy_timeout', { simple: true }) as number)
    // SQLite would wait in this thread, and no other request be served
    if (timeout > 0) this.#database.pragma('busy_timeout = 0')
    try {
      return work((this.#statements ??= prepare(this.#database, this.#table)))
    } catch (error) {
      if (isBusy(error)) return BUSY
      throw error
    } finally {
      if (timeout > 0) this.#database.pragma(`busy_timeout = ${timeout}`)
    }
  }

  #wait<T>(work: (statements: Statements) => T): Promise<T> {
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

  /** What is stored is ours, so what cannot be read is damage, and no visitor's doing. */
  #parse(json: string): SessionData {
    try {
      const data = JSON.parse(json) as unknown
      if (typeof data === 'object' && data !== null && !Array.isArray(data)) return data as SessionData
    } catch {
      // the parser's message would quote the data
    }
    throw new StoreCorruptError(
      'The data of a session is not a JSON object. Its row was left as it is. Find such rows with ' +
        `SELECT session_id FROM "${this.#table}" WHERE NOT json_valid(data), and repair or delete them.`,
    )
  }

  #create(create: Statements['create'], sid: SessionId, data: SessionData, options: WriteOptions): boolean {
    const { owner = null, createdAt, expiresAt } = options
    const json = JSON.stringify(data)
    return create.run(sid.privateId, json, owner, createdAt, this.#clock(), expiresAt).changes === 1
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

type Statements = ReturnType<typeof prepare>

/** Makes the table where there is none, and whatever is asked of it, once. */
function prepare(database: Database.Database, name: string) {
  const table = `"${name}"`
  database.pragma('journal_mode = WAL')
  // a row with a rowid: keyed by the random id alone, each write would cost twice
  database.exec(`
    CREATE TABLE IF NOT EXISTS ${table} (
      session_id TEXT NOT NULL PRIMARY KEY,
      data TEXT NOT NULL,
      owner TEXT,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      expires_at INTEGER NOT NULL,
      gone TEXT -- of a marker: the session_id that the session was renewed to, or ''
    );
    CREATE INDEX IF NOT EXISTS "${name}_owner" ON ${table} (owner) WHERE owner IS NOT NULL;
    CREATE INDEX IF NOT EXISTS "${name}_expires_at" ON ${table} (expires_at);
  `)
  const transaction = database.transaction((work: () => boolean) => work())
  const marked = "data = '{}', owner = NULL"

  return {
    transaction: (work: () => boolean): boolean => transaction.immediate(work),
    find: database
      .prepare<[id: string], Row>(`SELECT data, created_at, expires_at, owner, gone FROM ${table} WHERE session_id = ?`)
      .raw()
      .safeIntegers(false),
    // an expired row that was not swept away yet is as good as none
    create: database.prepare<
      [id: string, data: string, owner: string | null, createdAt: number, now: number, expiresAt: number]
    >(
      `INSERT INTO ${table} (session_id, data, owner, created_at, updated_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (session_id) DO UPDATE SET data = excluded.data, owner = excluded.owner,
         created_at = excluded.created_at, updated_at = excluded.updated_at, expires_at = excluded.expires_at, gone = NULL
       WHERE expires_at <= excluded.updated_at`,
    ),
    changeData: database.prepare<[data: string, createdAt: number, now: number, id: string]>(
      `UPDATE ${table} SET data = ?, created_at = ?, updated_at = ? WHERE session_id = ?`,
    ),
    change: database.prepare<
      [data: string, createdAt: number, now: number, owner: string | null, expiresAt: number, id: string]
    >(`UPDATE ${table} SET data = ?, created_at = ?, updated_at = ?, owner = ?, expires_at = ? WHERE session_id = ?`),
    touch: database.prepare<[now: number, expiresAt: number, id: string, now: number]>(
      `UPDATE ${table} SET updated_at = ?, expires_at = max(expires_at, ?)
       WHERE session_id = ? AND gone IS NULL AND expires_at > ?`,
    ),
    // a marker that is there stays, for it may name a successor
    mark: database.prepare<[gone: string, markUntil: number, id: string, now: number]>(
      `UPDATE ${table} SET ${marked}, gone = ?, expires_at = ? WHERE session_id = ? AND gone IS NULL AND expires_at > ?`,
    ),
    list: database
      .prepare<[owner: string, now: number], SessionSummary>(
        `SELECT session_id AS id, created_at AS createdAt, updated_at AS lastSeenAt, expires_at AS expiresAt
         FROM ${table} WHERE owner = ? AND expires_at > ? ORDER BY updated_at DESC`,
      )
      .safeIntegers(false),
    markOwned: database.prepare<{
      owner: string
      except: string | null
      only: string | null
      markUntil: number
      now: number
    }>(
      `UPDATE ${table} SET ${marked}, gone = '', expires_at = $markUntil
       WHERE owner = $owner AND expires_at > $now AND ($only IS NULL OR session_id = $only)
         AND ($except IS NULL OR session_id <> $except)`,
    ),
    expire: database.prepare<[now: number, limit: number]>(
      `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expires_at <= ? LIMIT ?)`,
    ),
    clear: database.prepare<[]>(`DELETE FROM ${table}`),
  }
}

/** The row, unless it expired or is a marker. */
function live(row: Row | undefined, now: number): Row | undefined {
  return row !== undefined && row[2] > now && row[4] === null ? row : undefined
}

/** By its code, since a given database may be of another copy of better-sqlite3, or of a fork. */
function isBusy(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^SQLITE_(BUSY|LOCKED)/.test(code)
}
