// What the servers that run on Node have in common: their settings, their pages, and what they tell the run over IPC.
// On its own one prints its port: `node servers/cookie.js`.
import { once } from 'node:events'

/**
 * What a server is told in argv[2], as JSON. Those of luggage-rack alone are in luggage-rack.js.
 *
 * @typedef {object} Settings
 * @property {string} [redis] where Redis is: `redis://127.0.0.1:6379`
 * @property {string} [memcached] where memcached is: `127.0.0.1:11211`
 * @property {string} [file] SQLite's. Default: a file that ends with the server
 * @property {Answer} [answer] what the bare server sends
 */

/**
 * `plain`: without the lines that Node adds by itself (Date, Connection, Keep-Alive), which other servers do not send.
 *
 * @typedef {{ status: number, headers: [string, string][], length: number, plain?: boolean }} Answer
 */

export const FIRST_VISIT = 1_000_000

/** For what wants it as text, and of 64 characters at least. */
export const SECRET = 'the secret of the benchmark, which everybody may know, and of 64 characters'

/** For what wants 32 bytes. */
export const KEY = Buffer.from(SECRET).subarray(0, 32)

/** Seconds. */
export const DAY = 24 * 3600

/** Of every peer's cookie, so that it is sent over plain http. */
export const COOKIE = Object.freeze({ path: '/', httpOnly: true, sameSite: 'lax', secure: false })

/** @returns {Settings & Record<string, unknown>} */
export const settings = () => JSON.parse(process.argv[2] ?? '{}')

/**
 * The body: of one length, whoever asks and however often.
 *
 * @param {number} [userId]
 * @param {number} [visits]
 */
export const page = (userId = 10_000, visits = FIRST_VISIT) => `visitor ${userId}, visit ${visits}\n`

/** Who signs in, by the end of the address. @param {string} text */
export function visitor(text) {
  const userId = Number(text)
  return { userId, name: `Visitor ${userId}`, visits: FIRST_VISIT }
}

/** The number in `/sign-in/10042`, for those without a router. @param {string} [url] */
export const numberIn = (url = '') => url.slice('/sign-in/'.length)

/** @param {import('node:http').ServerResponse} res @param {string} body */
export function send(res, body) {
  res.writeHead(200, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) })
  res.end(body)
}

/**
 * Listens, unless it does already, tells the port when it answers, and what the process used when it is asked.
 *
 * @param {import('node:http').Server} server
 */
export async function serve(server) {
  let requests = 0
  server.on('request', () => requests++)
  process.on('message', (question) => {
    if (question === 'gc') {
      if (globalThis.gc === undefined) throw new Error('Only with --expose-gc can it be asked to collect garbage.')
      globalThis.gc()
    }
    process.send?.({ cpu: process.cpuUsage(), requests, memory: process.memoryUsage() })
  })
  // an end in order, so that a profile is written
  process.on('disconnect', () => process.exit())
  if (!server.listening) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  if (process.send) process.send({ port, pid: process.pid })
  else console.log(`http://127.0.0.1:${port}`)
}
