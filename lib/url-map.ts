import type { IncomingMessage } from 'node:http'
import { isPromise, type App, type Awaitable, type RackResponse } from './app.ts'
import { InvalidOptionError } from './errors.ts'
import { hostOf } from './request.ts'

/** What an app inside `map` finds on its request. */
export interface Mapped {
  /** The prefixes that led here, joined; `req.url` is what is left after them. */
  readonly scriptName: string
}

interface Location {
  readonly host: string | undefined
  readonly prefix: string
  readonly pattern: RegExp
  readonly app: App
}

/** Parses `'/admin'` or `'http://example.org/admin'`. */
export function locationOf(location: string): { host: string | undefined; prefix: string } {
  const [, host, path] = /^(?:https?:\/\/([^/?#]+))?(\/[^?#]*|)$/.exec(location) ?? []
  if (path === undefined || (path === '' && host === undefined)) {
    throw new InvalidOptionError(`map takes a path that starts with "/", and not ${JSON.stringify(location)}.`)
  }
  if (host !== undefined && /:\d+$/.test(host)) {
    throw new InvalidOptionError(`map tells hosts apart and not ports: write ${JSON.stringify(location)} without one.`)
  }
  return { host: host?.toLowerCase(), prefix: path.replace(/\/+$/, '') }
}

/**
 * As Rack, `//admin` is no way around what is mapped at `/admin`; nor is the absolute form of a request's
 * target (RFC 9112, section 3.2.2).
 */
function patternOf(prefix: string): RegExp {
  const path = prefix.replace(/[$()*+.?[\\\]^{|}]/g, '\\$&').replace(/\/+/g, '/+')
  return new RegExp(`^(?:[A-Za-z][A-Za-z\\d+.-]*://[^/?#]*)?${path}${prefix === '' ? '' : '(?=[/?]|$)'}`)
}

/**
 * Rack's URLMap: the app whose prefix is the longest on a segment boundary, a host before none; inside it
 * `req.url` is the rest and `req.scriptName` the prefix. Both are restored when it has answered.
 */
export function urlMap(locations: readonly { location: string; app: App }[], otherwise: App): App {
  const table: Location[] = locations
    .map(({ location, app }) => ({ ...locationOf(location), app }))
    .map((at) => ({ ...at, pattern: patternOf(at.prefix) }))
    .toSorted((a, b) => (b.host?.length ?? 0) - (a.host?.length ?? 0) || b.prefix.length - a.prefix.length)

  return (req) => {
    const url = req.url ?? '/'
    const host = table[0]?.host === undefined ? undefined : hostOf(req)
    for (const { host: wanted, prefix, pattern, app } of table) {
      if (wanted !== undefined && wanted !== host) continue
      const match = pattern.exec(url)
      if (!match) continue
      const rest = url.slice(match[0].length)
      // without a prefix before it, a path begins with a slash (RFC 9112, section 3.2.1)
      const isRoot = prefix === '' && /^(\?|$)/.test(rest) && ((req as Partial<Mapped>).scriptName ?? '') === ''
      return enter(req, isRoot ? `/${rest}` : rest, prefix, app)
    }
    return otherwise(req)
  }
}

function enter(
  req: IncomingMessage & Partial<Mapped>,
  rest: string,
  prefix: string,
  app: App,
): Awaitable<RackResponse> {
  const { scriptName, url } = req
  const inner = Object.assign(req, { scriptName: (scriptName ?? '') + prefix, url: rest })
  const leave = (): void => {
    Object.assign(req, { scriptName, url })
  }
  let response: Awaitable<RackResponse>
  try {
    response = app(inner)
  } catch (error) {
    leave()
    throw error
  }
  if (!isPromise(response)) {
    leave()
    return response
  }
  return response.then(
    (value) => {
      leave()
      return value
    },
    (error: unknown) => {
      leave()
      throw error
    },
  )
}
