import type { IncomingMessage } from 'node:http'
import type { Awaitable } from './app.ts'
import type { RefusalReason } from './channels.ts'
import type { SessionChanges, SessionData } from './session-hash.ts'
import type { SessionId } from './session-id.ts'

/** Turns what a session holds into a cookie value and back. */
export interface Sealer {
  /**
   * @param payload what to seal; JSON
   * @param name the cookie's name, for which alone it opens
   * @param expiresAt when it ends, in milliseconds since 1970
   */
  seal(payload: SessionData, name: string, expiresAt: number): Awaitable<string>
  /** What a cookie value holds, or `undefined` where it was tampered with, is of another name, or has ended. */
  open(value: string, name: string, now: number): Awaitable<OpenedSeal | undefined>
  /** The same of a value as it stood in the header, for a sealer that knows again what it opened lately. */
  openRaw?(raw: string, name: string, now: number): Awaitable<OpenedSeal | undefined>
  /** Which check such a value does not pass. Asked only where somebody watches. */
  whyRefused?(raw: string, name: string, now: number): RefusalReason
}

export interface OpenedSeal {
  readonly payload: SessionData
  /** Milliseconds since 1970; `undefined` for a seal without an end. */
  readonly expiresAt: number | undefined
  /** Whether it was sealed with a retired secret, and is to be sealed anew. */
  readonly retired: boolean
}

/** What every call to a store is told beside the request. */
export interface StoreContext {
  /** The name of the session's cookie. */
  readonly key: string
  /** The time, in milliseconds since 1970. */
  readonly now: number
  /** The key of the data that names whose session it is, if any. */
  readonly owner: string | undefined
  /** Seals with the secret of `cookies()`; throws on use where there is none. */
  readonly sealer: Sealer
}

/** A session as a store found it. */
export interface LoadedSession {
  readonly sid: SessionId
  readonly data: SessionData
  /** Milliseconds since 1970; 0 where it is not known, which counts as the oldest. */
  readonly createdAt: number
  /** Milliseconds since 1970; `undefined` where the session carries no end of its own (Rails' cookies). */
  readonly expiresAt: number | undefined
  /** The cookie was sealed with a retired secret. */
  readonly retired?: boolean
  /** A reset, renewal or destruction removed it less than 60 s ago: a marker stands in its place. */
  readonly gone?: boolean
}

/** A session to be saved. */
export interface SavedSession {
  /** The session's id. */
  readonly sid: SessionId
  /** The id that it had until now, when the session is renewed. */
  readonly replaces?: SessionId
  /** There is no such session yet. An update must never create, a create never overwrite. */
  readonly create: boolean
  /** The whole content. */
  readonly data: SessionData
  /** What of it changed, for stores that merge; nothing where only the expiry moves. */
  readonly changes: SessionChanges
  readonly createdAt: number
  readonly expiresAt: number
  /** An update: another request may have moved the expiry further meanwhile, and the later one counts. */
  readonly extend: boolean
  readonly owner: string | undefined
}

/**
 * What a session needs of a store: a cookie value in, a session out; a session in, a cookie value out. The
 * encrypted cookie implements this; stores that keep records by an id extend `AbstractStore` instead.
 */
export interface SessionStore {
  /** Seconds that an idle session lives, where `expireAfter` does not say. */
  readonly ttl: number
  /** Properties of the request that it needs a layer for, for example `cookies.secret`. */
  readonly needs?: readonly string[]
  /** Whether it asks for a session's owner, so that `session({ owner })` must name the key. */
  readonly needsOwner?: boolean
  /** Whether the cookie value is the session itself, and so changes with it. */
  readonly inCookie?: boolean
  /**
   * Whether it is given cookies as they stood in the header, and not decoded.
   *
   * @internal
   */
  readonly takesRaw?: boolean
  /** The session that a cookie value stands for; `undefined` where there is none. Rejects when it cannot tell. */
  fromCookie(req: IncomingMessage, cookie: string, context: StoreContext): Awaitable<LoadedSession | undefined>
  /** Saves, and gives the cookie value that stands for the session; `undefined`: it is gone, nothing was saved. */
  toCookie(req: IncomingMessage, session: SavedSession, context: StoreContext): Awaitable<string | undefined>
  /** Removes what a cookie value stands for. What does not exist is no error. */
  forgetCookie(req: IncomingMessage, cookie: string, context: StoreContext): Awaitable<void>
}
