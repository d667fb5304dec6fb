import type { IncomingMessage } from 'node:http'
import { parseCookie, stringifySetCookie, type Cookies } from 'cookie'
import type { RackResponse } from './app.ts'
import { cookiesParse, cookiesSet, type CookiesMessage, type SetCookieMessage } from './channels.ts'
import {
  attributesOf,
  checkAttributes,
  checkCookie,
  isFixed,
  PREFIXED,
  type CookieOptions,
  type SameSite,
} from './cookie-options.ts'
import { decodeCookie, decodeSealed, isEncoded } from './cookie-value.ts'
import { CookieOverflowError, InvalidOptionError, SecretMissingError, SessionCommittedError } from './errors.ts'
import { getHeaderLines, withHeader } from './headers.ts'
import { copyJson, equalJson, type JsonValue } from './json.ts'
import { purposeOf, type Keyring } from './keyring.ts'
import type { OpenedMessage } from './message-codec.ts'
import { hostOf, isSecure } from './request.ts'
import { withDetails } from './trace.ts'
import { warnOnce } from './warning.ts'

/** A jar of cookies: what the browser sent, and what this request wrote. Reads see this request's own writes. */
export interface Jar<Value, Written = Value> extends Iterable<[name: string, value: Value]> {
  /** The cookie's value, or `undefined`. Of several cookies of one name the first counts. */
  get(name: string): Value | undefined
  has(name: string): boolean
  /**
   * Sends a cookie. Setting the value that the browser has, without an expiry, sends nothing.
   *
   * @throws {InvalidOptionError} for a name or attributes that no browser accepts
   * @throws {SessionCommittedError} after the response was made
   * @throws {SessionValueError}, {CookieOverflowError}, {SecretMissingError} in a signed or encrypted jar: the value
   *   is not JSON, takes over 4096 bytes with the name, or there is nothing to seal it with
   */
  set(name: string, value: Written, options?: CookieOptions): this
  /**
   * Makes the browser forget a cookie that it sent; one that it did not send is left alone. The path, domain
   * and partition must be those it was set with, else the browser keeps it.
   *
   * @returns the value that it had
   */
  delete(name: string, options?: CookieOptions): Value | undefined
  /** How many cookies there are. */
  readonly size: number
  /** The cookies as an ordinary object. */
  toObject(): Record<string, Value>
  /** Cookies that the browser can read and nobody can change: any JSON value, with Rails' signature. */
  readonly signed: SealedJar
  /** Cookies that only this application can read: any JSON value, encrypted as Rails does. */
  readonly encrypted: SealedJar
  /** The same jar, whose cookies last 20 years, as Rails has it (browsers cut that to about 400 days). */
  readonly permanent: Jar<Value, Written>
}

/** A jar of signed or encrypted cookies. What was tampered with, or has ended, reads as `undefined`. */
export type SealedJar = Jar<JsonValue, unknown>

/** `req.cookies`. Iterates in the order of the request. */
export type CookieJar = Jar<string>

/** Browsers keep 4096 bytes of a cookie's name and value (RFC 6265bis, section 5.6). */
const MAX_COOKIE_BYTES = 4096

const TWENTY_YEARS = 20 * 365.25 * 24 * 3600 * 1000

/** What a stack's jars share. */
export interface JarConfig {
  readonly keyring: Keyring
  readonly sameSite: SameSite | null | ((req: IncomingMessage) => SameSite | null | undefined)
  readonly clock: () => number
}

/** What a Set-Cookie line can name. */
const NAME = /^[!-:<>-~]+$/

const AS_IS = { decode: (value: string): string => value }

/** The jar of one request. The header is not parsed until somebody looks, and a value not decoded until read. */
export class RequestJar implements CookieJar {
  readonly config: JarConfig
  readonly #req: IncomingMessage
  #sent: Cookies | undefined
  #written: Map<string, string | undefined> | undefined
  #lines: Map<string, string> | undefined
  #committed = false

  constructor(req: IncomingMessage, config: JarConfig) {
    this.#req = req
    this.config = config
  }

