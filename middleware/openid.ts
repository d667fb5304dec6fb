import type { IncomingMessage } from 'node:http'
import { describe, type Awaitable, type App, type Middleware, type RackResponse } from '../lib/app.ts'
import { authHash, type AuthHash } from '../lib/auth-hash.ts'
import { closeBody, guardBody } from '../lib/body.ts'
import { callInner } from '../lib/call-inner.ts'
import { signIn, type SignInMessage } from '../lib/channels.ts'
import type { CookieJar } from '../lib/cookie-jar.ts'
import { InvalidOptionError, ProviderUnavailableError, ReturnAddressError, StackOrderError } from '../lib/errors.ts'
import { OpenIdProvider, type Begun, type Grant, type OpenIdClient } from '../lib/openid-provider.ts'
import { getHeaderLines, withHeader } from '../lib/headers.ts'
import { checkOrigins, isLoopbackHost, originOf, pathOf } from '../lib/request.ts'
import type { PerRequest } from '../lib/session-config.ts'
import { requireSession, RequestSession } from '../lib/session-handle.ts'
import type { SessionData } from '../lib/session-hash.ts'
import { keepAttempt, takeAttempt } from '../lib/sign-in-attempt.ts'
import { detailsOfFailure, failureOf, isRefusal, type SignInFailure } from '../lib/sign-in-failure.ts'
import { checkRoom, refreshed, SIGNED_IN, signedIn, tokensOf, type KeptToken, type SignedIn } from '../lib/signed-in.ts'

export type { AuthCredentials, AuthHash, AuthInfo, Claims } from '../lib/auth-hash.ts'
export type { KeptToken, SignedIn } from '../lib/signed-in.ts'
export type { SignInFailure } from '../lib/sign-in-failure.ts'

export interface OpenIdOptions {
  /** The provider's address, as its own documents write it, for example `'https://example.eu.auth0.com/'`. */
  issuer: string | URL
  /** What the provider knows this application by. */
  clientId: string
  /** Default: none, for a public client, which PKCE alone protects. */
  clientSecret?: string | undefined
  /**
   * How the secret is sent: in a header (`'basic'`) or in the body (`'post'`). Default: in a header, unless the
   * provider says that it takes none.
   */
  clientAuth?: 'basic' | 'post' | undefined
  /**
   * This application's origin, as browsers write it: `'https://app.example.com'`. Default: what the browser asked for;
   * behind a proxy, what `forwarded()` makes of it.
   */
  origin?: string | undefined
  /** The provider's name in paths and in the authentication hash. Default `'oauth2'`. */
  provider?: string | undefined
  /** Where the paths begin. Default `'/auth'`. */
  path?: string | undefined
  /** What is asked for. Default `'openid profile email'`. Most providers give a refresh token for `offline_access`. */
  scope?: string | undefined
  /**
   * More parameters for the provider's page, for example `{ prompt: 'login', audience: 'https://api.example.com' }`.
   * What protects the sign-in cannot be overwritten. Default: none.
   */
  params?: PerRequest<Readonly<Record<string, string>>> | undefined
  /**
   * Where the browser may come back to from signing out: paths of this application, and other addresses. Each must
   * be registered with the provider as well. Default `['/']`.
   */
  returnTo?: readonly string[] | undefined
  /** The form of the address for signing out: OpenID Connect's (default), or Auth0's own `/v2/logout`. */
  logout?: 'openid' | 'auth0' | undefined
  /**
   * Which tokens stay in the session, under `openid`. Default: `['id_token']`, which most providers want to see on
   * signing out, and none of them where the session is in a cookie, which has no room for more than one or two.
   */
  keep?: readonly KeptToken[] | undefined
  /**
   * Whether the session ends with the ID token. Where a refresh token is kept, the provider is asked for new ones
   * first, and the session ends when it refuses: whoever was locked out there is signed out here. Default `false`: the
   * session lives as `session()` says.
   */
  endWithToken?: boolean | undefined
  /** Seconds that each request to the provider may take. Default 10. */
  timeout?: number | undefined
  /** Hears why somebody could not sign in. Default `console.warn`; `false` for nobody. */
  log?: (((reason: string, req: IncomingMessage) => void) | false) | undefined
}

type Needed = IncomingMessage & {
  readonly session?: unknown
  readonly cookies?: CookieJar
  readonly form?: () => PromiseLike<URLSearchParams>
  /** The layers that the request has come through. */
  [LAYERS]?: readonly OpenId[]
}

