import type Database from 'better-sqlite3'
import { SessionId, type SessionData } from '../../lib/index.ts'

export interface GemRow {
  id: number
  session_id: string
  data: string | null
  created_at: string
  updated_at: string
}

/** The table as the gem's migration makes it, in the words of Rails 7.2. */
export function createGemTable(database: Database.Database, table = 'sessions'): void {
  database.exec(`
    CREATE TABLE "${table}" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "session_id" varchar NOT NULL, "data" text, "created_at" datetime(6) NOT NULL, "updated_at" datetime(6) NOT NULL);
    CREATE UNIQUE INDEX "index_${table}_on_session_id" ON "${table}" ("session_id");
    CREATE INDEX "index_${table}_on_updated_at" ON "${table}" ("updated_at");
  `)
}

/** A time as ActiveRecord writes it. */
export function railsTime(milliseconds: number, micros = '314'): string {
  return new Date(milliseconds).toISOString().replace('T', ' ').replace('Z', micros)
}

/** What the gem finds for a cookie: by the private id, and else by the public one, which it then puts away. */
function railsFinds(database: Database.Database, sid: SessionId): GemRow | undefined {
  if (/^\d+::/.test(sid.publicId)) return undefined
  const find = database.prepare<[string], GemRow>('SELECT * FROM sessions WHERE session_id = ? LIMIT 1')
  return find.get(sid.privateId) ?? find.get(sid.publicId)
}

/** What the gem's JSON serializer makes of a row: what stands under `value`, and nothing else. */
export function railsParses(json: string | null): SessionData {
  const parsed = json === null ? null : (JSON.parse(json) as { value?: SessionData | null } | null)
  return parsed?.value ?? {}
}

/** What a Rails application sees in the session of a cookie. */
export function railsReads(database: Database.Database, sid: SessionId): SessionData {
  return railsParses(railsFinds(database, sid)?.data ?? null)
}

/** Saves a session as the gem does: the whole hash; where there is no row it makes one under a new id. */
export function railsWrites(database: Database.Database, sid: SessionId, data: SessionData, now: number): SessionId {
  const json = JSON.stringify({ value: data })
  const time = railsTime(now)
  const row = railsFinds(database, sid)
  if (row === undefined) {
    const given = SessionId.generate()
    database
      .prepare('INSERT INTO sessions (session_id, data, created_at, updated_at) VALUES (?, ?, ?, ?)')
      .run(given.privateId, json, time, time)
    return given
  }
  // ActiveRecord writes what differs, and the time only then
  if (row.data !== json || row.session_id !== sid.privateId) {
    database
      .prepare('UPDATE sessions SET session_id = ?, data = ?, updated_at = ? WHERE id = ?')
      .run(sid.privateId, json, time, row.id)
  }
  return sid
}

/** What `reset_session` does to the row. */
export function railsDestroys(database: Database.Database, sid: SessionId): void {
  const row = railsFinds(database, sid)
  if (row) database.prepare('DELETE FROM sessions WHERE id = ?').run(row.id)
}
