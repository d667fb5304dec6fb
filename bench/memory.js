// The memory of a server: at rest, per 10,000 sessions that it holds, and after the load.
import { must } from './check.js'
import { turn } from './measure.js'
import { serve, stop, usage } from './processes.js'
import { signIn, visit } from './load/visit.js'

/** @typedef {import('./processes.js').Memory} Memory bytes; `heapUsed` only of Node */
/** @typedef {import('./measure.js').Bench} Bench */
/** @typedef {import('./peers.js').Peer} Peer */
/** @typedef {import('./processes.js').Server} Server */

const SESSIONS = 10_000

/** Sessions before those that count, so that compiled code and pools do not count as sessions. */
const WARM_UP = 1000

/** @param {Server} server */
async function collected(server) {
  // what the first collection lets go, finalizers keep until the second
  await usage(server, 'gc')
  const { memory } = await usage(server, 'gc')
  return memory
}

/**
 * A fresh process, with a place of its own for its sessions.
 *
 * @param {Bench} bench @param {Peer} peer
 * @returns {Promise<{ rest: Memory, per10k: Memory, afterLoad: Memory }>}
 */
export async function measureMemory(bench, peer) {
  const server = await serve(peer, bench.backends.settings(`${peer.name}-memory`))
  try {
    const first = await visit(server.port, '/untouched')
    must(first.status === 200, `/untouched: status ${first.status}`)
    const rest = await collected(server)
    await signIn(server.port, WARM_UP)
    const warm = await collected(server)
    const cookies = await signIn(server.port, SESSIONS)
    const held = await collected(server)
    bench.generator.send({ visitors: cookies })
    await turn(bench, server, `/${peer.rows.at(-1) ?? 'read'}`, bench.seconds)
    const afterLoad = await collected(server)
    return { rest, per10k: less(held, warm), afterLoad }
  } finally {
    await stop(server)
  }
}

/** @param {Memory} more @param {Memory} than @returns {Memory} */
function less(more, than) {
  const rss = more.rss - than.rss
  if (more.heapUsed === undefined || than.heapUsed === undefined) return { rss }
  return { rss, heapUsed: more.heapUsed - than.heapUsed }
}
