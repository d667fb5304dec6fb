import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import {
  createServer,
  request,
  ServerResponse,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http'
import { connect as connect2, createServer as createServer2 } from 'node:http2'
import { createServer as createServerTls, request as requestTls } from 'node:https'
import { connect, type AddressInfo, type Server, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import type { PSKCallbackNegotation } from 'node:tls'
import { test } from 'tap'
import { Builder, toListener, type App, type RackBody, type RackHeaders, type RackResponse } from '../../lib/index.ts'
import { ask, askRaw, serve, type Owner } from '../server.ts'

/** A server, and a client of it that has one connection for each request, or one for all (HTTP/2). */
interface Site {
  errors: unknown[]
  /** Asks, and resolves when the head is there. */
  open(path: string, method?: string): Promise<{ status: number; headers: IncomingHttpHeaders; stream: Readable }>
  get(path: string, method?: string): Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>
}

function siteOf(errors: unknown[], open: Site['open']): Site {
  return {
    errors,
    open,
    async get(path, method) {
      const { status, headers, stream } = await open(path, method)
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      return { status, headers, body: Buffer.concat(chunks).toString() }
    },
  }
}

async function listen(t: Owner, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port
}

async function answerTo(req: ClientRequest): ReturnType<Site['open']> {
  const [stream] = (await once(req.end(), 'response')) as [IncomingMessage]
  return { status: stream.statusCode ?? 0, headers: stream.headers, stream }
}

async function overHttp(t: Owner, app: App): Promise<Site> {
  const { port, errors } = await serve(t, app)
  return siteOf(errors, (path, method = 'GET') =>
    answerTo(request({ host: '127.0.0.1', port, path, method, agent: false })),
  )
}

// TLS without certificates: both ends know a key
const tls = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
const psk = Buffer.alloc(32, 7)

async function overHttps(t: Owner, app: App): Promise<Site> {
  const errors: unknown[] = []
  const listener = toListener(app, { onError: (error) => errors.push(error) })
  const port = await listen(t, createServerTls({ ...tls, pskCallback: () => psk }, listener))
  const pskCallback = (): PSKCallbackNegotation => ({ psk, identity: 'a test' })
  const client = { ...tls, pskCallback, checkServerIdentity: () => undefined, host: '127.0.0.1', port, agent: false }
  return siteOf(errors, (path, method = 'GET') => answerTo(requestTls({ ...client, path, method })))
}

async function overHttp2(t: Owner, app: App): Promise<Site> {
  const errors: unknown[] = []
  const server = createServer2(toListener(app, { onError: (error) => errors.push(error) }))
  const client = connect2(`http://127.0.0.1:${await listen(t, server)}`)
  t.teardown(() => client.destroy())
  return siteOf(errors, async (path, method = 'GET') => {
    const stream = client.request({ ':path': path, ':method': method })
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders]
    return { status: Number(headers[':status']), headers, stream }
  })
}

/** The errors' codes, or what they are otherwise. */
const codes = (errors: unknown[]): unknown[] => errors.map((error) => (error as { code?: string }).code ?? error)

/** A promise, and what fulfils it when it was called so many times. */
function signal(times = 1): { promise: Promise<void>; fire: () => void } {
  let left = times
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, fire: () => void (--left === 0 && resolve()) }
}

/** Waits until a count has stood still for many turns of the event loop. */
async function stillness(count: () => number): Promise<void> {
  for (let still = 0, last = count(); still < 50; still++) {
    await turn()
    if (count() !== last) still = 0
    last = count()
  }
}

async function opened(t: Owner, port: number, text = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => void socket.destroy())
  socket.write(text)
  await once(socket, 'connect')
  return socket
}

const INTERNAL = 'Internal Server Error\n'

function* letters(): Generator<string> {
  yield 'a'
  yield 'é'
}

async function* lettersLater(): AsyncGenerator<string | Uint8Array> {
  yield Buffer.from('a')
  await turn()
  yield 'é'
}

