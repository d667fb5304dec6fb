import { createCipheriv, createHmac } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { deflateSync } from 'node:zlib'
import * as fc from 'fast-check'
import { defaults, encrypt, hmacWithPassword, macPrefix } from 'iron-webcrypto'
import tap, { test } from 'tap'
import {
  ironSealer,
  KeyGenerator,
  MessageEncryptor,
  MessageVerifier,
  rackSealer,
  type Awaitable,
  type JsonValue,
  type Sealer,
} from '../../lib/index.ts'
import { Keyring, SALTS } from '../../lib/keyring.ts'
import { unwrap, type EnvelopeForm } from '../../lib/message-metadata.ts'
import { fuzzing } from '../fuzz.ts'
import { SECRET } from '../session-app.ts'

const { RUNS, SEED } = fuzzing()

const NOON = Date.UTC(2026, 2, 14, 12)
/** The last millisecond that is written with a year of four digits. */
const LAST = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

const RACK_SECRET = Buffer.alloc(64, 'a secret of Rack')
const IRON_PASSWORD = 'a password of the tests, which is long enough'

const KEY = Buffer.alloc(32, 'key')
const OLD_KEY = Buffer.alloc(32, 'old')
const SIGN_KEY = Buffer.alloc(64, 'sign')

type Opened = { value: unknown; expiresAt: number | undefined } | undefined

/** One reader of messages, with what writes them. */
interface Reader {
  /** How many times as dear as the others. */
  dear?: number
  /** Seals objects only, as a session is one. */
  objects?: true
  /** What the format has no place for. */
  lacks?: readonly ('purpose' | 'expiry')[]
  /** Reads each message in several spellings: what it is in one of them. Default: a message has one alone. */
  spelling?: (text: string) => string
  seal(value: JsonValue, purpose: string, expiresAt: number): Awaitable<string>
  open(text: string, purpose: string, now: number): Awaitable<Opened>
  /** What it makes of bytes that whoever has the key has sealed. */
  sealBytes(bytes: Buffer, purpose: string): Awaitable<string>
}

// ---- sealing by hand

function gcm(key: Buffer, bytes: Buffer, encoding: 'base64' | 'base64url' = 'base64'): string {
  const iv = Buffer.alloc(12, bytes.length)
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: 16 })
  const data = Buffer.concat([cipher.update(bytes), cipher.final()])
  return [data, iv, cipher.getAuthTag()].map((part) => part.toString(encoding)).join('--')
}

function cbc(key: Buffer, signKey: Buffer, bytes: Buffer): string {
  const iv = Buffer.alloc(16, bytes.length)
  const cipher = createCipheriv('aes-256-cbc', key, iv)
  const data = Buffer.concat([cipher.update(bytes), cipher.final()]).toString('base64')
  return signed(signKey, Buffer.from(`${data}--${iv.toString('base64')}`), 'sha1')
}

function signed(key: Buffer, bytes: Buffer, digest: string, encoding: 'base64' | 'base64url' = 'base64'): string {
  const data = bytes.toString(encoding)
  return `${data}--${createHmac(digest, key).update(data).digest('hex')}`
}

/** rack-session's formats, of which each has the sizes of its parts fixed. */
function rack(mode: 1 | 2, content: Buffer, purpose: string): string {
  const random = Buffer.alloc(32, content.length)
  const key = createHmac('sha256', RACK_SECRET.subarray(0, 32)).update(random).digest()
  const head = Buffer.concat([Buffer.of(mode), random])
  if (mode === 1) {
    const iv = Buffer.alloc(16, 7)
    const data = Buffer.concat([head, iv, createCipheriv('aes-256-ctr', key, iv).update(content)])
    const mac = createHmac('sha256', RACK_SECRET.subarray(32)).update(data).update(purpose).digest()
    return Buffer.concat([data, mac]).toString('base64url')
  }
  const iv = Buffer.alloc(12, 7)
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: 16 })
  cipher.setAAD(Buffer.concat([head, Buffer.from(purpose)]))
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()])
  return Buffer.concat([head, iv, cipher.getAuthTag(), encrypted]).toString('base64')
}

