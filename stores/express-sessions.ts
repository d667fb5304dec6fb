import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { InvalidOptionError, StoreFailedError } from '../lib/errors.ts'
import type { SessionData } from '../lib/session-hash.ts'
import { SessionId } from '../lib/session-id.ts'
import type { LoadedSession, SessionStore, StoreContext } from '../lib/session-store.ts'
import { DEFAULT_TTL } from './abstract-store.ts'
import { askExpressStore, checkExpressStore, findInExpressStore } from './express-answer.ts'
import type { ExpressSessionStore } from './express-store.ts'

export interface ExpressSessionsOptions {
  /** The store that express-session was given. */
  store: ExpressSessionStore
  /** The secret that it was given; of a list, any. */
  secret: string | readonly string[]
  /** Milliseconds that the store may take before a call fails with `ERR_STORE_TIMEOUT`. Default 1000. */
  deadline?: number | undefined
}

/**
 * The sessions that express-session wrote, for a move to here on which nobody is signed out: each is brought over when
 * its visitor comes, and removed from the old store.
 *
 * ```ts
 * session({ store, retired: [{ key: 'connect.sid', store: new ExpressSessions({ store: oldStore, secret }) }] })
 * ```
 *
 * The data is what express-session had in `req.session` besides `cookie`, as JSON. It reads, and never writes.
 *
 * @throws `ERR_STORE_TIMEOUT`, or whatever error the store called back with
 */
export class ExpressSessions implements SessionStore {
  readonly ttl: number = DEFAULT_TTL
  readonly #store: ExpressSessionStore
  readonly #secrets: readonly string[]
  readonly #deadline: number

  /** @throws {InvalidOptionError} */
  constructor({ store, secret, deadline = 1000 }: ExpressSessionsOptions) {
    checkExpressStore('ExpressSessions', store, deadline)
    this.#store = store
    this.#secrets = [secret].flat()
    this.#deadline = deadline
    if (this.#secrets.length === 0 || !this.#secrets.every((one) => typeof one === 'string' && one !== '')) {
      throw new InvalidOptionError('ExpressSessions({ secret }) takes the secret that express-session was given.')
    }
  }

  async fromCookie(_req: IncomingMessage, cookie: string, { now }: StoreContext): Promise<LoadedSession | undefined> {
    const id = this.#idIn(cookie)
    if (id === undefined) return undefined
    const found = await findInExpressStore(this.#store, id, this.#deadline)
    if (typeof found !== 'object' || found === null) return undefined
    // as it would have come back from a store that keeps text
    const { cookie: attributes, ...data } = JSON.parse(JSON.stringify(found)) as SessionData & {
      cookie?: { expires?: string | null } | null
    }
    const expires = attributes?.expires
    const expiresAt = typeof expires === 'string' ? Date.parse(expires) : undefined
    if (expiresAt !== undefined && !(expiresAt > now)) return undefined
    return { sid: SessionId.generate(), data, createdAt: 0, expiresAt }
  }

  async toCookie(): Promise<never> {
    throw new StoreFailedError(
      'ExpressSessions reads what express-session wrote, and writes nothing: it belongs into session({ retired }).',
    )
  }

  async forgetCookie(_req: IncomingMessage, cookie: string): Promise<void> {
    const id = this.#idIn(cookie)
    if (id === undefined) return
    const store = this.#store
    await askExpressStore(this.#deadline, store.destroy.length >= 2, (callback) => store.destroy(id, callback))
  }

  /** `s:ID.SIGNATURE`, base64 without padding of an HMAC-SHA256. What is not signed is no id. */
  #idIn(cookie: string): string | undefined {
    const dot = cookie.lastIndexOf('.')
    if (!cookie.startsWith('s:') || dot < 3) return undefined
    const id = cookie.slice(2, dot)
    const given = Buffer.from(cookie.slice(dot + 1))
    for (const secret of this.#secrets) {
      const expected = Buffer.from(createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, ''))
      if (given.length === expected.length && timingSafeEqual(given, expected)) return id
    }
    return undefined
  }
}
