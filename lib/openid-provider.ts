import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  buildEndSessionUrl,
  calculatePKCECodeChallenge,
  ClientSecretBasic,
  ClientSecretPost,
  discovery,
  enableNonRepudiationChecks,
  fetchUserInfo,
  None,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
  refreshTokenGrant,
  type ClientAuth,
  type Configuration,
  type TokenEndpointResponse,
  type TokenEndpointResponseHelpers,
} from 'openid-client'
import { present, type AuthCredentials, type Claims } from './auth-hash.ts'
import type { SignInAttempt } from './sign-in-attempt.ts'

export interface OpenIdClient {
  /** Of https, or of this very machine. */
  readonly issuer: URL
  readonly clientId: string
  readonly clientSecret: string | undefined
  readonly clientAuth: 'basic' | 'post' | undefined
  readonly scope: string
  readonly logout: 'openid' | 'auth0'
  /** Seconds. */
  readonly timeout: number
}

/** An attempt to sign in, and the provider's address for it. */
export interface Begun {
  readonly address: URL
  readonly attempt: SignInAttempt
}

/** What a provider gave for a code, or for a refresh token. */
export interface Grant {
  /** Of the ID token; with those of the userinfo endpoint where somebody signed in. */
  readonly claims: Claims
  readonly credentials: AuthCredentials
  /** When the ID token ends, in seconds since 1970. */
  readonly endsAt: number
}

type TokenResponse = TokenEndpointResponse & TokenEndpointResponseHelpers

/** The provider, as this application is its client: what `openid-client` does, with its answers checked in full. */
export class OpenIdProvider {
  readonly #client: OpenIdClient
  #found: Promise<Configuration> | undefined

  constructor(client: OpenIdClient) {
    this.#client = client
  }

  /** @param params more of them for the provider's page */
  async begin(
    redirectUri: string,
    params: Readonly<Record<string, string>>,
    origin: string | undefined,
  ): Promise<Begun> {
    const config = await this.#configuration()
    const maxAge = params['max_age'] === undefined ? undefined : Number(params['max_age'])
    const attempt = {
      state: randomState(),
      nonce: randomNonce(),
      verifier: randomPKCECodeVerifier(),
      ...present({ maxAge, origin }),
    }
    const address = buildAuthorizationUrl(config, {
      scope: this.#client.scope,
      ...params,
      redirect_uri: redirectUri,
      response_type: 'code',
      state: attempt.state,
      nonce: attempt.nonce,
      code_challenge: await calculatePKCECodeChallenge(attempt.verifier),
      code_challenge_method: 'S256',
    })
    return { address, attempt }
  }

  /**
   * What the code in the address of a callback stands for. Checked are state and issuer (RFC 9207) of the address, and
   * signature, issuer, audience, nonce and times of the ID token.
   */
  async finish(callback: URL, attempt: SignInAttempt): Promise<Grant> {
    const config = await this.#configuration()
    const tokens = await authorizationCodeGrant(config, callback, {
      expectedState: attempt.state,
      expectedNonce: attempt.nonce,
      pkceCodeVerifier: attempt.verifier,
      idTokenExpected: true,
      ...present({ maxAge: attempt.maxAge }),
    })
    const grant = grantOf(tokens, undefined)
    if (config.serverMetadata().userinfo_endpoint === undefined) return grant
    const told = await fetchUserInfo(config, tokens.access_token, grant.claims.sub)
    return { ...grant, claims: { ...grant.claims, ...(told as unknown as Claims) } }
  }

  /** @param subject whose tokens they were; see that they still are */
  async refresh(refreshToken: string, subject: string): Promise<Grant> {
    const tokens = await refreshTokenGrant(await this.#configuration(), refreshToken)
    return grantOf(tokens, { refresh_token: refreshToken, sub: subject })
  }

  /** Where the browser ends its session with the provider; `undefined` where the provider has no such place. */
  async logoutUrl(returnTo: string, idToken: string | undefined): Promise<string | undefined> {
    const { clientId, issuer, logout } = this.#client
    if (logout === 'auth0') {
      const address = new URL('/v2/logout', issuer)
      address.search = new URLSearchParams({ client_id: clientId, returnTo }).toString()
      return address.href
    }
    const config = await this.#configuration()
    if (config.serverMetadata().end_session_endpoint === undefined) return undefined
    const parameters = { post_logout_redirect_uri: returnTo, ...present({ id_token_hint: idToken }) }
    return buildEndSessionUrl(config, parameters).href
  }

  /** Found out at the first need, and kept; a failure is not kept. */
  #configuration(): Promise<Configuration> {
    return (this.#found ??= this.#discover().catch((error: unknown) => {
      this.#found = undefined
      throw error
    }))
  }

  #discover(): Promise<Configuration> {
    const { issuer, clientId, timeout } = this.#client
    // the one of this very machine, which has no certificate: no other is let in without
    const isHere = issuer.protocol === 'http:'
    return discovery(issuer, clientId, undefined, this.#authentication(), {
      timeout,
      execute: [enableNonRepudiationChecks, ...(isHere ? [allowInsecureRequests] : [])],
    })
  }

  /** `client_secret_basic` is what a client is registered with where nothing was said (OpenID Connect Registration). */
  #authentication(): ClientAuth {
    const { clientSecret, clientAuth } = this.#client
    if (clientSecret === undefined) return None()
    const basic = ClientSecretBasic(clientSecret)
    const post = ClientSecretPost(clientSecret)
    return (server, ...others) => {
      const known = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
      const isBasic = clientAuth === undefined ? known.includes('client_secret_basic') : clientAuth === 'basic'
      return (isBasic ? basic : post)(server, ...others)
    }
  }
}

/** @param before what holds on where a provider does not say it anew, as it may on a refresh */
function grantOf(tokens: TokenResponse, before: { refresh_token: string; sub: string } | undefined): Grant {
  const claims = tokens.claims() as unknown as (Claims & { readonly exp: number }) | undefined
  const lasts = tokens.expiresIn()
  const expiresAt = lasts === undefined ? undefined : Math.floor(Date.now() / 1000) + lasts
  return {
    claims: claims ?? { sub: before?.sub as string },
    credentials: {
      token: tokens.access_token,
      id_token: tokens.id_token as string,
      expires: expiresAt !== undefined,
      ...present({
        refresh_token: tokens.refresh_token ?? before?.refresh_token,
        expires_at: expiresAt,
        scope: tokens.scope,
      }),
    },
    endsAt: claims?.exp ?? expiresAt ?? 0,
  }
}
