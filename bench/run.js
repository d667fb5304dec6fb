// The benchmark: what a session costs, here and with its peers. See README.md, and --help.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { startBackends } from './backends.js'
import { check } from './check.js'
import { measureLatency } from './latency.js'
import { commit, load, machine, rubyVersions, versionsOf } from './machine.js'
import { measure } from './measure.js'
import { measureMemory } from './memory.js'
import { help, optionsOf } from './options.js'
import { bare, peers as all } from './peers.js'
import { isOfBare, latencySeconds, planOf, titleOf } from './plan.js'
import { serve, start, stop, stopAll } from './processes.js'
import { clock, progress } from './progress.js'
import { Findings } from './report/findings.js'
import { terminal } from './report/report.js'
import { measureTraffic } from './traffic.js'
import { leave } from './load/visit.js'
import { readResults, RESULTS, writePage, writeJson, writeReadme } from './report/write.js'

/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./peers.js').Peer} Peer */
/** @typedef {import('./plan.js').Step} Step */
/** @typedef {import('./measure.js').Bench} Bench */
/** @typedef {import('./report/results.js').Results} Results */

const names = all.map(({ name }) => name)
const options = asked()
if (options.help) console.log(help(names))
else if (options.readme) {
  const results = readResults(RESULTS)
  writePage(RESULTS, results)
  writeReadme(results)
} else await main()

/** @returns {Options} */
function asked() {
  try {
    return optionsOf(process.argv.slice(2), names)
  } catch (error) {
    console.error(messageOf(error))
    return process.exit(2)
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error)
}

async function main() {
  const wanted = all.filter(({ name }) => options.only?.includes(name) ?? true)
  const backends = await startBackends(new Set(wanted.flatMap(({ needs }) => needs)))
  const generator = start('load/load.js')
  process.once('exit', stopAll)
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      console.error(`\nended by ${signal}`)
      stopAll()
      void backends.close().then(() => process.exit(130))
    })
  }
  try {
    const results = await run(wanted, { backends, generator, bare, crowds: new Map(), ...options })
    output(results)
    if (results.failed.length > 0) process.exitCode = 1
  } finally {
    leave()
    generator.disconnect()
    await backends.close()
  }
}

/** @param {import('./peers.js').Need} need @param {Bench['backends']} backends */
function missing(need, backends) {
  if (need !== 'ruby') return backends.missing[need]
  if ('rails' in rubyVersions()) return undefined
  return 'Ruby on Rails is not here. On Debian and Ubuntu: sudo apt-get install ruby-railties puma'
}

/** @param {Peer[]} wanted @param {Bench} bench @returns {Promise<Results>} */
async function run(wanted, bench) {
  const absent = wanted.flatMap((peer) => {
    const [reason] = peer.needs.flatMap((need) => missing(need, bench.backends) ?? [])
    return reason === undefined ? [] : [{ peer: peer.name, reason }]
  })
  const peers = wanted.filter(({ name }) => absent.every(({ peer }) => peer !== name))
  for (const { peer, reason } of absent) console.error(`${peer} is not run: ${reason}`)

  const before = { date: new Date().toISOString(), load: load() }
  const steps = planOf(peers, options)
  const expected = steps.reduce((sum, { guess }) => sum + guess, 0)
  console.error(`${peers.length} peers, ${steps.length} steps, about ${clock(expected)} minutes`)
  const line = progress(steps.length, expected)
  const findings = new Findings()
  /** @type {Results['failed']} */
  const failed = []
  const isLeftOut = (/** @type {Peer} */ { name }) => failed.some(({ peer }) => peer === name)
  for (const [i, planned] of steps.entries()) {
    // whose answer the bare server sends is as good as another's
    const peer = isOfBare(planned) ? (peers.find((one) => !isLeftOut(one)) ?? planned.peer) : planned.peer
    const step = { ...planned, peer }
    if (isLeftOut(peer)) continue
    await line.step(titleOf(step), step.guess, async () => {
      try {
        return await take(step, bench, findings)
      } catch (error) {
        const reason = messageOf(error)
        failed.push({ peer: peer.name, reason })
        const rest = steps.slice(i + 1).filter((one) => one.peer === peer && !isOfBare(one))
        line.drop(
          rest.length,
          rest.reduce((sum, { guess }) => sum + guess, 0),
        )
        return `LEFT OUT: ${reason}`
      }
    })
  }
  const kept = peers.filter((peer) => !isLeftOut(peer))
  return {
    date: before.date,
    node: process.version,
    machine: machine(),
    load: { before: before.load, after: load() },
    versions: { ...versionsOf(kept), ...bench.backends.versions },
    commit: commit(),
    options: optionsInResults(),
    ...findings.results(kept),
    failed,
    missing: absent,
  }
}

/** Without lists, which are texts here. */
function optionsInResults() {
  const { rows, visitors, rounds, seconds, warmup, connections, latency } = options
  return {
    only: options.only?.join(',') ?? 'all',
    rows: rows.join(','),
    visitors: visitors.join(','),
    rounds,
    seconds,
    warmup,
    connections,
    latency,
    latencySeconds: latencySeconds(options),
  }
}

/**
 * @param {Step} step @param {Bench} bench @param {Findings} findings
 * @returns {Promise<string>} what is to be read of it
 */
async function take(step, bench, findings) {
  const { peer } = step
  if (step.kind === 'check') {
    const server = await serve(peer, bench.backends.settings(`${peer.name}-check`))
    try {
      await check(server.port, peer)
    } finally {
      await stop(server)
    }
    return 'does the work'
  }
  if (step.kind === 'round') {
    const round = await measure(bench, step, step.round)
    findings.round({ peer: peer.name, row: step.row, visitors: step.visitors }, round)
    return `${round.ratio.toFixed(2)} × bare, ${round.cpu.toFixed(1)} / ${round.bareCpu.toFixed(1)} µs`
  }
  if (step.kind === 'latency') {
    const { row, visitors, isBare } = step
    const pace = { rate: options.latency, seconds: latencySeconds(options), isBare }
    const latency = await measureLatency(bench, step, pace)
    if (latency && isBare) findings.bare({ row, latency })
    else if (latency) findings.latency({ peer: peer.name, row, visitors }, latency)
    if (latency === undefined) return 'not measured: the generator did not keep the rate'
    const { p50, p99, p999 } = latency
    if (p50 === undefined || p99 === undefined || p999 === undefined) return 'rate not kept'
    return [p50, p99, p999].map((one) => one.toFixed(2)).join(' / ') + ' ms'
  }
  if (step.kind === 'memory') {
    const memory = await measureMemory(bench, peer)
    findings.memory({ peer: peer.name, ...memory })
    return `${(memory.rest.rss / 1e6).toFixed(0)} MB at rest`
  }
  const traffic = await measureTraffic(peer, bench.backends)
  findings.traffic(peer.name, traffic)
  return peer.rows.map((row) => `${row} ${traffic[row]?.roundTrips}`).join(', ') + ' round trips'
}

/** @param {Results} results */
function output(results) {
  const text = `\n${terminal(results)}`
  if (options.json === '-') {
    console.error(text)
    console.log(JSON.stringify(results, null, 2))
  } else {
    console.log(text)
    if (options.json !== undefined) writeJson(options.json, results)
  }
  // what was profiled is no figure
  const folder = options.out ?? (options.isFull && results.failed.length === 0 ? RESULTS : undefined)
  if (folder === undefined || options.profile !== undefined) return
  mkdirSync(folder, { recursive: true })
  writeJson(join(folder, 'results.json'), results)
  writePage(folder, results)
  if (options.isFull) writeReadme(results)
}
