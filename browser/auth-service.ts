import { AuthError } from './auth-error.ts'
import { beginLogin, discover, finishLogin, isProtected, withQuery, type Login } from './authorization-code.ts'
import type { Page } from './page.ts'
import { getTokenExpirationDate, isTokenExpired, readClaims, type Claims } from './token-expiry.ts'
import type { TokenStorage } from './token-storage.ts'

export interface AuthServiceOptions {
  /** The provider's address, as the provider itself writes it. It begins with https, unless it is of this machine. */
  issuer: string
  /** What the provider knows this application by: a public client, which has no secret. */
  clientId: string
  /**
   * Where the provider sends the browser back to: an address of the page's own origin, written as it is registered
   * there. Default: the page's own, without query and fragment.
   */
  redirectUri?: string | undefined
  /** What is asked for. Default `'openid profile email'`. */
  scope?: string | undefined
  /** Where the token is kept. Default: `localStorage`, which all tabs share. */
  storage?: TokenStorage | undefined
  /** What the token is kept under. Default `'id_token'`. */
  storageKey?: string | undefined
  /** Seconds before its end at which a token counts as ended. Default 0. */
  offset?: number | undefined
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  now?: (() => number) | undefined
  /** Default: `window`. */
  page?: Page | undefined
}

/**
 * - `authenticated`: there is a token, or another one, here or because of another tab;
 * - `expired`: the token has ended, and was removed;
 * - `loggedOut`: the token was removed before its end, here or in another tab.
 */
export type AuthEvent = 'authenticated' | 'expired' | 'loggedOut'

/** Milliseconds: a longer timer ends at once. */
const LONGEST_TIMER = 2 ** 31 - 1

/**
 * Who is signed in to a page that has no server of its own: signs in by authorization code with PKCE (RFC 7636), keeps
 * the ID token, and lets go of it when it ends. Named as in Auth0's tutorials.
 *
 * ```ts
 * const auth = new AuthService({ issuer: 'https://example.eu.auth0.com/', clientId: '…' })
 * await auth.handleCallback()
 * if (!auth.loggedIn()) await auth.login()
 * ```
 *
 * A token that has ended is removed at the start, and `expired` is told to listeners that are put on right after. Tabs
 * keep in step where they share the storage.
 *
 * Whatever runs in the page can read the token. Keep it on the server where there is one.
 */
export class AuthService {
  readonly #page: Page
  readonly #issuer: string
  readonly #clientId: string
  readonly #givenRedirectUri: string | undefined
  readonly #scope: string
  readonly #storage: TokenStorage
  readonly #storageKey: string
  readonly #loginKey: string
  readonly #offset: number
  readonly #now: () => number
  readonly #events = new EventTarget()
  readonly #closed = new AbortController()
  /** The token that listeners know of. */
  #token: string | null
  #timer: unknown
  #finishing: Promise<{ returnTo: string | undefined } | undefined> | undefined

