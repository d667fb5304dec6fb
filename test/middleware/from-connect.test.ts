import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { IncomingMessage, request } from 'node:http'
import { connect, Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  fromConnect,
  lint,
  MemoryStore,
  session,
  type App,
  type ConnectMiddleware,
  type RackBody,
  type RackHeaders,
  type RackResponse,
} from '../../lib/index.ts'
import { ask, askRaw, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

type Res = import('node:http').ServerResponse
type Next = (error?: unknown) => void
type Reader = AsyncIterableIterator<string>

/** The middleware as a layer, between two that check every rule. */
function around(mw: ConnectMiddleware, app: App): App {
  return new Builder().use(lint()).use(fromConnect(mw)).use(lint()).run(app)
}

const pass = (_req: unknown, _res: unknown, next: Next): void => next()
const text: App = () => [200, { 'content-type': 'text/plain' }, 'inner\n']

/** A request that no socket carries, for what needs the triple itself. */
const bare = (method = 'GET', url = '/'): IncomingMessage =>
  Object.assign(new IncomingMessage(new Socket()), { method, url, headers: { host: 'localhost' } })

/** A generator that tells what became of it. */
function letters(count = 3): { body: Generator<string>; log: string[] } {
  const log: string[] = []
  function* body(): Generator<string> {
    log.push('begun')
    try {
      for (let i = 0; i < count; i++) yield 'abc'.charAt(i % 3)
      log.push('done')
    } finally {
      log.push('closed')
    }
  }
  return { body: body(), log }
}

test('a middleware that answers is the end of the way: the app is not called', async (t) => {
  const app = around(
    (_req: unknown, res: Res) => {
      res.statusCode = 418
      res.setHeader('X-Pot', 'short and stout')
      res.end('a teapot\n')
    },
    () => {
      throw new Error('the app is called')
    },
  )
  const { port } = await serve(t, app)
  t.match(await ask(port, '/'), { status: 418, headers: { 'x-pot': 'short and stout' }, body: 'a teapot\n' })
})

test('a middleware that calls next leaves its headers on the response of the app', async (t) => {
  const app = around(
    (req: IncomingMessage & { seen?: string }, res: Res, next: Next) => {
      req.seen = 'here'
      res.setHeader('X-Outer', 'outer')
      res.setHeader('X-Both', 'outer')
      next()
    },
    (req) => [201, { 'x-both': 'inner', 'x-seen': (req as { seen?: string }).seen }, 'inner\n'],
  )
  const { port } = await serve(t, app)
  t.match(await ask(port, '/'), {
    status: 201,
    headers: { 'x-outer': 'outer', 'x-both': 'inner', 'x-seen': 'here', 'content-length': '6' },
    body: 'inner\n',
  })
})

test('lines of Set-Cookie add up, and Vary names each header once', async (t) => {
  const cases: [outer: RackHeaders, inner: RackHeaders, expected: RackHeaders][] = [
    [{ 'set-cookie': 'a=1' }, { 'set-cookie': ['b=2', 'c=3'] }, { 'set-cookie': ['a=1', 'b=2', 'c=3'] }],
    [{ 'set-cookie': ['a=1'] }, {}, { 'set-cookie': ['a=1'] }],
    [{}, { 'Set-Cookie': 'a=1', 'set-cookie': ['b=2'] }, { 'set-cookie': ['a=1', 'b=2'] }],
    [{ vary: 'Origin' }, { vary: 'cookie, origin' }, { vary: 'Origin, cookie' }],
    [{ vary: ['Origin', 'Accept'] }, { Vary: ['accept', 'Cookie'] }, { vary: 'Origin, Accept, Cookie' }],
    [{ vary: '*' }, { vary: 'cookie' }, { vary: '*' }],
    [{}, { vary: 'cookie' }, { vary: 'cookie' }],
    [{}, { 'X-A': '1', 'x-a': '2', 'x-none': undefined, 'x-empty': [] }, { 'x-a': ['1', '2'] }],
    [{ 'x-a': '1' }, { 'X-A': ['2', '3'] }, { 'x-a': ['2', '3'] }],
  ]
  for (const [outer, inner, expected] of cases) {
    const layer = fromConnect((_req: unknown, res: Res, next: Next) => {
      for (const [name, value] of Object.entries(outer)) res.setHeader(name, value as string)
      next()
    })
    const frozen = Object.freeze({ ...inner })
    t.same(await layer(() => [200, frozen, 'a'])(bare()), [200, expected, 'a'])
  }
})

test('a whole body stays whole: the layers above and the middleware know its length', async (t) => {
  const bodies: [body: RackBody, whole: RackBody, length: number | undefined][] = [
    ['aé', 'aé', 3],
    ['', null, undefined],
    [new TextEncoder().encode('aé'), Buffer.from('aé'), 3],
    [['a', 'é'], 'aé', 3],
    [['a', Buffer.from('é')], Buffer.from('aé'), 3],
  ]
  for (const [body, whole, length] of bodies) {
    let seen: unknown
    const layer = fromConnect((_req: unknown, res: Res, next: Next) => {
      res.on('finish', () => (seen = res.getHeader('content-length')))
      next()
    })
    t.same(await layer(() => [200, {}, body])(bare()), [200, {}, whole])
    await turn()
    t.equal(seen, length)
    const { port } = await serve(
      t,
      around(pass, () => [200, {}, body]),
    )
    t.equal((await ask(port, '/')).headers['content-length'], String(length ?? 0))
  }
})

test('a layer above may make another body of it, and one above that an ETag', async (t) => {
  const app = new Builder()
    .use(lint())
    .use(conditionalGet())
    .use((app) => async (req) => {
      const [status, headers, body] = await app(req)
      return [status, headers, `${body as string}with a footer\n`]
    })
    .use(fromConnect(pass))
    .run(text)
  const { port } = await serve(t, app)
  const { headers, body } = await ask(port, '/')
  t.equal(body, 'inner\nwith a footer\n')
  const again = await ask(port, '/', { headers: { 'if-none-match': String(headers.etag) } })
  t.equal(again.status, 304)
})

test('a content-length, or another framing, that the app gives is the one that counts', async (t) => {
  const layer = fromConnect(pass)
  t.same(await layer(() => [200, { 'Content-Length': 1 }, 'a'])(bare()), [200, { 'content-length': '1' }, 'a'])
  const framed = { 'transfer-encoding': 'chunked' }
  t.same(await layer(() => [200, framed, 'a'])(bare()), [200, framed, 'a'])
  const { port, errors } = await serve(
    t,
    around(pass, () => [200, { 'content-length': '2' }, 'a']),
  )
  t.equal((await ask(port, '/')).status, 500)
  t.equal(errors.length, 1)
})

test('a middleware may make another body, and another length, of it', async (t) => {
  const shout = (_req: unknown, res: Res, next: Next): void => {
    const end = res.end.bind(res)
    res.end = ((chunk: string) => {
      const loud = `${chunk.toUpperCase().trim()}!\n`
      res.setHeader('content-length', loud.length)
      return end(loud, 'utf8')
    }) as never
    next()
  }
  const { port } = await serve(t, around(shout, text))
  t.match(await ask(port, '/'), { headers: { 'content-length': '7' }, body: 'INNER!\n' })
})

test('HEAD, 204 and 304 have no body through it', async (t) => {
  const app = around(pass, (req) => {
    if (req.url === '/whole') return [200, { 'content-type': 'text/plain' }, 'inner\n']
    if (req.url === '/stream') return [200, { 'content-type': 'text/plain' }, letters().body]
    return [Number(req.url?.slice(1)), { 'x-a': '1' }, null]
  })
  const { port, errors } = await serve(t, app)
  const whole = await ask(port, '/whole', { method: 'HEAD' })
  t.match(whole, { status: 200, headers: { 'content-length': '6' }, body: '' })
  const stream = await ask(port, '/stream', { method: 'HEAD' })
  t.equal(stream.status, 200)
  t.notOk('content-length' in stream.headers)
  for (const status of [204, 304]) {
    const { headers, ...answer } = await ask(port, `/${status}`)
    t.match(answer, { status, body: '' })
    t.equal(headers['x-a'], '1')
  }
  t.same(errors, [])
})

test('what a middleware says of the body of a 204 or 304 is left out, and a body of the app is closed', async (t) => {
  const length = (_req: unknown, res: Res, next: Next): void => {
    res.setHeader('content-length', '0')
    res.setHeader('content-type', 'text/plain')
    next()
  }
  const { body, log } = letters()
  const closed = Readable.from(['a'])
  t.same(await fromConnect(length)(() => [204, { 'x-a': '1' }, closed])(bare()), [204, { 'x-a': '1' }, null])
  t.same(await fromConnect(length)(() => [304, {}, 'a'])(bare()), [304, {}, null])
  t.same(await fromConnect(length)(() => [304, {}, body])(bare()), [304, {}, null])
  t.ok(closed.destroyed)
  t.same([...body, ...log], [], 'which was not begun')
})

test('a stream is not begun before somebody reads it, and closed where nobody does', async (t) => {
  const { body, log } = letters()
  const [, , outer] = await fromConnect(pass)(() => [200, {}, body])(bare())
  await turn()
  t.same(log, [])
  const read: unknown[] = []
  for await (const chunk of outer as AsyncIterable<unknown>) read.push(chunk)
  t.same(read, ['a', 'b', 'c'])
  t.same(log, ['begun', 'done', 'closed'])

  const unread = Readable.from(['a'])
  const [, , dropped] = await fromConnect(pass)(() => [200, {}, unread])(bare())
  await (dropped as Reader).return?.()
  t.ok(unread.destroyed)
})

test('a web stream is cancelled where its reader stops, also while it has nothing to say', async (t) => {
  let isCancelled = false
  const silent = new ReadableStream<string>({
    start: (controller) => controller.enqueue('x'),
    cancel: () => {
      isCancelled = true
    },
  })
  const [, , body] = await fromConnect(pass)(() => [200, {}, silent])(bare())
  const reader = body as Reader
  t.equal((await reader.next()).value, 'x')
  const waiting = reader.next()
  await reader.return?.()
  t.equal((await waiting).done, true)
  await turn()
  t.ok(isCancelled)
})

test('HEAD of a stream closes it unread', async (t) => {
  const stream = Readable.from(['a'])
  const { port } = await serve(
    t,
    around(pass, () => [200, {}, stream]),
  )
  await ask(port, '/', { method: 'HEAD' })
  t.ok(stream.destroyed)
})

test('a body may be of all kinds, and is the same through one middleware and through five', async (t) => {
  const bodies: Record<string, () => RackBody> = {
    '/generator': () => letters().body,
    '/set': () => new Set(['a', Buffer.from('b'), 'c']),
    '/bytes': () => Readable.from([new Uint8Array([97]), new Uint8Array([98, 99])]),
    '/web': () => new Blob(['abc']).stream(),
    '/empty-pieces': () => new Set(['', 'ab', '', 'c', '']),
    '/null': () => null,
  }
  const builder = new Builder().use(lint())
  for (let i = 0; i < 5; i++) builder.use(fromConnect(pass)).use(lint())
  const { port, errors } = await serve(
    t,
    builder.run((req) => [200, {}, bodies[req.url ?? '']?.() ?? null]),
  )
  for (const path in bodies) t.equal((await ask(port, path)).body, path === '/null' ? '' : 'abc', path)
  t.same(errors, [])
})

test('a generator is not asked for more than some pieces ahead of its reader', async (t) => {
  const piece = 'x'.repeat(1024)
  let given = 0
  let isClosed = false
  function* endless(): Generator<string> {
    try {
      for (;;) {
        given += piece.length
        yield piece
      }
    } finally {
      isClosed = true
    }
  }
  const [, , body] = await fromConnect(pass)(() => [200, {}, endless()])(bare())
  const reader = body as Reader
  for (let pieces = 1; pieces <= 500; pieces += 100) {
    for (let i = 0; i < 100; i++) await reader.next()
    for (let i = 0; i < 10; i++) await turn()
    const ahead = given - (pieces + 99) * piece.length
    t.ok(ahead <= 64 * 1024, `${ahead} bytes ahead`)
  }
  await reader.return?.()
  t.ok(isClosed)
})

test('a generator is closed when the client goes away, when a layer above drops it, and when that fails', async (t) => {
  const logs: string[][] = []
  const endings: Record<string, App> = {
    '/away': (req) => app(req),
    '/dropped': async (req) => {
      const body = (await app(req))[2] as Reader
      await body.next()
      await body.return?.()
      return [200, {}, 'another']
    },
    '/fails': async (req) => {
      const [status, headers, body] = await app(req)
      return [status, { ...headers, 'x-a': 'a\nb' }, body]
    },
  }
  const app = fromConnect(pass)(() => {
    const { body, log } = letters(Infinity)
    logs.push(log)
    return [200, {}, body]
  })
  const { port } = await serve(t, (req) => (endings[req.url ?? ''] as App)(req))
  const client = request({ host: '127.0.0.1', port, path: '/away', agent: false }).end()
  const [answer] = (await once(client, 'response')) as [IncomingMessage]
  await once(answer, 'data')
  client.on('error', () => {}).destroy()
  t.equal((await ask(port, '/dropped')).body, 'another')
  t.equal((await ask(port, '/fails')).status, 500)
  while (logs.some((log) => log.at(-1) !== 'closed')) await turn()
  t.same(logs, [
    ['begun', 'closed'],
    ['begun', 'closed'],
    ['begun', 'closed'],
  ])
})

const failure = new Error('no')

const failures: Record<string, ConnectMiddleware> = {
  'calls next with an error': (_req: unknown, _res: unknown, next: Next) => next(failure),
  'calls next with an error later': (_req: unknown, _res: unknown, next: Next) => void setImmediate(next, failure),
  throws: () => {
    throw failure
  },
  rejects: async () => {
    await turn()
    throw failure
  },
  'calls next and throws': (_req: unknown, _res: unknown, next: Next) => {
    next()
    throw failure
  },
  'calls next and rejects': async (_req: unknown, _res: unknown, next: Next) => {
    next()
    throw failure
  },
  'fails after its headers': (_req: unknown, res: Res, next: Next) => {
    res.setHeader('x-secret', 'none')
    next(failure)
  },
  'destroys its response': (_req: unknown, res: Res) => void res.destroy(failure),
}

for (const [what, mw] of Object.entries(failures)) {
  test(`a middleware that ${what} makes the request an error, which layers above can catch`, async (t) => {
    const stream = Readable.from(['a'])
    const slow: App = async () => {
      await turn()
      return [200, {}, stream]
    }
    await t.rejects(Promise.resolve(fromConnect(mw)(slow)(bare())), failure)
    const { port, errors } = await serve(t, around(mw, slow))
    const { status, headers, body } = await ask(port, '/')
    t.same([status, body], [500, 'Internal Server Error\n'])
    t.notOk('x-secret' in headers)
    t.same(errors, [failure])
  })
}

test('an error of the app goes through as it is, and the middleware sees a response of its status', async (t) => {
  const seen: number[] = []
  const log = (_req: unknown, res: Res, next: Next): void => {
    res.on('finish', () => seen.push(res.statusCode))
    next()
  }
  const refused = Object.assign(new Error('not yours'), { status: 403 })
  const one = 1 as unknown as string
  const apps: Record<string, App> = {
    '/throws': () => {
      throw failure
    },
    '/rejects': () => Promise.reject(failure),
    '/refused': () => Promise.reject(refused),
    '/text': () => 'text' as unknown as RackResponse,
    '/status': () => [20, {}, ''],
    '/header': () => [200, { 'x-a': 'a\r\nb: c' }, ''],
    '/piece': () => [200, {}, [one]],
    '/stream-piece': () => [200, {}, new Set([one])],
    '/iterable': () => [200, {}, { [Symbol.iterator]: 1 } as unknown as RackBody],
    '/file': () => [200, {}, createReadStream('no such file')],
  }
  const app = fromConnect(log)((req) => (apps[req.url ?? ''] as App)(req))
  const { port, errors } = await serve(t, app)
  for (const path in apps) t.equal((await ask(port, path)).status, path === '/refused' ? 403 : 500, path)
  await turn()
  t.same(seen, [500, 500, 403, 500, 500, 500, 500, 500, 500, 500])
  t.match(errors, [
    failure,
    failure,
    refused,
    { code: 'ERR_INVALID_RESPONSE' },
    { code: 'ERR_INVALID_RESPONSE' },
    { code: 'ERR_INVALID_CHAR' },
    { code: 'ERR_INVALID_RESPONSE' },
    { code: 'ERR_INVALID_RESPONSE' },
    TypeError,
    { code: 'ENOENT' },
  ])
})

test('a body of a response that cannot be written is closed', async (t) => {
  const stream = Readable.from(['a'])
  const patched = (_req: unknown, res: Res, next: Next): void => {
    res.writeHead = () => {
      throw failure
    }
    next()
  }
  for (const [mw, headers] of [
    [pass, { 'x-a': 'a\nb' }],
    [patched, {}],
  ] as const) {
    await t.rejects(Promise.resolve(fromConnect(mw)(() => [200, headers, stream])(bare())))
    t.ok(stream.destroyed)
  }
})

test('an error in the middle of a body breaks the response off', async (t) => {
  async function* body(): AsyncGenerator<string> {
    yield 'a'
    await turn()
    throw failure
  }
  const { port, errors } = await serve(
    t,
    around(pass, () => [200, {}, body()]),
  )
  await t.rejects(ask(port, '/'))
  t.match(await askRaw(port, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'), /\r\n\r\n1\r\na\r\n$/, 'not as one that is complete')
  t.same(errors, [failure, failure])
})

test('a middleware that fails while its own body is on its way breaks it off', async (t) => {
  const begin = (_req: unknown, res: Res, next: Next): void => {
    res.write('a', () => setImmediate(next, failure))
  }
  const { port, errors } = await serve(t, around(begin, text))
  await t.rejects(ask(port, '/'))
  t.same(errors, [failure])
})

test('only the first next counts, and none after the response has ended', async (t) => {
  let calls = 0
  const app: App = (req) => {
    calls++
    return text(req)
  }
  const middleware: Record<string, ConnectMiddleware> = {
    twice: (_req: unknown, _res: unknown, next: Next) => {
      next()
      next()
      next(failure)
    },
    'twice, later': async (_req: unknown, _res: unknown, next: Next) => {
      next()
      await turn()
      next()
    },
    'after the end': (_req: unknown, res: Res, next: Next) => {
      res.end('inner\n')
      next()
      next(failure)
    },
    'after an error': (_req: unknown, _res: unknown, next: Next) => {
      next(Object.assign(new Error('gone'), { status: 410 }))
      next()
    },
  }
  for (const [how, mw] of Object.entries(middleware)) {
    calls = 0
    const { port } = await serve(t, around(mw, app))
    const { status } = await ask(port, '/')
    t.equal(status, how === 'after an error' ? 410 : 200, how)
    t.equal(calls, how.startsWith('twice') ? 1 : 0, how)
  }
})

test('an app that answers after the middleware did is not heard, and its body is closed', async (t) => {
  const stream = Readable.from(['a'])
  const impatient = (_req: unknown, res: Res, next: Next): void => {
    next()
    res.statusCode = 503
    res.end('too slow\n')
  }
  for (const slow of [
    async (): Promise<RackResponse> => [200, { 'x-a': '1' }, stream],
    async (): Promise<RackResponse> => Promise.reject(failure),
  ]) {
    const [status, headers, body] = await fromConnect(impatient)(slow)(bare())
    t.same([status, headers, body], [503, {}, 'too slow\n'])
  }
  await turn()
  t.ok(stream.destroyed)
})

test('next with what Connect takes for no error goes on', async (t) => {
  for (const nothing of [undefined, null, false, 0, '']) {
    const [status] = await fromConnect((_req: unknown, _res: unknown, next: Next) => next(nothing))(text)(bare())
    t.equal(status, 200)
  }
})

test('a middleware that holds the head back until there is a body gets the body', async (t) => {
  const late = (_req: unknown, res: Res, next: Next): void => {
    const [writeHead, write, end] = [res.writeHead.bind(res), res.write.bind(res), res.end.bind(res)]
    let status = 200
    const head = (): void => {
      if (!res.headersSent) writeHead(status, { 'x-late': '1' })
    }
    res.writeHead = (code: number) => {
      status = code
      return res
    }
    res.write = (chunk: unknown) => {
      head()
      return write(chunk)
    }
    res.end = (chunk?: unknown) => {
      head()
      return end(chunk)
    }
    next()
  }
  const { port } = await serve(
    t,
    around(late, () => [201, {}, letters().body]),
  )
  t.match(await ask(port, '/'), { status: 201, headers: { 'x-late': '1' }, body: 'abc' })
})

test('a write that says nothing is no reason to wait', async (t) => {
  const careless = (_req: unknown, res: Res, next: Next): void => {
    const write = res.write.bind(res)
    res.write = ((chunk: string) => void write(chunk.toUpperCase())) as never
    next()
  }
  const { port } = await serve(
    t,
    around(careless, () => [200, {}, letters(6).body]),
  )
  t.equal((await ask(port, '/')).body, 'ABCABC')
})

test('inside map the middleware sees the rest of the path, and req.originalUrl all of it', async (t) => {
  const seen: unknown[] = []
  const see = (req: IncomingMessage & { originalUrl?: string }, _res: unknown, next: Next): void => {
    seen.push([req.url, req.originalUrl])
    next()
  }
  const app = new Builder()
    .use(lint())
    .map('/a', (inner) =>
      inner
        .use(fromConnect(see))
        .map('/b', (deep) => deep.use(fromConnect(see)).run((req) => [200, {}, `${req.scriptName} ${req.url}`]))
        .run((req) => [200, {}, `${req.scriptName} ${req.url}`]),
    )
    .use((app) => async (req) => {
      const [status, headers] = await app(req)
      return [status, headers, String(req.url)]
    })
    .use(fromConnect(see))
    .run(text)
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/a/c?d')).body, '/a /c?d')
  t.equal((await ask(port, '/a/b?d')).body, '/a/b ?d', 'the app has the url as map made it')
  t.equal((await ask(port, '/a')).body, '/a ')
  t.equal((await ask(port, '/e')).body, '/e')
  t.same(seen, [
    ['/c?d', '/a/c?d'],
    ['/b?d', '/a/b?d'],
    ['/?d', '/a/b?d'],
    ['/', '/a'],
    ['/e', '/e'],
  ])
})

test('a url that the middleware makes another is what the app gets', async (t) => {
  const rewrite = (req: IncomingMessage, _res: unknown, next: Next): void => {
    req.url = '/index.html'
    next()
  }
  const app = new Builder().map('/a', (inner) =>
    inner
      .use(fromConnect(rewrite))
      .run((req) => [200, {}, `${req.url} of ${(req as { originalUrl?: string }).originalUrl}`]),
  )
  const { port } = await serve(t, app.run())
  t.equal((await ask(port, '/a')).body, '/index.html of /a')
})

test('sessions and cookies around it and inside it all send their lines', async (t) => {
  const app = new Builder()
    .use(lint())
    .use(cookies({ secret: SECRET }))
    .use(session<{ outer: number }>({ key: '_outer', store: new MemoryStore() }))
    .use((app) => async (req) => {
      ;(await req.session).outer = 1
      return app(req)
    })
    .use(
      fromConnect((_req: unknown, res: Res, next: Next) => {
        res.setHeader('Vary', 'Origin')
        res.setHeader('Set-Cookie', 'middle=1')
        next()
      }),
    )
    .map('/', (inner) =>
      inner
        .use(cookies({ secret: SECRET }))
        .use(session<{ inner: number }>({ key: '_inner' }))
        .run(async (req) => {
          ;(await req.session).inner = 2
          return [200, { vary: 'Accept' }, 'inner\n']
        }),
    )
  const { port } = await serve(t, app.run())
  const { cookies: lines, headers } = await ask(port, '/', { headers: { host: 'localhost' } })
  const names = lines.map((line) => line.split('=', 1)[0])
  t.same(new Set(names), new Set(['_inner', '_outer', 'middle']))
  t.equal(names.length, 3)
  t.equal(headers.vary, 'Origin, Accept, cookie')
  t.equal(headers['cache-control'], 'private')
})

test('a session above it is saved though the client goes away meanwhile', async (t) => {
  const store = new MemoryStore()
  let answered = (): void => {}
  const hasAnswered = new Promise<void>((resolve) => (answered = resolve))
  let asked = (): void => {}
  const wasAsked = new Promise<void>((resolve) => (asked = resolve))
  const app = new Builder()
    .use((app) => async (req) => {
      const response = await app(req)
      answered()
      return response
    })
    .use(cookies({ secret: SECRET }))
    .use(session<{ visits: number }>({ store, owner: 'visits' }))
    .use(fromConnect(pass))
    .run(async (req) => {
      ;(await req.session).visits = 7
      asked()
      await once(req.socket, 'close')
      return [200, {}, letters().body]
    })
  const { port, errors } = await serve(t, app)
  const client = connect(port, '127.0.0.1', () => client.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'))
  await wasAsked
  client.destroy()
  await hasAnswered
  t.equal(store.sessionsOf('7').length, 1)
  t.same(errors, [])
})

test('a middleware that waits for the end of its response hears of a client that goes away', async (t) => {
  let asked = (): void => {}
  const wasAsked = new Promise<void>((resolve) => (asked = resolve))
  let left = (): void => {}
  const hasLeft = new Promise<void>((resolve) => (left = resolve))
  const wait = (_req: unknown, res: Res): void => {
    res.on('close', left)
    asked()
  }
  const { port, errors } = await serve(t, around(wait, text))
  const client = connect(port, '127.0.0.1', () => client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'))
  await wasAsked
  client.destroy()
  await hasLeft
  t.same(errors, [])
})

test('what is no middleware is refused when the stack is built', async (t) => {
  for (const wrong of [undefined, null, 'helmet', {}, { handle: pass }]) {
    t.throws(() => fromConnect(wrong as never), { code: 'ERR_INVALID_OPTION' })
  }
  const handler = (error: unknown, _req: unknown, _res: unknown, next: Next): void => next(error)
  // @ts-expect-error -- it takes four
  t.throws(() => fromConnect(handler), { code: 'ERR_INVALID_OPTION', message: /showExceptions/ })
})

test('what makes a middleware instead of being one is an error that says so', async (t) => {
  function maker(): ConnectMiddleware {
    return pass
  }
  const { port, errors } = await serve(t, around(maker, text))
  t.equal((await ask(port, '/')).status, 500)
  t.match(errors, [{ code: 'ERR_INVALID_OPTION', message: /fromConnect\(maker\(\)\)/ }])
})

test('a layer has the name of its middleware', async (t) => {
  const stack = new Builder()
    .use(fromConnect(pass))
    .use(fromConnect((_req: unknown, _res: unknown, next: Next) => next()))
  t.equal(String(stack), 'use pass\nuse fromConnect')
})
