import { test } from 'tap'
import { Builder, requestId, type App, type RequestOf, type RackResponse } from '../../lib/index.ts'
import { ask, serve } from '../server.ts'

const UUID = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/

const stack = new Builder().use(requestId())

function show(req: RequestOf<typeof stack>): RackResponse {
  return [200, {}, req.requestId]
}

test('a request without an id gets a random one, which is answered', async (t) => {
  const { port } = await serve(t, stack.run(show))
  const [first, second] = [await ask(port, '/'), await ask(port, '/')]
  for (const { headers, body } of [first, second]) {
    t.match(body, UUID)
    t.equal(headers['x-request-id'], body)
  }
  t.not(first.body, second.body)
})

test('a request keeps its id, reduced as Rails does', async (t) => {
  const { port } = await serve(t, stack.run(show))
  for (const [given, id] of [
    ['abc-123_DEF@host', 'abc-123_DEF@host'],
    ['a b/c;d=<e>"é', 'abcde'],
    ['x'.repeat(255), 'x'.repeat(255)],
    [`${' '.repeat(300)}${'-é'.repeat(300)}`, '-'.repeat(255)],
  ] as const) {
    const { headers, body } = await ask(port, '/', { headers: { 'X-Request-Id': given } })
    t.same([headers['x-request-id'], body], [id, id])
  }
  const twice = await ask(port, '/', { headers: { 'x-request-id': ['a', 'b'] } })
  t.equal(twice.body, 'ab', 'two lines are one value')
})

test('an id of which nothing is left counts as none', async (t) => {
  const { port } = await serve(t, stack.run(show))
  for (const given of ['', ' ', '<>;'])
    t.match((await ask(port, '/', { headers: { 'x-request-id': given } })).body, UUID)
})

test('the header may have another name', async (t) => {
  const { port } = await serve(t, new Builder().use(requestId({ header: 'X-Correlation-ID' })).run(show))
  const { headers, body } = await ask(port, '/', { headers: { 'x-correlation-id': 'abc', 'x-request-id': 'other' } })
  t.same([headers['x-correlation-id'], body, 'x-request-id' in headers], ['abc', 'abc', false])
})

test('names that every object has are no ids', async (t) => {
  for (const header of ['constructor', '__proto__', 'tostring']) {
    const { port } = await serve(t, new Builder().use(requestId({ header })).run(show))
    t.match((await ask(port, '/')).body, UUID)
  }
})

test('the answer carries one id, and the response that the app gave is not changed', async (t) => {
  const given: RackResponse = Object.freeze([200, Object.freeze({ 'X-Request-ID': 'mine', 'x-a': 'b' }), 'constant'])
  for (const app of [() => given, () => Promise.resolve(given)]) {
    const { port } = await serve(t, new Builder().use(requestId()).run(app))
    const { headers } = await ask(port, '/', { headers: { 'x-request-id': 'abc' } })
    t.match(headers, { 'x-request-id': 'abc', 'x-a': 'b' })
  }
})

test('a request has one id, inside map too', async (t) => {
  const app = new Builder()
    .use(requestId())
    .map('/in', (inner) =>
      inner
        .use(requestId())
        .use(requestId({ header: 'x-other' }))
        .run(show),
    )
    .run(show)
  const { port } = await serve(t, app)
  const { headers, body } = await ask(port, '/in')
  t.match(body, UUID)
  t.same([headers['x-request-id'], headers['x-other']], [body, body])
})

test('a header that is none is an error when the stack is built', async (t) => {
  for (const header of ['', 'x y', 'x:', 'x\r\n', 'é', 1, null]) {
    t.throws(() => requestId({ header: header as string }), { code: 'ERR_INVALID_OPTION', message: /header/ })
  }
})

test('a layer below may say that it needs an id', async (t) => {
  const logs = Object.assign((app: App) => app, { needs: ['requestId'] })
  t.throws(() => new Builder().use(logs), { code: 'ERR_STACK_ORDER', message: /req\.requestId/ })
  t.equal(new Builder().use(requestId()).use(logs).toString(), 'use requestId\nuse (anonymous)')
})
