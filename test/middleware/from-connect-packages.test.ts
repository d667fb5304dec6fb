import { once } from 'node:events'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { connect as connect2, createServer as createServer2 } from 'node:http2'
import { connect, type AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import compression from 'compression'
import connectApp from 'connect'
import cors from 'cors'
import express from 'express'
import expressSession from 'express-session'
import helmet, { contentSecurityPolicy } from 'helmet'
import morgan from 'morgan'
import multer from 'multer'
import serveStatic from 'serve-static'
import { test, type Test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  fromConnect,
  lint,
  session,
  showExceptions,
  toListener,
  type App,
  type ConnectMiddleware,
} from '../../lib/index.ts'
import { ask, Client, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

type Next = (error?: unknown) => void

/** The middleware as layers, between others that check every rule. */
function around(middleware: readonly ConnectMiddleware[], app: App): App {
  const builder = new Builder().use(lint())
  for (const mw of middleware) builder.use(fromConnect(mw)).use(lint())
  return builder.run(app)
}

const text: App = () => [200, { 'content-type': 'text/plain' }, 'inner\n']

/** Asks over HTTP/2, in one connection that ends with the test. */
async function overHttp2(t: Test, app: App) {
  const errors: unknown[] = []
  const server = createServer2(toListener(app, { onError: (error) => errors.push(error) }))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(() => {
    client.destroy()
    server.close()
  })
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const stream = client.request({ ':path': path, ...headers })
    const [answer] = (await once(stream, 'response')) as [IncomingHttpHeaders]
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk as Buffer)
    return { headers: answer, bytes: Buffer.concat(chunks) }
  }
  return { get, client, errors }
}

test('the packages are layers without a cast, under their own names', async (t) => {
  const upload = multer()
  const stack = new Builder()
    .use(fromConnect(helmet()))
    .use(fromConnect(contentSecurityPolicy()))
    .use(fromConnect(cors()))
    .use(fromConnect(cors({ origin: true })))
    .use(fromConnect(compression()))
    .use(fromConnect(serveStatic('.')))
    .use(fromConnect(morgan('tiny')))
    .use(fromConnect(express.json()))
    .use(fromConnect(express.Router()))
    .use(fromConnect(express()))
    .use(fromConnect(connectApp()))
    .use(fromConnect(expressSession({ secret: SECRET, resave: false, saveUninitialized: false })))
    .use(fromConnect<{ file?: Express.Multer.File }>(upload.single('photo')))
    .use((app) => (req) => {
      const name: string | undefined = req.file?.originalname
      return name === undefined ? app(req) : [200, {}, name]
    })
  t.equal(
    String(stack),
    [
      'helmetMiddleware',
      'contentSecurityPolicyMiddleware',
      'corsMiddleware',
      'corsMiddleware',
      'compression',
      'serveStatic',
      'logger',
      'jsonParser',
      'router',
      'app',
      'app',
      'session',
      'multerMiddleware',
      '(anonymous)',
    ]
      .map((name) => `use ${name}`)
      .join('\n'),
  )
})

test('helmet: its headers are on every response below it', async (t) => {
  const { port } = await serve(t, around([helmet()], text))
  const { headers, body } = await ask(port, '/')
  t.match(headers, {
    'content-security-policy': /^default-src 'self';/,
    'strict-transport-security': /^max-age=/,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'SAMEORIGIN',
    'content-length': '6',
  })
  t.equal(body, 'inner\n')
})

test('helmet: with showExceptions below it, also on pages of errors', async (t) => {
  const app = new Builder()
    .use(fromConnect(helmet()))
    .use(showExceptions({ onError: () => {} }))
    .run(() => {
      throw new Error('no')
    })
  const { port } = await serve(t, app)
  t.match(await ask(port, '/'), { status: 500, headers: { 'x-content-type-options': 'nosniff' } })
})

