import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { IncomingMessage, request } from 'node:http'
import { connect, Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createGunzip, gunzipSync, gzip } from 'node:zlib'
import compression from 'compression'
import { test, type Test } from 'tap'
import { Builder, fromConnect, lint, type App } from '../../lib/index.ts'
import { ask, serve } from '../server.ts'

const GZIP = { 'accept-encoding': 'gzip' }
const TEXT = { 'content-type': 'text/plain' }

/** A layer that compresses, between two that check every rule. */
function compressed(app: App, options: compression.CompressionOptions = {}): App {
  return new Builder()
    .use(lint())
    .use(fromConnect(compression(options)))
    .use(lint())
    .run(app)
}

/** Asks, and resolves with the answer when its head is there. */
async function open(t: Test, port: number, path = '/'): Promise<IncomingMessage> {
  const asked = request({ host: '127.0.0.1', port, path, headers: GZIP, agent: false }).end()
  t.teardown(() => void asked.destroy())
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  return answer
}

const gzipLater = promisify(gzip)
const PIECE = randomBytes(64 * 1024)

/** Waits until a count has stood still while twenty pieces could have been compressed, which happens in other threads. */
async function stillness(count: () => number): Promise<void> {
  for (let still = 0, last = count(); still < 20; still++) {
    await gzipLater(PIECE)
    await turn()
    if (count() !== last) still = 0
    last = count()
  }
}

/** Pieces that do not become smaller, and how many bytes of them were asked for. */
function noise(total = Infinity) {
  const source = { given: 0, isClosed: false, body: pieces() }
  function* pieces(): Generator<Uint8Array> {
    try {
      while (source.given < total) {
        source.given += PIECE.length
        yield PIECE
      }
    } finally {
      source.isClosed = true
    }
  }
  return source
}

test('compression: text is smaller on the way, and the same when it arrives', async (t) => {
  const page = 'a line of text\n'.repeat(1000)
  const bodies: Record<string, App> = {
    '/text': () => [200, TEXT, page],
    '/bytes': () => [200, TEXT, new TextEncoder().encode(page)],
    '/list': () => [200, TEXT, page.split(/(?<=\n)/)],
    '/stream': () => [200, TEXT, new Set([page.slice(0, 700), Buffer.from(page.slice(700))])],
  }
  const { port, errors } = await serve(
    t,
    compressed((req) => (bodies[req.url ?? ''] as App)(req)),
  )
  for (const path in bodies) {
    const answer = await open(t, port, path)
    t.match(answer.headers, { 'content-encoding': 'gzip', vary: 'Accept-Encoding' })
    t.notOk('content-length' in answer.headers)
    const chunks = (await answer.toArray()) as Buffer[]
    const bytes = Buffer.concat(chunks)
    t.ok(bytes.length < page.length / 10)
    t.equal(String(gunzipSync(bytes)), page, path)
    const plain = await ask(port, path)
    t.equal(plain.body, page, `${path} for who takes it as it is`)
  }
  t.same(errors, [])
})

test('compression: what is not compressed stays whole, with its length', async (t) => {
  const { port } = await serve(
    t,
    compressed((req) => [200, { 'content-type': req.url === '/image' ? 'image/png' : 'text/plain' }, 'x'.repeat(2000)]),
  )
  for (const [path, headers] of [
    ['/', {}],
    ['/', { 'accept-encoding': 'identity' }],
    ['/image', GZIP],
  ] as const) {
    const answer = await ask(port, path, { headers })
    t.equal(answer.headers['content-length'], '2000')
    t.equal(answer.body.length, 2000)
  }
  const small = await serve(
    t,
    compressed(() => [200, TEXT, 'small\n']),
  )
  t.match(await ask(small.port, '/', { headers: GZIP }), { headers: { 'content-length': '6' }, body: 'small\n' })
})

