import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import * as fc from 'fast-check'
import multer from 'multer'
import { test, type Test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  csrf,
  flash,
  form,
  forwarded,
  fromConnect,
  methodOverride,
  requestId,
  session,
  toListener,
  type App,
} from '../../lib/index.ts'
import { statusOf } from '../../lib/error-response.ts'
import { fuzzing } from '../fuzz.ts'
import { SECRET } from '../session-app.ts'

/** A request that takes longer than this is one that hangs. */
const TOO_LONG = 5000

const { RUNS, SEED } = fuzzing()

const LIMIT = 1024

const parser = multer({ limits: { fileSize: LIMIT, files: 2, fields: 10 } }).any()

/** multer's errors name no status, and in memory only the request can be at fault. */
const upload: typeof parser = (req, res, next) => {
  void parser(req, res, (error?: unknown) => next(error && Object.assign(error, { status: 400 })))
}

/** Every layer, and a controller that uses what each of them adds. */
const app = new Builder()
  .use(requestId())
  .use(conditionalGet())
  .use(forwarded({ trust: 'loopback' }))
  .use(cookies({ secret: SECRET }))
  .use(session<{ seen: number }>({ secure: false }))
  .use(flash())
  .use(form({ limit: LIMIT }))
  .use(methodOverride())
  .use(csrf({ log: false }))
  .map('/upload', (inner) =>
    inner.use(fromConnect(upload)).run((req) => [200, {}, `${req.url} ${Object.keys(req).length > 0}`]),
  )
  .run(async (req) => {
    const hash = await req.session
    hash.seen = (hash.seen ?? 0) + 1
    const fields = await req.form()
    const { notice } = await req.flash
    req.flash.now.notice = notice ?? 'hello'
    const names = Object.keys(req.cookies.toObject()).length + Object.keys(req.cookies.signed.toObject()).length
    const body = [req.method, names, fields.size, req.forwarded.scheme, await req.csrfToken({ action: '' })].join(' ')
    return [200, { 'content-type': 'text/plain', 'x-host': String(req.forwarded.host.length) }, body]
  })

async function start(t: Test, target: App): Promise<{ port: number; errors: unknown[]; server: Server }> {
  const errors: unknown[] = []
  // node refuses heads of over 16 KiB by itself; here they are to reach the layers
  const server = createServer(
    { maxHeaderSize: 1024 * 1024 },
    toListener(target, { onError: (error) => errors.push(error) }),
  )
  server.maxHeadersCount = 0
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  return { port: (server.address() as AddressInfo).port, errors, server }
}

interface Raw {
  status: number
  head: string
  body: string
}

/** Sends bytes, and gives what comes back until the server has answered or ended the connection. */
function send(port: number, bytes: Buffer): Promise<Raw | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes))
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`no answer within ${TOO_LONG} ms`))
    }, TOO_LONG)
    socket.on('data', (chunk) => chunks.push(chunk))
    // a server that refuses a request may close while the rest of it is still being sent
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(timer)
      const [head = '', ...rest] = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1])
      resolve(head === '' ? undefined : { status, head, body: rest.join('\r\n\r\n') })
    })
  })
}

/** How often a request came through to the app. */
let reached = 0

/** What must hold of every answer, and of the server after it. */
async function survives(port: number, errors: unknown[], bytes: Buffer): Promise<void> {
  const answer = await send(port, bytes)
  if (answer?.head.includes('x-request-id')) reached++
  if (answer && !(answer.status >= 200 && answer.status < 500)) throw new Error(`answered ${answer.head}`)
  const own = errors.splice(0).filter((error) => statusOf(error) === 500)
  if (own.length > 0) throw own[0] as Error
  if (answer && /at .*\.[jt]s:\d/.test(answer.body)) throw new Error('the answer shows a stack trace')
}

