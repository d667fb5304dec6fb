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

/** The attributes as the `cookie` package takes them. */
export function attributesOf(req: IncomingMessage, options: CookieOptions): Omit<SetCookie, 'name' | 'value'> {
  const { maxAge, expires, priority, sameSite } = options
  const domain = domainOf(req, options)
  return {
    path: options.path ?? '/',
    ...(domain === undefined ? undefined : { domain }),
    ...(maxAge === undefined ? undefined : { maxAge }),
    ...(expires === undefined ? undefined : { expires }),
    ...(priority === undefined ? undefined : { priority }),
    ...(sameSite === undefined || sameSite === null ? undefined : { sameSite }),
    httpOnly: options.httpOnly === true,
    secure: options.secure === true,
    partitioned: options.partitioned === true,
  }
}

function domainOf(req: IncomingMessage, { domain, tldLength }: CookieOptions): string | undefined {
  if (typeof domain === 'function') return domain(req)
  if (domain === 'all') return registrableDomain(hostOf(req), tldLength)
  if (typeof domain === 'string' || domain === undefined) return domain
  const host = hostOf(req)
  const found = domain.find((one) => {
    const bare = one.replace(/^\./, '').toLowerCase()
    return host === bare || host.endsWith(`.${bare}`)
  })
  return found?.replace(/^\./, '')
}

/** As Rails: the last two labels, or three where the last two are short enough to be a country's (co.uk, com.au). */
function registrableDomain(host: string, tldLength: number | undefined): string | undefined {
  const labels = host.split('.')
  if (/^[\d.]+$|^\[/.test(host) || labels.length === 1 || labels.includes('')) return undefined
  if (tldLength !== undefined) return labels.length < tldLength ? undefined : labels.slice(-tldLength).join('.')
  return /[^.]*\.([^.]*|..\...|...\...)$/.exec(host)?.[0]
}

/**
 * Refuses what no browser accepts, and names what to change.
 *
 * @throws {InvalidOptionError}
 */
export function checkCookie(name: string, options: Omit<CookieOptions, 'secure'> & { secure?: unknown }): void {
  const { path, domain, secure, sameSite, maxAge } = options
  const is = (problem: string): never => {
    throw new InvalidOptionError(`The cookie ${name} ${problem}.`)
  }
  // RFC 6265, section 4.1.1: a cookie's name is a token
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) is("has a name that is no token (letters, digits and !#$%&'*+-.^_`|~)")
  if (path !== undefined && !(path.startsWith('/') && /^[\x20-\x3A\x3C-\x7E]*$/.test(path))) {
    is('needs a path that starts with "/" and has no semicolon or control character')
  }
  if (sameSite !== undefined && sameSite !== null && !['strict', 'lax', 'none'].includes(sameSite)) {
    is(`has sameSite ${JSON.stringify(sameSite)}: use 'strict', 'lax', 'none' or null`)
  }
  if (maxAge !== undefined && !Number.isFinite(maxAge)) is('needs a maxAge in seconds')
  if (secure !== false && secure !== undefined) {
    // the rest concerns cookies without Secure
  } else if (sameSite === 'none') is("with sameSite 'none' must be secure: browsers drop it otherwise")
  else if (options.partitioned === true) is('that is partitioned must be secure: browsers drop it otherwise')
  else if (/^__(Secure|Host)-/i.test(name)) is('must be secure because of its prefix: browsers drop it otherwise')
  if (/^__Host-/i.test(name) && ((path ?? '/') !== '/' || domain !== undefined)) {
    is("must have the path '/' and no domain because of its prefix: browsers drop it otherwise")
  }
}
