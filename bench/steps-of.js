// The steps of a request, each by itself, from what a build has: see steps.js.
import { existsSync } from 'node:fs'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'

/** @typedef {typeof import('../build/lib/index.js')} Index */
/** @typedef {typeof import('../build/lib/cookie-jar.js')} Jars */
/** @typedef {typeof import('../build/lib/keyring.js')} Keys */
/** @typedef {typeof import('../build/lib/session-hash.js')} Hashes */
/** @typedef {typeof import('../build/lib/rails-json.js')} Json */
/** @typedef {typeof import('../build/lib/message-metadata.js')} Metadata */
/** @typedef {import('../build/lib/index.js').App} App */
/** @typedef {import('../build/lib/index.js').SessionHandle<{ userId: number, name: string, visits: number }>} Handle */

/**
 * `input` is made before the clock runs. `run` says whether what came of it is right, by something that cannot be known
 * without the work: an optimizing compiler leaves out what nobody looks at.
 *
 * @typedef {{
 *   fresh?: () => void | Promise<void>,
 *   input?: (nth: number) => any,
 *   run: (input: any, nth: number) => boolean | Promise<boolean>,
 * }} Work `fresh` is called before visitor 0
 */
/** @typedef {(keyring: any, raw: string) => import('../build/lib/index.js').OpenedSeal | undefined} Opener */
/** @typedef {{ name: string, does: string, make: (world: World) => Work | Promise<Work> }} Step */

export const VISITORS = 10_000

const KEY = '_app_session'
const SECRET = 'the secret of the benchmark, which everybody may know'
const FIRST = 10_000
const FIRST_VISIT = 1_000_000
const OTHERS = [
  '_ga=GA1.1.1234567890.1700000000',
  'theme=dark',
  'consent=eyJhbmFseXRpY3MiOnRydWV9',
  'lang=en-GB',
  '_fbp=fb.1.1700000000000.123456789',
]

/** What a commit does not have. */
export class Absent extends Error {}

/**
 * Texts as bytes, out of which each is made anew when it is asked for: a cookie header, too, comes as a new string, that
 * has no hash yet and shares nothing with the one before.
 */
class Texts {
  #bytes
  #ends

  /** @param {string[]} texts */
  constructor(texts) {
    this.#bytes = Buffer.from(texts.join(''), 'latin1')
    this.#ends = Uint32Array.from(
      texts,
      (
        (end) => (text) =>
          (end += text.length)
      )(0),
    )
  }

  /** @param {number} nth */
  at(nth) {
    return this.#bytes.toString('latin1', nth === 0 ? 0 : this.#ends[nth - 1], this.#ends[nth])
  }
}

/** The last character; to find it, a text that was put together has to become one string, as for sending. @param {string} text */
const last = (text) => text.charCodeAt(text.length - 1)

/** @param {number} nth */
const dataOf = (nth) => ({ userId: FIRST + nth, name: `Visitor ${FIRST + nth}`, visits: FIRST_VISIT })

const items = Array.from({ length: 10 }, (_, i) => ({
  sku: `A-${1000 + i}`,
  title: 'Luggage tag, leather',
  count: i + 1,
}))

const socket = new Socket()
const now = Date.now()

/** As node's parser makes it. @param {string} cookie @param {string} [url] @returns {any} */
function requestOf(cookie, url = '/') {
  const req = new IncomingMessage(socket)
  req.method = 'GET'
  req.url = url
  req.headers = { host: 'localhost:3000', connection: 'keep-alive', cookie }
  return req
}

/** A build, and visitors who have signed in to it. */
export class World {
  /** @type {string} the folder `lib` of a build, as a URL that ends with a slash */
  #lib
  /** @type {Promise<string[]> | undefined} */
  #cookies

  /** @param {string} lib */
  constructor(lib) {
    this.#lib = lib
  }

  /**
   * A module of the build, which must export these names.
   *
   * @param {string} name @param {string[]} needed
   * @returns {Promise<any>}
   * @throws {Absent}
   */
  async #import(name, needed) {
    const url = new URL(`${name}.js`, this.#lib)
    // one that is there and cannot be loaded is an error, and not absent
    if (!existsSync(url)) throw new Absent(`there is no lib/${name}.js`)
    const module = await import(url.href)
    for (const one of needed) if (module[one] === undefined) throw new Absent(`lib/${name}.js has no ${one}`)
    return module
  }

