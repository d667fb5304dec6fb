/**
 * Every error that luggage-rack itself throws has a stable `code`; its message says what to do. No message
 * holds a secret, a session id or session data.
 */
export class RackError extends Error {
  readonly code: string
  /**
   * For a fault of the request, and not of the application: the status, from 400 to 499, that the listener and
   * `showExceptions()` answer with.
   */
  declare readonly status?: number

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** `ERR_INVALID_OPTION`: an option, or a combination of options, that cannot work. Change the option it names. */
export class InvalidOptionError extends RackError {
  constructor(message: string) {
    super('ERR_INVALID_OPTION', message)
  }
}

/** `ERR_STACK_ORDER`: a layer needs what no layer above it adds. `use` the layer it names first. */
export class StackOrderError extends RackError {
  constructor(message: string) {
    super('ERR_STACK_ORDER', message)
  }
}

/** `ERR_SECRET_MISSING`: something is to be signed or encrypted, and `cookies()` was given no secret. */
export class SecretMissingError extends RackError {
  constructor() {
    super(
      'ERR_SECRET_MISSING',
      'cookies() has no secret to sign and encrypt with. Pass one of at least 32 characters, for example ' +
        'cookies({ secret: process.env.SECRET_KEY_BASE }), and see that the variable is set.',
    )
  }
}

/** `ERR_SECRET_TOO_SHORT`: a secret of fewer than 32 characters (bytes) can be guessed. Make a longer one. */
export class SecretTooShortError extends RackError {
  constructor(length: number) {
    super(
      'ERR_SECRET_TOO_SHORT',
      `A secret must have at least 32 characters, and this one has ${length}. Make one with: ` +
        `node -p "require('node:crypto').randomBytes(64).toString('hex')"`,
    )
  }
}

/** `ERR_COOKIE_OVERFLOW`: a signed or encrypted cookie is larger than 4096 bytes, which browsers drop. Store less. */
export class CookieOverflowError extends RackError {
  constructor(name: string, size: number, largest: readonly string[]) {
    const keys = largest.length > 0 ? ` Its largest keys: ${largest.join(', ')}.` : ''
    super(
      'ERR_COOKIE_OVERFLOW',
      `The cookie ${name} would take ${size} bytes, and browsers keep at most 4096.${keys} ` +
        'Keep less in it, or keep the session in a server-side store.',
    )
  }
}

/** `ERR_SESSION_NOT_AWAITED`: a key was set on `req.session` itself. Write `const session = await req.session`. */
export class SessionNotAwaitedError extends RackError {
  constructor(key: string) {
    super(
      'ERR_SESSION_NOT_AWAITED',
      `"${key}" was set on req.session, which is a handle and not the hash. Await it first: ` +
        'const session = await req.session',
    )
  }
}

/**
 * `ERR_SESSION_COMMITTED`: the session or the cookie jar was written, or the session first awaited, after the
 * response was made, when nothing can be sent any more. Do it before the controller returns.
 */
export class SessionCommittedError extends RackError {
  constructor(what: string) {
    super(
      'ERR_SESSION_COMMITTED',
      `${what} after the response was made, when it can no longer be saved or sent. ` +
        'Do it before the controller returns its response.',
    )
  }
}

/** `ERR_SESSION_DESTROYED`: the session was written after `req.session.destroy()`. Use `reset()` to go on with a new one. */
export class SessionDestroyedError extends RackError {
  constructor() {
    super(
      'ERR_SESSION_DESTROYED',
      'The session was destroyed in this request and takes no more writes. To go on with a new one, ' +
        'call req.session.reset() instead of destroy().',
    )
  }
}

/**
 * `ERR_SESSION_UNAVAILABLE`: the store failed, the session reads as empty because of
 * `onStoreError: 'anonymous'`, and a write was refused rather than lost. `cause` is the store's error.
 */
export class SessionUnavailableError extends RackError {
  constructor(cause: unknown) {
    super(
      'ERR_SESSION_UNAVAILABLE',
      'The session store failed, so this request has no session to write to. See the cause.',
      { cause },
    )
  }
}

/** `ERR_INVALID_RESPONSE`: an app returned what is not `[status, headers, body]`, or a body of something else than text and bytes. */
export class InvalidResponseError extends RackError {
  constructor(message: string) {
    super('ERR_INVALID_RESPONSE', message)
  }
}

/**
 * `ERR_FORM_TOO_LARGE` (413): the body of a form is larger than `form({ limit })`. Raise the limit, if such forms
 * are meant to be sent.
 */
export class FormTooLargeError extends RackError {
  override readonly status = 413

  constructor(limit: number) {
    super(
      'ERR_FORM_TOO_LARGE',
      `The form is larger than ${limit} bytes. If forms of this size are meant to be sent, raise form({ limit }).`,
    )
  }
}

/**
 * `ERR_FORM_INCOMPLETE` (400): the client went away, or its body broke off, before the form was read. There is
 * nothing to do.
 */
export class FormIncompleteError extends RackError {
  override readonly status = 400

  constructor(cause?: unknown) {
    super('ERR_FORM_INCOMPLETE', 'The client sent only a part of the form.', { cause })
  }
}

/** `ERR_FORM_UNSUPPORTED` (415): the form came compressed (`content-encoding`), which no browser does. */
export class FormUnsupportedError extends RackError {
  override readonly status = 415

