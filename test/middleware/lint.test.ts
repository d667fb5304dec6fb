import { once } from 'node:events'
import { createReadStream, type ReadStream } from 'node:fs'
import { IncomingMessage } from 'node:http'
import { connect, Socket } from 'node:net'
import { Readable } from 'node:stream'
import { runInNewContext } from 'node:vm'
import { test } from 'tap'
import {
  Builder,
  cookies,
  lint,
  LintError,
  type App,
  type Middleware,
  type RackBody,
  type RackHeaders,
  type RackResponse,
} from '../../lib/index.ts'
import { ask, serve } from '../server.ts'

/** A request as node makes it, and with what else is said. */
function requestOf(parts: object = {}): IncomingMessage {
  return Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url: '/', headers: {} }, parts)
}

/** What lint makes of a response. */
function linted(response: unknown, parts: object = {}): RackResponse {
  return lint()(() => response as RackResponse)(requestOf(parts)) as RackResponse
}

/** What lint says of a response. */
function fault(response: unknown, parts: object = {}): string {
  try {
    linted(response, parts)
    return 'none'
  } catch (error) {
    return error instanceof LintError ? error.message : `another error: ${String(error)}`
  }
}

const faultOfHeaders = (headers: unknown): string => fault([200, headers, ''])

async function read(body: RackBody): Promise<string> {
  const chunks: string[] = []
  for await (const chunk of body as AsyncIterable<string | Uint8Array>) {
    chunks.push(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString())
  }
  return chunks.join('')
}

function* letters(): Generator<string> {
  yield 'a'
  yield 'é'
}

test('HTTP-01: what is no triple is refused, and the message says what it is', async (t) => {
  for (const [response, said] of [
    ['a string', /array of three.* not a string/],
    [[200, {}, '', ''], /array of three.* not one of 4/],
    [[200, {}], /array of three.* not one of 2/],
    [null, /array of three.* not null/],
    [undefined, /array of three.* not undefined/],
    [42, /array of three.* not a number/],
    [{ status: 200 }, /array of three.* not an object/],
    [['200', {}, ''], /status must be an integer, and not a string/],
    [[null, {}, ''], /status must be an integer, and not null/],
    [[200.5, {}, ''], /status must be an integer, and not a fraction/],
    [[NaN, {}, ''], /status must be an integer/],
    [[42, {}, ''], /status must be from 200 to 999/],
    [[1000, {}, ''], /status must be from 200 to 999/],
    [[-200, {}, ''], /status must be from 200 to 999/],
    [[103, {}, ''], /1xx/],
  ] as [unknown, RegExp][]) {
    t.match(fault(response), said)
    await t.rejects(async () => lint()(() => Promise.resolve(response as RackResponse))(requestOf()), { message: said })
  }
})

test('HTTP-01: it is the same error where the Builder looked at the response first', async (t) => {
  const app = new Builder().use(lint()).run(() => 'a string' as unknown as RackResponse)
  t.throws(() => app(requestOf()), { code: 'ERR_LINT', message: /status, headers, body/ })
})

test('HTTP-01: a well-formed triple passes unchanged', async (t) => {
  const bodies = [null, '', 'é', new Uint8Array(3), Buffer.from('a'), [], ['a', Buffer.from('b')]] satisfies RackBody[]
  for (const body of bodies) {
    for (const status of [200, 299, 404, 999]) {
      const headers = {
        'content-type': 'text/plain',
        'x-number': 1,
        'x-list': ['a', 'b'],
        'x-none': undefined,
        'x-e': '',
      }
      const response = [status, headers, body] as const
      t.equal(linted(response), response)
      t.equal(await lint()(() => Promise.resolve(response))(requestOf()), response)
    }
  }
  const foreign = runInNewContext('({ "x-a": "b" })') as RackHeaders
  for (const headers of [{}, Object.create(null) as RackHeaders, foreign])
    t.equal(linted([200, headers, ''])[1], headers)
})

test('HTTP-02: headers that are no plain object are refused', async (t) => {
  for (const [headers, said] of [
    [[], /headers must be a plain object, and not an array/],
    [[['a', 'b']], /and not an array/],
    [null, /and not null/],
    [undefined, /and not undefined/],
    ['a: b', /and not a string/],
    [new Map([['a', 'b']]), /and not an instance of Map/],
    [new Headers({ a: 'b' }), /and not an instance of Headers/],
    [Object.create({ a: 'b' }), /and not an instance of Object/],
    [Promise.resolve({}), /and not a promise/],
  ] as [unknown, RegExp][]) {
    t.match(faultOfHeaders(headers), said)
  }
})

