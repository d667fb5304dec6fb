import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  csrf,
  flash,
  form,
  MemoryStore,
  methodOverride,
  session,
  toConnect,
  type CsrfOptions,
  type RequestOf,
  type SessionOptions,
} from '../../lib/index.ts'
import { Client, serve, type Answer, type Ask } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { askTls, serveTls } from '../tls.ts'

interface Data {
  user: number
  _csrf_token: string
}

interface Site {
  client: Client
  port: number
  errors: unknown[]
  /** Reasons that were logged. */
  log: string[]
}

/** Pages: `/page` answers a token, `/form?action=…&method=…` one for a form, `/login`, `/reset`; others the user. */
async function site(t: Test, options: CsrfOptions = {}, sessions: SessionOptions<Data> = {}): Promise<Site> {
  const log: string[] = []
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>(sessions))
    .use(form())
    .use(methodOverride())
    .use(csrf({ log: (reason) => log.push(reason), ...options }))
    .run(async (req) => {
      const url = new URL(req.url ?? '/', 'http://test')
      switch (url.pathname) {
        case '/page':
          return [200, { vary: 'accept' }, `${await req.csrfToken()} ${await req.csrfToken()}`]
        case '/form': {
          const { action = '', method = 'post' } = Object.fromEntries(url.searchParams)
          return [200, {}, await req.csrfToken({ action, method })]
        }
        case '/login':
          ;(await req.session).user = 1
          return [200, {}, 'in']
        case '/reset':
          req.session.reset()
          return [200, {}, await req.csrfToken()]
        case '/script.js':
          return [200, { 'Content-Type': 'text/javascript; charset=utf-8' }, 'secret()']
        default:
          return [200, {}, `${req.method} user ${(await req.session).user ?? 'nobody'}`]
      }
    })
  const { port, errors } = await serve(t, app)
  return { client: new Client(port), port, errors, log }
}

const FORM = 'application/x-www-form-urlencoded'

const send = (
  client: Client,
  path: string,
  token: string,
  { method = 'POST', headers = {} }: Ask = {},
): Promise<Answer> =>
  client.get(path, {
    method,
    headers: { 'content-type': FORM, ...headers },
    body: new URLSearchParams({ authenticity_token: token, name: 'ada' }).toString(),
  })

const tokenOf = async (client: Client): Promise<string> => (await client.get('/page')).body.split(' ')[0] as string

const host = (port: number): string => `http://127.0.0.1:${port}`

test('CSRF-01 GET, HEAD, OPTIONS and QUERY pass, and make no session unless a page asks for a token', async (t) => {
  const { client } = await site(t)
  for (const method of ['GET', 'HEAD', 'OPTIONS', ...(process.version >= 'v22' ? ['QUERY'] : [])]) {
    const answer = await client.get('/', { method, headers: { 'sec-fetch-site': 'cross-site' } })
    t.match([answer.status, answer.cookies], [200, []], method)
  }
  t.equal((await client.get('/page')).cookies.length, 1)
  t.equal((await client.get('/page')).cookies.length, 0, 'the token stays')
})

test('CSRF-01 the method is that on the wire: a POST that says it is a GET needs a token', async (t) => {
  const { client } = await site(t)
  await client.get('/login')
  const token = await tokenOf(client)
  const body = (fields: Record<string, string>): Ask => ({
    method: 'POST',
    headers: { 'content-type': FORM },
    body: new URLSearchParams(fields).toString(),
  })
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'DELETE']) {
    t.equal((await client.get('/', body({ _method: method }))).status, 422, method)
  }
  t.equal((await client.get('/', body({ _method: 'DELETE', authenticity_token: token }))).body, 'DELETE user 1')
})

test('CSRF-03 a token of the same session in the form passes, whatever the method', async (t) => {
  const { client, errors } = await site(t)
  await client.get('/login')
  const token = await tokenOf(client)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const answer = await send(client, '/', token, { method })
    t.match([answer.status, answer.body], [200, `${method} user 1`], method)
  }
  t.same(errors, [])
})

test('CSRF-04 a token in the header passes with a body of any type', async (t) => {
  const { client } = await site(t)
  const token = await tokenOf(client)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const headers = { 'content-type': 'application/json', 'x-csrf-token': token }
    t.equal((await client.get('/', { method, headers, body: '{"a":1}' })).status, 200, method)
  }
})

