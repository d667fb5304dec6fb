import middie from '@fastify/middie'
import compression from 'compression'
import connect from 'connect'
import express from 'express'
import fastify, { type FastifyInstance } from 'fastify'
import helmet from 'helmet'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Agent, get, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import polka from 'polka'
import { test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  csrf,
  form,
  MemoryStore,
  methodOverride,
  session,
  StoreTimeoutError,
  toConnect,
  type RequestOf,
} from '../../lib/index.ts'
import { ask, Client, type Owner } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { count, GatedStore, listen, stackOn, type Req } from './to-connect-app.ts'

type Connected = ReturnType<typeof toConnect>
type Handler = (req: Req, res: ServerResponse) => unknown

interface Framework {
  /** Serves a handler behind middleware, each on all paths or below one. */
  readonly serve: (
    t: Owner,
    middleware: readonly (Connected | [path: string, Connected])[],
    handler: Handler,
  ) => Promise<number>
  /** The page of an error that says `down`. */
  page: RegExp
  /** Whether a promise that the handler returns is waited for. */
  awaits: boolean
  /** Whether what the handler throws is caught by the framework, which then answers for it. */
  catches: boolean
}

const HERE = (req: IncomingMessage): boolean => req.url === '/' || req.url === '/below' || req.url === '/again'

async function startFastify(t: Owner): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(middie)
  t.teardown(() => app.close())
  return app
}

