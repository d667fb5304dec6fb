// One server of the soak, in a process of its own:
//
//   node --expose-gc --unhandled-rejections=strict server.js <store> <JSON of where the store is>
//
// It tells its port over IPC, each error and warning as it comes, and answers 'measure' with what it holds.
// SIGTERM ends it in order; that it then ends by itself shows that nothing holds it.
import { RedisStore as ConnectRedis } from 'connect-redis'
import { createHash } from 'node:crypto'
import { createReadStream, readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from 'redis'
import { Builder, cookies, CookieStore, flash, form, MemoryStore, session, toListener } from '../../build/lib/index.js'
import { ExpressStore } from '../../build/stores/express-store.js'
import { MemcachedStore } from '../../build/stores/memcached-store.js'
import { RedisStore } from '../../build/stores/redis-store.js'
import { SqliteStore } from '../../build/stores/sqlite-store.js'

/** @typedef {import('../../build/lib/index.js').RackResponse} RackResponse */
/** @typedef {import('../../build/lib/index.js').SessionStore} SessionStore */
/** @typedef {Record<string, unknown> & { user: string, who: string, list: string[] }} Data */
/**
 * @typedef {import('node:http').IncomingMessage & {
 *   session: import('../../build/lib/index.js').SessionHandle<Data>,
 *   flash: import('../../build/lib/index.js').FlashHandle<{ notice: string, alert: string }>,
 *   form: () => Promise<URLSearchParams>,
 * }} Req
 */
/** @typedef {{ ttl: number, url?: string, server?: string, filename?: string, file: string }} Where */
/**
 * What a process holds. Bytes; milliseconds of the event loop since it was last asked.
 *
 * @typedef {{
 *   heap: number, rss: number, external: number, handles: string[], fds: number,
 *   bodies: number, requests: number, loop99: number, loopMax: number, cpu: number,
 * }} Measure
 */
/** @typedef {{ kind: 'port', port: number } | { kind: 'measure', measure: Measure }} Answer */
/** @typedef {{ kind: 'error' | 'warning' | 'fatal' | 'stall', name: string, code: string, text: string, path: string }} Report */

/** Of a list in the session, how many are kept. */
const LONGEST = 5

/** Milliseconds that the process did not run, of which it tells: half of the shortest deadline of a store. */
const STALL = 500

const [kind = '', json = '{}'] = process.argv.slice(2)
/** @type {Where} */
const where = JSON.parse(json)
const { ttl, url = '', server: memcached = '', filename = '' } = where

/** @type {(() => unknown)[]} what is given back at the end */
const ends = []

/** @type {Record<string, () => SessionStore>} */
const stores = {
  cookie: () => new CookieStore({ ttl }),
  memory() {
    const store = new MemoryStore({ ttl, max: 1_000_000 })
    const timer = setInterval(() => store.cleanup(), 10_000)
    ends.push(() => clearInterval(timer))
    return store
  },
  redis: () => closed(new RedisStore({ url, ttl })),
  memcached: () => closed(new MemcachedStore({ servers: memcached, ttl })),
  sqlite: () => closed(new SqliteStore({ filename, ttl, sweepEvery: 20 })),
  activerecord: () => closed(new SqliteStore({ filename, ttl, sweepEvery: 20, compatibility: 'activerecord' })),
  express() {
    const client = createClient({ url })
    client.on('error', () => {})
    void client.connect().catch(() => {})
    ends.push(() => client.destroy())
    return new ExpressStore(new ConnectRedis({ client, prefix: 'soak:' }), { ttl })
  },
}

/** @template {SessionStore & { close(): unknown }} Store @param {Store} store */
function closed(store) {
  ends.push(() => store.close())
  return store
}

/** @param {Partial<Data>} hash what is long is told by its length and digest */
function shown(hash) {
  const short = (/** @type {string} */ _key, /** @type {unknown} */ value) =>
    typeof value === 'string' && value.length > 200
      ? `${value.length}:${createHash('sha1').update(value).digest('hex')}`
      : value
  return JSON.stringify(hash, short)
}

const create = stores[kind]
if (create === undefined) throw new Error(`There is no store ${kind}.`)
const store = create()

/** How many bodies are being sent: each must be closed, whoever goes away. */
let bodies = 0
let requests = 0

/** @param {string} first @param {number} count @param {number} wait @param {number} size */
async function* chunks(first, count, wait, size) {
  bodies++
  try {
    yield first
    const chunk = '.'.repeat(size)
    for (let i = 0; i < count; i++) {
      if (wait > 0) await pause(wait)
      yield chunk
    }
  } finally {
    bodies--
  }
}

/** @type {Record<string, (req: Req, query: URLSearchParams) => RackResponse | Promise<RackResponse>>} */
const pages = {
  '/nothing': () => text('nothing'),

  async '/read'(req) {
    return text(shown(await req.session))
  },

  async '/write'(req, query) {
    const hash = await req.session
    hash[query.get('k') ?? ''] = query.get('v') ?? undefined
    return text('written')
  },

  async '/slow'(req, query) {
    const hash = await req.session
    await pause(Number(query.get('ms')))
    hash[query.get('k') ?? ''] = query.get('v')
    return text('written')
  },

  async '/push'(req, query) {
    const hash = await req.session
    hash.list ??= []
    hash.list.push(query.get('v') ?? '')
    if (hash.list.length > LONGEST) hash.list.shift()
    return text('pushed')
  },

  async '/form'(req) {
    const fields = await req.form()
    const hash = await req.session
    hash[fields.get('k') ?? ''] = fields.get('v')
    return text('written')
  },

  async '/sign-in'(req, query) {
    const hash = await req.session
    hash.user = query.get('user') ?? ''
    const who = query.get('who')
    if (who !== null) hash.who = who
    return text('signed in')
  },

  '/renew'(req) {
    req.session.renew()
    return text('renewed')
  },

  '/sign-out'(req) {
    req.session.destroy()
    return text('signed out')
  },

  '/start-over'(req, query) {
    const hash = req.session.reset()
    hash.user = query.get('user') ?? ''
    hash.who = query.get('who') ?? ''
    return text('started over')
  },

  async '/sign-out-elsewhere'(req) {
    const { user } = await req.session
    if (!('deleteSessionsOf' in store) || user === undefined) return [404, {}, 'nobody']
    await ownedStore(store).deleteSessionsOf(user, { except: req.session.id })
    return text('signed out elsewhere')
  },

  async '/sign-out-everywhere'(req) {
    const { user } = await req.session
    if (!('deleteSessionsOf' in store) || user === undefined) return [404, {}, 'nobody']
    await ownedStore(store).deleteSessionsOf(user)
    return text('signed out everywhere')
  },

  async '/big'(req, query) {
    const hash = await req.session
    hash['big'] = (query.get('v') ?? '').padEnd(Number(query.get('size')), '0123456789')
    return text('written')
  },

  async '/notice'(req, query) {
    const messages = await req.flash
    messages.notice = query.get('v') ?? ''
    return text('noticed')
  },

  async '/see-notice'(req) {
    const { notice } = await req.flash
    return text(JSON.stringify(notice ?? null))
  },

  async '/stream'(req) {
    return [200, {}, chunks(shown(await req.session), 20, 10, 100)]
  },

  async '/flood'(req) {
    return [200, {}, chunks(shown(await req.session), 64, 0, 65_536)]
  },

  async '/file'(req) {
    await req.session
    return [200, {}, createReadStream(where.file)]
  },
}

/** @param {string} body @returns {RackResponse} */
function text(body) {
  return [200, { 'content-type': 'text/plain' }, body]
}

/** @param {unknown} store */
function ownedStore(store) {
  return /** @type {import('../../build/lib/index.js').OwnedStore} */ (store)
}

const app = new Builder()
  .use(cookies({ secret: 'the secret of the soak, which everybody may know' }))
  .use(form())
  .use(session({ key: '_soak_session', store, owner: 'user' }))
  .use(flash())
  .run((req) => {
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://soak')
    const page = pages[pathname]
    return page === undefined ? [404, {}, 'no such page'] : page(req, searchParams)
  })

/** @param {Report['kind']} what @param {unknown} error @param {string} path */
function report(what, error, path = '') {
  const { name, code = '', message, stack } = /** @type {NodeJS.ErrnoException} */ (error)
  const [, at = ''] = stack?.split('\n    ') ?? []
  // at the end in order, what a client that vanished had asked for may fail after all else
  if (process.connected) process.send?.({ kind: what, name, code, text: `${message} ${at}`, path })
}

process.on('warning', (warning) => report('warning', warning))
process.on('uncaughtExceptionMonitor', (error) => report('fatal', error))

const listener = toListener(app, { onError: (error, req) => report('error', error, req.url) })
const server = createServer((req, res) => {
  requests++
  listener(req, res)
})
// longer than the clients keep theirs, so that none is closed while a request is on its way
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.({ kind: 'port', port: address.port })
})

