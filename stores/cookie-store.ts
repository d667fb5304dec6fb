import type { IncomingMessage } from 'node:http'
import { isPromise, type Awaitable } from '../lib/app.ts'
import { cookieOpen, type OpenMessage, type RefusalReason } from '../lib/channels.ts'
import { checkSize } from '../lib/cookie-jar.ts'
import { decodeSealed } from '../lib/cookie-value.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { putJson, type JsonValue } from '../lib/json.ts'
import type { SessionData } from '../lib/session-hash.ts'
import { SessionId } from '../lib/session-id.ts'
import type {
  LoadedSession,
  OpenedSeal,
  SavedSession,
  Sealer,
  SessionStore,
  StoreContext,
} from '../lib/session-store.ts'
import { withDetails } from '../lib/trace.ts'
import { checkTtl, DEFAULT_TTL, type StoreOptions } from './abstract-store.ts'

export interface CookieStoreOptions extends StoreOptions {
  /**
   * What seals the cookie. Default: Rails' format (7.1 and later), with the secret of `cookies()`. Of a list the first
   * seals and all open; what another one opened is sealed anew: `[railsSealer({ secret }), ironSealer({ password })]`.
   */
  sealer?: Sealer | readonly Sealer[] | undefined
  /**
   * The one way to end a cookie session before its time: gives the time of the owner's last sign-out everywhere, a
   * Date or milliseconds since 1970, and sessions created before it are refused; `undefined` refuses none. A time
   * that is none (NaN) refuses all. Without it a cookie that was copied is good until it ends, whatever the server does.
   *
   * - Needs `session({ owner })`, and is given what stands under that key. A session without it is not asked for, and
   *   cannot be revoked.
   * - Asked at each load, so a query to the application's database for each request that awaits its session: answer
   *   from a cache where that is too much. What it throws or rejects with is a store that fails (`onStoreError`).
   * - A session is created when it is first written, and again when its owner changes, so whoever signs in after that
   *   time is let in; neither a change, `renew()` nor the idle time moves it. One that carries no such time, as those
   *   of Rails and iron-session, counts as the oldest.
   * - The times are of this server's clock. Where several differ, give a time that is later by the difference.
   */
  revokedSince?: (owner: JsonValue) => Awaitable<number | Date | undefined>
}

/** Inside the sealed payload, as in Rails, and beside it ours, which Rails carries along. */
const ID = 'session_id'
const CREATED_AT = '_created_at'

/** The end of the year 9999. */
const LAST_MOMENT = 253402300799999

/**
 * The session in the browser, encrypted: no infrastructure, and nothing on the server. So there is nothing to list and
 * nothing to revoke; of concurrent requests the last one wins, and no changes are merged; and whoever keeps an old
 * cookie can send it again until it ends, also after a sign-out, so put no counters, balances or single-use values in
 * it. `revokedSince` refuses what is older than a sign-out. It holds about 2,000 bytes of JSON.
 */
export class CookieStore implements SessionStore {
  readonly ttl: number
  readonly inCookie = true
  readonly takesRaw = true
  readonly needs: readonly string[]
  readonly needsOwner: boolean
  readonly #sealer: Sealer | undefined
  readonly #revokedSince: CookieStoreOptions['revokedSince']

  constructor({ sealer, ttl = DEFAULT_TTL, revokedSince }: CookieStoreOptions = {}) {
    this.ttl = checkTtl(ttl)
    this.needs = sealer ? [] : ['cookies.secret']
    this.#sealer = sealer && sealerOf(sealer)
    this.needsOwner = revokedSince !== undefined
    this.#revokedSince = revokedSince
  }

  fromCookie(req: IncomingMessage, cookie: string, context: StoreContext): Awaitable<LoadedSession | undefined> {
    const { key, now } = context
    const sealer = this.#sealer ?? context.sealer
    const opened = sealer.openRaw ? sealer.openRaw(cookie, key, now) : openDecoded(sealer, cookie, key, now)
    const read = (seal: OpenedSeal | undefined): Awaitable<LoadedSession | undefined> => {
      if (cookieOpen.hasSubscribers) publishOpen(req, cookie, context, sealer, seal)
      return this.#read(seal, context)
    }
    return isPromise(opened) ? Promise.resolve(opened).then(read) : read(opened)
  }

