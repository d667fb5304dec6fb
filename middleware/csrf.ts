import type { IncomingMessage } from 'node:http'
import { describe, isPromise, type App, type Awaitable, type Middleware, type RackResponse } from '../lib/app.ts'
import { generateToken, maskToken, parseToken, verifyToken } from '../lib/authenticity-token.ts'
import { closeBody } from '../lib/body.ts'
import { withVary } from '../lib/cache-control.ts'
import { callInner } from '../lib/call-inner.ts'
import { RequestJar, type CookieJar } from '../lib/cookie-jar.ts'
import { CsrfError, InvalidOptionError } from '../lib/errors.ts'
import { getHeaderLines } from '../lib/headers.ts'
import { checkOrigins, isSecure, originOf, pathOf } from '../lib/request.ts'
import { requireSession, RequestSession, type SessionHandle } from '../lib/session-handle.ts'

/** Decides what a refused request is answered. */
export type CsrfStrategy = (error: CsrfError, req: IncomingMessage) => Awaitable<RackResponse>

/** Where the token that a session's tokens are derived from is kept. */
export interface TokenStorage {
  get(req: IncomingMessage): Awaitable<unknown>
  set(req: IncomingMessage, token: string): Awaitable<unknown>
  delete(req: IncomingMessage): Awaitable<unknown>
}

export interface CsrfOptions {
  /**
   * What a request that cannot be told from a forged one meets, as in Rails: `'exception'` (default) throws
   * `CsrfError`, status 422; `'nullSession'` goes on with an empty session and no cookies, of which nothing is
   * saved; `'resetSession'` signs the visitor out and goes on. A function answers the request itself.
   */
  strategy?: 'exception' | 'nullSession' | 'resetSession' | CsrfStrategy
  /** Other origins that may send requests, for example `['https://accounts.example.org']`. Default: none. */
  trustedOrigins?: readonly string[]
  /**
   * `false` goes by Sec-Fetch-Site and Origin alone, for applications without forms of their own: a browser too
   * old to send either is then refused over https. Default `true`.
   */
  tokens?: boolean
  /** The field of a form that holds the token. Default `'authenticity_token'`, as Rails. */
  parameter?: string
  /**
   * Where the token is kept: in the session (default), in an encrypted cookie `csrf_token`, or where you say. In the
   * cookie it is bound to the session's id.
   */
  storage?: 'session' | 'cookie' | TokenStorage
  /** Requests that are not checked, and whose responses are not, for example those of an API with keys of its own. */
  skip?: (req: IncomingMessage) => boolean
  /** Hears the reason of each refusal. Default `console.warn`; `false` for nobody. */
  log?: ((reason: string, req: IncomingMessage) => void) | false
}

/**
 * `await req.csrfToken()`: a token for any form of this session; `await req.csrfToken({ action, method })`: one for
 * this form alone. It belongs into the field `authenticity_token`, or into the header `x-csrf-token`.
 * `action` is a path or an address; a relative one is joined to the path of the page, as Rails does.
 */
export type CsrfToken = (form?: { readonly action: string; readonly method?: string }) => Promise<string>

type Needed = IncomingMessage & {
  readonly session: SessionHandle<object>
  readonly cookies?: CookieJar
  readonly form?: () => PromiseLike<URLSearchParams>
  readonly originalMethod?: string
}

/** Methods that change nothing (RFC 9110, section 9.2.1, and QUERY of the draft that defines it). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'QUERY'])

const JAVASCRIPT = /^\s*(?:text|application)\/(?:x-)?javascript\s*(?:;|$)/i

const SITE = 'The request comes from another site. Name its origin in csrf({ trustedOrigins }) if it may.'
const TOKEN =
  'The request has no valid CSRF token. Put await req.csrfToken() into the form as authenticity_token, or into the ' +
  'header x-csrf-token.'
const SCRIPT =
  'A script was asked for as another site would include it, and could tell that site what it holds. Ask for it with ' +
  'x-requested-with: XMLHttpRequest, or put the layer that serves scripts above csrf().'

/**
 * Refuses requests that another site makes a visitor's browser send (CSRF): adds `req.csrfToken`.
 *
 * GET, HEAD, OPTIONS and QUERY pass, by the method on the wire. Of the others `Sec-Fetch-Site: same-origin` passes,
 * `cross-site` only from a trusted origin; where the browser does not say, an Origin that is our own or trusted; else
 * the request must hold a token: in the header `x-csrf-token`, or in a form, for which `form()` is above. Rails'
 * tokens, so that pages of one application work with the other.
 *
 * @throws {InvalidOptionError} an option that cannot work
 */
