import type { IncomingMessage } from 'node:http'
import type { CookieDomain, CookieOptions, SameSite } from './cookie-options.ts'
import type { SessionStore } from './session-store.ts'

/** A value, or a function of the request that gives it. */
export type PerRequest<T> = T | ((req: IncomingMessage) => T)

/** The attributes of the session's cookie. */
export interface SessionCookieOptions {
  /** Default `'/'`. */
  path?: PerRequest<string | undefined>
  /** Default: the very host that answers, and no other. */
  domain?: CookieDomain | undefined
  /**
   * Default `'auto'`: Secure over TLS, and always where the cookie needs it (`__Host-` and `__Secure-` names,
   * SameSite=None, partitioned). Over plain http a cookie without Secure then goes to a loopback host outside
   * production alone; anywhere else nothing is saved, and a process warning says so once. `true`: over plain
   * http nothing is saved. `false`: never Secure.
   */
  secure?: PerRequest<boolean | 'auto' | undefined>
  /** Hidden from the page's scripts. Default `true`. */
  httpOnly?: PerRequest<boolean | undefined>
  /** Default `'lax'`; `null` sends none. */
  sameSite?: PerRequest<SameSite | null | undefined>
  /** Default `false`. */
  partitioned?: PerRequest<boolean | undefined>
}

/**
 * A cookie that held sessions before: a session found in it goes on under the cookie of now, and the browser is told
 * to forget the old one.
 */
export interface RetiredCookie {
  /** Its name. Default: that of the session's cookie. */
  key?: string | undefined
  /** As it was set with, else the browser does not forget it. Default `'/'`. */
  path?: string | undefined
  /** As it was set with. Default: none. */
  domain?: CookieDomain | undefined
  /** As it was set with. Default `false`. */
  partitioned?: boolean | undefined
  /** Where its sessions are, if elsewhere: they are brought over to the session's store, and removed there. */
  store?: SessionStore | undefined
}

/** `req.session.options`: for this request and its response only, but for `expireAfter`. */
export interface SessionRequestOptions {
  /** Seconds that this session may be idle. It stays with the session. */
  expireAfter?: number | undefined
  /** Commit nothing: what was written in this request is forgotten. */
  skip?: boolean | undefined
  /** Save, but send no cookie. */
  defer?: boolean | undefined
  /** `false`: this request does not extend the idle time. Set it before the first await. */
  touch?: boolean | undefined
  path?: string | undefined
  domain?: string | undefined
  secure?: boolean | 'auto' | undefined
  httpOnly?: boolean | undefined
  sameSite?: SameSite | null | undefined
  partitioned?: boolean | undefined
}

/** What the session of a stack is, checked and with its defaults. Times are in milliseconds. */
export interface SessionConfig {
  readonly store: SessionStore
  readonly key: string
  readonly expireAfter: number | undefined
  readonly refreshEvery: number | undefined
  readonly maxLifetime: number
  readonly cookie: SessionCookieOptions
  /** The cookie's attributes, where none is a function of the request: checked, and the same objects each time. */
  readonly fixed: { readonly secure: CookieOptions; readonly insecure: CookieOptions } | undefined
  readonly retired: readonly (RetiredCookie & { readonly key: string })[]
  readonly owner: string | undefined
  readonly onStoreError: 'throw' | 'anonymous'
}
