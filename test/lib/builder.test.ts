import type { IncomingMessage } from 'node:http'
import { test } from 'tap'
import { Builder, cookies, session, type App, type Middleware, type RackResponse } from '../../lib/index.ts'
import { stackOf } from '../../lib/builder.ts'
import { ask, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

const ok: App = () => [200, { 'content-type': 'text/plain' }, ['OK']]

/** A layer that writes down when it is built, and when a request comes and goes. */
function traced(log: string[], name: string): Middleware {
  return (app) => {
    log.push(`build ${name}`)
    return async (req) => {
      log.push(`${name} in`)
      const response = await app(req)
      log.push(`${name} out`)
      return response
    }
  }
}

/** A Builder as untyped code sees it. */
interface Untyped {
  use(layer: unknown): Untyped
  map(location: unknown, build: (builder: Untyped) => unknown): Untyped
  run(app?: unknown): App
}

const untyped = (): Untyped => new Builder()

test('BUILDER-03: a plain function may be run, and answers', async (t) => {
  const { port } = await serve(t, new Builder().run(ok))
  t.match(await ask(port, '/'), { status: 200, body: 'OK', headers: { 'content-type': 'text/plain' } })
})

test('a request goes through the layers from the first to the last, its response back', async (t) => {
  const log: string[] = []
  const app = new Builder().use(traced(log, 'a')).use(traced(log, 'b')).use(traced(log, 'c')).run(ok)
  t.same(log, ['build c', 'build b', 'build a'])
  const { port } = await serve(t, app)
  await ask(port, '/')
  t.same(log.slice(3), ['a in', 'b in', 'c in', 'c out', 'b out', 'a out'])
})

test('BUILDER-09: each layer is built once, whatever the number of requests', async (t) => {
  const log: string[] = []
  const builder = new Builder()
    .use(traced(log, 'a'))
    .map('/b', (inner) => inner.use(traced(log, 'b')).run(ok))
    .use(traced(log, 'c'))
  const { port } = await serve(t, builder.run(ok))
  for (const path of ['/', '/b', '/']) await ask(port, path)
  t.same(log.filter((line) => line.startsWith('build')).toSorted(), ['build a', 'build b', 'build c'])
})

test('BUILDER-05: a layer inside map concerns that path alone', async (t) => {
  const lengths: Middleware = (app) => async (req) => {
    const [status, headers, body] = await app(req)
    return [status, { ...headers, 'x-length': typeof body === 'string' ? body.length : 0 }, body]
  }
  const app = new Builder()
    .map('/', (root) => root.use(lengths).run(() => [200, {}, 'root']))
    .map('/sub', (sub) => sub.use(lengths).run(() => [200, {}, 'sub']))
    .map('/none', (none) => none.run(() => [200, {}, 'none']))
    .run()
  const { port } = await serve(t, app)
  t.match(await ask(port, '/'), { body: 'root', headers: { 'x-length': '4' } })
  t.match(await ask(port, '/sub'), { body: 'sub', headers: { 'x-length': '3' } })
  t.notOk('x-length' in (await ask(port, '/none')).headers)
})

test('BUILDER-08: what a mapped app puts on the request, the layers outside see', async (t) => {
  const seen: unknown[] = []
  const look: Middleware = (app) => async (req) => {
    const response = await app(req)
    seen.push((req as IncomingMessage & { newKey?: string }).newKey)
    return response
  }
  const app = new Builder()
    .use(look)
    .map('/', (inner) => inner.run((req) => ok(Object.assign(req, { newKey: 'value' }))))
  const { port } = await serve(t, app.run())
  await ask(port, '/')
  t.same(seen, ['value'])
})

test('layers used before map concern the mapped paths, layers after it do not', async (t) => {
  const log: string[] = []
  const app = new Builder()
    .use(traced(log, 'before'))
    .map('/a', (a) => a.use(traced(log, 'a')).run(ok))
    .use(traced(log, 'between'))
    .map('/b', (b) => b.run(ok))
    .use(traced(log, 'after'))
    .run(ok)
  const { port } = await serve(t, app)
  const through = async (path: string): Promise<string[]> => {
    log.length = 0
    await ask(port, path)
    return log.filter((line) => line.endsWith(' in')).map((line) => line.slice(0, -3))
  }
  t.same(await through('/a'), ['before', 'a'])
  t.same(await through('/b'), ['before', 'between'])
  t.same(await through('/c'), ['before', 'between', 'after'])
})

test('without run, what no map took is a 404; with it, the controller has it', async (t) => {
  const builder = new Builder().map('/a', (a) => a.run(ok))
  const without = await serve(t, builder.run())
  t.match(await ask(without.port, '/b'), { status: 404, body: 'Not Found\n' })
  t.equal((await ask(without.port, '/a')).status, 200)
  const run = await serve(
    t,
    builder.run(() => [201, {}, '']),
  )
  t.equal((await ask(run.port, '/b')).status, 201)
})

test('a Builder that was run keeps its controller', async (t) => {
  const builder = new Builder()
  builder.run(ok)
  const { port } = await serve(t, builder.run())
  t.equal((await ask(port, '/')).body, 'OK')
})

test('a Builder may be returned from map as it is', async (t) => {
  const { port } = await serve(t, new Builder().map('/a', (a) => a.map('/b', (b) => b.run(ok))).run())
  t.equal((await ask(port, '/a/b')).status, 200)
  t.equal((await ask(port, '/a')).status, 404)
})

test('the layers see no response that is none: the app is told so at once', async (t) => {
  const seen: string[] = []
  const look: Middleware = (app) => async (req) => {
    try {
      return await app(req)
    } catch (error) {
      seen.push((error as { code: string }).code)
      throw error
    }
  }
  const wrong: App[] = [
    (): RackResponse => undefined as never,
    (): Promise<RackResponse> => Promise.resolve(42 as never),
  ]
  for (const app of wrong) {
    const { port } = await serve(t, new Builder().use(look).run(app))
    t.equal((await ask(port, '/')).status, 500)
  }
  t.same(seen, ['ERR_INVALID_RESPONSE', 'ERR_INVALID_RESPONSE'])
})

test('a session is not saved for a response that is none', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<{ a: number }>())
    .run(async (req) => {
      ;(await req.session).a = 1
      return undefined as never
    })
  const { port, errors } = await serve(t, app)
  t.match(await ask(port, '/'), { status: 500, cookies: [] })
  t.match(errors, [{ code: 'ERR_INVALID_RESPONSE' }])
})

