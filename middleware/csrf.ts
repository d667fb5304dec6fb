import type { IncomingMessage } from 'node:http'
import { describe, isPromise, type Awaitable, type Middleware, type RackResponse } from '../lib/app.ts'
import { maskToken, parseToken, verifyToken } from '../lib/authenticity-token.ts'
import { closeBody } from '../lib/body.ts'
import { makePrivate, withVary } from '../lib/cache-control.ts'
import { callInner } from '../lib/call-inner.ts'
import { RequestJar, type CookieJar } from '../lib/cookie-jar.ts'
import { CsrfError, InvalidOptionError } from '../lib/errors.ts'
import { getHeaderLines } from '../lib/headers.ts'
import { checkOrigins, isSecure, originOf, pathOf } from '../lib/request.ts'
import { requireSession, RequestSession } from '../lib/session-handle.ts'
import { storageOf, tokenIn, type Keep, type TokenStorage } from '../lib/token-storage.ts'

/** Decides what a refused request is answered. */
export type CsrfStrategy = (error: CsrfError, req: IncomingMessage) => Awaitable<RackResponse>

export interface CsrfOptions {
  /**
   * What a request that cannot be told from a forged one meets, as in Rails: `'exception'` (default) throws
   * `CsrfError`, status 422; `'nullSession'` goes on with an empty session and no cookies, of which nothing is
   * saved; `'resetSession'` signs the visitor out and goes on. A function answers the request itself.
   */
  strategy?: 'exception' | 'nullSession' | 'resetSession' | CsrfStrategy | undefined
  /** Other origins that may send requests, for example `['https://accounts.example.org']`. Default: none. */
  trustedOrigins?: readonly string[] | undefined
  /**
   * `false` goes by Sec-Fetch-Site and Origin alone, for applications without forms of their own: a browser too
   * old to send either is then refused over https. Default `true`.
   */
  tokens?: boolean | undefined
  /** The field of a form that holds the token. Default `'authenticity_token'`, as Rails. */
  parameter?: string | undefined
  /**
   * Where the token is kept: in the session (default), in an encrypted cookie `csrf_token`, or where you say. In the
   * cookie it is bound to the session's id.
   */
  storage?: 'session' | 'cookie' | TokenStorage | undefined
  /** Requests that are not checked, and whose responses are not, for example those of an API with keys of its own. */
  skip?: ((req: IncomingMessage) => boolean) | undefined
  /** Hears the reason of each refusal. Default `console.warn`; `false` for nobody. */
  log?: (((reason: string, req: IncomingMessage) => void) | false) | undefined
}

/**
 * `await req.csrfToken()`: a token for any form of this session; `await req.csrfToken({ action, method })`: one for
 * this form alone. It belongs into the field `authenticity_token`, or into the header `x-csrf-token`.
 * `action` is a path or an address; a relative one is joined to the path of the page, as Rails does.
 */
export type CsrfToken = (form?: { readonly action: string; readonly method?: string }) => Promise<string>

type Needed = IncomingMessage & {
  readonly session?: unknown
  readonly cookies?: CookieJar
  readonly form?: () => PromiseLike<URLSearchParams>
  readonly originalMethod?: string
}

type Answer = Awaitable<RackResponse>