// ---- whether it is held up

let woken = performance.now()
setInterval(() => {
  const late = performance.now() - woken - 100
  woken = performance.now()
  const text = `${late}`
  if (late > STALL && process.connected) process.send?.({ kind: 'stall', name: '', code: '', text, path: '' })
}, 100).unref()

// ---- what it holds

const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()

async function measure() {
  const [loop99, loopMax] = [delay.percentile(99) / 1e6, delay.max / 1e6]
  // what a collection frees by callbacks, a second one finds freed
  globalThis.gc?.()
  await pause(20)
  globalThis.gc?.()
  await pause(20)
  delay.reset()
  const { heapUsed: heap, rss, external } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  const handles = process.getActiveResourcesInfo()
  const fds = readdirSync('/proc/self/fd').length
  const held = { heap, rss, external, handles, fds, bodies, requests, loop99, loopMax, cpu: (user + system) / 1000 }
  process.send?.({ kind: 'measure', measure: held })
}

process.on('message', () => void measure())

// ---- the end

let ending = false

process.on('SIGTERM', () => {
  if (ending) return
  ending = true
  // a connection that was busy is closed when its response is sent
  const timer = setInterval(() => server.closeIdleConnections(), 20)
  server.close(() => {
    clearInterval(timer)
    void Promise.all(ends.map((end) => end())).then(() => process.disconnect())
  })
})
process.on('disconnect', () => {
  if (!ending) process.exit()
})
