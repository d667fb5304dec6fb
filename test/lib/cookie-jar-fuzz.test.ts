import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { test } from 'tap'
import {
  Builder,
  cookies,
  type CookieJar,
  type CookieOptions,
  type JsonValue,
  type RackResponse,
} from '../../lib/index.ts'
import { RequestJar } from '../../lib/cookie-jar.ts'
import { fuzzing } from '../fuzz.ts'
import { SECRET } from '../session-app.ts'

const { RUNS, SEED } = fuzzing()

let time = Date.UTC(2026, 2, 14, 12)
const clock = (): number => time

/** What the controller is to do with the jar of the request that is under way. */
let use: (jar: CookieJar) => void = () => {}

const app = new Builder().use(cookies({ secret: SECRET, clock })).run((req) => {
  use(req.cookies)
  return [200, {}, '']
})

/** One request over TLS, with a header that need not be one that node's parser lets through. */
function visit(cookie: string | undefined, host: string, act: (jar: CookieJar) => void): string[] {
  const req = new IncomingMessage(Object.assign(new Socket(), { encrypted: true }))
  req.url = '/'
  req.headers = { host, ...(cookie === undefined ? undefined : { cookie }) }
  use = act
  const [, headers] = app(req) as RackResponse
  return [headers['set-cookie'] ?? []].flat() as string[]
}

function agree(what: string, real: unknown, wanted: unknown): void {
  if (isDeepStrictEqual(real, wanted)) return
  throw new Error(`${what}: ${JSON.stringify(real)}, and in the model ${JSON.stringify(wanted)}`)
}

function decoded(raw: string): string {
  try {
    return decodeURIComponent(raw)
  } catch {
    return raw
  }
}

const withoutBlanks = (text: string): string => text.replace(/^[\t ]+/, '').replace(/[\t ]+$/, '')

/** The pairs of a Cookie header, as they stand there. */
function pairsOf(header: string): [name: string, value: string][] {
  return header
    .split(';')
    .filter((pair) => pair.includes('='))
    .map((pair) => {
      const at = pair.indexOf('=')
      return [withoutBlanks(pair.slice(0, at)), withoutBlanks(pair.slice(at + 1))]
    })
}

// ---- what a browser sends

const PROTOTYPE = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', '__defineGetter__']

const latin1 = fc.uint8Array({ maxLength: 12 }).map((list) => Buffer.from(list).toString('latin1'))
const sentName = fc.oneof(
  fc.constantFrom(...PROTOTYPE, 'a', 'b', 'A', '0', '10', '9', '', ' ', '"a"', 'a ', '\ta', '$Version', 'Path', '%61'),
  latin1,
)
const sentValue = fc.oneof(
  fc.constantFrom('', '1', '"', '"a b"', ' x ', '\t', ',', 'a, b=c', '=', '==', 'a=b', '\\', '"\\""', '%', '%%', '%0'),
  fc.constantFrom(
    '%41',
    '%zz',
    '%E2%82%AC',
    '%e2%82%ac',
    '%ff',
    '%00',
    '%0d%0aSet-Cookie:x=y',
    '%u0041',
    'a%20b+c',
    '%3B',
  ),
  latin1,
)
const pair = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(sentName, sentValue).map((parts) => parts.join('=')) },
  { weight: 1, arbitrary: fc.constantFrom('', ' ', 'a', '=', '=a', '==', 'a==', ' = ', '\t=\t') },
)
const separator = fc.constantFrom('; ', ';', ' ;', ';\t', ';;', '; ; ')
const header = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.array(fc.tuple(pair, separator), { maxLength: 12 }).map((list) => list.flat().slice(0, -1).join('')),
  },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 120 }).map((list) => Buffer.from(list).toString('latin1')) },
  {
    weight: 1,
    arbitrary: fc.string({ unit: fc.constantFrom('=', ';', '%', ' ', '"', 'a', '\t', 'b', ','), maxLength: 60 }),
  },
)

/** Without the pair `=`, which get knows and the list does not, so that there is no one model of it. */
const usual = header.filter((cookie) => !cookie.split(';').includes('='))

