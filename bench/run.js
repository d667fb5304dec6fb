// The CPU time that a session costs, as a ratio to bare node:http: see README.md.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** @typedef {{ child: import('node:child_process').ChildProcess, port: number }} Server */
/** @typedef {{ status: number | undefined, cookies: string[], headers: string[], body: string }} Answer */
/** @typedef {{ cpu: number, requests: number, seconds: number, answered: number, bytes: number }} Used */
/** @typedef {{ row: string, visitors: number, round: number, ratio: number, bare: Used, rack: Used }} Round */

const USUAL = ['untouched', 'read', 'written', 'memory-read', 'memory-written']

/** Other formats of the cookie, run when they are asked for. */
const ROWS = [...USUAL, 'iron-read', 'iron-written', 'rack-read', 'rack-written']

/**
 * Whether a change is sent to the browser.
 *
 * @param {string} row
 */
const sendsCookie = (row) => row.endsWith('written') && !row.startsWith('memory')

/** Seconds of one turn. The shorter, the more alike is what else the machine does in the turns of both. */
const TURN = 0.5

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string', default: USUAL.join(',') },
    visitors: { type: 'string', default: '10000,1' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    warmup: { type: 'string', default: '2' },
    connections: { type: 'string', default: '32' },
    json: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (flags.help) {
  console.log(`node run.js [options]

  --only a,b         rows: ${ROWS.join(', ')}
  --visitors n,n     how many cookies take turns (${flags.visitors})
  --rounds n         rounds, each with fresh server processes (${flags.rounds})
  --seconds n        seconds under load of each server in a round, in turns of ${TURN} (${flags.seconds})
  --warmup n         seconds under load before that (${flags.warmup})
  --connections n    kept-alive connections, each with one request under way (${flags.connections})
  --json file        writes the raw rounds; - is standard output, with the table on standard error
  --profile folder   writes a CPU profile of each server; the figures are then not to be used`)
  process.exit()
}

const only = flags.only.split(',')
const crowds = flags.visitors.split(',').map((text) => number('visitors', text, 1, 89_999))
const rounds = number('rounds', flags.rounds, 1)
const seconds = number('seconds', flags.seconds, TURN)
const warmup = number('warmup', flags.warmup, 0)
const connections = number('connections', flags.connections, 1)
for (const row of only) if (!ROWS.includes(row)) fail(`--only: there is no row ${row}, only ${ROWS.join(', ')}`)

/**
 * @param {string} name
 * @param {string} text
 * @param {number} least
 * @param {number} [most]
 */
function number(name, text, least, most = Infinity) {
  const value = Number(text)
  return value >= least && value <= most ? value : fail(`--${name} takes a number from ${least} on, and not ${text}`)
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message)
  process.exit(1)
}

/** @param {unknown} condition @param {string} message @returns {asserts condition} */
function must(condition, message) {
  if (!condition) fail(`wrong answer, so nothing is measured: ${message}`)
}

// ---- processes

/** @param {string} file @param {string[]} args @param {string[]} execArgv */
function start(file, args = [], execArgv = []) {
  const env = { ...process.env }
  // a session is sent over plain http to a loopback host outside of production alone
  delete env['NODE_ENV']
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), args, { env, execArgv })
  child.on('exit', (code) => code && fail(`${file} ${args.slice(0, 2).join(' ')} ended with ${code}`))
  return child
}

/** @param {import('node:child_process').ChildProcess} child @param {object} question */
async function ask(child, question) {
  child.send(question)
  const [answer] = await once(child, 'message')
  return answer
}

/** @param {string[]} args @returns {Promise<Server>} */
async function serve(...args) {
  const execArgv = flags.profile ? ['--cpu-prof', `--cpu-prof-dir=${flags.profile}`] : []
  const child = start('server.js', args, execArgv)
  const [port] = await once(child, 'message')
  return { child, port }
}

/** @param {Server} server */
async function stop({ child }) {
  child.disconnect()
  await once(child, 'exit')
}

const generator = start('load.js')

// ---- correct before it is timed

const agent = new Agent({ keepAlive: true, maxSockets: connections })

