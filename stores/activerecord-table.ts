import type Database from 'better-sqlite3'
import { InvalidOptionError } from '../lib/errors.ts'
import { MARKER_LIFE } from '../lib/session-expiry.ts'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import { merge, selects, type SessionSummary, type StoredSession, type WriteOptions } from './abstract-store.ts'
import {
  BESIDE_PATH,
  checkColumns,
  dataOf,
  markerIdOf,
  openRow,
  ownerOf,
  PRIVATE_ID,
  privateIdOf,
  readRow,
  timeOf,
  type GemColumn,
  type GemRow,
  type GemSession,
} from './activerecord-row.ts'
import { BATCH, TURN, type SqliteTable } from './sqlite-table.ts'

export interface ActiveRecordOptions {
  clock: () => number
  /** Seconds that a session lives idle that Rails wrote, and so says nothing of it. */
  ttl: number
  /** Where a session's owner stands in the data that Rails wrote; more may become known. */
  ownerKeys: ReadonlySet<string>
  secureSessionOnly: boolean
}

/**
 * The table of the gem activerecord-session_store (2.x) with its JSON serializer. Whatever is written here the gem
 * reads, and what the gem writes is read here, by what its columns tell.
 */
export function activeRecordTable(
  database: Database.Database,
  name: string,
  { clock, ttl, ownerKeys, secureSessionOnly }: ActiveRecordOptions,
): SqliteTable {
  const { byId, byRow, after, insert, update, extend, rename, remove, removeId, removeSame, clear } = prepare(
    database,
    name,
  )
  const transaction = database.transaction((work: () => unknown) => work())
  const immediate = <T>(work: () => T): T => transaction.immediate(work) as T

  // ---- reading

  const open = (row: GemRow): GemSession | undefined => openRow(row, ttl)
  const read = (row: GemRow): GemSession => readRow(row, ttl, name)

  const live = (id: string, now: number): GemSession | undefined => {
    const row = byId.get(id)
    const found = row && read(row)
    return found !== undefined && found.expiresAt > now ? found : undefined
  }

  /** A row of the gem before 2.0, under the cookie's own id: as the gem does, it is put under the private one. */
  const secured = (sid: SessionId, now: number): GemSession | undefined => {
    if (secureSessionOnly || sid.publicId === '') return undefined
    const found = live(sid.publicId, now)
    if (found !== undefined) rename.run(sid.privateId, found.rowid, sid.publicId)
    return found
  }

  /** @throws {InvalidOptionError} rather than to leave a session of the owner's out */
  const belongsTo = ({ data, owner }: GemSession, whose: string): boolean => {
    if (typeof owner === 'string') return owner === whose
    if (owner === undefined && ownerKeys.size === 0 && Object.keys(data).length > 0) {
      throw new InvalidOptionError(
        'There are sessions that Rails wrote, and it is not known whose they are. Name the key that session({ owner }) ' +
          "names to the store, too: new SqliteStore({ compatibility: 'activerecord', owner: 'user_id', filename }).",
      )
    }
    for (const key of ownerKeys) if (Object.hasOwn(data, key) && ownerOf(data[key]) === whose) return true
    return false
  }

  // ---- writing

  const create = (sid: SessionId, data: SessionData, options: WriteOptions, now: number): boolean => {
    for (const id of [sid.privateId, markerIdOf(sid.privateId)]) {
      const row = byId.get(id)
      if (row === undefined) continue
      if (read(row).expiresAt > now) return false
      remove.run(row.rowid)
    }
    const { owner = null, createdAt, expiresAt } = options
    insert.run(sid.privateId, dataOf(data, { expires_at: expiresAt, owner }), timeOf(createdAt), timeOf(now))
    return true
  }

  /**
   * A marker has a row of its own under an id that the gem never looks up. In the session's row Rails would find an
   * empty session, and a request of Rails that is late would fill it again, under the id that was given up.
   */
  const mark = (id: string, until: number, gone: string, now: number): void => {
    const at = markerIdOf(id)
    removeId.run(at)
    insert.run(at, dataOf({}, { expires_at: until, gone }), timeOf(now), timeOf(now))
  }

  // ---- the whole table

  /**
   * Reads on through the table, for some milliseconds each time, and does something about the rows chosen. It goes by
   * the rowid, and a renewed session gets a higher one: so none escapes by a renewal.
   */
  const walk = <T>(choose: (row: GemRow) => T | undefined, act: (chosen: T[]) => void): (() => boolean) => {
    let from = Number.MIN_SAFE_INTEGER
    return () => {
      const end = performance.now() + TURN
      let more = true
      while (more && performance.now() < end) {
        const chosen: T[] = []
        let at = from
        more = false
        for (const row of after.iterate(from)) {
          at = row.rowid
          const choice = choose(row)
          if (choice !== undefined) chosen.push(choice)
          more = chosen.length === BATCH || performance.now() >= end
          if (more) break
        }
        if (chosen.length > 0) act(chosen)
        // only now: where the file was locked, they are read again
        from = at
      }
      return more
    }
  }

  /** The same for what is counted: each is removed, or changed, by one statement. */
  const walkAndCount = (choose: (row: GemRow) => boolean, act: (row: GemRow) => boolean) => {
    let count = 0
    const step = walk(
      (row) => (choose(row) ? row : undefined),
      (rows) => {
        count += immediate(() => rows.filter(act).length)
      },
    )
    return () => {
      const more = step()
      return { value: count, more }
    }
  }

  const isOwned = (row: GemRow, whose: string): boolean => {
    const found = open(row)
    return found !== undefined && found.expiresAt > clock() && belongsTo(found, whose)
  }

  return {
    find(sid) {
      const now = clock()
      const row = byId.get(sid.privateId)
      const marker = row === undefined ? live(markerIdOf(sid.privateId), now) : undefined
      if (marker !== undefined) return { ...stored(marker), gone: true, successor: marker.gone || undefined }
      const found = row === undefined ? secured(sid, now) : read(row)
      return found !== undefined && found.expiresAt > now ? stored(found) : undefined
    },

    write(sid, session, options) {
      return immediate(() => {
        const now = clock()
        if (options.create) return create(sid, session, options, now)
        const found = live(sid.privateId, now)
        if (found === undefined) return false
        const { changes, createdAt, owner = null } = options
        const data = changes === 'all' ? session : merge(found.data, changes)
        const expiresAt = options.extend ? Math.max(found.expiresAt, options.expiresAt) : options.expiresAt
        // the same millisecond keeps the microseconds that Rails wrote
        const created = createdAt === found.createdAt ? null : timeOf(createdAt)
        update.run(dataOf(data, { expires_at: expiresAt, owner }), created, timeOf(now), found.rowid)
        return true
      })
    },

    delete(sid, { successor = '', markUntil }) {
      immediate(() => {
        const now = clock()
        let removed = false
        for (const id of secureSessionOnly ? [sid.privateId] : [sid.privateId, sid.publicId]) {
          const row = byId.get(id)
          if (row === undefined) continue
          // what cannot be read is removed all the same: somebody signs out
          removed ||= (open(row)?.expiresAt ?? Infinity) > now
          remove.run(row.rowid)
        }
        // else a marker that is there stays, for it may name a successor
        if (removed) mark(sid.privateId, markUntil, successor, now)
      })
    },

    touch(sid, expiresAt) {
      return immediate(() => {
        const now = clock()
        const found = live(sid.privateId, now)
        if (found === undefined) return false
        const beside = { expires_at: Math.max(found.expiresAt, expiresAt), owner: found.owner }
        extend.run(JSON.stringify(beside), timeOf(now), found.rowid)
        return true
      })
    },

    renew(from, to, options) {
      return immediate(() => {
        const now = clock()
        const found = live(from.privateId, now)
        // created before the old one is removed, which gives it the higher rowid
        if (found === undefined || !create(to, merge(found.data, options.changes), options, now)) return false
        remove.run(found.rowid)
        mark(from.privateId, options.markUntil, to.privateId, now)
        return true
      })
    },

    list(owner) {
      const now = clock()
      const summaries: SessionSummary[] = []
      const step = walk(
        (row) => {
          const found = open(row)
          if (found === undefined || found.expiresAt <= now || !belongsTo(found, owner)) return undefined
          const { createdAt, updatedAt: lastSeenAt, expiresAt } = found
          return { id: privateIdOf(row), createdAt, lastSeenAt, expiresAt }
        },
        (chosen) => summaries.push(...chosen),
      )
      return () => {
        const more = step()
        return { value: more ? summaries : summaries.toSorted((a, b) => b.lastSeenAt - a.lastSeenAt), more }
      }
    },

    deleteOwned: (owner, selection) =>
      walkAndCount(
        (row) => isOwned(row, owner) && selects(selection, privateIdOf(row)),
        ({ rowid }) => {
          const again = byRow.get(rowid)
          if (again === undefined || !isOwned(again, owner)) return false
          const now = clock()
          remove.run(rowid)
          mark(privateIdOf(again), now + MARKER_LIFE, '', now)
          return true
        },
      ),

    cleanup: () =>
      walkAndCount(
        (row) => {
          const found = open(row)
          return found !== undefined && found.expiresAt <= clock()
        },
        ({ rowid, data, updated_at }) => removeSame.run(rowid, data, updated_at).changes === 1,
      ),

    upgrade: () =>
      walkAndCount(
        ({ session_id }) => !PRIVATE_ID.test(session_id),
        (row) => rename.run(privateIdOf(row), row.rowid, row.session_id).changes === 1,
      ),

    clear() {
      clear.run()
    },
  }
}