/** What the jar of a header is. */
function modelOf(cookie: string): Map<string, string> {
  const model = new Map<string, string>()
  for (const [name, value] of pairsOf(cookie)) if (!model.has(name)) model.set(name, decoded(value))
  return model
}

function readsAs(cookie: string): void {
  const model = modelOf(cookie)
  const lines = visit(cookie, 'localhost', (jar) => {
    agree('iteration', [...jar], [...model])
    agree('again', [...jar.permanent], [...model])
    agree('toObject', jar.toObject(), Object.fromEntries(model))
    agree('size', jar.size, model.size)
    for (const name of [...model.keys(), ...PROTOTYPE, 'absent', '']) {
      agree(`get ${name}`, jar.get(name), model.get(name))
      agree(`has ${name}`, jar.has(name), model.has(name))
    }
    for (const sealed of [jar.signed, jar.encrypted]) {
      agree('sealed', [[...sealed], sealed.toObject(), sealed.size], [[], {}, 0])
      for (const name of [...model.keys(), ...PROTOTYPE]) agree('opened', sealed.get(name), undefined)
    }
    const all = jar as RequestJar
    for (const name of [...model.keys()].slice(0, 20)) {
      const values = pairsOf(cookie).flatMap(([one, value]) => (one === name ? [value] : []))
      agree(`the values of ${name}`, all.rawValues(name, 4), values.slice(0, 4))
    }
  })
  agree('lines', lines, [])
}

test('CORE-01, CORE-03, CORE-05: the jar of any header is its pairs, the first of each name', (t) => {
  fc.assert(fc.property(usual, readsAs), { numRuns: 5 * RUNS, ...SEED })
  t.pass()
  t.end()
})

test('a pair that has neither a name nor a value is no error, and changes nothing for others', (t) => {
  const run = fc.property(header, header, (before, after) => {
    visit(`${before};=;${after}`, 'localhost', (jar) => {
      const others = ([name]: [string, string]): boolean => name !== ''
      agree('the others', [...jar].filter(others), [...modelOf(`${before};${after}`)].filter(others))
    })
  })
  fc.assert(run, { numRuns: RUNS, ...SEED })
  t.pass()
  t.end()
})

test('a header of thousands of pairs is read as one of a few', (t) => {
  const many = fc
    .tuple(fc.array(pair, { minLength: 20, maxLength: 60 }), fc.integer({ min: 50, max: 200 }))
    .map(([pairs, times]) =>
      Array.from({ length: times }, (_, i) => pairs.map((one) => (i % 3 === 0 ? one : `${i}${one}`)).join('; ')).join(
        ';',
      ),
    )
    .filter((cookie) => !cookie.split(';').includes('='))
  fc.assert(fc.property(many, readsAs), { numRuns: Math.ceil(RUNS / 80), ...SEED })
  t.pass()
  t.end()
})

// ---- what a browser is sent

interface Line {
  name: string
  value: string
  /** In lower case; a flag is `true`. */
  attributes: Record<string, string | true>
}

/** RFC 6265, section 5.2, and nothing of what it would forgive. */
function lineOf(text: string): Line {
  if (!/^[ -~]+$/.test(text)) throw new Error(`characters that no header has: ${JSON.stringify(text)}`)
  const [first = '', ...rest] = text.split(';')
  const at = first.indexOf('=')
  const attributes: Line['attributes'] = {}
  for (const part of rest) {
    const [, name = '', value = true] = /^ ([A-Za-z-]+)(?:=(.*))?$/.exec(part) ?? []
    const lower = name.toLowerCase()
    if (name === '' || Object.hasOwn(attributes, lower)) throw new Error(`no attribute, or one twice: ${text}`)
    attributes[lower] = value === true ? value : withoutBlanks(value)
  }
  return { name: first.slice(0, at), value: first.slice(at + 1), attributes }
}

const SAME_SITE = { strict: 'Strict', lax: 'Lax', none: 'None' } as const
const PRIORITY = { low: 'Low', medium: 'Medium', high: 'High' } as const