async function iron(content: Buffer, rounds: number, id: string, salt?: string): Promise<string> {
  const encryption = { ...defaults.encryption, iterations: rounds, ...(salt === undefined ? undefined : { salt }) }
  const { key, encrypted } = await encrypt(IRON_PASSWORD, encryption, content)
  const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
  const base = [macPrefix, id, key.salt, base64url(key.iv), base64url(encrypted), ''].join('*')
  const mac = await hmacWithPassword(IRON_PASSWORD, { ...defaults.integrity, iterations: rounds }, base)
  return `${base}*${mac.salt}*${mac.digest}`
}

// ---- the readers

function encryptorReader(urlSafe: boolean, envelope: EnvelopeForm): Reader {
  // of the keys, the first seals; the messages made by hand are of the second, so that both are gone through
  const encryptor = new MessageEncryptor([KEY, OLD_KEY], { urlSafe, envelope })
  return {
    seal: (value, purpose, expiresAt) => encryptor.encryptAndSign(value, { purpose, expiresAt }),
    open: (text, purpose, now) => encryptor.open(text, { purpose, now }),
    sealBytes: (bytes) => gcm(OLD_KEY, bytes, urlSafe ? 'base64url' : 'base64'),
  }
}

function verifierReader(urlSafe: boolean, envelope: EnvelopeForm, digest: 'SHA1' | 'SHA512'): Reader {
  const verifier = new MessageVerifier([KEY, OLD_KEY], { urlSafe, envelope, digest })
  return {
    seal: (value, purpose, expiresAt) => verifier.generate(value, { purpose, expiresAt }),
    open: (text, purpose, now) => verifier.open(text, { purpose, now }),
    sealBytes: (bytes) => signed(OLD_KEY, bytes, digest, urlSafe ? 'base64url' : 'base64'),
  }
}

/** Rails' envelope by hand, for a format that is read and not written. */
function enveloped(value: JsonValue, purpose: string, expiresAt: number): Buffer {
  const message = Buffer.from(JSON.stringify(value)).toString('base64')
  return Buffer.from(JSON.stringify({ _rails: { message, exp: new Date(expiresAt).toISOString(), pur: purpose } }))
}

function sealerReader(sealer: Sealer, sealBytes: Reader['sealBytes']): Reader {
  return {
    objects: true,
    seal: (value, name, expiresAt) => sealer.seal(value as Record<string, JsonValue>, name, expiresAt),
    async open(text, name, now) {
      const opened = await sealer.open(text, name, now)
      return opened && { value: opened.payload, expiresAt: opened.expiresAt }
    },
    sealBytes,
  }
}

const legacy = new MessageEncryptor(KEY, { legacy: [{ key: KEY, signKey: SIGN_KEY }] })
const keyring = new Keyring({ secret: [SECRET, SECRET.toUpperCase()], legacy: true, retired: [{ keyDigest: 'SHA1' }] })
const retiredKey = new KeyGenerator(SECRET.toUpperCase(), { digest: 'SHA1' }).generateKey(SALTS.encrypted, 32)

/** The alphabet for URLs, without padding. */
const asUrl = (text: string): string =>
  text
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/={1,2}$/, '')

const ironSession = sealerReader(ironSealer({ password: IRON_PASSWORD, form: 'iron-session' }), (bytes) =>
  iron(bytes, 1, '1'),
)
const h3 = sealerReader(ironSealer({ password: IRON_PASSWORD, form: 'h3' }), (bytes) => iron(bytes, 1, ''))
const legacyRack = { secret: RACK_SECRET, zip: false }

const readers: Record<string, Reader> = {
  MessageEncryptor: encryptorReader(false, 'message'),
  'MessageEncryptor for URLs, with the value as data': encryptorReader(true, 'data'),
  'MessageEncryptor of retired messages': {
    seal: (value, purpose, expiresAt) => cbc(KEY, SIGN_KEY, enveloped(value, purpose, expiresAt)),
    open: (text, purpose, now) => legacy.open(text, { purpose, now }),
    sealBytes: (bytes) => cbc(KEY, SIGN_KEY, bytes),
  },
  MessageVerifier: verifierReader(false, 'message', 'SHA1'),
  'MessageVerifier for URLs, with the value as data': verifierReader(true, 'data', 'SHA512'),
  Keyring: sealerReader(keyring, (bytes) => gcm(retiredKey, bytes)),
  'rackSealer, version 1': {
    ...sealerReader(rackSealer({ secret: RACK_SECRET, mode: 'v1' }), (bytes, purpose) => rack(1, bytes, purpose)),
    spelling: asUrl,
  },
  'rackSealer, version 2': {
    ...sealerReader(rackSealer({ secret: RACK_SECRET }), (bytes, purpose) => rack(2, bytes, purpose)),
    spelling: asUrl,
  },
  'rackSealer of signed cookies': {
    ...sealerReader(rackSealer({ secret: RACK_SECRET, legacy: legacyRack }), (bytes) =>
      signed(RACK_SECRET, bytes, 'sha1'),
    ),
    lacks: ['purpose', 'expiry'],
    seal: (value) => signed(RACK_SECRET, Buffer.from(JSON.stringify(value)), 'sha1'),
  },
  'ironSealer as iron-session': {
    ...ironSession,
    dear: 2,
    lacks: ['purpose'],
    spelling: (text) => text.replace(/~2$/, ''),
  },
  'ironSealer as h3': { ...h3, dear: 40, lacks: ['purpose'], spelling: (text) => text.replace(/~2$/, '') },
}

