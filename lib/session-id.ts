import * as crypto from 'node:crypto'
import { inspect } from 'node:util'
import { randomBytes } from './random-pool.ts'

// from 20.12 on node has it in one call, in half the time
const sha256: (text: string) => string =
  typeof crypto.hash === 'function'
    ? (text) => crypto.hash('sha256', text)
    : (text) => crypto.createHash('sha256').update(text).digest('hex')

const PUBLIC_ID = /^[0-9a-f]{32}$/

/**
 * A session's id, as Rack's: the browser knows the public one, a store only ever sees the private one, so
 * that nobody who reads the store can present what he finds as a cookie.
 */
export class SessionId {
  /** What the cookie carries: 128 random bits as 32 hexadecimal digits (OWASP asks for 64 bits or more). */
  get publicId(): string {
    return this.#publicId
  }

  // private, so that nothing that prints an object shows it
  readonly #publicId: string
  #privateId: string | undefined

  constructor(publicId: string) {
    this.#publicId = publicId
  }

  /** A new id. Ids are never reused. */
  static generate(): SessionId {
    return new SessionId(randomBytes(16).toString('hex'))
  }

  /** The id in a cookie, or `undefined` when the value is no id; such a value reaches no store. */
  static parse(cookie: string): SessionId | undefined {
    return PUBLIC_ID.test(cookie) ? new SessionId(cookie) : undefined
  }

  /**
   * The id, always the same, of a session that comes out of another store: so that of several requests at once each
   * brings over the same one. Nobody can make it who has not the cookie itself.
   *
   * @param name of the cookie
   * @param cookie its value
   */
  static derive(name: string, cookie: string): SessionId {
    return new SessionId(sha256(`luggage-rack retired cookie\0${name}\0${cookie}`).slice(0, 32))
  }

  /** An id of which only the private part is known, as a store lists them. Its `publicId` is empty. */
  static ofPrivate(privateId: string): SessionId {
    const sid = new SessionId('')
    sid.#privateId = privateId
    return sid
  }

  /** `2::` and the SHA-256 of the public id in hexadecimal: the key in a store. */
  get privateId(): string {
    return (this.#privateId ??= `2::${sha256(this.#publicId)}`)
  }

  /** The private id, so that no log holds one that opens a session. */
  toString(): string {
    return this.privateId
  }

  toJSON(): string {
    return this.privateId
  }
}

// what console.log shows of it
Object.defineProperty(SessionId.prototype, inspect.custom, {
  value(this: SessionId): string {
    return `SessionId ${this.privateId}`
  },
})
