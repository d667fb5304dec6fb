// How the cost of a request grows with the session, the stack, the store and the machine:
//
//   node growth.js [--only size,keys,layers,secrets,rows,processes] [--quick] [--json results/growth.json]
//
// CPU time of the server process a request, over HTTP, beside bare node:http that sends the same bytes. All points of a
// line are there at the same time and take turns of half a second under load. What is measured is in growth/plan.js.
import { randomUUID } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { freemem, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { CookieStore } from '../build/lib/index.js'
import { RedisStore } from '../build/stores/redis-store.js'
import { SqliteStore } from '../build/stores/sqlite-store.js'
import { clientOf, startRedis } from '../build/test/redis.js'
import { lineChart } from './growth/chart.js'
import { fill, idCookies, numbersOf } from './growth/fill.js'
import { CHARTS, quick, TOPICS } from './growth/plan.js'
import { commit, load, machine } from './machine.js'
import { serveBare, turn } from './measure.js'
import { serve, start, stop, stopAll } from './processes.js'
import { progress } from './progress.js'
import { spread } from './report/results.js'
import { cookieOf, FIRST_VISIT, leave, page, visit } from './load/visit.js'

/** @typedef {import('./growth/plan.js').Chart} Chart */
/** @typedef {import('./growth/plan.js').Line} Line */
/** @typedef {import('./processes.js').Server} Server */
/** @typedef {import('./report/results.js').Spread} Spread */
/** @typedef {{ cpu: number, bareCpu: number, requestsPerSecond: number, storeCpu: number | undefined }} Figures microseconds a request */
/** @typedef {{ n: number, visitors: number, cpu: Spread, bareCpu: Spread, ratio: Spread, requestsPerSecond: Spread, storeCpu?: Spread, rounds: Figures[] }} Point */
/** @typedef {Omit<Chart, 'lines'> & { lines: { label: string, store: string, row: string, points: Point[] }[] }} Drawn */
/** What runs for a point. @typedef {{ n: number, server: Server, bare: Server, bench: any, storeCpu: () => Promise<number | undefined> }} Running */

/** Seconds of one turn. */
const TURN = 0.5

/** Visitors who are checked before the load. */
const CHECKED = 20

/** Bytes that a million sessions may need, wherever they are. */
const ROOM = 3 * 2 ** 30

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string', default: TOPICS.join(',') },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    warmup: { type: 'string' },
    connections: { type: 'string', default: '32' },
    json: { type: 'string' },
    charts: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (flags.help) {
  console.log(`node growth.js [options]

  --only a,b       what grows: ${TOPICS.join(', ')}
  --quick          a try: three points of each line, no more than 10,000 rows, one round, short turns
  --rounds n       rounds, each with fresh processes and stores (3)
  --seconds n      seconds under load of each server in a round, in turns of ${TURN} (1)
  --warmup n       seconds under load before that (1)
  --connections n  kept-alive connections, each with one request under way (${flags.connections})
  --json file      writes the figures, and beside them an SVG chart of each thing that grows: growth-keys.svg
  --charts file    draws the charts of such a file anew, and measures nothing`)
  process.exit()
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message)
  process.exit(1)
}

/** @param {string} name @param {string} text @param {number} least */
function number(name, text, least) {
  const value = Number(text)
  return value >= least ? value : fail(`--${name} takes a number from ${least} on, and not ${text}`)
}

/** @param {unknown} condition @param {string} message @returns {asserts condition} */
function must(condition, message) {
  if (!condition) throw new Error(message)
}

// ---- charts

/** @param {string} file @param {Drawn[]} charts @param {string} about */
function draw(file, charts, about) {
  for (const { name, title, x, logX, logY, lines } of charts) {
    /** @param {'cpu' | 'bareCpu' | 'requestsPerSecond'} what @param {Drawn['lines'][number]} line */
    const pointsOf = (what, line) =>
      line.points.map((one) => ({ x: one.n, y: one[what].median, min: one[what].min, max: one[what].max }))
    const ours = (/** @type {'cpu' | 'requestsPerSecond'} */ what) =>
      lines.map((line) => ({
        label: line.label,
        group: line.store,
        dashed: line.row === 'written',
        points: pointsOf(what, line),
      }))
    const [first] = lines
    const bare = first
      ? [{ label: 'bare node:http', group: 'bare', dashed: false, points: pointsOf('bareCpu', first) }]
      : []
    const path = (/** @type {string} */ of) => join(dirname(file), `growth-${of}.svg`)
    const description = `${title}. ${about}`
    const cost = { title, description, x, y: `µs of CPU time a request${logY ? ', logarithmic' : ''}`, logX, logY }
    writeFileSync(path(name), lineChart({ ...cost, lines: [...ours('cpu'), ...bare] }))
    if (name !== 'processes') continue
    const rate = { ...cost, y: 'requests a second, the load generator on the same machine', logY: false }
    writeFileSync(path(`${name}-rate`), lineChart({ ...rate, lines: ours('requestsPerSecond') }))
  }
}