export function csrf(
  options: CsrfOptions = {},
): Middleware<{ readonly csrfToken: CsrfToken }, { readonly session: SessionHandle<object> }> {
  const { strategy = 'exception', tokens = true, parameter = 'authenticity_token', skip } = options
  const { log = (reason: string): void => console.warn(reason) } = options
  const trusted = checkOrigins(options.trustedOrigins ?? [], 'csrf({ trustedOrigins })')
  const storage = storageOf(options.storage ?? 'session')
  if (typeof strategy !== 'function' && !['exception', 'nullSession', 'resetSession'].includes(strategy)) {
    throw new InvalidOptionError("csrf({ strategy }) takes 'exception', 'nullSession', 'resetSession' or a function.")
  }
  for (const [name, value, type] of [
    ['tokens', tokens, 'boolean'],
    ['parameter', parameter, 'string'],
    ['skip', skip ?? ((): boolean => false), 'function'],
    ['log', log || ((): void => {}), 'function'],
  ] as const) {
    if (typeof value !== type) throw new InvalidOptionError(`csrf({ ${name} }) takes a ${type}.`)
  }

  /** Why a request may not pass, or `undefined`. */
  const judge = (req: Needed): Awaitable<string | undefined> => {
    if (SAFE.has(req.originalMethod ?? req.method ?? 'GET')) return undefined
    const { origin } = req.headers
    const said = req.headers['sec-fetch-site']
    const site = typeof said === 'string' ? said.toLowerCase() : ''
    if (site === 'same-origin') return undefined
    const known = origin !== undefined && (trusted.has(origin) || (site !== 'cross-site' && origin === originOf(req)))
    if (known) return undefined
    if (site === 'cross-site') return SITE
    if (tokens) return judgeToken(req)
    return site === '' && origin === undefined && !isSecure(req) ? undefined : SITE
  }

  const judgeToken = async (req: Needed): Promise<string | undefined> => {
    const token = parseToken(await storage.get(req))
    if (token === undefined) return TOKEN
    const target = { path: withoutSlash(pathOf(req)), method: req.method ?? '' }
    const header = req.headers['x-csrf-token']
    if (typeof header === 'string' && verifyToken(header, token, target)) return undefined
    const field = (await req.form?.())?.get(parameter)
    return typeof field === 'string' && verifyToken(field, token, target) ? undefined : TOKEN
  }

  const issue = async (req: Needed, form: Parameters<CsrfToken>[0]): Promise<string> => {
    let token = parseToken(await storage.get(req))
    if (token === undefined) {
      const made = generateToken()
      await storage.set(req, made)
      token = parseToken(made) as Buffer
    }
    if (form === undefined || !tokens) return maskToken(token)
    return maskToken(token, { path: actionPath(req, form.action), method: form.method ?? 'post' })
  }

  return describe('csrf', { adds: ['csrfToken'], needs: ['session'] }, (app) => {
    const checked = (response: RackResponse, req: Needed): RackResponse => {
      const [status, headers, body] = response
      if (isExposedScript(req, headers)) {
        closeBody(body)
        throw refusal(SCRIPT, req)
      }
      return [status, withVary(headers, 'Sec-Fetch-Site'), body]
    }

    const refusal = (reason: string, req: Needed): CsrfError => {
      if (log) log(reason, req)
      return new CsrfError(reason)
    }

    const refuse = async (reason: string, req: Needed, call: App<Needed>): Promise<RackResponse> => {
      const error = refusal(reason, req)
      if (typeof strategy === 'function') return strategy(error, req)
      if (strategy === 'exception') throw error
      if (strategy === 'nullSession') return callWithNothing(req, call)
      await storage.delete(req)
      req.session.reset()
      return call(req)
    }

    return (request) => {
      const req: Needed = request
      const csrfToken: CsrfToken = (form) => issue(req, form)
      if (skip?.(req) === true) return app(Object.assign(request, { csrfToken }))
      requireSession(req, 'csrf')
      const call: App<Needed> = () => callInner(app, request, { csrfToken }, (response) => checked(response, req))
      const reason = judge(req)
      if (reason === undefined) return call(req)
      if (!isPromise(reason)) return refuse(reason, req, call)
      return reason.then((why) => (why === undefined ? call(req) : refuse(why, req, call)))
    }
  })
}

