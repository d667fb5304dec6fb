import {
  connect as connectHttp2,
  constants,
  createServer,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import { connect, createServer as createRelay, type AddressInfo, type Socket } from 'node:net'
import * as fc from 'fast-check'
import { test, type Test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  csrf,
  flash,
  form,
  forwarded,
  requestId,
  session,
  toListener,
} from '../../lib/index.ts'
import { statusOf } from '../../lib/error-response.ts'
import { fuzzing } from '../fuzz.ts'
import { SECRET } from '../session-app.ts'

/** A request that takes longer than this is one that hangs. */
const TOO_LONG = 5000

const { RUNS, SEED } = fuzzing()

const LIMIT = 1024

/** What an app throws on purpose. */
class Boom extends Error {}

/** How many bodies were begun and not ended. */
const bodies = { open: 0 }

function* pieces(count: number): Generator<string> {
  bodies.open++
  try {
    for (let i = 0; i < count; i++) yield 'x'.repeat(16 * 1024)
  } finally {
    bodies.open--
  }
}

async function* endless(): AsyncGenerator<string> {
  bodies.open++
  try {
    for (;;) {
      // lets others do something in between
      // oxlint-disable-next-line no-await-in-loop
      await new Promise((resolve) => setImmediate(resolve))
      yield 'x'.repeat(16 * 1024)
    }
  } finally {
    bodies.open--
  }
}

async function* broken(): AsyncGenerator<string> {
  bodies.open++
  try {
    yield 'begun'
    await Promise.resolve()
    throw new Boom()
  } finally {
    bodies.open--
  }
}

const app = new Builder()
  .use(requestId())
  .use(conditionalGet())
  .use(forwarded({ trust: 'loopback' }))
  .use(cookies({ secret: SECRET }))
  .use(session<{ seen: number }>({ secure: false }))
  .use(flash())
  .use(form({ limit: LIMIT }))
  .use(csrf({ log: false }))
  .run(async (req) => {
    switch (req.url?.split('?')[0]) {
      case '/pieces':
        return [200, {}, pieces(64)]
      case '/endless':
        return [200, {}, endless()]
      case '/broken':
        return [200, {}, broken()]
      case '/throw':
        throw new Boom()
      case '/wait':
        await new Promise<void>((resolve) => {
          if ((req as unknown as { stream: ServerHttp2Stream }).stream.closed) return resolve()
          req.once('close', resolve)
        })
        return [200, {}, pieces(2)]
      case '/nothing':
        return [204, {}, null]
      default: {
        const hash = await req.session
        hash.seen = (hash.seen ?? 0) + 1
        const fields = await req.form()
        const { notice } = await req.flash
        req.flash.now.notice = notice ?? 'hello'
        const names = Object.keys(req.cookies.toObject()).length + req.cookies.signed.size
        const body = [req.method, names, fields.size, req.forwarded.scheme, await req.csrfToken({ action: '' })]
        return [200, { 'content-type': 'text/plain', 'x-host': String(req.forwarded.host.length) }, body.join(' ')]
      }
    }
  })

function within<T>(what: string, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: not within ${TOO_LONG} ms`)), TOO_LONG)
    promise.finally(() => clearTimeout(timer)).then(resolve, reject)
  })
}

interface Served {
  port: number
  errors: unknown[]
  /** Those that have not said that they closed. */
  streams: Set<ServerHttp2Stream>
  /** Another connection, which nobody disturbs. */
  probe: ClientHttp2Session
  /** The server's, of which none is the probe's. */
  sockets: Set<Socket>
}

async function start(t: Test): Promise<Served> {
  const errors: unknown[] = []
  const streams = new Set<ServerHttp2Stream>()
  const server = createServer(toListener(app, { onError: (error) => errors.push(error) }))
  server.on('stream', (stream) => {
    streams.add(stream)
    stream.once('close', () => streams.delete(stream))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const probe = connectHttp2(`http://127.0.0.1:${port}`)
  t.teardown(() => {
    probe.destroy()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  await plain(probe)
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return { port, errors, streams, probe, sockets }
}

/** A plain request, and what came back. */
function plain(probe: ClientHttp2Session): Promise<{ status: number; body: string }> {
  return within(
    'a plain request',
    new Promise((resolve, reject) => {
      const stream = probe.request({ ':path': '/', 'sec-fetch-site': 'same-origin' })
      let status = 0
      let body = ''
      stream.setEncoding('utf8')
      stream.on('response', (headers) => (status = headers[':status'] ?? 0))
      stream.on('data', (chunk: string) => (body += chunk))
      stream.on('error', reject)
      stream.on('end', () => resolve({ status, body }))
    }),
  )
}

/** What must hold once everything that was asked for is over, or cut off. */
async function survived({ errors, streams, probe, sockets }: Served): Promise<void> {
  const { status, body } = await plain(probe)
  if (status !== 200 || !body.startsWith('GET 0 0 http ')) throw new Error(`a plain request got ${status} ${body}`)
  const left = (): string[] => [
    ...(bodies.open > 0 ? [`${bodies.open} bodies`] : []),
    ...(sockets.size > 0 ? [`${sockets.size} sockets`] : []),
    ...[...streams].map((stream) => `the stream ${stream.id}`),
  ]
  const began = performance.now()
  while (left().length > 0) {
    if (performance.now() - began > TOO_LONG) {
      const what = left().join()
      // else the next ones would find it too
      for (const socket of sockets) socket.destroy()
      for (const stream of streams) stream.session?.destroy()
      sockets.clear()
      streams.clear()
      throw new Error(`open: ${what}`)
    }
    // oxlint-disable-next-line no-await-in-loop -- until the sockets' ends have come in
    await new Promise((resolve) => setImmediate(resolve))
  }
  const own = errors.splice(0).filter((error) => statusOf(error) === 500 && !(error instanceof Boom))
  if (own.length > 0) throw own[0] as Error
}

// ---- what node's client can send

const path = fc.oneof(
  fc.constantFrom(
    '/',
    '/',
    '/pieces',
    '/endless',
    '/broken',
    '/throw',
    '/wait',
    '/nothing',
    '*',
    '',
    '//',
    '/?',
    '/%00',
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 10 }).map((text) => `/${text}`),
)
const value = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    'a',
    '%',
    '"',
    ',',
    'a=b; a=c',
    '__proto__=1',
    '_session_id=a--b--c',
    'https',
    '1.2.3.4',
    'é',
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 20 }),
  fc.string({ unit: 'binary', maxLength: 10 }),
  fc.nat({ max: 8000 }).map((length) => 'x'.repeat(length)),
)
const name = fc.constantFrom(
  'cookie',
  'host',
  'origin',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-request-id',
  'x-csrf-token',
  'if-none-match',
  'if-modified-since',
  'sec-fetch-site',
  'content-length',
  'content-encoding',
  'expect',
  'te',
  'x-__proto__',
)
const fields = fc.array(fc.tuple(name, fc.oneof(value, fc.array(value, { maxLength: 3 }))), { maxLength: 6 })