async function works(t: Test, port: number): Promise<void> {
  const answer = await send(port, Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'))
  t.match(answer, { status: 200, body: /^GET 0 0 http / }, 'the server answers as before')
}

const text = fc.string({ unit: 'binary', maxLength: 60 })
const bytes = fc.uint8Array({ maxLength: 60 }).map((list) => Buffer.from(list).toString('latin1'))
/** What node's parser lets through: any bytes but control characters. */
const valid = fc.oneof(text, bytes).map((one) =>
  Buffer.from(one)
    .toString('latin1')
    // oxlint-disable-next-line no-control-regex -- they are what is taken out
    .replaceAll(/[\0-\x08\n-\x1F\x7F]/g, ''),
)

const cookieName = fc.oneof(
  fc.constantFrom('_session_id', '__Host-x', '__Secure-y', '__proto__', 'constructor', 'csrf_token', '', ' ', '%', '$'),
  valid,
)
const cookieValue = fc.oneof(
  fc.constantFrom('', '"', '%', '%zz', '%00', 'a--b', 'a--b--c', '--', 'e30=--e30=--e30=', 'j:{"__proto__":1}', '\\'),
  fc.base64String({ maxLength: 80 }),
  fc
    .tuple(fc.base64String({ maxLength: 40 }), fc.base64String({ maxLength: 20 }), fc.base64String({ maxLength: 30 }))
    .map((parts) => parts.join('--')),
  valid,
)
const cookieHeader = fc
  .array(fc.tuple(cookieName, cookieValue), { maxLength: 12 })
  .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('; '))

const header = fc.oneof(
  cookieHeader.map((value) => `Cookie: ${value}`),
  fc
    .tuple(
      fc.constantFrom(
        'X-Forwarded-For',
        'X-Forwarded-Proto',
        'X-Forwarded-Host',
        'X-Request-Id',
        'X-HTTP-Method-Override',
        'X-CSRF-Token',
        'Origin',
        'Sec-Fetch-Site',
        'If-None-Match',
        'If-Modified-Since',
        'Content-Encoding',
        'Accept',
      ),
      valid,
    )
    .map((pair) => pair.join(': ')),
  fc.constantFrom(
    'Sec-Fetch-Site: same-origin',
    'Sec-Fetch-Site: cross-site',
    'X-Forwarded-Proto: https,http,,',
    'X-Forwarded-For: 1.2.3.4, ::1, unknown, 127.0.0.1',
    'If-Modified-Since: 2030',
    'X-Tab:\tvalue\t',
    'Cookie: ' + '; '.repeat(2000),
  ),
)

/** What node's parser mostly refuses, now and then. */
const badHeader = fc.oneof(
  fc.constantFrom('Bad Name: x', ': empty', 'Host: other', 'Host: a b', 'Content-Length: x'),
  fc.tuple(bytes, bytes).map(([name, value]) => `${name}: ${value}`),
)

const headers = fc
  .tuple(
    fc.array(header, { maxLength: 8 }),
    fc.oneof(
      { weight: 9, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(badHeader, { maxLength: 2 }) },
    ),
  )
  .map((lists) => lists.flat())

const FORM = 'application/x-www-form-urlencoded'

const body = fc.oneof(
  fc.record({ type: fc.constantFrom(FORM, `${FORM}; charset=utf-16`, 'application/json', ''), content: bytes }),
  fc.webQueryParameters({ size: 'small' }).map((content) => ({ type: FORM, content })),
  fc.nat({ max: 3 * LIMIT }).map((length) => ({ type: FORM, content: `a=${'x'.repeat(length)}` })),
  fc.constantFrom('_method=DELETE', '_method=get', '_method[]=x', 'authenticity_token=x', '&&==&').map((content) => ({
    type: FORM,
    content,
  })),
)

const multipart = fc
  .tuple(
    fc.constantFrom('b', '', '"', '----x', 'b; boundary=c', ' '.repeat(80)),
    fc.array(
      fc.oneof(
        fc.constantFrom(
          '--b\r\n',
          '--b--\r\n',
          'Content-Disposition: form-data; name="a"\r\n\r\n',
          'Content-Disposition: form-data; name="f"; filename="../../etc/passwd"\r\nContent-Type: text/plain\r\n\r\n',
          'Content-Disposition: form-data; name="__proto__"\r\n\r\n',
          'Content-Disposition: form-data\r\n',
          '\r\n',
          'x'.repeat(2 * LIMIT),
        ),
        bytes,
      ),
      { maxLength: 12 },
    ),
  )
  .map(([boundary, parts]) => ({ type: `multipart/form-data; boundary=${boundary}`, content: parts.join('') }))