/** @param {Server} server @param {string} path @param {string} [cookie] @returns {Promise<Answer>} */
function visit({ port }, path, cookie) {
  return new Promise((resolve, reject) => {
    const headers = cookie === undefined ? {} : { cookie }
    get({ host: '127.0.0.1', port, path, agent, headers }, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (chunk) => (body += chunk))
      res.on('end', () => {
        /** @type {string[]} */
        const lines = []
        for (let i = 0; i < res.rawHeaders.length; i += 2) {
          const name = res.rawHeaders[i]?.toLowerCase()
          // a time, and a value that is random: of these only the length counts
          const value = name === 'date' || name === 'set-cookie' ? '' : res.rawHeaders[i + 1]
          lines.push(`${name}: ${value}`)
        }
        resolve({ status: res.statusCode, cookies: res.headers['set-cookie'] ?? [], headers: lines.toSorted(), body })
      })
    }).on('error', reject)
  })
}

/** @param {Server} server @param {number} count @returns {Promise<string[]>} their cookies */
async function signIn(server, count) {
  /** @type {string[]} */
  const cookies = []
  let next = 0
  const one = async () => {
    while (next < count) {
      const nth = next++
      const { cookies: lines } = await visit(server, `/${10_000 + nth}`)
      const [cookie = ''] = lines.length === 1 ? (lines[0]?.split(';') ?? []) : []
      must(cookie.startsWith('_app_session='), 'signing in sends one cookie')
      cookies[nth] = cookie
    }
  }
  await Promise.all(Array.from({ length: connections }, one))
  return cookies
}

/**
 * Every visitor gets the page that is his, with a cookie exactly where one is due.
 *
 * @param {string} row @param {Server} rack @param {string[]} cookies
 * @returns {Promise<string>} a Set-Cookie line of middle length, or nothing
 */
async function checkRack(row, rack, cookies) {
  /** @type {string[]} */
  const sent = []
  for (let i = 0; i < cookies.length; i += Math.ceil(cookies.length / 100)) {
    const { status, body, cookies: lines } = await visit(rack, '/', cookies[i])
    const whose = row === 'untouched' ? 10_000 : 10_000 + i
    const visits = row.endsWith('written') ? 1_000_001 : 1_000_000
    must(status === 200 && body === `visitor ${whose}, visit ${visits}\n`, `${row} of visitor ${i}: ${body}`)
    must(lines.length === (sendsCookie(row) ? 1 : 0), `${row} sends ${lines.length} cookies`)
    sent.push(...lines)
  }
  const [line = ''] = sent
  if (row.endsWith('written')) {
    const { body } = await visit(rack, '/', sendsCookie(row) ? line.split(';')[0] : cookies[0])
    must(body === 'visitor 10000, visit 1000002\n', `${row}: what was written is read: ${body}`)
  }
  const stranger = await visit(rack, '/')
  must(stranger.status === 200 && stranger.body.startsWith('visitor 10000, '), 'a visitor without a cookie is answered')
  must(stranger.cookies.length === (row.endsWith('written') ? 1 : 0), 'a visitor gets a cookie with the first write')
  return sent.toSorted((a, b) => a.length - b.length)[sent.length >> 1] ?? ''
}

/** @param {string} row @param {Server} bare @param {Server} rack @param {string | undefined} cookie */
async function checkBare(row, bare, rack, cookie) {
  const [plain, ours] = [await visit(bare, '/', cookie), await visit(rack, '/', cookie)]
  must(plain.status === 200 && plain.body.length === ours.body.length, `${row}: bare's body is of the same length`)
  const [left, right] = [plain.headers.join('; '), ours.headers.join('; ')]
  must(left === right, `${row}: bare sends ${left}, and the stack ${right}`)
  // a sealed value holds a random number of characters that are escaped
  const apart = Math.abs(plain.cookies.join('').length - ours.cookies.join('').length)
  must(apart < 60, `${row}: the Set-Cookie lines are ${apart} characters apart`)
}

// ---- rounds

/** @returns {Used} */
const nothing = () => ({ cpu: 0, requests: 0, seconds: 0, answered: 0, bytes: 0 })

/** @param {Server} server @param {number} time @param {Used} used */
async function turn(server, time, used) {
  const before = await ask(server.child, {})
  const from = performance.now()
  const { answered, bytes, failed } = await ask(generator, { port: server.port, connections, seconds: time })
  const after = await ask(server.child, {})
  const requests = after.requests - before.requests
  must(failed === 0 && Math.abs(requests - answered) <= connections, `${failed} failed, ${answered} of ${requests}`)
  used.cpu += after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system
  used.requests += requests
  used.answered += answered
  used.bytes += bytes
  used.seconds += (performance.now() - from) / 1000
}

