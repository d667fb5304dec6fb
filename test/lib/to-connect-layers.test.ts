import compression from 'compression'
import { once } from 'node:events'
import { get, type IncomingMessage, type ServerResponse } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import { test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  session,
  showExceptions,
  toConnect,
  type Middleware,
} from '../../lib/index.ts'
import { ask, askRaw, Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { count, GatedStore, mount, stackOn, type Handler, type Req } from './to-connect-app.ts'

// ---- what layers make of the response

test('layers see what the handler answered, and their status and headers are sent', async (t) => {
  const seen: unknown[] = []
  const seeing: Middleware = (app) => async (req) => {
    const [status, headers, body] = await app(req)
    seen.push(status, { ...headers })
    const { 'x-secret': _, 'x-list': __, ...rest } = headers
    return [203, { ...rest, 'X-Added': 'yes', 'x-number': 5, 'x-gone': undefined, 'Set-Cookie': 'layer=1' }, body]
  }
  const { port } = await mount(t, new Builder().use(seeing), (_req, res) => {
    res.setHeader('X-Secret', 'hidden')
    res.setHeader('X-Gone', 'hidden')
    res.setHeader('X-Kept', 'yes')
    res.setHeader('x-list', ['a', 'b'])
    res.setHeader('set-cookie', 'handler=1')
    res.writeHead(201, 'Made', { 'content-type': 'text/plain' })
    res.end('hello')
  })
  const { status, headers, body, cookies: lines } = await ask(port, '/')
  t.strictSame(seen, [
    201,
    {
      'x-secret': 'hidden',
      'x-gone': 'hidden',
      'x-kept': 'yes',
      'x-list': ['a', 'b'],
      'set-cookie': 'handler=1',
      'content-type': 'text/plain',
    },
  ])
  t.equal(status, 203)
  t.equal(body, 'hello')
  t.match(headers, { 'x-added': 'yes', 'x-number': '5', 'x-kept': 'yes', 'content-type': 'text/plain' })
  t.notOk('x-secret' in headers || 'x-gone' in headers || 'x-list' in headers)
  t.strictSame(lines, ['handler=1', 'layer=1'], 'in another letter case, too')
})

test('a reason goes with the status that it was given for', async (t) => {
  const other: Middleware = (app) => async (req) => {
    const [status, headers, body] = await app(req)
    return [req.url === '/other' ? 410 : status, { ...headers }, body]
  }
  const { port } = await mount(t, new Builder().use(other), (_req, res) => res.writeHead(404, 'No Such Thing').end())
  const get = (path: string) => askRaw(port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
  t.match(await get('/'), /^HTTP\/1\.1 404 No Such Thing\r\n/)
  t.match(await get('/other'), /^HTTP\/1\.1 410 Gone\r\n/)
})

test('a layer that makes a 204 of it sends no body', async (t) => {
  const emptied: Middleware = (app) => async (req) => {
    const [, headers, body] = await app(req)
    return [204, headers, body]
  }
  const { port } = await mount(t, new Builder().use(emptied), (_req, res) => {
    res.writeHead(200, { 'content-length': 5, 'x-thing': 'tea' }).end('hello')
  })
  const { status, headers, body } = await ask(port, '/')
  t.equal(status, 204)
  t.equal(body, '')
  t.equal(headers['content-length'], undefined)
  t.equal(headers['x-thing'], 'tea')
})

test('a header of a layer that cannot be sent is an error, and not half a response', async (t) => {
  const broken: Middleware = (app) => async (req) => {
    const [status, headers, body] = await app(req)
    return [status, { ...headers, 'x-bad': 'a\r\nset-cookie: evil=1' }, body]
  }
  const { port, nexts } = await mount(t, new Builder().use(broken), (_req, res) => res.end('held'))
  const { status, body, cookies: lines } = await ask(port, '/')
  t.equal(status, 500)
  t.match(body, /^failed: Invalid character/)
  t.strictSame(lines, [])
  t.match(nexts, [undefined, { code: 'ERR_INVALID_CHAR' }])
})

// ---- layers that answer themselves

test('a guard answers by itself, the handler does not run, and what was on res before is kept', async (t) => {
  const guard: Middleware = (app) => (req) =>
    req.url === '/open' ? app(req) : [401, { 'www-authenticate': 'Basic', 'X-Both': 'guard' }, 'no entry']
  const withJar = new Builder().use(cookies({ secret: SECRET }))
  const { port, nexts } = await mount(
    t,
    withJar
      .use((app) => (req) => {
        req.cookies.set('seen', '1')
        return app(req)
      })
      .use(guard),
    (_req, res) => res.end('open'),
    (_req, res, next) => {
      res.setHeader('X-Frame-Options', 'DENY')
      res.setHeader('x-both', 'before')
      res.setHeader('set-cookie', ['before=1'])
      next()
    },
  )
  const { status, headers, body, cookies: lines } = await ask(port, '/')
  t.equal(status, 401)
  t.equal(body, 'no entry')
  t.match(headers, {
    'www-authenticate': 'Basic',
    'x-frame-options': 'DENY',
    'x-both': 'guard',
    'content-length': '8',
  })
  t.match(lines, [/^before=1$/, /^seen=1;/])
  t.strictSame(nexts, [])
  t.equal((await ask(port, '/open')).body, 'open')
})

test('map inside the stack answers its paths, streams too, and the rest goes to the handler', async (t) => {
  const stack = stackOn().map('/mapped', (mapped) =>
    mapped.run(async (req) => {
      ;(await req.session).n = 7
      return [200, { 'content-type': 'text/plain' }, Readable.from([`${req.scriptName} `, `${req.url}`])]
    }),
  )
  const { port, nexts } = await mount(t, stack, async (req, res) => res.end(`${req.url} ${(await req.session).n}`))
  const client = new Client(port)
  t.equal((await client.get('/mapped/a?b')).body, '/mapped /a?b')
  t.strictSame(nexts, [])
  t.equal((await client.get('/mappedNot')).body, '/mappedNot 7')
})

test('a layer that answers after the handler did drops what was held', async (t) => {
  const source = new PassThrough()
  const stack = stackOn().use(conditionalGet())
  const { port, nexts } = await mount(
    t,
    stack,
    async (req, res) => {
      await count(req)
      res.writeHead(200, { etag: '"x"', 'content-type': 'text/plain', 'x-handler': 'yes' })
      res.write('held')
      source.pipe(res)
    },
    (_req, res, next) => {
      res.setHeader('set-cookie', 'before=1')
      next()
    },
  )
  const closed = once(source, 'close')
  const { status, headers, body, cookies: lines } = await ask(port, '/', { headers: { 'if-none-match': '"x"' } })
  t.equal(status, 304)
  t.equal(body, '')
  t.match(headers, { etag: '"x"', 'x-handler': 'yes' })
  t.notOk('content-type' in headers)
  t.match(lines, [/^before=1$/, /^_session_id=/])
  t.equal(lines.length, 2)
  t.strictSame(nexts, [undefined])
  await closed
  t.ok(source.destroyed, 'and closes what was to be sent')
})

test("a page of the stack's own takes the place of what was held", async (t) => {
  const store = new GatedStore()
  const errors: unknown[] = []
  const stack = new Builder()
    .use(showExceptions({ onError: (error) => errors.push(error), details: false }))
    .use(cookies({ secret: SECRET }))
    .use(session<{ n: number }>({ store }))
  const { port, nexts } = await mount(
    t,
    stack,
    async (req, res) => {
      await count(req)
      res.setHeader('x-handler', 'yes')
      res.setHeader('content-length', 4)
      res.end('held')
    },
    (_req, res, next) => {
      res.setHeader('x-before', 'yes')
      next()
    },
  )
  const answered = ask(port, '/')
  ;(await store.saving()).fail(new Error('down'))
  const { status, headers, body, cookies: lines } = await answered
  t.equal(status, 500)
  t.equal(body, 'Internal Server Error\n')
  t.equal(headers['x-before'], 'yes')
  t.notOk('x-handler' in headers)
  t.strictSame(lines, [])
  t.strictSame(nexts, [undefined])
  t.match(errors, [{ message: 'down' }])
})

for (const [what, layer] of Object.entries({
  'reads the body': (app) => async (req) => {
    const [status, headers, body] = await app(req)
    const chunks: unknown[] = []
    for await (const chunk of body as AsyncIterable<string>) chunks.push(chunk)
    return [status, headers, chunks.join('')]
  },
  'puts a stream in the place of the body': (app) => async (req) => {
    const [status, headers, body] = await app(req)
    const upper = async function* () {
      for await (const chunk of body as AsyncIterable<string>) yield chunk.toUpperCase()
    }
    return [status, headers, upper()]
  },
} satisfies Record<string, Middleware>)) {
  test(`a layer that ${what} gets an error that says what to do`, async (t) => {
    const { port, nexts } = await mount(t, new Builder().use(layer), (_req, res) => res.end('held'))
    t.equal((await ask(port, '/')).status, 500)
    t.match(nexts, [undefined, { code: 'ERR_INVALID_RESPONSE', message: /Take that layer out/ }])
  })
}

test('a layer that calls its app twice gets an error, and the handler runs once', async (t) => {
  const twice: Middleware = (app) => async (req) => {
    await app(req)
    return app(req)
  }
  let calls = 0
  const { port, nexts } = await mount(t, new Builder().use(twice), (_req, res) => {
    calls++
    res.end('held')
  })
  t.equal((await ask(port, '/')).status, 500)
  t.match(nexts, [undefined, { code: 'ERR_LINT' }])
  t.equal(calls, 1)
})

test('what a layer throws before the handler ran goes to next, whatever it is', async (t) => {
  for (const thrown of [new Error('no'), undefined, null, '', 'route', 'router', 0]) {
    const throwing: Middleware[] = [
      () => () => {
        throw thrown
      },
      () => async () => {
        throw thrown
      },
    ]
    for (const layer of throwing) {
      const { port, nexts } = await mount(t, new Builder().use(layer), (_req, res) => res.end('never'))
      t.equal((await ask(port, '/')).status, 500)
      t.equal(nexts.length, 1)
      t.type(nexts[0], Error)
      if (!(thrown instanceof Error)) t.match(nexts[0], { cause: thrown })
    }
  }
})

test('a layer that returns no response is an error', async (t) => {
  const { port, nexts } = await mount(t, new Builder().use((() => () => 'hello') as never), (_req, res) => res.end())
  t.equal((await ask(port, '/')).status, 500)
  t.match(nexts, [{ code: 'ERR_INVALID_RESPONSE' }])
})

test('a body of a layer that fails before its first byte is a plain error page', async (t) => {
  const reported = t.capture(console, 'error', () => {})
  const failing: Middleware = () => () => [
    200,
    {},
    // oxlint-disable-next-line require-yield -- it does not come to that
    (function* (): Generator<string> {
      throw new Error('torn')
    })(),
  ]
  const { port, nexts } = await mount(t, new Builder().use(failing), (_req, res) => res.end('never'))
  t.match(await ask(port, '/'), { status: 500, body: 'Internal Server Error\n' })
  t.strictSame(nexts, [])
  t.match(reported.args(), [[{ message: 'torn' }]])
})

test('a layer may give up before the handler has answered, which then writes to nobody', async (t) => {
  const impatient: Middleware = (app) => async (req) => {
    const response = app(req)
    return req.url === '/late' ? [503, {}, 'too late'] : response
  }
  let release: (() => void) | undefined
  const { port, errors } = await mount(t, new Builder().use(impatient), async (_req, res) => {
    const over = new Promise<void>((resolve) => (release = resolve))
    await over
    res.end('late')
    await new Promise((resolve) => res.write('later', resolve))
    res.setHeader('x-late', '1')
  })
  t.match(await ask(port, '/late'), { status: 503, body: 'too late' })
  release?.()
  t.match(await ask(port, '/beside'), { body: 'beside' })
  t.match(errors, [{ code: 'ERR_HTTP_HEADERS_SENT' }])
})

// ---- other middleware around and inside

const big = 'tea '.repeat(20_000)

for (const [where, order] of Object.entries({ around: 'outer', inside: 'inner' } as const)) {
  for (const [how, answer] of Object.entries({
    end: (res: ServerResponse): unknown => res.end(big),
    pipe: (res: ServerResponse): unknown => Readable.from(big.match(/[^]{1,2000}/g) ?? []).pipe(res),
    'writes that wait': async (res: ServerResponse) => {
      for (const part of big.match(/[^]{1,2000}/g) ?? []) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        if (!res.write(part)) await once(res, 'drain')
      }
      res.end()
    },
  })) {
    test(`compression ${where} compresses what is sent by ${how}, after the save`, async (t) => {
      const store = new GatedStore()
      const compress = compression() as unknown as (req: IncomingMessage, res: ServerResponse, next: () => void) => void
      const handler: Handler = async (req, res) => {
        await count(req)
        res.setHeader('content-type', 'text/plain')
        await answer(res)
      }
      const { port } = await mount(
        t,
        stackOn(store),
        (req, res) => (order === 'outer' ? handler(req, res) : compress(req, res, () => void handler(req, res))),
        order === 'outer' ? compress : undefined,
      )
      const answered = new Promise<[IncomingMessage, Buffer]>((resolve) => {
        get({ port, host: '127.0.0.1', agent: false, headers: { 'accept-encoding': 'gzip' } }, (res) => {
          const chunks: Buffer[] = []
          res.on('data', (chunk: Buffer) => chunks.push(chunk))
          res.on('end', () => resolve([res, Buffer.concat(chunks)]))
        })
      })
      ;(await store.saving()).finish()
      const [{ headers }, bytes] = await answered
      t.match(headers, { 'content-encoding': 'gzip', vary: /accept-encoding/i, 'set-cookie': [/^_session_id=/] })
      t.equal(gunzipSync(bytes).toString(), big)
    })

    test(`after a failed save the error page goes out with compression ${where}, by ${how}`, async (t) => {
      const store = new GatedStore()
      const compress = compression() as unknown as (req: IncomingMessage, res: ServerResponse, next: () => void) => void
      const handler: Handler = async (req, res) => {
        await count(req)
        res.setHeader('content-type', 'text/plain')
        await answer(res)
      }
      const { port } = await mount(
        t,
        stackOn(store),
        (req, res) => (order === 'outer' ? handler(req, res) : compress(req, res, () => void handler(req, res))),
        order === 'outer' ? compress : undefined,
      )
      const answered = ask(port, '/', { headers: { 'accept-encoding': 'gzip' } })
      ;(await store.saving()).fail(new Error('down'))
      const { status, headers, body } = await answered
      t.match({ status, body }, { status: 500, body: 'failed: down' })
      t.notOk('content-encoding' in headers)
    })
  }
}

test('middleware that sets headers when the head is written works around and inside', async (t) => {
  const late = (name: string) => (_req: IncomingMessage, res: ServerResponse, next: () => void) => {
    const { writeHead } = res as { writeHead: (this: ServerResponse, ...args: unknown[]) => ServerResponse }
    Object.assign(res, {
      writeHead(this: ServerResponse, ...args: unknown[]) {
        res.setHeader(name, String(res.statusCode))
        return writeHead.apply(this, args)
      },
    })
    next()
  }
  for (const answer of [
    (res: ServerResponse) => res.end('hello'),
    (res: ServerResponse) => res.writeHead(200).end('hello'),
    (res: ServerResponse) => (res.write('hel'), res.end('lo')),
  ]) {
    const { port } = await mount(
      t,
      stackOn(),
      (req, res) => late('x-inside')(req, res, () => void count(req).then(() => answer(res))),
      late('x-around'),
    )
    const { headers, body, cookies: lines } = await ask(port, '/')
    t.match({ headers, body }, { headers: { 'x-inside': '200', 'x-around': '200' }, body: 'hello' })
    t.match(lines, [/^_session_id=/])
  }
})

test('what middleware inside still writes after a failed save goes nowhere, and it hears so', async (t) => {
  const store = new GatedStore()
  let hear!: (error?: unknown) => void
  const heard = new Promise((resolve) => (hear = resolve))
  const { port, errors } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    const [writeHead, write] = [res.writeHead.bind(res), res.write.bind(res)]
    const [flushHeaders, end] = [res.flushHeaders.bind(res), res.end.bind(res)]
    const over = once(res, 'close')
    res.end('held')
    await over
    t.equal(writeHead(201), res)
    flushHeaders()
    t.equal(write('more', hear), false)
    t.equal(end('end'), res)
  })
  const answered = ask(port, '/')
  ;(await store.saving()).fail(new Error('down'))
  t.match(await answered, { status: 500, body: 'failed: down' })
  t.match(await heard, { message: 'down' })
  t.strictSame(errors, [])
})

