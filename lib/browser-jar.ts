import { isIP } from 'node:net'
import { parseSetCookie, type SetCookie } from 'cookie'
import { isLoopbackHost } from './request.ts'

/** A cookie as a browser keeps it. */
export interface HeldCookie {
  readonly name: string
  /** As it stood in the Set-Cookie line, escapes included. */
  readonly value: string
  /** The host that it is for; with `hostOnly` that host alone, else its subdomains too. */
  readonly domain: string
  readonly hostOnly: boolean
  readonly path: string
  readonly secure: boolean
  readonly httpOnly: boolean
  readonly sameSite: SetCookie['sameSite']
  readonly partitioned: boolean
  /** When it ends, in milliseconds since 1970; `undefined`: with the browser. */
  readonly expiresAt: number | undefined
}

/** Where a request goes; a `URL` is one. Without a path: whatever the path. */
export interface Place {
  readonly protocol: string
  readonly hostname: string
  readonly pathname?: string
}

/** Bytes of a name and value together, and of an attribute's value (RFC 6265bis, section 5.6). */
const MAX_COOKIE_BYTES = 4096
const MAX_ATTRIBUTE_BYTES = 1024

/** Browsers keep no cookie longer (RFC 6265bis, section 5.5). */
const MAX_AGE = 400 * 24 * 3600 * 1000

// oxlint-disable-next-line no-control-regex -- they are what is looked for; Chromium takes no tab either
const CONTROL = /[\0-\x1F\x7F]/

/**
 * The cookies of one browser: stored and sent as RFC 6265bis has it (sections 5.7 and 5.8), and where that leaves a
 * choice as Chromium does: a loopback host (`localhost`, `*.localhost`, `127.0.0.0/8`, `[::1]`) counts as https for
 * Secure cookies and for the `__Host-` and `__Secure-` prefixes.
 *
 * Every request is the user's own, as from the address bar: SameSite holds none back, and there is one partition.
 * There is no list of public suffixes: a domain of one label counts as one (`com`), others do not (`co.uk`).
 */
export class BrowserJar implements Iterable<HeldCookie> {
  /** By what a browser tells cookies apart by, in the order in which they were made. */
  readonly #held = new Map<string, HeldCookie>()
  readonly #clock: () => number

  /** @param clock the time in milliseconds since 1970 */
  constructor(clock: () => number = Date.now) {
    this.#clock = clock
  }

  /** The cookie of a name that would be sent first, or `undefined`. */
  get(name: string): HeldCookie | undefined {
    return bySending([...this].filter((cookie) => cookie.name === name))[0]
  }

  /** How many cookies are held. */
  get size(): number {
    return [...this].length
  }