const FORM = 'application/x-www-form-urlencoded'

/** The moments at which a client may go away, and how. */
const moment = fc.constantFrom(
  'at once',
  'in a moment',
  'at the head',
  'at the first bytes',
  'at the end',
  'never' as const,
)
const code = fc.constantFrom(
  constants.NGHTTP2_NO_ERROR,
  constants.NGHTTP2_CANCEL,
  constants.NGHTTP2_PROTOCOL_ERROR,
  constants.NGHTTP2_INTERNAL_ERROR,
  constants.NGHTTP2_REFUSED_STREAM,
  constants.NGHTTP2_ENHANCE_YOUR_CALM,
)

const ask = fc.record({
  method: fc.constantFrom(
    'GET',
    'GET',
    'HEAD',
    'POST',
    'POST',
    'PUT',
    'OPTIONS',
    'CONNECT',
    'TRACE',
    'get',
    'M-SEARCH',
  ),
  path,
  authority: fc.option(fc.constantFrom('localhost', '', 'a b', 'a,b', '[::1]:1', 'x'.repeat(300)), { freq: 3 }),
  fields,
  body: fc.option(
    fc.record({
      type: fc.constantFrom(
        FORM,
        FORM,
        `${FORM}; charset=utf-16`,
        'multipart/form-data; boundary=x',
        'application/json',
      ),
      chunks: fc.array(fc.uint8Array({ maxLength: 2 * LIMIT }), { maxLength: 3 }),
      ends: fc.boolean(),
    }),
    { freq: 3 },
  ),
  reset: moment,
  code,
  paused: fc.boolean(),
})
type Ask = typeof ask extends fc.Arbitrary<infer T> ? T : never

