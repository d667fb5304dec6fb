import { SessionValueError } from './errors.ts'
import { checkText, cloneJson, copyJson, equalJson, sessionPath, type JsonValue } from './json.ts'

/** What a session holds, as it is stored. */
export type SessionData = Record<string, JsonValue>

/** What changed in a session: the keys to set with their values, and the keys to delete. */
export interface SessionChanges {
  readonly set: SessionData
  readonly delete: readonly string[]
}

/**
 * Keys that stand in the stored data beside the application's own, and are never seen in the hash:
 * Rails' id of the session, the time of its creation and an idle time of its own.
 */
export const RESERVED_KEYS: ReadonlySet<string> = new Set(['session_id', '_created_at', '_expire_after'])

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/**
 * The session's hash: what `await req.session` gives is its `proxy`. Only this level is watched. A nested
 * value is copied when it is first handed out, and what was loaded is kept to compare with at commit; what
 * nobody asked for is neither copied nor compared.
 */
export class SessionHash implements ProxyHandler<SessionData> {
  readonly proxy: SessionData
  readonly #data: SessionData = Object.create(null) as SessionData
  /** Of each key that was written or handed out: what was loaded, `undefined` where there was nothing. */
  #before: Map<string, JsonValue | undefined> | undefined
  /** Every loaded object that was handed out. */
  readonly #handedOut: object[] = []
  #refusal: (() => Error) | undefined
  #frozen = false
  #written = false

  constructor(loaded?: SessionData) {
    for (const key in loaded) {
      if (!RESERVED_KEYS.has(key)) this.#data[key] = loaded[key] as JsonValue
    }
    this.proxy = new Proxy(this.#data, this)
  }

  get isEmpty(): boolean {
    for (const _ in this.#data) return false
    return true
  }

  /** Whether anything was assigned or deleted; a change in place does not count. */
  get isWritten(): boolean {
    return this.#written
  }

  /** From now on writes throw. */
  refuseWrites(refusal: () => Error): void {
    this.#refusal = refusal
  }

  /** From now on writes throw, also those to loaded values that were handed out. */
  freeze(refusal: () => Error): void {
    this.#refusal = refusal
    this.#frozen = true
    for (const node of this.#handedOut) Object.freeze(node)
  }

  /** Deletes every key, as a change. */
  clear(): void {
    this.#mayWrite()
    for (const key in this.#data) this.#remove(key)
  }

  /** Empties the hash and forgets what was loaded, so that whatever follows is new. */
  restart(): void {
    for (const key in this.#data) delete this.#data[key]
    this.#before = undefined
    this.#written = false
  }

  /** The value that a key had when the session was loaded, where it is still the same. */
  unchanged(key: string): boolean {
    return this.#before?.has(key) !== true || this.#before.get(key) === this.#data[key]
  }

  /**
   * What differs from what was loaded; `undefined` when nothing does.
   *
   * @throws {SessionValueError} for a change in place that JSON cannot carry
   */
  changes(): SessionChanges | undefined {
    if (this.#before === undefined) return undefined
    const set = Object.create(null) as SessionData
    const deleted: string[] = []
    let some = false
    for (const [key, before] of this.#before) {
      const now = this.#data[key]
      if (now === undefined) {
        if (before === undefined) continue
        deleted.push(key)
      } else {
        // what is the same needs no copy
        if (before !== undefined && equalJson(before, now)) continue
        const value = this.#checked(key, now)
        if (before !== undefined && equalJson(before, value)) continue
        set[key] = value
      }
      some = true
    }
    return some ? { set, delete: deleted } : undefined
  }

  /** The whole content with these changes, in the hash's order, sharing nothing with what was handed out. */
  snapshot(changes: SessionChanges | undefined): SessionData {
    const data = Object.create(null) as SessionData
    for (const key in this.#data) {
      const changed = changes !== undefined && Object.hasOwn(changes.set, key)
      data[key] = (changed ? changes.set[key] : (this.#before?.get(key) ?? this.#data[key])) as JsonValue
    }
    return data
  }

  get(data: SessionData, key: string | symbol): unknown {
    if (typeof key === 'symbol') return undefined
    const value = data[key]
    return isObject(value) ? this.#handOut(key, value) : value
  }

  set(data: SessionData, key: string | symbol, value: unknown, receiver: unknown): boolean {
    if (receiver !== this.proxy) return Reflect.set(data, key, value, receiver)
    this.#mayWrite()
    if (typeof key === 'symbol') throw new SessionValueError('A symbol as a key of the session', 'a symbol')
    if (value === undefined) {
      this.#remove(key)
      return true
    }
    if (RESERVED_KEYS.has(key))
      throw new SessionValueError(sessionPath(key), 'a name that the session keeps for itself')
    checkText(key, sessionPath(key))
    this.#checked(key, value)
    this.#note(key)
    data[key] = value as JsonValue
    return true
  }

  deleteProperty(_data: SessionData, key: string | symbol): boolean {
    this.#mayWrite()
    if (typeof key === 'string') this.#remove(key)
    return true
  }

  defineProperty(data: SessionData, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (descriptor.get || descriptor.set) {
      throw new SessionValueError(sessionPath(String(key)), 'an accessor')
    }
    if (descriptor.configurable === false) return false
    return this.set(data, key, descriptor.value, this.proxy)
  }

  getOwnPropertyDescriptor(data: SessionData, key: string | symbol): PropertyDescriptor | undefined {
    this.get(data, key) // hands the value out, since a descriptor holds it
    return Reflect.getOwnPropertyDescriptor(data, key)
  }

  preventExtensions(): boolean {
    return false
  }

  setPrototypeOf(_data: SessionData, prototype: object | null): boolean {
    return prototype === null
  }

  /** A copy as JSON carries it; the hash itself is the first level. */
  #checked(key: string, value: unknown): JsonValue {
    return isObject(value) ? copyJson(value, sessionPath(key), [this.proxy]) : copyJson(value, sessionPath(key))
  }

  #mayWrite(): void {
    if (this.#refusal) throw this.#refusal()
  }

  #note(key: string): void {
    this.#written = true
    this.#before ??= new Map()
    if (!this.#before.has(key)) this.#before.set(key, this.#data[key])
  }

  #remove(key: string): void {
    if (this.#data[key] === undefined) return
    this.#note(key)
    delete this.#data[key]
  }

  #handOut(key: string, value: JsonValue & object): object {
    if (this.#frozen) {
      // one that was handed out before is frozen already
      if (Object.isFrozen(value)) return value
    } else if (this.#before?.has(key) === true) {
      return value
    }
    const nodes = this.#frozen ? [] : this.#handedOut
    const copy = cloneJson(value, nodes)
    if (this.#frozen) for (const node of nodes) Object.freeze(node)
    else (this.#before ??= new Map()).set(key, value)
    this.#data[key] = copy
    return copy as object
  }
}