// ---- what is sealed

/** As JSON.parse makes an object, for which `__proto__` is a key like any other. */
function membersOf(members: readonly (readonly [string, JsonValue])[]): Record<string, JsonValue> {
  return Object.fromEntries(members)
}

const string = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', '<&>', '\u2028', '","exp":', '{"_rails":{"message":"', '\0', '\u{1F600}', '--', '"'),
)
const member = fc.oneof(
  string,
  fc.constantFrom('__proto__', 'constructor', 'toJSON', 'then', '_rails', 'message', 'exp', 'pur', '0'),
)
const anyJson = fc
  .letrec<{ value: JsonValue; object: JsonValue }>((tie) => ({
    object: fc.array(fc.tuple(member, tie('value')), { maxLength: 4 }).map(membersOf),
    value: fc.oneof(
      { depthSize: 'small' },
      string,
      fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true })),
      fc.constantFrom(null, true, false, Number.MAX_VALUE, Number.MIN_VALUE, 2 ** 53, -0),
      fc.array(tie('value'), { maxLength: 4 }),
      tie('object'),
    ),
  }))
  .value.map((value) => JSON.parse(JSON.stringify(value)) as JsonValue)

/** As a session is one: with the id and the time of creation that its store puts in. */
const payload = fc
  .tuple(
    fc.array(fc.tuple(member, anyJson), { maxLength: 4 }).map(membersOf),
    fc.stringMatching(/^[\da-f]{32}$/),
    fc.integer({ min: 0, max: LAST }),
  )
  .map(([data, session_id, _created_at]) => ({ session_id, ...data, _created_at }))

const valueOf = (reader: Reader): fc.Arbitrary<JsonValue> => (reader.objects ? payload : anyJson)

/** Of rackSealer, no purpose is that of its own name for a cookie. */
const purpose = fc
  .oneof(fc.constantFrom('a', 'b', 'cookie.a', '_session_id', 'A', 'a ', 'é', 'e\u0301'), string)
  .filter((one) => one !== 'rack.session' && one !== '')
const expiry = fc.oneof(
  fc.constantFrom(1, 999, 1000, NOON, LAST - 1, LAST),
  fc.integer({ min: 1, max: LAST }),
  fc.integer({ min: NOON, max: NOON + 2000 }),
)

const runsOf = ({ dear = 1 }: Reader): number => Math.max(5, Math.ceil(RUNS / dear))

function agree(what: string, real: unknown, wanted: unknown): void {
  if (isDeepStrictEqual(real, wanted)) return
  throw new Error(`${what}: ${JSON.stringify(real)}, and not ${JSON.stringify(wanted)}`)
}

for (const [name, reader] of Object.entries(readers)) {
  test(`${name}: what is sealed opens to an equal value, for its own purpose, until it ends`, async (t) => {
    const knowsPurpose = !reader.lacks?.includes('purpose')
    const knowsExpiry = !reader.lacks?.includes('expiry')
    const run = fc.asyncProperty(valueOf(reader), purpose, purpose, expiry, async (value, own, other, expiresAt) => {
      const text = await reader.seal(value, own, expiresAt)
      for (const now of [expiresAt - 1, expiresAt, expiresAt + 1]) {
        const wanted = now < expiresAt || !knowsExpiry
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const opened = await reader.open(text, own, now)
        agree(`at ${now - expiresAt} ms`, opened?.value, wanted ? value : undefined)
        agree(`its end`, opened?.expiresAt, wanted && knowsExpiry ? expiresAt : undefined)
        if (other === own || !knowsPurpose) continue
        // oxlint-disable-next-line no-await-in-loop
        agree('for another purpose', await reader.open(text, other, now), undefined)
      }
    })
    await fc.assert(run, { numRuns: runsOf(reader), ...SEED })
    t.pass()
  })
}

