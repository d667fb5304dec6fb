import type Database from 'better-sqlite3'
import { StoreCorruptError } from '../lib/errors.ts'
import { MARKER_LIFE } from '../lib/session-expiry.ts'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import {
  merge,
  privateIdOf,
  type DeleteOptions,
  type OwnedSelection,
  type RenewOptions,
  type SessionSummary,
  type StoredSession,
  type WriteOptions,
} from './abstract-store.ts'

/**
 * What `SqliteStore` asks of a table. A call is done wholly or not at all, so that one that found the file locked
 * can be made again.
 */
export interface SqliteTable {
  find(sid: SessionId): StoredSession | undefined
  write(sid: SessionId, session: SessionData, options: WriteOptions): boolean
  delete(sid: SessionId, options: DeleteOptions): void
  touch(sid: SessionId, expiresAt: number): boolean
  renew(from: SessionId, to: SessionId, options: RenewOptions): boolean
  list(owner: string): Step<SessionSummary[]>
  deleteOwned(owner: string, selection: OwnedSelection): Step<number>
  cleanup(): Step<number>
  upgrade(): Step<number>
  clear(): void
}

/** Does some milliseconds of a longer task: what came of it so far, and whether there is more to do. */
export type Step<T> = () => { readonly value: T; readonly more: boolean }

/** Milliseconds that a step may keep the event loop. */
export const TURN = 5

/** Rows that a cleanup removes at once: in a table of a million about a millisecond's work. */
export const BATCH = 50

type Row = [data: string, createdAt: number, expiresAt: number, owner: string | null, gone: string | null]

/** The store's own table: a column for each thing that is asked for, with an index. */
export function ownTable(database: Database.Database, name: string, clock: () => number): SqliteTable {
  const statements = prepare(database, name)
  const { transaction, find, change, changeData, mark, touch, list, markOwned, expire, clear } = statements

  const create = (sid: SessionId, data: SessionData, options: WriteOptions): boolean => {
    const { owner = null, createdAt, expiresAt } = options
    const json = JSON.stringify(data)
    return statements.create.run(sid.privateId, json, owner, createdAt, clock(), expiresAt).changes === 1
  }

  /** What is stored is ours, so what cannot be read is damage, and no visitor's doing. */
  const parse = (json: string): SessionData => {
    try {
      const data = JSON.parse(json) as unknown
      if (typeof data === 'object' && data !== null && !Array.isArray(data)) return data as SessionData
    } catch {
      // the parser's message would quote the data
    }
    throw new StoreCorruptError(
      'The data of a session is not a JSON object. Its row was left as it is. Find such rows with ' +
        `SELECT session_id FROM "${name}" WHERE NOT json_valid(data), and repair or delete them.`,
    )
  }

  return {
    find(sid) {
      const row = find.get(sid.privateId)
      if (row === undefined) return undefined
      const [json, createdAt, expiresAt, owner, gone] = row
      if (expiresAt <= clock()) return undefined
      const data = parse(json)
      if (gone === null) return { data, createdAt, expiresAt, owner: owner ?? undefined }
      return { data, createdAt, expiresAt, gone: true, successor: gone === '' ? undefined : gone }
    },

    write(sid, session, options) {
      if (options.create) return create(sid, session, options)
      return transaction(() => {
        const now = clock()
        const row = live(find.get(sid.privateId), now)
        if (row === undefined) return false
        const { changes, createdAt, extend, owner = null } = options
        const json = JSON.stringify(changes === 'all' ? session : merge(parse(row[0]), changes))
        const expiresAt = extend ? Math.max(row[2], options.expiresAt) : options.expiresAt
        // what is indexed is written only where it differs: that costs as much again
        if (owner === row[3] && expiresAt === row[2]) changeData.run(json, createdAt, now, sid.privateId)
        else change.run(json, createdAt, now, owner, expiresAt, sid.privateId)
        return true
      })
    },

    delete(sid, { successor = '', markUntil }) {
      mark.run(successor, markUntil, sid.privateId, clock())
    },

    touch(sid, expiresAt) {
      const now = clock()
      return touch.run(now, expiresAt, sid.privateId, now).changes === 1
    },

    renew(from, to, options) {
      return transaction(() => {
        const now = clock()
        const row = live(find.get(from.privateId), now)
        if (row === undefined) return false
        if (!create(to, merge(parse(row[0]), options.changes), options)) return false
        mark.run(to.privateId, options.markUntil, from.privateId, now)
        return true
      })
    },

    list: (owner) => () => ({ value: list.all(owner, clock()), more: false }),

    deleteOwned: (owner, { except, only }) => {
      const ids = {
        except: except === undefined ? null : privateIdOf(except),
        only: only === undefined ? null : privateIdOf(only),
      }
      return () => {
        const now = clock()
        const { changes } = markOwned.run({ owner, ...ids, markUntil: now + MARKER_LIFE, now })
        return { value: changes, more: false }
      }
    },

    cleanup: () => {
      let removed = 0
      return () => {
        const end = performance.now() + TURN
        do {
          const { changes } = expire.run(clock(), BATCH)
          removed += changes
          if (changes < BATCH) return { value: removed, more: false }
        } while (performance.now() < end)
        return { value: removed, more: true }
      }
    },

    upgrade: () => () => ({ value: 0, more: false }),

    clear() {
      clear.run()
    },
  }
}

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
