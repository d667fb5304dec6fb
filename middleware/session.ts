import { describe, type Middleware } from '../lib/app.ts'
import { callEntered } from '../lib/call-inner.ts'
import { RequestJar, type CookieJar } from '../lib/cookie-jar.ts'
import { checkCookie, fix, type CookieOptions } from '../lib/cookie-options.ts'
import { InvalidOptionError, StackOrderError } from '../lib/errors.ts'
import { checkIdle } from '../lib/session-commit.ts'
import type { RetiredCookie, SessionConfig, SessionCookieOptions } from '../lib/session-config.ts'
import { RequestSession, type SessionHandle } from '../lib/session-handle.ts'
import { RESERVED_KEYS } from '../lib/session-hash.ts'
import type { SessionStore } from '../lib/session-store.ts'
import { CookieStore } from '../stores/cookie-store.ts'

export interface SessionOptions<Data = Record<string, unknown>> extends SessionCookieOptions {
  /** Where sessions are kept. Default: `new CookieStore()`, the encrypted cookie. May serve several stacks. */
  store?: SessionStore | undefined
  /** The name of the cookie. Default `'_session_id'`. */
  key?: string | undefined
  /** Seconds that an idle session lives; the cookie then lasts as long. Default: the store's `ttl`, and a cookie that ends with the browser. */
  expireAfter?: number | undefined
  /** Seconds after which use extends the idle time again; 0 is every request, as Rails. Default: a tenth of the idle time. */
  refreshEvery?: number | undefined
  /** Seconds since sign-in or creation after which a session ends, whatever the activity. Default 2592000 (30 days); `Infinity` for none. */
  maxLifetime?: number | undefined
  /** The key of the data that names whose session it is, for example `'userId'`. When its value changes, the session gets a new id. */
  owner?: (keyof Data & string) | undefined
  /**
   * Cookies that held sessions before, by name, place or store: a session found in one goes on, and the cookie is
   * forgotten. They are looked at where the session's own cookie opens nothing.
   */
  retired?: readonly RetiredCookie[] | undefined
  /**
   * What a failing store means: `'throw'` (default) makes the request an error; `'anonymous'` reads as an empty
   * session, and refuses writes with `ERR_SESSION_UNAVAILABLE`.
   */
  onStoreError?: 'throw' | 'anonymous' | undefined
}

/**
 * The session: adds `req.session`, which is loaded when it is first awaited and saved, only if it was changed,
 * after the controller returned and before the head is sent.
 *
 * @throws {InvalidOptionError} an option, or attributes of the cookie, that cannot work
 */
export function session<Data extends object = Record<string, unknown>>(
  options: SessionOptions<Data> = {},
): Middleware<{ readonly session: SessionHandle<Data> }, { readonly cookies: CookieJar }> {
  const config = configOf(options as SessionOptions)
  const stores = [config.store, ...config.retired.map(({ store }) => store)]
  const needs = ['cookies', ...new Set(stores.flatMap((store) => store?.needs ?? []))]

  return describe('session', { adds: ['session'], needs }, (app) => (req) => {
    const jar = req.cookies
    if (!(jar instanceof RequestJar)) {
      throw new StackOrderError(
        'session needs, above it, the layer that adds req.cookies: use(cookies({ secret })) first.',
      )
    }
    const inner = req as typeof req & { session: SessionHandle<Data> }
    const outer: SessionHandle<Data> | undefined = inner.session
    const handle = new RequestSession(config, req, jar)
    inner.session = handle as unknown as SessionHandle<Data>
    return callEntered(app, inner, outer === undefined ? undefined : { session: outer }, handle)
  })
}