  constructor() {
    super('ERR_FORM_UNSUPPORTED', 'The form has a content-encoding. Send it without.')
  }
}

/** `ERR_FORM_TAKEN`: something else has read the body before `req.form()` was called. Call it first. */
export class FormTakenError extends RackError {
  constructor() {
    super(
      'ERR_FORM_TAKEN',
      'The body was read already, so req.form() has nothing to read. Put form() above whatever reads the body, ' +
        'and await req.form() before it.',
    )
  }
}

/**
 * `ERR_CSRF` (422, as in Rails): a request that changes something came from another site, or without a token
 * that shows that it did not. The message gives the reason. In a form of your own, send the token of
 * `await req.csrfToken()` as `authenticity_token`, or in the header `x-csrf-token`; name other sites that may
 * send requests in `csrf({ trustedOrigins })`.
 */
export class CsrfError extends RackError {
  override readonly status = 422

  constructor(reason: string) {
    super('ERR_CSRF', reason)
  }
}

/**
 * `ERR_TOKEN_OVERFLOW`: the tokens that `openid({ keep })` names do not fit a session in a cookie. The message gives the
 * size of each. Keep the session in a store, or fewer of them.
 */
export class TokenOverflowError extends RackError {
  constructor(sizes: readonly (readonly [token: string, bytes: number])[]) {
    super(
      'ERR_TOKEN_OVERFLOW',
      `The tokens do not fit the session's cookie: ${sizes.map(([name, size]) => `${name} has ${size} bytes`).join(', ')}, and ` +
        'it holds about 2,000 bytes of JSON in all. Keep the session in a store (RedisStore, SqliteStore), or name fewer ' +
        'of them in openid({ keep }).',
    )
  }
}

/**
 * `ERR_RETURN_ADDRESS` (400): the browser was to come back from signing out to an address that is not allowed. Name it
 * in `openid({ returnTo })`, and have the provider know it too.
 */
export class ReturnAddressError extends RackError {
  override readonly status = 400

  constructor() {
    super(
      'ERR_RETURN_ADDRESS',
      'The browser may not be sent to this address after signing out. Name it in openid({ returnTo }), as it is written ' +
        'in the registration of the application with the provider.',
    )
  }
}

/**
 * `ERR_PROVIDER_UNAVAILABLE`: the token that the session ends with is over, and the provider could not be asked for
 * another one. The session was left as it is; `cause` says what happened.
 */
export class ProviderUnavailableError extends RackError {
  constructor(provider: string, cause: Error) {
    super(
      'ERR_PROVIDER_UNAVAILABLE',
      `The token of the session is over, and the provider ${provider} could not be asked for another one. ` +
        'Try again when it is up; the session was left as it is.',
      { cause },
    )
  }
}

/** `ERR_LINT`: an app or a layer broke a rule of the response or the request. The message names the rule. */
export class LintError extends RackError {
  constructor(message: string) {
    super('ERR_LINT', message)
  }
}

/**
 * `ERR_SESSION_VALUE`: a value that JSON cannot carry was put into the session, or into a sealed cookie.
 * The message names its path. Convert it (a Date to a string, a Map to an object).
 */
export class SessionValueError extends TypeError {
  readonly code = 'ERR_SESSION_VALUE'

  constructor(path: string, what: string) {
    super(
      `${path} is ${what}, which JSON cannot carry. Store strings, numbers, booleans, null, lists and plain objects.`,
    )
    this.name = 'SessionValueError'
  }
}

/**
 * `ERR_STORE_TIMEOUT`: a store did not answer in time. What it was asked to write may be written or not. See
 * whether it is up and how long it takes, or raise the store's `deadline`.
 */
export class StoreTimeoutError extends RackError {
  constructor(store: string, milliseconds: number) {
    super(
      'ERR_STORE_TIMEOUT',
      `${store} did not answer within ${milliseconds} ms. The outcome is unknown: what it was asked to write may ` +
        'be written or not. See whether it is up, or raise the deadline of the store.',
    )
  }
}

/** `ERR_STORE_FAILED`: a store refused or broke off; `cause` is its own error. Look there. */
export class StoreFailedError extends RackError {
  constructor(message: string, cause?: unknown) {
    super('ERR_STORE_FAILED', message, { cause })
  }
}

/**
 * `ERR_STORE_CORRUPT`: what stands under a session's key is no session. It was left as it is. See that nothing
 * else writes there; the message says how to find it. It never quotes what was found.
 */
export class StoreCorruptError extends RackError {
  constructor(message: string) {
    super('ERR_STORE_CORRUPT', message)
  }
}

/**
 * `ERR_STORE_LOCKED`: a SQLite file was locked by another connection for the whole deadline. Nothing was read or
 * written. Look for a long transaction, or raise the store's `deadline`.
 */
export class StoreLockedError extends RackError {
  constructor(milliseconds: number) {
    super(
      'ERR_STORE_LOCKED',
      `The SQLite database was locked for ${milliseconds} ms, and nothing was read or written. Look for a long ` +
        'transaction: a batch job, VACUUM, a shell with an open BEGIN; or raise the deadline of SqliteStore.',
    )
  }
}

/** `ERR_STORE_TOO_LARGE`: a session is larger than the store keeps. Keep less in it. */
export class StoreTooLargeError extends RackError {
  constructor(message: string) {
    super('ERR_STORE_TOO_LARGE', message)
  }
}