/** The attributes that these options ask for, and no others. */
function wantedOf(options: CookieOptions, domain?: string): Line['attributes'] {
  const { path = '/', maxAge, expires, httpOnly, secure, partitioned, sameSite = 'lax', priority } = options
  return {
    path: withoutBlanks(path),
    ...(domain === undefined ? undefined : { domain }),
    ...(maxAge === undefined ? undefined : { 'max-age': String(maxAge) }),
    ...(expires === undefined ? undefined : { expires: expires.toUTCString() }),
    ...(httpOnly ? { httponly: true as const } : undefined),
    ...(secure ? { secure: true as const } : undefined),
    ...(partitioned ? { partitioned: true as const } : undefined),
    ...(sameSite === null ? undefined : { samesite: SAME_SITE[sameSite] }),
    ...(priority === undefined ? undefined : { priority: PRIORITY[priority] }),
  }
}

const HOSTILE = [
  'a\r\nSet-Cookie: evil=1',
  'a\nb',
  'a\rb',
  'a\0b',
  'a; Domain=evil.example',
  'a;HttpOnly',
  'a, b=c',
  '\uD83D',
  '\u{1F600}',
  'a\u2028b',
  'a\u010Ab',
  '%0d%0a',
  ' ',
  '',
  '=',
  '__Host-a',
  '__Secure-a',
  '__proto__',
]
const anyText = fc.oneof(
  fc.constantFrom(...HOSTILE),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ unit: 'binary-ascii', maxLength: 12 }),
  fc.stringMatching(/^[\w!#$%&'*+.^`|~-]{1,8}$/),
)
const anyPath = fc.oneof(
  fc.constant(undefined),
  anyText,
  anyText.map((text) => `/${text}`),
  fc.webPath(),
)
const anyDomain = fc.oneof(
  fc.constantFrom(undefined, 'example.org', '.example.org', 'all', 'localhost', '-a.org', 'a..org', 'a'.repeat(300)),
  fc.domain(),
  anyText,
  anyText.map((text) => `example.org${text}`),
)
const anyHost = fc.oneof(
  fc.constantFrom('localhost:3000', 'a.example.org', 'b.example.co.uk', '[::1]'),
  fc.domain(),
  anyText,
)

const anyOptions = fc.record(
  {
    maxAge: fc.oneof(fc.integer(), fc.double(), fc.constantFrom(0, -1, 1e21, NaN)),
    expires: fc.oneof(fc.date(), fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(Date.UTC(2100, 1)) })),
    httpOnly: fc.boolean(),
    secure: fc.boolean(),
    partitioned: fc.boolean(),
    sameSite: fc.constantFrom('strict' as const, 'lax' as const, 'none' as const, null),
    priority: fc.constantFrom('low' as const, 'medium' as const, 'high' as const),
  },
  { requiredKeys: [] },
)

test('whatever name, value, path, domain and host there is, a line says what was asked for, or an error says why not', (t) => {
  const counts = { sent: 0, refused: 0 }
  const how = fc.constantFrom('as it is' as const, 'in a list' as const, 'by a function' as const)
  const run = fc.property(
    anyText,
    anyText,
    anyPath,
    anyDomain,
    how,
    anyHost,
    anyOptions,
    (name, value, path, domain, domainHow, host, others) => {
      const given =
        domain === undefined
          ? undefined
          : { 'as it is': domain, 'in a list': [domain], 'by a function': () => domain }[domainHow]
      const options: CookieOptions = { ...others, path, domain: given }
      let code: string | undefined
      const lines = visit(undefined, host, (jar) => {
        try {
          jar.set(name, value, options)
        } catch (error) {
          code = (error as { code?: string }).code ?? String(error)
        }
      })
      if (code !== undefined) {
        counts.refused++
        agree('the error', code, 'ERR_INVALID_OPTION')
        agree('lines of what was refused', lines, [])
        return
      }
      counts.sent++
      agree('how many lines', lines.length, 1)
      const line = lineOf(lines[0] as string)
      agree('name', line.name, name)
      agree('value', decodeURIComponent(line.value), value)
      // which domain it is for is told by what was given alone, or by the host, of which it is a part
      const { domain: sent } = line.attributes
      if (
        sent !== undefined &&
        sent !== domain &&
        !(domain === 'all' && `.${host.toLowerCase().replace(/:\d*$/, '')}`.endsWith(`.${String(sent)}`))
      ) {
        throw new Error(`the domain is ${sent}`)
      }
      agree('attributes', line.attributes, wantedOf(options, sent as string | undefined))
    },
  )
  fc.assert(run, { numRuns: 5 * RUNS, ...SEED })
  t.ok(counts.sent > RUNS / 10 && counts.refused > RUNS, `${counts.sent} were sent, ${counts.refused} refused`)
  t.end()
})

