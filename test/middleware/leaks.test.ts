import { Channel } from 'node:diagnostics_channel'
import Database from 'better-sqlite3'
import expressSession from 'express-session'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { format, inspect } from 'node:util'
import { test, type Test } from 'tap'
import {
  Builder,
  conditionalGet,
  cookies,
  CookieStore,
  csrf,
  flash,
  form,
  forwarded,
  ironSealer,
  KeyGenerator,
  lint,
  MemoryStore,
  MessageEncryptor,
  MessageVerifier,
  methodOverride,
  rackSealer,
  railsSealer,
  requestId,
  session,
  SessionId,
  sessionFor,
  showExceptions,
  toConnect,
  toListener,
  type RequestOf,
  type SessionStore,
} from '../../lib/index.ts'
import * as channels from '../../lib/channels.ts'
import * as errors from '../../lib/errors.ts'
import { Keyring } from '../../lib/keyring.ts'
import { MockRequest, type MockInit } from '../../lib/testing.ts'
import { ExpressSessions, ExpressStore } from '../../stores/express-store.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { checkRoom } from '../../lib/signed-in.ts'
import { memcached } from '../memcached.ts'
import { CLIENT, openIdScene, Visitor as Person } from '../openid-scene.ts'
import { clientOf, startRedis } from '../redis.ts'
import { ask as askServer, askRaw, serve } from '../server.ts'
import { newFile } from '../stores/sqlite-file.ts'

/** No one of them is a part of another, and the bytes of the first two begin as nothing else does. */
const PLANTED = {
  secret: 'secret-planted-0123456789-0123456789-0123456789-0123456789-01234567',
  password: 'password-planted-0123456789-0123456789-0123456789',
  'store password': 'planted-store-password',
  data: 'planted-data',
  owner: 'planted-owner',
  flash: 'planted-flash',
  'cookie value': 'planted-cookie',
  'form field': 'planted-field',
}

const { secret: SECRET, password: PASSWORD } = PLANTED

/** What was shown, and where; and what must not be in it. */
class Search {
  readonly #shown: [where: string, text: string][] = []
  /** The classes of the errors that were shown, by any search. */
  static readonly classes = new Set<string>()
  readonly #markers = new Map<string, string>(Object.entries(PLANTED).map(([name, marker]) => [marker, name]))

  constructor() {
    for (const [name, secret] of Object.entries({ secret: SECRET, password: PASSWORD })) this.plantBytes(name, secret)
    const keys = new KeyGenerator(SECRET)
    for (const salt of ['authenticated encrypted cookie', 'signed cookie', 'encrypted cookie']) {
      this.plantBytes(`key of the salt "${salt}"`, keys.generateKey(salt, 32))
    }
  }

  get size(): number {
    return this.#shown.length
  }

  plant(name: string, marker: unknown): void {
    if (typeof marker === 'string' && marker.length > 8) this.#markers.set(marker, name)
  }

  /** Also as `inspect` shows bytes, and as they are printed. */
  plantBytes(name: string, bytes: string | Uint8Array): void {
    const start = Buffer.from(bytes).subarray(0, 8)
    this.plant(name, start.toString('hex'))
    this.plant(name, start.toString('hex').replaceAll(/..(?!$)/g, '$& '))
    this.plant(name, [...start].join(', '))
    this.plant(name, [...start].join(','))
    this.plant(name, Buffer.from(bytes).subarray(0, 9).toString('base64'))
  }

  /** All that a log could show of a value. */
  show(where: string, value: unknown): void {
    const options = { depth: 12, showHidden: true, showProxy: true, maxArrayLength: 200, maxStringLength: 100_000 }
    const texts = [
      inspect(value, options),
      inspect(value),
      format('%s %o %O', value, value, value),
      // as console.dir has it, and whoever wants to see more
      inspect(value, { ...options, customInspect: false }),
      inspect(value, { ...options, showHidden: false, getters: true }),
    ]
    // what has no JSON or text shows nothing by it
    for (const show of [JSON.stringify, String, (all: unknown) => format('%j', all)]) {
      try {
        texts.push(show(value) ?? '')
      } catch {}
    }
    this.#walk(value, texts, new Set())
    this.#shown.push([where, texts.join('\n')])
  }

  /** Errors with all that hangs on them, as loggers do that know them by their properties. */
  #walk(value: unknown, texts: string[], seen: Set<unknown>): void {
    if (!(value instanceof Error) || seen.has(value)) return
    seen.add(value)
    Search.classes.add(value.constructor.name)
    texts.push(String(value), value.message, value.stack ?? '')
    for (const key of Reflect.ownKeys(value)) {
      const held = (value as unknown as Record<PropertyKey, unknown>)[key]
      texts.push(inspect(held, { depth: 12, showHidden: true }))
      for (const one of Array.isArray(held) ? (held as unknown[]) : [held]) this.#walk(one, texts, seen)
    }
  }

  /** What was shown and must not be, without showing it here. */
  leaks(): string[] {
    const leaks = new Set<string>()
    for (const [where, text] of this.#shown) {
      for (const [marker, name] of this.#markers) if (text.includes(marker)) leaks.add(`${where}: ${name}`)
    }
    return [...leaks]
  }
}