/** @param {string} row @param {number} visitors @param {number} round @returns {Promise<Round>} */
async function measure(row, visitors, round) {
  const rack = await serve(row, 'rack')
  const cookies = await signIn(rack, visitors)
  const bare = await serve(row, 'bare', await checkRack(row, rack, cookies))
  await checkBare(row, bare, rack, cookies[0])
  generator.send({ visitors: cookies })

  const used = { bare: nothing(), rack: nothing() }
  /** @type {('bare' | 'rack')[]} */
  const pair = round % 2 === 0 ? ['bare', 'rack'] : ['rack', 'bare']
  const servers = { bare, rack }
  if (warmup > 0) for (const kind of pair) await turn(servers[kind], warmup, nothing())
  for (let i = 0; i < Math.round(seconds / TURN); i++) {
    // a b, b a, a b, …: what drifts, drifts for both
    for (const kind of i % 2 === 0 ? pair : pair.toReversed()) await turn(servers[kind], TURN, used[kind])
  }
  const [plain, ours] = [used.bare.bytes / used.bare.answered, used.rack.bytes / used.rack.answered]
  must(Math.abs(ours / plain - 1) < 0.02, `${row}: bare sent ${plain} bytes an answer, the stack ${ours}`)
  const { body } = await visit(rack, '/', cookies[visitors - 1])
  must(row === 'untouched' || body.startsWith(`visitor ${9_999 + visitors}, `), `${row} at the end: ${body}`)
  await Promise.all([stop(bare), stop(rack)])
  return { row, visitors, round, ratio: perRequest(used.rack) / perRequest(used.bare), ...used }
}

/** @param {Used} used @returns {number} microseconds */
const perRequest = ({ cpu, requests }) => cpu / requests

/** @param {number[]} values */
function spread(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (/** @type {number} */ part) => {
    const place = part * (sorted.length - 1)
    const [low = 0, high = low] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
    return low + (high - low) * (place % 1)
  }
  return { median: at(0.5), min: at(0), max: at(1) }
}

// ---- the run

const started = { date: new Date().toISOString(), load: loadavg()[0] ?? 0 }
/** @type {Round[]} */
const results = []
const jobs = only.flatMap((row) => crowds.map((visitors) => ({ row, visitors })))
for (let round = 0; round < rounds; round++) {
  for (const { row, visitors } of round % 2 === 0 ? jobs : jobs.toReversed()) {
    const result = await measure(row, visitors, round)
    results.push(result)
    const { ratio, bare, rack } = result
    const times = `${perRequest(rack).toFixed(1)} / ${perRequest(bare).toFixed(1)} µs`
    console.error(
      `round ${round + 1}  ${row.padEnd(14)} ${String(visitors).padStart(5)}  ${ratio.toFixed(3)}  ${times}`,
    )
  }
}
generator.disconnect()
agent.destroy()

const machine = {
  ...started,
  loadAfter: loadavg()[0] ?? 0,
  node: process.version,
  cpu: cpus()[0]?.model.trim(),
  cores: availableParallelism(),
  rounds,
  seconds,
  warmup,
  connections,
}
const summary = jobs.map(({ row, visitors }) => {
  const own = results.filter((one) => one.row === row && one.visitors === visitors)
  return {
    row,
    visitors,
    ratio: spread(own.map((one) => one.ratio)),
    bare: spread(own.map((one) => perRequest(one.bare))),
    rack: spread(own.map((one) => perRequest(one.rack))),
  }
})

const table = [
  `${machine.date.slice(0, 10)}, Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores; ` +
    `${rounds} rounds of ${seconds} s, ${connections} connections; ` +
    `load ${machine.load.toFixed(1)} before, ${machine.loadAfter.toFixed(1)} after`,
  '',
  '| request | visitors | × bare, median | min to max | CPU µs | bare CPU µs |',
  '|---|---:|---:|---:|---:|---:|',
  ...summary.map(({ row, visitors, ratio, bare, rack }) => {
    const range = `${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)}`
    const times = `${rack.median.toFixed(1)} | ${bare.median.toFixed(1)}`
    return `| ${row} | ${visitors} | ${ratio.median.toFixed(2)} | ${range} | ${times} |`
  }),
].join('\n')

if (flags.json === '-') {
  console.error(table)
  console.log(JSON.stringify({ machine, summary, rounds: results }, null, 2))
} else {
  console.log(table)
  if (flags.json) writeFileSync(flags.json, JSON.stringify({ machine, summary, rounds: results }, null, 2))
}