const path = fc.oneof(
  fc.constantFrom('/', '/upload', '/upload/', '//upload', '*', 'http://[', '/?', '/%00', '/../..', '/upload?a=1'),
  valid.map((one) => `/${one.replaceAll(/[^!-~]/g, '')}`),
)

/** How the length is told: as it is, too long, too short, twice, in chunks, or not at all. */
const framing = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('right', 'chunked') },
  { weight: 1, arbitrary: fc.constantFrom('long', 'short', 'twice', 'none') },
)

function requestOf(
  method: string,
  target: string,
  headers: string[],
  { type, content }: { type: string; content: string },
  frame: string,
): Buffer {
  const data = Buffer.from(content, 'latin1')
  const lines = [`${method} ${target} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers]
  if (type !== '') lines.push(`Content-Type: ${type}`)
  const { length } = data
  if (frame === 'right' || frame === 'twice') lines.push(`Content-Length: ${length}`)
  if (frame === 'twice') lines.push(`Content-Length: ${length + 1}`)
  if (frame === 'long') lines.push(`Content-Length: ${length + 100}`)
  if (frame === 'short') lines.push(`Content-Length: ${Math.max(0, length - 10)}`)
  if (frame === 'chunked') lines.push('Transfer-Encoding: chunked')
  const framed = frame === 'chunked' ? `${length.toString(16)}\r\n${content}\r\n0\r\n\r\n` : content
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${framed}`, 'latin1')
}

