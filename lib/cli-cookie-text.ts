import { parseCookie } from 'cookie'
import { CommandError } from './cli-command.ts'
import { MAX_CANDIDATES } from './session-commit.ts'

/** A cookie as it was given: its name, and the values that it may have, as they stood there. */
export interface GivenCookie {
  readonly name: string
  readonly values: readonly string[]
}

const HEADER = /^(?:set-)?cookie:/i
const ATTRIBUTES = /^(?:path|domain|expires|max-age|secure|httponly|samesite|partitioned|priority)$/i

// what stands before the first equals sign is the name, unless that sign fills up base64: `…=`, `…==`, `…=--…`
const BARE = /^[^=;\s]*(?:==?(?:--[^;\s]*)?)?$/

/**
 * Finds a cookie in what was given: `name=value`, a bare value, a Cookie or a Set-Cookie line, or all headers of a
 * response. Of several values of one name, as many as a session looks at.
 *
 * @param name which one; default: the only one there is, or `_session_id`
 * @throws {CommandError} there is none
 */
export function findCookie(text: string, name: string | undefined): GivenCookie {
  const trimmed = text.trim()
  const lines = trimmed.split(/\r?\n/)
  const headers = lines.filter((line) => HEADER.test(line))
  if (headers.length === 0 && trimmed !== '' && BARE.test(trimmed)) {
    return { name: name ?? '_session_id', values: [trimmed] }
  }
  const pairs = (headers.length > 0 ? headers : lines).flatMap(pairsOf)
  const names = new Set(pairs.map(([one]) => one))
  const [only] = names
  const wanted = name ?? (names.size === 1 && only !== undefined ? only : '_session_id')
  const values = pairs.filter(([one]) => one === wanted).map(([, value]) => value)
  if (values.length > 0) return { name: wanted, values: values.slice(0, MAX_CANDIDATES) }
  throw new CommandError(
    'ERR_COOKIE_MISSING',
    pairs.length === 0
      ? 'There is no cookie in what was given. Give name=value, a Cookie or Set-Cookie header, or the bare value.'
      : 'There are cookies in what was given, and none of this name. Say which with --name.',
  )
}

function pairsOf(line: string): [name: string, value: string][] {
  const isCookieHeader = /^cookie:/i.test(line)
  const pairs: [string, string][] = []
  for (const pair of line.replace(HEADER, '').split(';')) {
    const [found] = Object.entries(parseCookie(pair, { decode: (raw) => raw }))
    if (found?.[1] === undefined) continue
    // of a Set-Cookie line only the first is the cookie
    if (pairs.length > 0 && !isCookieHeader && ATTRIBUTES.test(found[0])) continue
    pairs.push([unescaped(found[0]), found[1]])
  }
  return pairs
}

/** Rack 2, and so Rails 6.1, escapes names too. */
function unescaped(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}