  /** The cookies that did not end, in the order in which they were made. */
  *[Symbol.iterator](): IterableIterator<HeldCookie> {
    const now = this.#clock()
    for (const cookie of this.#held.values()) if (!isOver(cookie, now)) yield cookie
  }

  /**
   * Takes the Set-Cookie line of a response. One that has ended removes what it replaces.
   *
   * @returns whether a browser would take it, rather than ignore it
   */
  store(line: string, from: Place): boolean {
    const now = this.#clock()
    for (const [key, cookie] of this.#held) if (isOver(cookie, now)) this.#held.delete(key)
    const cookie = accepted(line, from, now)
    if (cookie === undefined || this.#hidesSecure(cookie, from)) return false
    const key = JSON.stringify([cookie.name, cookie.domain, cookie.hostOnly, cookie.path, cookie.partitioned])
    // the one that is replaced gives it its place in the order (in Chromium only if the value is the same)
    if (isOver(cookie, now)) this.#held.delete(key)
    else this.#held.set(key, cookie)
    return true
  }

  /** The Cookie header of a request, `undefined` for none: the longest path first, then the oldest. */
  header(to: Place): string | undefined {
    const sent = [...this].filter(
      ({ secure, hostOnly, domain, path }) =>
        (!secure || isTrusted(to)) &&
        (hostOnly ? to.hostname === domain : isWithin(to.hostname, domain)) &&
        (to.pathname === undefined || isBelow(to.pathname, path)),
    )
    if (sent.length === 0) return undefined
    return bySending(sent)
      .map(({ name, value }) => (name === '' ? value : `${name}=${value}`))
      .join('; ')
  }

  /** What came in the clear does not stand before what came over https (RFC 6265bis, section 5.7). */
  #hidesSecure(cookie: HeldCookie, from: Place): boolean {
    if (isTrusted(from)) return false
    return [...this].some(
      (there) =>
        there.secure &&
        there.name === cookie.name &&
        (isWithin(there.domain, cookie.domain) || isWithin(cookie.domain, there.domain)) &&
        isBelow(cookie.path, there.path),
    )
  }
}

/** The cookie of a Set-Cookie line, or `undefined` where a browser would ignore it. */
function accepted(line: string, from: Place, now: number): HeldCookie | undefined {
  const said = parseSetCookie(line, { decode: (raw) => raw })
  const { name, value = '', secure = false, partitioned = false, httpOnly = false, sameSite } = said
  if (name === '' && value === '') return undefined
  if (CONTROL.test(name + value) || Buffer.byteLength(name + value) > MAX_COOKIE_BYTES) return undefined

  const trusted = isTrusted(from)
  if (secure && !trusted) return undefined
  if ((partitioned || sameSite === 'none') && !secure) return undefined

  const domain = domainOf(said, from.hostname)
  if (domain === undefined) return undefined
  const hostOnly = domain === ''
  const path = pathOf(said, from)

  // without a name, the value must not look like a name that has a prefix
  const prefix = /^__(host|secure)-/i.exec(name === '' ? value : name)?.[1]?.toLowerCase()
  if (prefix !== undefined && (name === '' || !secure)) return undefined
  if (prefix === 'host' && !(hostOnly && said.path === '/')) return undefined

  return Object.freeze({
    name,
    value,
    domain: hostOnly ? from.hostname : domain,
    hostOnly,
    path,
    secure,
    httpOnly,
    sameSite,
    partitioned,
    expiresAt: endOf(said, now),
  })
}

/** `''` for a cookie of the very host; `undefined` where the host may not set one for this domain. */
function domainOf({ domain: said = '' }: SetCookie, host: string): string | undefined {
  const domain = (said.length > MAX_ATTRIBUTE_BYTES ? '' : said).replace(/^\./, '').toLowerCase()
  if (domain === '') return ''
  // as Chromium: addresses, and names of one label, are for themselves
  if (isAddress(host) || !domain.includes('.')) return domain === host ? '' : undefined
  return isWithin(host, domain) ? domain : undefined
}

/** RFC 6265bis, section 5.1.4: without a path of its own, a cookie is for the folder of what set it. */
function pathOf({ path }: SetCookie, { pathname = '/' }: Place): string {
  if (path?.startsWith('/') && path.length <= MAX_ATTRIBUTE_BYTES) return path
  return pathname.slice(0, Math.max(pathname.lastIndexOf('/'), 0)) || '/'
}

function endOf({ maxAge, expires }: SetCookie, now: number): number | undefined {
  const end = maxAge === undefined ? expires?.getTime() : maxAge > 0 ? now + maxAge * 1000 : -Infinity
  return end === undefined ? undefined : Math.min(end, now + MAX_AGE)
}

function isOver({ expiresAt = Infinity }: HeldCookie, now: number): boolean {
  return expiresAt <= now
}

/** Whether Secure cookies may come from there and go there. */
function isTrusted({ protocol, hostname }: Place): boolean {
  return protocol === 'https:' || isLoopbackHost(hostname)
}

/** RFC 6265bis, section 5.1.3. */
function isWithin(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && !isAddress(host))
}

/** RFC 6265bis, section 5.1.4. */
function isBelow(path: string, folder: string): boolean {
  if (!path.startsWith(folder)) return false
  return path.length === folder.length || folder.endsWith('/') || path[folder.length] === '/'
}

function isAddress(host: string): boolean {
  return host.startsWith('[') || isIP(host) !== 0
}

/** Sorting keeps those of one length in the order in which they were made. */
function bySending(cookies: readonly HeldCookie[]): HeldCookie[] {
  return cookies.toSorted((a, b) => b.path.length - a.path.length)
}