  /** @throws {TypeError} there is no `window`, `issuer` is not protected by TLS, or `redirectUri` is of another origin */
  constructor({
    issuer,
    clientId,
    redirectUri,
    scope = 'openid profile email',
    storage,
    storageKey = 'id_token',
    offset = 0,
    now = () => Date.now(),
    page = globalThis as unknown as Page,
  }: AuthServiceOptions) {
    if (!('location' in page))
      throw new TypeError('AuthService is for pages: make it in a browser, and not on the server.')
    if (!isProtected(issuer)) {
      throw new TypeError(
        "AuthService takes the provider's address as issuer, for example 'https://example.eu.auth0.com/'.",
      )
    }
    this.#page = page
    this.#issuer = issuer
    this.#clientId = clientId
    this.#scope = scope
    this.#storage = storage ?? page.localStorage
    this.#storageKey = storageKey
    this.#loginKey = `${storageKey}.login`
    this.#offset = offset
    this.#now = now
    this.#givenRedirectUri = redirectUri === undefined ? undefined : this.#ownAddress(redirectUri)
    if (redirectUri !== undefined && this.#givenRedirectUri === undefined) {
      throw new TypeError("redirectUri must be of the page's own origin, where what was begun is remembered.")
    }
    const { signal } = this.#closed
    // a page that was put aside hears of no other tab, and its timers stand still
    for (const type of ['storage', 'pageshow', 'focus']) page.addEventListener(type, () => this.#look(), { signal })
    const look = (): void => {
      // a page that is left for another is hidden too, and what it found nobody would hear of
      if (page.document.visibilityState === 'visible') this.#look()
    }
    page.addEventListener('visibilitychange', look, { signal })
    this.#token = this.getToken()
    this.#wait()
    if (this.#token === null && this.#storage.getItem(storageKey) !== null) {
      this.#storage.removeItem(storageKey)
      queueMicrotask(() => this.#tell('expired'))
    }
  }

  /**
   * Sends the browser to the provider.
   *
   * @param options.returnTo an address of this origin, which `handleCallback` gives back as a path. Default: none
   * @throws {AuthError} `invalid_return_to`, `insecure_context`, `failed_to_connect`, `timeout` or `invalid_credentials`
   */
  async login({ returnTo }: { returnTo?: string | undefined } = {}): Promise<void> {
    const page = this.#page
    const path = returnTo === undefined ? undefined : this.#pathOf(returnTo)
    if (!page.isSecureContext) {
      throw new AuthError('insecure_context', 'Browsers sign in from pages of https and of http://localhost alone.')
    }
    const { address, login } = await beginLogin(page, await discover(page, this.#issuer), {
      clientId: this.#clientId,
      redirectUri: this.#redirectUri,
      scope: this.#scope,
      returnTo: path,
    })
    page.sessionStorage.setItem(this.#loginKey, JSON.stringify(login))
    page.location.assign(address)
  }

  /**
   * Signs in whom the provider sent back; call it when the page loads. What the provider wrote into the address is taken
   * out of it at once, and is good for one call. Until that is over, other calls wait for the same.
   *
   * @returns `undefined` where the address is no callback
   * @throws {AuthError} nobody was signed in, and whoever was signed in still is
   */
  handleCallback(): Promise<{ returnTo: string | undefined } | undefined> {
    // React runs effects twice in development
    return (this.#finishing ??= this.#finish().finally(() => (this.#finishing = undefined)))
  }

  /** Whether there is a token that has not ended. */
  loggedIn(): boolean {
    return this.getToken() !== null
  }

  /**
   * Keeps a token that was come by in another way. It is believed.
   *
   * @throws {AuthError} `invalid_credentials`: it has ended, or cannot be read
   */
  setToken(idToken: string): void {
    if (this.#isExpired(idToken)) {
      throw new AuthError(
        'invalid_credentials',
        "The token has ended, or cannot be read. See that this machine's clock is right.",
      )
    }
    this.#storage.setItem(this.#storageKey, idToken)
    this.#become(idToken, 'authenticated')
  }

  /** The token; `null` where there is none, or it has ended. */
  getToken(): string | null {
    const token = this.#storage.getItem(this.#storageKey)
    return token === null || this.#isExpired(token) ? null : token
  }

  /** What the token says; `null` where there is none, or it has ended. */
  getProfile(): Claims | null {
    const token = this.getToken()
    return token === null ? null : readClaims(token)
  }

  /**
   * Removes the token before anything else, in this very call, and sends the browser to the provider to end its session
   * there too. A provider that has no such address is left out.
   *
   * @param options.returnTo where the provider is to send the browser then: an address of this origin that is registered
   * there for this. Default: the `redirectUri`
   * @throws {AuthError} `invalid_return_to`, and nothing was done; or `failed_to_connect`, `timeout` or
   * `invalid_credentials`: the token is gone, and the provider's session goes on
   */
  async logout({ returnTo = this.#redirectUri }: { returnTo?: string | undefined } = {}): Promise<void> {
    const address = this.#ownAddress(returnTo)
    if (address === undefined) throw foreign()
    const token = this.getToken()
    this.#storage.removeItem(this.#storageKey)
    this.#become(null, 'loggedOut')
    const { end_session_endpoint: endpoint } = await discover(this.#page, this.#issuer)
    // OpenID Connect RP-Initiated Logout, section 2
    const parameters = {
      id_token_hint: token ?? undefined,
      client_id: this.#clientId,
      post_logout_redirect_uri: address,
    }
    this.#page.location.assign(endpoint === undefined ? address : withQuery(endpoint, parameters))
  }

  /** @returns what takes the listener off again */
  on(event: AuthEvent, listener: () => void): () => void {
    const own = (): void => listener()
    this.#events.addEventListener(event, own, { signal: this.#closed.signal })
    return () => this.#events.removeEventListener(event, own)
  }

  /** Takes off all listeners and the timer. The token stays. */
  close(): void {
    this.#closed.abort()
    this.#page.clearTimeout(this.#timer)
  }

  async #finish(): Promise<{ returnTo: string | undefined } | undefined> {
    const page = this.#page
    const redirectUri = this.#redirectUri
    const { pathname, searchParams } = new URL(page.location.href)
    const answer: { readonly [parameter: string]: string | undefined } = Object.fromEntries(searchParams)
    const isAnswer = answer['state'] !== undefined && (answer['code'] ?? answer['error']) !== undefined
    if (!isAnswer || pathname !== new URL(redirectUri).pathname) return undefined

    const kept = page.sessionStorage.getItem(this.#loginKey)
    page.sessionStorage.removeItem(this.#loginKey)
    page.history.replaceState(null, '', redirectUri)
    const login = JSON.parse(kept ?? 'null') as Login | null
    if (login === null || login.state !== answer['state']) {
      throw new AuthError('csrf_detected', 'This tab has begun no such login, or it is over. Sign in again.')
    }
    const provider = await discover(page, this.#issuer)
    this.setToken(await finishLogin(page, provider, this.#clientId, login, answer, this.#now()))
    return { returnTo: login.returnTo }
  }

  get #redirectUri(): string {
    if (this.#givenRedirectUri !== undefined) return this.#givenRedirectUri
    const { origin, pathname } = new URL(this.#page.location.href)
    return origin + pathname
  }

  /** In full; `undefined` for an address of another origin. */
  #ownAddress(address: string): string | undefined {
    const { href: base, origin } = new URL(this.#page.location.href)
    if (!URL.canParse(address, base)) return undefined
    const { href } = new URL(address, base)
    // what follows two slashes is another host, once it stands without the origin
    if (!href.startsWith(`${origin}/`) || href.startsWith(`${origin}//`)) return undefined
    // providers compare letter by letter, and an origin may be registered without the slash
    return href === `${address}/` ? address : href
  }

  #pathOf(returnTo: string): string {
    const address = this.#ownAddress(returnTo)
    if (address === undefined) throw foreign()
    const { pathname, search, hash } = new URL(address)
    return pathname + search + hash
  }

  #isExpired(token: string): boolean {
    return isTokenExpired(token, this.#offset, this.#now())
  }

  /** Finds out what became of the token, by its time or in another tab. */
  #look(): void {
    const known = this.#token
    const token = this.getToken()
    if (token !== null) {
      if (token === known) this.#wait()
      else this.#become(token, 'authenticated')
      return
    }
    const isEnded = this.#storage.getItem(this.#storageKey) !== null
    if (isEnded) this.#storage.removeItem(this.#storageKey)
    // another tab may have been quicker to remove it
    if (isEnded || known !== null) this.#become(null, isEnded || this.#isExpired(known ?? '') ? 'expired' : 'loggedOut')
  }

  #become(token: string | null, event: AuthEvent): void {
    this.#token = token
    this.#wait()
    this.#tell(event)
  }

  /** Until the token ends. */
  #wait(): void {
    this.#page.clearTimeout(this.#timer)
    const end = this.#token === null ? null : getTokenExpirationDate(this.#token)
    if (end === null || this.#closed.signal.aborted) return
    const left = end.getTime() - this.#offset * 1000 - this.#now()
    this.#timer = this.#page.setTimeout(() => this.#look(), Math.min(left, LONGEST_TIMER))
  }

  #tell(event: AuthEvent): void {
    this.#events.dispatchEvent(new Event(event))
  }
}

function foreign(): AuthError {
  return new AuthError('invalid_return_to', "returnTo must be an address of the page's own origin, such as '/'.")
}