test('a request of any bytes is answered with no error of the server, in bounded time', async (t) => {
  const { port, errors } = await start(t, app)
  reached = 0
  const method = fc.constantFrom('GET', 'GET', 'HEAD', 'POST', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH')
  const run = fc.asyncProperty(method, path, headers, fc.oneof(body, multipart), framing, (...parts) =>
    survives(port, errors, requestOf(...parts)),
  )
  await fc.assert(run, { numRuns: RUNS, ...SEED })
  t.ok(reached > RUNS / 20, `${reached} of ${RUNS} were not refused by node's own parser`)
  await works(t, port)
})

test('a multipart body of any bytes is a 4xx, or fields, and never an error of the server', async (t) => {
  const { port, errors } = await start(t, app)
  const headers = ['Sec-Fetch-Site: same-origin']
  const run = fc.asyncProperty(multipart, framing, (parts, frame) =>
    survives(port, errors, requestOf('POST', '/upload', headers, parts, frame)),
  )
  await fc.assert(run, { numRuns: RUNS, ...SEED })
  await works(t, port)
})

test('many cookies, large ones, and names that stand twice are read in bounded time', async (t) => {
  const { port, errors } = await start(t, app)
  const many = Array.from({ length: 10_000 }, (_, i) => `c${i}=${i}`).join('; ')
  const nothing = { type: '', content: '' }
  const heads = {
    '10,000 cookies': many,
    '10,000 cookies of one name': Array.from({ length: 10_000 }, () => '_session_id=x--y--z').join('; '),
    'a cookie of 64 KB': `_session_id=${'a'.repeat(65_536)}--b--c`,
    'a cookie of 64 KB that is all escapes': `_session_id=${'%41'.repeat(21_845)}`,
    '64 KB of semicolons': ';'.repeat(65_536),
    '64 KB of equals signs': '='.repeat(65_536),
    '64 KB of spaces before a name': `${' '.repeat(65_536)}a=b`,
    'prefixed names over plain http': '__Host-a=1; __Secure-b=2; __Host-a=3; __hOsT-c=4',
    'keys of the prototype': '__proto__=1; constructor=2; toString=3; hasOwnProperty=4',
  }
  for (const [name, value] of Object.entries(heads)) {
    const began = performance.now()
    const answer = await send(port, requestOf('GET', '/', [`Cookie: ${value}`], nothing, 'none'))
    t.match(answer, { status: 200 }, name)
    t.ok(performance.now() - began < TOO_LONG, name)
  }
  const answer = await send(port, requestOf('GET', '/', [`Cookie: ${many}`], nothing, 'none'))
  t.match(answer?.body, /^GET 10000 /)
  t.same(errors, [])
})

test('bodies beyond the limit are a 413, whatever length they claim', async (t) => {
  const { port, errors } = await start(t, app)
  const large = { type: FORM, content: `a=${'x'.repeat(10 * LIMIT)}` }
  for (const frame of ['right', 'long', 'chunked']) {
    const answer = await send(port, requestOf('POST', '/', ['Sec-Fetch-Site: same-origin'], large, frame))
    t.match(answer, { status: 413, body: 'Payload Too Large\n' }, frame)
  }
  t.match(errors, [{ code: 'ERR_FORM_TOO_LARGE' }, { code: 'ERR_FORM_TOO_LARGE' }, { code: 'ERR_FORM_TOO_LARGE' }])
  await works(t, port)
})

test('whatever an app puts into a header, a cookie or a flash, no head is split', async (t) => {
  let name = ''
  let value = ''
  const echo = new Builder()
    .use(cookies({ secret: SECRET, sameSite: null }))
    .use(session<{ value: string }>())
    .use(flash())
    .run(async (req) => {
      ;(await req.session).value = value
      ;(await req.flash).notice = value
      req.cookies.set(name, value)
      return [200, { [name]: value, 'x-last': 'last' }, value]
    })
  const { port, errors } = await start(t, echo)
  const any = fc.oneof(
    text,
    bytes,
    fc.constantFrom('a\r\nSet-Cookie: evil=1', 'a\nb', 'a\0b', 'é', '\u{1F600}', 'a;Path=/evil', 'set-cookie', 'a b'),
  )
  const get = Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  let good = 0
  const run = fc.asyncProperty(any, any, async (givenName, givenValue) => {
    name = givenName
    value = givenValue
    const answer = await send(port, get)
    const lines = answer?.head.split('\r\n') ?? []
    if (/^Set-Cookie: evil/im.test(answer?.head ?? '')) throw new Error('a header was split')
    if (answer?.status === 200) good++
    else if (answer?.status !== 500) throw new Error(`answered ${answer?.head}`)
    // a line of its own for each header that is known to be there
    const known = /^(HTTP\/1\.1 |date: |connection: |content-length: |content-type: |x-last: |vary: |cache-control: )/i
    const others = lines.filter((line) => !known.test(line) && !/^set-cookie: /i.test(line))
    if (others.length > 1) throw new Error(`more lines than headers: ${others.join()}`)
  })
  await fc.assert(run, { numRuns: RUNS, ...SEED })
  t.ok(good > 0 && errors.length > 0, 'some could be sent, and some were refused')
})

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n'
const POST = `POST / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Type: ${FORM}\r\n`

const chunkSize = fc.constantFrom(
  '3',
  '03',
  '3;a=b',
  '3;a="',
  '3 ',
  ' 3',
  '0x3',
  '-3',
  '+3',
  'g',
  '',
  '4',
  '2',
  '0',
  'FFFFFFFFFFFFFFFFF',
)
const chunked = fc
  .tuple(
    fc.array(chunkSize, { maxLength: 3 }),
    fc.constantFrom('\r\n', '\n', '\r', ''),
    fc.constantFrom('0\r\n\r\n', '0\r\nX: y\r\n\r\n', '0\r\n', ''),
  )
  .map(
    ([sizes, end, last]) =>
      `${POST}Transfer-Encoding: chunked\r\n\r\n${sizes.map((size) => `${size}\r\na=b${end}`).join('')}${last}`,
  )

/** One request, as it should not be, or as it seldom is. */
const request = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(`${GET}\r\n`, `${POST}Content-Length: 3\r\n\r\na=b`) },
  { weight: 4, arbitrary: chunked },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      // lengths that are told twice, or in a way that others may read otherwise (RFC 9112, section 6.3)
      `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${GET}\r\n`,
      `${POST}Content-Length: 3\r\nContent-Length: 5\r\n\r\na=bGET`,
      `${POST}Content-Length: 3, 3\r\n\r\na=b`,
      `${POST}Content-Length: +3\r\n\r\na=b`,
      `${POST}Transfer-Encoding: chunked, identity\r\n\r\n3\r\na=b\r\n0\r\n\r\n`,
      `${POST}Transfer-Encoding: xchunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n`,
      `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
      `${POST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n`,
      // lines that go on in the next one, and ends of lines that are none
      `${GET}Cookie: a=b;\r\n c=d\r\n\r\n`,
      `${GET}X: a\r\n\tb\r\n\r\n`,
      `${GET} X: a\r\n\r\n`,
      `${GET}X: a\nY: b\r\n\r\n`,
      `${GET}X: a\rY: b\r\n\r\n`,
      `${GET}X: a\0b\r\n\r\n`,
      'GET /\r\nX: y HTTP/1.1\r\nHost: localhost\r\n\r\n',
      'GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n',
      'GET /\n\n',
      // what asks for more than an answer
      `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01a`,
      `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
      'CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\nGET / HTTP/1.1\r\n\r\n',
      `${POST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\na=b`,
      `${POST}Expect: 200-ok\r\nContent-Length: 3\r\n\r\na=b`,
      `${GET}Connection: close\r\n\r\n`,
      'GET / HTTP/1.0\r\n\r\n',
      // node:http takes these for what they say they are
      'GET / HTTP/2.0\r\nHost: h\r\n\r\n',
      'POST /form HTTP/2.0\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\x16\x03\x01\x02\0',
    ),
  },
  // heads about as large as the server takes them
  {
    weight: 1,
    arbitrary: fc.integer({ min: -120, max: 20 }).map((more) => `${GET}X: ${'x'.repeat(1024 * 1024 + more)}\r\n\r\n`),
  },
  { weight: 1, arbitrary: bytes },
)

