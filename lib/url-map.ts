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
  readonly app: App
}

/** Parses `'/admin'` or `'http://example.org/admin'`. */
export function locationOf(location: string): { host: string | undefined; prefix: string } {
  const [, host, path] = /^(?:https?:\/\/([^/?#]+))?(\/[^?#]*|)$/.exec(location) ?? []
  if (path === undefined || (path === '' && host === undefined)) {
    throw new InvalidOptionError(`map takes a path that starts with "/", and not ${JSON.stringify(location)}.`)
  }
  return { host: host?.toLowerCase(), prefix: path.replace(/\/+$/, '') }
}

/**
 * Rack's URLMap: the app whose prefix is the longest on a segment boundary, a host before none; inside it
 * `req.url` is the rest and `req.scriptName` the prefix. Both are restored when it has answered.
 */
export function urlMap(locations: readonly { location: string; app: App }[], otherwise: App): App {
  const table: Location[] = locations
    .map(({ location, app }) => ({ ...locationOf(location), app }))
    .toSorted((a, b) => (b.host?.length ?? 0) - (a.host?.length ?? 0) || b.prefix.length - a.prefix.length)

  return (req) => {
    const url = req.url ?? '/'
    const host = table[0]?.host === undefined ? undefined : hostOf(req)
    for (const { host: wanted, prefix, app } of table) {
      if ((wanted === undefined || wanted === host) && matches(url, prefix)) return enter(req, url, prefix, app)
    }
    return otherwise(req)
  }
}

function matches(url: string, prefix: string): boolean {
  if (!url.startsWith(prefix)) return false
  const next = url.charAt(prefix.length)
  return next === '/' || next === '?' || next === '' || prefix === ''
}

function enter(req: IncomingMessage & Partial<Mapped>, url: string, prefix: string, app: App): Awaitable<RackResponse> {
  const scriptName = req.scriptName
  const inner = Object.assign(req, { scriptName: (scriptName ?? '') + prefix, url: url.slice(prefix.length) })
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