/** Hears warnings, the console and the channels until the test ends. */
function listen(t: Test, search: Search): { heard: Set<string> } {
  const heard = new Set<string>()
  const methods = ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir'] as const
  const before = methods.map((method) => console[method])
  for (const method of methods) {
    console[method] = (...args: unknown[]): void => {
      heard.add(`console.${method}`)
      for (const arg of args) search.show(`console.${method}`, arg)
    }
  }
  const emitWarning = process.emitWarning.bind(process)
  process.emitWarning = (...args: unknown[]): void => {
    const [text, options] = args as [string | Error, { code?: string } | undefined]
    const code = options?.code ?? 'a warning'
    heard.add(code)
    search.show(`warning ${code}`, text)
    search.show(`warning ${code}`, options)
  }
  // the request itself is node's, and shown elsewhere
  const onMessage = (message: unknown, name: string | symbol): void => {
    const { req: _, ...rest } = message as { req?: unknown; outcome?: string }
    heard.add(`${String(name)} ${rest.outcome}`.replace(/^luggage-rack:(session:)?/, ''))
    search.show(`channel ${String(name)}`, rest)
  }
  const all: Channel[] = Object.values(channels).flatMap((one) =>
    one instanceof Channel ? [one] : [one.start, one.end, one.asyncStart, one.asyncEnd, one.error],
  )
  for (const channel of all) channel.subscribe(onMessage)
  t.teardown(() => {
    methods.forEach((method, i) => (console[method] = before[i] as typeof console.log))
    process.emitWarning = emitWarning
    for (const channel of all) channel.unsubscribe(onMessage)
  })
  return { heard }
}

interface Data {
  userId: string
  secretOfTheirs: unknown
  nested: { deep: unknown }
  [key: string]: unknown
}