  /** @returns {Promise<Index>} */
  index = () => this.#import('index', ['Builder', 'cookies', 'session', 'CookieStore', 'MemoryStore'])
  /** @returns {Promise<Jars>} */
  jars = () => this.#import('cookie-jar', ['RequestJar'])
  /** @returns {Promise<Keys>} */
  keys = () => this.#import('keyring', ['Keyring'])
  /** @returns {Promise<Hashes>} */
  hashes = () => this.#import('session-hash', ['SessionHash'])
  /** @returns {Promise<Json>} */
  json = () => this.#import('rails-json', ['railsJson'])
  /** @returns {Promise<Metadata>} */
  metadata = () => this.#import('message-metadata', ['wrap'])

  async keyring() {
    const { Keyring } = await this.keys()
    return new Keyring({ secret: SECRET })
  }

  /** What jars of one stack share. */
  async jarConfig() {
    return { keyring: await this.keyring(), sameSite: /** @type {const} */ ('lax'), clock: () => Date.now() }
  }

  /** @param {'cookie' | 'memory'} where @param {'untouched' | 'read' | 'written'} row @returns {Promise<App>} */
  async stack(where, row) {
    const { Builder, cookies, session, CookieStore, MemoryStore } = await this.index()
    const store = where === 'cookie' ? new CookieStore() : new MemoryStore({ max: 2 * VISITORS })
    const page = (userId = FIRST, visits = FIRST_VISIT) => `visitor ${userId}, visit ${visits}\n`
    /** @type {Record<string, (req: any) => any>} */
    const controllers = {
      untouched: () => [200, { 'content-type': 'text/plain' }, page()],
      async read(req) {
        const hash = await req.session
        return [200, { 'content-type': 'text/plain' }, page(hash.userId, hash.visits)]
      },
      async written(req) {
        const hash = await req.session
        hash.visits = (hash.visits ?? FIRST_VISIT) + 1
        return [200, { 'content-type': 'text/plain' }, page(hash.userId, hash.visits)]
      },
    }
    const controller = controllers[row] ?? controllers['read']
    const signIn = async (/** @type {any} */ req) => {
      Object.assign(await req.session, dataOf(Number(req.url.slice(1))))
      return [200, { 'content-type': 'text/plain' }, 'signed in\n']
    }
    const builder = new Builder().use(cookies({ secret: SECRET })).use(session({ key: KEY, store }))
    return /** @type {App} */ (
      builder.run((/** @type {any} */ req) => (req.url === '/' ? controller?.(req) : signIn(req)))
    )
  }

  /** What all visitors of a stack send as their cookie. @param {App} app */
  async signIn(app) {
    /** @type {string[]} */
    const lines = []
    for (let nth = 0; nth < VISITORS; nth++) {
      const [, headers] = await app(requestOf('theme=dark', `/${nth}`))
      const [line = ''] = [headers['set-cookie'] ?? []].flat()
      lines.push(String(line).split(';')[0] ?? '')
    }
    return lines
  }

