import { once } from 'node:events'
import { createServer, request, Agent, type ClientRequest, type IncomingMessage } from 'node:http'
import { connect as connect2, createServer as createServer2, type ClientHttp2Session } from 'node:http2'
import { connect, type AddressInfo, type Server, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import middie from '@fastify/middie'
import express, { type Handler } from 'express'
import { fastify as Fastify } from 'fastify'
import { test } from 'tap'
import {
  Builder,
  form,
  lint,
  toConnect,
  toListener,
  type App,
  type FormOptions,
  type RackResponse,
  type RequestOf,
} from '../../lib/index.ts'
import { thrown } from '../jar-app.ts'
import { ask, serve, type Answer, type Owner } from '../server.ts'

const stackOf = (options?: FormOptions) => new Builder().use(lint()).use(form(options)).use(lint())

type Req = RequestOf<ReturnType<typeof stackOf>>

const URLENCODED = 'application/x-www-form-urlencoded'

const shown = (fields: URLSearchParams): RackResponse => [200, {}, JSON.stringify([...fields])]

/** Answers the fields of the form. */
const fields = async (req: Req): Promise<RackResponse> => shown(await req.form())

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = ''
  for await (const chunk of stream) text += String(chunk)
  return text
}

const post = (port: number, body: string, headers: Record<string, string> = {}, method = 'POST'): Promise<Answer> =>
  ask(port, '/', { method, body, headers: { 'content-type': URLENCODED, ...headers } })

