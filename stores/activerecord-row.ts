import { InvalidOptionError, SessionValueError, StoreCorruptError } from '../lib/errors.ts'
import type { JsonValue } from '../lib/json.ts'
import { isDeeper, MAX_DEPTH } from '../lib/rails-json.ts'
import type { SessionData } from '../lib/session-hash.ts'
import { SessionId } from '../lib/session-id.ts'

/** A row of the gem activerecord-session_store, as it stands there. */
export interface GemRow {
  readonly rowid: number
  readonly session_id: string
  readonly data: unknown
  readonly created_at: unknown
  readonly updated_at: unknown
}

/** What a row says. Times are in milliseconds since 1970. */
export interface GemSession {
  readonly rowid: number
  readonly data: SessionData
  readonly createdAt: number
  readonly updatedAt: number
  readonly expiresAt: number
  /** `null` where there is none, and `undefined` where Rails wrote the row, which keeps none. */
  readonly owner: string | null | undefined
  /** Of a marker: the private id that the session was renewed to, or `''`. */
  readonly gone: string | undefined
}

/** What the gem has no column for: it stands in the data beside `value`, where the gem does not look. */
interface Beside {
  expires_at: number
  owner?: string | null | undefined
  gone?: string
}

const BESIDE = 'luggage_rack'

/** Where it stands, as a path of SQLite's JSON functions. */
export const BESIDE_PATH: string = `$.${BESIDE}`

/** A private id of any kind, which the gem never looks up for a cookie. */
export const PRIVATE_ID: RegExp = /^\d+::/

/** The session's own idle time in seconds, which Rails carries along. */
const EXPIRE_AFTER = '_expire_after'

/** As ActiveRecord writes it, in UTC; the fraction may be missing. */
const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$/

/** What begins Marshal's base64. */
const MARSHAL = 'BAh'

const COLUMNS = ['session_id', 'data', 'created_at', 'updated_at']

/**
 * What a row says; `undefined` for what is not the gem's JSON, or has no times.
 *
 * @param ttl seconds that a session lives after its last change, where Rails wrote that and so nothing says more
 */
export function openRow({ rowid, data, created_at, updated_at }: GemRow, ttl: number): GemSession | undefined {
  const parsed = parse(data)
  const createdAt = millisecondsOf(created_at)
  const updatedAt = millisecondsOf(updated_at)
  if (parsed === undefined || Number.isNaN(createdAt + updatedAt)) return undefined
  const { value, beside } = parsed
  const { expires_at: end, owner, gone } = beside
  const idle = value[EXPIRE_AFTER]
  return {
    rowid,
    data: value,
    createdAt,
    updatedAt,
    expiresAt: typeof end === 'number' ? end : updatedAt + (typeof idle === 'number' ? idle : ttl) * 1000,
    owner: typeof owner === 'string' || owner === null ? owner : undefined,
    gone: typeof gone === 'string' ? gone : undefined,
  }
}

/** The same. @throws {StoreCorruptError} which says how to go on, and quotes nothing */
export function readRow(row: GemRow, ttl: number, table: string): GemSession {
  const found = openRow(row, ttl)
  if (found !== undefined) return found
  const isMarshal = typeof row.data === 'string' && row.data.startsWith(MARSHAL)
  throw new StoreCorruptError(
    isMarshal
      ? 'The data of a session was written by Marshal, which only Ruby reads. Its row was left as it is. Set ' +
          'ActiveRecord::SessionStore::Session.serializer = :hybrid in Rails, which reads both and writes JSON.'
      : `A row of "${table}" is not what activerecord-session_store writes with serializer = :json: data with an ` +
          'object under "value", and times as text in UTC. It was left as it is. Find such rows with SELECT id ' +
          `FROM "${table}" WHERE NOT json_valid(data) OR json_type(data, '$.value') IS NOT 'object'.`,
  )
}

/** The data column of a session. @throws {SessionValueError} for what Rails could not read */
export function dataOf(value: SessionData, beside: Beside): string {
  const json = JSON.stringify({ value, [BESIDE]: beside })
  // so deep a text has as many characters to open and to close; the wrapper is a level, too
  if (json.length > 2 * MAX_DEPTH && isDeeper(value, MAX_DEPTH - 1)) {
    throw new SessionValueError('session', `nested over ${MAX_DEPTH - 1} deep`)
  }
  return json
}

/** A time as ActiveRecord writes it. */
export function timeOf(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, -1).replace('T', ' ')}000`
}

/** Where the marker of a removed session stands. */
export function markerIdOf(privateId: string): string {
  return privateId.replace(PRIVATE_ID, '0::')
}

export function privateIdOf({ session_id }: GemRow): string {
  return PRIVATE_ID.test(session_id) ? session_id : new SessionId(session_id).privateId
}

/** Whose a value is that stands under the owner's key, as `session({ owner })` has it. */
export function ownerOf(value: JsonValue | undefined): string | undefined {
  if (value === undefined || value === null) return undefined
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** What `PRAGMA table_info` tells. */
export interface GemColumn {
  name: string
  type: string
  notnull: number | bigint
  dflt_value: unknown
  pk: number | bigint
}

/** @throws {InvalidOptionError} for a table that lacks what the gem's has, or demands what the gem's has not */
export function checkColumns(table: string, columns: GemColumn[]): void {
  const lacking = COLUMNS.filter((name) => columns.every((column) => column.name !== name))
  const demanding = columns.filter(({ name, type, notnull, dflt_value, pk }) => {
    const fillsItself = dflt_value !== null || (Number(pk) === 1 && /^integer$/i.test(type))
    return Number(notnull) === 1 && !fillsItself && !COLUMNS.includes(name)
  })
  const wrong = [
    ...lacking.map((name) => `it has no ${name}`),
    ...demanding.map(({ name }) => `it demands a value for ${name}`),
  ]
  if (wrong.length === 0) return
  throw new InvalidOptionError(
    `The table "${table}" is not that of activerecord-session_store: ${wrong.join(', ')}. Name the gem's table, ` +
      'leave compatibility out for a table of this store, or let the gem make one: rails generate ' +
      'active_record:session_migration.',
  )
}

/** The session, and what stands beside it; `undefined` for what the gem's serializer did not write. */
function parse(text: unknown): { value: SessionData; beside: Record<string, unknown> } | undefined {
  let data: unknown = null
  try {
    if (text !== null) data = JSON.parse(text as string)
  } catch {
    return undefined
  }
  // as in Rails, null is an empty session; anything else without a value is of another serializer
  if (data === null) return { value: {}, beside: {} }
  if (!isObject(data) || !Object.hasOwn(data, 'value')) return undefined
  const value = data['value'] ?? {}
  const beside = data[BESIDE]
  return isObject(value) ? { value: value as SessionData, beside: isObject(beside) ? beside : {} } : undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** NaN for what is no time. */
function millisecondsOf(text: unknown): number {
  return typeof text === 'string' && TIME.test(text) ? Date.parse(`${text.replace(' ', 'T')}Z`) : Number.NaN
}
