import { SessionValueError } from './errors.ts'
import { copyJson, type JsonValue } from './json.ts'
import type { SessionData } from './session-hash.ts'

/**
 * The flash as Rails keeps it: values, and which of them end with this request. What came from the last request
 * is marked to end when it is read, what is set in this one is not.
 */
export class FlashHash implements ProxyHandler<SessionData> {
  /** What `await req.flash` gives: the values and nothing else. */
  readonly proxy: SessionData
  readonly #values = Object.create(null) as SessionData
  readonly #discarded = new Set<string>()
  readonly #restarts: () => number
  readonly #mayWrite: () => void
  #seen: number

  /**
   * @param stored what the session holds under `flash`; what is no flash reads as an empty one
   * @param restarts how often the session was emptied so far, which empties the flash too
   * @param mayWrite throws when nothing can be written any more
   */
  constructor(stored: unknown, restarts: () => number, mayWrite: () => void) {
    const { flashes, discard } = (stored ?? {}) as { flashes?: unknown; discard?: unknown }
    const gone = new Set<unknown>(Array.isArray(discard) ? discard : [])
    if (typeof flashes === 'object' && flashes !== null && !Array.isArray(flashes)) {
      for (const [key, value] of Object.entries(flashes as SessionData)) if (!gone.has(key)) this.#values[key] = value
    }
    this.discard()
    this.#restarts = restarts
    this.#mayWrite = mayWrite
    this.#seen = restarts()
    this.proxy = new Proxy(this.#values, this)
  }

  /** What the session is to hold under `flash`; `undefined` for nothing. Rails' shape. */
  toSession(): JsonValue | undefined {
    this.#sync()
    const kept = Object.entries(this.#values).filter(([key]) => !this.#discarded.has(key))
    if (kept.length === 0) return undefined
    return { discard: [], flashes: copyJson(Object.fromEntries(kept), 'flash') }
  }

  /** Keeps a value, or all, for the next request too. */
  keep(key?: string): unknown {
    this.#sync()
    if (key === undefined) this.#discarded.clear()
    else this.#discarded.delete(key)
    return this.#valueOf(key)
  }

  /** Ends a value, or all, with this request. */
  discard(key?: string): unknown {
    if (key !== undefined) this.#discarded.add(key)
    else for (const name in this.#values) this.#discarded.add(name)
    return this.#valueOf(key)
  }

  /** A value for this request alone, also where there is no session to write to. */
  setNow(key: string, value: JsonValue | undefined): void {
    this.#sync()
    if (value === undefined) delete this.#values[key]
    else this.#values[key] = value
    this.#discarded.add(key)
  }

  get(values: SessionData, key: string | symbol): unknown {
    this.#sync()
    return typeof key === 'symbol' ? undefined : values[key]
  }

  has(values: SessionData, key: string | symbol): boolean {
    this.#sync()
    return key in values
  }

  ownKeys(values: SessionData): (string | symbol)[] {
    this.#sync()
    return Reflect.ownKeys(values)
  }

  set(values: SessionData, key: string | symbol, value: unknown): boolean {
    this.#mayWrite()
    this.#sync()
    if (typeof key === 'symbol') throw new SessionValueError('A symbol as a key of the flash', 'a symbol')
    this.#discarded.delete(key)
    if (value === undefined) {
      delete values[key]
      return true
    }
    copyJson(value, `flash.${key}`)
    values[key] = value as JsonValue
    return true
  }

  deleteProperty(values: SessionData, key: string | symbol): boolean {
    return this.set(values, key, undefined)
  }

  defineProperty(values: SessionData, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (descriptor.get || descriptor.set) throw new SessionValueError(`flash.${String(key)}`, 'an accessor')
    return descriptor.configurable !== false && this.set(values, key, descriptor.value)
  }

  preventExtensions(): boolean {
    return false
  }

  setPrototypeOf(_values: SessionData, prototype: object | null): boolean {
    return prototype === null
  }

  #valueOf(key: string | undefined): unknown {
    return key === undefined ? this.proxy : this.#values[key]
  }

  /** A session that was reset has a new flash. */
  #sync(): void {
    const restarts = this.#restarts()
    if (restarts === this.#seen) return
    this.#seen = restarts
    for (const key in this.#values) delete this.#values[key]
    this.#discarded.clear()
  }
}