type Added = { readonly auth: AuthHash | undefined }

const LAYERS: unique symbol = Symbol('openid')

const USUAL: readonly KeptToken[] = ['id_token']

const TOKENS: readonly KeptToken[] = ['id_token', 'access_token', 'refresh_token']

/**
 * Milliseconds for which a refresh is remembered: for requests that read the session before it was saved, and where it
 * could not be saved because the request failed.
 */
const REMEMBERED = 60_000

/** Characters of a path to come back to, of which four may be under way in cookies. */
const LONGEST_ORIGIN = 500

// with a code or a state in the address, no page may be kept or told of
const PRIVATE = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }

/**
 * Signing in through OpenID Connect, as OmniAuth has it (optional peer `openid-client`). Adds `req.auth`.
 *
 * - `POST /auth/oauth2` sends the browser to the provider (authorization code with PKCE, state and nonce). A form may
 *   say in `origin` which path to come back to.
 * - `GET /auth/oauth2/callback` reaches the application with `req.auth`, once everything checks, and the session
 *   has a new id. Keep of it what is needed: `session.userinfo = req.auth.extra.raw_info`.
 * - What fails is sent to `/auth/failure?message=…&strategy=oauth2`, which the application answers; see
 *   `SignInFailure` for the words. No session was made or changed.
 *
 * A session in which this layer signed in somebody else is emptied; else what was in it stays: where there is another
 * way to sign in, call `req.session.reset()` in the callback. `session.openid` holds who signed in, for `logoutUrl` and
 * `endWithToken`, unless the application answers the callback with an error: then nobody is signed in.
 *
 * @throws {InvalidOptionError} an option that cannot work
 */
export function openid(
  options: OpenIdOptions,
): Middleware<{ readonly auth: AuthHash | undefined }, { readonly session: unknown; readonly cookies: CookieJar }> {
  const layer = new OpenId(options)
  return describe('openid', { adds: ['auth'], needs: ['session', 'cookies.secret'] }, (app) => {
    const inner = app as App<Needed & Added>
    return (req) => layer.call(inner, req)
  })
}

/**
 * The provider's address at which the browser ends its session there too, and comes back from. Send it there after
 * the session was reset:
 *
 * ```ts
 * const address = await logoutUrl(req, '/')
 * req.session.reset()
 * return [303, { location: address }, null]
 * ```
 *
 * It reads the session, to show the provider the ID token if that was kept. A provider that cannot be asked, or has no
 * such address, is left out: the address is then the one to come back to.
 *
 * @param returnTo where to come back to: one of `openid({ returnTo })`. Default `'/'`
 * @throws {ReturnAddressError} it is none of them
 * @throws {StackOrderError} no `openid()` is above
 */
export async function logoutUrl(req: IncomingMessage, returnTo = '/'): Promise<string> {
  const layers = (req as Needed)[LAYERS]
  const innermost = layers?.at(-1)
  if (innermost === undefined) {
    throw new StackOrderError('logoutUrl() needs, above it, the layer that signs in: use(openid(…)) first.')
  }
  const handle = requireSession(req as Needed, 'logoutUrl')
  // who signs out needs no new token, and is not to be held up by a session that cannot be read
  RequestSession.unguard(handle)
  const session = await handle.then(
    (data) => data,
    () => ({}),
  )
  const kept = signedIn(session)
  const layer = layers?.find((one) => one.name === kept?.provider) ?? innermost
  return layer.logoutUrl(req, returnTo, kept?.id_token)
}

/** The options, checked and with their defaults. `keep` has none before it is known where sessions are. */
interface Settings extends OpenIdClient {
  readonly origin: string | undefined
  readonly provider: string
  readonly path: string
  readonly params: NonNullable<OpenIdOptions['params']>
  readonly returnTo: readonly string[]
  readonly keep: readonly KeptToken[] | undefined
  readonly endWithToken: boolean
  readonly log: NonNullable<OpenIdOptions['log']>
}

class OpenId {
  readonly name: string
  readonly #provider: OpenIdProvider
  readonly #start: string
  readonly #callback: string
  readonly #failure: string
  readonly #settings: Settings
  readonly #own: readonly OpenId[] = [this]
  readonly #refreshes = new Map<string, Promise<Grant>>()