  /** What visitors of a stack with the cookie store send. */
  cookies() {
    return (this.#cookies ??= this.stack('cookie', 'read').then((app) => this.signIn(app)))
  }

  /** The values of their cookies, as they stand in the header. */
  async values() {
    return (await this.cookies()).map((pair) => pair.slice(KEY.length + 1))
  }

  /** How a build opens such a value. Of some the keyring decodes it, of others whoever asks. @returns {Promise<Opener>} */
  async opener() {
    const { Keyring } = await this.keys()
    if ('openRaw' in Keyring.prototype) return (keyring, raw) => keyring.openRaw(raw, KEY, now)
    const { decodeSealed } = await this.#import('cookie-jar', ['decodeSealed'])
    return (keyring, raw) => keyring.open(decodeSealed(raw), KEY, now)
  }

  /** What their cookies hold. @returns {Promise<any[]>} */
  async payloads() {
    const keyring = await this.keyring()
    return (await this.values()).map((raw) => keyring.open(decodeURIComponent(raw), KEY, now)?.payload)
  }
}

/** @param {World} world @param {readonly string[]} [others] cookies before the session's @returns {Promise<Work>} */
async function jarWork(world, others = []) {
  const { RequestJar } = await world.jars()
  if (!('rawValues' in RequestJar.prototype)) throw new Absent('the jar has no rawValues')
  const values = await world.values()
  const headers = new Texts((await world.cookies()).map((pair) => [...others, pair].join('; ')))
  const config = await world.jarConfig()
  return {
    input: (nth) => ({ headers: { cookie: headers.at(nth) } }),
    run: (req, nth) => new RequestJar(req, config).rawValues(KEY, 4)[0]?.length === values[nth]?.length,
  }
}

/** @param {World} world @param {boolean} known whether the keyring has seen the cookies @returns {Promise<Work>} */
async function openWork(world, known) {
  const values = await world.values()
  const texts = new Texts(values)
  const open = await world.opener()
  const [payload] = await world.payloads()
  const stranger = encodeURIComponent((await world.keyring()).seal(payload, KEY, now + 1e9))
  let keyring = await world.keyring()
  if (known) for (const raw of values) open(keyring, raw)
  return {
    async fresh() {
      if (known) return
      keyring = await world.keyring()
      // derives the key
      open(keyring, stranger)
    },
    input: (nth) => texts.at(nth),
    run: (raw, nth) => open(keyring, raw)?.payload['userId'] === FIRST + nth,
  }
}

/** @param {World} world @param {(nth: number) => any} dataOfOne @returns {Promise<(nth: number) => any>} gives a hash */
async function hashesOf(world, dataOfOne) {
  const { SessionHash } = await world.hashes()
  // as it comes out of a cookie: parsed
  const all = Array.from({ length: VISITORS }, (_, nth) => JSON.parse(JSON.stringify(dataOfOne(nth))))
  return (nth) => new SessionHash(all[nth])
}

/**
 * @param {World} world @param {'cookie' | 'memory'} where @param {'untouched' | 'read' | 'written'} row
 * @param {boolean} [known] whether the stack has opened the cookies before
 * @returns {Promise<Work>}
 */
async function stackWork(world, where, row, known = true) {
  let app = await world.stack(where, row)
  const sent = where === 'cookie' ? await world.cookies() : await world.signIn(app)
  const headers = new Texts(sent)
  if (where === 'cookie' && known && row !== 'untouched') for (const cookie of sent) await app(requestOf(cookie))
  const sends = where === 'cookie' && row === 'written'
  const look = (/** @type {any} */ [status, head, body], /** @type {number} */ nth) => {
    if (sends !== (head['set-cookie'] !== undefined)) return false
    if (sends && last([head['set-cookie']].flat()[0]) < 32) return false
    // the last figure of his number
    return status === 200 && body.charCodeAt(12) === 48 + (row === 'untouched' ? 0 : nth % 10)
  }
  return {
    async fresh() {
      if (known) return
      const first = sent[0] ?? ''
      app = await world.stack(where, row)
      // derives the keys, by a cookie that does not open
      await app(requestOf(`${KEY}=${'A'.repeat(first.length)}--${'A'.repeat(16)}--${'A'.repeat(22)}%3D%3D`))
    },
    input: (nth) => requestOf(headers.at(nth)),
    run(req, nth) {
      const response = app(req)
      return response instanceof Promise ? response.then((it) => look(it, nth)) : look(response, nth)
    },
  }
}

/** @type {Step[]} in the order of a request */
export const STEPS = [
  {
    name: 'header',
    does: 'makes the string of a cookie header from bytes, as node does',
    async make(world) {
      const texts = await world.cookies()
      const headers = new Texts(texts)
      const ends = Uint16Array.from(texts, last)
      return { run: (_, nth) => last(headers.at(nth)) === ends[nth] }
    },
  },
  { name: 'parse', does: 'a jar of that header, and the session’s cookie in it', make: (world) => jarWork(world) },
  { name: 'parse-six', does: 'the same, the last of six cookies', make: (world) => jarWork(world, OTHERS) },
  { name: 'open-known', does: 'opens such a value, which was opened lately', make: (world) => openWork(world, true) },
  { name: 'open-new', does: 'decrypts, verifies and parses such a value', make: (world) => openWork(world, false) },
  {
    name: 'id',
    does: 'the id that a store knows, of the one in a cookie',
    async make(world) {
      const { SessionId } = await world.index()
      const texts = Array.from({ length: VISITORS }, () => SessionId.generate().publicId)
      const ids = new Texts(texts)
      const ends = Uint16Array.from(texts, (text) => last(new SessionId(text).privateId))
      return {
        input: (nth) => ids.at(nth),
        run: (text, nth) => last(SessionId.parse(text)?.privateId ?? '') === ends[nth],
      }
    },
  },
  {
    name: 'load',
    does: 'the hash of three keys, and two of them read',
    async make(world) {
      const payloads = await world.payloads()
      const { SessionHash } = await world.hashes()
      return {
        run: (_, nth) => {
          const { proxy } = new SessionHash(payloads[nth])
          return proxy['userId'] === FIRST + nth && proxy['visits'] === FIRST_VISIT
        },
      }
    },
  },
  {
    name: 'load-fifty',
    does: 'the hash of fifty keys, and two of them read',
    async make(world) {
      const others = Object.fromEntries(Array.from({ length: 47 }, (_, i) => [`key_${i}`, i]))
      const hashOf = await hashesOf(world, (nth) => ({ ...dataOf(nth), ...others }))
      return {
        run: (_, nth) => {
          const { proxy } = hashOf(nth)
          return proxy['userId'] === FIRST + nth && proxy['visits'] === FIRST_VISIT
        },
      }
    },
  },
  {
    name: 'track-read',
    does: 'finds that nothing changed',
    async make(world) {
      const hashOf = await hashesOf(world, dataOf)
      return {
        input: (nth) => {
          const hash = hashOf(nth)
          return hash.proxy.userId === FIRST + nth && hash
        },
        run: (hash) => hash.changes() === undefined,
      }
    },
  },
  {
    name: 'track-written',
    does: 'counts one key up, finds it, and gives the whole',
    async make(world) {
      const hashOf = await hashesOf(world, dataOf)
      return {
        input: hashOf,
        run: (hash, nth) => {
          hash.proxy.visits++
          const data = hash.snapshot(hash.changes())
          return data.visits === FIRST_VISIT + 1 && data.userId === FIRST + nth
        },
      }
    },
  },
  {
    name: 'track-nested-read',
    does: 'hands out a list of ten objects, and finds it as it was',
    async make(world) {
      const hashOf = await hashesOf(world, (nth) => ({ ...dataOf(nth), cart: items }))
      return {
        input: hashOf,
        run: (hash) => hash.proxy.cart[9].count === 10 && hash.changes() === undefined,
      }
    },
  },
  {
    name: 'track-nested-written',
    does: 'changes an object in that list, finds it, and gives the whole',
    async make(world) {
      const hashOf = await hashesOf(world, (nth) => ({ ...dataOf(nth), cart: items }))
      return {
        input: hashOf,
        run: (hash, nth) => {
          hash.proxy.cart[9].count = nth
          const data = hash.snapshot(hash.changes())
          return data.cart[9].count === nth && data.cart[0].count === 1
        },
      }
    },
  },
  {
    name: 'serialize',
    does: 'the JSON of what is in a cookie',
    async make(world) {
      const payloads = await world.payloads()
      const { railsJson } = await world.json()
      return { run: (_, nth) => last(railsJson(payloads[nth])) === 125 }
    },
  },
  {
    name: 'serialize-envelope',
    does: 'the same in Rails’ envelope',
    async make(world) {
      const payloads = await world.payloads()
      const { wrap } = await world.metadata()
      const until = now + 1e9
      return { run: (_, nth) => last(wrap(payloads[nth], 'message', `cookie.${KEY}`, until + nth)) === 125 }
    },
  },
  {
    name: 'seal',
    does: 'the same, encrypted',
    async make(world) {
      const payloads = await world.payloads()
      const keyring = await world.keyring()
      const until = now + 1e9
      const text = keyring.seal(payloads[7], KEY, until)
      if (keyring.open(text, KEY, now)?.payload['userId'] !== FIRST + 7) throw new Error('it does not open')
      // base64 of a tag of 16 bytes
      return { run: (_, nth) => last(keyring.seal(payloads[nth], KEY, until + nth)) === 61 }
    },
  },
  {
    name: 'set',
    does: 'the Set-Cookie line in the response’s headers',
    async make(world) {
      const { RequestJar } = await world.jars()
      const sealed = (await world.values()).map((raw) => decodeURIComponent(raw))
      const config = await world.jarConfig()
      /** @type {any} one object for all, as the session has it */
      const attributes = Object.freeze({ path: '/', httpOnly: true, secure: false, sameSite: 'lax' })
      const put = 'put' in RequestJar.prototype ? 'put' : 'set'
      return {
        input: (nth) => ({ value: sealed[(nth + 1) % VISITORS], req: requestOf('theme=dark') }),
        run: ({ value, req }) => {
          const jar = new RequestJar(req, config)
          jar[put](KEY, value, attributes)
          const [, headers] = jar.commit([200, { 'content-type': 'text/plain' }, ''])
          return last(String([headers['set-cookie']].flat()[0])) > 32
        },
      }
    },
  },
  ...['cookie', 'memory'].flatMap((/** @type {any} */ where) =>
    ['untouched', 'read', 'written'].map((/** @type {any} */ row) => ({
      name: `${where}-${row}`,
      does: `the whole stack without HTTP${where === 'cookie' && row !== 'untouched' ? ', a cookie opened lately' : ''}`,
      make: (/** @type {World} */ world) => stackWork(world, where, row),
    })),
  ),
  ...['read', 'written'].map((/** @type {any} */ row) => ({
    name: `cookie-${row}-new`,
    does: 'the whole stack without HTTP, a cookie never opened before',
    make: (/** @type {World} */ world) => stackWork(world, 'cookie', row, false),
  })),
]