test('what is nested to the last level opens, what is deeper does not, and no depth is an error', async (t) => {
  for (const [name, reader] of Object.entries(readers)) {
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
      // what has an escape of this kind is looked through by the parser itself, level by level
      ['["\\ud83d\\ude00",', ']'],
    ] as const) {
      for (const depth of [98, 150, 1000, 100_000]) {
        const json = `{"a":${open.repeat(depth)}1${close.repeat(depth)}}`
        const bytes = name.startsWith('rackSealer, ') ? Buffer.concat([Buffer.alloc(2), Buffer.from(json)]) : json
        const text = await reader.sealBytes(Buffer.from(bytes), 'a')
        const opened = await reader.open(text, 'a', NOON)
        if (depth > 100 && !name.startsWith('iron')) t.equal(opened, undefined, `${name}, ${depth}`)
        if (depth === 98 && /^(rack|iron)/.test(name) && !name.endsWith('h3')) t.ok(opened, `${name}, ${depth}`)
      }
    }
  }
})

// ---- what is not sealed

/** Where in a text, however long it is. */
const place = fc.nat()

/** Characters that mean something to a reader, or that a reader may take for others. */
const piece = fc.oneof(
  fc.constantFrom('-', '--', '=', '==', '*', '~2', '.', '%', '%2B', '+', '/', '_', ' ', '\t', '\n', '\r\n', '\0'),
  fc.constantFrom('"', '\\', 'A', '\uFEFF', '\u{1F600}', '\uD83D', '\uDE00', 'Ａ', 'Fe26.2*'),
  fc.string({ unit: 'binary', maxLength: 5 }),
  fc.base64String({ maxLength: 24 }),
)

type Mutation = (text: string, other: string) => string

const at = (text: string, where: number): number => (text === '' ? 0 : where % text.length)

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(place, fc.nat({ max: 8 })).map<Mutation>(([where, bit]) => (text) => {
      const i = at(text, where)
      // the bits from the ninth on: what was a byte is another character with the same lower byte
      const flipped = String.fromCharCode(text.charCodeAt(i) ^ (1 << bit))
      return text.slice(0, i) + flipped + text.slice(i + 1)
    }),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(place, piece).map<Mutation>(([where, inserted]) => (text) => {
      const i = where % (text.length + 1)
      return text.slice(0, i) + inserted + text.slice(i)
    }),
  },
  fc.tuple(place, fc.nat({ max: 40 })).map<Mutation>(([where, length]) => (text) => {
    const i = at(text, where)
    return text.slice(0, i) + text.slice(i + length)
  }),
  fc.tuple(place, fc.nat({ max: 40 })).map<Mutation>(([where, length]) => (text) => {
    const i = at(text, where)
    return text.slice(0, i + length) + text.slice(i)
  }),
  // two of them, cut at the same place or at others
  fc.tuple(place, place).map<Mutation>(
    ([where, there]) =>
      (text, other) =>
        text.slice(0, at(text, where)) + other.slice(at(other, there)),
  ),
  place.map<Mutation>((where) => (text, other) => text.slice(0, at(text, where)) + other.slice(at(text, where))),
  // parts of the one in the other
  fc.tuple(fc.constantFrom('--', '*'), place).map<Mutation>(([between, which]) => (text, other) => {
    const parts = text.split(between)
    const others = other.split(between)
    const i = which % parts.length
    return parts.with(i, others[i] ?? '').join(between)
  }),
  fc.constantFrom('--', '*').map<Mutation>((between) => (text) => text.split(between).toReversed().join(between)),
  place.map<Mutation>((where) => (text) => text.slice(0, at(text, where))),
  place.map<Mutation>((where) => (text) => text.slice(at(text, where))),
  fc.constantFrom<Mutation>(
    (text) => text + text,
    (text, other) => text + other,
    (text, other) => `${text}--${other}`,
    (text) => text.toUpperCase(),
    (text) => text.toLowerCase(),
    (text) => text.replaceAll('+', '-').replaceAll('/', '_'),
    (text) => text.replaceAll('-', '+').replaceAll('_', '/'),
    (text) => text.replaceAll('=', ''),
    (text) => `${text}=`,
    (text) => `${text}==`,
    (text) => text.replaceAll('--', '=--'),
    // half a surrogate pair has no such form
    (text) => encodeURIComponent(Buffer.from(text).toString()),
    (text) => Buffer.from(text).toString('base64'),
    (text) => Buffer.from(text, 'base64').toString('latin1'),
    (text) => `${text}\n`,
    (text) => ` ${text}`,
    (text) => `${text}~2`,
    (text) => text.replaceAll(/./g, (character) => String.fromCharCode(character.charCodeAt(0) + 256)),
    (text) => text.replaceAll(/[!-~]/g, (character) => String.fromCharCode(character.charCodeAt(0) + 0xfe_e0)),
    (text) => 'A'.repeat(100_000) + text,
    (text) => text + '-'.repeat(100_000),
    (text) => text.replace('--', `${'A'.repeat(100_000)}--`),
  ),
)