test('compression: HEAD, 204 and 304 have no body to compress', async (t) => {
  const app: App = (req) => [req.url === '/' ? 200 : Number(req.url?.slice(1)), { etag: '"a"' }, null]
  const { port, errors } = await serve(t, compressed(app, { threshold: 0 }))
  for (const [method, path] of [
    ['HEAD', '/'],
    ['GET', '/204'],
    ['GET', '/304'],
  ] as const) {
    const { headers, body } = await ask(port, path, { method, headers: GZIP })
    t.notOk('content-encoding' in headers)
    t.equal(body, '')
  }
  t.same(errors, [])
})

test('compression: a generator is not asked for more than some pieces ahead of its reader', async (t) => {
  const source = noise()
  const req = Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url: '/', headers: GZIP })
  const [, , body] = await fromConnect(compression())(() => [200, TEXT, source.body])(req)
  await stillness(() => source.given)
  t.equal(source.given, 0, 'nothing, before anything is read')
  const reader = body as AsyncIterableIterator<Uint8Array>
  let read = 0
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 20; i++) read += ((await reader.next()).value as Uint8Array).length
    await stillness(() => source.given)
    const ahead = source.given - read
    t.ok(ahead < 512 * 1024, `${ahead} bytes ahead`)
  }
  await reader.return?.()
  t.ok(source.isClosed)
})

test('compression: a client that reads nothing makes the generator wait, and gets all of it when it goes on', async (t) => {
  const total = 32 * 1024 * 1024
  const source = noise(total)
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => void process.off('warning', warn))
  const { port, errors } = await serve(
    t,
    compressed(() => [200, TEXT, source.body]),
  )
  const answer = await open(t, port)
  await stillness(() => source.given)
  t.comment(`${source.given} bytes were given out`)
  t.ok(source.given < total / 2, 'what the buffers of the kernel hold, and little more')
  let received = 0
  for await (const chunk of answer.pipe(createGunzip())) received += (chunk as Buffer).length
  t.equal(received, total)
  t.same([errors, warnings], [[], []], 'and no listener is left for each time that it waited')
})

test('compression: a client that goes away ends the generator', async (t) => {
  const source = noise()
  const { port, errors } = await serve(
    t,
    compressed(() => [200, TEXT, source.body]),
  )
  const client = connect(port, '127.0.0.1', () =>
    client.write('GET / HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n'),
  )
  await once(client, 'data')
  client.destroy()
  while (!source.isClosed) await turn()
  t.same(errors, [])
})

test('compression: an error in the middle of a body breaks the response off', async (t) => {
  const failure = new Error('no')
  async function* body(): AsyncGenerator<string> {
    yield 'x'.repeat(100_000)
    yield ''
    await turn()
    throw failure
  }
  const { port, errors } = await serve(
    t,
    compressed(() => [200, TEXT, body()]),
  )
  await t.rejects((await open(t, port)).toArray())
  t.same(errors, [failure])
})

test('compression: an empty string in a body sends what was written, as server-sent events need', async (t) => {
  let tick = (): void => {}
  async function* events(): AsyncGenerator<string> {
    for (let i = 1; ; i++) {
      yield `data: ${i}\n\n`
      yield ''
      await new Promise<void>((resolve) => (tick = resolve))
    }
  }
  const { port } = await serve(
    t,
    compressed(() => [200, { 'content-type': 'text/event-stream' }, events()], { filter: () => true }),
  )
  const answer = await open(t, port)
  t.equal(answer.headers['content-encoding'], 'gzip')
  const text = answer.pipe(createGunzip())
  for (const i of [1, 2, 3]) {
    t.equal(String((await once(text, 'data'))[0]), `data: ${i}\n\n`)
    tick()
  }
  answer.destroy()
})

test('compression: an empty string at the beginning sends the head', async (t) => {
  let goOn = (): void => {}
  async function* body(): AsyncGenerator<string> {
    yield ''
    await new Promise<void>((resolve) => (goOn = resolve))
    yield 'late'
  }
  const { port } = await serve(
    t,
    compressed(() => [200, TEXT, body()]),
  )
  const answer = await open(t, port)
  t.equal(answer.statusCode, 200)
  goOn()
  t.equal(String(gunzipSync(Buffer.concat((await answer.toArray()) as Buffer[]))), 'late')
})
