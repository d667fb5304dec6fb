import type { IncomingMessage } from 'node:http'
import type { CookieJar } from './cookie-jar.ts'
import { isSecure } from './request.ts'

/** What a browser must bring back from the provider to have signed in. */
export interface SignInAttempt {
  readonly state: string
  readonly nonce: string
  /** PKCE's secret (RFC 7636), which the code is worth nothing without. */
  readonly verifier: string
  /** Seconds: how long ago the provider may have seen the password, where that was asked for. */
  readonly maxAge?: number
  /** The path to go back to. */
  readonly origin?: string
}

/** Seconds to sign in within. */
const LIFE = 600

/** How many tabs of one browser may be at it. */
const MOST = 4

/**
 * Remembers an attempt in an encrypted cookie of its own, so that no session is made for whoever does not come back,
 * and so that two tabs do not disturb each other.
 */
export function keepAttempt(req: IncomingMessage, jar: CookieJar, provider: string, attempt: SignInAttempt): void {
  const begun = [...jar].map(([name]) => name).filter((name) => name.startsWith(prefixOf(req, provider)))
  for (const name of begun.slice(0, Math.max(0, begun.length - MOST + 1))) jar.delete(name, placeOf(req))
  jar.encrypted.set(nameOf(req, provider, attempt.state), attempt, { ...placeOf(req), maxAge: LIFE })
}

/** The attempt that a state belongs to, which is over with that: a callback counts once. */
export function takeAttempt(
  req: IncomingMessage,
  jar: CookieJar,
  provider: string,
  state: string,
): SignInAttempt | undefined {
  const name = nameOf(req, provider, state)
  const attempt = jar.encrypted.get(name) as Partial<SignInAttempt> | undefined
  if (attempt?.state !== state || state === '') return undefined
  jar.delete(name, placeOf(req))
  return attempt as SignInAttempt
}

/** Of a sibling's page no cookie can be tossed in with the prefix (RFC 6265bis, section 4.1.3.2), which needs TLS. */
function prefixOf(req: IncomingMessage, provider: string): string {
  return `${isSecure(req) ? '__Host-' : ''}openid.${provider}.`
}

function nameOf(req: IncomingMessage, provider: string, state: string): string {
  return prefixOf(req, provider) + state.slice(0, 16).replace(/[^\w-]/g, '')
}

function placeOf(req: IncomingMessage): { path: string; secure: boolean; httpOnly: true; sameSite: 'lax' } {
  return { path: '/', secure: isSecure(req), httpOnly: true, sameSite: 'lax' }
}