test('two stacks around one handler both save, and both hold', async (t) => {
  const [outer, inner] = [new GatedStore(), new GatedStore()]
  const shop = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<{ n: number }>({ store: inner, key: '_shop' }))
  const middleware = toConnect(shop)
  const answer = async (req: Req, res: ServerResponse): Promise<void> => {
    await count(req)
    res.setHeader('set-cookie', 'handler=1')
    if (req.url === '/stream') Readable.from(['hel', 'lo']).pipe(res)
    else res.end('hello')
  }
  const { port, nexts } = await mount(t, stackOn(outer), async (req, res) => {
    await count(req)
    middleware(req, res, (error) => {
      if (!error) return void answer(req, res)
      res.statusCode = 502
      return res.end(`inner: ${(error as Error).message}`)
    })
  })
  for (const path of ['/', '/stream']) {
    const answered = ask(port, path)
    const first = await inner.saving()
    first.finish()
    const second = await outer.saving()
    second.finish()
    t.match(await answered, { status: 200, body: 'hello', cookies: [/^handler=1$/, /^_shop=/, /^_session_id=/] })
  }

  const failed = ask(port, '/')
  ;(await inner.saving()).fail(new Error('down'))
  ;(await outer.saving()).finish()
  const { status, body, cookies: lines } = await failed
  t.match({ status, body }, { status: 502, body: 'inner: down' })
  t.match(lines, [/^_session_id=/])
  t.equal(lines.length, 1)

  const failedAbove = ask(port, '/stream')
  ;(await inner.saving()).finish()
  ;(await outer.saving()).fail(new Error('down'))
  t.match(await failedAbove, { status: 500, body: 'failed: down', cookies: [] })
  t.equal(nexts.filter(Boolean).length, 1)
})

test('one middleware may stand in two places', async (t) => {
  const middleware = toConnect(stackOn())
  const answer = async (req: Req, res: ServerResponse): Promise<void> => {
    await count(req)
    res.end('hello')
  }
  const { port } = await mount(t, new Builder(), (req, res) => {
    middleware(req, res, () => middleware(req, res, () => void answer(req as Req, res)))
  })
  const { body, cookies: lines } = await ask(port, '/')
  t.equal(body, 'hello')
  t.equal(lines.length, 1)
})