async function portOf(app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

const frameworks: Record<string, Framework> = {
  'Express 5': {
    serve(t, middleware, handler) {
      const app = express().set('env', 'test')
      for (const one of middleware) {
        if (typeof one === 'function') app.use(one)
        else app.use(one[0], one[1])
      }
      app.use((req, res, next) => (HERE(req) ? handler(req as unknown as Req, res) : next()) as void)
      return listen(t, app)
    },
    page: /<pre>Error: down/,
    awaits: true,
    catches: true,
  },
  Connect: {
    serve(t, middleware, handler) {
      const app = connect()
      for (const one of middleware) {
        if (typeof one === 'function') app.use(one)
        else app.use(one[0], one[1])
      }
      app.use((req, res, next) => {
        if (HERE(req)) handler(req as Req, res)
        else next()
      })
      return listen(t, app)
    },
    page: /<pre>Error: down/,
    awaits: false,
    catches: true,
  },
  Polka: {
    serve(t, middleware, handler) {
      const app = polka()
      for (const one of middleware) {
        if (typeof one === 'function') app.use(one)
        else app.use(one[0], one[1])
      }
      for (const path of ['/', '/below', '/again'])
        app.get(path, (req, res) => void handler(req as unknown as Req, res))
      return listen(t, (req, res) => app.handler(req as polka.Request, res))
    },
    page: /^down$/,
    awaits: false,
    catches: false,
  },
  'Fastify with middie': {
    async serve(t, middleware, handler) {
      const app = await startFastify(t)
      for (const one of middleware) {
        if (typeof one === 'function') app.use(one)
        else app.use(one[0], one[1])
      }
      for (const path of ['/', '/below', '/again']) {
        // what it gives back is not for Fastify, but that it failed is
        app.get(path, async (request, reply) => {
          await handler(request.raw as Req, reply.raw)
          return reply
        })
      }
      return portOf(app)
    },
    page: /^\{"statusCode":500,"error":"Internal Server Error","message":"down"\}$/,
    awaits: true,
    catches: true,
  },
}

const file = await readFile('LICENSE', 'utf8')

const ways: Record<string, [answer: (res: ServerResponse) => unknown, body: string]> = {
  end: [(res) => res.end('hello'), 'hello'],
  'writeHead and end': [(res) => res.writeHead(200, { 'content-type': 'text/plain' }).end('hello'), 'hello'],
  'write and end': [(res) => (res.write('hel'), res.end('lo')), 'hello'],
  'flushHeaders and end': [(res) => (res.flushHeaders(), res.end('hello')), 'hello'],
  pipe: [(res) => void createReadStream('LICENSE').pipe(res), file],
}

for (const [name, { serve, page, awaits, catches }] of Object.entries(frameworks)) {
  for (const [how, [answer, body]] of Object.entries(ways)) {
    test(`${name}: answered by ${how}, the save is awaited before the first byte goes out`, async (t) => {
      const store = new GatedStore()
      let sent: (() => number) | undefined
      const port = await serve(t, [toConnect(stackOn(store))], async (req, res) => {
        const { socket } = req
        sent = () => socket.bytesWritten
        await count(req)
        answer(res)
      })
      const answered = ask(port, '/')
      const save = await store.saving()
      t.equal((await ask(port, '/nowhere')).status, 404, 'others are answered meanwhile')
      t.equal(sent?.(), 0, 'and nothing of this one')
      save.finish()
      const got = await answered
      t.match(got, { status: 200, body, cookies: [/^_session_id=[\da-f]{32};/] })
      t.equal(got.cookies.length, 1)
    })

    test(`${name}: answered by ${how}, a save that fails is the framework's error page and nothing else`, async (t) => {
      const store = new GatedStore()
      const nexts: unknown[] = []
      const middleware = toConnect(stackOn(store))
      const port = await serve(
        t,
        [
          (req, res, next) =>
            middleware(req, res, (error) => {
              nexts.push(error)
              next(error)
            }),
        ],
        async (req, res) => {
          await count(req)
          res.statusCode = 201
          res.setHeader('x-handler', 'yes')
          res.setHeader('set-cookie', 'handler=1')
          answer(res)
        },
      )
      const answered = ask(port, '/')
      ;(await store.saving()).fail(new Error('down'))
      const { status, headers, body: got, cookies: lines } = await answered
      t.equal(status, 500)
      t.match(got, page)
      t.notOk('x-handler' in headers)
      t.strictSame(lines, [])
      t.ok(nexts.filter(Boolean).length <= 1)
      t.equal((await ask(port, '/nowhere')).status, 404, 'and the server goes on')
    })
  }

  test(`${name}: sessions are counted, and kept apart`, async (t) => {
    for (const store of [new MemoryStore(), new CookieStore()]) {
      const port = await serve(t, [toConnect(stackOn(store))], async (req, res) => {
        res.end(String(await count(req)))
      })
      const [client, other] = [new Client(port), new Client(port)]
      t.equal((await client.get('/')).body, '1')
      t.equal((await client.get('/')).body, '2')
      t.equal((await other.get('/')).body, '1')
      t.equal((await client.get('/')).body, '3')
    }
  })

  test(`${name}: cookies alone, in an answer at once`, async (t) => {
    const port = await serve(t, [toConnect(new Builder().use(cookies({ secret: SECRET })))], (req, res) => {
      req.cookies.set('a', req.cookies.get('a') === undefined ? '1' : '2')
      res.end(req.cookies.get('a'))
    })
    const client = new Client(port)
    t.equal((await client.get('/')).body, '1')
    t.equal((await client.get('/')).body, '2')
  })

  test(`${name}: what answers for a path that nobody has goes through the stack`, async (t) => {
    const store = new GatedStore()
    const visited = stackOn(store).use((app) => async (req) => {
      await count(req)
      return app(req)
    })
    const port = await serve(t, [toConnect(visited)], (_req, res) => res.end('hello'))
    const answered = ask(port, '/nowhere')
    ;(await store.saving()).finish()
    t.match(await answered, { status: 404, cookies: [/^_session_id=/] })

    const failed = ask(port, '/nowhere')
    ;(await store.saving()).fail(new Error('down'))
    const silent = name.startsWith('Fastify') ? t.capture(console, 'error', () => {}) : undefined
    const { status, cookies: lines } = await failed
    t.equal(status, 500)
    t.strictSame(lines, [])
    // Fastify does not tell which reply a 404 is of
    if (silent) t.match(silent.args(), [[{ message: 'down' }]])
  })

  test(`${name}: a guard and a map of the stack answer by themselves`, async (t) => {
    const stack = stackOn()
      .use((app) => (req) => (req.headers['x-key'] === 'wrong' ? [403, {}, 'no entry'] : app(req)))
      .map('/mapped', (mapped) => mapped.run((req) => [200, {}, `${req.scriptName}|${req.url}`]))
    const port = await serve(t, [toConnect(stack)], (req, res) => res.end(req.url))
    t.match(await ask(port, '/', { headers: { 'x-key': 'wrong' } }), { status: 403, body: 'no entry' })
    t.match(await ask(port, '/mapped/x?y=1'), { status: 200, body: '/mapped|/x?y=1' })
    t.match(await ask(port, '/'), { status: 200, body: '/' })
  })

  test(`${name}: an error of a layer above the handler is the framework's error page`, async (t) => {
    const failing = new Builder().use(() => async () => {
      throw new Error('down')
    })
    const port = await serve(t, [toConnect(failing)], (_req, res) => res.end('never'))
    t.match(await ask(port, '/'), { status: 500, body: page })
    t.match(await ask(port, '/'), { status: 500, body: page })
  })

  test(`${name}: a stack below a path concerns that path, and two stacks stand side by side`, async (t) => {
    const [all, below] = [new GatedStore(), new GatedStore()]
    const inner = new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session<{ n: number }>({ store: below, key: '_below' }))
    const port = await serve(t, [toConnect(stackOn(all)), ['/below', toConnect(inner)]], async (req, res) => {
      await count(req)
      res.end('hello')
    })
    const above = ask(port, '/')
    ;(await all.saving()).finish()
    t.match(await above, { body: 'hello', cookies: [/^_session_id=/] })
    const answered = ask(port, '/below')
    ;(await below.saving()).finish()
    const { body, cookies: lines } = await answered
    t.equal(body, 'hello')
    t.match(lines, [/^_below=/])
    t.equal(lines.length, 1, 'the inner session was the one that was written')
  })

  test(`${name}: many requests on few connections get the answers that are theirs`, async (t) => {
    const store = new GatedStore()
    const port = await serve(t, [toConnect(stackOn(store))], async (req, res) => {
      await count(req)
      res.setHeader('x-echo', String(req.headers['x-number']))
      res.end(String(req.headers['x-number']))
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 3 })
    t.teardown(() => agent.destroy())
    const answers = Promise.all(
      Array.from({ length: 12 }, (_, i) => {
        return new Promise<string>((resolve, reject) => {
          const options = { port, host: '127.0.0.1', agent, headers: { 'x-number': String(i) } }
          get(options, (res) => {
            let body = ''
            res.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
            res.on('end', () => resolve(`${res.statusCode} ${String(res.headers['x-echo'])} ${body}`))
          }).on('error', reject)
        })
      }),
    )
    for (let i = 0; i < 12; i++) {
      // oxlint-disable-next-line no-await-in-loop -- there are no more under way than connections
      const save = await store.saving()
      if (i % 4 === 3) save.fail(new Error('down'))
      else save.finish()
    }
    const failures = (await answers).filter((text) => text.startsWith('500 undefined '))
    t.equal(failures.length, 3)
    for (const failure of failures) t.match(failure.slice('500 undefined '.length), page)
    for (const [i, text] of (await answers).entries()) if (text.startsWith('200')) t.equal(text, `200 ${i} ${i}`)
  })

  if (catches) {
    test(`${name}: the page for a handler that throws goes through the stack`, async (t) => {
      const store = new GatedStore()
      const port = await serve(t, [toConnect(stackOn(store))], (req, res) => {
        req.session.reset().n = 1
        res.setHeader('x-handler', 'yes')
        throw new Error('down')
      })
      const answered = ask(port, '/')
      ;(await store.saving()).finish()
      t.match(await answered, { status: 500, body: page, cookies: [/^_session_id=/] })
      const failed = ask(port, '/')
      ;(await store.saving()).fail(new Error('down'))
      t.match(await failed, { status: 500, body: page, cookies: [] })
    })
  }

  if (awaits) {
    test(`${name}: the page for a handler whose promise is rejected goes through the stack`, async (t) => {
      const port = await serve(t, [toConnect(stackOn())], async (req) => {
        await count(req)
        throw new Error('down')
      })
      t.match(await ask(port, '/'), { status: 500, body: page, cookies: [/^_session_id=/] })
    })
  }

  test(`${name}: a client that goes away while the save is pending does no harm`, async (t) => {
    const store = new GatedStore()
    let closed: Promise<unknown> | undefined
    const port = await serve(t, [toConnect(stackOn(store))], async (req, res) => {
      closed = new Promise((resolve) => res.on('close', resolve))
      await count(req)
      createReadStream('LICENSE').pipe(res)
    })
    const request = get({ port, host: '127.0.0.1', agent: false }).on('error', () => {})
    const save = await store.saving()
    request.destroy()
    await closed
    save.finish()
    t.equal((await ask(port, '/nowhere')).status, 404)
    t.equal(store.memory.size, 1)
  })
}