/** Every layer over a store, with a page for each error that can be provoked. */
function stackOn(store: SessionStore, search: Search, onStoreError: 'throw' | 'anonymous' = 'throw') {
  return (
    new Builder()
      .use(requestId())
      .use(
        showExceptions({
          details: true,
          onError: (error) => search.show('an error of the stack', error),
        }),
      )
      // also those that are the client's fault, of which nobody else hears
      .use((app) => async (req) => {
        try {
          return await app(req)
        } catch (error) {
          search.show('an error on its way', error)
          throw error
        }
      })
      .use(lint())
      .use(conditionalGet())
      .use(forwarded({ trust: 'loopback' }))
      .use(cookies({ secret: SECRET, legacy: true, retired: [{ keyDigest: 'SHA1' }] }))
      .use(session<Data>({ store, owner: 'userId', onStoreError }))
      .use(flash())
      .use(form({ limit: 1000 }))
      .use(methodOverride())
      .use(csrf())
      .run(async (req) => {
        const { pathname } = new URL(req.url ?? '/', 'http://localhost')
        const showAll = (when: string): void => {
          // the headers of a request are node's own, and what the application reads of a hash is its data
          const own = /^(headers|rawHeaders|headersDistinct|socket|client)$/
          const added = Object.fromEntries(Object.entries(req).filter(([name]) => !own.test(name)))
          search.show(`req ${when}`, added)
          for (const name of ['session', 'cookies', 'flash', 'form', 'csrfToken', 'forwarded'] as const) {
            search.show(`req.${name} ${when}`, req[name])
          }
          for (const name of ['signed', 'encrypted', 'permanent'] as const) {
            search.show(`req.cookies.${name} ${when}`, req.cookies[name])
          }
          search.show(`req.session.options ${when}`, req.session.options)
          // a visitor without a cookie: then node's own part holds nothing either
          if (req.headers.cookie === undefined) search.show(`the whole req ${when}`, req)
        }
        showAll('before the session is loaded')
        if (pathname === '/handle') Object.assign(req.session, { secretOfTheirs: PLANTED.data })
        if (pathname === '/late') {
          const late = req.session
          const { cookies: jar } = req
          const hash = await late
          setImmediate(() => {
            for (const write of [
              () => (hash.secretOfTheirs = PLANTED.data),
              () => late.reset(),
              () => jar.set('planted', PLANTED['cookie value']),
            ]) {
              try {
                write()
                search.show('late', 'nothing was thrown')
              } catch (error) {
                search.show('a write after the commit', error)
              }
            }
          })
          return [200, {}, 'late']
        }
        const hash = await req.session
        const token = await req.csrfToken()
        search.plant('CSRF token, masked', token)
        search.plant('CSRF token', hash['_csrf_token'])
        hash.userId ??= PLANTED.owner
        hash.secretOfTheirs ??= PLANTED.data
        hash.nested ??= { deep: [PLANTED.data] }
        const notes = await req.flash
        notes.notice = PLANTED.flash
        req.flash.now.alert = PLANTED.flash
        search.plant('public id', req.session.id)
        showAll('when the session is loaded')
        switch (pathname) {
          case '/date':
            hash.nested.deep = { text: PLANTED.data, when: new Date() }
            break
          case '/symbol':
            hash.secretOfTheirs = Symbol(PLANTED.data)
            break
          case '/function':
            hash.secretOfTheirs = { deep: [() => PLANTED.data] }
            break
          case '/bigint':
            req.cookies.encrypted.set('planted', { text: PLANTED.data, big: 1n })
            break
          case '/half':
            hash.secretOfTheirs = `${PLANTED.data}\u{D800}`
            break
          case '/cycle': {
            const cycle: unknown[] = [PLANTED.data]
            cycle.push(cycle)
            hash.secretOfTheirs = cycle
            break
          }
          case '/reserved':
            hash['session_id'] = PLANTED.data
            break
          case '/flash':
            notes.notice = { toString: () => PLANTED.flash, deep: Symbol(PLANTED.flash) } as never
            break
          case '/large':
            hash.secretOfTheirs = PLANTED.data.repeat(1000)
            break
          case '/large-cookie':
            req.cookies.signed.set('planted', PLANTED['cookie value'].repeat(1000))
            break
          case '/cookie-half':
            req.cookies.set('planted', `${PLANTED['cookie value']}\u{D800}`)
            break
          case '/cookie-path':
            req.cookies.set('planted', PLANTED['cookie value'], { path: 'a;b' })
            break
          case '/cookie-domain':
            req.cookies.set('planted', PLANTED['cookie value'], { domain: 'a b' })
            break
          case '/cookie-secure':
            req.cookies.set('planted', PLANTED['cookie value'], { secure: true })
            break
          case '/cookies':
            req.cookies.set('plain', PLANTED['cookie value'])
            req.cookies.signed.set('signed', PLANTED['cookie value'])
            req.cookies.permanent.encrypted.set('encrypted', { text: PLANTED['cookie value'] })
            showAll('when cookies are written')
            break
          case '/destroyed':
            req.session.destroy()
            hash.secretOfTheirs = PLANTED.data
            break
          case '/renew':
            req.session.renew()
            break
          case '/reset':
            search.show('the hash of reset()', Object.keys(req.session.reset()))
            break
          case '/expire':
            hash.secretOfTheirs = 'another value'
            req.session.options.expireAfter = -1
            break
          case '/form': {
            const fields = await req.form()
            return [200, {}, String(fields.size)]
          }
          case '/response':
            return [200, {}, { [PLANTED.data]: PLANTED.data }] as never
          case '/header':
            return [200, { 'x-planted': `${PLANTED.data}\n` }, '']
          case '/set-cookie':
            return [200, { 'set-cookie': `a=${PLANTED['cookie value']}; path=/; path=/` }, '']
          case '/set-cookie-nameless':
            return [200, { 'set-cookie': `${PLANTED['cookie value']}; path=/` }, '']
          case '/set-cookie-prefixed':
            return [200, { 'set-cookie': `__Host-a=${PLANTED['cookie value']}; path=/a` }, '']
          case '/set-cookie-twice':
            return [200, { 'set-cookie': [1, `a=${PLANTED['cookie value']}`] as never }, '']
          case '/several':
            throw new AggregateError([await failureOf(() => req.cookies.set('planted', 5 as never))], 'several')
          case '/chunk':
            return [200, {}, [{ text: PLANTED.data }]] as never
          case '/public':
            return [200, { 'cache-control': 'public' }, 'for all']
          default:
        }
        return [200, {}, 'done']
      })
  )
}

const PAGES =
  '/ /cookies /date /symbol /function /bigint /half /cycle /reserved /flash /large /large-cookie /cookie-half ' +
  '/cookie-path /cookie-domain /cookie-secure /handle /late /expire /response /header /set-cookie ' +
  '/set-cookie-nameless /set-cookie-prefixed /set-cookie-twice /several /chunk /public /renew / /reset / /destroyed'

type Visitor = ReturnType<MockRequest['client']>

async function failureOf(run: () => unknown): Promise<unknown> {
  try {
    await run()
    return undefined
  } catch (error) {
    return error
  }
}

/** Asks for a page, and searches what a failure shows of it. */
async function ask(visitor: Visitor, search: Search, method: string, path: string, init?: MockInit): Promise<void> {
  try {
    const { status, headers, body } = await visitor.request(method, path, init)
    if (status >= 400) search.show(`the page of the error at ${path}`, [headers, body])
  } catch (error) {
    search.show(`the error at ${path}`, error)
  }
  for (const { name, value } of visitor.cookies) {
    if (value !== '') search.plant(`value of the cookie ${name}`, value)
  }
}

