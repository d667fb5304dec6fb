// The load generator, in a process of its own. Over IPC it gets the visitors' cookies ({ visitors }) and then
// jobs ({ port, connections, seconds }); it answers each with what came back.
import autocannon from 'autocannon'

/** @type {string[]} */
let visitors = []

/**
 * Every connection takes turns with a share of the cookies of its own, and asks the next as soon as it has the
 * answer to the last.
 *
 * @param {{ port: number, connections: number, seconds: number }} job
 */
async function load({ port, connections, seconds }) {
  let started = 0
  const result = await autocannon({
    url: `http://127.0.0.1:${port}/`,
    connections,
    duration: seconds,
    setupClient(client) {
      const nth = started++ % visitors.length
      const own = visitors.filter((_, i) => i % connections === nth)
      client.setRequests(own.map((cookie) => ({ method: 'GET', path: '/', headers: { cookie } })))
    },
  })
  const { errors, timeouts, non2xx } = result
  return { answered: result.requests.total, bytes: result.throughput.total, failed: errors + timeouts + non2xx }
}

process.on('message', (message) => {
  const job = /** @type {{ visitors: string[] } & Parameters<typeof load>[0]} */ (message)
  if (job.visitors) visitors = job.visitors
  else void load(job).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
