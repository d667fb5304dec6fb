// What a request asks of a store: counted on the way there, apart from what is timed.
import { setTimeout as pause } from 'node:timers/promises'
import { countingProxy } from './load/counting-proxy.js'
import { serve, stop } from './processes.js'
import { signIn, visit, FIRST } from './load/visit.js'

/** @typedef {import('./load/counting-proxy.js').Traffic} Traffic */
/** @typedef {import('./backends.js').Backends} Backends */
/** @typedef {import('./peers.js').Peer} Peer */

/** Requests of each kind, one after the other. */
const REQUESTS = 50

/** Milliseconds in which a store has heard of what a request leaves to be done after its answer. */
const AFTER = 50

/**
 * A request's average, by row, and of signing in.
 *
 * @param {Peer} peer @param {Backends} backends
 * @returns {Promise<Partial<Record<string, Traffic>>>}
 */
export async function measureTraffic(peer, backends) {
  const kind = peer.needs.includes('redis') ? 'redis' : 'memcached'
  const target = backends.ports[kind]
  if (target === undefined) throw new Error(`there is no ${kind}`)
  const proxy = await countingProxy(target)
  const server = await serve(peer, backends.settings(peer.name, { ...backends.ports, [kind]: proxy.port }))
  try {
    // connections are made, and scripts known, before it counts
    const [cookie = ''] = await signIn(server.port, 1)
    for (const row of peer.rows) await visit(server.port, `/${row}`, cookie)
    /** @type {Partial<Record<string, Traffic>>} */
    const found = {}
    found['sign-in'] = await counted(proxy, (i) => visit(server.port, `/sign-in/${FIRST + i}`))
    for (const row of peer.rows) found[row] = await counted(proxy, () => visit(server.port, `/${row}`, cookie))
    return found
  } finally {
    await stop(server)
    await proxy.close()
  }
}

/** @param {import('./load/counting-proxy.js').CountingProxy} proxy @param {(nth: number) => Promise<unknown>} request */
async function counted(proxy, request) {
  await pause(AFTER)
  const before = proxy.traffic()
  for (let i = 0; i < REQUESTS; i++) await request(i)
  await pause(AFTER)
  const after = proxy.traffic()
  const each = (/** @type {keyof Traffic} */ what) => Math.round(((after[what] - before[what]) / REQUESTS) * 100) / 100
  return { roundTrips: each('roundTrips'), bytesOut: each('bytesOut'), bytesIn: each('bytesIn') }
}