const madeUp = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.array(fc.constantFrom('\uD83D', '\uDE00', 'a', '--', '='), { maxLength: 60 }).map((units) => units.join('')),
  fc.array(fc.base64String({ maxLength: 60 }), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('--')),
  fc.tuple(fc.base64String(), fc.stringMatching(/^[\da-f]{40}$/)).map((parts) => parts.join('--')),
  fc
    .array(fc.stringMatching(/^[\w-]{0,43}$/), { minLength: 6, maxLength: 8 })
    .map((parts) => `Fe26.2*${parts.join('*')}`),
)

/** How often JSON.parse was called. */
let parsed = 0
const { parse } = JSON
JSON.parse = (...args: Parameters<typeof parse>): unknown => {
  parsed++
  return parse(...args)
}
tap.teardown(() => {
  JSON.parse = parse
})

for (const [name, reader] of Object.entries(readers)) {
  test(`${name}: what was tampered with, or made up, opens to nothing, and no JSON is parsed`, async (t) => {
    const { spelling = (text: string): string => text } = reader
    const sealed = fc.tuple(valueOf(reader), fc.constantFrom('a', 'b'), fc.integer({ min: NOON + 1, max: LAST }))
    let changed = 0
    const check = async (text: string, originals: readonly (readonly [string, string, JsonValue])[]): Promise<void> => {
      const before = parsed
      const opened = await reader.open(text, 'a', NOON)
      const same = originals.find(([original]) => spelling(original) === spelling(text))
      if (same) {
        const [original, own, value] = same
        // in another spelling it may be refused
        if (text !== original && opened === undefined) return
        agree('what was sealed', opened?.value, reader.lacks || own === 'a' ? value : undefined)
        return
      }
      changed++
      agree('what was not sealed', opened, undefined)
      agree('parsed', parsed, before)
    }
    const mutated = fc.asyncProperty(
      sealed,
      sealed,
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      async (one, two, mutations) => {
        const originals = await Promise.all(
          [one, two].map(async ([value, own, end]) => [await reader.seal(value, own, end), own, value] as const),
        )
        const [first = '', second = ''] = originals.map(([text]) => text)
        await check(
          mutations.reduce((text, mutate) => mutate(text, second), first),
          originals,
        )
      },
    )
    await fc.assert(mutated, { numRuns: runsOf(reader), ...SEED })
    t.ok(changed > runsOf(reader) / 2, `${changed} were no longer what was sealed`)
    const invented = fc.asyncProperty(madeUp, (text) => check(text, []))
    await fc.assert(invented, { numRuns: runsOf(reader), ...SEED })
  })
}

// ---- what was sealed with the right key, and is strange

