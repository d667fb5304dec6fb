import { Readable } from 'node:stream'
import { test } from 'tap'
import {
  Builder,
  cookies,
  CsrfError,
  requestId,
  showExceptions,
  type App,
  type RackResponse,
  type ShowExceptionsOptions,
} from '../../lib/index.ts'
import { ask, serve, type Answer, type Ask, type Owner } from '../server.ts'

/** Asks an app that throws, below showExceptions; what it and the listener heard of. */
async function asked(
  t: Owner,
  app: App,
  options: ShowExceptionsOptions = {},
  how: Ask = {},
): Promise<{ answer: Answer; heard: unknown[]; errors: unknown[] }> {
  const heard: unknown[] = []
  const stack = new Builder().use(showExceptions({ onError: (error) => heard.push(error), ...options })).run(app)
  const { port, errors } = await serve(t, stack)
  return { answer: await ask(port, '/', how), heard, errors }
}

function throws(error: unknown): () => never {
  return () => {
    throw error
  }
}

test('an error becomes a plain page that says nothing of it, and is reported once', async (t) => {
  const error = new Error('secret')
  for (const app of [throws(error), () => Promise.reject(error)]) {
    const { answer, heard, errors } = await asked(t, app)
    t.match(answer, {
      status: 500,
      headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', 'content-length': '22' },
      body: /^Internal Server Error\n$/,
    })
    t.same(heard, [error])
    t.same(errors, [], 'the listener has nothing to report')
  }
})

test('an error that says that the client is at fault has its status, and is not reported', async (t) => {
  for (const [error, status, body] of [
    [new CsrfError('secret'), 422, 'Unprocessable Entity\n'],
    [Object.assign(new Error('secret'), { statusCode: 413 }), 413, 'Payload Too Large\n'],
    [{ status: 404 }, 404, 'Not Found\n'],
  ] as const) {
    const { answer, heard } = await asked(t, throws(error))
    t.match(answer, { status, body, headers: { 'cache-control': 'no-store' } })
    t.same(heard, [])
  }
})

test('whatever is thrown is answered', async (t) => {
  for (const thrown of [undefined, null, 'secret', 0, Symbol('secret'), { status: 200 }, { status: '404' }]) {
    for (const details of [false, true]) {
      const { answer, heard } = await asked(t, throws(thrown), { details })
      t.equal(answer.status, 500)
      t.same(heard, [thrown])
    }
  }
})

test('a response that is none of an error is passed on as it is', async (t) => {
  const response = Object.freeze([404, {}, 'mine']) as RackResponse
  const { answer, heard } = await asked(t, () => response)
  t.match(answer, { status: 404, body: 'mine' })
  t.notOk('cache-control' in answer.headers)
  t.same(heard, [])
})

test('HEAD is answered with the head of the page', async (t) => {
  const { answer } = await asked(t, throws(new Error('secret')), {}, { method: 'HEAD' })
  t.match(answer, { status: 500, headers: { 'content-length': '22', 'cache-control': 'no-store' }, body: '' })
})

test('pages of your own are given the error, the request and the status', async (t) => {
  const error = Object.assign(new Error('secret'), { status: 404 })
  for (const made of ['now', 'later']) {
    const { answer } = await asked(t, throws(error), {
      render: (given, req, status) => {
        t.equal(given, error)
        const page: RackResponse = [status, { 'X-Page': 'mine' }, `no ${req.url} ${made}`]
        return made === 'now' ? page : Promise.resolve(page)
      },
    })
    t.match(answer, { status: 404, body: `no / ${made}`, headers: { 'x-page': 'mine', 'cache-control': 'no-store' } })
  }
  const render = (): RackResponse => [500, { 'Cache-Control': 'max-age=5' }, Readable.from(['mi', 'ne'])]
  const { answer } = await asked(t, throws(error), { render })
  t.match(answer, { body: 'mine', headers: { 'cache-control': 'max-age=5' } })
})

test('where a page of your own fails, the plain one is sent, and both errors are reported', async (t) => {
  const first = new Error('first')
  const second = Object.assign(new Error('second'), { status: 404 })
  for (const render of [throws(second), () => Promise.reject(second)]) {
    const { answer, heard } = await asked(t, throws(first), { render: () => render() })
    t.match(answer, { status: 500, body: 'Internal Server Error\n', headers: { 'cache-control': 'no-store' } })
    t.same(heard, [first, second])
  }
  const stream = Readable.from(['a'])
  const { answer, heard } = await asked(t, throws(second), { render: () => ['200', {}, stream] as never })
  t.match(answer, { status: 404, body: 'Not Found\n' })
  t.match(heard, [{ code: 'ERR_INVALID_RESPONSE' }], 'the 404 is not reported, the page is')
  t.ok(stream.destroyed)
})

