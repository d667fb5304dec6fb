// A server of servers/ in several processes, by node:cluster: `{ "server": "sqlite.js", "workers": 2, … }`. What it tells
// over IPC is the sum of all, its own process included.
import cluster from 'node:cluster'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** @typedef {{ cpu: NodeJS.CpuUsage, requests: number, memory: NodeJS.MemoryUsage }} Usage */

const { server, workers: count } = JSON.parse(process.argv[2] ?? '{}')
cluster.setupPrimary({
  exec: fileURLToPath(new URL(`../servers/${server}`, import.meta.url)),
  args: process.argv.slice(2),
  execArgv: ['--expose-gc'],
})

// one after the other, since at first each may make the table
/** @type {import('node:cluster').Worker[]} */
const workers = []
let port = 0
for (let i = 0; i < count; i++) {
  const worker = cluster.fork()
  const [message] = await once(worker, 'message')
  port = message.port
  workers.push(worker)
}
cluster.on('exit', (_worker, code) => code && process.exit(code))

/** @param {string} question */
async function ask(question) {
  const answers = workers.map(async (worker) => {
    const answer = once(worker, 'message')
    worker.send(question)
    const [usage] = await answer
    return /** @type {Usage} */ (usage)
  })
  const total = { cpu: process.cpuUsage(), requests: 0, memory: process.memoryUsage() }
  for (const { cpu, requests, memory } of await Promise.all(answers)) {
    total.cpu.user += cpu.user
    total.cpu.system += cpu.system
    total.requests += requests
    total.memory.rss += memory.rss
    total.memory.heapUsed += memory.heapUsed
  }
  return total
}

process.on('message', (question) => void ask(String(question)).then((total) => process.send?.(total)))
process.on('disconnect', () => {
  for (const worker of workers) worker.process.disconnect()
  process.exit()
})
process.send?.({ port, pid: process.pid })