async function listen(t: Owner, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** A server of HTTP/2, and a client of it. */
async function overHttp2(t: Owner, app: App): Promise<{ client: ClientHttp2Session; errors: unknown[] }> {
  const errors: unknown[] = []
  const server = createServer2(toListener(app, { onError: (error) => errors.push(error) }))
  const client = connect2(`http://127.0.0.1:${await listen(t, server)}`)
  t.teardown(() => client.destroy())
  return { client, errors }
}

/** A promise, and what fulfils it. */
function signal<T = void>(): { promise: Promise<T>; fire: (value: T) => void } {
  let fire: (value: T) => void = () => {}
  const promise = new Promise<T>((resolve) => (fire = resolve))
  return { promise, fire }
}

/** A connection to which a test writes by hand. */
async function opened(t: Owner, port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => void socket.destroy())
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

const head = (headers: Record<string, string | number>): string =>
  `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: ${URLENCODED}\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`

async function answerTo(req: ClientRequest): Promise<{ status: number | undefined; body: string }> {
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  return { status: res.statusCode, body: await textOf(res) }
}

test('the fields of a form, as URLSearchParams reads them', async (t) => {
  const { port } = await serve(t, stackOf().run(fields))
  const forms: Record<string, [string, string][]> = {
    'a=1&b=2': [
      ['a', '1'],
      ['b', '2'],
    ],
    'a=1&a=2&a=': [
      ['a', '1'],
      ['a', '2'],
      ['a', ''],
    ],
    'user%5Bname%5D=Ada+L.&x=%C3%A9%26%3D%2B': [
      ['user[name]', 'Ada L.'],
      ['x', 'é&=+'],
    ],
    '?a=1': [['?a', '1']],
    '__proto__=1&constructor=2': [
      ['__proto__', '1'],
      ['constructor', '2'],
    ],
    'a=%&b=%FF&%zz': [
      ['a', '%'],
      ['b', '\uFFFD'],
      ['%zz', ''],
    ],
    '&&=&': [['', '']],
    é: [['é', '']],
  }
  for (const body in forms) {
    const expected = JSON.stringify(forms[body])
    t.equal((await post(port, body)).body, expected, body)
    const chunked = await post(port, body, { 'transfer-encoding': 'chunked' }, 'PUT')
    t.equal(chunked.body, expected, `${body}, chunked, by PUT`)
  }
  for (const type of [`${URLENCODED};charset=UTF-8`, 'Application/X-WWW-Form-URLencoded ; a="b;c"']) {
    t.equal((await post(port, 'a=1', { 'content-type': type })).body, '[["a","1"]]', type)
  }
})

test('every call gives the same object, also in a stack inside map with a limit of its own', async (t) => {
  const app = stackOf()
    .use((inner) => async (req) => {
      const outer = await req.form()
      const [status, headers, body] = await inner(req)
      return [status, { ...headers, 'x-same': String(outer === (await req.form())) }, body]
    })
    .map('/inner', (inner) =>
      inner.use(form({ limit: 1 })).run(async (req) => {
        const first = await req.form()
        return [200, {}, `${first === (await req.form())} ${first.get('abc')}`]
      }),
    )
  const { port } = await serve(t, app.run())
  const { body, headers } = await ask(port, '/inner', {
    method: 'POST',
    body: 'abc=1',
    headers: { 'content-type': URLENCODED },
  })
  t.equal(body, 'true 1')
  t.equal(headers['x-same'], 'true')
})

test('nothing is read before the first call', async (t) => {
  const { port } = await serve(
    t,
    stackOf().run(async (req) => {
      await turn()
      return [200, {}, `${req.readableDidRead} ${req.readableFlowing} ${await textOf(req)}`]
    }),
  )
  t.equal((await post(port, 'a=1')).body, 'false null a=1')
})

test('any other type of body reads as no fields, and is left to the application', async (t) => {
  const { port } = await serve(
    t,
    stackOf().run(async (req) => [200, {}, `${(await req.form()).size} ${await textOf(req)}`]),
  )
  for (const type of ['application/json', 'multipart/form-data; boundary=x', 'text/plain', `${URLENCODED}x`, '', ';']) {
    t.equal((await post(port, '{"a":1}', { 'content-type': type })).body, '0 {"a":1}', type)
  }
  const { body } = await ask(port, '/', { method: 'POST', body: 'a=1' })
  t.equal(body, '0 a=1', 'no type')
})

test('no body reads as no fields, whatever was done with it', async (t) => {
  const drained = async (req: Req): Promise<RackResponse> => {
    await textOf(req)
    return fields(req)
  }
  for (const app of [fields, drained]) {
    const { port } = await serve(t, stackOf().run(app))
    t.equal((await ask(port, '/', { headers: { 'content-type': URLENCODED } })).body, '[]')
    t.equal((await post(port, '', { 'content-length': '0' })).body, '[]')
    const { client } = await overHttp2(t, stackOf().run(app))
    const stream = client.request({ ':method': 'POST', 'content-type': URLENCODED }, { endStream: true })
    t.equal(await textOf(stream), '[]', 'HTTP/2')
  }
  const { port } = await serve(t, stackOf().run(fields))
  t.equal((await post(port, '', { 'transfer-encoding': 'chunked' })).body, '[]')
})

test('a form may have as many bytes as the limit, and is a 413 with one more', async (t) => {
  for (const [limit, options] of [
    [102400, undefined],
    [10, { limit: 10 }],
  ] as const) {
    const { port, errors } = await serve(t, stackOf(options).run(fields))
    const most = `é=${'x'.repeat(limit - 3)}`
    for (const headers of [{}, { 'transfer-encoding': 'chunked' }] as Record<string, string>[]) {
      t.equal((await post(port, most, headers)).status, 200)
      t.equal((await post(port, `${most}x`, headers)).status, 413)
    }
    t.match(errors, [
      { code: 'ERR_FORM_TOO_LARGE', message: new RegExp(String(limit)) },
      { code: 'ERR_FORM_TOO_LARGE' },
    ])
  }
})

for (const [how, headers] of [
  ['a length', { 'content-length': 10_000_000 }],
  ['chunks', { 'transfer-encoding': 'chunked' }],
] as const) {
  test(`a client that sends 10 MB in ${how} is answered at once, and may use its connection again`, async (t) => {
    const ended = signal<number>()
    const app = stackOf().run((req) => {
      req.on('end', () => ended.fire(req.readableLength + req.listenerCount('data')))
      return fields(req)
    })
    const { port, errors } = await serve(t, app)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    const options = { host: '127.0.0.1', port, agent, method: 'POST' }
    const first = request({ ...options, headers: { 'content-type': URLENCODED, ...headers } })
    first.write(Buffer.alloc(200_000, 'x'))
    // the rest is sent when the answer is there
    const { status } = await answerTo(first)
    t.equal(status, 413)
    const { socket } = first
    first.end(Buffer.alloc(9_800_000, 'x'))
    t.equal(await ended.promise, 0, 'nothing of it is kept, or looked at')

    const second = request({ ...options, headers: { 'content-type': URLENCODED } })
    t.same(await answerTo(second.end('a=1')), { status: 200, body: '[["a","1"]]' })
    t.equal(second.socket, socket, 'the same connection')
    t.match(errors, [{ code: 'ERR_FORM_TOO_LARGE' }])
  })
}

test('a client that promises too much is answered without sending it', async (t) => {
  const { port, errors } = await serve(t, stackOf().run(fields))
  for (const sent of ['', 'a=1']) {
    const socket = await opened(t, port, head({ 'content-length': 10_000_000 }) + sent)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    t.match(answer.toString(), /^HTTP\/1.1 413 /)
  }
  t.match(errors, [{ code: 'ERR_FORM_TOO_LARGE' }, { code: 'ERR_FORM_TOO_LARGE' }])
})

test('a client that goes away in the middle is an error', async (t) => {
  for (const headers of [{ 'content-length': 100 }, { 'transfer-encoding': 'chunked' }]) {
    for (const end of ['end', 'destroy'] as const) {
      const begun = signal()
      const failed = signal<unknown>()
      const app = stackOf().run((req) => {
        req.once('data', () => begun.fire())
        return fields(req)
      })
      const { port } = await serve(t, app, { onError: (error) => failed.fire(error) })
      const socket = await opened(t, port, `${head(headers)}3\r\na=1\r\n`)
      await begun.promise
      socket[end]()
      t.match(await failed.promise, { code: 'ERR_FORM_INCOMPLETE', status: 400 })
    }
  }
})

test('a client that was gone before the form was asked for is an error', async (t) => {
  const begun = signal()
  const failed = signal<unknown>()
  const app = stackOf().run(async (req) => {
    begun.fire()
    await new Promise((resolve) => req.on('close', resolve))
    return fields(req)
  })
  const { port } = await serve(t, app, { onError: (error) => failed.fire(error) })
  const socket = await opened(t, port, `${head({ 'content-length': 100 })}a=1`)
  await begun.promise
  socket.destroy()
  t.match(await failed.promise, { code: 'ERR_FORM_INCOMPLETE' })
})

test('over HTTP/2 a form is read, and limited, all the same', async (t) => {
  const { client, errors } = await overHttp2(t, stackOf({ limit: 1000 }).run(fields))
  const open = (headers = {}) => client.request({ ':method': 'POST', 'content-type': URLENCODED, ...headers })
  t.equal(await textOf(open().end('a=1&b=é')), '[["a","1"],["b","é"]]')
  t.equal(await textOf(open({ 'content-length': 3 }).end('a=1')), '[["a","1"]]')

  const large = open()
  large.write('x'.repeat(2000))
  const [headers] = (await once(large, 'response')) as [Record<string, unknown>]
  t.equal(headers[':status'], 413)
  large.end('x'.repeat(1_000_000))
  t.equal(await textOf(large), 'Payload Too Large\n')
  t.match(errors, [{ code: 'ERR_FORM_TOO_LARGE' }])
})

test('over HTTP/2, where a body that is cut off ends like any other, that is an error all the same', async (t) => {
  for (const when of ['while it is read', 'before', 'after the answer']) {
    const begun = signal()
    const result = signal<unknown>()
    const app = stackOf().run(async (req) => {
      const read = (): Promise<void> => req.form().then(result.fire, result.fire)
      const closed = new Promise((resolve) => req.on('close', resolve))
      if (when === 'before') {
        begun.fire()
        await closed
        await read()
      } else {
        req.once('data', () => begun.fire())
        const done = read()
        if (when === 'while it is read') await done
      }
      return [200, {}, 'answered']
    })
    const { client } = await overHttp2(t, app)
    const stream = client.request({ ':method': 'POST', 'content-type': URLENCODED }).on('error', () => {})
    stream.write('a=1')
    await begun.promise
    if (when === 'after the answer') await once(stream, 'response')
    client.destroy()
    t.match(await result.promise, { code: 'ERR_FORM_INCOMPLETE' }, when)
  }
})

test('a form that is compressed is a 415, and left to the application', async (t) => {
  const app = stackOf().run(async (req) => {
    const error = await req.form().then(undefined, (refusal: unknown) => refusal)
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const size = Buffer.concat(chunks).length
    return [200, {}, JSON.stringify([error, size])]
  })
  const { port } = await serve(t, app)
  const body = gzipSync('a=1').toString('latin1')
  for (const encoding of ['gzip', 'GZIP', 'br, gzip', 'x']) {
    const { body: answer } = await post(port, body, { 'content-encoding': encoding })
    t.match(JSON.parse(answer), [{ code: 'ERR_FORM_UNSUPPORTED', status: 415 }, Buffer.byteLength(body)])
  }
  const { port: other } = await serve(t, stackOf().run(fields))
  t.equal((await post(other, 'a=1', { 'content-encoding': 'gzip' })).status, 415)
  t.equal((await post(other, 'a=1', { 'content-encoding': 'Identity' })).body, '[["a","1"]]')
})

test('what a parser of Express has read is taken from req.body', async (t) => {
  const through = async (parser: Handler): Promise<{ port: number; errors: unknown[] }> => {
    const errors: unknown[] = []
    const stack = toListener(stackOf().run(fields), { onError: (error) => errors.push(error) })
    const app = express().use(parser, (req, res) => stack(req, res))
    return { port: await listen(t, createServer(app)), errors }
  }
  const body = 'a=1&b=x&b=y&_method=put&user%5Bname%5D=ada&__proto__=1'
  for (const extended of [false, true]) {
    const { port } = await through(express.urlencoded({ extended }))
    const { body: answer } = await post(port, body)
    const expected = [
      ['a', '1'],
      ['b', 'x'],
      ['b', 'y'],
      ['_method', 'put'],
    ]
    t.same((JSON.parse(answer) as unknown[]).slice(0, 4), expected)
    t.equal((await post(port, '')).body, '[]')
    t.equal((await post(port, '', { 'transfer-encoding': 'chunked' })).body, '[]')
  }

  const idle = await through(express.json())
  t.equal((await post(idle.port, 'a=1')).body, '[["a","1"]]', 'a parser of something else has not read it')
  const empty = await through((req, _res, next) => {
    req.body = {}
    next()
  })
  t.equal((await post(empty.port, 'a=1')).body, '[["a","1"]]', 'nor has one that left an empty object')

  for (const parser of [express.text({ type: '*/*' }), express.raw({ type: '*/*' })]) {
    const { port, errors } = await through(parser)
    t.equal((await post(port, 'a=1')).status, 500)
    t.match(errors, [{ code: 'ERR_FORM_TAKEN' }])
  }
})

test('a body that something else has read is an error and no wait', async (t) => {
  const takers: Record<string, (req: IncomingMessage) => Promise<unknown>> = {
    'all of it': (req) => textOf(req),
    'all of it, thrown away': (req) => once(req.resume(), 'end'),
    'a part of it': async (req) => {
      await once(req, 'data')
      Object.assign(req.pause(), { body: {} })
    },
    'a part of it, by an iterator': async (req) => {
      for await (const chunk of req.iterator({ destroyOnReturn: false })) return chunk as unknown
      return undefined
    },
  }
  for (const name in takers) {
    const { port, errors } = await serve(
      t,
      stackOf().run(async (req) => {
        await takers[name]?.(req)
        return fields(req)
      }),
    )
    t.equal((await post(port, 'a=1')).status, 500, name)
    t.match(errors, [{ code: 'ERR_FORM_TAKEN', message: /form\(\) above/ }])
  }
})

test('a stream that was paused, or gives text, is read all the same', async (t) => {
  for (const prepare of [
    (req: Req) => req.pause(),
    (req: Req) => req.setEncoding('utf8'),
    (req: Req) => req.setEncoding('latin1'),
  ]) {
    const { port } = await serve(
      t,
      stackOf({ limit: 4 }).run((req) => {
        prepare(req)
        return fields(req)
      }),
    )
    t.equal((await post(port, 'a=é')).body, '[["a","é"]]')
    t.equal((await post(port, 'a=éé')).status, 413)
  }
})

test('a form that nobody awaits fails in silence', async (t) => {
  const unhandled: unknown[] = []
  const listener = (reason: unknown): unknown => unhandled.push(reason)
  process.on('unhandledRejection', listener)
  t.teardown(() => void process.off('unhandledRejection', listener))
  const app = stackOf({ limit: 10 }).run((req) => {
    t.equal(req.form(), req.form())
    return [200, {}, 'answered']
  })
  const { port } = await serve(t, app)
  t.equal((await post(port, 'x'.repeat(11))).body, 'answered')
  for (let i = 0; i < 5; i++) await turn()
  t.same(unhandled, [])
})

test('a form that comes after the answer is read to its end, or an error when it does not come', async (t) => {
  const read = signal<unknown>()
  const cut = signal<unknown>()
  const app = stackOf().run((req) => {
    const { fire } = req.url === '/cut' ? cut : read
    req.form().then(fire, fire)
    return [200, {}, 'answered']
  })
  const { port } = await serve(t, app)
  const slow = await opened(t, port, head({ 'content-length': 7 }))
  await once(slow, 'data')
  slow.write('a=1')
  await turn()
  slow.write('&b=2')
  const expected = [
    ['a', '1'],
    ['b', '2'],
  ]
  t.same([...((await read.promise) as URLSearchParams)], expected)

  const gone = await opened(t, port, `${head({ 'content-length': 7 }).replace('/', '/cut')}a=1`)
  await once(gone, 'data')
  gone.destroy()
  t.match(await cut.promise, { code: 'ERR_FORM_INCOMPLETE' })
})

test('a connection that is used again and again keeps nothing of the forms before', async (t) => {
  const listeners = new Set<number>()
  const app = stackOf().run(async (req) => {
    listeners.add(req.socket.listenerCount('close'))
    return fields(req)
  })
  const { port } = await serve(t, app)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  for (let i = 0; i < 5; i++) {
    const req = request({ host: '127.0.0.1', port, agent, method: 'POST', headers: { 'content-type': URLENCODED } })
    t.same(await answerTo(req.end(`a=${i}`)), { status: 200, body: `[["a","${i}"]]` })
    t.equal(req.reusedSocket, i > 0)
  }
  t.equal(listeners.size, 1)
})

test('a limit that is no number of bytes is an error when the stack is built', async (t) => {
  for (const limit of ['100kb', 0, -1, 1.5, NaN, Infinity, null]) {
    const error = thrown(() => form({ limit } as FormOptions))
    t.match(error, { code: 'ERR_INVALID_OPTION', message: /bytes/ }, String(limit))
  }
})

test('a parser below finds the form as if nobody had read it', async (t) => {
  const app = express()
  const stack = new Builder().use(form())
  app.use(toConnect(stack))
  app.post('/read', async (req, _res, next) => {
    await (req as unknown as RequestOf<typeof stack>).form()
    next()
  })
  app.use(express.urlencoded())
  app.post('/*path', (req, res) => void res.json(req.body))
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  for (const path of ['/read', '/other', '/read']) {
    for (const text of ['a=1&b=2', `a=${'x'.repeat(90_000)}`]) {
      const req = request({
        host: '127.0.0.1',
        port,
        path,
        agent,
        method: 'POST',
        headers: { 'content-type': URLENCODED, 'content-length': text.length },
      })
      const { body } = await answerTo(req.end(text))
      t.same(JSON.parse(body), Object.fromEntries(new URLSearchParams(text)), path)
    }
  }
})

test('a parser of Fastify below does not wait for a form that was read', async (t) => {
  const fastify = Fastify()
  const stack = new Builder().use(form())
  await fastify.register(middie)
  fastify.use(toConnect(stack))
  fastify.use((req, _res, next) => {
    const { form: read } = req as unknown as RequestOf<typeof stack>
    // oxlint-disable-next-line promise/no-callback-in-promise -- as a middleware of Connect does
    read().then(() => next(), next)
  })
  fastify.addContentTypeParser(URLENCODED, { parseAs: 'string' }, (_req, text, done) => done(null, text))
  fastify.post('/', async ({ body }) => body)
  const url = await fastify.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => fastify.close())
  for (const text of ['a=1', 'b=2']) {
    const answer = await fetch(url, { method: 'POST', body: new URLSearchParams(text), keepalive: true })
    t.equal(await answer.text(), text)
  }
})
