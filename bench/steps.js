// What each step of a request costs by itself, and whole stacks without HTTP:
//
//   node steps.js [--only parse,seal] [--json file]
//
// CPU time of the process, garbage collection included, in microseconds for one visitor; with the cookies of 10,000
// visitors, one after the other. compare.js runs it on two commits. The steps are in steps-of.js.
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { Bench } from 'tinybench'
import { commit, load, machine } from './machine.js'
import { Absent, STEPS, VISITORS, World } from './steps-of.js'

/** @typedef {{ step: string, does: string, us: { mean: number, median: number, p99: number, rme: number } | null, batches: number }} Measured */
/** @typedef {import('./steps-of.js').Work} Work */

/** Visitors between two looks at the clock, which tells microseconds. */
const BATCH = 500

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    build: { type: 'string' },
    seconds: { type: 'string', default: '1' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (flags.help) {
  console.log(`node steps.js [options]

  --only a,b     steps, or the first words of their names; all are:
${STEPS.map(({ name, does }) => `                   ${name.padEnd(22)}${does}`).join('\n')}
  --build dir    the build to be measured (../build)
  --seconds n    CPU time for each step, half as much before it to warm up (${flags.seconds})
  --json file    writes what was measured; - is standard output, and the table goes to standard error`)
  process.exit()
}

const seconds = Number(flags.seconds)
if (!(seconds > 0)) fail(`--seconds takes a number above 0, and not ${flags.seconds}`)
const words = flags.only?.split(',') ?? ['']
for (const word of words)
  if (!STEPS.some((step) => step.name.startsWith(word))) fail(`--only: there is no step ${word}`)
const chosen = STEPS.filter(({ name }) => words.some((word) => name.startsWith(word)))

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message)
  process.exit(1)
}

/** CPU time in milliseconds: what else the machine does is not in it. */
function now() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/**
 * Gives the next visitors one after the other to a step, and how long that took.
 *
 * @param {string} name @param {Work} work
 */
function batches(name, { fresh, input, run }) {
  let from = 0
  const inputs = Array.from({ length: BATCH })
  return async () => {
    if (from === 0) await fresh?.()
    if (input) for (let i = 0; i < BATCH; i++) inputs[i] = input(from + i)
    let right = 0
    const began = now()
    for (let i = 0; i < BATCH; i++) {
      const result = run(inputs[i], from + i)
      if (typeof result === 'boolean' ? result : await result) right++
    }
    const took = now() - began
    if (right !== BATCH) throw new Error(`${name}: ${BATCH - right} of ${BATCH} are wrong, so nothing is measured`)
    from = (from + BATCH) % VISITORS
    return { overriddenDuration: took / BATCH, overriddenIterationCost: took }
  }
}

/** @param {World} world @param {import('./steps-of.js').Step} step @returns {Promise<Measured>} */
async function measure(world, { name, does, make }) {
  /** @type {Work} */
  let work
  try {
    work = await make(world)
  } catch (error) {
    if (!(error instanceof Absent)) throw error
    console.error(`${name.padEnd(22)}absent: ${error.message}`)
    return { step: name, does, us: null, batches: 0 }
  }
  const all = VISITORS / BATCH
  const bench = new Bench({
    now,
    throws: true,
    time: seconds * 1000,
    iterations: all,
    warmupTime: seconds * 500,
    warmupIterations: all,
  })
  bench.add(name, batches(name, work))
  const [task] = await bench.run()
  const result = task?.result
  if (result === undefined || !('latency' in result)) throw new Error(`${name}: was not measured`)
  const { mean, p50, p99, rme, samplesCount } = result.latency
  const us = { mean: mean * 1000, median: p50 * 1000, p99: p99 * 1000, rme }
  console.error(`${name.padEnd(22)}${us.mean.toFixed(3).padStart(9)} µs ±${rme.toFixed(1)} %  ${does}`)
  return { step: name, does, us, batches: samplesCount }
}

// a session is sent over plain http to a loopback host outside of production alone
delete process.env['NODE_ENV']
const folder = resolve(flags.build ?? new URL('../build', import.meta.url).pathname)
const world = new World(pathToFileURL(`${folder}/lib/`).href)
const before = load()
/** @type {Measured[]} */
const steps = []
for (const step of chosen) steps.push(await measure(world, step))

const about = { date: new Date().toISOString(), node: process.version, machine: machine(), load: [before, load()] }
const result = {
  ...about,
  ...(flags.build === undefined && { commit: commit() }),
  options: { visitors: VISITORS, seconds, batch: BATCH },
  steps,
}
if (flags.json === '-') console.log(JSON.stringify(result))
else {
  const { date, node } = about
  console.log(`${date.slice(0, 10)}, Node ${node}, ${about.machine.cpu}; load ${about.load.join(' before, ')} after\n`)
  console.log('| step | µs | ± % | median | what |\n|---|---:|---:|---:|---|')
  for (const { step, us, does } of steps) {
    const figures = us ? `${us.mean.toFixed(2)} | ${us.rme.toFixed(1)} | ${us.median.toFixed(2)}` : 'absent | |'
    console.log(`| ${step} | ${figures} | ${does} |`)
  }
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`)
}
