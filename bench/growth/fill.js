// Sessions that are there before anybody asks, put into a store without HTTP.
import { createHash } from 'node:crypto'
import { railsSealer, SessionId } from '../../build/lib/index.js'
import { FIRST } from '../load/visit.js'
import { SECRET, visitor } from '../servers/serve.js'

/**
 * `sessions`: how many. `visitors`: how many of them ask, evenly among all. `bytes`: of the JSON of each. `keys`: in each.
 *
 * @typedef {{ sessions: number, visitors: number, bytes?: number, keys?: number }} Filling
 */
/** @typedef {import('../../build/lib/index.js').SessionStore} SessionStore */

export const KEY = '_app_session'

/** Calls of a store that are under way at once. */
const AT_ONCE = 500

/** Numbers of five figures. */
const NUMBERS = 80_000

/** The id of a session is always the same, so that another process knows the cookies. @param {number} nth */
const idOf = (nth) => createHash('sha256').update(`session ${nth}`).digest('hex').slice(0, 32)

/** Which sessions are those of visitors who ask. @param {Filling} filling */
const nthOf = ({ sessions, visitors }) => {
  const step = Math.floor(sessions / visitors)
  return Array.from({ length: visitors }, (_, i) => i * step)
}

/** What the visitors send, where a cookie holds an id. @param {Filling} filling */
export const idCookies = (filling) => nthOf(filling).map((nth) => `${KEY}=${idOf(nth)}`)

/** Their numbers, as a page shows them, less that of the first. @param {Filling} filling */
export const numbersOf = (filling) => nthOf(filling).map((nth) => nth % NUMBERS)

/**
 * What is in a session beside the usual three: single keys, and a cart with a note that makes up
 * what is missing of the bytes, of which 100 are the least.
 *
 * @param {Filling} filling @returns {Record<string, unknown>}
 */
function beside({ keys = 3, bytes = 0 }) {
  /** @type {Record<string, unknown>} */
  const data = {}
  for (let i = 3; i < keys; i++) data[`k${i}`] = i % 10
  if (bytes === 0) return data
  /** @type {object[]} */
  const cart = []
  const sizeNow = () => JSON.stringify({ ...visitor(String(FIRST)), cart, note: '' }).length
  const item = { sku: 'A-10042', title: 'Luggage tag, leather', count: 2, price: '12.50' }
  const each = JSON.stringify(item).length + 1
  for (let size = sizeNow(); size + each <= bytes; size += each) cart.push(item)
  return { ...data, cart, note: 'x'.repeat(Math.max(0, bytes - sizeNow())) }
}

/**
 * @param {SessionStore} store @param {Filling} filling
 * @returns {Promise<string[]>} the visitors' cookies
 */
export async function fill(store, filling) {
  const sealer = /** @type {any} the keyring, of which the type shows less */ (railsSealer({ secret: SECRET }))
  const now = Date.now()
  const context = { key: KEY, now, owner: undefined, sealer }
  const req = /** @type {import('node:http').IncomingMessage} */ ({})
  const more = beside(filling)
  const whole = { createdAt: now, expiresAt: now + store.ttl * 1000, extend: false, owner: undefined, create: true }

  const put = async (/** @type {number} */ nth) => {
    const data = { ...visitor(String(FIRST + (nth % NUMBERS))), ...more }
    const changes = { set: data, delete: [] }
    const session = { ...whole, sid: new SessionId(idOf(nth)), data, changes }
    const cookie = await store.toCookie(req, session, context)
    if (cookie === undefined) throw new Error(`session ${nth} is there already`)
    return cookie
  }
  // what is sealed is with the visitors alone
  if (store.inCookie === true) {
    /** @type {string[]} */
    const cookies = []
    for (const nth of nthOf(filling)) cookies.push(`${KEY}=${encodeURIComponent(await put(nth))}`)
    return cookies
  }
  for (let from = 0; from < filling.sessions; from += AT_ONCE) {
    const count = Math.min(AT_ONCE, filling.sessions - from)
    await Promise.all(Array.from({ length: count }, (_, i) => put(from + i)))
  }
  return idCookies(filling)
}
