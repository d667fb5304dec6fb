// The load generator, in a process of its own, so that its CPU time is not the server's. Over IPC it gets the visitors'
// cookies ({ visitors }) and then jobs: as much as the server does ({ port, path, connections, seconds }), or at a rate
// ({ port, path, rate, seconds }). It answers each with what came back.
import autocannon from 'autocannon'
import { pace } from './pace.js'

/** @typedef {{ port: number, path: string, connections: number, seconds: number }} Job */
/**
 * `resets`: of those that failed, requests into a connection that the server had closed. `seconds`: how long it took, the
 * making of the requests not counted.
 *
 * @typedef {{ answered: number, bytes: number, failed: number, resets: number, seconds: number }} Load
 */

/** @type {string[]} */
let visitors = []

/**
 * By port: how far each connection is in its share of the cookies. A slow server answers only some of them in one turn.
 *
 * @type {Map<number, number>}
 */
const places = new Map()

/**
 * Every connection takes turns with a share of the cookies of its own, goes on where it ended in the last turn, and
 * asks the next as soon as it has the answer to the last.
 *
 * @param {Job} job
 * @returns {Promise<Load>}
 */
async function load({ port, path, connections, seconds }) {
  const place = places.get(port) ?? 0
  let started = 0
  // a promise that is an emitter too, which its types do not know
  const run = /** @type {ReturnType<typeof autocannon> & import('node:events').EventEmitter} */ (
    autocannon({
      url: `http://127.0.0.1:${port}${path}`,
      connections,
      duration: seconds,
      // how often it looks whether the time is over: by default once a second
      sampleInt: 25,
      setupClient(client) {
        const nth = started++ % visitors.length
        const own = visitors.filter((_, i) => i % connections === nth)
        const from = place % own.length
        const inTurn = [...own.slice(from), ...own.slice(0, from)]
        client.setRequests(inTurn.map((cookie) => ({ method: 'GET', path, headers: { cookie } })))
      },
    })
  )
  let begun = performance.now()
  void run.on('start', () => (begun = performance.now()))
  let resets = 0
  void run.on('reqError', ({ code }) => {
    if (code === 'ECONNRESET' || code === 'EPIPE') resets++
  })
  const result = await run
  const took = (performance.now() - begun) / 1000
  places.set(port, place + Math.round(result.requests.total / connections))
  const { errors, timeouts, non2xx } = result
  const [answered, bytes] = [result.requests.total, result.throughput.total]
  return { answered, bytes, failed: errors + timeouts + non2xx, resets, seconds: took }
}

process.on('message', (message) => {
  const job = /** @type {{ visitors?: string[], rate?: number } & Job} */ (message)
  if (job.visitors) {
    visitors = job.visitors
    places.clear()
  } else if (job.rate) {
    void pace({ ...job, rate: job.rate, cookies: visitors }).then((result) => process.send?.(result))
  } else void load(job).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