test('helmet: its contentSecurityPolicy alone, with a nonce of each request', async (t) => {
  const nonced = (req: IncomingMessage & { nonce?: string }, _res: unknown, next: Next): void => {
    req.nonce = 'r4nd0m'
    next()
  }
  const csp = contentSecurityPolicy({
    useDefaults: false,
    directives: { defaultSrc: ["'self'"], scriptSrc: [(req) => `'nonce-${(req as { nonce?: string }).nonce}'`] },
  })
  const { port } = await serve(t, around([nonced, csp], text))
  const { headers } = await ask(port, '/')
  t.equal(headers['content-security-policy'], "default-src 'self';script-src 'nonce-r4nd0m'")
  t.notOk('x-frame-options' in headers)
})

test('cors: a preflight is answered, and the app is not called', async (t) => {
  const app = around([cors({ origin: 'https://app.example', credentials: true })], () => {
    throw new Error('the app is called')
  })
  const { port, errors } = await serve(t, app)
  const preflight = await ask(port, '/', {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'PUT' },
  })
  t.match(preflight, {
    status: 204,
    headers: {
      'access-control-allow-origin': 'https://app.example',
      'access-control-allow-credentials': 'true',
      vary: 'Origin, Access-Control-Request-Headers',
    },
    body: '',
  })
  t.same(errors, [])
})

test('cors: with a session on either side, Vary names both and the cookies arrive', async (t) => {
  const policy = cors({ origin: ['https://app.example'], credentials: true })
  const sessions = () => new Builder().use(lint()).use(cookies({ secret: SECRET }))
  const inside = new Builder().use(fromConnect(policy)).map('/', (inner) =>
    inner
      .use(cookies({ secret: SECRET }))
      .use(session<{ visits: number }>())
      .run(async (req) => [200, {}, String(((await req.session).visits ??= 1))]),
  )
  const around = sessions()
    .use(session<{ visits: number }>())
    .use(fromConnect(policy))
    .run(async (req) => [200, {}, String(((await req.session).visits ??= 1))])
  for (const app of [inside.run(), around]) {
    const { port } = await serve(t, app)
    const answer = await ask(port, '/', { headers: { host: 'localhost', origin: 'https://app.example' } })
    t.equal(answer.headers.vary, 'Origin, cookie')
    t.equal(answer.headers['access-control-allow-origin'], 'https://app.example')
    t.equal(answer.cookies.length, 1)
  }
})

/** A morgan whose lines are collected, and a promise of the next one. */
function logger(format = ':method :url :status :res[content-length]') {
  const lines: string[] = []
  let heard = (): void => {}
  const stream = {
    write: (line: string): void => {
      lines.push(line.trimEnd())
      heard()
    },
  }
  const next = (): Promise<void> => new Promise((resolve) => (heard = resolve))
  return { lines, next, mw: morgan(format, { stream }) }
}

test('morgan: one line for each request, with its status and content-length', async (t) => {
  const { lines, mw } = logger(':method :url :status :res[content-length] :remote-addr')
  const app = new Builder()
    .use(fromConnect(mw))
    .map('/in', (inner) => inner.run((req) => [200, {}, `rest ${req.url}`]))
    .use(conditionalGet())
    .run((req) => {
      if (req.url === '/error') throw new Error('no')
      if (req.url === '/refused') throw Object.assign(new Error('no'), { status: 403 })
      if (req.url === '/empty') return [204, {}, null]
      if (req.url === '/stream') return [200, {}, new Set(['a', 'b'])]
      if (req.url === '/broken') return [200, {}, brokenBody()]
      return [200, { etag: '"a"' }, 'whole\n']
    })
  async function* brokenBody(): AsyncGenerator<string> {
    yield 'a'
    await turn()
    throw new Error('no')
  }
  const { port } = await serve(t, app)
  await ask(port, '/')
  await ask(port, '/', { method: 'HEAD' })
  await ask(port, '/', { headers: { 'if-none-match': '"a"' } })
  await ask(port, '/in/side?a')
  await ask(port, '/stream')
  await ask(port, '/stream', { method: 'HEAD' })
  await ask(port, '/empty')
  await ask(port, '/error')
  await ask(port, '/refused')
  await t.rejects(ask(port, '/broken'))
  t.same(lines, [
    'GET / 200 6 127.0.0.1',
    'HEAD / 200 6 127.0.0.1',
    'GET / 304 - 127.0.0.1',
    'GET /in/side?a 200 12 127.0.0.1',
    'GET /stream 200 - 127.0.0.1',
    'HEAD /stream 200 - 127.0.0.1',
    'GET /empty 204 - 127.0.0.1',
    'GET /error 500 - 127.0.0.1',
    'GET /refused 403 - 127.0.0.1',
    'GET /broken 200 - 127.0.0.1',
  ])
})