  toCookie(_req: IncomingMessage, session: SavedSession, context: StoreContext): Awaitable<string> {
    const payload: SessionData = { [ID]: session.sid.publicId }
    for (const name in session.data) putJson(payload, name, session.data[name])
    payload[CREATED_AT] = session.createdAt
    const sealed = (this.#sealer ?? context.sealer).seal(payload, context.key, session.expiresAt)
    const checked = (value: string): string => {
      checkSize(context.key, value, session.data)
      return value
    }
    return isPromise(sealed) ? Promise.resolve(sealed).then(checked) : checked(sealed)
  }

  /** There is nothing to remove: the browser is told to forget the cookie. */
  forgetCookie(): void {}

  #read(seal: OpenedSeal | undefined, { owner }: StoreContext): Awaitable<LoadedSession | undefined> {
    if (seal === undefined) return undefined
    const { payload, expiresAt, retired } = seal
    const id = payload[ID]
    // Rails takes a payload without an id for no session of its own
    if (id === undefined || id === null || id === false) return undefined
    const createdAt = payload[CREATED_AT]
    const session: LoadedSession = {
      sid: typeof id === 'string' && id !== '' ? new SessionId(id) : SessionId.generate(),
      data: createdAt === undefined ? withoutNull(payload) : payload,
      createdAt: isTime(createdAt) ? createdAt : 0,
      expiresAt,
      retired,
    }
    const whose = owner === undefined ? undefined : payload[owner]
    if (this.#revokedSince === undefined || whose === undefined || whose === null) return session
    const since = this.#revokedSince(whose)
    const unlessRevoked = (time: number | Date | undefined): LoadedSession | undefined =>
      // what is no time refuses, too
      time === undefined || session.createdAt >= Number(time) ? session : undefined
    return isPromise(since) ? Promise.resolve(since).then(unlessRevoked) : unlessRevoked(since)
  }
}

function publishOpen(
  req: IncomingMessage,
  cookie: string,
  { key, now }: StoreContext,
  sealer: Sealer,
  seal: OpenedSeal | undefined,
): void {
  const isOpened = seal !== undefined
  const reason: RefusalReason | undefined = isOpened ? undefined : (sealer.whyRefused?.(cookie, key, now) ?? 'other')
  const retired = seal?.retired === true
  const message: OpenMessage = { req, key, outcome: isOpened ? 'opened' : 'refused', reason, retired }
  cookieOpen.publish(withDetails(message, cookie))
}

function openDecoded(sealer: Sealer, raw: string, key: string, now: number): ReturnType<Sealer['open']> {
  const text = decodeSealed(raw)
  return text === undefined ? undefined : sealer.open(text, key, now)
}

/** Whether it is a moment that Rails' format can write; what is none counts as the oldest. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= LAST_MOMENT
}

/** @throws {InvalidOptionError} what is given is no sealer, nor a list of them */
function sealerOf(sealer: Sealer | readonly Sealer[]): Sealer {
  const list = [sealer].flat()
  const [first, ...others] = list
  if (first === undefined || list.some((one) => typeof one?.seal !== 'function' || typeof one.open !== 'function')) {
    throw new InvalidOptionError(
      'CookieStore({ sealer }) takes a sealer, as ironSealer({ password }), or a list of them.',
    )
  }
  if (others.length === 0) return first
  return {
    seal: (payload, name, expiresAt) => first.seal(payload, name, expiresAt),
    open: async (value, name, now) => {
      const opened = await first.open(value, name, now)
      if (opened !== undefined) return opened
      for (const other of others) {
        // oxlint-disable-next-line no-await-in-loop -- the second only if the first does not open
        const older = await other.open(value, name, now)
        if (older !== undefined) return { ...older, retired: true }
      }
      return undefined
    },
  }
}

/** A session of Rails, which has no nil at its first level: it neither writes nor reads one. */
function withoutNull(payload: SessionData): SessionData {
  return Object.fromEntries(Object.entries(payload).filter(([, value]) => value !== null))
}
