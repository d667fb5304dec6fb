import type { IncomingMessage } from 'node:http'
import type { Awaitable } from './app.ts'
import { generateToken, parseToken } from './authenticity-token.ts'
import type { CookieJar } from './cookie-jar.ts'
import { InvalidOptionError } from './errors.ts'
import { isSecure } from './request.ts'
import type { RequestSession } from './session-handle.ts'

/** Where the token that a session's tokens are derived from is kept. */
export interface TokenStorage {
  get(req: IncomingMessage): Awaitable<unknown>
  set(req: IncomingMessage, token: string): Awaitable<unknown>
  delete(req: IncomingMessage): Awaitable<unknown>
}

/** What the storages that are there keep it in: the session and the jar of the layer, and not of another inside `map`. */
export interface Keep {
  readonly session: RequestSession
  readonly cookies: CookieJar | undefined
}

/** A `TokenStorage`, which may look at these instead of the request. */
export interface KeptTokens {
  get(req: IncomingMessage, keep: Keep): Awaitable<unknown>
  set(req: IncomingMessage, token: string, keep: Keep): Awaitable<unknown>
  delete(req: IncomingMessage, keep: Keep): Awaitable<unknown>
}

/** @throws {InvalidOptionError} for what is no storage */
export function storageOf(storage: 'session' | 'cookie' | TokenStorage): KeptTokens {
  if (storage === 'session') return inSession
  if (storage === 'cookie') return inCookie
  const { get, set, delete: remove } = (storage ?? {}) as Partial<TokenStorage>
  if ([get, set, remove].every((one) => typeof one === 'function')) return storage
  throw new InvalidOptionError("csrf({ storage }) takes 'session', 'cookie' or an object with get, set and delete.")
}

/** The token that there is, or a new one, which is kept. */
export async function tokenIn(storage: KeptTokens, req: IncomingMessage, keep: Keep): Promise<Buffer> {
  const token = parseToken(await storage.get(req, keep))
  if (token !== undefined) return token
  const made = generateToken()
  await storage.set(req, made, keep)
  return parseToken(made) as Buffer
}

const SESSION_KEY = '_csrf_token'

const inSession: KeptTokens = {
  get: async (_req, { session }) => (await session)[SESSION_KEY],
  set: async (_req, token, { session }) => {
    const hash = await session
    hash[SESSION_KEY] = token
  },
  // whoever deletes it resets the session as well
  delete: () => {},
}

const COOKIE = 'csrf_token'

/** Rails' `protect_from_forgery store: :cookie`: bound to the id of the session that it was made in. */
const inCookie: KeptTokens = {
  get: async (_req, { session, cookies }) => {
    const kept = cookies?.encrypted.get(COOKIE) as { token?: unknown; session_id?: unknown } | undefined
    if (kept === undefined) return undefined
    await session
    return kept?.session_id === (session.id ?? null) ? kept.token : undefined
  },
  set: async (req, token, { session, cookies }) => {
    await session
    const value = { token, session_id: session.id ?? null }
    cookies?.encrypted.permanent.set(COOKIE, value, { httpOnly: true, sameSite: 'lax', secure: isSecure(req) })
  },
  delete: (req, { cookies }) => cookies?.delete(COOKIE, { secure: isSecure(req) }),
}
