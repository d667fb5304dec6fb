import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  connect,
  createServer,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { Builder, conditionalGet, toConnect, type Middleware } from '../../lib/index.ts'
import type { Owner } from '../server.ts'
import { count, GatedStore, stackOn, text, type Req } from './to-connect-app.ts'

interface Mounted {
  client: ClientHttp2Session
  nexts: unknown[]
  errors: unknown[]
}

async function mount(t: Owner, stack: Builder, handler: (req: Req, res: ServerResponse) => unknown): Promise<Mounted> {
  const nexts: unknown[] = []
  const errors: unknown[] = []
  const middleware = toConnect(stack)
  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    try {
      await handler(req as Req, res)
    } catch (error) {
      errors.push(error)
    }
  }
  const server = createServer((request, response) => {
    const req = request as unknown as IncomingMessage
    const res = response as unknown as ServerResponse
    middleware(req, res, (error) => {
      nexts.push(error)
      if (!error) return void handle(req, res)
      res.statusCode = 500
      return res.end(`failed: ${(error as Error).message}`)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(async () => {
    client.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return { client, nexts, errors }
}

interface Answer {
  headers: IncomingHttpHeaders & IncomingHttpStatusHeader
  trailers: IncomingHttpHeaders
  body: string
}

async function ask(client: ClientHttp2Session, headers: Record<string, string> = {}): Promise<Answer> {
  const stream = client.request({ ':path': '/', ...headers })
  let trailers: IncomingHttpHeaders = {}
  stream.on('trailers', (sent) => (trailers = sent))
  const [got] = (await once(stream, 'response')) as [Answer['headers']]
  return { headers: got, body: await text(stream), trailers }
}

const file = await readFile('LICENSE', 'utf8')
const big = 'tea '.repeat(100_000)

interface Way {
  answer: (res: ServerResponse) => unknown
  status?: number
  body?: string
  headers?: Record<string, string>
  trailers?: Record<string, string>
}

const ways: Record<string, Way> = {
  end: { answer: (res) => res.end('hello') },
  'write and end': { answer: (res) => (res.write('hel'), res.end('lo')) },
  'writeHead with an object': {
    answer: (res) => res.writeHead(201, { 'X-Thing': 'tea' }).end('hello'),
    status: 201,
    headers: { 'x-thing': 'tea' },
  },
  'writeHead with a list': {
    answer: (res) => res.writeHead(201, ['x-thing', 'tea', 'x-other', 'map']).end('hello'),
    status: 201,
    headers: { 'x-thing': 'tea', 'x-other': 'map' },
  },
  pipe: { answer: (res) => createReadStream('LICENSE').pipe(res), body: file },
  'pipeline of more than any buffer': {
    answer: (res) => pipeline(Readable.from(big.match(/[^]{1,50000}/g) ?? []), res),
    body: big,
  },
  'flushHeaders and a later write': {
    answer: async (res) => {
      res.flushHeaders()
      await new Promise((resolve) => res.write('hel', resolve))
      res.end('lo')
    },
  },
  'no content': { answer: (res) => res.writeHead(204).end(), status: 204, body: '' },
  trailers: {
    answer: (res) => {
      res.write('hello')
      res.addTrailers({ 'x-sum': '5' })
      res.end()
    },
    trailers: { 'x-sum': '5' },
  },
}

for (const [name, { answer, status = 200, body = 'hello', headers = {}, trailers = {} }] of Object.entries(ways)) {
  test(`over HTTP/2, answered by ${name}, the save is awaited before the head goes out`, async (t) => {
    const store = new GatedStore()
    let sent: (() => boolean) | undefined
    const { client, nexts, errors } = await mount(t, stackOn(store), async (req, res) => {
      const { stream } = res as unknown as { stream: { headersSent: boolean } }
      sent = () => stream.headersSent
      await count(req)
      res.setHeader('set-cookie', 'handler=1')
      await answer(res)
    })
    const answered = ask(client)
    const save = await store.saving()
    await new Promise((resolve) => client.ping(resolve))
    t.equal(sent?.(), false)
    save.finish()
    const got = await answered
    t.equal(got.headers[':status'], status)
    t.equal(got.body, body)
    t.match(got.headers, headers)
    t.match(got.trailers, trailers)
    t.match(got.headers['set-cookie'], ['handler=1', /^_session_id=/])
    t.strictSame(nexts, [undefined])
    t.strictSame(errors, [])

    const failed = ask(client)
    ;(await store.saving()).fail(new Error('down'))
    const page = await failed
    t.equal(page.headers[':status'], 500)
    t.equal(page.body, 'failed: down')
    t.notOk('set-cookie' in page.headers || 'x-thing' in page.headers)
    t.match(nexts, [undefined, undefined, { message: 'down' }])
  })
}

test('over HTTP/2, while the save is pending, res reads as node has it after an answer', async (t) => {
  const store = new GatedStore()
  const read: unknown[] = []
  const { client, errors } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    // somebody's own, which are to be there again afterwards
    const own = res.setHeader.bind(res)
    res.setHeader = own
    t.equal(res.headersSent, false)
    res.end('hello')
    read.push(res.headersSent, res.writableEnded)
    for (const change of [
      () => res.setHeader('x-late', '1'),
      () => res.removeHeader('x-late'),
      () => res.writeHead(404),
    ]) {
      t.throws(change, { code: 'ERR_HTTP_HEADERS_SENT' })
    }
    res.statusCode = 404
    await once(res, 'finish')
    t.equal(Object.getOwnPropertyDescriptor(res, 'setHeader')?.value, own)
    read.push(res.headersSent, res.writableEnded)
  })
  const answered = ask(client)
  const save = await store.saving()
  t.strictSame(read, [true, true])
  save.finish()
  const { headers, body } = await answered
  t.equal(headers[':status'], 200)
  t.equal(body, 'hello')
  t.strictSame(read, [true, true, true, true])
  t.strictSame(errors, [])
})

test('over HTTP/2, HEAD and a 304 of a layer have no body', async (t) => {
  const { client } = await mount(t, stackOn().use(conditionalGet()), async (req, res) => {
    await count(req)
    res.writeHead(200, { etag: '"x"', 'content-length': 5 }).end('hello')
  })
  const head = await ask(client, { ':method': 'HEAD' })
  t.match(head, { headers: { ':status': 200, 'content-length': '5' }, body: '' })
  const fresh = await ask(client, { 'if-none-match': '"x"' })
  t.match(fresh, { headers: { ':status': 304, etag: '"x"', 'set-cookie': [/^_session_id=/] }, body: '' })
})

test('over HTTP/2, a header of a layer that cannot be sent is an error', async (t) => {
  const broken: Middleware = (app) => async (req) => {
    const [status, headers, body] = await app(req)
    return [status, { ...headers, 'x-bad': 'a\r\nb' }, body]
  }
  const { client, nexts } = await mount(t, new Builder().use(broken), (_req, res) => res.end('held'))
  t.match(await ask(client), { headers: { ':status': 500 }, body: /^failed: Invalid character/ })
  t.match(nexts, [undefined, { code: 'ERR_INVALID_CHAR' }])
})

test('over HTTP/2, a client that goes away while the save is pending does no harm', async (t) => {
  for (const outcome of ['finish', 'fail'] as const) {
    const store = new GatedStore()
    const source = createReadStream('LICENSE')
    let closed: Promise<unknown> | undefined
    const { client, nexts } = await mount(t, stackOn(store), async (req, res) => {
      closed = once(res, 'close')
      if (req.url === '/beside') return res.end('beside')
      await count(req)
      return source.pipe(res)
    })
    const stream = client.request({ ':path': '/' })
    stream.on('error', () => {})
    const save = await store.saving()
    stream.close(8)
    await closed
    save[outcome](new Error('down'))
    t.equal((await ask(client, { ':path': '/beside' })).body, 'beside')
    t.equal(store.memory.size, outcome === 'finish' ? 1 : 0)
    t.equal(nexts.filter(Boolean).length, outcome === 'finish' ? 0 : 1)
    source.destroy()
  }
})