// ---- Express

const expressWays: Record<string, [answer: (res: express.Response) => unknown, status: number, body: string | RegExp]> =
  {
    'res.send': [(res) => res.send('<p>hello'), 200, '<p>hello'],
    'res.send of bytes': [(res) => res.send(Buffer.from('hello')), 200, 'hello'],
    'res.json': [(res) => res.status(201).json({ a: 1 }), 201, '{"a":1}'],
    'res.redirect': [(res) => res.redirect('/next'), 302, /Redirecting to \/next/],
    'res.sendStatus': [(res) => res.sendStatus(204), 204, ''],
    'res.sendFile': [(res) => res.sendFile(join(process.cwd(), 'LICENSE')), 200, file],
    'res.download': [(res) => res.download(join(process.cwd(), 'LICENSE')), 200, file],
    'res.cookie and res.end': [(res) => res.cookie('a', '1').end(), 200, ''],
    'res.format': [(res) => res.format({ default: () => res.send('any') }), 200, 'any'],
  }

for (const [how, [answer, status, body]] of Object.entries(expressWays)) {
  test(`Express 5: answered by ${how}, the save is awaited before the first byte goes out`, async (t) => {
    const store = new GatedStore()
    const app = express().set('env', 'test')
    let sent: (() => number) | undefined
    app.use(toConnect(stackOn(store)))
    app.use(async (req, res) => {
      const { socket } = req
      sent = () => socket.bytesWritten
      await count(req as unknown as Req)
      res.cookie('express', '1')
      answer(res)
    })
    const port = await listen(t, app)
    const answered = ask(port, '/')
    const save = await store.saving()
    t.equal(sent?.(), 0)
    save.finish()
    const got = await answered
    t.equal(got.status, status)
    t.match(got.body, body)
    t.match(got.cookies[0], /^express=1;/)
    t.match(got.cookies.at(-1), /^_session_id=/)

    const failed = ask(port, '/')
    ;(await store.saving()).fail(new Error('down'))
    const page = await failed
    t.match(page, { status: 500, body: /<pre>Error: down/, cookies: [] })
    for (const name of ['location', 'content-disposition', 'last-modified', 'etag']) t.notOk(name in page.headers, name)
    t.equal(page.headers['x-powered-by'], 'Express', 'which was there before the handler')
  })
}

