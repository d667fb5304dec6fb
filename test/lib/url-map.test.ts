import type { IncomingMessage } from 'node:http'
import { test } from 'tap'
import { Builder, type App, type Mapped, type Middleware } from '../../lib/index.ts'
import { ask, askRaw, serve } from '../server.ts'

type Req = IncomingMessage & Partial<Mapped>

/** Answers where it thinks it is. */
function here(name = ''): (req: Req) => [number, Record<string, string>, string] {
  return (req) => [200, {}, [name, req.scriptName, req.url].join(' ')]
}

/** What the request looks like to the layers outside, before and after. */
function watched(seen: unknown[], scriptName?: string): Middleware {
  return (app) => async (req: Req) => {
    if (scriptName !== undefined) Object.assign(req, { scriptName })
    const before = [req.scriptName, req.url]
    try {
      return await app(req)
    } finally {
      seen.push([...before, req.scriptName, req.url])
    }
  }
}

test('inside map, req.url is the rest and req.scriptName the prefix', async (t) => {
  const { port } = await serve(t, new Builder().map('/foo', (foo) => foo.run(here('foo'))).run(here('else')))
  const answers: Record<string, string> = {
    '/foo': 'foo /foo ',
    '/foo/': 'foo /foo /',
    '/foo/bar': 'foo /foo /bar',
    '/foo//bar': 'foo /foo //bar',
    '/foo?a=/b': 'foo /foo ?a=/b',
    '/foo/?a': 'foo /foo /?a',
    '/foo/bar?a': 'foo /foo /bar?a',
    '/foobar': 'else  /foobar',
    '/FOO': 'else  /FOO',
    '/fo': 'else  /fo',
    '/?/foo': 'else  /?/foo',
    '/': 'else  /',
  }
  for (const path in answers) t.equal((await ask(port, path)).body, answers[path], path)
})

test('the longest prefix on a segment boundary wins, whatever the order', async (t) => {
  const prefixes = ['/', '/a', '/a/b', '/a/bc', '/a/b/c']
  for (const order of [prefixes, prefixes.toReversed()]) {
    const builder = new Builder()
    for (const prefix of order) builder.map(prefix, (inner) => inner.run(() => [200, {}, prefix]))
    const { port } = await serve(t, builder.run())
    const winner = async (path: string): Promise<string> => (await ask(port, path)).body
    t.equal(await winner('/'), '/')
    t.equal(await winner('/ab'), '/')
    t.equal(await winner('/a/x'), '/a')
    t.equal(await winner('/a/b'), '/a/b')
    t.equal(await winner('/a/b?c'), '/a/b')
    t.equal(await winner('/a/bc/d'), '/a/bc')
    t.equal(await winner('/a/bd'), '/a')
    t.equal(await winner('/a/b/c/d'), '/a/b/c')
  }
})

test('of two maps of one prefix the last wins', async (t) => {
  const app = new Builder().map('/a', () => here('first')).map('/a/', () => here('last'))
  const { port } = await serve(t, app.run())
  t.equal((await ask(port, '/a')).body, 'last /a ')
})

test('a prefix may end with slashes, and hold what a pattern would take for its own', async (t) => {
  const app = new Builder()
    .map('/a//', (a) => a.run(here('a')))
    .map('/b.(c)+$', (b) => b.run(here('b')))
    .run()
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/a/x')).body, 'a /a /x')
  t.equal((await ask(port, '/b.(c)+$/x')).body, 'b /b.(c)+$ /x')
  t.equal((await ask(port, '/bx(c)+$')).status, 404)
})

test('neither repeated slashes nor the absolute form of an address lead past a map', async (t) => {
  const app = new Builder().map('/admin/x', (admin) => admin.run(here('admin'))).run(here('open'))
  const { port } = await serve(t, app)
  for (const path of [
    '//admin/x/y',
    '///admin//x/y',
    '/admin///x/y',
    'http://127.0.0.1/admin/x/y',
    'https://h//admin/x/y',
  ]) {
    t.equal((await ask(port, path)).body, 'admin /admin/x /y', path)
  }
})