/** Sends one request, and is done when its stream is closed. */
function perform(client: ClientHttp2Session, one: Ask): Promise<void> {
  return new Promise((resolve) => {
    const headers: OutgoingHttpHeaders = { ':method': one.method, 'sec-fetch-site': 'same-origin' }
    if (one.method !== 'CONNECT') headers[':path'] = one.path
    if (one.authority !== null || one.method === 'CONNECT') headers[':authority'] = one.authority ?? 'localhost'
    for (const [key, text] of one.fields) headers[key] = text as string
    if (one.body) headers['content-type'] = one.body.type
    let stream: ClientHttp2Stream
    try {
      stream = client.request(headers, { endStream: one.body === null })
    } catch {
      // what node's client refuses to send
      return resolve()
    }
    const reset = (): void => stream.close(one.code)
    stream.on('error', () => {})
    stream.on('close', () => resolve())
    if (one.body) {
      for (const chunk of one.body.chunks) stream.write(Buffer.from(chunk))
      if (one.body.ends) stream.end()
    }
    if (one.reset === 'at once') return reset()
    if (one.reset === 'in a moment') setImmediate(reset)
    if (one.reset === 'at the head') stream.once('response', reset)
    if (one.reset === 'at the first bytes') stream.once('data', reset)
    if (one.reset === 'at the end') stream.once('end', reset)
    // what never ends by itself is left to the end of the session
    else if (!one.paused) stream.resume()
  })
}

/**
 * A connection to the server that ends when it is told to: node's client does not always let go of a socket of which it
 * has reset all streams.
 */
async function relayed(port: number): Promise<{ client: ClientHttp2Session; end: () => void }> {
  const far = connect({ port, host: '127.0.0.1' })
  far.on('error', () => {})
  const relay = createRelay((near) => {
    near.on('error', () => {})
    near.pipe(far).pipe(near)
    far.once('close', () => near.destroy())
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const client = connectHttp2(`http://127.0.0.1:${(relay.address() as AddressInfo).port}`)
  client.on('error', () => {})
  const end = (): void => {
    client.destroy()
    far.destroy()
    relay.close()
  }
  return { client, end }
}

test('requests of odd headers over HTTP/2, reset at any moment, leave nothing open and no error', async (t) => {
  const served = await start(t)
  let done = 0
  const how = fc.constantFrom('closes' as const, 'destroys' as const, 'destroys at once' as const, 'goes away' as const)
  const run = fc.asyncProperty(fc.array(ask, { minLength: 1, maxLength: 6 }), how, async (list, ending) => {
    const { client, end } = await relayed(served.port)
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    const finished = list.map((one) => perform(client, one))
    // those of which the end comes by itself, or by a reset
    const ends = list.map(async (one, i) => {
      const never = one.reset === 'never' || one.path === '/wait' || one.paused || one.body?.ends === false
      if (!never && !one.reset.startsWith('at the')) await finished[i]
    })
    if (ending !== 'destroys at once') {
      // closed, too, where the client has broken the rules of the protocol
      await within('the requests', Promise.race([Promise.all(ends), closed]))
      await plain(served.probe)
    }
    done += list.length
    if (ending === 'closes') client.close()
    if (ending === 'destroys') client.destroy()
    // what still runs would keep it
    setImmediate(end)
    await plain(served.probe)
    // seldom, of a stream that is reset with no error while its response is written, node:http2 (20) does not notice
    // the end of the socket, whatever the listener is
    for (const one of served.sockets) one.destroy()
    await survived(served)
  })
  await fc.assert(run, { numRuns: Math.ceil(RUNS / 4), ...SEED })
  t.ok(done > RUNS / 4, `${done} requests`)
})

// ---- frames that node's client would not send

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** HPACK, a literal that is not indexed (RFC 7541, section 6.2.2), of any bytes. */
function literal(field: string, text: string): Buffer {
  return Buffer.concat([Buffer.of(0), lengthed(field), lengthed(text)])
}

function lengthed(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1')
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes])
  const length = [127]
  let rest = bytes.length - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128)
  return Buffer.concat([Buffer.from([...length, rest]), bytes])
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const latin1 = fc.uint8Array({ maxLength: 12 }).map((list) => Buffer.from(list).toString('latin1'))

/** RFC 9113, section 6. */
const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const PING = 6
const END_STREAM = 1
const END_HEADERS = 4