  /** A jar with the same keys, of a request without cookies. What is written into it is not sent. */
  static emptyOf(jar: RequestJar): RequestJar {
    const { cookie: _, ...headers } = jar.#req.headers
    return new RequestJar(Object.create(jar.#req, { headers: { value: headers } }) as IncomingMessage, jar.config)
  }

  get(name: string): string | undefined {
    if (this.#written?.has(name)) return this.#written.get(name)
    const raw = this.#cookies()[name]
    return raw === undefined ? undefined : decodeCookie(raw)
  }

  /** As `get`, for a value that has one spelling only. */
  getSealed(name: string): string | undefined {
    if (this.#written?.has(name)) return this.#written.get(name)
    const raw = this.#cookies()[name]
    return raw === undefined ? undefined : decodeSealed(raw)
  }

  has(name: string): boolean {
    return this.get(name) !== undefined
  }

  /** Whether the browser sent a cookie of this name. */
  sent(name: string): boolean {
    return this.#cookies()[name] !== undefined
  }

  /** Whether this request wrote a cookie of this name. */
  written(name: string): boolean {
    return this.#written?.has(name) === true
  }

  /**
   * The values that the browser sent under one name, as they stood in the header, the first `limit` of them:
   * a subdomain can toss a cookie of the same name before ours.
   */
  rawValues(name: string, limit: number): string[] {
    const first = this.#cookies()[name]
    if (first === undefined) return []
    const header = this.#req.headers.cookie ?? ''
    // without the equals sign, before which there may be spaces
    if (header.indexOf(name, header.indexOf(name) + 1) === -1) return [first]
    const values: string[] = []
    for (const pair of header.split(';')) {
      const value = parseCookie(pair, AS_IS)[name]
      if (value !== undefined && values.push(value) === limit) break
    }
    return values
  }

  /** @throws what `set` would throw for its name and options */
  check(name: string, options: CookieOptions): void {
    this.#mayWrite(name)
    checkCookie(name, options, this.#sameSiteOf(options))
  }

  set(name: string, value: string, options: CookieOptions = {}): this {
    if (typeof value !== 'string') {
      throw new TypeError(
        `The cookie ${name} takes a string. For other values use cookies.signed or cookies.encrypted.`,
      )
    }
    this.check(name, options)
    this.put(name, value, options)
    return this
  }

  /** As `set`, for what `check` has passed. */
  put(name: string, value: string, options: CookieOptions): void {
    this.#mayWrite(name)
    const persists = options.expires !== undefined || options.maxAge !== undefined
    if (persists || this.written(name) || !isEncoded(this.#cookies()[name], value)) {
      this.#write(name, value, options, this.#sameSiteOf(options))
    }
  }

  delete(name: string, options: CookieOptions = {}): string | undefined {
    this.#mayWrite(name)
    const value = this.get(name)
    // what only a hostile client calls a cookie is no reason for an error in a loop that deletes all
    if ((value !== undefined || this.sent(name)) && NAME.test(name)) this.expire(name, options)
    return value
  }

  /** Makes the browser forget a cookie, whether or not it was sent. */
  expire(name: string, options: CookieOptions): void {
    this.#mayWrite(name)
    const sameSite = this.#sameSiteOf(options)
    // else the browser would drop the line, and keep the cookie
    const secure = options.secure === true || options.partitioned === true || sameSite === 'none' || PREFIXED.test(name)
    const ended = { ...options, secure, maxAge: 0, expires: new Date(0) }
    checkAttributes(name, ended, sameSite)
    this.#write(name, undefined, ended, sameSite)
  }

  get size(): number {
    return this.names().length
  }

  *[Symbol.iterator](): IterableIterator<[name: string, value: string]> {
    for (const name of this.names()) yield [name, this.get(name) as string]
  }

  toObject(): Record<string, string> {
    return Object.fromEntries(this)
  }

  get signed(): SealedJar {
    return new ChainedJar<JsonValue, unknown>(this, 'signed', false)
  }

  get encrypted(): SealedJar {
    return new ChainedJar<JsonValue, unknown>(this, 'encrypted', false)
  }

  get permanent(): Jar<string> {
    return new ChainedJar<string, string>(this, 'plain', true)
  }

  /** The names of the cookies that there are, in the order of the request. */
  names(): string[] {
    const names = new Set<string>()
    // an object would list names that are numbers first
    for (const pair of (this.#req.headers.cookie ?? '').split(';')) {
      for (const name in parseCookie(pair, AS_IS)) names.add(name)
    }
    for (const [name, value] of this.#written ?? []) {
      if (value === undefined) names.delete(name)
      else names.add(name)
    }
    return [...names]
  }

  /** The response with the cookies that were written. From now on writes throw. */
  commit(response: RackResponse): RackResponse {
    this.#committed = true
    if (this.#lines === undefined || this.#lines.size === 0) return response
    if (cookiesSet.hasSubscribers) for (const line of this.#lines.values()) this.#publish(line)
    const [status, headers, body] = response
    const lines = [...getHeaderLines(headers, 'set-cookie'), ...this.#lines.values()]
    return [status, withHeader(headers, 'set-cookie', lines), body]
  }

  /** From now on writes throw; nothing was sent. */
  close(): void {
    this.#committed = true
  }

  #cookies(): Cookies {
    if (this.#sent === undefined) {
      const header = this.#req.headers.cookie ?? ''
      this.#sent = parseCookie(header, AS_IS)
      if (cookiesParse.hasSubscribers) {
        const count = Object.keys(this.#sent).length
        const message: CookiesMessage = { req: this.#req, count, bytes: header.length }
        cookiesParse.publish(withDetails(message, header))
      }
    }
    return this.#sent
  }

  #publish(line: string): void {
    const pair = line.split(';', 1)[0] as string
    const name = pair.slice(0, pair.indexOf('='))
    const expires = this.#written?.get(name) === undefined
    const message: SetCookieMessage = { req: this.#req, name, bytes: pair.length - 1, expires }
    cookiesSet.publish(withDetails(message, line))
  }

  #sameSiteOf({ sameSite }: CookieOptions): SameSite | null {
    if (sameSite !== undefined) return sameSite
    const { sameSite: usual } = this.config
    return (typeof usual === 'function' ? usual(this.#req) : usual) ?? null
  }

  #mayWrite(name: string): void {
    if (this.#committed) throw new SessionCommittedError(`The cookie ${name} was written`)
  }

  #write(name: string, value: string | undefined, options: CookieOptions, sameSite: SameSite | null): void {
    const end = lineEndOf(this.#req, name, options, sameSite)
    const line = `${name}=${refusing(name, () => encodeURIComponent(value ?? ''))}${end.text}`
    ;(this.#written ??= new Map()).set(name, value)
    this.#lines ??= new Map()
    const { identity } = end
    if (options.secure === true && value !== undefined && !this.#maySendSecure()) {
      this.#lines.delete(identity)
      warnOnce(
        'LUGGAGE_RACK_SECURE_COOKIE',
        `The cookie ${name} is secure and the request came over plain http, so it was not sent. ` +
          'Behind a proxy that ends TLS, say whom to trust with forwarded({ trust }).',
      )
      return
    }
    this.#lines.set(identity, line)
  }

  /** An onion service is encrypted without TLS, as Rails has it. */
  #maySendSecure(): boolean {
    return isSecure(this.#req) || hostOf(this.#req).endsWith('.onion')
  }
}

/** A jar that leads to a request's jar: through a seal, or with a long life, or both. */
class ChainedJar<Value extends JsonValue, Written> implements Jar<Value, Written> {
  readonly #jar: RequestJar
  readonly #kind: 'plain' | 'signed' | 'encrypted'
  readonly #permanent: boolean

  constructor(jar: RequestJar, kind: 'plain' | 'signed' | 'encrypted', permanent: boolean) {
    this.#jar = jar
    this.#kind = kind
    this.#permanent = permanent
  }

  get(name: string): Value | undefined {
    if (this.#kind === 'plain') return this.#jar.get(name) as Value | undefined
    return this.#open(name)?.value as Value | undefined
  }

  has(name: string): boolean {
    return this.get(name) !== undefined
  }

  set(name: string, value: Written, options: CookieOptions = {}): this {
    const { clock } = this.#jar.config
    const lasting = this.#permanent ? { ...options, expires: new Date(clock() + TWENTY_YEARS) } : options
    if (this.#kind === 'plain') {
      this.#jar.set(name, value as string, lasting)
      return this
    }
    this.#jar.check(name, lasting)
    const content = copyJson(value, `cookies.${this.#kind}.${name}`)
    const { maxAge, expires } = lasting
    const expiresAt = maxAge === undefined ? expires?.getTime() : clock() + maxAge * 1000
    if (expiresAt === undefined && this.#isSealed(name, content)) return this
    const message = this.#seal(content, { purpose: purposeOf(name), expiresAt })
    checkSize(name, message, content)
    this.#jar.set(name, message, lasting)
    return this
  }

  delete(name: string, options?: CookieOptions): Value | undefined {
    const value = this.get(name)
    this.#jar.delete(name, options)
    return value
  }

  get size(): number {
    return [...this].length
  }

  *[Symbol.iterator](): IterableIterator<[name: string, value: Value]> {
    for (const name of this.#jar.names()) {
      const value = this.get(name)
      if (value !== undefined) yield [name, value]
    }
  }

  toObject(): Record<string, Value> {
    return Object.fromEntries(this)
  }

  get signed(): SealedJar {
    return new ChainedJar<JsonValue, unknown>(this.#jar, 'signed', this.#permanent)
  }

  get encrypted(): SealedJar {
    return new ChainedJar<JsonValue, unknown>(this.#jar, 'encrypted', this.#permanent)
  }

  get permanent(): Jar<Value, Written> {
    return new ChainedJar<Value, Written>(this.#jar, this.#kind, true)
  }

  #seal(value: JsonValue, options: { purpose: string; expiresAt: number | undefined }): string {
    const { keyring } = this.#jar.config
    return this.#kind === 'signed'
      ? keyring.verifier.generate(value, options)
      : keyring.encryptor.encryptAndSign(value, options)
  }

  #open(name: string): OpenedMessage | undefined {
    const { keyring, clock } = this.#jar.config
    if (!keyring.hasSecret) throw new SecretMissingError()
    const message = this.#jar.getSealed(name)
    if (message === undefined) return undefined
    const kind = this.#kind === 'signed' ? 'signed' : 'encrypted'
    return keyring.openMessage(kind, message, { purpose: purposeOf(name), now: clock() })
  }

  /** Whether the browser has this value without an expiry: sealed again, it would look like another. */
  #isSealed(name: string, value: JsonValue): boolean {
    // one that was sealed for no purpose is sealed anew
    if (this.#kind !== 'encrypted' || !this.#jar.config.keyring.requirePurpose || this.#jar.written(name)) return false
    const opened = this.#open(name)
    if (opened === undefined || opened.keyIndex > 0 || opened.expiresAt !== undefined) return false
    return equalJson(opened.value as JsonValue, value)
  }
}

/**
 * Refuses a sealed cookie that browsers would drop.
 *
 * @throws {CookieOverflowError} it names the size and the largest keys, never a value
 */
export function checkSize(name: string, message: string, content: JsonValue): void {
  // the three characters of base64 that are escaped take three bytes each
  let size = name.length + message.length
  if (size * 3 <= MAX_COOKIE_BYTES) return
  size = name.length + encodeURIComponent(message).length
  if (size <= MAX_COOKIE_BYTES) return
  const sizes = Object.entries(typeof content === 'object' && content !== null ? content : {})
    .map(([key, value]) => ({ key, bytes: Buffer.byteLength(JSON.stringify(key) + JSON.stringify(value)) }))
    .toSorted((a, b) => b.bytes - a.bytes)
  const largest = sizes.slice(0, 3).map(({ key, bytes }) => `${shorten(key)} (${bytes} bytes)`)
  throw new CookieOverflowError(name, size, largest)
}

function shorten(key: string): string {
  return key.length > 50 ? `${key.slice(0, 50)}…` : key
}

/** What stands after the value in a Set-Cookie line. */
interface LineEnd {
  readonly text: string
  /** What a browser tells cookies apart by: name, domain, path and partitioned (RFC 6265, section 5.3, and CHIPS). */
  readonly identity: string
}

/** The ends of lines whose options are the same object each time, as the session's are. */
const fixedEnds = new WeakMap<CookieOptions, LineEnd>()

/** @throws {InvalidOptionError} what only a hostile client calls a cookie, or a function gave a domain that is none */
function lineEndOf(req: IncomingMessage, name: string, options: CookieOptions, sameSite: SameSite | null): LineEnd {
  const known = fixedEnds.get(options)
  if (known !== undefined) return known
  const attributes = attributesOf(req, options, sameSite)
  const { domain, path, partitioned } = attributes
  const text = refusing(name, () => stringifySetCookie({ ...attributes, name, value: '' })).slice(name.length + 1)
  const identity = `${name};${domain?.replace(/^\./, '').toLowerCase() ?? ''};${path};${partitioned}`
  const end = { text, identity }
  // not those whose domain depends on the host
  if (isFixed(options) && options.domain === domain) fixedEnds.set(options, end)
  return end
}

/** @throws {InvalidOptionError} for half a surrogate pair, and for what only a hostile client calls a cookie */
function refusing(name: string, write: () => string): string {
  try {
    return write()
  } catch {
    throw new InvalidOptionError(`The cookie ${JSON.stringify(name)} has a name or a value that no header can carry.`)
  }
}
