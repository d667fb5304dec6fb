// One request of the soak: to its end, or to a moment at which its client vanishes.
import { request } from 'node:http'
import { connect } from 'node:net'

/**
 * When a client vanishes: in the middle of the head that it sends; so many milliseconds after it sent all; after the
 * first bytes of the body that it gets; or in the middle of the body that it sends.
 *
 * @typedef {{ at: 'head' | 'sent' | 'body' | 'upload', ms: number, reset: boolean }} Vanish
 */
/** @typedef {{ method?: string, cookie?: string | undefined, form?: string, vanish?: Vanish | undefined }} Ask */
/**
 * What the client knows. `status` 0: no head came. `refused`: it was never sent as a whole.
 *
 * @typedef {{
 *   status: number, setCookie: string | undefined, body: string, bytes: number, complete: boolean,
 *   refused: boolean, hung: boolean, vanished: boolean, error: string, from: number, to: number,
 * }} Answer
 */

/** Milliseconds without an answer after which a page is said to hang: longer than any deadline of a store. */
const HUNG = 20_000

const KEY = '_soak_session='

/** @returns {Answer} */
const nothing = () => ({
  status: 0,
  setCookie: undefined,
  body: '',
  bytes: 0,
  complete: false,
  refused: false,
  hung: false,
  vanished: false,
  error: '',
  from: performance.now(),
  to: 0,
})

/**
 * @param {{ port: number, agent: import('node:http').Agent }} server
 * @param {string} path
 * @param {Ask} [ask]
 * @returns {Promise<Answer>} it never rejects
 */
export function visit({ port, agent }, path, { method = 'GET', cookie, form, vanish } = {}) {
  const answer = nothing()
  if (vanish?.at === 'head') return vanishInHead(port, path, cookie, vanish, answer)
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      answer.to = performance.now()
      resolve(answer)
    }
    /** @type {Record<string, string | number>} */
    const headers = cookie === undefined ? {} : { cookie }
    if (form !== undefined) {
      headers['content-type'] = 'application/x-www-form-urlencoded'
      headers['content-length'] = Buffer.byteLength(form)
    }
    const req = request({ host: '127.0.0.1', port, path, method, headers, agent }, (res) => {
      answer.status = res.statusCode ?? 0
      const line = res.headers['set-cookie']?.findLast((one) => one.startsWith(KEY))
      answer.setCookie = line?.slice(0, line.indexOf(';'))
      const expired = line !== undefined && /; (?:Max-Age=0|Expires=Thu, 01 Jan 1970)/i.test(line)
      if (expired) answer.setCookie = KEY
      res.setEncoding('latin1')
      res.on('data', (chunk) => {
        answer.bytes += chunk.length
        if (answer.bytes < 10_000) answer.body += chunk
        if (vanish?.at === 'body') gone()
      })
      res.on('end', () => (answer.complete = true))
      res.on('close', done)
      res.on('error', fail)
    })
    const gone = () => {
      // its connection may be another request's by now
      if (answer.vanished || answer.complete) return
      answer.vanished = true
      // the far end gets a reset, or an end in order
      if (vanish?.reset === true && req.socket && !req.socket.destroyed) req.socket.resetAndDestroy()
      req.destroy()
    }
    const fail = (/** @type {NodeJS.ErrnoException} */ error) => {
      answer.error = error.code ?? error.message
      answer.refused = error.code === 'ECONNREFUSED'
      done()
    }
    req.on('error', fail)
    const timer = setTimeout(() => {
      answer.hung = true
      req.destroy(new Error('hung'))
    }, HUNG)
    if (vanish?.at === 'upload' && form !== undefined) {
      req.write(form.slice(0, form.length >> 1), () => setTimeout(gone, vanish.ms))
      return
    }
    req.end(form)
    if (vanish?.at === 'sent') {
      if (vanish.ms === 0) req.on('finish', gone)
      else setTimeout(gone, vanish.ms)
    }
  })
}

/** @param {number} port @param {string} path @param {string | undefined} cookie @param {Vanish} vanish @param {Answer} answer @returns {Promise<Answer>} */
function vanishInHead(port, path, cookie, { ms, reset }, answer) {
  return new Promise((resolve) => {
    answer.vanished = answer.refused = true
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: soak\r\nCookie: ${cookie ?? 'a=b'}\r\nX-Half`, () => {
        setTimeout(() => (reset ? socket.resetAndDestroy() : socket.destroy()), ms)
      })
    })
    socket.on('error', (error) => (answer.error = error.message))
    socket.on('close', () => {
      answer.to = performance.now()
      resolve(answer)
    })
  })
}