async function visit(app: ReturnType<typeof stackOn>, search: Search, url = 'http://localhost'): Promise<void> {
  const mock = new MockRequest(app, { url })
  const visitor = mock.client()
  search.show('MockRequest', mock)
  for (const page of PAGES.split(' ')) {
    // oxlint-disable-next-line no-await-in-loop -- one request after the other
    await ask(visitor, search, 'GET', page)
    search.show('MockClient', visitor)
    search.show('BrowserJar', visitor.cookies)
  }
  const fields = new URLSearchParams({ authenticity_token: PLANTED['form field'], text: PLANTED['form field'] })
  await ask(visitor, search, 'POST', '/form', { body: fields })
  await ask(visitor, search, 'POST', '/form', { json: { text: PLANTED['form field'] } })
  const own = { 'sec-fetch-site': 'same-origin' }
  await ask(visitor, search, 'POST', '/form', { body: fields, headers: own })
  await ask(visitor, search, 'GET', '/date', { headers: { accept: 'text/html' } })
  await ask(visitor, search, 'POST', '/form', {
    body: `a=${PLANTED['form field'].repeat(200)}`,
    headers: { ...own, 'content-type': 'application/x-www-form-urlencoded' },
  })
  await ask(visitor, search, 'POST', '/form', {
    body: PLANTED['form field'],
    headers: { ...own, 'content-type': 'application/x-www-form-urlencoded', 'content-encoding': 'gzip' },
  })
  await ask(visitor, search, 'POST', '/form', {
    body: fields,
    headers: { 'sec-fetch-site': 'cross-site', 'x-csrf-token': PLANTED['form field'] },
  })
  // what was tampered with
  const cookie = [...visitor.cookies].map(({ name, value }) => `${name}=${value.replace(/^./, 'A')}`).join('; ')
  await ask(mock.client(), search, 'GET', '/', { headers: { cookie: `${cookie}; planted=${PLANTED['cookie value']}` } })
}

const stores: Record<string, (t: Test) => SessionStore | Promise<SessionStore>> = {
  'CookieStore, Rails': () => new CookieStore(),
  'CookieStore, iron-session': () => new CookieStore({ sealer: ironSealer({ password: PASSWORD }) }),
  'CookieStore, h3': () => new CookieStore({ sealer: ironSealer({ password: { 1: PASSWORD }, form: 'h3' }) }),
  'CookieStore, Rack': () => new CookieStore({ sealer: rackSealer({ secret: SECRET }) }),
  'CookieStore, several': () =>
    new CookieStore({ sealer: [railsSealer({ secret: SECRET }), ironSealer({ password: PASSWORD })] }),
  MemoryStore: () => new MemoryStore(),
  SqliteStore: (t) => {
    const store = new SqliteStore({ filename: ':memory:', sweepEvery: 0 })
    t.teardown(() => store.close())
    return store
  },
  ExpressStore: () => new ExpressStore(new expressSession.MemoryStore()),
  RedisStore: async (t) => {
    const password = PLANTED['store password']
    const { port } = await startRedis(t, '--requirepass', password)
    const store = new RedisStore({ url: `redis://:${password}@127.0.0.1:${port}` })
    t.teardown(() => store.close())
    return store
  },
  MemcachedStore: async (t) => {
    const store = new MemcachedStore({ servers: (await memcached(t)).server })
    t.teardown(() => store.close())
    return store
  },
}

for (const [name, make] of Object.entries(stores)) {
  test(`${name}: no error, warning, log, channel or inspected object shows a secret, an id or what is kept`, async (t) => {
    const search = new Search()
    const { heard } = listen(t, search)
    const store = await make(t)
    const app = stackOn(store, search)
    await visit(app, search)
    // in the clear, from elsewhere, a session is not saved
    await new MockRequest(app, { url: 'http://planted.example' }).get('/')
    search.show('the store', store)
    search.show('the app', app)
    search.show('the listener', toListener(app))
    t.ok(search.size > 300, `${search.size} things were shown`)
    for (const event of ['load found', 'commit created', 'commit renewed', 'console.warn'])
      t.ok(heard.has(event), event)
    t.same(search.leaks(), [])
  })
}

test('a store that fails, or holds what is no session, shows nothing of it', async (t) => {
  const search = new Search()
  const { heard } = listen(t, search)
  const filename = newFile(t)
  const sqlite = new SqliteStore({ filename, sweepEvery: 0 })
  t.teardown(() => sqlite.close())
  const database = new Database(filename)
  t.teardown(() => database.close())
  const express = new expressSession.MemoryStore()
  const rows = (express as unknown as { sessions: Record<string, string> }).sessions

  for (const [store, spoil] of [
    [sqlite, () => database.exec(`UPDATE sessions SET data = '{"a": ${PLANTED.data}'`)],
    [sqlite, () => database.exec(`UPDATE sessions SET data = '"${PLANTED.data}"'`)],
    [sqlite, () => database.exec('DROP TABLE sessions')],
    [
      new ExpressStore(express),
      () => Object.keys(rows).forEach((id) => (rows[id] = `{"cookie": {}, "a": ${PLANTED.data}`)),
    ],
    [
      new ExpressStore(express),
      () => Object.keys(rows).forEach((id) => (rows[id] = JSON.stringify({ cookie: {}, data: PLANTED.data }))),
    ],
  ] as const) {
    for (const onStoreError of ['throw', 'anonymous'] as const) {
      const app = stackOn(store, search, onStoreError)
      const visitor = new MockRequest(app).client()
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await ask(visitor, search, 'GET', '/')
      spoil()
      for (const page of ['/', '/late', '/reset', '/destroyed']) {
        // oxlint-disable-next-line no-await-in-loop
        await ask(visitor, search, 'GET', page)
      }
      search.show('the store', store)
      if (store === sqlite && spoil.toString().includes('DROP')) break
    }
  }
  t.ok(heard.has('load failed'))
  t.same(search.leaks(), [])
})