/** Makes the table as the gem's migration does, where there is none, and whatever is asked of it, once. */
function prepare(database: Database.Database, name: string) {
  const table = `"${name}"`
  database.pragma('journal_mode = WAL')
  const columns = database.pragma(`table_info(${table})`) as GemColumn[]
  if (columns.length > 0) checkColumns(name, columns)
  else {
    database.exec(`
      CREATE TABLE IF NOT EXISTS ${table} (
        "id" integer PRIMARY KEY AUTOINCREMENT NOT NULL,
        "session_id" varchar NOT NULL,
        "data" text,
        "created_at" datetime(6) NOT NULL,
        "updated_at" datetime(6) NOT NULL
      );
      CREATE UNIQUE INDEX IF NOT EXISTS "index_${name}_on_session_id" ON ${table} ("session_id");
      CREATE INDEX IF NOT EXISTS "index_${name}_on_updated_at" ON ${table} ("updated_at");
    `)
  }
  const select = `SELECT rowid AS rowid, session_id, data, created_at, updated_at FROM ${table}`

  return {
    byId: database.prepare<[id: string], GemRow>(`${select} WHERE session_id = ?`).safeIntegers(false),
    byRow: database.prepare<[rowid: number], GemRow>(`${select} WHERE rowid = ?`).safeIntegers(false),
    after: database.prepare<[rowid: number], GemRow>(`${select} WHERE rowid > ? ORDER BY rowid`).safeIntegers(false),
    insert: database.prepare<[id: string, data: string, created: string, now: string]>(
      `INSERT INTO ${table} (session_id, data, created_at, updated_at) VALUES (?, ?, ?, ?)`,
    ),
    update: database.prepare<[data: string, created: string | null, now: string, rowid: number]>(
      `UPDATE ${table} SET data = ?, created_at = coalesce(?, created_at), updated_at = ? WHERE rowid = ?`,
    ),
    // what stands under value keeps its very text
    extend: database.prepare<[beside: string, now: string, rowid: number]>(
      `UPDATE ${table} SET data = json_set(coalesce(data, '{"value":{}}'), '${BESIDE_PATH}', json(?)), updated_at = ?
       WHERE rowid = ?`,
    ),
    // where the private id is there already, that one counts
    rename: database.prepare<[id: string, rowid: number, from: string]>(
      `UPDATE OR IGNORE ${table} SET session_id = ? WHERE rowid = ? AND session_id = ?`,
    ),
    remove: database.prepare<[rowid: number]>(`DELETE FROM ${table} WHERE rowid = ?`),
    removeId: database.prepare<[id: string]>(`DELETE FROM ${table} WHERE session_id = ?`),
    removeSame: database.prepare<[rowid: number, data: unknown, updated: unknown]>(
      `DELETE FROM ${table} WHERE rowid = ? AND data IS ? AND updated_at IS ?`,
    ),
    clear: database.prepare<[]>(`DELETE FROM ${table}`),
  }
}

function stored({ data, createdAt, expiresAt, owner }: GemSession): StoredSession {
  return { data, createdAt, expiresAt, owner: owner ?? undefined }
}