  constructor(options: OpenIdOptions) {
    const settings = settingsOf(options)
    const { provider, path } = settings
    this.#provider = new OpenIdProvider(settings)
    this.#settings = settings
    this.name = provider
    this.#start = `${path}/${provider}`
    this.#callback = `${this.#start}/callback`
    this.#failure = `${path}/failure`
  }

  call(app: App<Needed & Added>, req: Needed): Awaitable<RackResponse> {
    const session = requireSession(req, 'openid')
    const outer = req[LAYERS]
    req[LAYERS] = outer === undefined ? this.#own : [...outer, this]
    if (this.#settings.endWithToken) {
      RequestSession.guard(session, (data) => this.#endIfOver(req, session, data))
    }
    if (req.url?.startsWith(this.#start) === true) {
      const path = req.url.split('?', 1)[0]
      if (path === this.#start && req.method === 'POST') return this.#begin(req)
      if (path === this.#callback && req.method === 'GET') return this.#finish(app, req, session)
    }
    // the layer above may be the one that somebody signed in through
    return callInner(app, req, { auth: outer === undefined ? undefined : (req as Partial<Added>).auth })
  }

  async logoutUrl(req: IncomingMessage, returnTo: string, idToken: string | undefined): Promise<string> {
    const origin = this.#originOf(req)
    const address = addressOf(returnTo, origin)
    if (address === undefined || !this.#settings.returnTo.some((allowed) => addressOf(allowed, origin) === address)) {
      throw new ReturnAddressError()
    }
    try {
      return (await this.#provider.logoutUrl(address, idToken)) ?? address
    } catch (error) {
      this.#log(`The provider ${this.name} could not be asked where to sign out: ${detailsOfFailure(error)}`, req)
      return address
    }
  }

  /** Sends the browser to the provider. */
  async #begin(req: Needed): Promise<RackResponse> {
    const { params } = this.#settings
    if (!this.#isOwnPage(req)) return this.#fail(req, 'authenticity_error', 'The request comes from another site.')
    const form = req.form === undefined ? undefined : await req.form()
    const query = new URLSearchParams(req.url?.split('?').slice(1).join('?'))
    const origin = pathToReturn(form?.get('origin') ?? query.get('origin'))
    const more = typeof params === 'function' ? params(req) : params
    let begun: Begun
    try {
      begun = await this.#provider.begin(`${this.#originOf(req)}${pathOf(req)}/callback`, more, origin)
    } catch (error) {
      return this.#fail(req, failureOf(error), detailsOfFailure(error), origin)
    }
    keepAttempt(req, req.cookies as CookieJar, this.name, begun.attempt)
    this.#publish(req, 'begun')
    return [303, { location: begun.address.href, ...PRIVATE }, null]
  }

  /** The browser is back: the application hears who it is, if it is anybody. */
  async #finish(app: App<Needed & Added>, req: Needed, session: RequestSession): Promise<RackResponse> {
    const search = req.url?.slice(this.#callback.length) ?? ''
    const state = new URLSearchParams(search).get('state') ?? ''
    const attempt = takeAttempt(req, req.cookies as CookieJar, this.name, state)
    if (attempt === undefined) {
      return this.#fail(req, 'csrf_detected', 'This browser has begun no such sign-in, or it is over.')
    }
    let grant: Grant
    try {
      grant = await this.#provider.finish(new URL(`${this.#originOf(req)}${pathOf(req)}${search}`), attempt)
    } catch (error) {
      return this.#fail(req, failureOf(error), detailsOfFailure(error), attempt.origin)
    }
    const auth = authHash(this.name, grant.claims, grant.credentials, attempt.origin)
    // whether the token of before is over does not matter any more
    RequestSession.unguard(session)
    await this.#renew(session, auth)
    const response = await callInner(app, req, { auth })
    if (response[0] >= 400) {
      this.#publish(req, 'failed', 'refused')
      return response
    }
    guardBody(response)
    try {
      await this.#keep(session, auth, grant)
      this.#publish(req, 'done')
      return withPrivacy(response)
    } catch (error) {
      closeBody(response[2])
      throw error
    }
  }

  /** Whoever knew the id before does not know it after, and nothing of somebody else is left. */
  async #renew(session: RequestSession, { uid }: AuthHash): Promise<void> {
    const data = await session
    const before = signedIn(data)
    const isOther = before !== undefined && (before.provider !== this.name || before.uid !== uid)
    // one that was ended a moment ago cannot be renewed
    if (isOther || Object.keys(data).length === 0) session.reset()
    else session.renew()
  }

  /** After the application, which may have reset the session. */
  async #keep(session: RequestSession, auth: AuthHash, { endsAt }: Grant): Promise<void> {
    const { destroyed, inCookie } = RequestSession.stateOf(session)
    if (destroyed) return
    const data = await session
    const { endWithToken, keep = inCookie ? [] : USUAL } = this.#settings
    const kept: SignedIn = {
      provider: this.name,
      uid: auth.uid,
      ...(endWithToken ? { ends_at: endsAt } : {}),
      ...tokensOf(auth.credentials, keep),
    }
    if (inCookie) checkRoom(kept)
    data[SIGNED_IN] = { ...kept }
  }

  /** Where the token is over, the session is, unless the provider gives another one. */
  #endIfOver(req: Needed, session: RequestSession, data: SessionData): Awaitable<void> {
    const kept = signedIn(data)
    if (kept === undefined || kept.provider !== this.name) return
    if (kept.ends_at !== undefined && RequestSession.stateOf(session).now < kept.ends_at * 1000) return
    if (kept.refresh_token !== undefined) return this.#refresh(req, session, data, kept, kept.refresh_token)
    this.#end(req, session)
  }

  async #refresh(
    req: Needed,
    session: RequestSession,
    data: SessionData,
    kept: SignedIn,
    refreshToken: string,
  ): Promise<void> {
    let grant: Grant | undefined
    let why = 'it was of somebody else'
    try {
      grant = await this.#refreshOnce(refreshToken, kept.uid)
    } catch (error) {
      why = detailsOfFailure(error)
      if (!isRefusal(error)) throw new ProviderUnavailableError(this.name, new Error(why))
    }
    // the session may have been reset or destroyed meanwhile
    if (signedIn(data)?.refresh_token !== refreshToken) return
    if (grant?.claims.sub === kept.uid) {
      data[SIGNED_IN] = { ...refreshed(kept, grant, this.#settings.keep ?? []) }
      this.#publish(req, 'refreshed')
    } else {
      this.#log(`The provider ${this.name} gave no new token, and the session ended: ${why}`, req)
      this.#end(req, session)
    }
  }

  /** Of requests at the same time one asks: most providers take a refresh token that comes twice for a stolen one. */
  #refreshOnce(refreshToken: string, uid: string): Promise<Grant> {
    const known = this.#refreshes.get(refreshToken)
    if (known !== undefined) return known
    const asked = this.#provider.refresh(refreshToken, uid)
    this.#refreshes.set(refreshToken, asked)
    const forget = (): boolean => this.#refreshes.delete(refreshToken)
    asked.then(() => setTimeout(forget, REMEMBERED).unref(), forget)
    return asked
  }

  #end(req: Needed, session: RequestSession): void {
    session.reset()
    this.#publish(req, 'ended')
  }

  #fail(req: Needed, failure: SignInFailure, why: string, origin?: string): RackResponse {
    this.#log(`Signing in with ${this.name} failed: ${failure}. ${why}`, req)
    this.#publish(req, 'failed', failure)
    const [path = ''] = (req.url ?? '').split('?', 1)
    // what `map`, or a framework, has cut off
    const above = pathOf(req).slice(0, -path.length)
    const query = new URLSearchParams({ message: failure, strategy: this.name, ...(origin && { origin }) })
    return [303, { location: `${above}${this.#failure}?${query.toString()}`, ...PRIVATE }, null]
  }