test('CSRF-06 a token in standard base64 passes; those that are issued are url-safe', async (t) => {
  const { client } = await site(t)
  const token = await tokenOf(client)
  t.match(token, /^[\w-]{86}$/)
  const standard = Buffer.from(token, 'base64url').toString('base64')
  t.match(standard, /=$/)
  t.equal((await send(client, '/', standard)).status, 200)
})

test('CSRF-08 with resetSession the request goes on signed out, and the visitor stays so', async (t) => {
  const { client, port, errors } = await site(t, { strategy: 'resetSession' }, { store: new MemoryStore() })
  await client.get('/login')
  const before = client.clone()
  const answer = await client.get('/', { method: 'POST' })
  t.match([answer.status, answer.body], [200, 'POST user nobody'])
  t.equal(client.jar.size, 0, 'the cookie is expired')
  t.equal((await before.get('/')).body, 'GET user nobody', 'the old cookie opens nothing')
  t.equal((await new Client(port).get('/', { method: 'POST' })).status, 200)
  t.same(errors, [])
})

test('with nullSession the request goes on without session and cookies, and the visitor stays signed in', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store: new MemoryStore() }))
    .use(csrf({ strategy: 'nullSession', log: false }))
    .run(async (req) => {
      const hash = await req.session
      const before = [hash.user ?? null, req.cookies.get('plain') ?? null, req.session.exists]
      hash.user = 7
      req.cookies.set('plain', 'changed').encrypted.set('sealed', 'x')
      return [200, {}, JSON.stringify([...before, hash.user, req.cookies.get('plain')])]
    })
  const { port } = await serve(t, app)
  const client = new Client(port)
  t.equal((await client.get('/')).cookies.length, 3)
  const refused = await client.get('/', { method: 'POST' })
  t.same([JSON.parse(refused.body), refused.cookies], [[null, null, false, 7, 'changed'], []])
  t.same(JSON.parse((await client.get('/')).body), [7, 'changed', true, 7, 'changed'], 'nothing was lost')
})

test('with nullSession a flash that is not awaited is not that of the visitor either', async (t) => {
  const store = new MemoryStore()
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store, expireAfter: 1000 }))
    .use(flash())
    .use(csrf({ strategy: 'nullSession', log: false }))
    .run(async (req) => {
      if (req.url === '/set') (await req.flash).notice = 'kept'
      if (req.url === '/now') req.flash.now.alert = 'x'
      if (req.url === '/discard') void req.flash.discard()
      return [200, {}, req.url === '/' ? JSON.stringify(await req.flash) : '']
    })
  const { port } = await serve(t, app)
  const client = new Client(port)
  await client.get('/set')
  for (const path of ['/now', '/discard']) t.same((await client.get(path, { method: 'POST' })).cookies, [], path)
  t.equal((await client.get('/')).body, '{"notice":"kept"}')
})

test('tokens that are issued with an empty session are good for nothing', async (t) => {
  const { client } = await site(t, { strategy: 'nullSession' })
  await client.get('/login')
  const own = await tokenOf(client)
  const token = (await client.get('/page', { method: 'POST' })).body.split(' ')[0] as string
  t.match(token, /^[\w-]{86}$/)
  t.equal((await send(client, '/', token)).body, 'POST user nobody')
  t.equal((await send(client, '/', own)).body, 'POST user 1')
})

test('CSRF-22 of tokens that are asked for together all are good', async (t) => {
  for (const storage of ['session', 'cookie'] as const) {
    const app = new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session())
      .use(form())
      .use(csrf({ storage, log: false }))
      .run(async (req) => {
        const tokens = [req.csrfToken(), req.csrfToken({ action: '/b' }), req.csrfToken()]
        return [200, {}, (await Promise.all(tokens)).join(' ')]
      })
    const { port } = await serve(t, app)
    const client = new Client(port)
    const [a = '', b = '', c = ''] = (await client.get('/')).body.split(' ')
    t.equal((await send(client, '/', a)).status, 200, storage)
    t.equal((await send(client, '/b', b)).status, 200, storage)
    t.equal((await send(client, '/', c)).status, 200, storage)
  }
})

