import { SessionCommittedError, SessionValueError } from './errors.ts'
import { FlashHash } from './flash-hash.ts'
import { copyJson, type JsonValue } from './json.ts'
import { RequestSession } from './session-handle.ts'
import type { SessionData } from './session-hash.ts'

/** The flash: any key may be absent. */
export type Flash<Data> = Partial<Data>

/** `req.flash`: awaiting it gives the messages that the last request left, and takes those for the next one. */
export interface FlashHandle<Data> extends PromiseLike<Flash<Data>> {
  /** Values set here are seen in this request alone: for a page that is rendered without a redirect. */
  readonly now: Flash<Data>
  /** Keeps one message, or all, for one more request. Works without an await, which gives what was kept. */
  keep<Key extends keyof Data>(key: Key): PromiseLike<Data[Key] | undefined>
  keep(): PromiseLike<Flash<Data>>
  /** Ends one message, or all, with this request. Works without an await, which gives what was discarded. */
  discard<Key extends keyof Data>(key: Key): PromiseLike<Data[Key] | undefined>
  discard(): PromiseLike<Flash<Data>>
}

const FLASH = 'flash'

const writtenLate = (): Error => new SessionCommittedError('The flash was written')

/** The flash of one request. It is read from the session when it is first asked for, and written back at the end. */
export class RequestFlash {
  /** The session that was there when the layer was entered. */
  readonly #own: RequestSession
  readonly #req: { readonly session?: unknown }
  readonly #now: SessionData = Object.create(null) as SessionData
  #session: RequestSession | undefined
  #loading: Promise<FlashHash> | undefined
  #flash: FlashHash | undefined
  /** What was asked of the flash before it was read. */
  readonly #pending: { readonly act: (flash: FlashHash) => void; readonly restarts: number }[] = []
  #committed = false

  constructor(own: RequestSession, req: { readonly session?: unknown }) {
    this.#own = own
    this.#req = req
  }

  /** Whether it is kept in this session, so that another layer of a stack inside `map` can go on with it. */
  isOf(session: RequestSession): boolean {
    return session === this.#own
  }

  // oxlint-disable-next-line unicorn/no-thenable -- a handle that is awaited is what it is for
  then<A = SessionData, B = never>(
    onfulfilled?: ((flash: SessionData) => A | PromiseLike<A>) | null,
    onrejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#load()
      .then((flash) => flash.proxy)
      .then(onfulfilled, onrejected)
  }

  get now(): SessionData {
    return new Proxy(this.#now, {
      get: (now, key) => {
        if (typeof key === 'symbol') return undefined
        return Object.hasOwn(now, key) ? now[key] : this.#flash?.proxy[key]
      },
      set: (now, key, value) => {
        if (typeof key === 'symbol') throw new SessionValueError('A symbol as a key of the flash', 'a symbol')
        if (value !== undefined) copyJson(value, `flash.now.${key}`)
        now[key] = value as JsonValue
        this.#ask((flash) => flash.setNow(key, value as JsonValue | undefined))
        return true
      },
    })
  }

  keep(key?: string): PromiseLike<unknown> {
    if (this.#committed) throw writtenLate()
    // there is no next request of a session that was destroyed
    RequestSession.checkWritable(this.#bind())
    return this.#ask((flash) => flash.keep(key))
  }

  discard(key?: string): PromiseLike<unknown> {
    return this.#ask((flash) => flash.discard(key))
  }

  /** Writes the flash into the session, where it was touched. */
  commit(): Promise<void> | undefined {
    if (this.#loading || this.#pending.length > 0) return this.#load().then((flash) => this.#store(flash))
    this.close()
    return undefined
  }

  /** From now on writes throw. */
  close(): void {
    this.#committed = true
  }

  #load(): Promise<FlashHash> {
    if (this.#loading) return this.#loading
    if (this.#committed) return Promise.reject(new SessionCommittedError('The flash was first awaited'))
    const session = this.#bind()
    const before = session.restarts
    this.#loading = session.then((hash) => {
      // a reset while it was loading has emptied the hash, and there is no flash in it
      const flash = new FlashHash(
        session.restarts === before ? hash[FLASH] : undefined,
        () => session.restarts,
        () => {
          if (this.#committed) throw writtenLate()
          RequestSession.checkWritable(session)
        },
      )
      // what was asked before a reset has gone with it
      for (const { act, restarts } of this.#pending) if (restarts === session.restarts) act(flash)
      return (this.#flash = flash)
    })
    // whoever asked for it hears of a failure, so there is none that nobody handles
    this.#loading.catch(() => {})
    return this.#loading
  }

  /** The session of whoever asks first: below `csrf()` that may be an empty one. */
  #bind(): RequestSession {
    return (this.#session ??= RequestSession.now(this.#own, this.#req))
  }

  /** Does it now or, where the flash is not read yet, when it is: at the latest when the request ends. */
  #ask(act: (flash: FlashHash) => unknown): PromiseLike<unknown> {
    if (this.#committed) throw writtenLate()
    const { restarts } = this.#bind()
    let result: unknown
    const once = (flash: FlashHash): void => {
      result = act(flash)
    }
    if (this.#flash) once(this.#flash)
    else this.#pending.push({ act: once, restarts })
    return {
      // oxlint-disable-next-line unicorn/no-thenable -- only whoever awaits it has it loaded before the end
      then: (onfulfilled, onrejected) =>
        this.#load()
          .then(() => result)
          .then(onfulfilled, onrejected),
    }
  }

  async #store(flash: FlashHash): Promise<void> {
    const value = flash.toSession()
    const hash = await (this.#session as RequestSession)
    if (value !== undefined) hash[FLASH] = value
    else if (FLASH in hash) delete hash[FLASH]
    this.close()
  }
}
