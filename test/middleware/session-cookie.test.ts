import { createCipheriv } from 'node:crypto'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { inspect } from 'node:util'
import { test, type Test } from 'tap'
import {
  Builder,
  CookieStore,
  cookies,
  KeyGenerator,
  MemoryStore,
  type App,
  type LoadMessage,
  type Sealer,
} from '../../lib/index.ts'
import { json, KEY, LOAD, messagesOf, stage } from '../http-suite.ts'
import { Client, serve } from '../server.ts'
import { SECRET, sessionApp } from '../session-app.ts'

const key = new KeyGenerator(SECRET, { iterations: 1000, digest: 'SHA256' }).generateKey(
  'authenticated encrypted cookie',
  32,
)

/** Any plaintext under the right key, as it stands in a Cookie header. */
function seal(plaintext: string | Buffer): string {
  const iv = Buffer.alloc(12, 7)
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  const data = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return encodeURIComponent([data, iv, cipher.getAuthTag()].map((part) => part.toString('base64')).join('--'))
}

const envelope = (inner: string | Buffer): string =>
  JSON.stringify({ _rails: { message: Buffer.from(inner).toString('base64'), exp: null, pur: `cookie.${KEY}` } })

/** Calls an app without a socket, where there are many requests to make. */
async function readWith(app: App, cookie: string): Promise<[status: number, body: unknown, sets: boolean]> {
  const headers = { host: 'localhost', cookie: `${KEY}=${cookie}` }
  const req = Object.assign(new IncomingMessage(new Socket()), { url: '/read', method: 'GET', headers })
  const [status, sent, body] = await app(req)
  return [status, body, 'set-cookie' in sent]
}

const EMPTY = [200, 'foo: null', false]

/** Counts what the JSON parser is asked until the test ends. */
function spyOnParser(t: Test): { texts: string[] } {
  const seen: { texts: string[] } = { texts: [] }
  const parse = JSON.parse.bind(JSON)
  JSON.parse = (text: string, ...rest: []): unknown => {
    seen.texts.push(text)
    return parse(text, ...rest)
  }
  t.teardown(() => {
    JSON.parse = parse
  })
  return seen
}

async function sealed(t: Test, app: App = sessionApp()): Promise<string> {
  const { port } = await serve(t, app)
  const client = new Client(port)
  await client.get('/write')
  return client.jar.get(KEY) ?? ''
}

test('COOKIESTORE-02: the same content gives other bytes each time, and any process with the secret reads them', async (t) => {
  const [one, another] = [await serve(t, sessionApp()), await serve(t, sessionApp())]
  const [alice, bob] = [new Client(one.port), new Client(another.port)]
  await alice.get('/write?v=bar')
  await bob.get('/write?v=bar')
  const values = [alice.jar.get(KEY) ?? '', bob.jar.get(KEY) ?? '']
  t.not(values[0], values[1])
  const parts = values.map((value) => value.split('--'))
  t.not(parts[0]?.[1], parts[1]?.[1], 'a fresh nonce')
  const elsewhere = new Client(another.port)
  elsewhere.jar.set(KEY, values[0] ?? '')
  t.equal((await elsewhere.get('/read')).body, 'foo: "bar"')
})

test('SECURITY-02: a cookie made under another secret of the same length is an empty session', async (t) => {
  const cookie = await sealed(t, sessionApp({}, { secret: SECRET.replace('tests', 'other') }))
  const { port } = await serve(t, sessionApp())
  const client = new Client(port)
  client.jar.set(KEY, cookie)
  const { status, body, cookies: lines } = await client.get('/read')
  t.equal(status, 200)
  t.equal(body, 'foo: null')
  t.same(lines, [])
})

test('COOKIESTORE-06: a refused cookie is told once, without the secret or the value', async (t) => {
  const { client } = await stage(t, { store: new CookieStore() })
  await client.get('/write')
  const value = client.jar.get(KEY) ?? ''
  const tampered = `${value.startsWith('A') ? 'B' : 'A'}${value.slice(1)}`
  client.jar.set(KEY, tampered)
  const loads = messagesOf<LoadMessage>(t, LOAD)
  const { status, body } = await client.get('/read')
  t.equal(status, 200)
  t.equal(body, 'foo: null')
  t.equal(loads.length, 1)
  const { req, ...told } = loads[0] as LoadMessage
  t.equal(req.url, '/read')
  t.same(told, { key: KEY, outcome: 'refused' })
  t.notOk(inspect(told, { showHidden: true }).includes(SECRET))
})

