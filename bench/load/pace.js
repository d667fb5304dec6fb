// Load at a fixed rate: requests leave when they are due, whether or not those before them are answered.
//
// autocannon has a rate, but sends the requests of a whole second one after the other as its connections allow, then
// waits for the next second, and counts an answer of 10 ms ten times whatever the rate: its `overallRate` gave a p50 of
// 10 ms for a server that answers at once. Where no request waits for an answer, there is nothing to correct.
import { Agent, request } from 'node:http'
import { createHistogram } from 'node:perf_hooks'

/** Requests under way at which the server has lost, and more would only fill the memory. */
const LOST = 2000

/** @typedef {{ port: number, path: string, rate: number, seconds: number, cookies: string[] }} Pace */
/**
 * Latencies in milliseconds. `sent` and `answered` are a second's.
 *
 * @typedef {{ sent: number, answered: number, failed: number, p50: number, p99: number, p999: number }} Paced
 */

/** @param {Pace} job @returns {Promise<Paced>} */
export function pace({ port, path, rate, seconds, cookies }) {
  // more connections than a server needs that keeps up: one that stalls is not spared the next request
  const agent = new Agent({ keepAlive: true, maxSockets: 512, scheduling: 'lifo' })
  const histogram = createHistogram({ figures: 3 })
  const total = Math.round(rate * seconds)
  let [sent, answered, failed] = [0, 0, 0]
  return new Promise((resolve) => {
    const from = performance.now()
    const timer = setInterval(() => {
      const now = performance.now()
      const due = Math.min(total, Math.floor(((now - from) / 1000) * rate))
      while (sent < due && sent - answered - failed < LOST) send()
      const isOver = sent === total || sent - answered - failed >= LOST || now - from > seconds * 1000 + 1000
      if (isOver) end((performance.now() - from) / 1000)
    }, 1)

    function send() {
      const cookie = cookies[sent++ % cookies.length] ?? ''
      const at = performance.now()
      const headers = cookie === '' ? {} : { cookie }
      request({ host: '127.0.0.1', port, path, agent, headers }, (res) => {
        res.resume().on('end', () => {
          if (res.statusCode === 200) {
            answered++
            histogram.record(Math.max(1, Math.round((performance.now() - at) * 1000)))
          } else failed++
        })
      })
        .on('error', () => failed++)
        .end()
    }

    /** @param {number} took seconds until the last request left */
    function end(took) {
      clearInterval(timer)
      const before = { sent: sent / took, answered: answered / took }
      // what is still under way belongs to the latencies, and those that keep the rate have answered it soon
      const deadline = performance.now() + 1000
      const wait = setInterval(() => {
        if (answered + failed < sent && performance.now() < deadline) return
        clearInterval(wait)
        failed += sent - answered - failed
        agent.destroy()
        const ms = (/** @type {number} */ part) => histogram.percentile(part) / 1000
        resolve({ ...before, failed, p50: ms(50), p99: ms(99), p999: ms(99.9) })
      }, 5)
    }
  })
}
