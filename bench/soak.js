// Half an hour of mixed load over each store, with clients that vanish, servers that end and stores that stop:
// see soak.md.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { LEAST } from './soak/level.js'
import { places } from './soak/places.js'
import { endServers } from './soak/process.js'
import { Soak } from './soak/store.js'
import { report, resultOf } from './soak/table.js'

const { values: flags } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    only: { type: 'string', default: Object.keys(places).join(',') },
    rate: { type: 'string', default: '60' },
    visitors: { type: 'string', default: '150' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (flags.help) {
  console.log(`node soak.js [options]

  --minutes n        how long; what is held is judged from ${(LEAST * 3) / 60} on (${flags.minutes})
  --only a,b         stores: ${Object.keys(places).join(', ')}
  --rate n           requests a second and store (${flags.rate})
  --visitors n       of each store (${flags.visitors})
  --json file        writes every sample and every fault`)
  process.exit()
}

const minutes = Number(flags.minutes)
const rate = Number(flags.rate)
const crowd = Number(flags.visitors)
const only = flags.only.split(',')
if (!(minutes > 0 && rate > 0 && crowd >= 1)) refuse('--minutes, --rate and --visitors take numbers above 0.')
for (const name of only) {
  if (places[name] === undefined) refuse(`--only: there is no ${name}, only ${Object.keys(places).join(', ')}.`)
}

/** @param {string} message @returns {never} */
function refuse(message) {
  console.error(message)
  process.exit(1)
}

// ---- what is given back whatever happens

/** @type {(() => unknown)[]} */
const teardowns = []
const owner = { teardown: (/** @type {() => unknown} */ end) => void teardowns.push(end) }

const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-soak-'))
teardowns.push(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'file')
const fileSize = 300_000
writeFileSync(file, 'f'.repeat(fileSize))

let ending = false

async function endAll() {
  if (ending) return
  ending = true
  endServers()
  // those that end processes do so at once, before they wait
  await Promise.all(teardowns.map((end) => end()))
}

/** @param {number} code */
async function leave(code) {
  await endAll()
  process.exit(code)
}

process.on('exit', () => void endAll())
process.on('uncaughtException', (error) => {
  // what fails because all was ended is nobody's concern
  if (ending) return
  console.error(error)
  void leave(1)
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void leave(130))

// ---- all of them

const began = { date: new Date().toISOString(), load: loadavg()[0] ?? 0 }
const seconds = minutes * 60
/** @type {import('./soak/store.js').Settings} */
const settings = {
  seconds,
  sample: Math.min(10, seconds / 18),
  interval: Math.min(75, Math.max(10, seconds / 24)),
  // so that what nobody knows of any more goes within the run
  ttl: Math.min(300, Math.max(120, seconds / 6)),
  rate,
  visitors: crowd,
  file,
  fileSize,
  owner,
  isEnding: () => ending,
}
const soaks = only.map((name) => new Soak(name, settings))
for (const soak of soaks) await soak.start()
console.error(`${soaks.length} stores, for ${minutes} minutes`)

const cpuBefore = process.cpuUsage()
const from = performance.now()
let last = from
const ticker = setInterval(() => {
  const now = performance.now()
  if (now - last > 500) for (const soak of soaks) soak.stall(now - last)
  for (const soak of soaks) soak.tick(Math.min((now - last) / 1000, 0.1))
  last = now
}, 10)
const news = setInterval(() => {
  const requests = soaks.map(({ name, counts }) => `${name} ${counts.requests}`)
  console.error(`${Math.round((performance.now() - from) / 1000)} s: ${requests.join(', ')}`)
}, 60_000)
await Promise.all(soaks.map((soak) => soak.run()))
clearInterval(ticker)
clearInterval(news)
const wall = performance.now() - from
const cpu = process.cpuUsage(cpuBefore)
const clients = (cpu.user + cpu.system) / 1000 / wall
const servers = soaks.map(({ steady, other }) => (steady.cpu + other.cpu) / wall)

// ---- the result

const machine = {
  ...began,
  loadAfter: loadavg()[0] ?? 0,
  node: process.version,
  cpu: cpus()[0]?.model.trim(),
  cores: availableParallelism(),
  minutes,
  rate,
  visitors: crowd,
  seconds: Math.round(wall / 1000),
  places: [...new Set(soaks.map(({ place }) => place.version))].filter((one) => one !== ''),
  cpuOfClients: clients,
  cpuOfServers: servers.reduce((sum, one) => sum + one, 0),
}

const results = soaks.map((soak) => resultOf(soak))
console.log(report(machine, results))
if (flags.json !== undefined) writeFileSync(flags.json, JSON.stringify({ machine, results }, null, 2))
await leave(results.every(({ counts }) => counts.faults === 0) ? 0 : 1)