function configOf(options: SessionOptions): SessionConfig {
  const { store = new CookieStore(), key = '_session_id', expireAfter, refreshEvery, owner } = options
  const { maxLifetime = 30 * 24 * 3600, onStoreError = 'throw' } = options
  const { path = '/', domain, secure = 'auto', httpOnly = true, partitioned = false } = options
  const sameSite = options.sameSite === undefined ? 'lax' : options.sameSite

  const { retired = [] } = options
  if (!isStore(store)) throw new InvalidOptionError('session({ store }) takes a store, for example new CookieStore().')
  if (!Array.isArray(retired) || !retired.every(isRetired)) {
    throw new InvalidOptionError("session({ retired }) takes a list of cookies, for example [{ key: '_old_session' }].")
  }
  const asksOwner = [store, ...retired.map((one: RetiredCookie) => one.store)].some((one) => one?.needsOwner === true)
  if (asksOwner && owner === undefined) {
    throw new InvalidOptionError(
      "CookieStore({ revokedSince }) asks for a session's owner: name the key, session({ owner }).",
    )
  }
  if (expireAfter !== undefined) checkIdle(expireAfter)
  if (refreshEvery !== undefined && !(Number.isFinite(refreshEvery) && refreshEvery >= 0)) {
    throw new InvalidOptionError('refreshEvery must be a number of seconds, or 0 for every request.')
  }
  if (typeof maxLifetime !== 'number' || !(maxLifetime > 0))
    throw new InvalidOptionError('maxLifetime must be a number of seconds above 0, or Infinity.')
  if (onStoreError !== 'throw' && onStoreError !== 'anonymous') {
    throw new InvalidOptionError("onStoreError must be 'throw' or 'anonymous'.")
  }
  if (owner !== undefined && (typeof owner !== 'string' || owner === '' || RESERVED_KEYS.has(owner))) {
    throw new InvalidOptionError("owner must be a key of the session's data, for example 'userId'.")
  }
  if (![true, false, 'auto'].includes(secure as boolean) && typeof secure !== 'function') {
    throw new InvalidOptionError("secure must be true, false, 'auto' or a function of the request.")
  }
  for (const [name, value] of Object.entries({ httpOnly, partitioned })) {
    if (typeof value !== 'boolean' && typeof value !== 'function') {
      throw new InvalidOptionError(`${name} must be true, false or a function of the request.`)
    }
  }
  checkCookie(key, {
    path: fixed(path),
    domain: domain,
    // 'auto' is secure wherever it must be
    secure: secure === 'auto' || typeof secure === 'function' ? true : secure,
    sameSite: fixed(sameSite),
    partitioned: fixed(partitioned),
  })
  const cookie = { path, domain, secure, httpOnly, sameSite, partitioned }
  const older = retired.map((one: RetiredCookie) => ({ ...one, key: one.key ?? key }))
  for (const one of older) {
    checkCookie(one.key, { path: one.path ?? '/', domain: one.domain, secure: true, partitioned: one.partitioned })
  }
  return {
    store,
    key,
    expireAfter: expireAfter === undefined ? undefined : expireAfter * 1000,
    refreshEvery: refreshEvery === undefined ? undefined : refreshEvery * 1000,
    maxLifetime: maxLifetime * 1000,
    cookie,
    fixed: fixedOf(cookie),
    retired: older,
    owner,
    onStoreError,
  }
}

/** The attributes for a response over TLS, and for one that is not, where they are the same for all requests. */
function fixedOf(cookie: SessionCookieOptions): SessionConfig['fixed'] {
  if (Object.values(cookie).some((value) => typeof value === 'function' || Array.isArray(value))) return undefined
  const attributes = cookie as CookieOptions
  return {
    secure: fix({ ...attributes, secure: true }),
    insecure: fix({ ...attributes, secure: false }),
  }
}

/** Whether it says in what the cookie was another one. */
function isRetired(one: unknown): one is RetiredCookie {
  if (typeof one !== 'object' || one === null) return false
  const { key, path, domain, partitioned, store } = one as RetiredCookie
  if (store !== undefined && !isStore(store)) return false
  return [key, path, domain, partitioned, store].some((value) => value !== undefined)
}

function isStore(store: unknown): store is SessionStore {
  return typeof (store as Partial<SessionStore> | null)?.fromCookie === 'function'
}

/** The value, where it is not a function of the request. */
function fixed<T>(value: T): Exclude<T, (...args: never[]) => unknown> | undefined {
  return typeof value === 'function' ? undefined : (value as Exclude<T, (...args: never[]) => unknown>)
}