test('delete has no line that could be another, whatever the browser sent and the options say', (t) => {
  let sentLines = 0
  const run = fc.property(usual, anyPath, anyDomain, anyOptions, (cookie, path, domain, others) => {
    const { maxAge: _, expires: __, ...rest } = others
    const options = { ...rest, path, domain }
    const model = modelOf(cookie)
    const refused = new Set<string>()
    const lines = visit(cookie, 'localhost', (jar) => {
      for (const [name, value] of model) {
        try {
          agree('what it was', jar.delete(name, options), value)
        } catch (error) {
          agree('the error', (error as { code?: string }).code, 'ERR_INVALID_OPTION')
          refused.add(name)
        }
      }
    })
    for (const text of lines) {
      const { name, value, attributes } = lineOf(text)
      if (!model.has(name) || refused.has(name) || value !== '')
        throw new Error(`a line that was not asked for: ${text}`)
      agree('the end', [attributes['max-age'], attributes['expires']], ['0', new Date(0).toUTCString()])
      sentLines++
    }
  })
  fc.assert(run, { numRuns: RUNS, ...SEED })
  t.ok(sentLines > RUNS / 10, `${sentLines} lines`)
  t.end()
})

// ---- several requests of one browser

type Kind = 'plain' | 'signed' | 'encrypted'

type Act =
  | { do: 'get' | 'has'; kind: Kind; name: string }
  | { do: 'delete'; kind: Kind; name: string }
  | { do: 'set'; kind: Kind; permanent: boolean; name: string; value: JsonValue; options: CookieOptions }
  | { do: 'list' | 'object' | 'size'; kind: Kind }

const TWENTY_YEARS = 20 * 365.25 * 24 * 3600 * 1000

const kind = fc.constantFrom<Kind>('plain', 'plain', 'signed', 'encrypted')
const jarName = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.constantFrom('a', 'b', 'c', '0', '1', 'Path', 'secure', '__proto__', 'constructor', 'toString'),
  },
  { weight: 2, arbitrary: fc.constantFrom('__Host-x', '"q"', 'a/b', '@') },
  { weight: 1, arbitrary: fc.constantFrom('', 'a b', 'a;b', 'a=b', 'é', 'a\r\nb', 'never') },
)
const plainValue = fc.oneof(
  fc.constantFrom(
    '',
    '1',
    '2',
    ' ',
    'a b',
    ';',
    ',',
    '"',
    '%',
    '%41',
    '%zz',
    '\r\n',
    '\0',
    'é',
    '\u{1F600}',
    'a=b',
    '\uD83D',
  ),
  fc.string({ unit: 'binary', maxLength: 6 }),
)
const sealedValue: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.constantFrom<JsonValue>(
    '',
    1,
    null,
    false,
    [],
    {},
    { a: 1, b: 2 },
    { b: 2, a: 1 },
    [1, [2]],
    '\u{1F600}',
    '\uD83D',
    -0,
  ),
  fc.constantFrom<JsonValue>(JSON.parse('{"__proto__":{"x":1}}'), {
    _rails: { message: 'e30=', exp: null, pur: 'cookie.a' },
  }),
  fc.constant('x'.repeat(5000)),
  fc.integer(),
)
/** Whole seconds, since a line carries no more. */
const setOptions: fc.Arbitrary<CookieOptions> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  {
    weight: 2,
    arbitrary: fc.record(
      {
        maxAge: fc.constantFrom(60, 1, 0, -1, 10_000_000),
        expires: fc.constantFrom(1, 100, 1000).map((days) => new Date(Date.UTC(2026, 2, 14) + days * 86_400_000)),
        httpOnly: fc.boolean(),
        secure: fc.boolean(),
        sameSite: fc.constantFrom('strict' as const, 'lax' as const, null),
        priority: fc.constantFrom('low' as const, 'high' as const),
      },
      { requiredKeys: [] },
    ),
  },
)

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('get', 'has'), kind, name: jarName }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete'), kind, name: jarName }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('list', 'object', 'size'), kind }) },
  {
    weight: 8,
    arbitrary: kind.chain((of) =>
      fc.record({
        do: fc.constant('set' as const),
        kind: fc.constant(of),
        permanent: fc.boolean(),
        name: jarName,
        value: of === 'plain' ? plainValue : sealedValue,
        options: setOptions,
      }),
    ),
  },
)