test('a Redis that refuses, or is gone, shows nothing of what it was asked', async (t) => {
  const search = new Search()
  const { heard } = listen(t, search)
  const server = await startRedis(t)
  const client = clientOf(t, server)
  const store = new RedisStore({ client, deadline: 300 })
  const records = async (): Promise<string[]> => client.keys('*2::*')
  for (const spoil of [
    async () => client.mset(Object.fromEntries((await records()).map((key) => [key, PLANTED.data]))),
    async () => client.config('SET', 'maxmemory', '1'),
    async () => {
      for (const key of await records()) await client.hset(key, 'created', PLANTED.data, ':a', PLANTED.data)
    },
    async () => {
      for (const key of await records()) await client.hset(key, ':secretOfTheirs', `{"${PLANTED.data}`)
    },
    async () => server.kill(),
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await client.flushall()
    // oxlint-disable-next-line no-await-in-loop
    await client.config('SET', 'maxmemory', '0')
    const visitor = new MockRequest(stackOn(store, search)).client()
    // oxlint-disable-next-line no-await-in-loop
    await ask(visitor, search, 'GET', '/')
    // oxlint-disable-next-line no-await-in-loop
    await spoil()
    for (const page of ['/', '/reset', '/destroyed']) {
      // oxlint-disable-next-line no-await-in-loop
      await ask(visitor, search, 'GET', page)
    }
    // oxlint-disable-next-line no-await-in-loop
    await ask(new MockRequest(stackOn(store, search)).client(), search, 'GET', '/')
  }
  const bare = await startRedis(t, '--rename-command', 'EVALSHA', '')
  const disabled = new RedisStore({ client: clientOf(t, bare) })
  await ask(new MockRequest(stackOn(disabled, search)).client(), search, 'GET', '/')
  const stranger = new RedisStore({ url: `redis://:${PLANTED['store password']}@127.0.0.1:1`, deadline: 300 })
  t.teardown(() => stranger.close())
  await Promise.resolve(stranger.sessionsOf(1)).catch((error: unknown) => search.show('a wrong address', error))
  t.ok(heard.has('load failed'))
  t.same(search.leaks(), [])
})

test('a store for express-session on a client that tells what it was asked, shows nothing of it', async (t) => {
  const search = new Search()
  listen(t, search)
  const client = clientOf(t, await startRedis(t))
  const store = new ExpressStore({
    get: async (id) => JSON.parse((await client.get(id)) ?? 'null') as unknown,
    set: async (id, value) => client.set(id, JSON.stringify(value)),
    destroy: async (id) => client.del(id),
  })
  let told = 0
  const failing: string[] = []
  for (const onStoreError of ['throw', 'anonymous'] as const) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await client.config('SET', 'maxmemory', '0')
    const visitor = new MockRequest(stackOn(store, search, onStoreError)).client()
    // oxlint-disable-next-line no-await-in-loop
    await ask(visitor, search, 'GET', '/')
    // oxlint-disable-next-line no-await-in-loop
    await client.config('SET', 'maxmemory', '1')
    for (const page of ['/', '/renew', '/cookies', '/reset']) {
      // oxlint-disable-next-line no-await-in-loop
      const { status } = await visitor.get(page)
      if (status === 500) failing.push(page)
      told++
    }
  }
  t.equal(told, 8)
  t.ok(failing.includes('/renew'))
  const raw = await client.set('key', PLANTED.data).catch((error: unknown) => error)
  t.match(inspect(raw), PLANTED.data, 'as it comes, the error of the client shows it')
  t.same(search.leaks(), [])
})

test('errors of stores that are late, locked, or have no room for a session show nothing of it', async (t) => {
  const search = new Search()
  listen(t, search)
  const filename = newFile(t)
  const sqlite = new SqliteStore({ filename, sweepEvery: 0, deadline: 0 })
  const other = new Database(filename)
  const cache = new MemcachedStore({ servers: (await memcached(t)).server })
  t.teardown(() => {
    sqlite.close()
    other.close()
    cache.close()
  })
  const late = new ExpressStore({ get() {}, set() {}, destroy() {} }, { deadline: 1 })
  other.exec('BEGIN IMMEDIATE')
  const sid = SessionId.generate()
  search.plant('public id', sid.publicId)
  const data = { text: PLANTED.data.repeat(100_000) }
  const how = {
    create: true,
    changes: 'all',
    createdAt: 0,
    expiresAt: Date.now() + 1e6,
    extend: false,
    owner: PLANTED.owner,
  } as const
  for (const [store, code] of [
    [sqlite, 'ERR_STORE_LOCKED'],
    [cache, 'ERR_STORE_TOO_LARGE'],
    [late, 'ERR_STORE_TIMEOUT'],
  ] as const) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const error = await failureOf(() => store.writeSession({} as IncomingMessage, sid, data, how))
    t.match(error, { code })
    search.show(code, error)
  }
  t.same(search.leaks(), [])
})

