import type { IncomingMessage } from 'node:http'
import { describe, type Middleware } from '../lib/app.ts'
import { callEntered } from '../lib/call-inner.ts'
import { RequestJar, type CookieJar, type JarConfig } from '../lib/cookie-jar.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { Keyring, type KeyringOptions } from '../lib/keyring.ts'

export interface CookiesOptions extends KeyringOptions {
  /**
   * The SameSite attribute of cookies that do not say; also a function of the request. Default `'lax'`, as
   * Rails; `null` sends none.
   */
  sameSite?: JarConfig['sameSite'] | undefined
  /** The time in milliseconds since 1970, for expiry here and in the session. Default: `Date.now()`. */
  clock?: (() => number) | undefined
}

/**
 * Reads the request's cookies and sends those that were written: adds `req.cookies`.
 *
 * @throws {SecretTooShortError} a secret of fewer than 32 characters
 * @throws {InvalidOptionError} an option that cannot work
 */
export function cookies(options: CookiesOptions = {}): Middleware<{ readonly cookies: CookieJar }> {
  const { sameSite = 'lax', clock = (): number => Date.now() } = options
  if (typeof sameSite === 'string' && !['strict', 'lax', 'none'].includes(sameSite)) {
    throw new InvalidOptionError("cookies(): sameSite must be 'strict', 'lax', 'none', null or a function.")
  }
  if (typeof clock !== 'function')
    throw new InvalidOptionError('cookies(): clock must be a function that gives the time.')
  const config: JarConfig = { keyring: new Keyring(options), sameSite, clock }
  const adds = config.keyring.hasSecret ? ['cookies', 'cookies.secret'] : ['cookies']

  return describe('cookies', { adds }, (app) => (req) => {
    const inner = req as IncomingMessage & { cookies: CookieJar }
    const outer: CookieJar | undefined = inner.cookies
    const jar = new RequestJar(req, config)
    inner.cookies = jar
    return callEntered(app, inner, outer && { cookies: outer }, jar)
  })
}
