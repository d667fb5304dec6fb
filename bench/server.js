// One server in a process of its own:
//
//   node server.js <row> rack
//   node server.js <row> bare [Set-Cookie line]
//
// It tells its port over IPC, and answers every message with what it used so far: { cpu, requests }.
import { createServer } from 'node:http'
import {
  Builder,
  cookies,
  CookieStore,
  ironSealer,
  MemoryStore,
  rackSealer,
  session,
  toListener,
} from '../build/lib/index.js'

/** @typedef {{ userId: number, name: string, visits: number }} Data */
/** @typedef {import('node:http').IncomingMessage & { session: import('../build/lib/index.js').SessionHandle<Data> }} Req */
/** @typedef {import('../build/lib/index.js').RackResponse} RackResponse */

const TYPE = 'text/plain'
const FIRST_VISIT = 1_000_000

/**
 * The body: of one length, whoever asks and however often.
 *
 * @param {number} [userId]
 * @param {number} [visits]
 */
const page = (userId = 10_000, visits = FIRST_VISIT) => `visitor ${userId}, visit ${visits}\n`

/**
 * What each row does, by the last word of its name.
 *
 * @type {Record<string, (req: Req) => RackResponse | Promise<RackResponse>>}
 */
const controllers = {
  untouched: () => [200, { 'content-type': TYPE }, page()],

  async read(req) {
    const hash = await req.session
    return [200, { 'content-type': TYPE }, page(hash.userId, hash.visits)]
  },

  async written(req) {
    const hash = await req.session
    hash.visits = (hash.visits ?? FIRST_VISIT) + 1
    return [200, { 'content-type': TYPE }, page(hash.userId, hash.visits)]
  },
}

/**
 * Makes a visitor of a number: `/10042`.
 *
 * @param {Req} req
 * @returns {Promise<RackResponse>}
 */
async function signIn(req) {
  const userId = Number(req.url?.slice(1))
  Object.assign(await req.session, { userId, name: `Visitor ${userId}`, visits: FIRST_VISIT })
  return [200, { 'content-type': TYPE }, 'signed in\n']
}

const LONG = 'the secret of the benchmark, which everybody may know, and of 64 characters'

/**
 * Where a row keeps its sessions, by the first word of its name. Default: the encrypted cookie.
 *
 * @type {Record<string, () => import('../build/lib/index.js').SessionStore>}
 */
const stores = {
  memory: () => new MemoryStore({ max: 100_000 }),
  iron: () => new CookieStore({ sealer: ironSealer({ password: LONG }) }),
  rack: () => new CookieStore({ sealer: rackSealer({ secret: LONG }) }),
}

/** @param {string} row */
function rack(row) {
  const controller = controllers[row.split('-').at(-1) ?? '']
  if (controller === undefined) throw new Error(`There is no row ${row}.`)
  return toListener(
    new Builder()
      .use(cookies({ secret: 'the secret of the benchmark, which everybody may know' }))
      .use(
        session({
          key: '_app_session',
          store: stores[row.split('-').at(-2) ?? 'cookie']?.() ?? new CookieStore(),
        }),
      )
      .run((req) => (req.url === '/' ? controller(req) : signIn(req))),
  )
}

/**
 * The same bytes from node:http and nothing else, in the fewest lines that send them.
 *
 * @param {string} row
 * @param {string} setCookie
 * @returns {import('node:http').RequestListener}
 */
function bare(row, setCookie) {
  let visits = FIRST_VISIT
  if (row === 'untouched') {
    return (_req, res) => {
      const body = page(10_000, visits++)
      res.writeHead(200, { 'content-type': TYPE, 'content-length': Buffer.byteLength(body) })
      res.end(body)
    }
  }
  const seen = { vary: 'cookie', 'cache-control': 'private' }
  if (setCookie === '') {
    return (_req, res) => {
      const body = page(10_000, visits++)
      res.writeHead(200, { 'content-type': TYPE, ...seen, 'content-length': Buffer.byteLength(body) })
      res.end(body)
    }
  }
  return (_req, res) => {
    const body = page(10_000, visits++)
    const headers = { 'content-type': TYPE, ...seen, 'set-cookie': setCookie }
    res.writeHead(200, { ...headers, 'content-length': Buffer.byteLength(body) })
    res.end(body)
  }
}

const [row = '', kind, setCookie = ''] = process.argv.slice(2)
const listener = kind === 'bare' ? bare(row, setCookie) : rack(row)
let requests = 0

const server = createServer((req, res) => {
  requests++
  listener(req, res)
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.send?.(typeof address === 'object' ? address?.port : undefined)
})
process.on('message', () => process.send?.({ cpu: process.cpuUsage(), requests }))
// an end in order, so that a profile is written
process.on('disconnect', () => process.exit())
