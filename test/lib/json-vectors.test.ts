import { isDeepStrictEqual } from 'node:util'
import { test } from 'tap'
import { copyJson } from '../../lib/json.ts'
import { parseRailsJson, railsJson } from '../../lib/rails-json.ts'
import { vectorFiles, type Vector } from '../vectors.ts'

/** A value as ActiveSupport::JSON writes it, and as Ruby's JSON does. */
interface Encoded extends Vector {
  escape_html_entities_in_json: boolean
  escape_js_separators_in_json: boolean
  encoded: string
  plain_json: string
}

const files = vectorFiles(['json'])

function of<V extends Vector>(vectors: Vector[], kind: string): V[] {
  return vectors.filter((vector): vector is V => vector.kind === kind)
}

const parse = (json: string): unknown => parseRailsJson(Buffer.from(json))

/** What JavaScript writes in another way than Ruby, though it reads it: the value is the same. */
const otherText: { reason: string; json: RegExp }[] = [
  { reason: '3.0 is 3, and 1.0e+16 is 10000000000000000', json: /\d\.0(?!\d)|\de[+-]?\d/ },
  { reason: 'keys that are whole numbers come first, in order', json: /"\d+":/ },
  { reason: 'integers beyond 2^53 are rounded', json: /\d{16}/ },
]

test('JSON that Rails writes is read, and written again by the byte', (t) => {
  t.ok(files.length > 0)
  for (const { version, vectors } of files) {
    const wrong: string[] = []
    let same = 0
    for (const vector of of<Encoded>(vectors, 'json')) {
      const { encoded, plain_json: plain, label } = vector
      const value = parse(encoded)
      if (!isDeepStrictEqual(value, JSON.parse(plain))) wrong.push(`${label} is read as ${JSON.stringify(value)}`)
      const written = railsJson(value)
      // as text, since JSON has no -0
      if (JSON.stringify(parse(written)) !== JSON.stringify(value)) wrong.push(`${label} is not read back`)
      // Rails can be told not to escape; it reads what is escaped all the same
      if (!vector.escape_html_entities_in_json || !vector.escape_js_separators_in_json) continue
      if (JSON.stringify(JSON.parse(plain)) === plain) same++
      else if (otherText.some(({ json }) => json.test(plain))) continue
      if (written !== encoded) wrong.push(`${label} is written as ${written}`)
    }
    t.same(wrong, [], `Rails ${version}`)
    t.ok(same > 5, `${same} values by the byte`)
  }
  t.end()
})

test('every character is escaped, or not, as Rails does it', (t) => {
  for (const { version, vectors } of files) {
    for (const vector of of<Encoded & { table: [point: number, text: string][] }>(vectors, 'json-code-points')) {
      const all = vector.escape_html_entities_in_json && vector.escape_js_separators_in_json
      const wrong = vector.table.filter(([point, text]) => {
        const character = String.fromCodePoint(point)
        return parse(text) !== character || (all && railsJson(character) !== text)
      })
      t.same(wrong, [], `Rails ${version}, ${vector.table.length} characters, ${all ? 'escaped' : 'not all escaped'}`)
    }
  }
  t.end()
})

test("Ruby's numbers are read to the last bit, and so are ours", (t) => {
  let read = 0
  for (const { version, vectors } of files) {
    for (const vector of of<Vector & { table: [bytes: string, text: string][] }>(vectors, 'json-floats')) {
      const wrong = vector.table.filter(([bytes, text]) => {
        const number = Buffer.from(bytes, 'hex').readDoubleBE()
        read++
        // JSON.stringify writes -0 as 0
        return !Object.is(parse(text), number) || parse(railsJson(number)) !== number
      })
      t.same(wrong, [], `Rails ${version}, ${vector.label}`)
    }
  }
  t.ok(read >= 10, `${read} numbers`)
  t.end()
})

test('what Rails cannot write, since it is no text, is neither read nor written here', (t) => {
  let found = 0
  for (const { vectors } of files) {
    for (const { label, ...vector } of of<Vector & { input_b64: string; error: string }>(vectors, 'json-invalid')) {
      const bytes = Buffer.from(vector.input_b64, 'base64')
      t.match(vector.error, /GeneratorError/)
      t.throws(() => parseRailsJson(Buffer.concat([Buffer.from('"'), bytes, Buffer.from('"')])), SyntaxError, label)
      found++
    }
  }
  t.ok(found > 0)
  // of what is no text, a JavaScript string can hold this
  t.throws(() => copyJson('a\ud800b', 'session.half'), { code: 'ERR_SESSION_VALUE' })
  t.end()
})
