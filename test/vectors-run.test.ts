import { existsSync, readFileSync } from 'node:fs'
import { test } from 'tap'
import { vectorFiles } from './vectors.ts'

const session = ['test/middleware/session-vectors.test.ts']
const messages = ['test/lib/rails-messages.test.ts']
const jar = ['test/lib/rails-cookies.test.ts']
const ids = ['test/middleware/session-vectors.test.ts']
const rows = ['test/stores/activerecord-vectors.test.ts']
const rack = ['test/lib/rack-sealer.test.ts']

/** Category → kind → the tests that run all vectors of that kind, whatever version of Rails wrote them. */
const runs: Record<string, Record<string, readonly string[]>> = {
  keys: { derive: messages },
  message: { 'message-encrypted': messages, 'message-signed': messages },
  json: Object.fromEntries(
    ['json', 'json-code-points', 'json-floats', 'json-invalid'].map((kind) => [
      kind,
      ['test/lib/json-vectors.test.ts'],
    ]),
  ),
  session: { 'session-write': [...session, ...messages] },
  'session-cbc': { 'session-write': [...session, ...messages] },
  'read-valid': { 'session-read': session },
  tampered: { 'session-read': session },
  crafted: { 'session-read': session },
  expiry: { 'session-read': session },
  cross: { 'session-read': session },
  'cookie-header-in': { 'session-read': session },
  limits: { 'size-limit': session },
  signed: { 'signed-write': [...jar, ...messages] },
  encrypted: { 'encrypted-write': [...jar, ...messages] },
  'signed-read': { 'signed-read': jar },
  'encrypted-read': { 'encrypted-read': jar },
  'set-cookie': { 'set-cookie': ['test/middleware/set-cookie-vectors.test.ts'] },
  csrf: Object.fromEntries(
    ['csrf-issue', 'csrf-verify'].map((kind) => [kind, ['test/middleware/csrf-vectors.test.ts']]),
  ),
  flow: Object.fromEntries(['flow', 'flash-shape'].map((kind) => [kind, ['test/middleware/flow-vectors.test.ts']])),
  fullapp: { fullapp: ['test/middleware/fullapp-vectors.test.ts'] },
  'session-id': {
    'session-id': ids,
    'session-id-generated': ids,
    'cache-store': rows,
    'activerecord-store': rows,
    'activerecord-data': rows,
  },
  'rack-session': Object.fromEntries(
    [
      'rack-encryptor',
      'rack-encryptor-read',
      'rack-encryptor-refused',
      'rack-encryptor-options',
      'rack-cookie',
      'rack-cookie-read',
      'rack-cookie-refused',
    ].map((kind) => [kind, rack]),
  ),
}

/** Whole applications have a category for each `load_defaults`. */
const nameOf = (category: string): string => category.replace(/^fullapp-.*/, 'fullapp')

test('every file of vectors is run by a test, with every kind that is in it', (t) => {
  const files = vectorFiles()
  const forgotten = new Set<string>()
  for (const { version, category, vectors } of files) {
    for (const { kind } of vectors) {
      if (runs[nameOf(category)]?.[kind] === undefined) forgotten.add(`Rails ${version}: ${category}, ${kind}`)
    }
  }
  t.ok(files.length > 40)
  t.same([...forgotten], [])
  t.end()
})

test('the tests that are said to run vectors do ask for them', (t) => {
  for (const [category, kinds] of Object.entries(runs)) {
    for (const path of new Set(Object.values(kinds).flat())) {
      const source = existsSync(path) ? readFileSync(path, 'utf8') : ''
      t.match(source, 'vectorFiles(', `${path} reads vectors`)
      // one test takes both jars in turn
      const spelt = [`'${category}'`, `'${category}-'`, `\`${category.replace(/^(signed|encrypted)/, '${kind}')}\``]
      t.ok(
        spelt.some((text) => source.includes(text)),
        `${path} reads ${category}`,
      )
    }
  }
  t.end()
})

test('the vectors that come with the package have every kind', { skip: given() }, (t) => {
  const there = new Set<string>()
  for (const { category, vectors } of vectorFiles()) {
    for (const { kind } of vectors) there.add(`${nameOf(category)}, ${kind}`)
  }
  const named = Object.entries(runs).flatMap(([category, kinds]) =>
    Object.keys(kinds).map((kind) => `${category}, ${kind}`),
  )
  t.same(
    named.filter((one) => !there.has(one)),
    [],
  )
  t.end()
})

function given(): string | false {
  return process.env['LUGGAGE_RACK_VECTORS'] ? 'LUGGAGE_RACK_VECTORS names others' : false
}
