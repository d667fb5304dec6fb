import type { OpenedCookie, Seal } from './cli-open-cookie.ts'
import { inWords, isoTime, json } from './cli-output.ts'
import type { SessionId } from './session-id.ts'

/** Browsers keep 4096 bytes of a cookie's name and value (RFC 6265bis, section 5.6). */
const MAX_COOKIE_BYTES = 4096

/** The default of session({ maxLifetime }). */
const THIRTY_DAYS = 30 * 86_400_000

/** What there is to say of a cookie that is an id. */
export interface IdReport {
  readonly kind: 'id'
  readonly name: string
  /** The key in a store. */
  readonly privateId: string
  readonly size: number
  readonly limit: number
}

/** What there is to say of a cookie that was opened. Times are in ISO 8601. */
export interface SealReport {
  readonly kind: 'session' | 'cookie'
  readonly name: string
  readonly seal: Seal
  /** Which of the secrets opened it, from 1 on, and how many there are. */
  readonly key: number
  readonly keys: number
  readonly retired: boolean
  readonly createdAt?: string | null
  readonly expiresAt: string | null
  /** Seconds that this session may be idle, where it has an idle time of its own. */
  readonly expireAfter?: number | null
  readonly sessionId?: string
  readonly size: number
  readonly limit: number
  readonly notes: readonly string[]
  readonly data: unknown
}

export function reportOfId(name: string, { publicId, privateId }: SessionId): IdReport {
  return { kind: 'id', name, privateId, size: sizeOf(name, publicId), limit: MAX_COOKIE_BYTES }
}

export function reportOf(name: string, text: string, opened: OpenedCookie, keys: number, now: number): SealReport {
  const size = sizeOf(name, text)
  const notes: string[] = []
  if (opened.isForAnyName) {
    notes.push('It was sealed for no name, so that it is refused, unless cookies({ requirePurpose: false }) is set.')
  }
  if (size > MAX_COOKIE_BYTES) notes.push('It is too large: browsers drop it.')
  const report = {
    name,
    seal: opened.seal,
    key: opened.secret + 1,
    keys,
    retired: opened.secret > 0,
    expiresAt: isoTime(opened.expiresAt),
    size,
    limit: MAX_COOKIE_BYTES,
    notes,
  }
  const { value } = opened
  if (opened.seal === 'signed' || !isSession(value)) return { kind: 'cookie', ...report, data: value }

  // what the session keeps for itself is told by itself
  const { session_id: sessionId, _created_at: created, _expire_after: idle, ...data } = value
  const createdAt = typeof created === 'number' && created > 0 ? isoTime(created) : null
  if (createdAt !== null && (created as number) + THIRTY_DAYS <= now) {
    notes.push('It is older than 30 days, so that it is refused, unless session({ maxLifetime }) is longer.')
  }
  const expireAfter = typeof idle === 'number' ? idle : null
  return { kind: 'session', ...report, createdAt, expireAfter, sessionId, data }
}

function isSession(value: unknown): value is Record<string, unknown> & { session_id: string } {
  return typeof value === 'object' && value !== null && 'session_id' in value && typeof value.session_id === 'string'
}

/** Bytes of name and value as they are sent, which is what browsers count. */
function sizeOf(name: string, text: string): number {
  return name.length + encodeURIComponent(text).length
}

const SEALS: Readonly<Record<Seal, string>> = {
  encrypted: "encrypted in Rails' format",
  'encrypted-cbc': 'encrypted in the format of Rails 5.1',
  signed: "signed in Rails' format; anyone can read it",
  'iron-session': 'encrypted as iron-session does',
  h3: 'encrypted as h3 does',
}

/** The same for people. */
export function textOf(report: IdReport | SealReport): string {
  const size = `${report.size} of ${report.limit} bytes`
  if (report.kind === 'id') {
    return linesOf([
      ['cookie', `${report.name}, the id of a session in a store; it holds nothing itself`],
      ['private id', `${report.privateId}, the key in the store`],
      ['size', size],
    ])
  }
  const now = Date.now()
  const timeOf = (time: string): string => `${time} (${inWords(Date.parse(time), now)})`
  const lines: [label: string, text: string][] = [['cookie', `${report.name}, ${SEALS[report.seal]}`]]
  const which = `${report.key} of ${report.keys}`
  lines.push(['key', report.retired ? `${which}: retired, so a session is sealed anew when it is next read` : which])
  if (report.kind === 'session') {
    lines.push(['created', report.createdAt ? timeOf(report.createdAt) : 'not known; only this package writes it'])
  }
  lines.push(['expires', report.expiresAt === null ? 'never by itself' : timeOf(report.expiresAt)])
  if (typeof report.expireAfter === 'number') lines.push(['idle time', `${report.expireAfter} seconds, its own`])
  if (report.sessionId !== undefined) lines.push(['session id', report.sessionId])
  lines.push(['size', size], ...report.notes.map((note): [string, string] => ['note', note]))
  return `${linesOf(lines)}\n${json(report.data)}`
}

function linesOf(lines: readonly (readonly [label: string, text: string])[]): string {
  // a name that was given may hold a line end
  return lines.map(([label, text]) => `${label.padEnd(12)}${text.replaceAll('\n', ' ')}\n`).join('')
}