test('toString prints the stack, one layer a line, maps with what is in them', async (t) => {
  function home(): RackResponse {
    return [200, {}, '']
  }
  const builder = new Builder()
    .use(cookies({ secret: SECRET }))
    .map('/admin', (admin) =>
      admin
        .use(session())
        .map('/deep', (deep) => deep.use((app) => app).run(home))
        .run(() => [200, {}, '']),
    )
    .map('http://example.org/x', () => home)
    .use((app) => (req) => app(req))
  t.equal(new Builder().toString(), '')
  builder.run(home)
  t.equal(
    builder.toString(),
    [
      'use cookies',
      'map /admin',
      '  use session',
      '  map /deep',
      '    use (anonymous)',
      '    run home',
      '  run (anonymous)',
      'map http://example.org/x',
      '  run home',
      'use (anonymous)',
      'run home',
    ].join('\n'),
  )
})

test('a layer above the one that adds what it needs is refused, with a message that says what to do', async (t) => {
  t.throws(() => untyped().use(session()), {
    code: 'ERR_STACK_ORDER',
    message: 'session needs, above it, the layer that adds req.cookies: use(cookies({ secret })) first.',
  })
  t.throws(
    () =>
      untyped()
        .use(session())
        .use(cookies({ secret: SECRET })),
    { code: 'ERR_STACK_ORDER' },
  )
})