test('Express 5: a redirect after signing in finds the session', async (t) => {
  const stack = new Builder().use(cookies({ secret: SECRET })).use(session<{ user: string }>({ owner: 'user' }))
  type SignedIn = RequestOf<typeof stack>
  const app = express()
  app.use(toConnect(stack), express.urlencoded())
  app.post('/sign-in', async (req, res) => {
    const hash = await (req as unknown as SignedIn).session
    hash.user = (req.body as { user: string }).user
    res.redirect(303, '/')
  })
  app.get('/', async (req, res) => res.send(`hello ${(await (req as unknown as SignedIn).session).user}`))
  const client = new Client(await listen(t, app))
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  t.match(await client.get('/sign-in', { method: 'POST', headers, body: 'user=ada' }), { status: 303 })
  t.equal((await client.get('/')).body, 'hello ada')
})

test('Express 5: sub-routers, mounted paths, parameters and synchronous middleware after the stack', async (t) => {
  const app = express().set('env', 'test')
  const store = new GatedStore()
  const seen: string[] = []
  const router = express.Router({ mergeParams: true })
  router.use(toConnect(stackOn(store)))
  router.use((req, _res, next) => {
    seen.push(`${req.baseUrl}|${req.url}|${req.originalUrl}`)
    next()
  })
  router.get('/things/:thing', async (req, res) => {
    await count(req as unknown as Req)
    res.json({ ...req.params, url: req.url })
  })
  app.use(helmet(), compression())
  app.use('/shops/:shop', router)
  app.use(express.static('examples'))
  const port = await listen(t, app)

  const answered = ask(port, '/shops/7/things/tea?a=b')
  ;(await store.saving()).finish()
  const { body, headers, cookies: lines } = await answered
  t.same(JSON.parse(body), { shop: '7', thing: 'tea', url: '/things/tea?a=b' })
  t.ok('content-security-policy' in headers)
  t.match(lines, [/^_session_id=/])
  t.strictSame(seen, ['/shops/7|/things/tea?a=b|/shops/7/things/tea?a=b'])

  const failed = ask(port, '/shops/7/things/tea')
  ;(await store.saving()).fail(new Error('down'))
  const page = await failed
  t.match(page, { status: 500, body: /<pre>Error: down/, cookies: [] })
  t.ok('content-security-policy' in page.headers)

  t.equal((await ask(port, '/shops/7/nothing')).status, 404)
  t.equal((await ask(port, '/counter.ts')).body, await readFile('examples/counter.ts', 'utf8'))
})