test('morgan: a line also where a layer above drops the body', async (t) => {
  const { lines, mw } = logger()
  const app = new Builder()
    .use(lint())
    .use(conditionalGet())
    .use(fromConnect(mw))
    .run(() => [200, { etag: '"a"' }, new Set(['a'])])
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/', { headers: { 'if-none-match': '"a"' } })).status, 304)
  t.same(lines, ['GET / 200 -'])
})

test('morgan: a line when the client goes away, before the head and after', async (t) => {
  const { lines, next, mw } = logger()
  let wasAsked = (): void => {}
  const app = around([mw], async (req) => {
    wasAsked()
    if (req.url === '/head') await once(req.socket, 'close')
    return [200, {}, endless()]
  })
  async function* endless(): AsyncGenerator<string> {
    for (;;) {
      yield 'x'
      await turn()
    }
  }
  const { port, errors } = await serve(t, app)
  for (const path of ['/head', '/body']) {
    const logged = next()
    const asked = new Promise<void>((resolve) => (wasAsked = resolve))
    const client = connect(port, '127.0.0.1', () => client.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`))
    await (path === '/head' ? asked : once(client, 'data'))
    client.destroy()
    await logged
  }
  t.same(lines, ['GET /head - -', 'GET /body 200 -'])
  t.same(errors, [])
})

test('express-session: around a session of ours, each has its own cookie', async (t) => {
  type Visited = IncomingMessage & { session: { visits?: number } }
  const theirs = expressSession({ name: 'theirs', secret: SECRET, resave: false, saveUninitialized: false })
  const app = new Builder()
    .use(lint())
    .use(fromConnect(theirs))
    .use(lint())
    .use((app) => async (req) => {
      const { session } = req as Visited
      session.visits = (session.visits ?? 0) + 1
      const [status, headers, body] = await app(req)
      return [status, { ...headers, 'x-theirs': session.visits }, body]
    })
    .use(cookies({ secret: SECRET }))
    .use(session<{ visits: number }>({ key: 'ours' }))
    .run(async (req) => {
      const session = await req.session
      session.visits = (session.visits ?? 0) + 1
      return [200, {}, `ours ${session.visits}\n`]
    })
  const { port } = await serve(t, app)
  const client = new Client(port)
  for (const visits of [1, 2, 3]) {
    const { body, headers } = await client.get('/', { headers: { host: 'localhost', cookie: client.cookie } })
    t.equal(body, `ours ${visits}\n`)
    t.equal(headers['x-theirs'], String(visits))
    t.equal(headers['content-length'], '7')
  }
  t.same(new Set(client.jar.keys()), new Set(['ours', 'theirs']))
})

test('Express: an application and a router answer what they know, and the app the rest', async (t) => {
  const old = express()
  old.get('/old', (req, res) => {
    res.cookie('a', '1').send(`old ${req.query['q'] as string}`)
  })
  old.get('/json', (_req, res) => void res.status(201).json({ a: 1 }))
  const router = express.Router()
  router.get('/routed', (_req, res) => void res.writeHead(302, { location: '/old' }).end())
  router.use('/fails', () => {
    throw Object.assign(new Error('no'), { status: 409 })
  })
  const { port, errors } = await serve(t, around([old, router], text))
  t.match(await ask(port, '/old?q=b'), { status: 200, body: 'old b', cookies: ['a=1; Path=/'] })
  t.match(await ask(port, '/json'), { status: 201, body: '{"a":1}', headers: { 'content-length': '7' } })
  t.match(await ask(port, '/routed'), { status: 302, headers: { location: '/old' } })
  t.equal((await ask(port, '/old', { method: 'HEAD' })).status, 200)
  const { headers } = await ask(port, '/json')
  t.equal((await ask(port, '/json', { headers: { 'if-none-match': String(headers.etag) } })).status, 304)
  t.equal((await ask(port, '/fails')).status, 409)
  t.equal((await ask(port, '/other')).body, 'inner\n')
  t.equal(errors.length, 1)
})

test('Express: a parser of bodies fills req.body', async (t) => {
  const app = around([express.json()], async (req) => [200, {}, JSON.stringify((req as { body?: unknown }).body)])
  const { port } = await serve(t, app)
  const headers = { 'content-type': 'application/json' }
  t.equal((await ask(port, '/', { method: 'POST', headers, body: '{"a":[1]}' })).body, '{"a":[1]}')
  t.equal((await ask(port, '/', { method: 'POST', headers, body: '{"a":' })).status, 400)
})

test('over HTTP/2, helmet, cors, morgan, compression and serve-static do what they do over HTTP/1', async (t) => {
  const { lines, mw } = logger(':method :url :status HTTP/:http-version :remote-addr')
  const folder = t.testdir({ 'file.txt': 'a file\n'.repeat(1000) })
  const { get, errors } = await overHttp2(
    t,
    around([mw, helmet(), cors({ origin: 'https://app.example' }), compression(), serveStatic(folder)], text),
  )
  const inner = await get('/')
  t.match(inner.headers, {
    ':status': 200,
    'x-content-type-options': 'nosniff',
    'access-control-allow-origin': 'https://app.example',
    vary: 'Origin, Accept-Encoding',
    'content-length': '6',
  })
  t.equal(String(inner.bytes), 'inner\n')
  const zipped = await get('/file.txt', { 'accept-encoding': 'gzip' })
  t.match(zipped.headers, { ':status': 200, 'content-encoding': 'gzip' })
  const part = await get('/file.txt', { range: 'bytes=2-5' })
  t.match(part.headers, { ':status': 206, 'content-range': 'bytes 2-5/7000' })
  t.equal(String(part.bytes), 'file')
  const fresh = await get('/file.txt', { 'if-none-match': String(part.headers.etag) })
  t.match(fresh.headers, { ':status': 304 })
  t.same(lines, [
    'GET / 200 HTTP/2.0 127.0.0.1',
    'GET /file.txt 200 HTTP/2.0 127.0.0.1',
    'GET /file.txt 206 HTTP/2.0 127.0.0.1',
    'GET /file.txt 304 HTTP/2.0 127.0.0.1',
  ])
  t.same(errors, [])
})

test('over HTTP/2, a client that cancels is the end of the response', async (t) => {
  const { next, lines, mw } = logger()
  let isClosed = (): void => {}
  const closed = new Promise<void>((resolve) => (isClosed = resolve))
  async function* endless(): AsyncGenerator<string> {
    try {
      for (;;) {
        yield 'x'
        await turn()
      }
    } finally {
      isClosed()
    }
  }
  const { client, errors } = await overHttp2(
    t,
    around([mw], () => [200, {}, endless()]),
  )
  const logged = next()
  const stream = client.request({ ':path': '/' })
  await once(stream, 'data')
  stream.close(8)
  await Promise.all([closed, logged])
  t.same(lines, ['GET / 200 -'])
  t.same(errors, [])
})