test('HTTP-02: names that are no tokens in lower case are refused, and named', async (t) => {
  for (const [name, said] of [
    [Symbol('key'), /Symbol\(key\) must be a string/],
    ['status', /"status" must not be there/],
    ['Content-Type', /"Content-Type" must be in lower case/],
    ['x-É', /"x-É" must be a token/],
    ['x y', /"x y" must be a token/],
    ['x:', /"x:" must be a token/],
    ['', /"" must be a token/],
    ['x\r\ny', /"x\\r\\ny" must be a token/],
    ['x\u0000', /"x\\u0000" must be a token/],
    ['(x)', /"\(x\)" must be a token/],
    ['x'.repeat(99) + ':', /"x{50}…" must be a token/],
  ] as [string | symbol, RegExp][]) {
    t.match(faultOfHeaders({ [name]: 'value' }), said)
    t.match(faultOfHeaders({ [name]: undefined }), said)
  }
  for (const name of ['x-a', "!#$%&'*+-.^_`|~0", '__proto__']) t.equal(faultOfHeaders({ [name]: 'value' }), 'none')
})

test('HTTP-02: values that cannot be sent are refused; the message names the header and shows no value', async (t) => {
  const no = /"x-a" must be a string, a number or a list of strings/
  for (const [value, said] of [
    [{ secret: 1 }, no],
    [null, no],
    [true, no],
    [1n, no],
    [['secret', 1], no],
    [[['secret']], no],
    [['secret', undefined], no],
    [new Date(0), no],
    [Promise.resolve('secret'), /and not a promise: await it/],
    [NaN, /"x-a" must be a finite number/],
    [Infinity, /"x-a" must be a finite number/],
    ['secret\r\nset-cookie: a=b', /"x-a" has a line break or another control character/],
    [['a', 'secret\n'], /"x-a" has a line break/],
    ['secret\r', /"x-a" has a line break/],
    ['secret\u0000', /"x-a" has a line break or another control character/],
    ['secret\t', /control character/],
    ['secret\u007F', /control character/],
    ['secret €', /"x-a" has a character beyond latin1/],
  ] as [unknown, RegExp][]) {
    const message = faultOfHeaders({ 'x-a': value })
    t.match(message, said)
    t.notMatch(message, 'secret')
  }
  t.equal(faultOfHeaders({ 'x-a': 'é', 'x-b': [], 'x-c': -1.5 }), 'none')
})

test('lines of Set-Cookie that browsers would drop or misread are refused', async (t) => {
  for (const [line, said] of [
    ['secret', /"set-cookie" must begin with name=value/],
    ['=secret', /must begin with name=value/],
    ['a=b secret', /must begin with name=value/],
    ['a=b, c=secret', /must begin with name=value/],
    ['a=é', /must begin with name=value/],
    ['', /must begin with name=value/],
    ['a=secret;', /an attribute that is none/],
    ['a=secret; ; Path=/', /an attribute that is none/],
    ['a=secret; HttpOnly, b=c', /an attribute that is none/],
    ['a=secret; Path=/; Path=/b', /the attribute Path twice/],
    ['a=secret; Path=/, b=c', /a value of the attribute Path that is none/],
    ['a=secret; Expires=tomorrow', /a value of the attribute Expires that is none/],
    ['a=secret; Max-Age=1.5', /a value of the attribute Max-Age that is none/],
    ['a=secret; SameSite=Sure', /a value of the attribute SameSite that is none/],
    ['a=secret; Path', /a value of the attribute Path that is none/],
    ['a=secret; Path=b', /"set-cookie": The cookie a needs a path/],
    ['a=secret; Domain=', /"set-cookie": The cookie a needs a domain/],
    ['a=secret; SameSite=None', /with sameSite 'none' must be secure/],
    ['a=secret; Partitioned', /must be secure/],
    ['__Host-a=secret; Path=/', /must be secure because of its prefix/],
    ['__Host-a=secret; Path=/; Secure; Domain=example.com', /no domain because of its prefix/],
  ] as [string, RegExp][]) {
    for (const value of [line, ['a=b', line]]) {
      const message = faultOfHeaders({ 'set-cookie': value })
      t.match(message, said, line)
      t.notMatch(message, 'secret')
    }
  }
  for (const line of [
    'a=',
    'a="b,c"; path=/',
    'a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=-1',
    'a=b; Path=/a b; Domain=.example.com; Secure; HttpOnly; SameSite=None; Partitioned; Priority=High; Unknown=x',
    '__Host-a=b; Path=/; Secure',
  ]) {
    t.equal(faultOfHeaders({ 'set-cookie': line }), 'none', line)
  }
})

