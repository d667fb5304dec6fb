import { isUtf8 } from 'node:buffer'

const special = /[<>&\u2028\u2029]/
const allSpecial = new RegExp(special, 'g')

const escapes: Readonly<Record<string, string>> = {
  '<': '\\u003c',
  '>': '\\u003e',
  '&': '\\u0026',
  '\u2028': '\\u2028',
  '\u2029': '\\u2029',
}

/**
 * JSON as ActiveSupport::JSON writes it: no white space, and `<`, `>`, `&`, U+2028 and U+2029 as `\u003c` and so on,
 * so that the text may stand inside a script element.
 *
 * @throws TypeError for what has no JSON form: undefined, a function, a symbol, a bigint, a cycle
 */
export function railsJson(value: unknown): string {
  // The declared type of JSON.stringify hides that it returns undefined for undefined, functions and symbols.
  const json = JSON.stringify(value) as string | undefined
  if (json === undefined) throw new TypeError(`a value of type ${typeof value} has no JSON form`)
  return special.test(json) ? json.replace(allSpecial, (character) => escapes[character] as string) : json
}

/** Levels of nesting that Ruby's parser takes, and so Rails. */
export const MAX_DEPTH: number = 100

const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/
/** Half of a character above U+FFFF, as cutting a text in two can leave it. */
export const LONE_SURROGATE: RegExp = /\p{Surrogate}/u

/**
 * Parses JSON and turns down what every version of Rails turns down although JSON.parse takes it: bytes that are
 * not UTF-8, half a surrogate pair, and what is nested over 100 deep.
 *
 * @throws {SyntaxError}
 */
export function parseRailsJson(bytes: Buffer): unknown {
  const text = bytes.toString()
  if (!isUtf8(bytes)) throw new SyntaxError('not UTF-8')
  const value: unknown = JSON.parse(text, SURROGATE_ESCAPE.test(text) ? refuseHalfPairs : undefined)
  // so deep a text has as many characters to open and to close
  if (text.length > 2 * MAX_DEPTH && isDeeper(value, MAX_DEPTH)) throw new SyntaxError('nested too deep')
  return value
}

function refuseHalfPairs(key: string, value: unknown): unknown {
  if (LONE_SURROGATE.test(key) || (typeof value === 'string' && LONE_SURROGATE.test(value))) {
    throw new SyntaxError('half a surrogate pair')
  }
  return value
}

/** Whether a value that came from JSON is nested in more levels than these. */
export function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (levels === 0) return true
  for (const key in value) if (isDeeper((value as Record<string, unknown>)[key], levels - 1)) return true
  return false
}
