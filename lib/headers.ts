import type { RackHeaders } from './app.ts'

type Value = RackHeaders[string]

/** All values of a header as one list, whatever the letter case of its names. */
export function getHeaderLines(headers: RackHeaders, name: string): string[] {
  const lines: string[] = []
  for (const key in headers) {
    const value = headers[key]
    if (value === undefined || key.length !== name.length || key.toLowerCase() !== name) continue
    if (typeof value === 'object') lines.push(...value)
    else lines.push(String(value))
  }
  return lines
}

/**
 * A copy of the headers with one replaced, added or, for `undefined`, removed. The headers that came in are
 * not changed: an app may return the same frozen constant every time.
 */
export function withHeader(headers: RackHeaders, name: string, value: Value): RackHeaders {
  const copy: Record<string, Value> = {}
  for (const key in headers) {
    if (key.length !== name.length || key.toLowerCase() !== name) copy[key] = headers[key]
  }
  if (value !== undefined) copy[name] = value
  return copy
}
