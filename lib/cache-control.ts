import type { RackHeaders, RackResponse } from './app.ts'
import { getHeaderLines, withHeader } from './headers.ts'
import { warnOnce } from './warning.ts'

/**
 * Headers by which a shared cache would keep a response, whatever Cache-Control says to browsers: those of RFC 9213,
 * which are called after whom they are for (`CDN-`, `Cloudflare-CDN-`, `Akamai-Cache-Control`), and those that Fastly,
 * Akamai and nginx had before.
 */
const SHARED_CACHE_HEADER = /^(.+-cache-control|surrogate-control|edge-control|x-accel-expires)$/i

/** Headers that have to be read before ours are set. */
const CACHE_HEADER = /^(vary|(.+-)?cache-control|surrogate-control|edge-control|x-accel-expires)$/i

/** Directives that let a shared cache keep a response, or all of it but the fields named; also with what else is behind. */
const SHARED = /^(public|s-maxage)(?![\w-])/i
const QUALIFIED = /^private\s*=/i

/** What stands between two commas; those in quotes are none. */
const DIRECTIVE = /(?:[^,"]|"(?:\\.|[^"\\])*")+/g

/**
 * Keeps a response out of shared caches that depends on the session (OWASP ASVS 5.0, 14.3.2): it varies by
 * the cookie, and where there is a session it is private.
 */
export function makePrivate(response: RackResponse, hasSession: boolean): RackResponse {
  const [status, headers, body] = response
  if (hasSession && !hasCacheHeader(headers)) {
    // a spread with more behind it would cost twenty times as much
    return [status, Object.assign({}, headers, { vary: 'cookie', 'cache-control': 'private' }), body]
  }
  const varied = withVary(headers, 'cookie')
  const kept = hasSession ? withoutSharedCaching(varied) : varied
  return kept === headers ? response : [status, kept, body]
}

function hasCacheHeader(headers: RackHeaders): boolean {
  for (const name in headers) if (mayBeCacheHeader(name) && CACHE_HEADER.test(name)) return true
  return false
}

/** By its last letter, y, l or s, which most others do not have. */
function mayBeCacheHeader(name: string): boolean {
  const letter = name.charCodeAt(name.length - 1) | 0x20
  return letter === 0x79 || letter === 0x6c || letter === 0x73
}

/** The headers with one more name in Vary, where it is not there yet. */
export function withVary(headers: RackHeaders, name: string): RackHeaders {
  const names = getHeaderLines(headers, 'vary').join(', ')
  if (names === '') return withHeader(headers, 'vary', name)
  const has = names.split(',').map((one) => one.trim().toLowerCase())
  return has.includes(name.toLowerCase()) || has.includes('*')
    ? headers
    : withHeader(headers, 'vary', `${names}, ${name}`)
}

function withoutSharedCaching(headers: RackHeaders): RackHeaders {
  const said = getHeaderLines(headers, 'cache-control').join(', ')
  const directives = directivesOf(said)
  const kept = directives.filter((one) => !SHARED.test(one) && !QUALIFIED.test(one))
  let shared = directives.some((one) => SHARED.test(one))
  let result = headers
  const isPrivate = kept.some((one) => one.toLowerCase() === 'private')
  // behind a quote that does not end, a cache may see no private at all
  const isBroken = said.includes('"') && said.replace(DIRECTIVE, '').includes('"')
  if (!isPrivate || isBroken || kept.length < directives.length) {
    result = withHeader(headers, 'cache-control', (isPrivate ? kept : [...kept, 'private']).join(', '))
  }
  for (const name in headers) {
    if (headers[name] === undefined || !SHARED_CACHE_HEADER.test(name)) continue
    result = withHeader(result, name.toLowerCase(), undefined)
    shared = true
  }
  if (shared) {
    warnOnce(
      'LUGGAGE_RACK_SHARED_CACHE',
      'A response that depends on a session asked to be kept by shared caches (public, s-maxage, ' +
        'CDN-Cache-Control, Surrogate-Control or the like). It was sent as private. Do not read the session where ' +
        'a response is for everybody.',
    )
  }
  return result
}

/** Splits at commas outside of quotes; a quote that does not end is dropped, and hides nothing. */
function directivesOf(value: string): string[] {
  const directives = value.match(DIRECTIVE) ?? []
  return directives.map((one) => one.trim()).filter((one) => one !== '')
}
