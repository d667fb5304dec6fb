import { InvalidTokenError, jwtDecode } from 'jwt-decode'

/** What a token says. Nobody has checked here that it is true: the provider has, for who asked it for the token. */
export interface Claims {
  readonly iss?: string
  /** Who it is about: the same for all time, other than a name or an address. */
  readonly sub?: string
  readonly aud?: string | readonly string[]
  /** When it ends, in seconds since 1970. */
  readonly exp?: number
  /** When it was made, in seconds since 1970. */
  readonly iat?: number
  readonly name?: string
  readonly email?: string
  readonly picture?: string
  readonly [claim: string]: unknown
}

/** @throws {InvalidTokenError} of jwt-decode: it is no JWT */
export function readClaims(token: string): Claims {
  const claims = jwtDecode<unknown>(token)
  if (typeof claims === 'object' && claims !== null) return claims as Claims
  throw new InvalidTokenError('Invalid token specified: it holds no claims')
}

/**
 * When a JSON Web Token ends; `null` if it never does, because it has no `exp`. As in Auth0's tutorials and angular2-jwt.
 *
 * @throws {InvalidTokenError} of jwt-decode: it is no JWT, or its `exp` is no time
 */
export function getTokenExpirationDate(token: string): Date | null {
  const exp: unknown = readClaims(token).exp
  if (exp === undefined) return null
  const date = new Date(typeof exp === 'number' ? exp * 1000 : Number.NaN)
  if (Number.isNaN(date.getTime())) throw new InvalidTokenError('Invalid token specified: its exp is no time')
  return date
}

/**
 * Whether a JSON Web Token has ended, or ends within `offsetSeconds` (default 0). One without `exp` never does; one that
 * cannot be read has. As in Auth0's tutorials and angular2-jwt.
 *
 * @param now the time in milliseconds since 1970. Default: `Date.now()`
 */
export function isTokenExpired(token: string, offsetSeconds = 0, now: number = Date.now()): boolean {
  try {
    const date = getTokenExpirationDate(token)
    // the other way around, an offset that is no number would make it live for ever
    return date !== null && !(date.getTime() > now + offsetSeconds * 1000)
  } catch {
    return true
  }
}
