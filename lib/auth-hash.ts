import type { JsonValue } from './json.ts'

/** What the provider says of somebody: the claims of the ID token and of the userinfo endpoint. */
export interface Claims {
  readonly sub: string
  readonly [claim: string]: JsonValue | undefined
}

/** Who signed in, as OmniAuth names it. What the provider did not tell is not there. */
export interface AuthInfo {
  /** The full name; where there is none the nickname, the e-mail address, or the id. */
  readonly name: string
  readonly email?: string
  /** Whether the provider knows that the address is theirs. Do not go by an address for which this is not `true`. */
  readonly email_verified?: boolean
  readonly nickname?: string
  readonly first_name?: string
  readonly last_name?: string
  /** The address of a picture. */
  readonly image?: string
  readonly phone?: string
  readonly urls?: { readonly website?: string; readonly profile?: string }
}

/** What the provider gave for use with it. Secrets: they belong into a store, not into a page. */
export interface AuthCredentials {
  /** The access token. */
  readonly token: string
  readonly id_token: string
  /** Only where it was asked for, which most providers want the scope `offline_access` for. */
  readonly refresh_token?: string
  /** Whether the access token ends. */
  readonly expires: boolean
  /** When it does, in seconds since 1970. */
  readonly expires_at?: number
  /** What was granted, where the provider says. */
  readonly scope?: string
}

/**
 * OmniAuth's authentication hash (its schema 1.0 and later, https://github.com/omniauth/omniauth/wiki/Auth-Hash-Schema).
 * All of it is JSON.
 */
export interface AuthHash {
  /** The name of the provider here: `'oauth2'`, unless `openid({ provider })` says otherwise. */
  readonly provider: string
  /** The provider's id for them, `sub`: the one thing that never changes and is never given to another. */
  readonly uid: string
  readonly info: AuthInfo
  readonly credentials: AuthCredentials
  readonly extra: {
    /** The profile: the claims without those that belong to the token alone (`nonce`, `exp` and the like). */
    readonly raw_info: Claims
    /** The path of the page that signing in began on, where the form named it as `origin`. */
    readonly origin?: string
  }
}

/** Claims of a token, and not of a person. */
const OF_THE_TOKEN = new Set('acr amr at_hash aud auth_time azp c_hash exp iat iss jti nbf nonce s_hash sid'.split(' '))

/** @param claims of the ID token, with those of the userinfo endpoint over them */
export function authHash(
  provider: string,
  claims: Claims,
  credentials: AuthCredentials,
  origin: string | undefined,
): AuthHash {
  const profile = Object.entries(claims).filter(([claim]) => !OF_THE_TOKEN.has(claim))
  return {
    provider,
    uid: claims.sub,
    info: infoOf(claims),
    credentials,
    extra: { raw_info: Object.fromEntries(profile) as unknown as Claims, ...present({ origin }) },
  }
}

function infoOf(claims: Claims): AuthInfo {
  const text = (claim: string): string | undefined => {
    const value = claims[claim]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const urls = present({ website: text('website'), profile: text('profile') })
  return {
    name: text('name') ?? text('preferred_username') ?? text('nickname') ?? text('email') ?? claims.sub,
    ...present({
      email: text('email'),
      email_verified: typeof claims['email_verified'] === 'boolean' ? claims['email_verified'] : undefined,
      nickname: text('nickname') ?? text('preferred_username'),
      first_name: text('given_name'),
      last_name: text('family_name'),
      image: text('picture'),
      phone: text('phone_number'),
      urls: Object.keys(urls).length > 0 ? urls : undefined,
    }),
  }
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Without what is undefined, which JSON cannot carry. */
export function present<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>
}