test('the root of an absolute address is a slash inside map, and an asterisk stays one', async (t) => {
  const app = new Builder().map('/', (root) => root.run(here('root'))).run()
  const { port } = await serve(t, app)
  t.equal((await ask(port, 'http://example.org')).body, 'root  /')
  t.equal((await ask(port, 'http://example.org?a=1')).body, 'root  /?a=1')
  t.equal((await ask(port, '*', { method: 'OPTIONS' })).body, 'root  *')
})

test('BUILDER-13: a scriptName that is there is built on, and both are restored', async (t) => {
  const seen: unknown[] = []
  const app = new Builder()
    .use(watched(seen, '/bleh'))
    .map('/foo', (foo) => foo.run(here()))
    .run()
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/foo/quux')).body, ' /bleh/foo /quux')
  t.same(seen, [['/bleh', '/foo/quux', '/bleh', '/foo/quux']])
})

test('BUILDER-14: maps inside maps join their prefixes', async (t) => {
  const app = new Builder()
    .map('/foo', (foo) => foo.map('/bar', (bar) => bar.map('/quux', (quux) => quux.run(here()))))
    .run()
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/foo/bar/quux')).body, ' /foo/bar/quux ')
  t.equal((await ask(port, '/foo/bar/quux/x?y')).body, ' /foo/bar/quux /x?y')
  for (const path of ['/foo/bar', '/foo', '/foo/quux', '/bar/quux']) t.equal((await ask(port, path)).status, 404, path)
})

test('BUILDER-15: the map of "/" takes what is left, as it is', async (t) => {
  const app = new Builder()
    .map('/', (root) => root.run(here('root')))
    .map('/foo', (foo) => foo.run(here('foo')))
    .run()
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/')).body, 'root  /')
  t.equal((await ask(port, '/bar')).body, 'root  /bar')
  t.equal((await ask(port, '/http://example.org/bar')).body, 'root  /http://example.org/bar')
  t.equal((await ask(port, '/foo')).body, 'foo /foo ')
  t.equal((await ask(port, '*', { method: 'OPTIONS' })).body, 'root  *')
})

test('BUILDER-16: a location may name a host, in any letter case', async (t) => {
  const app = new Builder()
    .map('/', (root) => root.run(here('default')))
    .map('http://foo.org/', (foo) => foo.run(here('foo')))
    .map('https://BAR.org', (bar) => bar.run(here('bar')))
    .map('http://bar.org/deep', (deep) => deep.run(here('deep')))
    .run()
  const { port } = await serve(t, app)
  const at = async (host: string, path = '/'): Promise<string> => (await ask(port, path, { headers: { host } })).body
  t.equal(await at('bar.org'), 'bar  /')
  t.equal(await at('FOO.ORG'), 'foo  /')
  t.equal(await at('foo.org:9292'), 'foo  /')
  t.equal(await at('bar.org', '/deep/x'), 'deep /deep /x')
  t.equal(await at('example.org', '/deep/x'), 'default  /deep/x')
  t.equal(await at('example.org:9292'), 'default  /')
  t.match(await askRaw(port, 'GET / HTTP/1.0\r\n\r\n'), /default {2}\/$/, 'also without a host')
})

test('what maps change is restored after a response, a throw and a rejection, at every depth', async (t) => {
  const apps: Record<string, App> = {
    '/value': () => [200, {}, ''],
    '/promise': async () => [200, {}, ''],
    '/throw': () => {
      throw new Error('no')
    },
    '/reject': () => Promise.reject(new Error('no')),
  }
  const seen: unknown[] = []
  const app = new Builder()
    .use(watched(seen))
    .map('/a', (a) => {
      a.use(watched(seen))
      for (const path in apps) a.map(path, (inner) => inner.run(apps[path] as App))
      return a
    })
    .run()
  const { port } = await serve(t, app)
  for (const path in apps) {
    seen.length = 0
    t.equal((await ask(port, `/a${path}/x?y`)).status, path === '/value' || path === '/promise' ? 200 : 500)
    const outer = [undefined, `/a${path}/x?y`]
    const inner = ['/a', `${path}/x?y`]
    t.same(seen, [
      [...inner, ...inner],
      [...outer, ...outer],
    ])
  }
})

test('an app that no map was meant for sees the request as it came', async (t) => {
  const { port } = await serve(t, new Builder().map('/a', (a) => a.run(here('a'))).run(here('else')))
  t.equal((await ask(port, '/b?c')).body, 'else  /b?c')
})