test('a session in a sealed cookie without a secret is refused, with a message that says what to do', async (t) => {
  t.throws(() => untyped().use(cookies()).use(session()), {
    code: 'ERR_SECRET_MISSING',
    message: /cookies\(\{ secret: process\.env\.SECRET_KEY_BASE \}\)/,
  })
})

test('inside map, layers used before it count, and layers used after it do not', async (t) => {
  const inner = (builder: Untyped): unknown => builder.use(session()).run(ok)
  t.ok(
    untyped()
      .use(cookies({ secret: SECRET }))
      .map('/a', inner)
      .run(ok),
  )
  t.throws(
    () =>
      untyped()
        .map('/a', inner)
        .use(cookies({ secret: SECRET }))
        .run(ok),
    { code: 'ERR_STACK_ORDER' },
  )
  t.throws(() => untyped().use(cookies()).map('/a', inner), { code: 'ERR_SECRET_MISSING' })
})

test('what a layer inside map adds does not count outside of it', async (t) => {
  const builder = untyped().map('/a', (inner) => inner.use(cookies({ secret: SECRET })).run(ok))
  t.throws(() => builder.use(session()), { code: 'ERR_STACK_ORDER' })
})

test('a layer of your own may say what it adds and needs', async (t) => {
  const adds = Object.assign((app: App) => app, { adds: ['user'] })
  const named = Object.assign(
    function account(app: App): App {
      return app
    },
    { needs: ['user'] },
  )
  const nameless = Object.assign((app: App) => app, { needs: ['user'] })
  t.ok(untyped().use(adds).use(named).use(nameless).run(ok))
  t.throws(() => untyped().use(named), { code: 'ERR_STACK_ORDER', message: /^account needs, .* adds req\.user\.$/ })
  t.throws(() => untyped().use(nameless), { message: /^This layer needs, .* adds req\.user\.$/ })
})

test('what is no layer, no app and no location is refused when the stack is built', async (t) => {
  const wrong = { code: 'ERR_INVALID_OPTION' }
  for (const layer of [undefined, null, 'session', { adds: [] }]) t.throws(() => untyped().use(layer), wrong)
  for (const app of [42, 'app', {}]) t.throws(() => untyped().run(app), wrong)
  t.throws(
    () =>
      untyped()
        .use(() => {})
        .run(ok),
    { ...wrong, message: /^The layer \(anonymous\) made no app/ },
  )
  t.throws(
    () =>
      untyped()
        .use(async (app: App) => app)
        .run(ok),
    wrong,
  )
  t.throws(() => untyped().map('/a', () => {}), { ...wrong, message: /map\('\/a'\)/ })
  for (const location of ['admin', '', 42, undefined, '/a?b', 'ftp://example.org/', 'http://example.org:80/']) {
    t.throws(() => untyped().map(location, () => ok), wrong, String(location))
  }
})

test('a stack without promises answers without one', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .map('/a', (a) => a.run(ok))
    .run(ok)
  const { port } = await serve(t, (req) => {
    const response = app(req)
    return Array.isArray(response) ? ok(req) : [500, {}, '']
  })
  for (const path of ['/', '/a']) t.equal((await ask(port, path)).status, 200)
})

test('BUILDER-02: a layer is given the app below it first, and its maker exactly the options that were given', async (t) => {
  const made: unknown[] = []
  const greeting =
    (...options: unknown[]): Middleware =>
    (app) => {
      made.push(...options)
      return async (req) => {
        const [status, headers, body] = await app(req)
        return [status, { ...headers, 'x-greeting': String(options[0]) }, body]
      }
    }
  const options = { loud: true }
  const app = new Builder().use(greeting('hello', 2, options)).run(ok)
  t.strictSame(made, ['hello', 2, options])
  t.equal(made[2], options, 'and no copy')
  const { port } = await serve(t, app)
  t.match(await ask(port, '/'), { body: 'OK', headers: { 'x-greeting': 'hello' } })
})