test('Express 5: an error handler of your own answers for a failed save, in whatever way', async (t) => {
  const pages: Record<string, express.ErrorRequestHandler> = {
    json: (error: Error, _req, res, _next) => void res.status(503).json({ error: error.message }),
    file: (_error, _req, res, _next) => res.status(503).sendFile(join(process.cwd(), 'LICENSE')),
    stream: (_error, _req, res, _next) => void Readable.from([file.repeat(50)]).pipe(res.status(503)),
    late: async (_error, _req, res, _next) => {
      await new Promise(setImmediate)
      res.status(503).redirect('/sorry')
    },
  }
  for (const [name, page] of Object.entries(pages)) {
    for (const inner of [false, true]) {
      const store = new GatedStore()
      const app = express().set('env', 'test')
      app.use(toConnect(stackOn(store)))
      if (inner) app.use(compression())
      app.get('/', async (req, res) => {
        await count(req as unknown as Req)
        createReadStream('LICENSE').pipe(res.type('text/plain'))
      })
      app.use(page)
      const port = await listen(t, app)
      const answered = ask(port, '/', { headers: { 'accept-encoding': 'gzip' } })
      ;(await store.saving()).fail(new Error('down'))
      const { status, body, headers, cookies: lines } = await answered
      t.equal(status, name === 'late' ? 302 : 503, name)
      const wanted = { json: '{"error":"down"}', file, stream: file.repeat(50), late: 'Found. Redirecting to /sorry' }
      t.equal(body, wanted[name as keyof typeof wanted], name)
      t.notOk('content-encoding' in headers)
      t.strictSame(lines, [])
    }
  }
})

test("Express 5: an answer to a session's cookie is not for shared caches", async (t) => {
  const app = express()
  app.use(toConnect(stackOn()))
  app.get('/', async (req, res) =>
    res
      .vary('accept')
      .set('cache-control', 'no-cache')
      .send(String(await count(req as unknown as Req))),
  )
  const { headers } = await ask(await listen(t, app), '/')
  t.equal(headers.vary, 'accept, cookie')
  t.equal(headers['cache-control'], 'no-cache, private')
})

test('Express 5: forms, overridden methods and forgery protection of the stack reach the routes', async (t) => {
  const stack = stackOn(new CookieStore()).use(form()).use(methodOverride()).use(csrf())
  type Protected = RequestOf<typeof stack>
  const app = express().set('env', 'test')
  app.use(toConnect(stack))
  app.get('/', async (req, res) => res.send(await (req as unknown as Protected).csrfToken()))
  app.delete('/', async (req, res) => res.send((await (req as unknown as Protected).form()).get('thing')))
  const client = new Client(await listen(t, app))
  const token = (await client.get('/')).body
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const fields = (token: string) => new URLSearchParams({ _method: 'delete', thing: 'tea', authenticity_token: token })
  t.match(await client.get('/', { method: 'POST', headers, body: fields(token).toString() }), {
    status: 200,
    body: 'tea',
  })
  const refused = await client.get('/', { method: 'POST', headers, body: fields('wrong').toString() })
  t.match(refused, { status: 422, body: /<pre>CsrfError/ })
})