test('a stack inside map with a session of its own does not change whose token it is', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session({ key: 'a' }))
    .use(form())
    .use(csrf({ log: false }))
    .map('/inner', (inner) => inner.use(session({ key: 'b' })).run(async (req) => [200, {}, await req.csrfToken()]))
    .run()
  const { port } = await serve(t, app)
  const client = new Client(port)
  const token = (await client.get('/inner')).body
  t.equal((await send(client, '/inner', token)).status, 200)
})

test('CSRF-10 a strategy of your own answers the request; one that does not exist cannot be set', async (t) => {
  const { client } = await site(t, { strategy: ({ code }) => [403, {}, `no: ${code}`] })
  const answer = await client.get('/', { method: 'POST' })
  t.match([answer.status, answer.body], [403, 'no: ERR_CSRF'])
  for (const options of [
    { strategy: 'bogus' },
    { tokens: 'sometimes' },
    { storage: 'nowhere' },
    { trustedOrigins: ['https://a.example/path'] },
    { trustedOrigins: ['a.example'] },
    { trustedOrigins: ['https://*.example'] },
    { trustedOrigins: ['https://a.example:443'] },
    { trustedOrigins: 'https://a.example' },
    { skip: true },
    { log: 'console' },
    { parameter: 1 },
  ]) {
    t.throws(() => csrf(options as unknown as CsrfOptions), { code: 'ERR_INVALID_OPTION' }, JSON.stringify(options))
  }
})

test('CSRF-12 a token for one form is good for this form, however its action and method are written', async (t) => {
  const { client, port } = await site(t)
  const token = async (action: string, method = 'post'): Promise<string> =>
    (await client.get(`/form?${new URLSearchParams({ action, method }).toString()}`)).body
  for (const [action, path] of [
    ['', '/form'],
    ['./post_one', '/form/post_one'],
    ['post_one', '/form/post_one'],
    ['post_one?a=b', '/form/post_one'],
    ['post_one#a', '/form/post_one'],
    ['/post_one?a=b', '/post_one?c=d'],
    [`${host(port)}/post_one`, '/post_one/'],
    ['//other.example/post_one', '/post_one'],
    [host(port), '/'],
    ['/café au lait', '/caf%C3%A9%20au%20lait'],
    ['/a%20b', '/a%20b'],
  ] as const) {
    t.equal((await send(client, path, await token(action))).status, 200, action)
    t.equal((await send(client, path, await token(action, 'POST'))).status, 200, `POST ${action}`)
    t.equal((await send(client, `${path.split('?')[0]}x`, await token(action))).status, 422, `${action}, elsewhere`)
  }
  const remove = await token('/orders/5', 'delete')
  t.equal((await send(client, '/orders/5', remove, { method: 'DELETE' })).status, 200)
  t.equal((await send(client, '/orders/5', remove)).status, 422, 'another method')
})

test('a token for one form counts the prefix of map', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .map('/admin', (admin) =>
      admin
        .use(form())
        .use(csrf({ log: false }))
        .run(async (req) => [200, {}, await req.csrfToken({ action: '/admin/save' })]),
    )
    .run()
  const { port } = await serve(t, app)
  const client = new Client(port)
  t.equal((await send(client, '/admin/save', (await client.get('/admin/page')).body)).status, 200)
})