const bodies: Record<string, () => RackBody> = {
  '/string': () => 'aé',
  '/bytes': () => new TextEncoder().encode('aé'),
  '/array': () => ['a', Buffer.from('é')],
  '/set': () => new Set(['a', 'é']),
  '/generator': letters,
  '/async-generator': lettersLater,
  '/readable': () => Readable.from([Buffer.from('a'), Buffer.from('é')]),
  '/web-stream': () => new Blob(['a', 'é']).stream(),
  '/iterable': () => ({ [Symbol.iterator]: letters }),
  '/null': () => null,
  '/empty': () => [],
}

for (const [protocol, over] of Object.entries({ overHttp, overHttps, overHttp2 })) {
  const name = protocol.slice(4).toLowerCase()

  test(`${name}: a body may be text, bytes, an iterable, an async iterable or a stream`, async (t) => {
    const site = await over(t, (req) => [200, { 'content-type': 'text/plain' }, bodies[req.url ?? '']?.() ?? null])
    for (const path in bodies) {
      const { status, headers, body } = await site.get(path)
      t.equal(status, 200)
      t.equal(headers['content-type'], 'text/plain')
      t.equal(body, path === '/null' || path === '/empty' ? '' : 'aé', path)
    }
    t.same(site.errors, [])
  })

  test(`${name}: HTTP-16: content-length is in bytes, where it is known without reading the body`, async (t) => {
    const site = await over(t, (req) => [200, {}, bodies[req.url ?? '']?.() ?? null])
    for (const path of ['/string', '/bytes', '/array']) t.equal((await site.get(path)).headers['content-length'], '3')
    for (const path of ['/null', '/empty']) t.equal((await site.get(path)).headers['content-length'], '0')
    for (const path of ['/generator', '/async-generator', '/readable', '/web-stream']) {
      t.notOk('content-length' in (await site.get(path)).headers, path)
    }
  })

  test(`${name}: HEAD answers what GET does, without the body, which is closed`, async (t) => {
    const stream = Readable.from(['a'])
    const site = await over(t, (req) => [
      200,
      { 'x-a': '1' },
      req.url === '/s' ? stream : (bodies[req.url ?? '']?.() ?? null),
    ])
    for (const path of ['/string', '/bytes', '/array']) {
      const { status, headers, body } = await site.get(path, 'HEAD')
      t.match(
        { status, headers, body },
        { status: 200, headers: { 'content-length': '3', 'x-a': '1' }, body: '' },
        path,
      )
    }
    t.notOk('content-length' in (await site.get('/s', 'HEAD')).headers)
    t.ok(stream.destroyed)
  })

  test(`${name}: HTTP-04: 204 and 304 have neither body nor content-type nor content-length; the body is closed`, async (t) => {
    const streams: Readable[] = []
    const site = await over(t, (req) => {
      const stream = Readable.from(['a'])
      streams.push(stream)
      return [Number(req.url?.slice(1)), { 'Content-Type': 'text/plain', 'Content-Length': 1, etag: '"a"' }, stream]
    })
    for (const status of [204, 304]) {
      const { headers, ...answer } = await site.get(`/${status}`)
      t.same(answer, { status, body: '' })
      t.equal(headers.etag, '"a"')
      t.notOk('content-type' in headers || 'content-length' in headers || 'transfer-encoding' in headers)
    }
    t.ok(streams.every((stream) => stream.destroyed))
    t.same(site.errors, [])
  })

  test(`${name}: a content-length that lies is an error`, async (t) => {
    const lies: Record<string, RackBody> = {
      '/more': 'abcdef',
      '/fewer': ['ab'],
      '/none': null,
      '/stream-more': Readable.from(['abcdef']),
      '/stream-none': Readable.from([]),
    }
    const site = await over(t, (req) => [200, { 'Content-Length': '5' }, lies[req.url ?? ''] ?? null])
    for (const path in lies) t.match(await site.get(path), { status: 500, body: INTERNAL }, path)
    t.same(codes(site.errors), Object.keys(lies).fill('ERR_INVALID_RESPONSE'))
  })

  test(`${name}: a stream that breaks its content-length after the head is broken off`, async (t) => {
    const pieces: Record<string, string[]> = { '/more': ['abc', 'def'], '/fewer': ['a', 'b'], '/right': ['ab', 'éc'] }
    const site = await over(t, (req) => [200, { 'content-length': 5 }, Readable.from(pieces[req.url ?? ''] ?? [])])
    await t.rejects(site.get('/more'))
    await t.rejects(site.get('/fewer'))
    t.equal((await site.get('/right')).body, 'abéc')
    t.same(codes(site.errors), ['ERR_INVALID_RESPONSE', 'ERR_INVALID_RESPONSE'])
  })

  test(`${name}: CR, LF and NUL in the name or value of a header are a 500`, async (t) => {
    const bad: RackHeaders[] = [
      { 'x-a': 'a\r\nx-injected: 1' },
      { 'x-a': 'a\nb' },
      { 'x-a': 'a\rb' },
      { 'x-a': 'a\0b' },
      { 'x-a': ['a', 'b\r\nx-injected: 1'] },
      { 'set-cookie': ['a=1', 'b=2\r\nx-injected: 1'] },
      { 'x-a\r\nx-injected': '1' },
      { 'x-a\n': '1' },
      { 'x-a\0': '1' },
      { 'x a': '1' },
      { '': '1' },
    ]
    const site = await over(t, (req) => {
      const headers = { 'x-first': '1', 'content-encoding': 'gzip', ...bad[Number(req.url?.slice(2))] }
      return [200, headers, req.url?.startsWith('/s') ? Readable.from(['a']) : 'a']
    })
    for (const index of bad.keys()) {
      for (const kind of ['/w', '/s']) {
        const { status, headers, body } = await site.get(kind + String(index))
        t.same({ status, body }, { status: 500, body: INTERNAL }, JSON.stringify(bad[index]))
        t.notOk(
          'x-injected' in headers || 'x-first' in headers || 'content-encoding' in headers,
          'nothing is left of it',
        )
      }
    }
    t.equal(site.errors.length, 2 * bad.length)
  })

  test(`${name}: an error is a plain 500 that says nothing of it, reported once`, async (t) => {
    const error = new Error('the secret is 12345')
    const apps: Record<string, App> = {
      '/throw': () => {
        throw error
      },
      '/reject': () => Promise.reject(error),
      '/generator': () => [
        200,
        { 'x-a': '1' },
        // oxlint-disable-next-line require-yield
        (function* (): Generator<string> {
          throw error
        })(),
      ],
      '/stream': () => [
        200,
        { 'x-a': '1' },
        new Readable({ read: () => {}, construct: (callback) => callback(error) }),
      ],
      '/web-stream': () => [
        200,
        { 'x-a': '1' },
        new ReadableStream({ start: (controller) => controller.error(error) }),
      ],
    }
    const site = await over(t, (req) => (apps[req.url ?? ''] as App)(req))
    for (const path in apps) {
      const { status, headers, body } = await site.get(path)
      t.same({ status, body }, { status: 500, body: INTERNAL }, path)
      t.same([headers['content-type'], headers['content-length']], ['text/plain; charset=utf-8', '22'])
      t.notMatch(JSON.stringify(headers), /12345|x-a/)
    }
    t.same(
      site.errors,
      Object.keys(apps).map(() => error),
    )
    t.equal((await site.get('/throw', 'HEAD')).body, '')
  })

  test(`${name}: an error after the head breaks the response off, reported once`, async (t) => {
    const error = new Error('halfway')
    const site = await over(t, () => [
      200,
      {},
      (async function* (): AsyncGenerator<string> {
        yield 'the first half'
        await turn()
        throw error
      })(),
    ])
    await t.rejects(site.get('/'))
    t.same(site.errors, [error])
  })

  test(`${name}: what is no response is a 500 with ERR_INVALID_RESPONSE`, async (t) => {
    const wrong: unknown[] = [
      undefined,
      null,
      42,
      'text',
      {},
      [],
      [200, {}],
      [200, {}, '', ''],
      ['200', {}, ''],
      [99, {}, ''],
      [100, {}, ''],
      [1000, {}, ''],
      [200.5, {}, ''],
      [NaN, {}, ''],
      [42, {}, ''],
      [null, {}, ''],
      [200, null, ''],
      [200, [['a', 'b']], ''],
      [200, 'a: b', ''],
      [200, {}, undefined],
      [200, {}, 42],
      [200, {}, {}],
      [200, {}, true],
      [200, {}, letters],
      [200, {}, [1]],
      [200, {}, ['a', null]],
      [200, {}, new Set([1])],
      [200, {}, new Uint16Array(2)],
      [200, {}, Readable.from([{ a: 1 }])],
    ]
    const site = await over(t, (req) => wrong[Number(req.url?.slice(1))] as RackResponse)
    for (const index of wrong.keys()) {
      t.match(await site.get(`/${index}`), { status: 500, body: INTERNAL }, JSON.stringify(wrong[index]))
    }
    t.same(
      codes(site.errors),
      wrong.map(() => 'ERR_INVALID_RESPONSE'),
    )
  })

  test(`${name}: headers have names in any case, numbers, lists, and nothing for undefined`, async (t) => {
    const headers = { 'X-Number': 5, 'x-list': ['a', 'b'], 'x-none': undefined, 'SET-cookie': ['a=1', 'b=2'] }
    const site = await over(t, () => [200, { ...headers, 'Content-Length': 1 }, 'a'])
    const answer = await site.get('/')
    t.match(answer.headers, { 'x-number': '5', 'x-list': 'a, b', 'set-cookie': ['a=1', 'b=2'], 'content-length': '1' })
    t.notOk('x-none' in answer.headers)
  })

  test(`${name}: a frozen response may be returned every time`, async (t) => {
    const response: RackResponse = Object.freeze([
      200,
      Object.freeze({ 'Content-Type': 'text/plain' }),
      Object.freeze(['a']),
    ])
    const site = await over(t, () => response)
    for (const method of ['GET', 'HEAD', 'GET']) {
      t.match(await site.get('/', method), { status: 200, body: method === 'GET' ? 'a' : '' })
    }
    t.same(response, [200, { 'Content-Type': 'text/plain' }, ['a']])
    t.same(site.errors, [])
  })

  test(`${name}: a generator is read no faster than the client takes it`, async (t) => {
    const chunk = Buffer.alloc(64 * 1024, 'x')
    const total = 500
    let pulled = 0
    const site = await over(t, () => [
      200,
      {},
      (function* (): Generator<Uint8Array> {
        while (pulled < total) {
          pulled++
          yield chunk
        }
      })(),
    ])
    const { stream } = await site.open('/')
    await stillness(() => pulled)
    t.ok(pulled < total / 2, `${pulled} of ${total} chunks were read ahead`)
    let received = 0
    for await (const piece of stream) received += (piece as Buffer).length
    t.equal(received, total * chunk.length)
  })

  test(`${name}: when the client goes away, every body is closed, whatever it was doing`, async (t) => {
    const clients = 20
    const { promise: allClosed, fire: close } = signal(3 * clients)
    const endless = {
      *'/fast'(): Generator<string> {
        try {
          for (;;) yield 'x'.repeat(10_000)
        } finally {
          close()
        }
      },
      async *'/slow'(): AsyncGenerator<string> {
        try {
          for (;;) {
            yield 'x'
            await turn()
          }
        } finally {
          close()
        }
      },
      '/silent'(): Readable {
        const stream = new Readable({ read: () => {} })
        stream.push('x')
        return stream.on('close', close)
      },
    }
    const site = await over(t, (req) => [200, {}, endless[req.url as keyof typeof endless]()])
    for (let i = 0; i < clients; i++) {
      for (const path in endless) (await site.open(path)).stream.on('error', () => {}).destroy()
    }
    await allClosed
    t.same(site.errors, [], 'and that is no failure')
  })

  test(`${name}: a web stream that has nothing to say is cancelled when the client goes away`, async (t) => {
    const { promise: cancelled, fire: cancel } = signal()
    const body = new ReadableStream<string>({ start: (controller) => controller.enqueue('x'), cancel })
    const site = await over(t, () => [200, {}, body])
    ;(await site.open('/')).stream.on('error', () => {}).destroy()
    await cancelled
    t.same(site.errors, [])
  })

  test(`${name}: an empty string sends the head before there is a body`, async (t) => {
    const { promise: asked, fire: goOn } = signal()
    const site = await over(t, () => [
      200,
      { 'x-a': '1' },
      (async function* (): AsyncGenerator<string> {
        yield ''
        await asked
        yield 'a'
      })(),
    ])
    const { headers, stream } = await site.open('/')
    t.equal(headers['x-a'], '1')
    goOn()
    t.equal(String((await once(stream, 'data'))[0]), 'a')
  })
}

