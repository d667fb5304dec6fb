// A door to a store that counts who goes through it: round trips, and bytes in both directions.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** `bytesOut`: to the store, `bytesIn`: from it. @typedef {{ roundTrips: number, bytesOut: number, bytesIn: number }} Traffic */
/** @typedef {{ port: number, traffic: () => Traffic, close: () => Promise<void> }} CountingProxy */

/**
 * A round trip is what a client says after the last answer, up to the next one: commands that go out together are one.
 *
 * @param {number} target a port of 127.0.0.1
 * @returns {Promise<CountingProxy>}
 */
export async function countingProxy(target) {
  const traffic = { roundTrips: 0, bytesOut: 0, bytesIn: 0 }
  /** @type {Set<import('node:net').Socket>} */
  const sockets = new Set()
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    let isAnswered = true
    near.on('data', (chunk) => {
      if (isAnswered) traffic.roundTrips++
      isAnswered = false
      traffic.bytesOut += chunk.length
      far.write(chunk)
    })
    far.on('data', (chunk) => {
      isAnswered = true
      traffic.bytesIn += chunk.length
      near.write(chunk)
    })
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ]) {
      socket?.setNoDelay()
      sockets.add(/** @type {import('node:net').Socket} */ (socket))
      socket?.on('error', () => {}).on('close', () => other?.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    port,
    traffic: () => ({ ...traffic }),
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