test('CSRF-15 what the browser says of the request comes first', async (t) => {
  const trusted = 'https://trusted.example.com'
  const { client, port } = await site(t, { trustedOrigins: [trusted] })
  await client.get('/login')
  const token = await tokenOf(client)
  const status = async (headers: Record<string, string>, given = ''): Promise<number> =>
    (await send(client, '/', given, { headers })).status
  const own = host(port)
  const foreign = 'https://evil.example'
  const fetched = 'sec-fetch-site'
  t.equal(await status({ [fetched]: 'same-origin' }), 200)
  t.equal(await status({ [fetched]: 'same-origin', origin: 'null' }), 200, 'a no-referrer policy makes Origin null')
  t.equal(await status({ [fetched]: 'cross-site', origin: trusted }), 200)
  t.equal(await status({ [fetched]: 'cross-site', origin: foreign }), 422)
  t.equal(await status({ [fetched]: 'cross-site' }), 422)
  t.equal(await status({ [fetched]: 'cross-site', origin: own }), 422, 'the browser knows better')
  t.equal(await status({ [fetched]: 'cross-site', origin: foreign }, token), 422, 'a token does not help')
  for (const header of [{ [fetched]: 'same-site' }, { [fetched]: 'none' }, { [fetched]: 'bogus' }, {}]) {
    const about = JSON.stringify(header)
    t.equal(await status({ ...header }), 422, about)
    t.equal(await status({ ...header }, token), 200, `${about} with a token`)
    t.equal(await status({ ...header, origin: own }), 200, `${about} from our own origin`)
    t.equal(await status({ ...header, origin: trusted }), 200, `${about} from a trusted origin`)
    t.equal(await status({ ...header, origin: foreign }), 422, `${about} from another origin`)
    t.equal(await status({ ...header, origin: foreign }, token), 200, `${about} from another origin with a token`)
    t.equal(await status({ ...header, origin: 'null' }), 422, `${about} from no origin`)
    t.equal(await status({ ...header, origin: `${own}.evil.example` }), 422, `${about} from a longer name`)
    t.equal(await status({ ...header, origin: `${own}/` }), 422, `${about} from what is no origin`)
  }
})

test('CSRF-15 without tokens a browser that says nothing passes over plain http alone', async (t) => {
  const trusted = 'https://trusted.example.com'
  const tokenless = async (encrypted: boolean): Promise<Client> => {
    const app = new Builder()
      .use((app) => (req) => {
        const forwarded = { scheme: encrypted ? 'https' : 'http', host: 'example.org', address: '192.0.2.1' }
        return app(Object.assign(req, { forwarded }))
      })
      .use(cookies({ secret: SECRET }))
      .use(session())
      .use(csrf({ tokens: false, trustedOrigins: [trusted], log: false }))
      .run(() => [200, {}, 'done'])
    return new Client((await serve(t, app)).port)
  }
  const plain = await tokenless(false)
  const tls = await tokenless(true)
  const status = async (client: Client, headers: Record<string, string>): Promise<number> =>
    (await client.get('/', { method: 'POST', headers })).status
  t.equal(await status(plain, {}), 200)
  t.equal(await status(tls, {}), 422)
  t.equal(await status(tls, { 'sec-fetch-site': 'same-origin' }), 200)
  t.equal(await status(tls, { 'sec-fetch-site': 'none' }), 422)
  t.equal(await status(plain, { 'sec-fetch-site': 'none' }), 422)
  t.equal(await status(tls, { 'sec-fetch-site': 'cross-site', origin: trusted }), 200)
  t.equal(await status(tls, { origin: 'https://example.org' }), 200)
  t.equal(await status(plain, { origin: 'https://example.org' }), 422, 'another scheme is another origin')
  t.equal(await status(plain, { origin: 'http://evil.example' }), 422)
})

test('CSRF-16 the response varies by Sec-Fetch-Site, once, beside what it varied by', async (t) => {
  const { client } = await site(t, { skip: (req) => req.url === '/page' })
  const names = async (path: string): Promise<string[]> =>
    ((await client.get(path)).headers.vary ?? '').toLowerCase().split(', ')
  t.same((await names('/')).filter((name) => name === 'sec-fetch-site').length, 1)
  t.same((await names('/page')).includes('sec-fetch-site'), false, 'but not where nothing is checked')
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(csrf())
    .run(() => [200, { Vary: 'Accept, SEC-FETCH-SITE' }, ''])
  const { port } = await serve(t, app)
  t.equal((await new Client(port).get('/')).headers.vary, 'Accept, SEC-FETCH-SITE')
})

test('CSRF-17 a script is not given to a page that may be of another site', async (t) => {
  const { client, errors } = await site(t, { skip: (req) => req.headers['x-skip'] === '1' })
  t.equal((await client.get('/script.js')).status, 422)
  t.equal((await client.get('/script.js', { headers: { 'sec-fetch-site': 'cross-site' } })).status, 422)
  t.match(errors, [{ code: 'ERR_CSRF' }, { code: 'ERR_CSRF' }])
  t.equal((await client.get('/script.js', { headers: { 'x-requested-with': 'XMLHttpRequest' } })).status, 200)
  t.equal((await client.get('/script.js', { headers: { 'sec-fetch-site': 'same-origin' } })).status, 200)
  t.equal((await client.get('/script.js', { headers: { 'x-skip': '1' } })).status, 200)
  t.equal((await send(client, '/script.js', await tokenOf(client))).status, 200)
})