const rawName = fc.oneof(
  fc.constantFrom(
    ':method',
    ':path',
    ':scheme',
    ':authority',
    ':status',
    ':protocol',
    ':',
    '',
    'Cookie',
    'cookie',
    'host',
  ),
  fc.constantFrom(
    'connection',
    'upgrade',
    'transfer-encoding',
    'http2-settings',
    'content-length',
    'te',
    'a\r\nb',
    'a\0',
  ),
  latin1,
)
const rawValue = fc.oneof(
  fc.constantFrom(
    'GET',
    'POST',
    'CONNECT',
    '/',
    '',
    '*',
    'http',
    'localhost',
    'a\r\nSet-Cookie: b=c',
    'a\nb',
    'a\0b',
    ' a ',
  ),
  fc.constantFrom('0', '5', '-1', '99999999999999999999', 'chunked', 'websocket', '__proto__=1; a=b'),
  latin1,
  fc.nat({ max: 20_000 }).map((length) => 'x'.repeat(length)),
)
const rawFields = fc.array(fc.tuple(rawName, rawValue), { maxLength: 6 })
const pseudo = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom('GET', 'POST', 'HEAD'),
        fc.constantFrom('/', '/pieces', '/endless', '/broken', '/wait', '/throw'),
      )
      .map(([method, to]) => [
        [':method', method],
        [':path', to],
        [':scheme', 'http'],
        [':authority', 'localhost'],
      ]),
  },
  { weight: 1, arbitrary: fc.constant([]) },
)
const flags = fc.oneof(fc.constantFrom(END_HEADERS, END_HEADERS | END_STREAM), fc.nat({ max: 255 }))
const stream = fc.oneof(fc.constantFrom(1, 3, 5, 7), fc.constantFrom(0, 2, 9, 2 ** 31 - 1, 2 ** 32 - 1))
const payload = fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list))

const piece = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(flags, stream, pseudo, rawFields)
      .map(([flag, id, first, rest]) =>
        frame(
          HEADERS,
          flag,
          id,
          Buffer.concat([...first, ...rest].map(([field, text]) => literal(field as string, text as string))),
        ),
      ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(flags, stream, payload).map(([flag, id, bytes]) => frame(DATA, flag & 9, id, bytes)),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(stream, fc.nat({ max: 20 }))
      .map(([id, reason]) => frame(RST_STREAM, 0, id, Buffer.of(0, 0, 0, reason))),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.nat({ max: 12 }), fc.nat({ max: 255 }), stream, payload).map((parts) => frame(...parts)),
  },
  // many resets of what was just asked for (CVE-2023-44487)
  fc.integer({ min: 10, max: 60 }).map((count) =>
    Buffer.concat(
      Array.from({ length: count }, (_, i) => {
        const head = [literal(':method', 'GET'), literal(':path', '/endless'), literal(':scheme', 'http')]
        const id = 101 + 2 * i
        return Buffer.concat([
          frame(HEADERS, END_HEADERS | END_STREAM, id, Buffer.concat(head)),
          frame(RST_STREAM, 0, id, Buffer.of(0, 0, 0, 8)),
        ])
      }),
    ),
  ),
  // what is no frame, or only the begin of one
  { weight: 1, arbitrary: payload },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', '\xFF\xFF\xFF')
      .map((text) => Buffer.from(text, 'latin1')),
  },
)

/** Windows large enough for some of a body, so that it is begun and not ended. */
const BEGIN = Buffer.concat([PREFACE, frame(4, 0, 0, Buffer.alloc(0))])
const opening = fc.oneof(
  { weight: 9, arbitrary: fc.constant(BEGIN) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      Buffer.alloc(0),
      PREFACE,
      PREFACE.subarray(0, 20),
      Buffer.from('GET / HTTP/1.0\r\n\r\n'),
    ),
  },
)

test('frames of any bytes end their own connection at most', async (t) => {
  const served = await start(t)
  let answered = 0
  const ending = fc.constantFrom('half closed' as const, 'destroyed' as const)
  const split = fc.nat({ max: 400 })
  const run = fc.asyncProperty(
    opening,
    fc.array(piece, { maxLength: 8 }),
    split,
    ending,
    async (begin, pieces, at, how) => {
      const bytes = Buffer.concat([begin, ...pieces, frame(PING, 0, 0, Buffer.alloc(8, 'p'))])
      const socket = connect({ port: served.port, host: '127.0.0.1' })
      socket.on('error', () => {})
      socket.on('data', () => answered++)
      await new Promise<void>((resolve) => socket.once('connect', resolve))
      socket.write(bytes.subarray(0, at))
      await new Promise<void>((resolve) => {
        socket.write(bytes.subarray(at), () => resolve())
        socket.once('close', () => resolve())
      })
      // by when it is answered, the server has read what was written before
      await plain(served.probe)
      if (how === 'half closed') {
        socket.end()
        await plain(served.probe)
      }
      socket.destroy()
      // node:http2 keeps a session that has broken the protocol, and whose client has half closed, for good
      for (const one of served.sockets) one.destroy()
      await survived(served)
    },
  )
  await fc.assert(run, { numRuns: Math.ceil(RUNS / 2), ...SEED })
  t.ok(answered > RUNS / 4, `${answered} answers`)
})