test('HTTP-04: 204 and 304 come without content-type and content-length', async (t) => {
  for (const status of [204, 304]) {
    for (const [name, value] of [
      ['content-type', 'text/plain'],
      ['content-length', 0],
      ['content-length', '0'],
    ] as const) {
      t.match(
        fault([status, { [name]: value }, null]),
        new RegExp(`"${name}" must not be there with the status ${status}`),
      )
    }
    t.equal(fault([status, { 'content-type': undefined, etag: '"a"' }, null]), 'none')
  }
  for (const name of ['content-type', 'content-length']) t.match(fault([103, { [name]: '0' }, null]), /1xx/)
})

test('a content-length is the number of bytes of the body that is there', async (t) => {
  const said = /"content-length" must be the number of bytes of the body/
  for (const [length, body] of [
    [1, 'é'],
    ['3', 'é'],
    [1, ''],
    [1, null],
    [2, Buffer.from('a')],
    [2, ['é', 'a']],
  ] as [number | string, RackBody][]) {
    t.match(fault([200, { 'content-length': length }, body]), said)
  }
  for (const length of [-1, '-1', 1.5, '1.0', '0x2', '', ' 2', '2, 2', ['2', '2'], 1e21, '9'.repeat(400)]) {
    t.match(fault([200, { 'content-length': length }, 'é']), /"content-length" must be one number of bytes/)
  }
  for (const [length, body] of [
    [2, 'é'],
    ['2', 'é'],
    [['2'], 'é'],
    [0, null],
    [3, ['é', Buffer.from('a')]],
  ] as [number, RackBody][]) {
    t.equal(fault([200, { 'content-length': length }, body]), 'none')
  }
  t.equal(fault([200, { 'content-length': 5 }, null], { method: 'HEAD' }), 'none', 'HEAD says it of GET')
  t.match(fault([200, { 'content-length': 5 }, 'é'], { method: 'HEAD' }), said)

  for (const [length, read] of [
    [2, /number of bytes/],
    [3, undefined],
    [4, /number of bytes/],
  ] as const) {
    const [, , body] = linted([200, { 'content-length': length }, letters()])
    if (read) await t.rejects(async () => [...(body as Iterable<string>)], { code: 'ERR_LINT', message: read })
    else t.same([...(body as Iterable<string>)], ['a', 'é'])
  }
  const [, , early] = linted([200, { 'content-length': 0 }, letters()])
  t.throws(() => (early as Iterable<string>)[Symbol.iterator]().next(), { message: said }, 'the first piece too many')
  const [, , head] = linted([200, { 'content-length': 5 }, [].values()], { method: 'HEAD' })
  t.equal(await read(head), '', 'HEAD says it of GET')
})

test('a body that is none is refused', async (t) => {
  for (const [body, said] of [
    [undefined, /not undefined/],
    [1, /not a number/],
    [{}, /not an object/],
    [() => 'a', /not a function/],
    [Promise.resolve('a'), /not a promise: await it/],
    [new ArrayBuffer(1), /not an instance of ArrayBuffer/],
    [['a', 1], /of strings and bytes, and not of a number/],
    [[Promise.resolve('a')], /of strings and bytes, and not of a promise/],
    [[['a']], /of strings and bytes, and not of an array/],
  ] as [unknown, RegExp][]) {
    t.match(fault([200, {}, body]), said)
  }
})

test('the body of a response that is refused is closed', async (t) => {
  for (const wrong of [
    ['200', {}],
    [200, []],
    [200, { 'X-A': 'b' }],
    [204, { 'content-length': 0 }],
  ]) {
    const stream = Readable.from(['a'])
    t.not(fault([...wrong, stream]), 'none')
    t.ok(stream.destroyed)
  }
})

