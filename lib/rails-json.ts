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
