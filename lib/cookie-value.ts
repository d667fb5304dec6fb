/** Whether a value stands in a header as this text; most differ before the first escape. */
export function isEncoded(raw: string | undefined, value: string): boolean {
  if (raw === undefined) return false
  const escape = raw.indexOf('%')
  return escape === -1 ? raw === value : value.startsWith(raw.slice(0, escape)) && decodeCookie(raw) === value
}

/** The value of a cookie as it stood in the header, decoded; itself, where its escapes are none. */
export function decodeCookie(raw: string): string {
  if (!raw.includes('%')) return raw
  try {
    return decodeURIComponent(raw)
  } catch {
    return raw
  }
}

/**
 * The value of a sealed cookie as it stood in the header, decoded; `undefined` where some escapes are in capitals
 * and some are not. Whoever escapes does it in one way, and `%2b` is `%2B` to a decoder: a sealed value that was
 * tampered with must not open.
 */
export function decodeSealed(raw: string): string | undefined {
  return /%[\dA-F]?[a-f]/.test(raw) && /%[\da-f]?[A-F]/.test(raw) ? undefined : decodeCookie(raw)
}