test('pieces are checked when they are read, and what gave a wrong one is closed', async (t) => {
  const closed: string[] = []
  function* now(): Generator {
    try {
      yield 'a'
      yield 1
    } finally {
      closed.push('now')
    }
  }
  async function* later(): AsyncGenerator {
    try {
      yield Buffer.from('a')
      yield { secret: 1 }
    } finally {
      closed.push('later')
    }
  }
  const web = new ReadableStream<unknown>({
    start: (controller) => controller.enqueue(null),
    cancel: () => void closed.push('web'),
  })
  const own = { [Symbol.iterator]: () => [1].values(), destroy: () => void closed.push('own') }
  const stream = Readable.from(['a', 1])
  for (const [body, said] of [
    [now(), /not of a number/],
    [later(), /not of an object/],
    [web, /not of null/],
    [own, /not of a number/],
    [stream, /not of a number/],
    [new Set(['a', 1]), /not of a number/],
    [new Map([['a', 'b']]), /not of an array/],
    [new Uint16Array(1), /not of a number/],
  ] as [unknown, RegExp][]) {
    await t.rejects(read(linted([200, {}, body])[2]), { code: 'ERR_LINT', message: said })
  }
  t.same(closed, ['now', 'later', 'web', 'own'])
  t.ok(stream.destroyed)
})

test('a body of pieces gives the same pieces, synchronously if it did', async (t) => {
  t.same([...(linted([200, {}, letters()])[2] as Iterable<string>)], ['a', 'é'])
  t.same([...(linted([200, {}, new Set(['a'])])[2] as Iterable<string>)], ['a'])
  t.equal(await read(linted([200, {}, Readable.from(['a', 'é'])])[2]), 'aé')
  t.equal(await read(linted([200, {}, new Blob(['aé']).stream()])[2]), 'aé')
  t.equal(await read(linted([200, {}, letters()])[2]), 'aé')
})

test('a body is read once, and not after it was closed', async (t) => {
  const [, , twice] = linted([200, {}, new Set(['a'])])
  await read(twice)
  await t.rejects(read(twice), { code: 'ERR_LINT', message: /only once/ })

  const stream = Readable.from(['a'])
  const [, , closed] = linted([200, {}, stream]) as unknown as [number, object, Readable]
  closed.destroy()
  t.ok(stream.destroyed)
  await t.rejects(read(closed), { code: 'ERR_LINT', message: /after it was closed/ })
})

test('a stream under lint is still listened to, and fails for its reader', async (t) => {
  const stream = createReadStream('no such file')
  const [, , body] = linted([200, {}, stream]) as unknown as [number, object, ReadStream]
  const heard = once(stream, 'error')
  let errors = 0
  body.on('error', () => errors++)
  await heard
  t.equal(errors, 1)
  await t.rejects(read(body as unknown as RackBody), { code: 'ENOENT' })
})

test('triples, headers and lists of lines are frozen, for who gets them and for who gave them', async (t) => {
  const lines = ['a=b']
  const headers: Record<string, string | string[]> = { 'set-cookie': lines }
  const given = [200, headers, letters()] as [number, typeof headers, RackBody]
  const got = linted(given)
  for (const one of [given, headers, lines, got]) t.ok(Object.isFrozen(one))

  const careless: [name: string, change: (response: [number, Record<string, unknown>, unknown]) => void][] = [
    ['a header', ([, headers]) => (headers['x-a'] = 'b')],
    ['a header that goes', ([, headers]) => delete headers['set-cookie']],
    ['a line', ([, headers]) => (headers['set-cookie'] as string[]).push('c=d')],
    ['the status', (response) => (response[0] = 201)],
    ['the body', (response) => (response[2] = 'other')],
  ]
  for (const [name, change] of careless) {
    const layer: Middleware = (app) => async (req) => {
      const response = await app(req)
      change(response as unknown as [number, Record<string, unknown>, unknown])
      return response
    }
    const app: App = () => [200, { 'set-cookie': ['a=b'] }, 'a']
    t.equal((await new Builder().use(layer).run(app)(requestOf()))[2] === 'other', name === 'the body')
    await t.rejects(async () => new Builder().use(layer).use(lint()).run(app)(requestOf()), TypeError, name)
  }
})