test('what is printed where nobody listens to errors shows nothing either', async (t) => {
  const search = new Search()
  const { heard } = listen(t, search)
  const stack = new Builder().use(cookies({ secret: SECRET })).use(session<Data>({ store: new MemoryStore() }))
  const change = async (req: RequestOf<typeof stack>): Promise<void> => {
    const hash = await req.session
    hash.nested = { deep: [PLANTED.data] }
    search.plant('public id', req.session.id)
    // a change in place that is found at the commit
    ;(hash.nested.deep as unknown[]).push(1n)
  }
  const listener = toListener(
    stack.run(async (req) => {
      if (req.url === '/chunk') return [200, {}, [{ text: PLANTED.data }]] as never
      if (req.url === '/triple') return { text: PLANTED.data } as never
      await change(req)
      return [200, {}, PLANTED.data]
    }),
  )
  const connected = toConnect(stack)
  search.show('toConnect', connected)
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    await change(req as RequestOf<typeof stack>)
    res.setHeader('set-cookie', `a=${PLANTED['cookie value']}`)
    res.end(PLANTED.data)
  }
  const server = createServer((req, res) => {
    if (req.url !== '/connect') return listener(req, res)
    connected(req, res, (error) => {
      // nobody to pass it on to: then it is printed
      if (error) throw error as Error
      void answer(req, res)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())))
  const { port } = server.address() as AddressInfo
  for (const path of ['/', '/chunk', '/triple', '/connect']) {
    heard.clear()
    // oxlint-disable-next-line no-await-in-loop -- each prints for itself
    const { status, headers, body } = await askServer(port, path)
    t.equal(status, 500)
    search.show('the page of an error', [headers, body])
    t.ok(heard.has('console.error'), path)
  }
  t.same(search.leaks(), [])
})

test('a form that breaks off, or was read by another, shows nothing of it', async (t) => {
  const search = new Search()
  listen(t, search)
  let failures = 0
  let shown: () => void = () => {}
  const isShown = new Promise<void>((resolve) => (shown = resolve))
  const app = new Builder().use(form()).run(async (req) => {
    if (req.url === '/taken') {
      req.resume()
      await once(req, 'end')
    }
    search.show(`the form of ${req.url}`, await failureOf(() => req.form()))
    failures++
    if (req.url === '/broken') shown()
    return [200, {}, '']
  })
  const { port } = await serve(t, app)
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const body = `text=${PLANTED['form field']}`
  await askServer(port, '/taken', { method: 'POST', headers, body })
  const head = `POST /broken HTTP/1.1\r\nhost: x\r\ncontent-type: ${headers['content-type']}\r\ncontent-length: 900`
  await askRaw(port, `${head}\r\n\r\n${body}`)
  await isShown
  t.equal(failures, 2)
  t.same(search.leaks(), [])
})

test('what goes wrong on the way to a provider and back shows no token, and nothing of who signs in', async (t) => {
  const search = new Search()
  const { heard } = listen(t, search)
  const scene = await openIdScene(t, {
    store: new MemoryStore(),
    openid: {
      endWithToken: true,
      keep: ['id_token', 'access_token', 'refresh_token'],
      scope: 'openid profile email offline_access',
      params: { prompt: 'consent' },
      log: undefined,
    },
    provider: { grants: ['authorization_code', 'refresh_token'] },
  })
  search.plant('client secret', CLIENT.clientSecret)
  const visitor = new Person()
  const address = new URL(await scene.begin(visitor))
  for (const name of ['state', 'nonce', 'code_challenge']) search.plant(name, address.searchParams.get(name))
  const back = new URL(await visitor.signInAt(address.href))
  search.plant('code', back.searchParams.get('code'))
  const forged = new URL(back)
  forged.searchParams.set('iss', 'https://evil.example')
  await visitor.get(forged.href)
  await visitor.get(back.href)
  await scene.signIn(visitor)
  const { credentials, info } = scene.heard.at(-1) as (typeof scene.heard)[0]
  for (const token of [credentials.id_token, credentials.token, credentials.refresh_token]) search.plant('token', token)
  search.plant('name', info.name)
  await visitor.get(`${scene.url}/logout?to=https://evil.example/`)
  await scene.provider.close()
  scene.wait(3 * 3600)
  await visitor.get(`${scene.url}/read`)
  await visitor.post(`${scene.url}/auth/oauth2`)
  for (const error of scene.errors) search.show('an error of the stack', error)
  search.show(
    'too large',
    await failureOf(() => checkRoom({ provider: 'a', uid: 'b', id_token: PLANTED.data.repeat(999) })),
  )
  t.same(
    scene.errors.map((error) => (error as { code?: string }).code),
    ['ERR_RETURN_ADDRESS', 'ERR_PROVIDER_UNAVAILABLE'],
  )
  t.ok(heard.has('console.warn'))
  t.ok(heard.has('sign-in failed'))
  t.same(search.leaks(), [])
})