test('COOKIESTORE-08: what the key opens and the parser cannot read is an empty session', async (t) => {
  const app = sessionApp()
  const id = '"session_id":"0123456789abcdef0123456789abcdef"'
  t.same(await readWith(app, seal(envelope(`{${id},"foo":"bar"}`))), [200, 'foo: "bar"', true], 'this one can be read')
  const unreadable = ['', 'no JSON', '{', `{${id},"foo":}`, '\x04\x08{\x06I"\bfoo', 'null', '[]', '"text"', '5']
  for (const inner of unreadable) t.same(await readWith(app, seal(envelope(inner))), EMPTY, inspect(inner))
  for (const plaintext of [
    '',
    'no JSON',
    '{"_rails":',
    '{"_rails":{"message":"!!","exp":null,"pur":null}}',
    '\xff\xfe',
  ])
    t.same(await readWith(app, seal(plaintext)), EMPTY, inspect(plaintext))
})

test('a sealed value that is of no session is refused', async (t) => {
  const app = sessionApp()
  const session = '{"session_id":"0123456789abcdef0123456789abcdef","foo":"bar"}'
  const other = envelope(session).replace(`cookie.${KEY}`, 'cookie._other')
  t.same(await readWith(app, seal(other)), EMPTY, 'of another cookie')
  t.same(await readWith(app, seal(session)), EMPTY, 'without an envelope')
  t.same(await readWith(app, seal(envelope(session).replace(`"cookie.${KEY}"`, 'null'))), EMPTY, 'without a purpose')
  t.same(await readWith(app, seal(envelope('{"foo":"bar"}'))), EMPTY, 'without an id')
})

test('nothing but a sealed cookie is read: no JSON, no base64, no signed or other cookie', async (t) => {
  const make = new Builder().use(cookies({ secret: SECRET })).run((req) => {
    const value = { session_id: '0123456789abcdef0123456789abcdef', foo: 'evil' }
    req.cookies.signed.set(KEY, value).set('other', value)
    req.cookies.encrypted.set('sealed_for_another', value)
    return json('made')
  })
  const { port } = await serve(t, make)
  const maker = new Client(port)
  await maker.get('/')
  const text = '{"session_id":"0123456789abcdef0123456789abcdef","foo":"evil"}'
  const values = [...maker.jar.values(), text, encodeURIComponent(text), Buffer.from(text).toString('base64')]
  t.equal(maker.jar.size, 3)
  const app = sessionApp()
  const parser = spyOnParser(t)
  for (const value of values) t.same(await readWith(app, value), EMPTY, value.slice(0, 20))
  t.same(
    parser.texts.filter((one) => one.includes('evil')),
    [],
  )
})

test('a cookie in which any one bit was flipped is an empty session, and no parser sees its bytes', async (t) => {
  const cookie = await sealed(t)
  const app = sessionApp()
  const parser = spyOnParser(t)
  t.same(await readWith(app, cookie), [200, 'foo: "bar"', false])
  t.ok(parser.texts.length > 0, 'as it is, it is read and parsed')
  parser.texts = []
  const wrong = []
  let tried = 0
  for (let i = 0; i < cookie.length; i++) {
    for (let bit = 0; bit < 8; bit++) {
      const code = cookie.charCodeAt(i) ^ (1 << bit)
      if (code < 0x20 || code === 0x7f) continue // node itself refuses these in a header
      tried++
      const flipped = `${cookie.slice(0, i)}${String.fromCharCode(code)}${cookie.slice(i + 1)}`
      const answer = await readWith(app, flipped)
      if (inspect(answer) !== inspect(EMPTY)) wrong.push(flipped)
    }
  }
  t.ok(tried > 1500)
  t.same(wrong, [])
  t.same(parser.texts, [])
})

test('the same over a socket: any byte of the header may be wrong', async (t) => {
  const cookie = await sealed(t)
  const { port, errors } = await serve(t, sessionApp())
  const client = new Client(port)
  for (let i = 0; i < cookie.length; i += 3) {
    client.jar.set(KEY, `${cookie.slice(0, i)}${cookie[i] === 'x' ? 'y' : 'x'}${cookie.slice(i + 1)}`)
    const { status, body, cookies: lines } = await client.get('/read')
    t.same([status, body, lines], [200, 'foo: null', []], `byte ${i}`)
  }
  t.same(errors, [])
})

test('a cookie that was cut, doubled or put together of two is an empty session', async (t) => {
  const [one, two] = [await sealed(t), await sealed(t)]
  const app = sessionApp()
  const [a, b] = [one.split('--'), two.split('--')]
  const wrong = [
    '',
    '--',
    '----',
    one.slice(0, -1),
    one.slice(1),
    `${one}A`,
    `${one}--`,
    `--${one}`,
    one + one,
    [a[0], a[1]].join('--'),
    [a[0], a[1], b[2]].join('--'),
    [a[0], b[1], a[2]].join('--'),
    [b[0], a[1], a[2]].join('--'),
    [a[0], a[1], ''].join('--'),
    [a[0], a[1], a[2]?.slice(0, 4)].join('--'),
    ['', a[1], a[2]].join('--'),
    [a[0], a[2], a[1]].join('--'),
    one.replaceAll('%3D', ''),
    one.toLowerCase(),
    'x'.repeat(16_000),
    '-'.repeat(16_000),
    '%'.repeat(16_000),
    `${'A'.repeat(8000)}--${'A'.repeat(16)}--${'A'.repeat(22)}==`,
  ]
  const before = process.hrtime.bigint()
  for (const value of wrong) t.same(await readWith(app, value), EMPTY, value.slice(0, 60))
  t.ok(process.hrtime.bigint() - before < 10_000_000_000n, 'in bounded time')
})