/** Ends by what stands in the envelope: whether it is before them at noon. */
const ends: [json: string | undefined, open: boolean][] = [
  [undefined, true],
  ['null', true],
  ['false', true],
  ['"2026-03-14T12:00:00.001Z"', true],
  ['"2026-03-14T12:00:00.0001Z"', false],
  ['"2026-03-14T12:00:01Z"', true],
  ['"2026-03-14T11:00:00-02:00"', true],
  ['"9999-12-31T23:59:59.999Z"', true],
  [String(NOON / 1000 + 1), true],
  ['1e400', true],
  ['"2026-03-14T12:00:00.000Z"', false],
  ['"2026-03-14T12:00:00Z"', false],
  ['"2026-03-14T12:00:00+00:00"', false],
  ['"2026-03-14T13:30:00+02:00"', false],
  ['"0000-01-01T00:00:00Z"', false],
  [String(NOON / 1000), false],
  ['0', false],
  ['-0', false],
  ['-1e400', false],
  ['true', false],
  ['""', false],
  ['"null"', false],
  ['"never"', false],
  ['"2099"', false],
  ['"2099-01-01"', false],
  ['"2099-01-01 00:00:00Z"', false],
  ['"2099-01-01t00:00:00z"', false],
  ['" 2099-01-01T00:00:00Z"', false],
  ['"2099-01-01T00:00:00Z\\n"', false],
  ['"2099-13-01T00:00:00Z"', false],
  ['"2099-01-01T99:00:00Z"', false],
  ['"+002099-01-01T00:00:00Z"', false],
  ['"Thu, 01 Jan 2099 00:00:00 GMT"', false],
  ['"4070908800"', false],
  ['"Infinity"', false],
  ['[]', false],
  ['[4070908800]', false],
  ['["2099-01-01T00:00:00Z"]', false],
  ['{}', false],
  ['{"valueOf":4070908800}', false],
]

/** Purposes that are written in the envelope, and whether they are 'a', or none. */
const purposes: [json: string | undefined, is: 'right' | 'none' | 'wrong'][] = [
  ['"a"', 'right'],
  ['"\\u0061"', 'right'],
  [undefined, 'none'],
  ['null', 'none'],
  ['""', 'none'],
  ['"A"', 'wrong'],
  ['"a "', 'wrong'],
  ['"a\\u0000"', 'wrong'],
  ['"\u0430"', 'wrong'],
  ['["a"]', 'wrong'],
  ['{"a":"a"}', 'wrong'],
  ['0', 'wrong'],
  ['true', 'wrong'],
  ['false', 'wrong'],
]

const base64 = (text: string): string => JSON.stringify(Buffer.from(text).toString('base64'))
const NESTED = `{"_rails":{"message":${base64('"inner"')},"exp":null,"pur":"a"}}`

/** What stands in for the value, and what it is. */
const contents: [json: string | undefined, value: unknown][] = [
  [base64('"v"'), 'v'],
  [base64(' [1]\n'), [1]],
  [base64('null'), null],
  [base64('{"a":1,"a":2}'), { a: 2 }],
  [base64('{"__proto__":{"x":1}}'), parse('{"__proto__":{"x":1}}')],
  [base64('1e400'), Infinity],
  [base64('123456789012345678901234567890'), 1.2345678901234568e29],
  // what is inside is a value, whatever it looks like
  [base64(NESTED), parse(NESTED)],
  [base64(''), undefined],
  [base64('v'), undefined],
  [base64('"v'), undefined],
  [base64('NaN'), undefined],
  [base64('"\\ud83d"'), undefined],
  [JSON.stringify(Buffer.from('22ff22', 'hex').toString('base64')), undefined],
  [base64(`${'['.repeat(101)}${']'.repeat(101)}`), undefined],
  [base64(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), undefined],
  // one value has one spelling
  ['"InYi\\n"', undefined],
  ['"Inb i"', undefined],
  ['"InYi="', undefined],
  ['"bnVsbA"', undefined],
  ['"InYi--"', undefined],
  ['""', undefined],
  ['null', undefined],
  ['0', undefined],
  ['["InYi"]', undefined],
  ['{"toString":"InYi"}', undefined],
  [undefined, undefined],
]

/** Members that nobody asked for. */
const extras = ['', '"exp2":1', '"__proto__":{"pur":"a","exp":null}', '"constructor":1', '"data":"other"']

const envelopes = fc
  .record({
    content: fc.constantFrom(...contents),
    end: fc.constantFrom(...ends),
    pur: fc.constantFrom(...purposes),
    extra: fc.constantFrom(...extras),
    // what stands there twice: the last counts, as everywhere in JSON
    twice: fc.option(fc.record({ end: fc.constantFrom(...ends), pur: fc.constantFrom(...purposes) }), { freq: 4 }),
    swapped: fc.boolean(),
  })
  .map(({ content: [json, value], end, pur, extra, twice, swapped }) => {
    const last = { end, pur }
    const members = [json === undefined ? '' : `"message":${json}`]
    for (const { end: [exp] = [], pur: [own] = [] } of twice ? [last, twice] : [last]) {
      const both = [exp === undefined ? '' : `"exp":${exp}`, own === undefined ? '' : `"pur":${own}`]
      members.push(...(swapped ? both.toReversed() : both))
    }
    if (twice) {
      // what is left out the second time stays as it was said first
      if (twice.end[0] !== undefined) last.end = twice.end
      if (twice.pur[0] !== undefined) last.pur = twice.pur
    }
    const text = `{"_rails":{${[...members, extra].filter((one) => one !== '').join(',')}}}`
    // without its first member it does not begin as Rails' envelopes do, and is a value itself
    const isEnvelope = json !== undefined
    return { text, value, isEnvelope, isOpen: last.end[1], pur: last.pur[1] }
  })

