import type { IncomingMessage } from 'node:http'
import type { SetCookie } from 'cookie'
import { InvalidOptionError } from './errors.ts'
import { hostOf } from './request.ts'

export type SameSite = 'strict' | 'lax' | 'none'

/**
 * Which hosts a cookie is for: one domain, the one of a list that the host belongs to, a function of the
 * request, or `'all'` for the host's registrable domain as Rails guesses it (`www.example.co.uk` gives
 * `example.co.uk`; see `tldLength`). Without a domain the cookie is for the very host alone.
 */
export type CookieDomain = string | readonly string[] | ((req: IncomingMessage) => string | undefined)

/** The attributes of a cookie (RFC 6265bis, section 4.1.2). */
export interface CookieOptions {
  /** Default `'/'`. */
  path?: string | undefined
  domain?: CookieDomain | undefined
  /** With `domain: 'all'`: how many labels of the host the domain has, counted from the right. Default: Rails' guess. */
  tldLength?: number | undefined
  /** When the browser forgets it. Default: at the end of the browser's session. */
  expires?: Date | undefined
  /** Seconds until the browser forgets it; goes before `expires`. */
  maxAge?: number | undefined
  /** Only over TLS; over plain http such a cookie is not sent. Default `false`. */
  secure?: boolean | undefined
  /** Hidden from the page's scripts. Default `false`. */
  httpOnly?: boolean | undefined
  /** Default: that of `cookies()`, `'lax'`. `null` sends none. */
  sameSite?: SameSite | null | undefined
  /** A cookie jar for each top-level site (CHIPS); needs `secure`. Default `false`. */
  partitioned?: boolean | undefined
  /** Which cookies Chromium keeps when there are too many. */
  priority?: 'low' | 'medium' | 'high' | undefined
}

type Attributes = Omit<SetCookie, 'name' | 'value'>

// What the cookie package writes; and of it, what it would refuse without saying what to change.
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/
const PATH = /^\/[\x20-\x3A\x3D-\x7E]*$/
const DOMAIN = /^\.?[a-z\d]([a-z\d-]{0,61}[a-z\d])?(\.[a-z\d]([a-z\d-]{0,61}[a-z\d])?)*$/i

/** Names of cookies that browsers take from a secure origin alone (RFC 6265bis, section 4.1.3). */
export const PREFIXED: RegExp = /^__(Secure|Host)-/i

/** Browsers read no later year. */
const LAST_DATE = Date.UTC(9999, 11, 31, 23, 59, 59)

/**
 * The attributes as the `cookie` package takes them. They must have been checked.
 *
 * @throws {InvalidOptionError} a function gave a domain that is none
 */
export function attributesOf(req: IncomingMessage, options: CookieOptions, sameSite: SameSite | null): Attributes {
  const { maxAge, expires, priority } = options
  const attributes: Attributes = {
    path: options.path ?? '/',
    httpOnly: options.httpOnly === true,
    secure: options.secure === true,
    partitioned: options.partitioned === true,
  }
  const domain = options.domain === undefined ? undefined : domainOf(req, options.domain, options.tldLength)
  if (domain !== undefined) attributes.domain = domain
  if (maxAge !== undefined) attributes.maxAge = maxAge
  if (expires !== undefined) attributes.expires = expires
  if (priority !== undefined) attributes.priority = priority
  if (sameSite !== null) attributes.sameSite = sameSite
  return attributes
}

function domainOf(req: IncomingMessage, domain: CookieDomain, tldLength: number | undefined): string | undefined {
  if (domain === 'all') return registrableDomain(hostOf(req), tldLength)
  if (typeof domain === 'string') return domain
  if (typeof domain === 'function') {
    const found = domain(req)
    if (found === undefined || isDomain(found)) return found
    throw new InvalidOptionError(`The function that names a cookie's domain gave ${JSON.stringify(found)}.`)
  }
  const host = hostOf(req)
  return domain.find((one) => {
    const bare = one.replace(/^\./, '').toLowerCase()
    return host === bare || host.endsWith(`.${bare}`)
  })
}

/** As Rails: the last two labels, or three where the last two are short enough to be a country's (co.uk, com.au). */
function registrableDomain(host: string, tldLength: number | undefined): string | undefined {
  const labels = host.split('.')
  // the host is the client's word: what is no domain is no error of the application
  if (labels.length === 1 || /^[\d.]+$/.test(host) || !isDomain(host)) return undefined
  const length = tldLength ?? (/\.[^.]{2,3}\.[^.]{2}$/.test(host) ? 3 : 2)
  return labels.length < length ? undefined : labels.slice(-length).join('.')
}

