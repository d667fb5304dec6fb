// What a fleet needs for a rate of requests, and what becomes of them when a Redis stops: see capacity.md.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { assumptionsOf, names } from './capacity/assumptions.js'
import { fleetOf, mixOf, of, refreshShare } from './capacity/fleet.js'
import { AFTER, simulate } from './capacity/simulation.js'
import { load, machine } from './machine.js'
import { table } from './report/table.js'

/** @typedef {import('./capacity/assumptions.js').Assumption} Assumption */
/** @typedef {import('./capacity/simulation.js').Scene} Scene */
/** @typedef {import('./capacity/simulation.js').Phase} Phase */
/** @typedef {{ date: string, machine: import('./machine.js').Machine, load: number, redis: Record<string, number>, cookie: Record<string, number>, stopped: import('./capacity/stop-master.js').Stopped[] }} Measured */

const here = (/** @type {string} */ path) => new URL(path, import.meta.url)

/** What `--measure` found, beside the tables that rest on it. */
const MEASURED = here('capacity/measured.js')

/** Seconds before a stop, and after it, that are simulated; and after it where failed requests come again. */
const [BEFORE, LATER, MUCH_LATER] = [6, 30, 60]

/** Visitors whose cookies do not stay in the cache of opened cookies. */
const UNKNOWN = 40_000

const help = `node capacity.js [options]

  --rate n,n         requests a second of the fleet (1e5,1e6,1e7)
  --masters n        Redis masters, and not as many as are needed
  --use n,n          the share of its time that a master is to work, in %, of those simulated (50,70,85;
                     with --masters that of the first rate)
  --service kind     exponential or constant service times (exponential)
  --seed n           of the simulation (1)
  --results file     where the cost of a request is from (results/results.json)
  --json file        writes all figures
  --write            writes the tables into capacity.md
  --measure          measures this machine's Redis, cookies that are not in the cache, and a failover (two minutes):
                     no tables
  --help             this

Each assumption is an option too: ${names()
  .map((name) => `--${name}`)
  .join(' ')}`

const text = /** @type {const} */ ({ type: 'string' })
/**
 * @typedef {{
 *   rate: string, masters?: string, use?: string, service: string, seed: string, results?: string, json?: string,
 *   write: boolean, measure: boolean, help: boolean,
 * }} Flags
 */
const { values } = parseArgs({
  options: {
    rate: { ...text, default: '1e5,1e6,1e7' },
    masters: text,
    use: text,
    service: { ...text, default: 'exponential' },
    seed: { ...text, default: '1' },
    results: text,
    json: text,
    write: { type: 'boolean', default: false },
    measure: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    ...Object.fromEntries(names().map((name) => [name, text])),
  },
})

/** @type {Flags} */
const flags = values
/** Of the assumptions, those that are given. */
const given = /** @type {Record<string, string | undefined>} */ (/** @type {unknown} */ (values))

