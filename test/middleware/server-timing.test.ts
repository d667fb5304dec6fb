import { test } from 'tap'
import { Builder, cookies, MemoryStore, serverTiming, session } from '../../lib/index.ts'
import { ask, Client, serve } from '../server.ts'
import { controller, SECRET, type Data } from '../session-app.ts'

const METRIC = /^[\w-]+;dur=\d+\.\d{3}(;desc="\w+")?$/

const names = (header: unknown): string[] =>
  String(header)
    .split(', ')
    .map((metric) => metric.split(';')[0] ?? '')

test('a response says how long each layer, each call of the store and all together took', async (t) => {
  const app = new Builder()
    .use(serverTiming())
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store: new MemoryStore() }))
    .run(controller)
  const client = new Client((await serve(t, app)).port)
  const { headers } = await client.get('/write')
  t.strictSame(names(headers['server-timing']), ['controller', 'store-save', 'session', 'cookies', 'total'])
  const second = String((await client.get('/write?v=2')).headers['server-timing'])
  t.strictSame(names(second), ['store-load', 'controller', 'store-save', 'session', 'cookies', 'total'])
  const metrics = second.split(', ')
  for (const metric of metrics) t.match(metric, METRIC)
  t.match(metrics[0], /^store-load;dur=.*;desc="MemoryStore"$/)
  const sum = metrics
    .filter((metric) => !/^(total|store)/.test(metric))
    .reduce((all, metric) => all + Number(/dur=([\d.]+)/.exec(metric)?.[1]), 0)
  t.ok(sum <= Number(/dur=([\d.]+)$/.exec(second)?.[1]) + 0.01, 'a layer is told by itself, without those below')
})

test('what the application says of its own times stays', async (t) => {
  const app = new Builder().use(serverTiming()).run(() => [200, { 'Server-Timing': 'db;dur=3' }, ''])
  const { headers } = await ask((await serve(t, app)).port, '/')
  t.match(headers['server-timing'], /^db;dur=3, controller;dur=[\d.]+, total;dur=[\d.]+$/)
})

test('it tells whom it is to tell, and in production nobody unless it is told', async (t) => {
  const chosen = new Builder().use(serverTiming({ when: (req) => req.url === '/yes' })).run(() => [200, {}, ''])
  const { port } = await serve(t, chosen)
  t.ok((await ask(port, '/yes')).headers['server-timing'])
  t.notOk((await ask(port, '/no')).headers['server-timing'])
  const usual = await serve(
    t,
    new Builder().use(serverTiming()).run(() => [200, {}, '']),
  )
  const before = process.env['NODE_ENV']
  process.env['NODE_ENV'] = 'production'
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  t.notOk((await ask(usual.port, '/')).headers['server-timing'])
})

test('an error passes it, and two of them say it twice', async (t) => {
  const failing = new Builder().use(serverTiming()).run(() => Promise.reject(new Error('boom')))
  t.equal((await ask((await serve(t, failing)).port, '/')).status, 500)
  const twice = new Builder()
    .use(serverTiming())
    .use(serverTiming())
    .run(() => [200, {}, ''])
  const { headers } = await ask((await serve(t, twice)).port, '/')
  t.equal(names(headers['server-timing']).filter((name) => name === 'total').length, 2)
})

test('a layer whose name is no token is still told', async (t) => {
  const odd = Object.defineProperty((app: (req: never) => unknown) => app, 'name', { value: 'a b;c' })
  const app = new Builder()
    .use(serverTiming())
    .use(odd as never)
    .run(() => [200, {}, ''])
  const { headers } = await ask((await serve(t, app)).port, '/')
  t.strictSame(names(headers['server-timing']), ['controller', 'abc', 'total'])
})

test('what is no function is refused when the stack is built', (t) => {
  t.throws(() => serverTiming({ when: true as never }), { code: 'ERR_INVALID_OPTION' })
  t.end()
})