const JSON_OF_ENVELOPE = '{"_rails":{"message":'

const asEncryptor = (bytes: Buffer, purpose: string | undefined, requirePurpose: boolean): unknown =>
  new MessageEncryptor(KEY, { requirePurpose }).open(gcm(KEY, bytes), { purpose, now: NOON })
const asVerifier = (bytes: Buffer, purpose: string | undefined, requirePurpose: boolean): unknown =>
  new MessageVerifier(KEY, { requirePurpose }).open(signed(KEY, bytes, 'sha1'), { purpose, now: NOON })

test('an envelope of any content opens only for the purpose and before the end that stand in it', (t) => {
  let opened = 0
  const asked = fc.constantFrom('a', undefined)
  const run = fc.property(envelopes, asked, fc.boolean(), (envelope, purpose, requirePurpose) => {
    const { text, value, isEnvelope, isOpen, pur } = envelope
    const isFor = pur === (purpose === undefined ? 'none' : 'right') || (pur === 'none' && !requirePurpose)
    let wanted = isOpen && isFor ? value : undefined
    if (!isEnvelope) wanted = purpose === undefined || !requirePurpose ? parse(text) : undefined
    for (const open of [asEncryptor, asVerifier]) {
      const real = open(Buffer.from(text), purpose, requirePurpose) as Opened
      agree(text, real?.value, wanted)
      // an object without a value would be a message too
      agree('whether it opens', real !== undefined, wanted !== undefined)
    }
    if (wanted !== undefined && isEnvelope) opened++
  })
  fc.assert(run, { numRuns: 4 * RUNS, ...SEED })
  t.ok(opened > RUNS / 40, `${opened} were opened`)
  t.end()
})

/** Bytes that are, or are like, what is sealed. */
const strange = fc.oneof(
  fc.uint8Array({ maxLength: 80 }).map((list) => Buffer.from(list)),
  fc
    .tuple(fc.constantFrom(JSON_OF_ENVELOPE, '{"_rails":', '{"_rails":{"data":', ''), fc.uint8Array({ maxLength: 60 }))
    .map(([start, list]) => Buffer.concat([Buffer.from(start), Buffer.from(list)])),
  fc
    .tuple(envelopes, fc.nat(), fc.nat({ max: 255 }))
    .map(([{ text }, where, byte]) => Buffer.from(text).fill(byte, where % text.length, (where % text.length) + 1)),
  anyJson.map((value) => Buffer.from(JSON.stringify(value))),
  anyJson.map((value) => Buffer.from(JSON.stringify(value), 'utf16le')),
  anyJson.map((value) => Buffer.from(`\uFEFF${JSON.stringify(value)}`)),
  anyJson.map((value) => Buffer.from(JSON.stringify({ _rails: value }))),
  anyJson.map((value) =>
    Buffer.from(JSON.stringify({ _rails: { data: value, message: value, exp: value, pur: 'a' } })),
  ),
  fc
    .constantFrom('{"a":1,"a":2}', '{"__proto__":1}', '1e999999', '-', '[', '"\\ud83d"', '{"session_id":[]}')
    .map((text) => Buffer.from(text)),
)

/** What must hold of whatever was opened of these bytes, and is seen without knowing how they were read. */
function mayOpen(bytes: Buffer, form: EnvelopeForm): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const { _rails: envelope } = parse(text) as { _rails: { message?: unknown; exp?: unknown; pur?: unknown } }
    const { message, exp, pur } = envelope
    const end = typeof exp === 'number' ? exp * 1000 : Date.parse(String(exp))
    const isOpen = exp === null || exp === undefined || exp === false || end > NOON
    return pur === 'a' && isOpen && (form === 'data' || typeof message === 'string')
  } catch {
    return false
  }
}