/** @param {{ date: string, node: string, machine: import('./machine.js').Machine }} result */
const aboutOf = ({ date, node, machine: { cpu, cores } }) =>
  `${date.slice(0, 10)}, Node ${node}, ${cpu}, ${cores} cores`

if (flags.charts) {
  const result = JSON.parse(readFileSync(flags.charts, 'utf8'))
  draw(flags.charts, result.charts, aboutOf(result))
  process.exit()
}

// ---- the plan

const only = flags.only.split(',')
for (const topic of only)
  if (!TOPICS.includes(topic)) fail(`--only: nothing grows that is called ${topic}, only ${TOPICS.join(', ')}`)
const rounds = number('rounds', flags.rounds ?? (flags.quick ? '1' : '3'), 1)
const seconds = number('seconds', flags.seconds ?? (flags.quick ? '0.5' : '1'), 0.1)
const warmup = number('warmup', flags.warmup ?? (flags.quick ? '0.3' : '1'), 0)
const connections = number('connections', flags.connections, 1)
const turns = Math.max(1, Math.round(seconds / TURN))
const chosen = CHARTS.filter(({ topic }) => only.includes(topic))
const plan = flags.quick ? quick(chosen) : chosen

// ---- a point

/** @type {(() => unknown)[]} */
const ends = []
const owner = { teardown: (/** @type {() => unknown} */ end) => ends.push(end) }

/** Of SQLite files, which take their time to fill and none to copy. */
const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-growth-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

/** @param {import('./growth/fill.js').Filling} what */
async function filledFile(what) {
  const file = join(folder, `${JSON.stringify(what).replaceAll(/\W+/g, '-')}.sqlite`)
  if (!existsSync(file)) {
    const store = new SqliteStore({ filename: file })
    await fill(store, what)
    // takes what is in the log into the file
    store.close()
  }
  return file
}

/** The last that was begun is the first to end. */
async function endAll() {
  for (const end of ends.splice(0).toReversed()) await end()
}

/**
 * A place for sessions, and what a server has to know of it.
 *
 * @param {Line} line @param {number} n
 * @returns {Promise<{ settings: object, cookies: string[], storeCpu: () => Promise<number | undefined> }>}
 */
async function filled({ store, filling }, n) {
  const what = filling(n)
  const storeCpu = async () => undefined
  if (store === 'memory') return { settings: { filling: what }, cookies: idCookies(what), storeCpu }
  if (store === 'cookie') return { settings: {}, cookies: await fill(new CookieStore(), what), storeCpu }
  if (store === 'sqlite') {
    const file = join(folder, `${randomUUID()}.sqlite`)
    copyFileSync(await filledFile(what), file)
    ends.push(() => ['', '-wal', '-shm'].forEach((end) => rmSync(file + end, { force: true })))
    return { settings: { file }, cookies: idCookies(what), storeCpu }
  }
  const redis = await startRedis(owner)
  const client = clientOf(owner, redis, { enableAutoPipelining: true })
  const cookies = await fill(new RedisStore({ client, deadline: 60_000 }), what)
  return {
    settings: { redis: redis.url },
    cookies,
    async storeCpu() {
      const info = await client.info('cpu')
      const [user = 0, system = 0] = ['user', 'sys'].map((kind) =>
        Number(new RegExp(`^used_cpu_${kind}:(.*)$`, 'm').exec(info)?.[1]),
      )
      return (user + system) * 1e6
    },
  }
}

/** @param {Line} line @param {number} n */
const program = ({ store, workers }, n) => ({
  file: workers ? 'growth/cluster.js' : store === 'memory' ? 'growth/memory.js' : `servers/${store}.js`,
  name: `${store}, ${n}`,
})

/**
 * Every visitor gets the page that is his, with a cookie exactly where one is due.
 *
 * @param {Line} line @param {number} n @param {Server} server @param {string[]} cookies
 * @returns {Promise<import('./load/visit.js').Answer>} one that the bare server can send
 */
