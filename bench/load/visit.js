// A visitor of a server: one request at a time, with the cookies that he has.
import { Agent, get } from 'node:http'

/** @typedef {{ status: number, body: string, cookies: string[], headers: [string, string][] }} Answer `cookies`: the Set-Cookie lines */

/** How many ask at the same time. */
const AT_ONCE = 32

const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE })

/** The number of the first visitor. A page without a session is of this one, too, so that every page is of one length. */
export const FIRST = 10_000

/** What visitors have as their count when they sign in. */
export const FIRST_VISIT = 1_000_000

/** @param {number} port @param {string} path @param {string} [cookie] @returns {Promise<Answer>} */
export function visit(port, path, cookie = '') {
  const headers = cookie === '' ? {} : { cookie }
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path, agent, headers, timeout: 10_000 }, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (chunk) => (body += chunk))
      res.on('error', reject)
      res.on('end', () => {
        /** @type {[string, string][]} */
        const lines = []
        for (let i = 0; i < res.rawHeaders.length; i += 2) {
          lines.push([(res.rawHeaders[i] ?? '').toLowerCase(), res.rawHeaders[i + 1] ?? ''])
        }
        resolve({ status: res.statusCode ?? 0, cookies: res.headers['set-cookie'] ?? [], headers: lines, body })
      })
    })
    request.on('timeout', () => request.destroy(new Error(`${path} was not answered within 10 s`)))
    request.on('error', (error) => {
      // a server may close a connection that was kept just when it is to be used again
      const isClosed = request.reusedSocket && 'code' in error && error.code === 'ECONNRESET'
      if (isClosed) resolve(visit(port, path, cookie))
      else reject(error)
    })
  })
}

/**
 * What a browser sends when it had `cookie` and was sent these lines.
 *
 * @param {string[]} lines @param {string} [cookie]
 */
export function cookieOf(lines, cookie = '') {
  const pairs = [...(cookie === '' ? [] : cookie.split('; ')), ...lines.map((line) => line.split(';')[0] ?? '')]
  // one of the same name takes the place of that before it
  const byName = new Map(pairs.map((pair) => [pair.split('=')[0], pair]))
  return [...byName.values()].join('; ')
}

/** @param {number} nth @param {number} [visits] */
export const page = (nth = 0, visits = FIRST_VISIT) => `visitor ${FIRST + nth}, visit ${visits}\n`

/**
 * Does something for each number from 0 on, some at the same time.
 *
 * @param {number} count @param {(nth: number) => Promise<void>} work
 */
export async function eachOf(count, work) {
  let next = 0
  const one = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, one))
}

/**
 * Signs visitors in, and gives the cookies that they send from then on.
 *
 * @param {number} port @param {number} count
 */
export async function signIn(port, count) {
  /** @type {string[]} */
  const cookies = []
  await eachOf(count, async (nth) => {
    const { status, cookies: lines, body } = await visit(port, `/sign-in/${FIRST + nth}`)
    if (status !== 200 || lines.length === 0) {
      throw new Error(`signing in: status ${status}, ${lines.length} cookies, ${JSON.stringify(body.slice(0, 200))}`)
    }
    cookies[nth] = cookieOf(lines)
  })
  return cookies
}

/** Ends the connections that are kept. */
export const leave = () => agent.destroy()