test('an envelope of which a byte was another would open to nothing else', (t) => {
  const canonical = `{"_rails":{"message":${base64('"value"')},"exp":"2099-01-01T00:00:00.000Z","pur":"a"}}`
  const where = fc.nat({ max: canonical.length - 1 })
  const run = fc.property(where, fc.nat({ max: 255 }), (at, byte) => {
    const bytes = Buffer.from(canonical).fill(byte, at, at + 1)
    const opened = unwrap(bytes, 'message', 'a', true, NOON)
    if (opened !== undefined && !mayOpen(bytes, 'message')) throw new Error(`${bytes.toString()} was opened`)
  })
  fc.assert(run, { numRuns: 5 * RUNS, ...SEED })
  t.pass()
  t.end()
})

test('no bytes are an error, whoever sealed them, and none open for a purpose that they do not name', async (t) => {
  const run = fc.property(strange, fc.constantFrom('message' as const, 'data' as const), (bytes, form) => {
    const opened = unwrap(bytes, form, 'a', true, NOON)
    if (opened !== undefined && !mayOpen(bytes, form)) throw new Error(`${bytes.toString()} was opened`)
    if (opened?.expiresAt !== undefined && !(opened.expiresAt > NOON)) throw new Error('it has ended')
  })
  fc.assert(run, { numRuns: 4 * RUNS, ...SEED })

  for (const [name, reader] of Object.entries(readers)) {
    const sealed = fc.asyncProperty(strange, async (bytes) => {
      const opened = await reader.open(await reader.sealBytes(bytes, 'a'), 'a', NOON)
      if (opened === undefined) return
      if (
        reader.objects &&
        (typeof opened.value !== 'object' || opened.value === null || Array.isArray(opened.value))
      ) {
        throw new Error(`${name}: no object`)
      }
      if (opened.expiresAt !== undefined && !(opened.expiresAt > NOON)) throw new Error(`${name}: it has ended`)
      // the others seal for a purpose outside of what is encrypted, or for none
      if (/^(Message|Keyring)/.test(name) && !mayOpen(bytes, name.includes('data') ? 'data' : 'message')) {
        throw new Error(`${name}: ${bytes.toString()} was opened`)
      }
    })
    await fc.assert(sealed, { numRuns: Math.ceil(runsOf(reader) / 2), ...SEED })
  }
  t.pass()
})

test('rackSealer: the bytes that fill up may be of any number, and say no end but their own', (t) => {
  const sealer = rackSealer({ secret: RACK_SECRET, legacy: { ...legacyRack, zip: true } })
  const mark = Buffer.from('expires:')
  const filling = fc.record({
    said: fc.oneof(fc.nat({ max: 70_000 }), fc.constantFrom(0, 13, 14, 15, 65_535)),
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list)),
      fc.nat({ max: 2 * NOON }).map((end) => {
        const six = Buffer.alloc(6)
        six.writeUIntBE(end, 0, 6)
        return Buffer.concat([mark, six])
      }),
      fc.constant(mark),
    ),
    honest: fc.boolean(),
  })
  const run = fc.property(
    filling,
    payload,
    fc.constantFrom(1 as const, 2 as const),
    ({ said, bytes, honest }, data, mode) => {
      const size = Buffer.alloc(2)
      size.writeUInt16LE((honest ? bytes.length : said) % 65_536)
      const content = Buffer.concat([size, bytes, Buffer.from(JSON.stringify(data))])
      const opened = sealer.open(rack(mode, content, 'a'), 'a', NOON) as Awaited<ReturnType<Sealer['open']>>
      if (!honest) {
        if (opened?.expiresAt !== undefined && !(opened.expiresAt > NOON)) throw new Error('it has ended')
        return
      }
      const ends = bytes.length >= 14 && bytes.subarray(0, 8).equals(mark) ? bytes.readUIntBE(8, 6) : undefined
      const wanted = ends !== undefined && ends <= NOON ? undefined : { payload: data, expiresAt: ends, retired: false }
      agree('what was filled up', opened, wanted)
    },
  )
  fc.assert(run, { numRuns: RUNS, ...SEED })

  // a little that becomes a lot
  const bomb = signed(RACK_SECRET, deflateSync(`{"a":"${'a'.repeat(10_000_000)}"}`), 'sha1')
  t.equal(sealer.open(bomb, 'a', NOON), undefined)
  const small = signed(RACK_SECRET, deflateSync('{"a":1}'), 'sha1')
  t.match(sealer.open(small, 'a', NOON), { payload: { a: 1 } })
  t.end()
})