test('CSRF-17 the body of a script that is refused is closed', async (t) => {
  let closed = false
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(csrf({ log: false }))
    .run(() => {
      function* body(): Generator<string> {
        try {
          yield 'one'
          yield 'two'
        } finally {
          closed = true
        }
      }
      const started = body()
      started.next()
      return [200, { 'content-type': 'application/javascript' }, started]
    })
  const { port } = await serve(t, app)
  t.equal((await new Client(port).get('/')).status, 422)
  t.ok(closed)
})

test('CSRF-18 where protection is skipped a request without a token runs', async (t) => {
  const { client, log } = await site(t, { skip: (req) => req.url?.startsWith('/api/') === true })
  t.equal((await client.get('/api/x', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } })).status, 200)
  t.equal((await client.get('/', { method: 'POST' })).status, 422)
  t.equal(log.length, 1)
})

test('CSRF-20 the token can be kept in a cookie of its own, sealed, hidden from scripts, and lasting', async (t) => {
  const { client } = await site(t, { storage: 'cookie' })
  const page = await client.get('/page')
  t.match(page.cookies, [/^csrf_token=.+; Path=\/; Expires=.+; HttpOnly; SameSite=Lax$/])
  t.equal(page.cookies.length, 1, 'and the session holds none')
  const [token = ''] = page.body.split(' ')
  t.notMatch(decodeURIComponent(client.jar.get('csrf_token') ?? ''), token)
  t.equal((await send(client, '/', token)).status, 200)
  t.equal((await send(client, '/', token)).cookies.length, 0)
  await client.get('/login')
  t.equal((await send(client, '/', token)).status, 422, 'it was of a visitor without a session')
  const signedIn = await tokenOf(client)
  t.equal((await send(client, '/', signedIn)).status, 200)
  client.jar.delete('csrf_token')
  t.equal((await send(client, '/', signedIn)).status, 422)
})

test('a page with a token is kept by no shared cache, and over TLS the cookie of a token is secure', async (t) => {
  const { client } = await site(t, { storage: 'cookie', skip: (req) => req.url === '/page?skipped' })
  for (const path of ['/page', '/page', '/page?skipped']) {
    const page = await client.get(path)
    t.equal(page.headers['cache-control'], 'private', path)
    t.match(page.headers.vary, /cookie/, path)
  }
  t.equal((await client.get('/')).headers['cache-control'], undefined)

  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(csrf({ storage: 'cookie' }))
    .run(async (req) => [200, {}, await req.csrfToken()])
  const { port } = await serveTls(t, app)
  t.match((await askTls(port, '/')).cookies, [/^csrf_token=.+; HttpOnly; Secure; SameSite=Lax$/])
})

test('CSRF-20 a reset of the session deletes the cookie of the token', async (t) => {
  const { client } = await site(t, { storage: 'cookie', strategy: 'resetSession' })
  await client.get('/page')
  t.ok(client.jar.has('csrf_token'))
  t.equal((await client.get('/', { method: 'POST' })).status, 200)
  t.notOk(client.jar.has('csrf_token'))
})

test('CSRF-22 a reset makes the tokens that were issued useless; two of one page are both good', async (t) => {
  const { client } = await site(t)
  await client.get('/login')
  const [first = '', second = ''] = (await client.get('/page')).body.split(' ')
  t.not(first, second)
  t.equal((await send(client, '/', first)).status, 200)
  t.equal((await send(client, '/', second)).status, 200)
  const fresh = (await client.get('/reset')).body
  t.equal((await send(client, '/', first)).status, 422)
  t.equal((await send(client, '/', fresh)).status, 200)
})

test('signing in makes the tokens that were issued before useless', async (t) => {
  const { client } = await site(t, {}, { owner: 'user' })
  const before = await tokenOf(client)
  t.equal((await send(client, '/', before)).status, 200)
  await client.get('/login')
  t.equal((await send(client, '/', before)).status, 422)
  t.equal((await send(client, '/', await tokenOf(client))).status, 200)
})