test('a layer that replaces a body and leaves it open is found out', async (t) => {
  const message = /replaced a body and neither read it to its end nor closed it/
  const stream = Readable.from(['a'])
  const app = (layer: Middleware, body: RackBody): App =>
    new Builder()
      .use(lint())
      .use(layer)
      .use(lint())
      .run(() => [200, {}, body])

  const forgetful: Middleware = (inner) => async (req) => [(await inner(req))[0], {}, null]
  await t.rejects(async () => app(forgetful, stream)(requestOf()), { code: 'ERR_LINT', message })
  t.ok(stream.destroyed)
  t.same(await app(forgetful, new Set(['a']))(requestOf()), [200, {}, null], 'what cannot be closed')

  // no promise of RackBody's, but no body that was left open either
  const listening: Middleware = (inner) => async (req) => {
    const [status, headers, body] = await inner(req)
    const chunks: unknown[] = []
    const source = body as unknown as Readable
    await new Promise<void>((resolve) => {
      source.on('data', (chunk) => chunks.push(chunk))
      source.on('end', () => resolve())
    })
    return [status, headers, chunks.join('')]
  }
  t.same(await app(listening, Readable.from(['a', 'b']))(requestOf()), [200, {}, 'ab'])

  const partial: Middleware = (inner) => async (req) => {
    const [status, headers, body] = await inner(req)
    const chunks = (body as AsyncIterable<string>)[Symbol.asyncIterator]()
    async function* first(): AsyncGenerator<string> {
      yield (await chunks.next()).value as string
    }
    return [status, headers, first()]
  }
  const [, , body] = await app(partial, Readable.from(['a', 'b']))(requestOf())
  await t.rejects(read(body), { code: 'ERR_LINT', message })

  const honest: Middleware = (inner) => async (req) => {
    const [status, headers, body] = await inner(req)
    async function* louder(): AsyncGenerator<string> {
      for await (const chunk of body as AsyncIterable<string>) {
        if (chunk === 'stop') return
        yield chunk.toUpperCase()
      }
    }
    return [status, headers, louder()]
  }
  for (const chunks of [
    ['a', 'b'],
    ['a', 'b', 'stop', 'c'],
  ]) {
    t.equal(await read((await app(honest, Readable.from(chunks))(requestOf()))[2]), 'AB')
  }
})

test('requests that no server makes are refused, and the message shows no value', async (t) => {
  for (const [parts, said] of [
    [{ method: '' }, /method must be a token/],
    [{ method: undefined }, /method must be a token/],
    [{ method: 'GET secret' }, /method must be a token/],
    [{ url: 'secret' }, /url must begin with "\/"/],
    [{ url: '' }, /url must begin/],
    [{ url: undefined }, /url must begin/],
    [{ url: '?secret' }, /url must begin/],
    [{ url: '?secret', scriptName: '' }, /url must begin/],
    [{ url: '*' }, /url must begin/],
    [{ url: 'example.com:443' }, /url must begin/],
    [{ url: 'secret', method: 'CONNECT' }, /url must begin/],
    [{ scriptName: 'secret' }, /scriptName must be empty, or begin/],
    [{ scriptName: '/' }, /scriptName must be empty/],
    [{ scriptName: '/secret/' }, /scriptName must be empty/],
    [{ scriptName: 1 }, /scriptName must be empty/],
    [{ headers: [] }, /headers must be an object, and not an array/],
    [{ headers: 'secret' }, /headers must be an object, and not a string/],
    [{ headers: { Host: 'secret' } }, /"Host" must be a token in lower case/],
    [{ headers: { 'a b': 'secret' } }, /"a b" must be a token/],
    [{ headers: { cookie: 'secret\r\n' } }, /header "cookie" must be a string, or a list of them, of one line/],
    [{ headers: { cookie: ['a', 'secret\u0000'] } }, /header "cookie" must be/],
    [{ headers: { 'x-a': 1 } }, /header "x-a" must be/],
    [{ headers: { 'content-length': '-1' } }, /content-length must be a number of bytes/],
  ] as [object, RegExp][]) {
    const message = fault(null, parts)
    t.match(message, said)
    t.notMatch(message, /secret|A response/)
  }
  t.throws(() => lint()(() => [200, {}, null])(null as never), { message: /called with a request, and not null/ })
  t.throws(() => lint()(() => [200, {}, null])(Object.freeze(requestOf())), { message: /frozen or sealed/ })

  for (const parts of [
    { url: '/a?b#c' },
    { url: '//a' },
    { url: 'http://example.com' },
    { url: 'http://example.com/a' },
    { url: '*', method: 'OPTIONS' },
    { url: 'example.com:443', method: 'CONNECT' },
    { url: '', scriptName: '/a' },
    { url: '?b', scriptName: '/a/b' },
    { url: '/b', scriptName: '' },
    { method: 'M-SEARCH' },
    { headers: { ':path': '/', 'set-cookie': ['a', 'b'], 'x-a': undefined, 'content-length': '0' } },
  ]) {
    t.equal(fault([200, {}, null], parts), 'none', JSON.stringify(parts))
  }
})

