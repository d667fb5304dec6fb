import { AuthError } from './auth-error.ts'
import type { Page } from './page.ts'
import { readClaims, type Claims } from './token-expiry.ts'

/** Of what a provider says of itself (OpenID Connect Discovery, section 3), that which is used here. */
export interface Provider {
  readonly issuer: string
  readonly authorization_endpoint: string
  readonly token_endpoint: string
  readonly end_session_endpoint?: string
  readonly authorization_response_iss_parameter_supported?: boolean
}

/** A login that a tab has begun. */
export interface Login {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
  readonly redirectUri: string
  readonly returnTo: string | undefined
}

/** Milliseconds that the provider may take for an answer. */
const DEADLINE = 10_000

/** Seconds that the clock of this machine may be behind the provider's. One that is ahead shortens the token's life. */
const CLOCK_SKEW = 300

/** An address of https, or of this very machine: whoever stands in between neither reads nor changes what is asked. */
export function isProtected(address: unknown): address is string {
  return (
    typeof address === 'string' &&
    /^https:\/\/[^/]|^http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?(?:\/|$)/.test(address)
  )
}

/** @throws {AuthError} */
export async function discover(page: Page, issuer: string): Promise<Provider> {
  const { status, body } = await ask(page, `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
  if (status !== 200) {
    throw new AuthError(
      'failed_to_connect',
      `The provider answered ${status} when it was asked for its configuration. See that ${issuer} is its issuer.`,
    )
  }
  const provider = body as Partial<Provider> | null
  // Discovery, section 4.3: else one provider could speak for another
  if (provider?.issuer !== issuer) {
    throw new AuthError(
      'invalid_credentials',
      `The provider calls itself ${JSON.stringify(provider?.issuer)}, and not ${JSON.stringify(issuer)}: give it as ` +
        'the issuer, letter by letter.',
    )
  }
  const { authorization_endpoint, token_endpoint, end_session_endpoint = token_endpoint } = provider
  for (const endpoint of [authorization_endpoint, token_endpoint, end_session_endpoint]) {
    if (!isProtected(endpoint)) {
      throw new AuthError('invalid_credentials', 'The provider names an address that is missing, or not of https.')
    }
  }
  return provider as Provider
}

/** A login, and the provider's address for it. */
export async function beginLogin(
  page: Page,
  provider: Provider,
  { clientId, scope, ...kept }: { clientId: string; scope: string; redirectUri: string; returnTo: string | undefined },
): Promise<{ address: string; login: Login }> {
  const login = { state: random(page), nonce: random(page), verifier: random(page), ...kept }
  const address = withQuery(provider.authorization_endpoint, {
    response_type: 'code',
    client_id: clientId,
    redirect_uri: login.redirectUri,
    scope,
    state: login.state,
    nonce: login.nonce,
    code_challenge: await challengeOf(page, login.verifier),
    code_challenge_method: 'S256',
  })
  return { address, login }
}

/**
 * The ID token for what the provider answered in the address of the callback, whose state was checked.
 *
 * The signature of the token is not checked: it comes straight from the provider, over TLS (OpenID Connect Core, section
 * 3.1.3.7, point 6).
 *
 * @param now the time in milliseconds since 1970
 * @throws {AuthError}
 */
export async function finishLogin(
  page: Page,
  provider: Provider,
  clientId: string,
  login: Login,
  answer: { readonly [parameter: string]: string | undefined },
  now: number,
): Promise<string> {
  // RFC 9207, section 2.4: a code of another provider is not to be sent to this one
  const isNamed = answer['iss'] !== undefined || provider.authorization_response_iss_parameter_supported === true
  if (isNamed && answer['iss'] !== provider.issuer) {
    throw new AuthError('invalid_credentials', 'The callback does not come from the provider that was asked (iss).')
  }
  const { error, code } = answer
  if (error !== undefined || code === undefined) {
    const word = wordOf(error)
    throw new AuthError(
      word ?? 'invalid_credentials',
      `The provider signed nobody in: ${word ?? 'it does not say why'}.`,
    )
  }

  const { status, body } = await ask(page, provider.token_endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: clientId,
      redirect_uri: login.redirectUri,
      code,
      code_verifier: login.verifier,
    }).toString(),
  })
  const tokens = body as { readonly error?: unknown; readonly id_token?: unknown } | null
  if (status !== 200) {
    const said = wordOf(tokens?.error)
    throw new AuthError('invalid_credentials', `The provider refused the code: ${said ?? `it answered ${status}`}.`)
  }
  const idToken = tokens?.id_token
  if (typeof idToken !== 'string') {
    throw new AuthError('invalid_credentials', "The provider gave no ID token. See that the scope has 'openid' in it.")
  }
  checkIdToken(idToken, provider.issuer, clientId, login.nonce, now / 1000)
  return idToken
}

/** The endpoint with parameters, those aside that are `undefined`. */
export function withQuery(endpoint: string, parameters: { readonly [name: string]: string | undefined }): string {
  const url = new URL(endpoint)
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value)
  return url.href
}

/** OpenID Connect Core, section 3.1.3.7. */
function checkIdToken(idToken: string, issuer: string, clientId: string, nonce: string, now: number): void {
  let claims: Claims
  try {
    claims = readClaims(idToken)
  } catch (cause) {
    throw new AuthError('invalid_credentials', 'The ID token cannot be read.', { cause })
  }
  const { iss, sub, aud, azp, exp, iat } = claims
  const audience: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  const isForUs = audience.includes(clientId) && (azp === clientId || (azp === undefined && audience.length === 1))
  const checks: readonly (readonly [holds: boolean, fault: string])[] = [
    [iss === issuer, 'is of another provider (iss)'],
    [isForUs, 'is for another application (aud, azp)'],
    [claims['nonce'] === nonce, 'does not belong to this login (nonce)'],
    [typeof sub === 'string' && sub !== '', 'does not say whose it is (sub)'],
    [typeof exp === 'number' && exp > now, "has ended already (exp). See that this machine's clock is right"],
    [
      typeof iat === 'number' && iat <= now + CLOCK_SKEW,
      "is of the future (iat). See that this machine's clock is right",
    ],
  ]
  const [, fault] = checks.find(([holds]) => !holds) ?? []
  if (fault !== undefined) throw new AuthError('invalid_credentials', `The ID token ${fault}.`)
}

async function ask(page: Page, url: string, init: object = {}): Promise<{ status: number; body: unknown }> {
  const abort = new AbortController()
  const timer = page.setTimeout(() => abort.abort(), DEADLINE)
  const { origin } = new URL(url)
  try {
    // what is sent, and what comes back, is for nobody that the provider points to
    const response = await page.fetch(url, { ...init, redirect: 'error', signal: abort.signal })
    if (response.status >= 500) throw new Error(`It answered ${response.status}.`)
    return { status: response.status, body: await response.json().catch(noJson) }
  } catch (cause) {
    if (abort.signal.aborted) {
      throw new AuthError('timeout', `The provider at ${origin} did not answer within ${DEADLINE} ms.`, { cause })
    }
    throw new AuthError(
      'failed_to_connect',
      `The provider at ${origin} could not be asked. See that it is up, and that it lets this origin ask it (CORS).`,
      { cause },
    )
  } finally {
    page.clearTimeout(timer)
  }
}

/** A page instead, such as a 404 has, says as little as no body. */
function noJson(error: unknown): undefined {
  if (!(error instanceof SyntaxError)) throw error
}

/** An error as RFC 6749 has them. Whoever called the callback may have written anything else. */
function wordOf(error: unknown): string | undefined {
  return typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? error : undefined
}

/** 366 random bits in 108 characters: RFC 7636 wants 256 (section 7.1) in 43 to 128 of just these (section 4.1). */
function random({ crypto }: Page): string {
  return crypto.randomUUID() + crypto.randomUUID() + crypto.randomUUID()
}

/** RFC 7636, section 4.2: the SHA-256 in base64url, without padding. */
async function challengeOf({ crypto }: Page, verifier: string): Promise<string> {
  const bytes = Uint8Array.from(verifier, (character) => character.charCodeAt(0))
  const digest = await crypto.subtle.digest('SHA-256', bytes.buffer)
  return btoa(String.fromCharCode(...new Uint8Array(digest)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '')
}