test('a memcached that is gone, shows nothing of it', async (t) => {
  const search = new Search()
  listen(t, search)
  const strange = `planted:${PLANTED['store password']}@127.0.0.1:1`
  const store = new MemcachedStore({ servers: strange, deadline: 300 })
  t.teardown(() => store.close())
  search.show('the store', store)
  search.plant('public id', '0123456789abcdef0123456789abcdef')
  const sid = new SessionId('0123456789abcdef0123456789abcdef')
  const req = {} as IncomingMessage
  let refused = 0
  for (const call of [
    () => store.findSession(req, sid),
    () =>
      store.writeSession(
        req,
        sid,
        { text: PLANTED.data },
        {
          create: true,
          changes: 'all',
          createdAt: 0,
          expiresAt: Date.now() + 1e6,
          extend: false,
          owner: PLANTED.owner,
        },
      ),
    () => store.deleteSession(req, sid, { markUntil: Date.now() + 1e6 }),
  ]) {
    try {
      // oxlint-disable-next-line no-await-in-loop
      await call()
    } catch (error) {
      refused++
      search.show('an error of the store', error)
    }
  }
  t.equal(refused, 3)
  t.same(search.leaks(), [])
})

test('what the search is to find, it finds', (t) => {
  const search = new Search()
  const id = SessionId.generate().publicId
  search.plant('public id', id)
  class Holder {
    readonly #hidden = PLANTED.owner
    readonly open = Buffer.from(SECRET)
    get hidden(): string {
      return this.#hidden
    }
  }
  search.show('a cause', new Error('failed', { cause: new Error(`of ${PLANTED.data}`) }))
  search.show('a property of an error', Object.assign(new Error('failed'), { sid: { id } }))
  search.show('bytes', new Holder())
  search.show(
    'a hidden property',
    Object.defineProperty({}, 'key', { value: new KeyGenerator(SECRET).generateKey('signed cookie', 32) }),
  )
  search.show('a text', `a=${PLANTED['cookie value']}`)
  t.same(search.leaks(), [
    'a cause: data',
    'a property of an error: public id',
    'bytes: secret',
    'a hidden property: key of the salt "signed cookie"',
    'a text: cookie value',
  ])
  t.end()
})

test('an error of the configuration shows no secret, and no key', (t) => {
  const search = new Search()
  const short = 'planted-secret'
  search.plant('short secret', short)
  const refused: Record<string, () => unknown> = {
    'a secret too short': () => cookies({ secret: short }),
    'a retired secret too short': () => cookies({ secret: [SECRET, short] }),
    'a secret of another type': () => cookies({ secret: { SECRET } as never }),
    'a secret in a list of another type': () => cookies({ secret: [SECRET, { SECRET }] as never }),
    'another digest': () => cookies({ secret: SECRET, keyDigest: 'MD5' as never }),
    'other rounds': () => cookies({ secret: SECRET, keyIterations: -1 }),
    'retired settings': () => cookies({ secret: SECRET, retired: [SECRET] as never }),
    'retired secret': () => cookies({ secret: SECRET, retired: [{ secret: short }] }),
    'a password too short': () => ironSealer({ password: short }),
    'a password in a map too short': () => ironSealer({ password: { 1: PASSWORD, 2: short } }),
    'a bad id of a password': () => ironSealer({ password: { [' *']: PASSWORD } }),
    'a password of another type': () => ironSealer({ password: [PASSWORD] as never }),
    'a form': () => ironSealer({ password: PASSWORD, form: PASSWORD as never }),
    'a secret of Rack too short': () => rackSealer({ secret: short }),
    'a secret of Rack of another type': () => rackSealer({ secret: { SECRET } as never }),
    'a key of another length': () => new MessageEncryptor(Buffer.from(SECRET)),
    'a text for a key': () => new MessageEncryptor(SECRET as never),
    'no keys': () => new MessageEncryptor([]),
    'a text for a key of the verifier': () => new MessageVerifier(SECRET as never, { digest: SECRET as never }),
    'rounds of a key': () => new KeyGenerator(SECRET, { iterations: 0 }).generateKey('salt'),
    'the digest of a key': () => new KeyGenerator(SECRET, { digest: 'MD0' as never }).generateKey('salt'),
    'the length of a key': () => new KeyGenerator(SECRET).generateKey('salt', -1),
    'a secret of another type for a key': () => new KeyGenerator({ SECRET } as never).generateKey('salt'),
    'a value that is not JSON': () =>
      new MessageEncryptor(Buffer.from(SECRET).subarray(0, 32)).encryptAndSign({ text: PLANTED.data, big: 1n }),
    'a sealer that is none': () => new CookieStore({ sealer: { password: PASSWORD } as never }),
    'a store that is none': () => session({ store: { password: PASSWORD } as never }),
    'retired cookies': () => session({ retired: [{ store: { password: PASSWORD } }] as never }),
    'no cookies': () => new Builder().use(session() as never).run(() => [200, {}, '']),
    'no secret': () =>
      new Builder()
        .use(cookies())
        .use(session())
        .run(() => [200, {}, '']),
    'an express-session store': () => new ExpressStore({ password: PASSWORD } as never),
    'sessions of express-session': () =>
      new ExpressSessions({ store: new expressSession.MemoryStore(), secret: [SECRET, 1] as never }),
    'a url of Redis': () => new RedisStore({ url: `planted:${PLANTED['store password']}` }),
    'a time of Redis': () => new RedisStore({ url: `redis://:${PLANTED['store password']}@127.0.0.1:1`, ttl: -1 }),
    'a prefix of memcached': () =>
      new MemcachedStore({ servers: `planted:${PLANTED['store password']}@localhost`, prefix: ' ' }),
    'a time of memcached': () =>
      new MemcachedStore({ servers: `planted:${PLANTED['store password']}@localhost`, ttl: -1 }),
    'a server of memcached': () =>
      new MemcachedStore({ servers: [`planted:${PLANTED['store password']}@localhost:x y`, ''] }),
  }
  for (const [name, build] of Object.entries(refused)) {
    try {
      search.show(`${name} (not refused)`, build())
    } catch (error) {
      search.show(name, error)
    }
  }
  t.ok(search.size === Object.keys(refused).length)
  t.same(search.leaks(), [])
  t.end()
})

