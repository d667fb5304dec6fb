import { SessionValueError } from './errors.ts'
import { LONE_SURROGATE, MAX_DEPTH } from './rails-json.ts'

/** What JSON can carry. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue }

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/

function member(path: string, key: string): string {
  return IDENTIFIER.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`
}

/** Sets a member, whatever its name. */
export function putJson(object: object, key: string, value: unknown): void {
  // a plain assignment of this key would change the prototype
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    ;(object as Record<string, unknown>)[key] = value
  }
}

/**
 * A copy of a value as JSON would carry it: members that are `undefined` are left out.
 *
 * @param path what the value is called in an error, for example `session.cart`
 * @throws {SessionValueError} for what JSON cannot carry: bigint, function, symbol, NaN, Infinity, Date, Map,
 *   any instance of a class, a hole or `undefined` in a list, a cycle, half a surrogate pair; it names the path
 */
export function copyJson(value: unknown, path: string, ancestors: object[] = []): JsonValue {
  switch (typeof value) {
    case 'string':
      return checkText(value, path)
    case 'boolean':
      return value
    case 'number':
      if (Number.isFinite(value)) return value
      throw new SessionValueError(path, String(value))
    case 'object':
      break
    default:
      throw new SessionValueError(path, value === undefined ? 'undefined' : `a ${typeof value}`)
  }
  if (value === null) return null
  if (ancestors.includes(value)) throw new SessionValueError(path, 'a cycle')
  if (ancestors.length >= MAX_DEPTH) throw new SessionValueError(path.slice(0, 60), `nested over ${MAX_DEPTH} deep`)
  ancestors.push(value)
  let copy: JsonValue
  if (Array.isArray(value)) {
    copy = []
    for (let i = 0; i < value.length; i++) copy.push(copyJson(value[i], `${path}[${i}]`, ancestors))
  } else {
    if (!isPlain(value)) throw new SessionValueError(path, `an instance of ${nameOf(value)}`)
    copy = {}
    for (const key of Object.keys(value)) {
      const inner = (value as Record<string, unknown>)[key]
      if (inner !== undefined) putJson(copy, checkText(key, path), copyJson(inner, member(path, key), ancestors))
    }
  }
  ancestors.pop()
  return copy
}

/**
 * Half a surrogate pair, which `text.slice` can leave of an emoji, has no UTF-8, and would come back as something
 * else, or from Rails' format not at all.
 *
 * @throws {SessionValueError}
 */
export function checkText(text: string, path: string): string {
  if (LONE_SURROGATE.test(text)) throw new SessionValueError(path, 'a text with half a surrogate pair')
  return text
}

/** The path of a key of the session, for errors. */
export function sessionPath(key: string): string {
  return member('session', key)
}

/** A copy of what came from JSON; every object in the copy is noted in `nodes`. */
export function cloneJson(value: JsonValue, nodes: object[]): JsonValue {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    const list: JsonValue[] = []
    for (const item of value) list.push(cloneJson(item, nodes))
    nodes.push(list)
    return list
  }
  const object: { [key: string]: JsonValue } = {}
  for (const key in value) putJson(object, key, cloneJson(value[key] as JsonValue, nodes))
  nodes.push(object)
  return object
}

/** Whether two values are the same as JSON; the order of keys does not matter. */
export function equalJson(a: JsonValue, b: JsonValue): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (!equalJson(a[i] as JsonValue, b[i] as JsonValue)) return false
    return true
  }
  if (Array.isArray(b)) return false
  // what is no plain object may look like one
  if (!isPlain(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  for (const key of keys) {
    if (!Object.hasOwn(b, key) || !equalJson(a[key] as JsonValue, b[key] as JsonValue)) return false
  }
  return true
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  // the second line: an object of another realm
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null
}

function nameOf(value: object): string {
  const { constructor } = value as { constructor?: unknown }
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'a class'
}