test('Express 5 inside node:http, behind a stack that is not its own', async (t) => {
  const store = new GatedStore()
  const middleware = toConnect(stackOn(store))
  const app = express()
  app.get('/', async (req, res) => res.send(String(await count(req as unknown as Req))))
  const port = await listen(t, (req, res) => middleware(req, res, () => app(req, res)))
  const answered = ask(port, '/')
  ;(await store.saving()).finish()
  t.match(await answered, { status: 200, body: '1', cookies: [/^_session_id=/] })
})

test("Express 5 inside Fastify's request: its own next is called, and not Fastify's error handler", async (t) => {
  const app = express().set('env', 'test')
  const store = new GatedStore()
  app.use((req, _res, next) => {
    // what Fastify's plugins put on node's request
    Object.defineProperties(req, { ips: { value: undefined }, log: { value: console } })
    next()
  })
  app.use(toConnect(stackOn(store)))
  app.get('/', async (req, res) => res.send(String(await count(req as unknown as Req))))
  const answered = ask(await listen(t, app), '/')
  ;(await store.saving()).fail(new Error('down'))
  t.match(await answered, { status: 500, body: /<pre>Error: down/ })
})

// ---- Polka

test('Polka: an error whose code its error handler cannot send is a plain page, and reported', async (t) => {
  const reported = t.capture(console, 'error', () => {})
  const store = new GatedStore()
  const app = polka()
  app.use(toConnect(stackOn(store)))
  app.get('/', (req, res) => void count(req as unknown as Req).then(() => res.end('held')))
  const port = await listen(t, (req, res) => app.handler(req as polka.Request, res))
  const answered = ask(port, '/')
  ;(await store.saving()).fail(new StoreTimeoutError('The store', 5))
  t.match(await answered, { status: 500, body: 'Internal Server Error\n', cookies: [] })
  t.match(reported.args(), [[{ code: 'ERR_STORE_TIMEOUT' }]])
})

// ---- Fastify

test('Fastify: replies of all kinds wait for the save, and an error handler answers for a failed one', async (t) => {
  const store = new GatedStore()
  const app = await startFastify(t)
  app.use(toConnect(stackOn(store)))
  app.addHook('onRequest', async (_request, reply) => void reply.header('x-hook', 'yes'))
  app.addHook('onSend', async (_request, reply) => void reply.header('x-sent', 'yes'))
  app.setErrorHandler((error: Error, _request, reply) => reply.code(503).send({ sorry: error.message }))
  const raw = (request: { raw: IncomingMessage }): Req => request.raw as Req
  app.get('/object', async (request, reply) => {
    await count(raw(request))
    reply.header('set-cookie', 'fastify=1').header('x-handler', 'yes').code(201)
    return { a: 1 }
  })
  app.get('/sent', (request, reply) => {
    void count(raw(request)).then(() => reply.header('x-handler', 'yes').send('hello'))
  })
  app.get('/stream', async (request, reply) => {
    await count(raw(request))
    return reply.header('x-handler', 'yes').send(createReadStream('LICENSE'))
  })
  app.get('/redirect', async (request, reply) => {
    await count(raw(request))
    return reply.header('x-handler', 'yes').redirect('/next')
  })
  const port = await portOf(app)
  const wanted = {
    '/object': { status: 201, body: '{"a":1}', cookies: [/^fastify=1$/, /^_session_id=/] },
    '/sent': { status: 200, body: 'hello', cookies: [/^_session_id=/] },
    '/stream': { status: 200, body: file, cookies: [/^_session_id=/] },
    '/redirect': { status: 302, body: '', cookies: [/^_session_id=/], headers: { location: '/next' } },
  }
  for (const [path, answer] of Object.entries(wanted)) {
    const answered = ask(port, path)
    ;(await store.saving()).finish()
    t.match(await answered, { ...answer, headers: { 'x-hook': 'yes', 'x-sent': 'yes', 'x-handler': 'yes' } }, path)

    const failed = ask(port, path)
    ;(await store.saving()).fail(new Error('down'))
    const { status, body, headers, cookies: lines } = await failed
    t.match({ status, body }, { status: 503, body: '{"sorry":"down"}' }, path)
    t.match(headers, { 'x-hook': 'yes', 'x-sent': 'yes', 'content-type': /json/ })
    t.notOk('x-handler' in headers || 'location' in headers, path)
    t.strictSame(lines, [])
  }
})