test('a stack can be cut below the layer that adds a property, with another controller', async (t) => {
  const log: string[] = []
  const stack = new Builder()
    .use(traced(log, 'above'))
    .use(cookies({ secret: SECRET }))
    .map('/other', (inner) => inner.run(() => [500, {}, 'in the way']))
    .use(session())
    .use(() => () => [500, {}, 'a guard in the way'])
  const app = stack.run(() => [500, {}, 'the controller'])
  log.length = 0
  for (const known of [app, stack]) {
    const cut = stackOf(known)?.cut('session', (req: IncomingMessage & { session?: unknown }) => [
      200,
      {},
      typeof req.session,
    ])
    const { port } = await serve(t, cut as App)
    t.match(await ask(port, '/'), { status: 200, body: 'object' })
  }
  t.same(
    log.filter((line) => line.endsWith('in')),
    ['above in', 'above in'],
  )
  t.equal(stack.cut('user', ok), undefined, 'no layer adds it')
  t.equal(stackOf(ok), undefined, 'an app that no Builder made')
})

test('what a path has of its own goes before what the stack around it has', async (t) => {
  const add =
    (user: string): Middleware<{ user: string }> =>
    (app) =>
    (req) =>
      app(Object.assign(req, { user }))
  const named = (user: string): Middleware<{ user: string }> => Object.assign(add(user), { adds: ['user'] })
  const stack = new Builder()
    .use(named('outer'))
    .map('/a', (a) => a.use(named('a')).run(ok))
    .map('/b', (b) => b.run(ok))
    .map('/a/deep', (deep) => deep.map('/er', (er) => er.use(named('deeper')).run(ok)).run())
  const cut = stack.cut('user', (req: IncomingMessage & { user?: string }) => [200, {}, req.user ?? 'nobody'])
  const { port } = await serve(t, cut as App)
  const users = { '/': 'outer', '/a/x': 'a', '/b/x': 'outer', '/a/deep/er': 'deeper' }
  for (const [path, user] of Object.entries(users)) t.equal((await ask(port, path)).body, user, path)
  t.same(stack.locationsOf('user'), ['/'])
  const mapped = new Builder()
    .map('/a/', (a) => a.use(named('a')).run(ok))
    .map('/b', (b) => b.map('/c', (c) => c.use(named('c')).run(ok)).run())
  t.same(mapped.locationsOf('user'), ['/a/', '/b/c/'])
  const several = mapped.cut('user', (req: IncomingMessage & { user?: string }) => [200, {}, req.user ?? 'nobody'])
  const { port: other } = await serve(t, several as App)
  const others = { '/a': 'a', '/b/c/d': 'c', '/b': 'c', '/': 'nobody' }
  for (const [path, user] of Object.entries(others)) t.equal((await ask(other, path)).body, user, path)
})

test('BUILDER-03: what makes a layer is no layer, and run takes one app', (t) => {
  const stack = untyped().use(session)
  t.throws(() => stack.run(ok), { code: 'ERR_INVALID_OPTION', message: /write use\(session\(\)\)/ })
  const run = (...apps: unknown[]): unknown =>
    (new Builder() as unknown as { run(...all: unknown[]): App }).run(...apps)
  t.throws(() => run(ok, ok), { code: 'ERR_INVALID_OPTION' })
  t.end()
})

test('a stack is cut inside map too, below the layers around it', async (t) => {
  const stack = new Builder()
    .use(cookies({ secret: SECRET }))
    .map('/other', (other) => other.run(ok))
    .map('/admin', (admin) => admin.use(session()).run(ok))
  const cut = stack.cut('session', (req: IncomingMessage & { cookies?: unknown; session?: unknown }) => [
    200,
    {},
    `${typeof req.cookies} ${typeof req.session} ${req.url}`,
  ])
  const { port } = await serve(t, cut as App)
  t.equal((await ask(port, '/anything')).body, 'object object /anything', 'it is the only one')
})