async function measure() {
  const before = load()
  const { measureRedis } = await import('./capacity/measure-redis.js')
  const { stopMasters } = await import('./capacity/stop-master.js')
  const redis = await measureRedis()
  const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-capacity-'))
  try {
    const file = join(folder, 'results.json')
    const asked = ['--only', 'cookie', '--rows', 'read,written', '--visitors', String(UNKNOWN), '--latency', '0']
    await promisify(execFile)(process.execPath, ['run.js', ...asked, '--json', file], { cwd: here('.') })
    const { rows } = /** @type {import('./report/results.js').Results} */ (JSON.parse(readFileSync(file, 'utf8')))
    const cookie = Object.fromEntries(rows.map(({ row, cpu }) => [`cookie-${row}-unknown`, cpu]))
    /** @type {Measured} */
    const measured = {
      date: new Date().toISOString(),
      machine: machine(),
      load: before,
      redis,
      cookie,
      stopped: await stopMasters(),
    }
    const json = JSON.stringify(measured, undefined, 2)
    writeFileSync(MEASURED, `// Written by: node capacity.js --measure\n\nexport const measured = ${json}\n`)
    console.log(json)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function show() {
  const results = JSON.parse(readFileSync(flags.results ?? here('results/results.json'), 'utf8'))
  /** @type {Measured | undefined} */
  const measured = existsSync(MEASURED) ? (await import(MEASURED.href)).measured : undefined
  const assumptions = assumptionsOf(
    results,
    given,
    measured && { ...measured.redis, ...measured.cookie },
    measured?.date.slice(0, 10) ?? '',
  )
  const a = Object.fromEntries(Object.entries(assumptions).map(([name, { value }]) => [name, value]))
  const rates = numbers('rate', flags.rate)
  const masters = flags.masters === undefined ? undefined : numbers('masters', flags.masters)[0]
  const fleets = rates.map((rate) => fleetOf(rate, a, masters))
  const planned = masters === undefined ? [50, 70, 85] : [Math.round((fleets[0]?.redis.use ?? 0) * 1000) / 10]
  const uses = flags.use === undefined ? planned : numbers('use', flags.use)
  if (uses.some((use) => use >= 100))
    refuse(`A master cannot work ${Math.max(...uses)} % of its time: give more --masters.`)

  const mix = mixOf(a)
  const seconds = (/** @type {string} */ name) => of(a, name) / 1000
  const micro = (/** @type {string} */ name) => of(a, name) / 1e6
  /** @type {Omit<Scene, 'use' | 'stop' | 'until' | 'reload'>} */
  const scene = {
    seed: numbers('seed', flags.seed)[0] ?? 1,
    readTime: micro('store-read'),
    // a write is a change or a refresh
    writeTime: (mix.written * micro('store-write') + mix.refreshed * micro('store-refresh')) / (mix.writes || 1),
    writeShare: mix.writes / mix.session,
    service: flags.service === 'constant' ? 'constant' : 'exponential',
    roundTrip: seconds('round-trip'),
    deadline: seconds('deadline'),
    retryEvery: seconds('retry-every'),
    retryFor: seconds('retry-for'),
    reloadAfter: seconds('reload-after'),
  }
  const failover = seconds('node-timeout') + seconds('election')
  const stops = /** @type {const} */ ([
    ['stands still 0.5 s', 'pause', 0.5],
    ['stands still 5 s', 'pause', 5],
    [`is replaced after ${figure(failover)} s`, 'failover', failover],
  ])
  const stopped = (/** @type {number} */ reload, /** @type {number} */ later, /** @type {number} */ least) =>
    stops
      .filter(([, , time]) => time >= least)
      .flatMap(([title, kind, time]) =>
        uses.map((use) => ({
          title,
          use,
          ...simulate({
            ...scene,
            use: use / 100,
            reload,
            stop: { kind, at: BEFORE, seconds: time },
            until: BEFORE + time + later,
          }),
        })),
      )
  const courses = stopped(0, LATER, 0)
  const reloaded = stopped(of(a, 'reload') / 100, MUCH_LATER, 1)
  const checks = uses.map((use) => {
    const only = {
      ...scene,
      writeShare: 0,
      roundTrip: 0,
      use: use / 100,
      reload: 0,
      service: /** @type {const} */ ('exponential'),
    }
    const { before } = simulate({ ...only, stop: { kind: 'none', at: 20, seconds: 0 }, until: 20 })
    const formula = (/** @type {number} */ part) => (-Math.log(1 - part) * scene.readTime) / (1 - use / 100)
    return { use, before, formula: { p50: formula(0.5), p99: formula(0.99), p999: formula(0.999) } }
  })

  const sections = {
    assumptions: [assumptionsTable(assumptions), '', sourceLine(results, measured)].join('\n'),
    fleet: fleetTable(fleets, a),
    cookie: cacheTable(fleets),
    refresh: refreshTable(a),
    stop: stopTable(courses),
    reload: reloadTable(reloaded),
    deadline: deadlineTable(fleets, waited(courses, mix)),
    check: checkTable(checks),
    failover: failoverTable(measured?.stopped ?? []),
  }
  for (const [name, lines] of Object.entries(sections)) console.log(`${name}\n\n${lines}\n`)
  if (flags.json !== undefined) {
    const all = { assumptions, mix, fleets, courses, reloaded, checks, measured }
    writeFileSync(flags.json, `${JSON.stringify(all, undefined, 2)}\n`)
  }
  if (flags.write) write(sections)
}

/** Between the marks of each section. @param {Record<string, string>} sections */
function write(sections) {
  const file = here('capacity.md')
  let page = readFileSync(file, 'utf8')
  for (const [name, lines] of Object.entries(sections)) {
    const marked = new RegExp(`(<!-- capacity: ${name} -->\n)[^]*?(<!-- /capacity -->)`)
    if (!marked.test(page)) throw new Error(`capacity.md has no place for ${name}.`)
    page = page.replace(marked, (_all, from, to) => `${from}\n${lines}\n\n${to}`)
  }
  writeFileSync(file, page)
}

/** @param {string} name @param {string} list */
function numbers(name, list) {
  const found = list.split(',').map((one) => (one === '' ? NaN : Number(one)))
  if (found.every((one) => one > 0)) return found
  return refuse(`--${name} takes numbers above 0, and not ${JSON.stringify(list)}`)
}

/** @param {string} message @returns {never} */
function refuse(message) {
  console.error(message)
  process.exit(1)
}

// ---- tables

/** Three figures, and no more. @param {number} value */
function figure(value) {
  if (!Number.isFinite(value)) return '–'
  if (value >= 100) return Math.round(value).toLocaleString('en-GB')
  return String(Number(value.toPrecision(value >= 10 ? 3 : 2)))
}

/** @param {number} bytes */
function size(bytes) {
  const [unit, name] = bytes >= 1e12 ? [1e12, 'TB'] : bytes >= 1e9 ? [1e9, 'GB'] : [1e6, 'MB']
  return `${figure(bytes / unit)} ${name}`
}

/** @param {number} share */
const percent = (share) => (share === 0 ? '0' : share < 0.0001 ? '< 0.01 %' : `${figure(share * 100)} %`)

/** p50 / p99 / p99.9 in milliseconds. @param {{ p50: number, p99: number, p999: number }} times */
const times = ({ p50, p99, p999 }) => [p50, p99, p999].map((one) => (one * 1000).toFixed(one < 0.1 ? 2 : 0)).join(' / ')

/** @param {string} title */
const words = (title) => ({ title, kind: /** @type {const} */ ('text') })
/** @param {string} title */
const figures = (title) => ({ title, kind: /** @type {const} */ ('number') })

/** @param {Record<string, Assumption>} assumptions */
function assumptionsTable(assumptions) {
  const rows = Object.entries(assumptions).map(([name, { value, unit, what, source }]) => [
    `\`${name}\``,
    what,
    `${value.toLocaleString('en-GB')} ${unit}`.trim(),
    source,
  ])
  return table([words('option'), words('what'), figures('value'), words('source')], rows)
}

/** @param {import('./report/results.js').Results} results @param {Measured | undefined} measured */
function sourceLine(results, measured) {
  const { cpu, cores, os } = results.machine
  const from = `\`results.json\`: ${results.date.slice(0, 10)}, Node ${results.node}, ${cpu}, ${cores} cores, ${os}; load ${results.load.before} before, ${results.load.after} after.`
  if (measured === undefined) return from
  const { redis } = measured
  const rates = [redis['readsPerSecond'], redis['writesPerSecond'], redis['refreshesPerSecond']].map((one) =>
    figure(one ?? NaN),
  )
  return `${from}\n\n\`--measure\`: ${measured.date.slice(0, 10)}, ${measured.machine.cpu}, ${measured.machine.cores} cores; load ${measured.load} before. \`redis-benchmark\` on the same machine got ${rates.join(', ')} commands a second (read, change, refresh); \`MEMORY USAGE\` of one session: ${redis['memoryUsage']} B.`
}

/** @param {ReturnType<typeof fleetOf>[]} fleets @param {Record<string, number>} a */
function fleetTable(fleets, a) {
  /** @typedef {ReturnType<typeof fleetOf>} Fleet */
  const gbits = (/** @type {number} */ value) => `${figure(value)} Gbit/s`
  /** @type {[string, (fleet: Fleet) => string][]} */
  const lines = [
    ['**cookie**: CPU of Node a request', ({ cookie }) => `${figure(cookie.cpu)} µs`],
    ['cores of Node, one process each', ({ cookie }) => figure(cookie.cores)],
    ['the same, were every cookie in the cache', ({ cookie }) => figure(cookie.coresKnown)],
    ['memory of all processes', ({ cookie }) => size(cookie.memory)],
    ['cookies up', ({ cookie }) => gbits(cookie.up)],
    ['Set-Cookie down', ({ cookie }) => gbits(cookie.down)],
    ['**Redis**: CPU of Node a request', ({ redis }) => `${figure(redis.cpu)} µs`],
    ['cores of Node, one process each', ({ redis }) => figure(redis.cores)],
    ['memory of all processes', ({ redis }) => size(redis.memory)],
    ['cookies up', ({ redis }) => gbits(redis.up)],
    ['commands a second', ({ redis }) => figure(redis.commands)],
    ['masters', ({ redis }) => figure(redis.masters)],
    ['at work, each', ({ redis }) => percent(redis.use)],
    ['the busiest, of the mean', ({ redis }) => `${figure((redis.busiest - 1) * 100)} % more`],
    [`nodes, with ${of(a, 'replicas')} replica(s) each`, ({ redis }) => figure(redis.nodes)],
    ['sessions held', ({ redis }) => figure(redis.held)],
    ['data of all masters', ({ redis }) => size(redis.data)],
    ['data of one', ({ redis }) => size(redis.perMaster)],
    ['to Redis, and back', ({ redis }) => `${figure(redis.storeOut)}, ${gbits(redis.storeIn)}`],
    ['headers of its packets', ({ redis }) => gbits(redis.storeHeaders)],
    ['to the replicas', ({ redis }) => gbits(redis.replication)],
    ['connections to each master', ({ redis }) => figure(redis.connections)],
    ['requests a second that fail while one master is away', ({ redis }) => figure(redis.failing)],
    ['while the masters of a zone are', ({ redis }) => figure(redis.failingZone)],
  ]
  return table(
    [words('requests a second'), ...fleets.map(({ rate }) => figures(figure(rate)))],
    lines.map(([title, of_]) => [title, ...fleets.map((fleet) => of_(fleet))]),
  )
}

/** @param {ReturnType<typeof fleetOf>[]} fleets */
function cacheTable(fleets) {
  return table(
    [
      words('requests a second'),
      figures('visitors at a time'),
      figures('a process opens, /s'),
      figures('in its cache for, s'),
    ],
    fleets.map(({ rate, cookie, redis, visitors }) => [
      figure(rate),
      figure(visitors),
      figure((redis.failingZone * redis.zones) / cookie.cores),
      `${figure(cookie.keptFor / 2)} to ${figure(cookie.keptFor)}`,
    ]),
  )
}

/** @param {Record<string, number>} a */
function refreshTable(a) {
  const usual = of(a, 'refresh-every')
  const list = [...new Set([0, 10, 60, usual, 600])].toSorted((one, other) => one - other)
  const without = mixOf({ ...a, 'refresh-every': 1e12 })
  const rows = list.map((every) => {
    const mix = mixOf({ ...a, 'refresh-every': every })
    const { redis } = fleetOf(1e6, { ...a, 'refresh-every': every })
    return [
      `${every} s`,
      percent(refreshShare(of(a, 'visit-rate'), every)),
      figure(mix.writes * 1e6),
      `× ${figure(mix.writes / without.writes)}`,
      figure(redis.masters),
    ]
  })
  const columns = [
    words('`refreshEvery`'),
    figures('of reads, extend'),
    figures('writes a second'),
    figures('of those without'),
    figures('masters'),
  ]
  return table(columns, rows)
}

/** @param {number | undefined} recovered @param {number} seconds */
const recovery = (recovered, seconds) => (recovered === undefined ? `not in ${seconds} s` : `${figure(recovered)} s`)

/** @typedef {import('./capacity/simulation.js').Course & { title: string, use: number }} Shown */

/** @param {Shown[]} courses */
function stopTable(courses) {
  const ms = 'p50 / p99 / p99.9, ms'
  return table(
    [
      words('the master'),
      figures('at work'),
      figures('requests/s'),
      figures(`before: ${ms}`),
      figures(`during: ${ms}`),
      figures(`${AFTER} s after: ${ms}`),
      figures('fail during'),
      figures('fail after'),
      figures('fail until, after it'),
    ],
    courses.map(({ title, use, rate, before, during, after, recovered }) => [
      title,
      `${use} %`,
      figure(rate),
      times(before),
      times(during),
      times(after),
      percent(during.failed),
      percent(after.failed),
      recovery(recovered, LATER),
    ]),
  )
}

/** @param {Shown[]} courses */
function reloadTable(courses) {
  return table(
    [
      words('the master'),
      figures('at work'),
      figures('fail during'),
      figures(`fail in the ${AFTER} s after`),
      figures('fail until, after it'),
    ],
    courses.map(({ title, use, during, after, recovered }) => [
      title,
      `${use} %`,
      percent(during.failed),
      percent(after.failed),
      recovery(recovered, MUCH_LATER),
    ]),
  )
}

/** Seconds that a command takes, on average, where a master works least. @param {Shown[]} courses @param {ReturnType<typeof mixOf>} mix */
function waited(courses, mix) {
  const [usual] = courses
  return usual ? usual.before.underWay / (usual.rate * (1 + mix.writes / mix.session)) : NaN
}

/** @param {ReturnType<typeof fleetOf>[]} fleets @param {number} usually seconds of a command */
function deadlineTable(fleets, usually) {
  const rows = fleets.flatMap(({ rate, redis }) =>
    [1000, 250, 100].map((deadline) => {
      const [one, zone] = [(redis.failing * deadline) / 1000, (redis.failingZone * deadline) / 1000]
      const usual = figure(redis.commands * usually)
      return [figure(rate), usual, `${deadline} ms`, figure(one), figure(zone), figure(zone / redis.cores)]
    }),
  )
  const columns = [
    words('requests a second'),
    figures('under way, usually'),
    figures('`deadline`'),
    figures('beside: one master away'),
    figures('a zone away'),
    figures('a process, of these'),
  ]
  return table(columns, rows)
}

/** @param {Measured['stopped']} stopped */
function failoverTable(stopped) {
  const columns = [
    words('the master, and the client'),
    words('sessions'),
    figures('reads after it'),
    figures('failed'),
    figures('until, s'),
    figures('longest wait, ms'),
    figures('answered after 100 ms'),
    words('as'),
  ]
  const rows = stopped.map(({ title, isThere, reads, failed, until, longest, late, failures }) => [
    title,
    isThere ? 'on it' : 'on the others',
    figure(reads),
    figure(failed),
    failed === 0 ? '–' : until === undefined ? 'the end, 10' : figure(until),
    figure(longest),
    figure(late),
    Object.entries(failures)
      .map(([kind, count]) => `${kind} ${count}`)
      .join(', ') || '–',
  ])
  return table(columns, rows)
}

/** @param {{ use: number, before: Phase, formula: { p50: number, p99: number, p999: number } }[]} checks */
function checkTable(checks) {
  const micros = (/** @type {{ p50: number, p99: number, p999: number }} */ { p50, p99, p999 }) =>
    [p50, p99, p999].map((one) => (one * 1e6).toFixed(1)).join(' / ')
  return table(
    [words('at work'), figures('simulated, µs'), figures('M/M/1, µs')],
    checks.map(({ use, before, formula }) => [`${use} %`, micros(before), micros(formula)]),
  )
}

if (flags.help) console.log(help)
else if (flags.measure) await measure()
else await show()