test('a body is closed when the client had gone before the app answered', async (t) => {
  const makers = [() => Readable.from(['a']), () => createReadStream('package.json'), () => createReadStream('none')]
  const { promise: allAsked, fire: asked } = signal(makers.length)
  const { promise: allClosed, fire: closed } = signal(makers.length)
  const { port, errors } = await serve(t, async (req) => {
    asked()
    await once(req.socket, 'close')
    return [200, {}, (makers.pop() as () => Readable)().on('close', closed)]
  })
  const clients = await Promise.all(makers.map(() => opened(t, port)))
  await allAsked
  for (const client of clients) client.destroy()
  await allClosed
  t.same(errors, [])
})

test('a stream of HTTP/2 that was cancelled before the app answered has its body closed', async (t) => {
  const stream = Readable.from(['a'])
  const server = createServer2(
    toListener(async (req) => {
      await once(req, 'close')
      return [200, {}, stream]
    }),
  )
  const client = connect2(`http://127.0.0.1:${await listen(t, server)}`)
  t.teardown(() => client.destroy())
  const asked = client.request({ ':path': '/' })
  asked.on('error', () => {})
  await once(server, 'request')
  asked.close(8)
  await once(stream, 'close')
  t.ok(stream.destroyed)
})

test('responses that wait behind another on their connection are closed with it', async (t) => {
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => void process.off('warning', warn))
  const waiting = 30
  const streams: Readable[] = []
  const { promise: allAsked, fire: asked } = signal(waiting)
  const { port, errors } = await serve(t, (req) => {
    if (req.url === '/first') return once(req.socket, 'close').then(() => [200, {}, ''])
    streams.push(new Readable({ read: () => {} }))
    asked()
    return [200, {}, streams.at(-1) ?? null]
  })
  const head = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`
  const client = await opened(t, port, head('/first') + head('/waits').repeat(waiting))
  await allAsked
  client.destroy()
  await Promise.all(streams.map((stream) => once(stream, 'close')))
  await turn()
  t.ok(streams.every((stream) => stream.destroyed))
  t.same([errors, warnings], [[], []])
})

test('a response that would have waited behind another is closed when the app answers after the client had gone', async (t) => {
  const { promise: closed, fire: close } = signal()
  const { promise: asked, fire: see } = signal()
  const { port } = await serve(t, async (req) => {
    if (req.url === '/second') see()
    await once(req.socket, 'close')
    return [200, {}, req.url === '/second' ? new Readable({ read: () => {} }).on('close', close) : '']
  })
  const client = await opened(t, port, 'GET /first HTTP/1.1\r\nhost: x\r\n\r\nGET /second HTTP/1.1\r\nhost: x\r\n\r\n')
  await asked
  client.destroy()
  await closed
  t.ok(client.destroyed)
})

for (const how of ['end', 'destroy'] as const) {
  test(`a response that somebody else ends meanwhile (${how}) has its body closed`, async (t) => {
    const { promise: closed, fire: close } = signal()
    let endIt = (): void => {}
    const listener = toListener(() => [
      200,
      {},
      (function* (): Generator<string> {
        try {
          yield 'a'
          endIt()
          for (;;) yield 'b'
        } finally {
          close()
        }
      })(),
    ])
    const server = createServer((req, res) => {
      endIt = () => void res[how]()
      listener(req, res)
    })
    const asked = ask(await listen(t, server), '/')
    if (how === 'destroy') await t.rejects(asked)
    else t.equal((await asked).body, 'a')
    await closed
  })
}

test('a body is closed when its head cannot be sent', async (t) => {
  const streams: Readable[] = []
  const { port } = await serve(t, () => {
    streams.push(Readable.from(['a']))
    return [200, { 'x-a': 'a\nb' }, streams.at(-1) ?? null]
  })
  for (const method of ['GET', 'HEAD']) t.equal((await ask(port, '/', { method })).status, 500)
  t.same(
    streams.map((stream) => stream.destroyed),
    [true, true],
  )
})

test('a status that HTTP/2 cannot send is a 500, with nothing left of the response', async (t) => {
  const site = await overHttp2(t, () => [700, { 'set-cookie': 'a=1', 'content-encoding': 'gzip' }, 'a'])
  const { status, headers, body } = await site.get('/')
  t.same([status, body], [500, INTERNAL])
  t.notOk('set-cookie' in headers || 'content-encoding' in headers)
})

test('a file that cannot be opened is a 500, also if that turns out before it is sent', async (t) => {
  const later: App = async () => {
    const stream = createReadStream('no such file')
    const response: RackResponse = await new Builder().run(() => [200, {}, stream])({} as IncomingMessage)
    await once(stream, 'close')
    return response
  }
  const { port, errors } = await serve(t, (req) =>
    req.url === '/later' ? later(req) : [200, {}, createReadStream('no such file')],
  )
  for (const path of ['/now', '/later']) t.match(await ask(port, path), { status: 500, body: INTERNAL })
  t.same(codes(errors), ['ENOENT', 'ENOENT'])
})

test('a file that cannot be opened does no harm where it is not sent', async (t) => {
  const status: Record<string, unknown> = { '/invalid': '200', '/none': 204 }
  const streams: Readable[] = []
  const { port } = await serve(t, (req) => {
    streams.push(createReadStream('no such file'))
    return [status[req.url ?? ''] as number, {}, streams.at(-1) ?? null]
  })
  t.equal((await ask(port, '/invalid')).status, 500)
  t.equal((await ask(port, '/none')).status, 204)
  t.ok(streams.every((stream) => stream.destroyed))
})

test('a body that was read already is a 500', async (t) => {
  const locked = new Blob(['a']).stream()
  locked.getReader()
  const ended = Readable.from(['a']).destroy()
  const { port, errors } = await serve(t, (req) => [200, {}, req.url === '/web' ? locked : ended])
  t.equal((await ask(port, '/web')).status, 500)
  t.equal((await ask(port, '/node')).status, 500)
  t.equal(errors.length, 2)
})

test('an iterable that cannot be iterated is a 500', async (t) => {
  const body = { [Symbol.iterator]: 1 } as unknown as RackBody
  const { port, errors } = await serve(t, () => [200, {}, body])
  t.equal((await ask(port, '/')).status, 500)
  t.match(errors, [TypeError])
})

test('a connection goes on after errors, HEAD, 204 and 304', async (t) => {
  const { port } = await serve(t, (req) => {
    if (req.url === '/error') throw new Error('no')
    if (req.url === '/framed') return [200, { 'transfer-encoding': 'chunked', 'x-a': 'a\nb' }, 'a']
    return [Number(req.url?.slice(1)), { 'x-a': '1' }, 'body']
  })
  const paths = ['GET /error', 'HEAD /error', 'GET /framed', 'HEAD /200', 'GET /204', 'GET /304', 'GET /200']
  const asked = paths.map((path) => `${path} HTTP/1.1\r\nhost: x\r\n\r\n`).join('')
  const error = 'content-type: text/plain; charset=utf-8\ncache-control: no-store\ncontent-length: 22\n'
  const kept = 'Connection: keep-alive\nKeep-Alive: timeout=5\n\n'
  const answers = await askRaw(port, asked)
  t.equal(
    answers.replaceAll(/Date: .*\r\n/g, '').replaceAll('\r\n', '\n'),
    [
      `HTTP/1.1 500 Internal Server Error\n${error}${kept}${INTERNAL}`,
      `HTTP/1.1 500 Internal Server Error\n${error}${kept}`,
      `HTTP/1.1 500 Internal Server Error\n${error}${kept}${INTERNAL}`,
      `HTTP/1.1 200 OK\nx-a: 1\ncontent-length: 4\n${kept}`,
      `HTTP/1.1 204 No Content\nx-a: 1\n${kept}`,
      `HTTP/1.1 304 Not Modified\nx-a: 1\n${kept}`,
      `HTTP/1.1 200 OK\nx-a: 1\ncontent-length: 4\n${kept}body`,
    ].join(''),
  )
})

test('a list of cookies is a line each', async (t) => {
  const { port } = await serve(t, () => [200, { 'Set-Cookie': ['a=1', 'b=2'] }, ''])
  t.match(await askRaw(port, 'GET / HTTP/1.0\r\n\r\n'), /^Set-Cookie: a=1\r\nSet-Cookie: b=2\r$/m)
})

test('HTTP-16: a transfer-encoding that the app set stands in for content-length', async (t) => {
  const { port } = await serve(t, () => [200, { 'Transfer-Encoding': 'chunked' }, 'hello'])
  const { headers, body } = await ask(port, '/')
  t.equal(headers['transfer-encoding'], 'chunked')
  t.notOk('content-length' in headers)
  t.equal(body, 'hello')
})

test('nothing of the response object is patched', async (t) => {
  const listener = toListener(() => [200, {}, Readable.from(['a'])])
  const { promise: finished, fire: finish } = signal()
  const methodsOf = (res: ServerResponse): unknown[] =>
    Object.entries(res).filter(([, value]) => typeof value === 'function')
  const server = createServer((req, res) => {
    const before = methodsOf(res)
    listener(req, res)
    res.on('finish', () => {
      for (const method of ['writeHead', 'write', 'end'] as const)
        t.equal(res[method], ServerResponse.prototype[method])
      t.same(methodsOf(res), before)
      finish()
    })
  })
  await ask(await listen(t, server), '/')
  await finished
})

test('onError gets the error and the request', async (t) => {
  const error = new Error('no')
  const heard: unknown[] = []
  const { port } = await serve(t, () => Promise.reject(error), {
    onError: (failure, req) => heard.push(failure, req.url),
  })
  await ask(port, '/where')
  t.same(heard, [error, '/where'])
})

test('without onError, a failure is printed', async (t) => {
  const error = new Error('no')
  const printed = t.capture(console, 'error', () => {})
  const app: App = () => Promise.reject(error)
  await ask(await listen(t, createServer(toListener(app))), '/')
  t.same(printed.args(), [[error]])
})

test('an onError that fails does not end the process; both errors are not lost', async (t) => {
  const second = new Error('cannot log')
  const printed = t.capture(console, 'error', () => {})
  const fail = [
    (): void => {
      throw second
    },
    (): Promise<void> => Promise.reject(second),
  ]
  for (const onError of fail) {
    const { port } = await serve(t, () => Promise.reject(new Error('no')), { onError: () => onError() })
    t.equal((await ask(port, '/')).status, 500)
  }
  t.same(printed.args(), [[second], [second]])
})

test('an error is reported though the client had gone', async (t) => {
  const error = new Error('no')
  const { promise: reported, fire } = signal()
  const heard: unknown[] = []
  const { promise: asked, fire: seen } = signal()
  const app: App = async (req) => {
    seen()
    await once(req.socket, 'close')
    throw error
  }
  const { port } = await serve(t, app, {
    onError: (failure) => {
      heard.push(failure)
      fire()
    },
  })
  const client = await opened(t, port)
  await asked
  client.destroy()
  await reported
  t.same(heard, [error])
})

test('a Builder may be given as it is', async (t) => {
  const builder = new Builder().map('/a', (inner) => inner.run(() => [200, {}, 'a']))
  const port = await listen(t, createServer(toListener(builder)))
  t.match(await ask(port, '/a'), { status: 200, body: 'a' })
  t.equal((await ask(port, '/b')).status, 404)
})

test('what is neither an app nor a Builder is refused at once', async (t) => {
  t.throws(() => toListener(undefined as unknown as App), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => toListener({ run: letters } as unknown as App), { code: 'ERR_INVALID_OPTION' })
})