  #log(reason: string, req: IncomingMessage): void {
    const { log } = this.#settings
    if (log) log(reason, req)
  }

  #publish(req: IncomingMessage, outcome: SignInMessage['outcome'], failure?: SignInFailure): void {
    if (!signIn.hasSubscribers) return
    const message: SignInMessage = { req, provider: this.name, outcome, failure }
    signIn.publish(message)
  }

  #originOf(req: IncomingMessage): string {
    return this.#settings.origin ?? originOf(req)
  }

  /** As `csrf()` sees it, for an application without it: who sends neither header is no browser of today. */
  #isOwnPage(req: IncomingMessage): boolean {
    const { origin } = req.headers
    const site = req.headers['sec-fetch-site']
    if (site === 'same-origin' || site === 'none') return true
    if (origin !== undefined) return origin === this.#originOf(req)
    return site === undefined
  }
}

/** A path of this application, and no address of another; `undefined` for anything else. */
function pathToReturn(text: string | null): string | undefined {
  if (text === null || !text.startsWith('/')) return undefined
  const here = 'http://localhost'
  if (!URL.canParse(text, here)) return undefined
  const { origin, pathname, search, hash } = new URL(text, here)
  const path = pathname + search + hash
  // of `/.//evil.example` the path alone would be another address
  return origin === here && !path.startsWith('//') && path.length <= LONGEST_ORIGIN ? path : undefined
}