const requests = fc.array(
  fc.record({ after: fc.constantFrom(0, 1, 30, 61, 100_000), acts: fc.array(act, { maxLength: 8 }) }),
  {
    minLength: 1,
    maxLength: 6,
  },
)

/** A cookie as the model has it. */
interface Held {
  kind: Kind
  value: JsonValue
  /** Milliseconds since 1970. */
  end: number | undefined
}

/** What stands for the text of a sealed cookie, which the model does not know. */
const SEALED = 'some text'

/** The jar of one request: what the browser has, and what was written since. */
class ModelJar {
  readonly #sent: ReadonlyMap<string, Held>
  readonly written: Map<string, Held | undefined> = new Map()
  /** The attributes of the lines that are to be sent. */
  readonly lines: Map<string, Line['attributes']> = new Map()

  constructor(sent: ReadonlyMap<string, Held>) {
    this.#sent = sent
  }

  get(of: Kind, name: string): JsonValue | undefined {
    const held = this.written.has(name) ? this.written.get(name) : this.#sent.get(name)
    if (held === undefined) return undefined
    if (of === 'plain') return held.kind === 'plain' ? held.value : SEALED
    return held.kind === of && (held.end === undefined || held.end > time) ? held.value : undefined
  }

  list(of: Kind): [string, JsonValue][] {
    const names = new Set([...this.#sent.keys(), ...this.written.keys()])
    return [...names].flatMap((name) => {
      const value = this.get(of, name)
      return value === undefined ? [] : [[name, value] as [string, JsonValue]]
    })
  }

  delete(of: Kind, name: string): JsonValue | undefined {
    const value = this.get(of, name)
    if ((this.get('plain', name) === undefined && !this.#sent.has(name)) || !/^[!-:<>-~]+$/.test(name)) return value
    this.written.set(name, undefined)
    const secure = /^__(Host|Secure)-/i.test(name)
    this.lines.set(name, wantedOf({ maxAge: 0, expires: new Date(0), secure }))
    return value
  }

  set(of: Kind, permanent: boolean, name: string, value: JsonValue, given: CookieOptions): string | undefined {
    const options = permanent ? { ...given, expires: new Date(time + TWENTY_YEARS) } : given
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) return 'ERR_INVALID_OPTION'
    if (name === '__Host-x' && options.secure !== true) return 'ERR_INVALID_OPTION'
    if (value === '\uD83D') return of === 'plain' ? 'ERR_INVALID_OPTION' : 'ERR_SESSION_VALUE'
    if (of !== 'plain' && typeof value === 'string' && value.length > 4096) return 'ERR_COOKIE_OVERFLOW'
    const { maxAge, expires } = options
    const end = maxAge === undefined ? expires?.getTime() : time + maxAge * 1000
    const held = { kind: of, value: JSON.parse(JSON.stringify(value)) as JsonValue, end }
    if (end === undefined && !this.written.has(name) && this.#has(name, held)) return undefined
    this.written.set(name, held)
    this.lines.set(name, wantedOf(options))
    return undefined
  }

  /** Whether the browser has this very cookie, which then is not sent again. */
  #has(name: string, { kind: of, value }: Held): boolean {
    const sent = this.#sent.get(name)
    if (sent?.kind !== of) return false
    // what a plain cookie ends with is not known to the server
    if (of === 'plain') return sent.value === value
    if (sent.end !== undefined) return false
    return of === 'signed' ? JSON.stringify(sent.value) === JSON.stringify(value) : isDeepStrictEqual(sent.value, value)
  }
}

function performIn(jar: CookieJar, model: ModelJar, one: Act): void {
  const view = one.kind === 'plain' ? jar : jar[one.kind]
  // of a sealed cookie the plain jar gives the text
  const known = (real: unknown, wanted: unknown): unknown =>
    wanted === SEALED && typeof real === 'string' ? SEALED : real
  switch (one.do) {
    case 'get': {
      const wanted = model.get(one.kind, one.name)
      return agree(`get ${one.name}`, known(view.get(one.name), wanted), wanted)
    }
    case 'has':
      return agree(`has ${one.name}`, view.has(one.name), model.get(one.kind, one.name) !== undefined)
    case 'delete': {
      const wanted = model.delete(one.kind, one.name)
      return agree(`delete ${one.name}`, known(view.delete(one.name), wanted), wanted)
    }
    case 'set': {
      let code: string | undefined
      try {
        const given = one.permanent ? view.permanent : view
        ;(given as CookieJar).set(one.name, one.value as string, one.options)
      } catch (error) {
        code = (error as { code?: string }).code ?? String(error)
      }
      return agree(`set ${one.name}`, code, model.set(one.kind, one.permanent, one.name, one.value, one.options))
    }
    case 'size':
      return agree('size', view.size, model.list(one.kind).length)
    default: {
      const wanted = model.list(one.kind)
      const real = one.do === 'list' ? [...view] : view.toObject()
      const all = Object.entries(real).map(([key, entry]) =>
        one.do === 'list' ? (entry as unknown as [string, JsonValue]) : [key, entry],
      )
      const blurred = all.map(([name, value]) => [name, known(value, new Map(wanted).get(name as string))])
      if (one.do === 'list') return agree('list', blurred, wanted)
      return agree('object', Object.fromEntries(blurred), Object.fromEntries(wanted))
    }
  }
}

/** What the browser was given by somebody else before. */
const foreign = fc.uniqueArray(
  fc.tuple(
    fc.constantFrom('a', 'c', '__proto__', '"q"', 'a/b', '@', '%', 'é', 'a b'),
    fc.constantFrom('', '1', '"1"', '%zz', 'a%20b', '%e9', '%C3%A9', 'a=b', '\\'),
  ),
  { maxLength: 4, selector: ([name]) => name },
)

test('whatever is done to a jar in several requests, the browser has what an ordinary Map would have', (t) => {
  let lines = 0
  const run = fc.property(foreign, requests, (before, sequence) => {
    const browser = new Map<string, { text: string; end: number | undefined }>()
    const model = new Map<string, Held>()
    for (const [name, text] of before) {
      browser.set(name, { text, end: undefined })
      model.set(name, { kind: 'plain', value: decoded(text), end: undefined })
    }
    for (const { after, acts } of sequence) {
      time += after * 1000
      for (const held of [browser, model]) {
        for (const [name, { end }] of held) if (end !== undefined && end <= time) held.delete(name)
      }
      agree('what the browser has', [...browser.keys()], [...model.keys()])

      const cookie =
        browser.size === 0 ? undefined : [...browser].map(([name, { text }]) => `${name}=${text}`).join('; ')
      const jar = new ModelJar(new Map(model))
      const sent = visit(cookie, 'localhost', (real) => {
        for (const one of acts) performIn(real, jar, one)
        agree('at the end', real.size, jar.list('plain').length)
      }).map(lineOf)

      agree(
        'lines',
        Object.fromEntries(sent.map(({ name, attributes }) => [name, attributes])),
        Object.fromEntries(jar.lines),
      )
      agree('how many lines', sent.length, jar.lines.size)
      lines += sent.length
      for (const { name, value: text, attributes } of sent) {
        const { 'max-age': maxAge, expires } = attributes
        const end = maxAge === undefined ? expires && Date.parse(String(expires)) : time + Number(maxAge) * 1000
        if (end !== undefined && Number(end) <= time) browser.delete(name)
        else browser.set(name, { text, end: end === undefined ? undefined : Number(end) })
      }
      for (const [name, held] of jar.written) {
        if (held === undefined || (held.end !== undefined && held.end <= time)) model.delete(name)
        else model.set(name, held)
      }
    }
  })
  fc.assert(run, { numRuns: 2 * RUNS, ...SEED })
  t.ok(lines > RUNS, `${lines} lines were sent`)
  t.end()
})