test('details are the class, code, message, stack and causes, and nothing of the request', async (t) => {
  class TooFullError extends Error {
    readonly code = 'E_FULL'
    readonly request = { headers: 'secret' }
  }
  const cause = new TypeError('the cause', { cause: 'its cause' })
  const error = new TooFullError('too <b>full</b> & "more"', { cause })
  const headers = { cookie: 'session=secret', authorization: 'secret', 'x-secret': 'secret' }

  const text = await asked(t, throws(error), { details: true }, { headers })
  t.match(text.answer, {
    status: 500,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
  })
  const { body } = text.answer
  t.match(body, /^TooFullError \[E_FULL\]: too <b>full<\/b> & "more"\n {4}at .*show-exceptions\.test/)
  t.match(body, /\n\nCaused by: TypeError: the cause\n {4}at .*\n\nCaused by: string: its cause\n$/s)
  t.notMatch(body, 'secret')

  const accept = 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8'
  const html = await asked(t, throws(error), { details: true }, { headers: { ...headers, accept } })
  t.match(html.answer, {
    status: 500,
    headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' },
  })
  t.match(html.answer.body, 'TooFullError [E_FULL]: too &lt;b&gt;full&lt;/b&gt; &amp; &quot;more&quot;\n')
  t.match(html.answer.body, /<title>500 Internal Server Error<\/title>/)
  t.notMatch(html.answer.body, /secret|<b>/)
})

test('HTML is for who asks for it by name', async (t) => {
  for (const [accept, type] of [
    ['Text/HTML', 'text/html'],
    ['application/json, text/html ; q=0.5', 'text/html'],
    ['*/*', 'text/plain'],
    ['', 'text/plain'],
    ['text/html;q=0, */*', 'text/plain'],
    ['text/html; q=0.0', 'text/plain'],
    ['text/htmlx', 'text/plain'],
    ['application/json', 'text/plain'],
  ] as const) {
    const { answer } = await asked(t, throws(new Error('x')), { details: true }, { headers: { accept } })
    t.match(answer.headers['content-type'], new RegExp(`^${type};`), accept)
  }
})

test('causes that go in a circle, and errors that cannot be read, end no request', async (t) => {
  const circle = new Error('round')
  circle.cause = circle
  const round = await asked(t, throws(circle), { details: true })
  t.equal(round.answer.body.match(/Error: round/g)?.length, 11)

  const second = new Error('unreadable')
  const hostile = {
    get stack(): never {
      throw second
    },
  }
  const { answer, heard } = await asked(t, throws(hostile), { details: true })
  t.match(answer, { status: 500, body: 'Internal Server Error\n' })
  t.same(heard, [hostile, second])
})

test('details are shown by default in development alone, and before pages of your own', async (t) => {
  const { NODE_ENV: before } = process.env
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  const render = (): RackResponse => [500, {}, 'mine']
  const error = new Error('detail')
  for (const env of ['production', 'test', '', undefined]) {
    if (env === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = env
    t.equal((await asked(t, throws(error))).answer.body, 'Internal Server Error\n')
    t.equal((await asked(t, throws(error), { render })).answer.body, 'mine')
  }
  process.env['NODE_ENV'] = 'development'
  t.match((await asked(t, throws(error))).answer.body, /^Error: detail\n/)
  t.match((await asked(t, throws(error), { render })).answer.body, /^Error: detail\n/)
  t.equal((await asked(t, throws(error), { render, details: false })).answer.body, 'mine')
})

test('errors go to console.error by default, and there too when onError fails', async (t) => {
  const logged = t.capture(console, 'error')
  const [error, second] = [new Error('first'), new Error('second')]
  const rejects = (): unknown => Promise.reject(second)
  const options: ShowExceptionsOptions[] = [{}, { onError: throws(second) }, { onError: rejects }]
  for (const one of options) {
    const { port } = await serve(t, new Builder().use(showExceptions(one)).run(throws(error)))
    t.equal((await ask(port, '/')).status, 500)
  }
  t.same(
    logged().map(({ args }) => args),
    [[error], [second], [second]],
  )
})

test('a body that fails after the head is left to the listener', async (t) => {
  const error = new Error('late')
  const app: App = () => [
    200,
    {},
    Readable.from(
      (function* () {
        yield 'a'
        throw error
      })(),
    ),
  ]
  const heard: unknown[] = []
  const { port, errors } = await serve(
    t,
    new Builder().use(showExceptions({ onError: (one) => heard.push(one) })).run(app),
  )
  await t.rejects(ask(port, '/'))
  t.same(errors, [error])
  t.same(heard, [])
})

test('no cookie is sent with an error, and a request id above is', async (t) => {
  const app: App = new Builder()
    .use(requestId())
    .use(showExceptions({ onError: () => {} }))
    .use(cookies())
    .run((req) => {
      req.cookies.set('a', 'b')
      throw new Error(req.requestId)
    })
  const { port } = await serve(t, app)
  const { cookies: lines, headers, status } = await ask(port, '/', { headers: { 'x-request-id': 'abc' } })
  t.same([status, lines, headers['x-request-id']], [500, [], 'abc'])
})

test('an app that answers at once does so below it', async (t) => {
  const response: RackResponse = [200, {}, null]
  t.equal(showExceptions()(() => response)(undefined as never), response)
  t.equal(new Builder().use(showExceptions()).toString(), 'use showExceptions')
})

test('options of another type are errors when the stack is built', async (t) => {
  for (const options of [{ render: 'page' }, { details: 'yes' }, { onError: null }]) {
    t.throws(() => showExceptions(options as never), { code: 'ERR_INVALID_OPTION', message: /showExceptions\(\{/ })
  }
})
