// How long answers take at a rate that is the same for every peer.
import { sample } from './check.js'
import { crowd, serveBare } from './measure.js'
import { ask, serve, stop } from './processes.js'

/** @typedef {import('./measure.js').Bench} Bench */
/** @typedef {import('./measure.js').Cell} Cell */
/** @typedef {import('./load/pace.js').Paced} Paced */
/**
 * Milliseconds; there are none of a server that did not keep the rate. `achieved`: answers a second, as far as they came
 * while requests left.
 *
 * @typedef {{ rate: number, achieved: number, p50?: number, p99?: number, p999?: number }} Latency
 */

/** Of the rate: who answers less does not keep it. */
const KEPT = 0.95

/** Seconds at the rate before what counts. */
const WARM_UP = 1

/**
 * @param {Bench} bench @param {Cell} cell @param {{ rate: number, seconds: number, isBare: boolean }} pace
 *   `isBare`: of the bare server that answers the same
 * @returns {Promise<Latency | undefined>} nothing where the generator did not keep the rate
 */
export async function measureLatency(bench, { peer, row, visitors }, { rate, seconds, isBare }) {
  const server = await serve(peer, bench.backends.settings(peer.name))
  const servers = [server]
  try {
    const cookies = await crowd(bench, peer, server.port, visitors)
    const answer = await sample(server.port, row, peer, cookies)
    if (isBare) servers.push(await serveBare(bench, answer))
    const port = servers.at(-1)?.port
    bench.generator.send({ visitors: cookies })
    const at = (/** @type {number} */ time) => {
      const job = { port, path: `/${row}`, rate, seconds: time }
      return /** @type {Promise<Paced>} */ (ask(bench.generator, job, 'the load generator'))
    }
    const warm = await at(WARM_UP)
    const paced = warm.answered < rate / 2 ? warm : await at(seconds)
    const { sent, answered, failed, p50, p99, p999 } = paced
    const achieved = Math.round(answered)
    if (answered >= KEPT * rate && failed === 0) return { rate, achieved, p50, p99, p999 }
    // a server that is late fills the room of those under way, until nothing is sent; one that answers all did its part
    return answered >= KEPT * sent && failed === 0 ? undefined : { rate, achieved }
  } finally {
    await Promise.all(servers.map(stop))
  }
}