test('CSRF-23 each refusal is logged once with its reason, or not at all', async (t) => {
  const { client, log } = await site(t)
  await client.get('/', { method: 'POST' })
  t.match(log, [/no valid CSRF token/])
  await client.get('/', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } })
  t.match(log, [/CSRF token/, /^The request comes from another site/])
  t.notMatch(log.join(), 'evil.example')
  const warned: unknown[] = []
  const warn = t.capture(console, 'warn', (...args: unknown[]) => warned.push(...args))
  const quiet = await site(t, { log: false })
  t.equal((await quiet.client.get('/', { method: 'POST' })).status, 422)
  t.equal(warn().length, 0)
  const loud = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(csrf())
    .run(() => [200, {}, ''])
  const { port } = await serve(t, loud)
  await new Client(port).get('/', { method: 'POST' })
  t.match(warned, [/no valid CSRF token/])
})

test('CSRF-23 the field may have another name, and the token a store of its own', async (t) => {
  const tokens = new Map<string, string>()
  const { client } = await site(t, {
    parameter: 'csrf',
    storage: {
      get: () => tokens.get('one'),
      set: (_req, token) => tokens.set('one', token),
      delete: () => tokens.delete('one'),
    },
  })
  const token = await tokenOf(client)
  t.equal(client.jar.size, 0, 'the session holds nothing')
  t.equal(tokens.size, 1)
  const fields = new URLSearchParams({ csrf: token }).toString()
  t.equal((await client.get('/', { method: 'POST', headers: { 'content-type': FORM }, body: fields })).status, 200)
  t.equal((await send(client, '/', token)).status, 422, 'the usual name is not read')
})

test('a request without a session is refused and no session made for it', async (t) => {
  const { client, port } = await site(t)
  const token = await tokenOf(client)
  const stranger = new Client(port)
  const answer = await send(stranger, '/', token)
  t.match([answer.status, answer.cookies], [422, []])
  t.equal(answer.body, 'Unprocessable Entity\n')
})

test('a form that is too large is refused as such', async (t) => {
  const { client } = await site(t)
  await tokenOf(client)
  const answer = await client.get('/', {
    method: 'POST',
    headers: { 'content-type': FORM },
    body: `a=${'x'.repeat(200_000)}`,
  })
  t.equal(answer.status, 413)
})

test('without form() above it the token is taken from the header alone', async (t) => {
  const reasons: string[] = []
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(csrf({ log: (reason) => reasons.push(reason) }))
    .run(async (req) => [200, {}, await req.csrfToken()])
  const { port } = await serve(t, app)
  const client = new Client(port)
  const token = (await client.get('/')).body
  t.equal((await send(client, '/', token)).status, 422)
  t.match(reasons, [/no form\(\) is above csrf\(\)/])
  t.equal((await client.get('/', { method: 'POST', headers: { 'x-csrf-token': token } })).status, 200)
})

test('an app of a phone or an extension can be a trusted origin', async (t) => {
  const origins = ['capacitor://localhost', 'chrome-extension://abcdefghijklmnop']
  const { client } = await site(t, { trustedOrigins: origins })
  for (const origin of origins) {
    t.equal(
      (await client.get('/', { method: 'POST', headers: { origin, 'sec-fetch-site': 'cross-site' } })).status,
      200,
    )
  }
})

test('a token in a cookie needs a secret, and that is said when the stack is built', (t) => {
  const stack = new Builder().use(cookies()).use(session({ store: new MemoryStore() }))
  t.throws(() => stack.use(csrf({ storage: 'cookie' })), { code: 'ERR_SECRET_MISSING' })
  t.end()
})

test('a token for one form is good where a framework has mounted the stack', async (t) => {
  const app = express()
  const stack = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(form())
    .use(csrf({ log: false }))
  app.use('/admin', toConnect(stack), async (req, res) => {
    res.send(await (req as unknown as RequestOf<typeof stack>).csrfToken({ action: '/admin/posts' }))
  })
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const client = new Client((server.address() as AddressInfo).port)
  t.equal((await send(client, '/admin/posts', (await client.get('/admin/posts/new')).body)).status, 200)
})

test('csrf() needs a session above it', (t) => {
  const stack = new Builder().use(cookies({ secret: SECRET }))
  // @ts-expect-error: needs, above it, the layer that adds req.session
  t.throws(() => stack.use(csrf()), { code: 'ERR_STACK_ORDER', message: /req\.session/ })
  t.end()
})