async function checked({ row, store, filling, reseals }, n, { port, name }, cookies) {
  const numbers = numbersOf(filling(n))
  const due = store === 'cookie' && (row === 'written' || (row === 'read' && reseals?.(n) === true)) ? 1 : 0
  /** @type {import('./load/visit.js').Answer[]} */
  const answers = []
  for (let i = 0; i < cookies.length; i += Math.ceil(cookies.length / CHECKED)) {
    const answer = await visit(port, `/${row}`, cookies[i])
    const expected = page(row === 'untouched' ? 0 : numbers[i], FIRST_VISIT + (row === 'written' ? 1 : 0))
    must(answer.status === 200 && answer.body === expected, `${name}: ${answer.body} in place of ${expected}`)
    must(answer.cookies.length === due, `${name}: ${answer.cookies.length} Set-Cookie, and not ${due}`)
    answers.push(answer)
  }
  const [first] = answers
  if (row === 'written') {
    const { body } = await visit(port, '/read', cookieOf(first?.cookies ?? [], cookies[0]))
    must(body === page(numbers[0], FIRST_VISIT + 1), `${name}: what was written is read: ${body}`)
  }
  // a sealed value holds a random number of characters that are escaped
  const length = (/** @type {import('./load/visit.js').Answer} */ answer) => answer.cookies.join('').length
  const [middle] = answers.toSorted((a, b) => length(a) - length(b)).slice(answers.length >> 1)
  must(middle, `${name}: nobody was checked`)
  return middle
}

/** @param {Line} line @param {number} n @returns {Promise<Running>} */
async function open(line, n) {
  const { settings, cookies, storeCpu } = await filled(line, n)
  const workers = line.workers?.(n)
  const cluster = workers === undefined ? {} : { workers }
  const own = { ...settings, ...line.settings?.(n), ...cluster, server: `${line.store}.js` }
  const server = await serve(program(line, n), own)
  ends.push(() => stop(server))
  const generator = start('load/load.js')
  ends.push(() => generator.disconnect())
  generator.send({ visitors: cookies })
  const bench = { generator, connections, bare: { file: 'servers/bare.js', name: 'bare' } }
  const answer = await checked(line, n, server, cookies)
  const bare = await bareOf(/** @type {any} */ (bench), answer, workers)
  ends.push(() => stop(bare))
  return { n, server, bare, bench, storeCpu }
}

/** @param {import('./measure.js').Bench} bench @param {import('./load/visit.js').Answer} answer @param {number | undefined} workers */
function bareOf(bench, answer, workers) {
  if (workers === undefined) return serveBare(bench, answer)
  const headers = answer.headers.filter(([name]) => !['date', 'connection', 'keep-alive'].includes(name))
  const { status, body } = answer
  return serve(
    { file: 'growth/cluster.js', name: 'bare' },
    { workers, server: 'bare.js', answer: { status, headers, length: body.length } },
  )
}

/**
 * All points of a line in turns.
 *
 * @param {Line} line
 * @returns {Promise<Map<number, Figures>>}
 */
async function measure(line) {
  try {
    /** @type {Running[]} */
    const points = []
    for (const n of line.points) points.push(await open(line, n))
    const path = `/${line.row}`
    if (warmup > 0) {
      for (const { bench, server, bare } of points)
        for (const one of [server, bare]) await turn(bench, one, path, warmup)
    }
    const none = () => ({ cpu: 0, requests: 0, bareCpu: 0, bareRequests: 0, answered: 0, seconds: 0, store: 0 })
    const used = new Map(points.map((point) => [point, none()]))
    for (let i = 0; i < turns; i++) {
      // 1 2 3, 3 2 1, 1 2 3, …: what drifts, drifts for all
      for (const [point, sum] of i % 2 === 0 ? used : [...used].toReversed()) {
        const { bench, server, bare, storeCpu } = point
        const plain = await turn(bench, bare, path, Math.min(TURN, seconds))
        const before = await storeCpu()
        const ours = await turn(bench, server, path, Math.min(TURN, seconds))
        const after = await storeCpu()
        sum.bareCpu += plain.cpu
        sum.bareRequests += plain.requests
        sum.cpu += ours.cpu
        sum.requests += ours.requests
        sum.answered += ours.answered
        sum.seconds += ours.seconds
        sum.store += (after ?? NaN) - (before ?? NaN)
      }
    }
    const figures = [...used].map(([{ n }, sum]) => {
      const store = sum.store / sum.requests
      /** @type {Figures} */
      const one = {
        cpu: sum.cpu / sum.requests,
        bareCpu: sum.bareCpu / sum.bareRequests,
        requestsPerSecond: sum.answered / sum.seconds,
        storeCpu: Number.isNaN(store) ? undefined : store,
      }
      return /** @type {const} */ ([n, one])
    })
    return new Map(figures)
  } finally {
    await endAll()
  }
}