test('what holds a key or an id shows neither when it is inspected', async (t) => {
  const search = new Search()
  const key = new KeyGenerator(SECRET).generateKey('authenticated encrypted cookie', 32)
  const encryptor = new MessageEncryptor([key, Buffer.from(SECRET).subarray(0, 32)], {
    legacy: [{ key: Buffer.from(SECRET).subarray(0, 32), signKey: Buffer.from(SECRET) }],
  })
  const verifier = new MessageVerifier(key)
  const keyring = new Keyring({ secret: [SECRET, Buffer.from(SECRET)], legacy: true, retired: [{ keyDigest: 'SHA1' }] })
  const generator = new KeyGenerator(Buffer.from(SECRET))
  generator.generateKey('authenticated encrypted cookie', 32)
  const message = encryptor.encryptAndSign({ text: PLANTED.data })
  const sealed = keyring.seal({ session_id: 'x', text: PLANTED.data }, 'planted', Date.now() + 1000)
  keyring.open(sealed, 'planted', Date.now())
  const jar = cookies({ secret: SECRET })
  const sid = SessionId.generate()
  search.plant('public id', sid.publicId)
  const store = new MemoryStore()
  const builder = new Builder().use(jar).use(session({ store })).use(flash()).use(csrf())
  const iron = ironSealer({ password: PASSWORD })
  await iron.open(await iron.seal({ text: PLANTED.data }, 'planted', Date.now() + 1000), 'planted', Date.now())
  const redis = new RedisStore({
    client: { options: { password: PLANTED['store password'] }, defineCommand() {}, nodes() {} } as never,
  })
  const objects: Record<string, unknown> = {
    MessageEncryptor: encryptor,
    MessageVerifier: verifier,
    Keyring: keyring,
    'Keyring.encryptor': keyring.encryptor,
    'Keyring.verifier': keyring.verifier,
    KeyGenerator: generator,
    railsSealer: railsSealer({ secret: SECRET }),
    rackSealer: rackSealer({ secret: SECRET }),
    ironSealer: iron,
    'cookies()': jar,
    Builder: builder,
    'a Connect middleware': toConnect(builder),
    SessionId: sid,
    'SessionId in an object': { deep: { sid } },
    'CookieStore of iron': new CookieStore({ sealer: ironSealer({ password: PASSWORD }) }),
    ExpressSessions: new ExpressSessions({ store: new expressSession.MemoryStore(), secret: SECRET }),
    RedisStore: redis,
    'what opens nothing': encryptor.decryptAndVerify(`${message}x`),
  }
  for (const [name, object] of Object.entries(objects)) search.show(name, object)
  const foreign = { headers: { host: 'localhost', cookie: `_session_id=${sid.publicId}`, origin: 'https://other' } }
  await Promise.resolve(sessionFor(builder as never, foreign as IncomingMessage)).then(
    (found) => search.show('sessionFor', found),
    (error: unknown) => search.show('sessionFor', error),
  )
  t.same(search.leaks(), [])
})

test('every error that there is was among those that were searched', (t) => {
  const all = Object.values(errors).map(({ name }) => name)
  t.same(
    all.filter((name) => name !== 'RackError' && !Search.classes.has(name)),
    [],
  )
  t.end()
})