test('over a socket, lint changes nothing of what a client gets', async (t) => {
  const constant: RackResponse = Object.freeze([200, Object.freeze({ 'x-a': 'b' }), 'constant'] as const)
  const app: App = ({ url }) => {
    if (url === '/constant') return constant
    if (url === '/stream') return [200, {}, Readable.from(['a', 'é'])]
    if (url === '/web') return [200, {}, new Blob(['a']).stream()]
    if (url === '/fault') return [200, { 'X-A': 'b' }, '']
    return [200, {}, letters()]
  }
  const { port, errors } = await serve(t, new Builder().use(lint()).use(cookies()).use(lint()).run(app))
  for (const path of ['/constant', '/constant', '/stream', '/web', '/letters', '/fault']) {
    const { status, body } = await ask(port, path)
    const wanted = { '/constant': 'constant', '/web': 'a', '/fault': 'Internal Server Error\n' }[path] ?? 'aé'
    t.same([status, body], [path === '/fault' ? 500 : 200, wanted], path)
  }
  t.match(errors, [{ code: 'ERR_LINT', message: /"X-A"/ }])
})

test('a body under lint is closed when the client goes away', async (t) => {
  const closed: string[] = []
  let tell = (): void => {}
  const never = new Promise<void>(() => {})
  const close = (name: string): void => {
    closed.push(name)
    tell()
  }
  async function* slow(): AsyncGenerator<string> {
    try {
      yield 'first'
      for (;;) yield await new Promise<string>((resolve) => setImmediate(resolve, 'more'))
    } finally {
      close('generator')
    }
  }
  const bodies: Record<string, () => RackBody> = {
    '/generator': slow,
    '/stream': () => {
      const stream = new Readable({ read() {}, destroy: (error, done) => (close('stream'), done(error)) })
      stream.push('first')
      return stream
    },
    '/web': () =>
      new ReadableStream({
        start: (controller) => controller.enqueue('first'),
        pull: () => never,
        cancel: () => close('web'),
      }),
  }
  const { port, errors } = await serve(
    t,
    new Builder()
      .use(lint())
      .use(lint())
      .run((req) => [200, {}, bodies[req.url ?? '']?.() ?? null]),
  )
  for (const name of ['generator', 'stream', 'web']) {
    const done = new Promise<void>((resolve) => (tell = resolve))
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET /${name} HTTP/1.1\r\nhost: x\r\n\r\n`)
    let got = ''
    while (!got.includes('first')) got += String((await once(socket, 'data'))[0])
    socket.destroy()
    await done
  }
  t.same(closed, ['generator', 'stream', 'web'])
  t.same(errors, [])
})

test('a HEAD request closes a body under lint unread', async (t) => {
  const stream = new Readable({ read: () => t.fail('it was read') })
  const { port } = await serve(
    t,
    new Builder().use(lint()).run(() => [200, { 'content-length': 5 }, stream]),
  )
  t.match(await ask(port, '/', { method: 'HEAD' }), { status: 200, headers: { 'content-length': '5' }, body: '' })
  t.ok(stream.destroyed)
})

test('an app that answers at once does so under lint, and its errors are its own', async (t) => {
  t.type(linted([200, {}, null]), Array)
  const error = new Error('mine')
  const app = lint()(() => {
    throw error
  })
  t.throws(() => app(requestOf()), error)
  await t.rejects(async () => lint()(() => Promise.reject(error))(requestOf()), error)
  t.equal(new Builder().use(lint()).toString(), 'use lint')
})