/** Rails' null session: the inner layers see neither session nor cookies, and nothing that they write is kept. */
function callWithNothing(req: Needed, call: App<Needed>): Awaitable<RackResponse> {
  const jar = RequestJar.emptyOf(req.cookies as RequestJar)
  const session = RequestSession.emptyOf(requireSession(req, 'csrf'), jar)
  return callInner(call as App<Needed & object>, req, { cookies: jar, session })
}

/**
 * A page of another site can run a script of ours, with what it holds for the visitor, but cannot set this header.
 * Where the browser says that our own page asks, there is no danger.
 */
function isExposedScript(req: Needed, headers: RackResponse[1]): boolean {
  if ((req.originalMethod ?? req.method) !== 'GET') return false
  if (req.headers['x-requested-with'] !== undefined || req.headers['sec-fetch-site'] === 'same-origin') return false
  return getHeaderLines(headers, 'content-type').some((type) => JAVASCRIPT.test(type))
}

function storageOf(storage: 'session' | 'cookie' | TokenStorage): TokenStorage {
  if (storage === 'session') return sessionStorage
  if (storage === 'cookie') return cookieStorage
  const { get, set, delete: remove } = (storage ?? {}) as Partial<TokenStorage>
  if ([get, set, remove].every((one) => typeof one === 'function')) return storage
  throw new InvalidOptionError("csrf({ storage }) takes 'session', 'cookie' or an object with get, set and delete.")
}

const SESSION_KEY = '_csrf_token'
const COOKIE = 'csrf_token'

const dataOf = async (req: IncomingMessage): Promise<Record<string, unknown>> =>
  (await (req as Needed).session) as Record<string, unknown>

const sessionStorage: TokenStorage = {
  get: async (req) => (await dataOf(req))[SESSION_KEY],
  set: async (req, token) => {
    ;(await dataOf(req))[SESSION_KEY] = token
  },
  // whoever deletes it resets the session as well
  delete: () => {},
}

/** Rails' `protect_from_forgery store: :cookie`. */
const cookieStorage: TokenStorage = {
  get: async (req) => {
    const { session, cookies } = req as Needed
    const kept = (cookies as CookieJar).encrypted.get(COOKIE) as { token?: unknown; session_id?: unknown } | undefined
    if (kept === undefined) return undefined
    await session
    return kept?.session_id === (session.id ?? null) ? kept.token : undefined
  },
  set: async (req, token) => {
    const { session, cookies } = req as Needed
    await session
    const value = { token, session_id: session.id ?? null }
    ;(cookies as CookieJar).encrypted.permanent.set(COOKIE, value, { httpOnly: true, sameSite: 'lax' })
  },
  delete: (req) => (req as Needed).cookies?.delete(COOKIE),
}

/** The path that a form with this `action` is sent to, as Rails reads it. */
function actionPath(req: IncomingMessage, action: string): string {
  const path = (action.split(/[?#]/, 1)[0] as string).replace(/^(?:[a-z][a-z\d+.-]*:)?\/\/[^/]*/i, '')
  if (path.startsWith('/') || path !== action.split(/[?#]/, 1)[0]) return withoutSlash(path)
  const page = withoutSlash(pathOf(req))
  return path === '' ? page : withoutSlash(`${page}/${path}`.replaceAll('/./', '/'))
}

function withoutSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path
}
