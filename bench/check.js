// Does a server do the work that is to be timed? Whoever does not is left out of the figures.
import { cookieOf, eachOf, FIRST_VISIT, page, signIn, visit } from './load/visit.js'

/** @typedef {import('./load/visit.js').Answer} Answer */
/** @typedef {import('./peers.js').Row} Row */
/** See peers.js. @typedef {{ inCookie: boolean, resealsOnRead: boolean }} Kept */

/** How many visitors are checked, and no more of a larger crowd. */
const VISITORS = 100

/** A visitor of whom a page without a session is not. */
const SOMEBODY = 42

/** In the order in which they are run. @type {readonly Row[]} */
export const ROWS = ['untouched', 'read', 'written']

/** The beginning of a visitor's page. @param {number} nth */
export const whose = (nth) => page(nth).slice(0, page(nth).indexOf(' visit '))

/** @param {unknown} condition @param {string} message @returns {asserts condition} */
export function must(condition, message) {
  if (!condition) throw new Error(message)
}

/**
 * Whether a page sends a Set-Cookie to a visitor who has signed in.
 *
 * @param {Row} row @param {Kept} kept
 */
export const sendsCookie = (row, { inCookie, resealsOnRead }) =>
  inCookie && (row === 'written' || (row === 'read' && resealsOnRead))

/**
 * Signing in, the pages that it can do, what is written, and who is refused.
 *
 * @param {number} port @param {Kept & { rows: readonly Row[] }} peer
 * @throws {Error} what is wrong
 */
export async function check(port, peer) {
  const cookies = await signIn(port, VISITORS)
  must(new Set(cookies).size === VISITORS, 'visitors who sign in get different cookies')
  for (const row of ROWS.filter((one) => peer.rows.includes(one)))
    await eachOf(VISITORS, (nth) => visitor(port, row, peer, cookies, nth))
  await stranger(port, peer.rows)
  if (peer.rows.includes('read')) await tampered(port, cookies[SOMEBODY] ?? '')
}

/** @param {number} port @param {Row} row @param {Kept} kept @param {string[]} cookies @param {number} nth */
async function visitor(port, row, kept, cookies, nth) {
  const cookie = cookies[nth] ?? ''
  const answer = await visit(port, `/${row}`, cookie)
  isDue(row, kept, answer)
  if (row === 'untouched') return same(`/${row}`, answer, page())
  if (row === 'read') return same(`/${row}`, answer, page(nth))
  same(`/${row}`, answer, page(nth, FIRST_VISIT + 1))
  const next = cookieOf(answer.cookies, cookie)
  same('/read after /written', await visit(port, '/read', next), page(nth, FIRST_VISIT + 1))
  same('/written once more', await visit(port, '/written', next), page(nth, FIRST_VISIT + 2))
}

/** @param {string} what @param {Answer} answer @param {string} body */
function same(what, { status, body: sent }, body) {
  const text = JSON.stringify(sent.slice(0, 200))
  must(status === 200 && sent === body, `${what}: status ${status}, ${text} in place of ${JSON.stringify(body)}`)
}

/** @param {Row} row @param {Kept} kept @param {Answer} answer */
function isDue(row, kept, { cookies }) {
  const due = sendsCookie(row, kept)
  must(cookies.length > 0 === due, `/${row} sends ${cookies.length} Set-Cookie, where ${due ? 'one' : 'none'} is due`)
}

/** @param {number} port @param {readonly Row[]} rows */
async function stranger(port, rows) {
  for (const row of rows) {
    const answer = await visit(port, `/${row}`)
    same(`/${row} of a stranger`, answer, page(0, row === 'written' ? FIRST_VISIT + 1 : FIRST_VISIT))
    if (row === 'untouched') must(answer.cookies.length === 0, '/untouched sends a stranger a cookie')
    if (row !== 'written') continue
    must(answer.cookies.length > 0, 'a stranger gets a cookie with his first write')
    const next = await visit(port, '/read', cookieOf(answer.cookies))
    same('/read after the first write of a stranger', next, page(0, FIRST_VISIT + 1))
  }
}

/**
 * A character in the middle is another one: of each cookie in turn, since some have a signature of their own.
 *
 * @param {number} port @param {string} cookie
 */
async function tampered(port, cookie) {
  const { body } = await visit(port, '/read', cookie)
  must(body.startsWith(whose(SOMEBODY)), `/read of visitor ${SOMEBODY}: ${body.slice(0, 200)}`)
  const pairs = cookie.split('; ')
  for (const [i, pair] of pairs.entries()) {
    const start = pair.indexOf('=') + 1
    const middle = start + Math.floor((pair.length - start) / 2)
    const other = pair[middle] === 'A' ? 'B' : 'A'
    const changed = pairs.with(i, pair.slice(0, middle) + other + pair.slice(middle + 1)).join('; ')
    const answer = await visit(port, '/read', changed)
    same(`/read with a tampered ${pair.slice(0, start - 1)}`, answer, page())
  }
}

/**
 * What a page answers under load: each of some visitors gets his, with the headers of a middle one to be sent by the
 * bare server too.
 *
 * @param {number} port @param {Row} row @param {Kept} kept @param {string[]} cookies
 * @returns {Promise<Answer>} the one whose Set-Cookie is of middle length
 */
export async function sample(port, row, kept, cookies) {
  /** @type {Answer[]} */
  const answers = []
  const step = Math.ceil(cookies.length / VISITORS)
  await eachOf(Math.ceil(cookies.length / step), async (i) => {
    const nth = i * step
    const answer = await visit(port, `/${row}`, cookies[nth])
    isDue(row, kept, answer)
    // in a store the count goes on from the turns before
    const isHis = answer.body.startsWith(whose(row === 'untouched' ? 0 : nth)) && answer.body.length === page().length
    must(answer.status === 200 && isHis, `/${row} of visitor ${nth}: ${answer.status}, ${answer.body.slice(0, 200)}`)
    answers.push(answer)
  })
  const length = (/** @type {Answer} */ { cookies: lines }) => lines.join('').length
  const middle = answers.toSorted((a, b) => length(a) - length(b))[answers.length >> 1]
  must(middle, 'there are no visitors')
  return middle
}
