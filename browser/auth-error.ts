/**
 * Why somebody was not signed in, or not signed out at the provider, in the words of `luggage-rack/auth`:
 *
 * - `csrf_detected`: the callback belongs to no login that this tab began and has not finished. It was forged, comes a
 *   second time, or was begun in another tab or browser;
 * - `invalid_credentials`: the provider refused the code or the client, or what it answered does not check;
 * - `failed_to_connect`, `timeout`: the provider is down, does not let this origin ask it (CORS), or takes too long;
 * - `insecure_context`: the page came over plain http, where browsers have no `crypto.subtle`;
 * - `invalid_return_to`: an address of another origin;
 * - or the provider's own word of RFC 6749, section 4.1.2.1, as `access_denied`.
 */
export type AuthFailure =
  | 'access_denied'
  | 'csrf_detected'
  | 'failed_to_connect'
  | 'insecure_context'
  | 'invalid_credentials'
  | 'invalid_return_to'
  | 'timeout'
  // what other words there are depends on the provider
  | (string & Record<never, never>)

/** Its `reason` is for the program, its message for whoever runs it. No token, code or secret is in either. */
export class AuthError extends Error {
  readonly reason: AuthFailure

  constructor(reason: AuthFailure, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'AuthError'
    this.reason = reason
  }
}