test('a session too large for a cookie is an error that names sizes and keys, and no value', async (t) => {
  const { client, errors } = await stage(
    t,
    { store: new CookieStore() },
    {
      '/large': async (req) => {
        Object.assign(await req.session, { essay: 'secret '.repeat(600), note: 'secret' })
        return json('large')
      },
    },
  )
  await client.get('/write')
  const { status, cookies: lines } = await client.get('/large')
  t.equal(status, 500)
  t.same(lines, [])
  t.match(errors[0], { code: 'ERR_COOKIE_OVERFLOW', message: /_session_id.*4096.*essay \(\d+ bytes\), note/ })
  t.notOk((errors[0] as Error).message.includes('secret'))
  t.equal((await client.get('/all')).body, '{"foo":"bar"}', 'what the browser has is as it was')
})

test('a session of 1,850 bytes of JSON fits', async (t) => {
  const { client } = await stage(
    t,
    { store: new CookieStore() },
    {
      '/full': async (req) => {
        ;(await req.session).foo = 'x'.repeat(1840)
        return json('full')
      },
    },
  )
  const { status, cookies: lines } = await client.get('/full')
  t.equal(status, 200)
  t.ok((lines[0]?.split(';')[0]?.length ?? 0) <= 4096)
})

test('the session’s own entries stand in the payload, and are not seen in the hash', async (t) => {
  const payloads: Record<string, unknown>[] = []
  const plain: Sealer = {
    seal: (payload) => {
      payloads.push(payload)
      return Buffer.from(JSON.stringify(payload)).toString('base64url')
    },
    open: (value) => ({
      payload: JSON.parse(Buffer.from(value, 'base64url').toString()) as Record<string, string>,
      expiresAt: undefined,
      retired: false,
    }),
  }
  const { client, time } = await stage(t, { store: new CookieStore({ sealer: plain }), cookies: { secret: undefined } })
  await client.get('/write')
  const { body: id } = await client.get('/id')
  t.same(Object.entries(payloads[0] ?? {}), [
    ['session_id', id],
    ['foo', 'bar'],
    ['_created_at', time.now],
  ])
  t.equal((await client.get('/all')).body, '{"foo":"bar"}')
})

test('a sealer may be asynchronous, and what it fails with is an error', async (t) => {
  const seals = new Map<string, Record<string, unknown>>()
  const slow: Sealer = {
    seal: async (payload) => {
      seals.set(`seal${seals.size}`, structuredClone({ ...payload }))
      return `seal${seals.size - 1}`
    },
    open: async (value) => {
      if (value === 'broken') throw new Error('sealer')
      const payload = seals.get(value) as Record<string, string> | undefined
      return payload && { payload, expiresAt: undefined, retired: false }
    },
  }
  const { client, errors } = await stage(t, { store: new CookieStore({ sealer: slow }) })
  await client.get('/count')
  t.equal((await client.get('/count')).body, '2')
  client.jar.set(KEY, 'broken')
  t.equal((await client.get('/read')).status, 500)
  t.match(errors[0], { message: 'sealer' })
})

test('an id of a server-side store opens no cookie, and a sealed cookie is no id', async (t) => {
  const app = sessionApp()
  t.same(await readWith(app, '0123456789abcdef0123456789abcdef'), EMPTY)
  const { client, spy } = await stage(t, { store: new MemoryStore() })
  client.jar.set(KEY, await sealed(t))
  t.equal((await client.get('/read')).body, 'foo: null')
  t.same(spy.took(), ['get'])
})

test('a session cookie with escapes in both letter cases is refused: nobody writes one', async (t) => {
  const { port } = await serve(t, sessionApp())
  const client = new Client(port)
  let cookie = ''
  // a value that has one of base64's characters that are escaped, beside the padding
  for (let i = 0; !/%2[BF]/.test(cookie); i++) {
    await client.get(`/write?v=${i}`)
    cookie = client.jar.get(KEY) ?? ''
  }
  const app = sessionApp()
  t.match((await readWith(app, cookie))[1], /^foo: "/)
  const lower = cookie.replace(/%2[BF]/, (escape) => escape.toLowerCase())
  t.same(await readWith(app, lower), EMPTY)
})