// ---- the run

const before = load()
/** By chart and line: the figures of each point in each round. @type {Map<Line, Map<number, Figures[]>>} */
const measured = new Map()
const room = freemem() > ROOM
for (const { lines } of plan) {
  for (const line of lines) {
    if (!room && line.points.includes(1e6))
      console.error(`${line.label}: no million sessions, since less than 3 GB of memory are free`)
    if (!room) line.points = line.points.filter((n) => n < 1e6)
    measured.set(line, new Map(line.points.map((n) => [n, []])))
  }
}
const jobs = plan.flatMap(({ name, lines }) => lines.map((line) => ({ name, line })))
/** @param {Line} line */
const guess = ({ points, filling }) =>
  points.reduce((all, n) => all + 1.5 + 2 * (warmup + seconds) + filling(n).sessions * 25e-6, 0)
const steps = progress(jobs.length * rounds, rounds * jobs.reduce((all, { line }) => all + guess(line), 0))

process.on('exit', stopAll)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.once(signal, () => void endAll().finally(() => fail('interrupted')))
try {
  for (let round = 0; round < rounds; round++) {
    for (const { name, line } of round % 2 === 0 ? jobs : jobs.toReversed()) {
      await steps.step(`${name}: ${line.label}`, guess(line), async () => {
        const found = await measure(line)
        for (const [n, figures] of found) measured.get(line)?.get(n)?.push(figures)
        return [...found].map(([n, { cpu }]) => `${n.toLocaleString('en')}: ${cpu.toFixed(1)}`).join('  ') + ' µs'
      })
    }
  }
} catch (error) {
  fail(`nothing is measured: ${error instanceof Error ? error.message : String(error)}`)
}
leave()

/** @type {Drawn[]} */
const charts = plan.map(({ lines, ...chart }) => ({
  ...chart,
  lines: lines.map((line) => ({
    label: line.label,
    store: line.store,
    row: line.row,
    points: line.points.map((n) => {
      const all = measured.get(line)?.get(n) ?? []
      const of = (/** @type {(one: Figures) => number} */ what) => spread(all.map(what))
      return {
        n,
        visitors: line.filling(n).visitors,
        cpu: of((one) => one.cpu),
        bareCpu: of((one) => one.bareCpu),
        ratio: of((one) => one.cpu / one.bareCpu),
        requestsPerSecond: of((one) => one.requestsPerSecond),
        ...(line.store === 'redis' && { storeCpu: of((one) => one.storeCpu ?? 0) }),
        rounds: all,
      }
    }),
  })),
}))
const about = { date: new Date().toISOString(), node: process.version, machine: machine(), commit: commit() }
const options = { rounds, seconds, warmup, connections, quick: flags.quick }
const result = { ...about, load: { before, after: load() }, options, charts }

console.log(`${aboutOf(result)}; ${rounds} rounds of ${seconds} s; load ${before} before, ${result.load.after} after`)
for (const { title, x, lines } of charts) {
  console.log(`\n${title}\n\n| | ${x} | visitors | µs | min to max | bare µs | × bare | requests/s | Redis µs |`)
  console.log('|---|---:|---:|---:|---:|---:|---:|---:|---:|')
  for (const { label, points } of lines) {
    for (const { n, visitors, cpu, bareCpu, ratio, requestsPerSecond, storeCpu } of points) {
      const range = `${cpu.min.toFixed(1)} to ${cpu.max.toFixed(1)}`
      const beside = `${bareCpu.median.toFixed(1)} | ${ratio.median.toFixed(2)} | ${Math.round(requestsPerSecond.median)}`
      const counts = `${n.toLocaleString('en')} | ${visitors.toLocaleString('en')}`
      console.log(
        `| ${label} | ${counts} | ${cpu.median.toFixed(1)} | ${range} | ${beside} | ${storeCpu?.median.toFixed(1) ?? ''} |`,
      )
    }
  }
}
if (flags.json) {
  mkdirSync(dirname(flags.json), { recursive: true })
  writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`)
  draw(flags.json, charts, aboutOf(result))
}