function isDomain(domain: unknown): boolean {
  return typeof domain === 'string' && domain.length <= 254 && DOMAIN.test(domain)
}

const fixed = new WeakSet<CookieOptions>()

/** Options that were checked and never change, as those of a session whose cookie is the same for all requests. */
export function fix(options: CookieOptions): CookieOptions {
  const copy = Object.freeze({ ...options })
  fixed.add(copy)
  return copy
}

/** Whether they came out of `fix`; what an application froze itself may hold a date, or a getter. */
export function isFixed(options: CookieOptions): boolean {
  return fixed.has(options)
}

/** What is checked of a cookie. The session's `secure` is decided later. */
export type CheckedOptions = Omit<CookieOptions, 'secure'> & { secure?: unknown }

/**
 * Refuses what no browser accepts, and names what to change.
 *
 * @throws {InvalidOptionError}
 */
export function checkCookie(
  name: string,
  options: CheckedOptions,
  sameSite: CookieOptions['sameSite'] = options.sameSite,
): void {
  // RFC 6265, section 4.1.1: a cookie's name is a token
  if (typeof name !== 'string' || !TOKEN.test(name)) {
    refuse(JSON.stringify(name), "has a name that is no token (letters, digits and !#$%&'*+-.^_`|~)")
  }
  checkAttributes(name, options, sameSite)
}

/**
 * The same for the attributes alone: a browser may hold names that we do not set.
 *
 * @throws {InvalidOptionError}
 */
export function checkAttributes(name: string, options: CheckedOptions, sameSite: CookieOptions['sameSite']): void {
  const { path, domain, secure, partitioned, httpOnly, expires, maxAge, priority, tldLength } = options
  if (path !== undefined && path !== '/' && !(typeof path === 'string' && PATH.test(path))) {
    refuse(name, 'needs a path that starts with "/" and has no semicolon, "<" or control character')
  }
  if (domain !== undefined) checkDomain(name, domain, tldLength)
  if (!isFlag(secure) || !isFlag(httpOnly) || !isFlag(partitioned)) {
    refuse(name, 'needs secure, httpOnly and partitioned to be true or false')
  }
  if (sameSite !== undefined && sameSite !== null && !['strict', 'lax', 'none'].includes(sameSite)) {
    refuse(name, `has sameSite ${JSON.stringify(sameSite)}: use 'strict', 'lax', 'none' or null`)
  }
  if (maxAge !== undefined && !Number.isSafeInteger(maxAge)) refuse(name, 'needs a maxAge in whole seconds')
  if (expires !== undefined && !(expires instanceof Date && expires.getTime() <= LAST_DATE)) {
    refuse(name, 'needs expires to be a Date before the year 10000')
  }
  if (priority !== undefined && !['low', 'medium', 'high'].includes(priority)) {
    refuse(name, `has priority ${JSON.stringify(priority)}: use 'low', 'medium' or 'high'`)
  }
  const prefixed = PREFIXED.test(name)
  if (secure !== true) {
    if (sameSite === 'none') refuse(name, "with sameSite 'none' must be secure: browsers drop it otherwise")
    if (partitioned === true) refuse(name, 'that is partitioned must be secure: browsers drop it otherwise')
    if (prefixed) refuse(name, 'must be secure because of its prefix: browsers drop it otherwise')
  }
  if (prefixed && /^__Host-/i.test(name) && ((path ?? '/') !== '/' || domain !== undefined)) {
    refuse(name, "must have the path '/' and no domain because of its prefix: browsers drop it otherwise")
  }
}

function checkDomain(name: string, domain: unknown, tldLength: unknown): void {
  if (typeof domain !== 'function' && !(Array.isArray(domain) ? domain.every(isDomain) : isDomain(domain))) {
    refuse(name, "needs a domain such as 'example.com', a list of them, 'all' or a function")
  }
  if (tldLength !== undefined && !(Number.isInteger(tldLength) && (tldLength as number) > 0)) {
    refuse(name, 'needs a tldLength that is a number of labels: 2 for example.com')
  }
}

function isFlag(value: unknown): boolean {
  return value === undefined || typeof value === 'boolean'
}

function refuse(name: string, problem: string): never {
  throw new InvalidOptionError(`The cookie ${name} ${problem}.`)
}
