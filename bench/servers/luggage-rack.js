// luggage-rack on one of its stores, as its README says.
import { createServer } from 'node:http'
import { Builder, cookies, session, toListener } from '../../build/lib/index.js'
import { FIRST_VISIT, numberIn, page, SECRET, serve, settings, visitor } from './serve.js'

/** @typedef {{ userId: number, visits: number } & Record<string, unknown>} Data */
/** @typedef {import('node:http').IncomingMessage & { session: import('../../build/lib/index.js').SessionHandle<Data> }} Req */
/** @typedef {import('../../build/lib/index.js').RackResponse} RackResponse */
/**
 * What growth is measured by.
 *
 * @typedef {object} Growth
 * @property {number} [secrets] how many there are. The last is the one that there is alone, so that a cookie of a
 * server with one secret is opened by the last, and one of its own by the first. Default 1
 * @property {number} [middleware] layers between the session and the page that do nothing. Default 0
 * @property {number} [keys] what a visitor who signs in has in his session beside the usual three. Default 0
 * @property {number} [bytes] of the JSON of these keys, at least 12 a key. Default 0
 */

const TYPE = 'text/plain'

/** @type {Record<string, (req: Req) => RackResponse | Promise<RackResponse>>} */
const pages = {
  '/untouched': () => [200, { 'content-type': TYPE }, page()],

  async '/read'(req) {
    const session = await req.session
    return [200, { 'content-type': TYPE }, page(session.userId, session.visits)]
  },

  async '/written'(req) {
    const session = await req.session
    session.visits = (session.visits ?? FIRST_VISIT) + 1
    return [200, { 'content-type': TYPE }, page(session.userId, session.visits)]
  },
}

/** `"k10000":"…",` with as many characters as there are bytes for it. @param {Growth} growth */
function more({ keys = 0, bytes = 0 }) {
  if (keys === 0) return {}
  const value = 'x'.repeat(Math.max(0, Math.floor(bytes / keys) - '"k10000":"",'.length))
  return Object.fromEntries(Array.from({ length: keys }, (_, i) => [`k${10_000 + i}`, value]))
}

/** @param {import('../../build/lib/index.js').SessionStore} store */
export async function serveOn(store) {
  const growth = /** @type {Growth} */ (settings())
  const { secrets = 1, middleware = 0 } = growth
  const extra = more(growth)
  const secret = Array.from({ length: secrets }, (_, i) => (i === secrets - 1 ? SECRET : `${SECRET} ${i}`))

  /** @param {Req} req @returns {Promise<RackResponse>} */
  const signIn = async (req) => {
    Object.assign(await req.session, visitor(numberIn(req.url)), extra)
    return [200, { 'content-type': TYPE }, 'signed in\n']
  }
  let stack = new Builder().use(cookies({ secret })).use(session({ key: '_app_session', store }))
  for (let i = 0; i < middleware; i++) stack = stack.use((app) => (req) => app(req))
  await serve(createServer(toListener(stack.run((req) => (pages[req.url ?? ''] ?? signIn)(/** @type {Req} */ (req))))))
}
