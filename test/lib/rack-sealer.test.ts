import { createDecipheriv, createHmac } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { isDeepStrictEqual } from 'node:util'
import { test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  rackSealer,
  session,
  type RackSealerOptions,
  type Secret,
  type Session,
} from '../../lib/index.ts'
import { httpSuite, KEY, stage, Time } from '../http-suite.ts'
import { ask, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { vectorFiles, type Vector } from '../vectors.ts'

const LONG = SECRET.padEnd(64, '.')
const OTHER = LONG.toUpperCase()
const NOW = Date.now()
const FAR = NOW + 86_400_000

for (const mode of ['v1', 'v2'] as const) {
  httpSuite(test, {
    name: `rackSealer, ${mode}`,
    store: () => new CookieStore({ sealer: rackSealer({ secret: LONG, mode }) }),
    serverSide: false,
    merges: false,
    markers: false,
    clocked: true,
  })
}

// ---- vectors of Rack::Session::Encryptor

interface EncryptorOptions {
  mode: 'v1' | 'v2' | 'guess_version'
  serialize_json: boolean
  pad_size: number | null
  purpose: string | null
}

function encryptorOptions(vector: Vector): RackSealerOptions {
  const { mode, pad_size, purpose } = vector['options'] as EncryptorOptions
  const secret = Buffer.from(vector['secret_b64'] as string, 'base64')
  return { secret, purpose, padSize: pad_size, mode: mode === 'guess_version' ? undefined : mode }
}

/** What is written beside the data is of no matter here. */
function dataOf(payload: Record<string, unknown> | undefined): Record<string, unknown> | undefined {
  if (payload === undefined) return undefined
  const { _created_at, ...data } = payload
  return data
}

const ofKind = (kind: string): { version: string; vectors: Vector[] }[] =>
  vectorFiles(['rack-session'])
    .map(({ version, vectors }) => ({ version, vectors: vectors.filter((vector) => vector.kind === kind) }))
    .filter(({ vectors }) => vectors.length > 0)

const about = ({ id, label }: Vector): string => `${id} ${label}`

test('what Rack::Session::Encryptor encrypted is read, in the mode it was written in and where both are read', async (t) => {
  for (const { version, vectors } of ofKind('rack-encryptor')) {
    const wrong = []
    for (const vector of vectors) {
      const options = encryptorOptions(vector)
      const expected = JSON.parse(vector['message_json'] as string) as unknown
      for (const mode of [options.mode, undefined]) {
        const opened = await rackSealer({ ...options, mode }).open(vector['token'] as string, KEY, NOW)
        if (!isDeepStrictEqual(dataOf(opened?.payload), expected)) wrong.push(about(vector))
        else if (opened?.expiresAt !== undefined || opened?.retired !== false) wrong.push(`${about(vector)}: its end`)
      }
    }
    t.same(wrong, [], `Rails ${version}: ${vectors.length}`)
  }
})

test('what Rack::Session::Encryptor turns down is nothing, and what it takes is taken', async (t) => {
  for (const { version, vectors } of ofKind('rack-encryptor-read')) {
    const wrong = []
    for (const vector of vectors) {
      const opened = await rackSealer(encryptorOptions(vector)).open(vector['token'] as string, KEY, NOW)
      const json = vector['message_json'] as string | undefined
      const expected = vector['accepted'] === true ? (JSON.parse(json ?? 'null') as unknown) : undefined
      const same = isDeepStrictEqual(dataOf(opened?.payload), expected)
      if (!same && !excepted(vector)) wrong.push(`${about(vector)}: ${JSON.stringify(opened)}`)
    }
    t.same(wrong, [], `Rails ${version}: ${vectors.length}`)
  }
})

test('what Rack failed to encrypt, for the encodings of its own strings, is sealed and opened here', async (t) => {
  for (const { version, vectors } of ofKind('rack-encryptor-refused')) {
    for (const vector of vectors) {
      t.match(vector['error'], /^Encoding::CompatibilityError: /)
      const sealer = rackSealer(encryptorOptions(vector))
      const data = JSON.parse(vector['message_json'] as string) as Record<string, string>
      const opened = await sealer.open(await sealer.seal(data, KEY, FAR), KEY, NOW)
      t.same(dataOf(opened?.payload), data, `Rails ${version}: ${about(vector)}`)
    }
  }
})

test('options that Rack::Session::Encryptor turns down are errors when the sealer is built', (t) => {
  for (const { vectors } of ofKind('rack-encryptor-options')) {
    for (const { label } of vectors) {
      const [, mode, padSize] = /^(v[12]): pad_size (\d+)$/.exec(label) ?? []
      const [, , bytes] = /^(v[12]): (\d+)-byte secret$/.exec(label) ?? []
      t.ok(padSize ?? bytes, label)
      const options: RackSealerOptions =
        padSize === undefined
          ? { secret: 'x'.repeat(Number(bytes)), mode: label.slice(0, 2) as 'v1' }
          : { secret: LONG, mode: mode as 'v1', padSize: Number(padSize) }
      t.throws(() => rackSealer(options), { code: /^ERR_(INVALID_OPTION|SECRET_TOO_SHORT)$/ }, label)
    }
  }
  t.end()
})

// ---- vectors of Rack::Session::Cookie

interface CookieOptions {
  key?: string
  secrets?: string | string[]
  serialize_json?: boolean
  /** Of Rack 2, and what reads its cookies later. */
  secret?: string
  old_secret?: string
  hmac?: string
  legacy_hmac_secret?: string
  /** The class that turns the session into text. */
  coder?: string
  legacy_hmac_coder?: string
}

function cookieSealer(options: CookieOptions): RackSealerOptions {
  const { secrets, secret, old_secret, hmac, legacy_hmac_secret, coder, legacy_hmac_coder } = options
  const legacy: Secret | undefined =
    secret === undefined ? legacy_hmac_secret : old_secret === undefined ? secret : [secret, old_secret]
  return {
    secret: secrets ?? LONG,
    ...(legacy !== undefined && {
      legacy: {
        secret: legacy,
        digest: hmac?.endsWith('SHA256') ? 'SHA256' : 'SHA1',
        zip: (legacy_hmac_coder ?? coder)?.endsWith('ZipJSON') === true,
      },
    }),
  }
}

interface Read {
  readonly status: number
  readonly id: string
  readonly data: unknown
}

/** One request with these cookies to a stack of ours with the settings of Rack's. */
async function read(
  t: Parameters<typeof serve>[0],
  options: CookieOptions,
  key: string,
): Promise<(cookie: string) => Promise<Read>> {
  const app = new Builder()
    .use(cookies())
    .use(session({ store: new CookieStore({ sealer: rackSealer(cookieSealer(options)) }), key, secure: false }))
    .run(async (req) => {
      const hash: Session<Record<string, unknown>> = await req.session
      return [200, { 'x-id': req.session.id }, JSON.stringify(hash)]
    })
  const { port } = await serve(t, app)
  return async (cookie) => {
    const { status, headers, body } = await ask(port, '/', { headers: { cookie } })
    return { status, id: String(headers['x-id']), data: status === 200 ? JSON.parse(body) : body }
  }
}

/** One server for each settings. */
async function readers(t: Parameters<typeof serve>[0]): Promise<(vector: Vector, cookie: string) => Promise<Read>> {
  const known = new Map<string, Promise<(cookie: string) => Promise<Read>>>()
  return async (vector, cookie) => {
    const options = vector['options'] as CookieOptions
    const key = vector.cookie_name ?? options.key ?? 'rack.session'
    const name = JSON.stringify([options, key])
    if (!known.has(name)) known.set(name, read(t, options, key))
    return (await (known.get(name) as Promise<(cookie: string) => Promise<Read>>))(cookie)
  }
}

// Where we do not do as Rack did. Nothing else may differ.
const exceptions: { reason: string; applies: (vector: Vector) => boolean }[] = [
  {
    reason: 'the cookie is not signed, so that anybody can write it: it is never read',
    applies: ({ options }) => {
      const { secret, secrets } = options as CookieOptions
      return secret === undefined && secrets === undefined && 'coder' in (options as CookieOptions)
    },
  },
  {
    reason: 'the first rack-session with version 2 takes base64 with its padding only, later ones without, as we do',
    applies: ({ label, all_versions_agree: agree }) =>
      agree === false && ['v2: truncated by one character', 'v2: without padding characters'].includes(label),
  },
]

function excepted(vector: Vector): (typeof exceptions)[number] | undefined {
  return exceptions.find(({ applies }) => applies(vector))
}

const EMPTY = { status: 200, data: {} }

test('the sessions of Rack::Session::Cookie are read, with the id that Rack gave them', async (t) => {
  const readOf = await readers(t)
  for (const { version, vectors } of ofKind('rack-cookie')) {
    const wrong = []
    for (const vector of vectors) {
      // Rack sends no secure cookie over http
      if (vector.set_cookie === null) continue
      const found = await readOf(vector, `${vector.cookie_name}=${vector['cookie_value_escaped'] as string}`)
      const { session_id: id, ...data } = JSON.parse(vector.session_json ?? '{}') as Record<string, unknown>
      // as JSON, which writes -0 as 0
      const expected = excepted(vector)
        ? { ...EMPTY, id: 'undefined' }
        : { status: 200, id, data: JSON.parse(JSON.stringify(data)) as unknown }
      if (!isDeepStrictEqual(found, expected)) wrong.push(`${about(vector)}: ${JSON.stringify(found)}`)
    }
    t.same(wrong, [], `Rails ${version}: ${vectors.length}`)
  }
})

test('what Rack::Session::Cookie turns down is an empty session, and what it takes is taken', async (t) => {
  const readOf = await readers(t)
  for (const { version, vectors } of ofKind('rack-cookie-read')) {
    const wrong = []
    for (const vector of vectors) {
      const found = await readOf(vector, vector.cookie_header ?? '')
      const { session_id: id, ...data } = JSON.parse(vector.session_json ?? '{}') as Record<string, unknown>
      const expected =
        vector['accepted'] === true && !excepted(vector)
          ? { status: 200, id, data: JSON.parse(JSON.stringify(data)) as unknown }
          : { ...EMPTY, id: 'undefined' }
      if (!isDeepStrictEqual(found, expected)) wrong.push(`${about(vector)}: ${JSON.stringify(found)}`)
    }
    t.same(wrong, [], `Rails ${version}: ${vectors.length}`)
  }
})

test('what Rack::Session::Cookie failed to write is written here', async (t) => {
  for (const { version, vectors } of ofKind('rack-cookie-refused')) {
    for (const vector of vectors) {
      t.match(vector['error'], /^Encoding::CompatibilityError: /)
      const sealer = rackSealer(cookieSealer(vector['options'] as CookieOptions))
      const data = { session_id: 'abc', ...(vector.session as Record<string, string>) }
      const opened = await sealer.open(await sealer.seal(data, KEY, FAR), KEY, NOW)
      t.same(dataOf(opened?.payload), data, `Rails ${version}: ${about(vector)}`)
    }
  }
})

test('every kind of vector has a test', (t) => {
  const kinds = vectorFiles(['rack-session']).flatMap(({ vectors }) => vectors.map(({ kind }) => kind))
  t.same(
    [...new Set(kinds)].filter(
      (kind) => !/^rack-(encryptor(-read|-refused|-options)?|cookie(-read|-refused)?)$/.test(kind),
    ),
    [],
  )
  t.ok(kinds.length > 50)
  t.end()
})

// ---- what we write

/** Opens as rack-session's documentation has it, in the fewest words. */
function openAsRack(text: string, secret: string, purpose: string): { filling: Buffer; json: string } {
  const bytes = Buffer.from(text, 'base64')
  const keyOf = (from: number): Buffer =>
    createHmac('sha256', secret.slice(0, 32))
      .update(bytes.subarray(from, from + 32))
      .digest()
  let content: Buffer
  if (bytes[0] === 1) {
    const signed = bytes.subarray(0, -32)
    const mac = createHmac('sha256', secret.slice(32)).update(signed).update(purpose).digest()
    if (!mac.equals(bytes.subarray(-32))) throw new Error('not signed')
    content = createDecipheriv('aes-256-ctr', keyOf(1), bytes.subarray(33, 49)).update(signed.subarray(49))
  } else {
    const decipher = createDecipheriv('aes-256-gcm', keyOf(1), bytes.subarray(33, 45))
    decipher.setAAD(Buffer.concat([bytes.subarray(0, 33), Buffer.from(purpose)]))
    decipher.setAuthTag(bytes.subarray(45, 61))
    content = Buffer.concat([decipher.update(bytes.subarray(61)), decipher.final()])
  }
  const size = content.readUInt16LE(0)
  return { filling: content.subarray(2, 2 + size), json: content.subarray(2 + size).toString() }
}

test('what is written has the layout of Rack’s versions 1 and 2', async (t) => {
  const data = { session_id: 'abc', user: 'ada', city: 'Łódź', _created_at: NOW }
  const v1 = await rackSealer({ secret: LONG, mode: 'v1' }).seal(data, KEY, FAR)
  t.match(v1, /^AQ?[\w-]+={0,2}$/)
  const v2 = await rackSealer({ secret: LONG }).seal(data, KEY, FAR)
  t.match(v2, /^A[\w+/]+={0,2}$/)
  t.same(
    [v1, v2].map((text) => Buffer.from(text, 'base64')[0]),
    [1, 2],
  )
  for (const text of [v1, v2]) {
    t.equal(text.length % 4, 0)
    t.equal(openAsRack(text, LONG, KEY).json, JSON.stringify(data))
    t.throws(() => openAsRack(text, LONG, 'other'))
    t.throws(() => openAsRack(text, OTHER, KEY))
  }
  const short = await rackSealer({ secret: LONG.slice(0, 32), mode: 'v2' }).seal(data, KEY, FAR)
  t.equal(openAsRack(short, LONG, KEY).json, JSON.stringify(data), 'version 2 uses 32 bytes of the secret')
})

test('the purpose is the cookie’s name, and none for Rack’s own, unless it is given', async (t) => {
  const data = { session_id: 'abc' }
  const opens = (text: string, purpose: string): boolean => {
    try {
      return openAsRack(text, LONG, purpose).json === JSON.stringify(data)
    } catch {
      return false
    }
  }
  const seal = (name: string, purpose?: string | null) => rackSealer({ secret: LONG, purpose }).seal(data, name, FAR)
  t.ok(opens(await seal('_sinatra'), '_sinatra'))
  t.ok(opens(await seal('rack.session'), ''))
  t.ok(opens(await seal('rack.session', 'rack.session'), 'rack.session'))
  t.ok(opens(await seal('_sinatra', null), ''))
  const sealer = rackSealer({ secret: LONG })
  t.equal(await sealer.open(await seal('_sinatra'), '_other', NOW), undefined)
  t.ok(await sealer.open(await seal('_sinatra'), '_sinatra', NOW))
})

test('the content is filled up, so that its length does not show', async (t) => {
  for (const padSize of [undefined, null, 2, 3, 64, 4096] as const) {
    const sealer = rackSealer({ secret: LONG, padSize })
    for (let size = 0; size < 70; size++) {
      const data = { session_id: 'x'.repeat(size) }
      for (const end of [FAR, Infinity]) {
        const text = await sealer.seal(data, KEY, end)
        const { filling, json } = openAsRack(text, LONG, KEY)
        const length = 2 + filling.length + json.length
        const least = end === FAR ? 14 : 0
        const right =
          padSize === null
            ? filling.length === least
            : length % (padSize ?? 32) === 0 && filling.length > least && filling.length <= least + (padSize ?? 32)
        if (!right) t.fail(`${padSize}, ${size}: ${filling.length}`)
        const opened = await sealer.open(text, KEY, NOW)
        if (!isDeepStrictEqual(dataOf(opened?.payload), data)) t.fail(`${padSize}, ${size} does not open`)
      }
    }
    t.pass(String(padSize))
  }
})

test('a session ends inside the seal, where Rack’s format has no end', async (t) => {
  const time = new Time()
  for (const padSize of [32, null, 2]) {
    const sealer = rackSealer({ secret: LONG, padSize })
    const text = await sealer.seal({ session_id: 'abc' }, KEY, time.now + 1000)
    t.match(await sealer.open(text, KEY, time.now), { expiresAt: time.now + 1000, retired: false })
    t.ok(await sealer.open(text, KEY, time.now + 999))
    t.equal(await sealer.open(text, KEY, time.now + 1000), undefined)
    const endless = await sealer.seal({ session_id: 'abc' }, KEY, Infinity)
    t.match(await sealer.open(endless, KEY, time.now + 1e12), { expiresAt: undefined })
    const late = await sealer.seal({ session_id: 'abc' }, KEY, 1e17)
    t.ok(await sealer.open(late, KEY, time.now + 1e12))
  }
  const store = new CookieStore({ sealer: rackSealer({ secret: LONG }) })
  const { client } = await stage(t, { store, session: { expireAfter: 600 }, time })
  await client.get('/count')
  const cookie = client.jar.get(KEY) ?? ''
  time.advance(600)
  client.jar.set(KEY, cookie)
  t.equal((await client.get('/count')).body, '1')
})

test('a session of Rack keeps its id, and its nulls, when it is written here', async (t) => {
  const [vector] = ofKind('rack-cookie')
    .flatMap(({ vectors }) => vectors)
    .filter(({ label }) => label.startsWith('encrypted json, own key name: '))
  const { key = '', secrets = '' } = (vector as Vector)['options'] as CookieOptions
  const sealer = rackSealer({ secret: secrets })
  const before = JSON.parse(vector?.session_json ?? '{}') as Record<string, unknown>
  t.match(before['session_id'], /^[\da-f]{64}$/)
  const { client } = await stage(t, { store: new CookieStore({ sealer }), session: { key } })
  client.jar.set(key, vector?.['cookie_value_escaped'] as string)
  t.equal((await client.get('/id')).body, before['session_id'])
  await client.get('/write?v=tea')
  const written = decodeURIComponent(client.jar.get(key) ?? '')
  const { _created_at, ...after } = (await sealer.open(written, key, NOW))?.payload ?? {}
  t.same(after, { ...before, foo: 'tea' })
  t.type(_created_at, 'number')

  const withNull = await sealer.seal({ session_id: 'abc', user: null }, key, FAR)
  const second = await stage(t, { store: new CookieStore({ sealer }), session: { key } })
  second.client.jar.set(key, encodeURIComponent(withNull))
  t.equal((await second.client.get('/all')).body, '{"user":null}')
})

test('of a list of secrets the first seals and all open, and what another one opened is sealed anew', async (t) => {
  for (const mode of ['v1', 'v2', undefined] as const) {
    const old = await rackSealer({ secret: LONG, mode }).seal({ session_id: 'abc' }, KEY, FAR)
    const sealer = rackSealer({ secret: [OTHER, LONG], mode })
    t.match(await sealer.open(old, KEY, NOW), { retired: true, expiresAt: FAR })
    const anew = await sealer.seal({ session_id: 'abc' }, KEY, FAR)
    t.match(await sealer.open(anew, KEY, NOW), { retired: false })
    t.ok(openAsRack(anew, OTHER, KEY))
    t.equal(await rackSealer({ secret: LONG, mode }).open(anew, KEY, NOW), undefined)
  }
})

// ---- what is not to be believed

test('a cookie of which any byte was changed opens as nothing, and so does all else', async (t) => {
  for (const mode of ['v1', 'v2'] as const) {
    const sealer = rackSealer({ secret: LONG, mode })
    const both = rackSealer({ secret: LONG, legacy: { secret: LONG } })
    const text = await sealer.seal({ session_id: 'abc', user: 'ada' }, KEY, FAR)
    t.ok(await both.open(text, KEY, NOW))
    const opened = []
    for (let at = 0; at < text.length; at++) {
      for (const digit of 'AQgw-_+/=%') {
        const tampered = text.slice(0, at) + digit + text.slice(at + 1)
        // both alphabets of base64 are Rack's: where there is one such character only, the other is a spelling of its own
        if (Buffer.from(tampered, 'base64').equals(Buffer.from(text, 'base64')) && /^[\w+/-]*=*$/.test(tampered))
          continue
        for (const one of [sealer, both]) if (await one.open(tampered, KEY, NOW)) opened.push(tampered)
      }
      for (const one of [sealer, both]) if (await one.open(text.slice(0, at), KEY, NOW)) opened.push(at)
    }
    // without its padding it is another spelling that Rack takes too
    t.same(
      opened.filter((at) => typeof at === 'string' || at < text.replace(/=+$/, '').length),
      [],
      mode,
    )
    for (const hostile of [
      '',
      'A',
      '=',
      '==',
      '--',
      'a'.repeat(16_000),
      'Ag==',
      'AQ==',
      `${text}=`,
      `${text}\n`,
      ` ${text}`,
    ]) {
      t.equal(await both.open(hostile, KEY, NOW), undefined)
    }
  }
})

test('Marshal, and JSON that is no object, is nothing, though it was authenticated', async (t) => {
  const sealer = rackSealer({ secret: LONG })
  // what is sealed is not checked
  const seal = (value: unknown) => sealer.seal(value as Record<string, string>, KEY, FAR)
  for (const value of [null, 7, 'text', ['list']]) t.equal(await sealer.open(await seal(value), KEY, NOW), undefined)
  t.ok(await sealer.open(await seal({}), KEY, NOW))
  const marshal = Buffer.from('\u0004\b{\u0006I"\u000fsession_id', 'latin1').toString('base64')
  const mac = createHmac('sha1', LONG).update(marshal).digest('hex')
  const legacy = rackSealer({ secret: OTHER, legacy: { secret: LONG } })
  t.equal(await legacy.open(`${marshal}--${mac}`, KEY, NOW), undefined)
})

// ---- the cookies of Rack 2

test('a signed cookie of Rack 2 is read where it is asked for, sealed anew, and nothing else is', async (t) => {
  const data = Buffer.from('{"session_id":"abc","user":"ada"}').toString('base64')
  const sign = (text: string, hash: string, key = LONG): string =>
    `${text}--${createHmac(hash, key).update(text).digest('hex')}`
  const sealer = rackSealer({ secret: OTHER, legacy: { secret: LONG } })
  t.match(await sealer.open(sign(data, 'sha1'), KEY, NOW), {
    payload: { session_id: 'abc', user: 'ada' },
    expiresAt: undefined,
    retired: true,
  })
  t.equal(await rackSealer({ secret: LONG }).open(sign(data, 'sha1'), KEY, NOW), undefined)
  t.equal(await sealer.open(data, KEY, NOW), undefined)
  t.equal(await sealer.open(`${data}--`, KEY, NOW), undefined)
  t.equal(await sealer.open(sign(data, 'sha256'), KEY, NOW), undefined)
  t.equal(await sealer.open(sign(data, 'sha1', OTHER), KEY, NOW), undefined)
  t.equal(await sealer.open(sign(data, 'sha1', ''), KEY, NOW), undefined)
  t.match(await sealer.seal({ session_id: 'abc' }, KEY, FAR), /^A[\w+/]+=*$/)

  const { client } = await stage(t, { store: new CookieStore({ sealer }) })
  client.jar.set(KEY, encodeURIComponent(sign(data, 'sha1')))
  t.equal((await client.get('/all')).body, '{"user":"ada"}')
  t.match(await rackSealer({ secret: OTHER }).open(decodeURIComponent(client.jar.get(KEY) ?? ''), KEY, NOW), {
    payload: { user: 'ada' },
  })
})

test('what is inflated has a bound', async (t) => {
  const sealer = rackSealer({ secret: OTHER, legacy: { secret: LONG, zip: true } })
  const zipped = (json: string): string => {
    const text = deflateSync(json).toString('base64')
    return `${text}--${createHmac('sha1', LONG).update(text).digest('hex')}`
  }
  t.match(await sealer.open(zipped('{"session_id":"abc"}'), KEY, NOW), { payload: { session_id: 'abc' } })
  const bomb = zipped(`{"session_id":"${'a'.repeat(1_000_000)}"}`)
  t.ok(bomb.length < 4096)
  t.equal(await sealer.open(bomb, KEY, NOW), undefined)
  const plain = Buffer.from('{"session_id":"abc"}').toString('base64')
  const mac = createHmac('sha1', LONG).update(plain).digest('hex')
  t.equal(await sealer.open(`${plain}--${mac}`, KEY, NOW), undefined)
})

test('wrong options are errors when the sealer is built', (t) => {
  const wrong = (options: unknown, code: string): void => {
    t.throws(() => rackSealer(options as RackSealerOptions), { code }, JSON.stringify(options))
  }
  wrong({ secret: 'x'.repeat(31) }, 'ERR_SECRET_TOO_SHORT')
  wrong({ secret: 'x'.repeat(31), mode: 'v2' }, 'ERR_SECRET_TOO_SHORT')
  wrong({ secret: [LONG, ''] }, 'ERR_SECRET_TOO_SHORT')
  wrong({ secret: LONG, legacy: { secret: 'short' } }, 'ERR_SECRET_TOO_SHORT')
  for (const secret of [undefined, null, 7, [], [7], 'x'.repeat(63)]) wrong({ secret }, 'ERR_INVALID_OPTION')
  for (const padSize of [0, 1, 4097, 32.5, '32']) wrong({ secret: LONG, padSize }, 'ERR_INVALID_OPTION')
  for (const mode of ['v3', 'V1', null]) wrong({ secret: LONG, mode }, 'ERR_INVALID_OPTION')
  wrong({ secret: LONG, purpose: 7 }, 'ERR_INVALID_OPTION')
  wrong({ secret: LONG, legacy: {} }, 'ERR_INVALID_OPTION')
  wrong({ secret: LONG, legacy: { secret: LONG, digest: 'MD5' } }, 'ERR_INVALID_OPTION')
  const bytes = Buffer.from(LONG)
  const sealer = rackSealer({ secret: bytes })
  bytes.fill(0)
  t.ok(openAsRack(sealer.seal({}, KEY, FAR) as string, LONG, KEY), 'the secret was copied')
  t.end()
})