test('Fastify: after a failed save no later request skips a middleware', async (t) => {
  const store = new GatedStore()
  const app = await startFastify(t)
  const seen: string[] = []
  app.use((req, _res, next) => {
    seen.push(req.url ?? '')
    next()
  })
  app.use(toConnect(stackOn(store)))
  app.get('/*', async (request) => {
    if (request.url === '/write') await count(request.raw as Req)
    return 'hello'
  })
  const port = await portOf(app)
  const failed = ask(port, '/write')
  ;(await store.saving()).fail(new Error('down'))
  t.equal((await failed).status, 500)
  for (const path of ['/a', '/b', '/c', '/d']) t.equal((await ask(port, path)).body, 'hello')
  t.strictSame(seen, ['/write', '/a', '/b', '/c', '/d'])
})

test('Fastify: a reply that was hijacked, and an answer of another middleware, get a plain page', async (t) => {
  const reported = t.capture(console, 'error', () => {})
  const store = new GatedStore()
  const app = await startFastify(t)
  app.use(toConnect(stackOn(store)))
  app.use(
    '/middleware',
    (req: IncomingMessage, res: ServerResponse) => void count(req as Req).then(() => res.end('held')),
  )
  app.get('/hijacked', async (request, reply) => {
    reply.hijack()
    await count(request.raw as Req)
    reply.raw.end('held')
  })
  const port = await portOf(app)
  for (const path of ['/hijacked', '/middleware']) {
    const failed = ask(port, path)
    ;(await store.saving()).fail(new Error('down'))
    t.match(await failed, { status: 500, body: 'Internal Server Error\n', cookies: [] })
    const answered = ask(port, path)
    ;(await store.saving()).finish()
    t.match(await answered, { status: 200, body: 'held', cookies: [/^_session_id=/] })
  }
  t.match(reported.args(), [[{ message: 'down' }], [{ message: 'down' }]])
})

test('Fastify: app.inject, too', async (t) => {
  const app = await startFastify(t)
  const store = new GatedStore()
  app.use(toConnect(stackOn(store)))
  app.get('/', async (request) => ({ n: await count(request.raw as Req) }))
  const headers = { host: 'localhost' }
  const answered = app.inject({ path: '/', headers })
  ;(await store.saving()).finish()
  const { statusCode, body, cookies: lines } = await answered
  t.match({ statusCode, body, lines }, { statusCode: 200, body: '{"n":1}', lines: [{ name: '_session_id' }] })
  const failed = app.inject({ path: '/', headers })
  ;(await store.saving()).fail(new Error('down'))
  t.match(await failed, { statusCode: 500, cookies: [] })
})

test('Fastify: as a hook of its own instead of middie', async (t) => {
  const store = new GatedStore()
  const middleware = toConnect(stackOn(store))
  const app = fastify()
  t.teardown(() => app.close())
  app.addHook('onRequest', (request, reply, done) =>
    middleware(request.raw, reply.raw, done as (error?: unknown) => void),
  )
  app.get('/', async (request) => ({ n: await count(request.raw as Req) }))
  const port = await portOf(app)
  const answered = ask(port, '/')
  ;(await store.saving()).finish()
  t.match(await answered, { status: 200, body: '{"n":1}', cookies: [/^_session_id=/] })
  const failed = ask(port, '/')
  ;(await store.saving()).fail(new Error('down'))
  t.match(await failed, { status: 500, body: /"message":"down"/, cookies: [] })
})