/** Methods that change nothing (RFC 9110, section 9.2.1, and QUERY of the draft that defines it). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'QUERY'])

const JAVASCRIPT = /^\s*(?:text|application)\/(?:x-)?javascript\s*(?:;|$)/i

const SITE = 'The request comes from another site. Name its origin in csrf({ trustedOrigins }) if it may.'
const TOKEN =
  'The request has no valid CSRF token. Put await req.csrfToken() into the form as authenticity_token, or into the ' +
  'header x-csrf-token.'
const NO_FORM =
  'The request has no CSRF token in the header x-csrf-token, and no form() is above csrf() to read it from a form.'
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
): Middleware<{ readonly csrfToken: CsrfToken }, { readonly session: unknown }> {
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
  const judge = (req: Needed, keep: Keep): Awaitable<string | undefined> => {
    if (SAFE.has(req.originalMethod ?? req.method ?? 'GET')) return undefined
    const { origin } = req.headers
    const said = req.headers['sec-fetch-site']
    const site = typeof said === 'string' ? said.toLowerCase() : ''
    if (site === 'same-origin') return undefined
    const known = origin !== undefined && (trusted.has(origin) || (site !== 'cross-site' && origin === originOf(req)))
    if (known) return undefined
    if (site === 'cross-site') return SITE
    if (tokens) return judgeToken(req, keep)
    return site === '' && origin === undefined && !isSecure(req) ? undefined : SITE
  }

  const judgeToken = async (req: Needed, keep: Keep): Promise<string | undefined> => {
    const token = parseToken(await storage.get(req, keep))
    if (token === undefined) return TOKEN
    const target = { path: withoutSlash(pathOf(req)), method: req.method ?? '' }
    const header = req.headers['x-csrf-token']
    if (typeof header === 'string' && verifyToken(header, token, target)) return undefined
    if (req.form === undefined) return NO_FORM
    const field = (await req.form()).get(parameter)
    return typeof field === 'string' && verifyToken(field, token, target) ? undefined : TOKEN
  }

  const needs = options.storage === 'cookie' ? ['session', 'cookies.secret'] : ['session']

  return describe('csrf', { adds: ['csrfToken'], needs }, (app) => {
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

    const refuse = async (reason: string, req: Needed, keep: Keep, call: () => Answer): Promise<RackResponse> => {
      const error = refusal(reason, req)
      if (typeof strategy === 'function') return strategy(error, req)
      if (strategy === 'exception') throw error
      if (strategy === 'nullSession') return callWithNothing(req, keep, call)
      await storage.delete(req, keep)
      keep.session.reset()
      return call()
    }

    return (request) => {
      const req: Needed = request
      const own: Keep = { session: requireSession(req, 'csrf'), cookies: req.cookies }
      // the empty session of `nullSession` comes with a jar of its own
      const keepOf = (): Keep => {
        const session = RequestSession.now(own.session, req)
        return session === own.session ? own : { session, cookies: req.cookies }
      }
      let asked: Promise<Buffer> | undefined
      let issued = false
      const csrfToken: CsrfToken = async (form) => {
        issued = true
        // of two that are asked for together, neither is to overwrite the other's
        asked ??= tokenIn(storage, req, keepOf()).finally(() => (asked = undefined))
        const token = await asked
        if (form === undefined || !tokens) return maskToken(token)
        return maskToken(token, { path: actionPath(req, form.action), method: form.method ?? 'post' })
      }
      // a page with a token is one visitor's, wherever the token is kept
      const owned = (response: RackResponse): RackResponse => (issued ? makePrivate(response, true) : response)
      if (skip?.(req) === true) return callInner(app, request, { csrfToken }, { commit: owned })
      const commit = (response: RackResponse): Answer => checked(owned(response), req)
      const call = (): Answer => callInner(app, request, { csrfToken }, { commit })
      const reason = judge(req, own)
      if (reason === undefined) return call()
      if (!isPromise(reason)) return refuse(reason, req, own, call)
      return reason.then((why) => (why === undefined ? call() : refuse(why, req, own, call)))
    }
  })
}

/** Rails' null session: the inner layers see neither session nor cookies, and nothing that they write is kept. */
function callWithNothing(req: Needed, { session, cookies }: Keep, call: () => Answer): Answer {
  const jar = RequestJar.emptyOf(cookies as RequestJar)
  return callInner(call, req, { cookies: jar, session: RequestSession.emptyOf(session, jar) })
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

/** The path that a form with this `action` is sent to, as Rails reads it. */
function actionPath(req: IncomingMessage, action: string): string {
  const written = encode(action.split(/[?#]/, 1)[0] as string)
  const path = written.replace(/^(?:[a-z][a-z\d+.-]*:)?\/\/[^/]*/i, '')
  if (path.startsWith('/') || path !== written) return withoutSlash(path)
  const page = withoutSlash(pathOf(req))
  return path === '' ? page : withoutSlash(`${page}/${path}`.replaceAll('/./', '/'))
}

function withoutSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path
}

/** As the browser will send it. */
function encode(path: string): string {
  return path.replace(/[^!-~]/gu, (char) => Buffer.from(char).reduce((text, byte) => `${text}%${hex(byte)}`, ''))
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0')
}