/** The application's answer to a callback: in its address are the code and the state. */
function withPrivacy([status, headers, body]: RackResponse): RackResponse {
  let all = headers
  for (const [name, value] of Object.entries(PRIVATE)) {
    if (getHeaderLines(headers, name).length === 0) all = withHeader(all, name, value)
  }
  return [status, all, body]
}

function addressOf(text: string, origin: string): string | undefined {
  return URL.canParse(text, origin) ? new URL(text, origin).href : undefined
}

/** @throws {InvalidOptionError} */
function settingsOf(options: OpenIdOptions): Settings {
  const { issuer, clientId, clientSecret, clientAuth, origin, provider = 'oauth2', path = '/auth' } = options
  const { scope = 'openid profile email', params = {}, returnTo = ['/'], logout = 'openid', keep } = options
  const { endWithToken = false, timeout = 10, log = (text: string): void => console.warn(text) } = options
  const at = URL.canParse(String(issuer)) ? new URL(issuer) : undefined
  const isHere = at?.protocol === 'http:' && isLoopbackHost(at.hostname)
  if (at === undefined || !(at.protocol === 'https:' || isHere) || at.search !== '' || at.hash !== '') {
    throw new InvalidOptionError(
      "openid({ issuer }) takes the provider's address, for example 'https://example.eu.auth0.com/'. It begins with " +
        'https, unless it is of this machine.',
    )
  }
  for (const [name, value] of Object.entries({ clientId, clientSecret: clientSecret ?? 'none', scope })) {
    if (typeof value !== 'string' || value === '') {
      throw new InvalidOptionError(
        `openid({ ${name} }) takes a string that is not empty. See that its variable is set.`,
      )
    }
  }
  if (!scope.split(' ').includes('openid')) {
    throw new InvalidOptionError(
      "openid({ scope }) takes scopes with 'openid' among them, which the ID token comes for.",
    )
  }
  if (origin !== undefined) checkOrigins([origin], 'openid({ origin })')
  for (const [name, value, pattern] of [
    ['provider', provider, /^[\w-]+$/],
    ['path', path, /^(?:\/[\w.~-]+)+$/],
    ['logout', logout, /^(?:openid|auth0)$/],
    ['clientAuth', clientAuth ?? 'basic', /^(?:basic|post)$/],
  ] as const) {
    if (typeof value !== 'string' || !pattern.test(value)) {
      throw new InvalidOptionError(`openid({ ${name} }) cannot be ${JSON.stringify(value)}: it is to match ${pattern}.`)
    }
  }
  if (!Array.isArray(returnTo) || !returnTo.every((to) => addressOf(String(to), 'http://localhost') !== undefined)) {
    throw new InvalidOptionError("openid({ returnTo }) takes a list of paths and addresses, for example ['/'].")
  }
  if (keep !== undefined && !(Array.isArray(keep) && keep.every((token) => TOKENS.includes(token)))) {
    throw new InvalidOptionError(`openid({ keep }) takes a list of ${TOKENS.join(', ')}.`)
  }
  if (typeof endWithToken !== 'boolean') throw new InvalidOptionError('openid({ endWithToken }) takes true or false.')
  if (typeof timeout !== 'number' || !(timeout > 0 && timeout <= 600)) {
    throw new InvalidOptionError('openid({ timeout }) takes seconds, at most 600, for example 10.')
  }
  if (log !== false && typeof log !== 'function') throw new InvalidOptionError('openid({ log }) takes a function.')
  if (typeof params !== 'function' && (typeof params !== 'object' || params === null)) {
    throw new InvalidOptionError("openid({ params }) takes an object, for example { prompt: 'login' }, or a function.")
  }
  const client = { issuer: at, clientId, clientSecret, clientAuth, scope, logout, timeout }
  return { ...client, origin, provider, path, params, returnTo, keep, endWithToken, log }
}
