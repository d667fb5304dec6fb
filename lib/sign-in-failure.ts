import { AuthorizationResponseError, ResponseBodyError } from 'openid-client'

/**
 * Why somebody is not signed in, in OmniAuth's words where it has one:
 *
 * - `authenticity_error`: a page of another site began it;
 * - `csrf_detected`: the callback belongs to nothing that this browser began, or to what is over: it was begun elsewhere,
 *   used already, or longer ago than ten minutes;
 * - `invalid_credentials`: the provider refused the code or the client, or what it answered does not check;
 * - `failed_to_connect`, `timeout`: the provider is down, or does not answer in time;
 * - or the provider's own word of RFC 6749, section 4.1.2.1, as `access_denied`.
 */
export type SignInFailure =
  | 'access_denied'
  | 'authenticity_error'
  | 'csrf_detected'
  | 'failed_to_connect'
  | 'invalid_credentials'
  | 'timeout'
  // what other words there are depends on the provider
  | (string & Record<never, never>)

/** What a failure of `openid-client` comes to. */
export function failureOf(error: unknown): SignInFailure {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === 'TimeoutError') return 'timeout'
    // as fetch has it
    if (cause instanceof TypeError && /^(?:fetch failed|terminated)$/.test(cause.message)) return 'failed_to_connect'
  }
  if (statusOf(error) >= 500) return 'failed_to_connect'
  // whoever called the callback may have written it
  if (error instanceof AuthorizationResponseError && /^[a-z_]{1,40}$/.test(error.error)) return error.error
  return 'invalid_credentials'
}

/** Whether the provider said that a grant is over (RFC 6749, section 5.2), and not that it is busy, or ill. */
export function isRefusal(error: unknown): boolean {
  return error instanceof ResponseBodyError && error.error === 'invalid_grant'
}

/** What went wrong, for who runs the application: no token, code or secret is in it, nor what the provider wrote. */
export function detailsOfFailure(error: unknown): string {
  const words: string[] = []
  for (let cause = error; cause instanceof Error && words.length < 4; cause = cause.cause) {
    const { code } = cause as { readonly code?: unknown }
    if (typeof code === 'string') words.push(code)
    // these quote, and so do those of JSON.parse
    if (cause instanceof SyntaxError) continue
    if (!(cause instanceof AuthorizationResponseError || cause instanceof ResponseBodyError)) words.push(cause.message)
    else words.push(/^[\w.-]{1,60}$/.test(cause.error) ? cause.error : cause.name)
  }
  // oxlint-disable-next-line no-control-regex -- which could forge a line of a log
  return [...new Set(words)].join(', ').replace(/[\x00-\x1F\x7F]+/g, ' ')
}

function statusOf(error: unknown): number {
  if (error instanceof ResponseBodyError) return error.status
  // what openid-client says of an answer that is no JSON
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Response ? cause.status : 0
}
