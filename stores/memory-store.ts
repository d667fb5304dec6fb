import type { IncomingMessage } from 'node:http'
import { InvalidOptionError } from '../lib/errors.ts'
import { MARKER_LIFE } from '../lib/session-expiry.ts'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import {
  AbstractStore,
  merge,
  selects,
  type CleanableStore,
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

export interface MemoryStoreOptions extends StoreOptions {
  /** How many sessions are kept; above it the one that was used longest ago goes. Default 10,000. */
  max?: number | undefined
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  clock?: (() => number) | undefined
}

interface Row {
  /** JSON, so that nobody holds a part of it. */
  json: string
  readonly createdAt: number
  seenAt: number
  expiresAt: number
  readonly owner: string | undefined
  readonly gone: boolean
  readonly successor: string | undefined
}

/**
 * Sessions in the memory of this process: for tests, for teaching, for one small process. They end with the
 * process, and another process does not see them. Concurrent requests that change different keys all keep
 * their changes.
 */
export class MemoryStore extends AbstractStore implements TouchableStore, RenewableStore, OwnedStore, CleanableStore {
  /** In the order of use: the first was used longest ago. */
  readonly #rows = new Map<string, Row>()
  readonly #max: number
  readonly #clock: () => number

  constructor({ max = 10_000, clock = (): number => Date.now(), ...options }: MemoryStoreOptions = {}) {
    super(options)
    if (!(max >= 1)) throw new InvalidOptionError('max must be a number of sessions, at least 1.')
    this.#max = max
    this.#clock = clock
  }

  /** How many sessions there are, expired ones and markers aside. */
  get size(): number {
    const now = this.#clock()
    let size = 0
    for (const row of this.#rows.values()) if (!row.gone && row.expiresAt > now) size++
    return size
  }

  override findSession(_req: IncomingMessage, sid: SessionId): StoredSession | undefined {
    const row = this.#use(sid.privateId)
    if (row === undefined) return undefined
    const { json, createdAt, expiresAt, owner, gone, successor } = row
    return { data: JSON.parse(json) as SessionData, createdAt, expiresAt, owner, gone, successor }
  }

  override writeSession(
    _req: IncomingMessage,
    sid: SessionId,
    session: SessionData,
    { create, changes, createdAt, expiresAt, extend, owner }: WriteOptions,
  ): boolean {
    const row = this.#use(sid.privateId)
    if (create ? row !== undefined : row === undefined || row.gone) return false
    const data = row && changes !== 'all' ? merge(JSON.parse(row.json) as SessionData, changes) : session
    this.#keep(sid.privateId, {
      json: JSON.stringify(data),
      createdAt,
      seenAt: this.#clock(),
      expiresAt: row && extend ? Math.max(row.expiresAt, expiresAt) : expiresAt,
      owner,
      gone: false,
      successor: undefined,
    })
    return true
  }

  override deleteSession(_req: IncomingMessage, sid: SessionId, { markUntil, successor }: DeleteOptions): void {
    const row = this.#use(sid.privateId)
    if (row && !row.gone) this.#mark(sid.privateId, markUntil, successor)
  }

  touchSession(_req: IncomingMessage, sid: SessionId, { expiresAt }: { readonly expiresAt: number }): boolean {
    const row = this.#use(sid.privateId)
    if (row === undefined || row.gone) return false
    row.expiresAt = Math.max(row.expiresAt, expiresAt)
    row.seenAt = this.#clock()
    return true
  }

  renewSession(req: IncomingMessage, from: SessionId, to: SessionId, options: RenewOptions): boolean {
    const row = this.#use(from.privateId)
    if (row === undefined || row.gone) return false
    this.#mark(from.privateId, options.markUntil, to.privateId)
    const data = merge(JSON.parse(row.json) as SessionData, options.changes)
    return this.writeSession(req, to, data, { ...options, changes: 'all' })
  }

  sessionsOf(owner: string | number): SessionSummary[] {
    const now = this.#clock()
    const summaries: SessionSummary[] = []
    for (const [id, row] of this.#rows) {
      if (row.owner !== String(owner) || row.gone || row.expiresAt <= now) continue
      summaries.push({ id, createdAt: row.createdAt, lastSeenAt: row.seenAt, expiresAt: row.expiresAt })
    }
    return summaries.toSorted((a, b) => b.lastSeenAt - a.lastSeenAt)
  }

  deleteSessionsOf(owner: string | number, selection: OwnedSelection = {}): number {
    const ids = this.sessionsOf(owner).filter(({ id }) => selects(selection, id))
    for (const { id } of ids) this.#mark(id, this.#clock() + MARKER_LIFE, undefined)
    return ids.length
  }

  /** Expired sessions are forgotten when they are asked for, or pushed out by `max`; this forgets them now. */
  cleanup(): number {
    const now = this.#clock()
    let removed = 0
    for (const [id, row] of this.#rows) {
      if (row.expiresAt > now) continue
      this.#rows.delete(id)
      removed++
    }
    return removed
  }

  #use(privateId: string): Row | undefined {
    const row = this.#rows.get(privateId)
    if (row === undefined) return undefined
    this.#rows.delete(privateId)
    if (row.expiresAt <= this.#clock()) return undefined
    this.#rows.set(privateId, row)
    return row
  }

  #mark(privateId: string, until: number, successor: string | undefined): void {
    this.#keep(privateId, {
      json: '{}',
      createdAt: 0,
      seenAt: 0,
      expiresAt: until,
      owner: undefined,
      gone: true,
      successor,
    })
  }

  #keep(privateId: string, row: Row): void {
    this.#rows.delete(privateId)
    this.#rows.set(privateId, row)
    if (this.#rows.size <= this.#max) return
    for (const oldest of this.#rows.keys()) {
      this.#rows.delete(oldest)
      return
    }
  }
}