test('requests that follow one another on a connection, cut off or half closed, leave nothing behind', async (t) => {
  const { port, errors, server } = await start(t, app)
  const connections = (): Promise<number> =>
    new Promise((resolve) => server.getConnections((_, count) => setImmediate(resolve, count)))
  let answers = 0
  const ending = fc.constantFrom('half closed' as const, 'destroyed' as const, 'cut off' as const)
  const run = fc.asyncProperty(
    fc.array(request, { minLength: 1, maxLength: 5 }),
    ending,
    fc.nat(),
    async (list, how, at) => {
      const all = Buffer.from(list.join(''), 'latin1')
      const sent = how === 'cut off' ? all.subarray(0, at % all.length) : all
      if (how === 'destroyed') {
        await new Promise<void>((resolve) => {
          const socket = connect(port, '127.0.0.1', () => socket.write(sent, () => socket.destroy()))
          socket.on('error', () => {})
          socket.on('close', () => resolve())
        })
      } else {
        const answer = await send(port, sent)
        const text = answer ? `${answer.head}\r\n\r\n${answer.body}` : ''
        for (const [, status] of text.matchAll(/HTTP\/1\.1 (\d{3})/g)) {
          if (Number(status) >= 500) throw new Error(`answered ${text}`)
          answers++
        }
      }
      const began = performance.now()
      // oxlint-disable-next-line no-await-in-loop -- until the ends of the sockets have come in
      while ((await connections()) > 0)
        if (performance.now() - began > TOO_LONG) throw new Error('a connection is left')
      const own = errors.splice(0).filter((error) => statusOf(error) === 500)
      if (own.length > 0) throw own[0] as Error
    },
  )
  await fc.assert(run, { numRuns: RUNS, ...SEED })
  t.ok(answers > RUNS / 2, `${answers} answers`)
  await works(t, port)
})
