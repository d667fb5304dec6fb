// The JSON of a run -> the tables of the terminal and of the README.
import { charts, figure, megabytes, ROW_TITLES } from './charts.js'
import { crowdOf, find } from './results.js'
import { table } from './table.js'

/** @typedef {import('./results.js').Results} Results */
/** @typedef {import('./results.js').Cell} Cell */
/** @typedef {import('./results.js').Peer} Peer */
/** @typedef {import('../check.js').Row} Row */

/** What stands between them in the README is written by `node bench/run.js --readme`. */
export const MARKS = ['<!-- bench: written by npm run bench -->', '<!-- /bench -->']

/** @type {Record<import('./results.js').Format, string>} */
const DOES = { sealed: 'encrypted cookie', signed: 'signed cookie', store: 'id, and a store' }

const ROWS = /** @type {Row[]} */ (['untouched', 'read', 'written'])

/** Peers in the order of the charts' groups, then of the list. @param {Results} results */
const inOrder = ({ peers }) => Object.keys(DOES).flatMap((format) => peers.filter((peer) => peer.format === format))

/** @param {Peer} peer */
const bold = ({ title, ours }) => (ours ? `**${title}**` : title)

/** @param {Results} results */
export function measuredOn({ date, node, machine, commit, options, load }) {
  const { rounds, seconds, warmup, connections } = options
  return (
    `${date.slice(0, 10)}, Node ${node}, ${machine.cpu}, ${machine.cores} cores, ${machine.memory}, ${machine.os}; ` +
    `commit ${commit}; ${rounds} rounds of ${seconds} s after ${warmup} s of warm-up, ${connections} connections; ` +
    `load ${load.before.toFixed(1)} before, ${load.after.toFixed(1)} after`
  )
}

/** Where the machine had other work, before its own load began. @param {Results} results */
const caveat = ({ load, machine }) =>
  load.before > machine.cores / 2
    ? `**Other work was going on (load ${load.before.toFixed(1)} on ${machine.cores} cores): these are figures of a trial, not to be quoted.**`
    : ''

/** @param {Results} results */
export const versionsOf = ({ versions }) =>
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')

/** Every cell, for the terminal. @param {Results} results */
export function everyCell({ rows }) {
  const cells = rows.map(({ peer, row, visitors, ratio, cpu, bareCpu, requestsPerSecond, setCookieBytes }) => [
    peer,
    row,
    visitors.toLocaleString('en'),
    figure(ratio.median),
    `${figure(ratio.min)} to ${figure(ratio.max)}`,
    cpu.toFixed(1),
    bareCpu.toFixed(1),
    requestsPerSecond.toLocaleString('en'),
    String(setCookieBytes),
  ])
  return table(
    [
      { title: 'session', kind: 'text' },
      { title: 'page', kind: 'text' },
      { title: 'visitors', kind: 'number' },
      { title: '× bare', kind: 'number' },
      { title: 'min to max', kind: 'number' },
      { title: 'CPU µs', kind: 'number' },
      { title: 'bare µs', kind: 'number' },
      { title: 'requests/s', kind: 'number' },
      { title: 'Set-Cookie bytes', kind: 'number' },
    ],
    cells,
  )
}

/** × bare of all peers, for the largest crowd. @param {Results} results */
function ratios(results) {
  const visitors = crowdOf(results)
  const cell = (/** @type {string} */ peer, /** @type {Row} */ row) => {
    const { ratio } = find(results, peer, row, visitors) ?? {}
    return ratio ? `${figure(ratio.median)} (${figure(ratio.min)}–${figure(ratio.max)})` : '–'
  }
  return table(
    [
      { title: 'session', kind: 'text' },
      { title: 'what it does', kind: 'text' },
      ...ROWS.map((row) => ({ title: row, kind: /** @type {const} */ ('number') })),
    ],
    inOrder(results).map((peer) => [bold(peer), DOES[peer.format], ...ROWS.map((row) => cell(peer.name, row))]),
  )
}

/** @param {Results} results */
function latencies(results) {
  const visitors = crowdOf(results)
  const rate = results.rows.find(({ latency }) => latency)?.latency?.rate
  if (rate === undefined) return ''
  const text = (/** @type {import('../latency.js').Latency | undefined} */ latency) => {
    if (latency === undefined) return '–'
    const { p50, p99, p999 } = latency
    if (p50 === undefined || p99 === undefined || p999 === undefined) return 'not kept'
    return [p50, p99, p999].map(figure).join(' / ')
  }
  const of = (/** @type {string} */ peer, /** @type {Row} */ row) => text(find(results, peer, row, visitors)?.latency)
  const bare = (/** @type {Row} */ row) => text(results.bare.find((one) => one.row === row)?.latency)
  return table(
    [
      { title: `ms at ${rate.toLocaleString('en')} requests/s: p50 / p99 / p99.9`, kind: 'text' },
      { title: 'read', kind: 'number' },
      { title: 'written', kind: 'number' },
    ],
    [
      ['bare node:http', bare('read'), bare('written')],
      ...inOrder(results).map((peer) => [bold(peer), of(peer.name, 'read'), of(peer.name, 'written')]),
    ],
  )
}

/** @param {import('../processes.js').Memory | undefined} memory */
const memoryText = (memory) =>
  memory === undefined
    ? '–'
    : `${megabytes(memory.rss)} / ${memory.heapUsed === undefined ? '–' : megabytes(memory.heapUsed)}`

/** Memory, bytes and round trips. @param {Results} results */
function sizes(results) {
  const visitors = crowdOf(results)
  const trips = (/** @type {string} */ peer, /** @type {Row} */ row) => {
    const { store } = find(results, peer, row, visitors) ?? {}
    return store ? `${store.roundTrips} (${Math.round(store.bytesOut)} / ${Math.round(store.bytesIn)})` : '–'
  }
  return table(
    [
      { title: 'session', kind: 'text' },
      { title: 'MB at rest, rss / heap', kind: 'number' },
      { title: 'per 10,000 sessions', kind: 'number' },
      { title: 'after the load', kind: 'number' },
      { title: 'cookie, bytes', kind: 'number' },
      { title: 'Set-Cookie, bytes', kind: 'number' },
      { title: 'round trips (bytes out / in), read', kind: 'number' },
      { title: 'written', kind: 'number' },
    ],
    inOrder(results).map((peer) => {
      const memory = results.memory.find((one) => one.peer === peer.name)
      const cell = find(results, peer.name, 'written', visitors) ?? find(results, peer.name, 'read', visitors)
      return [
        bold(peer),
        memoryText(memory?.rest),
        memoryText(memory?.per10k),
        memoryText(memory?.afterLoad),
        String(cell?.cookieBytes ?? '–'),
        cell?.setCookieBytes ? String(cell.setCookieBytes) : '–',
        trips(peer.name, 'read'),
        trips(peer.name, 'written'),
      ]
    }),
  )
}

/** Who is not in the figures, and why. @param {Results} results */
export const absent = ({ failed, missing }) => [
  ...failed.map(({ peer, reason }) => `${peer} is left out: ${reason}`),
  ...missing.map(({ peer, reason }) => `${peer} was not run: ${reason}`),
]

/**
 * What is read at the end of a run.
 *
 * @param {Results} results
 */
export const terminal = (results) =>
  [
    measuredOn(results),
    caveat(results),
    everyCell(results),
    latencies(results),
    sizes(results),
    absent(results).join('\n'),
  ]
    .filter((part) => part !== '')
    .join('\n\n')

/** @param {Results} results @param {string} folder of the charts @param {(file: string) => boolean} [wanted] */
function images(results, folder, wanted = () => true) {
  const alt = (/** @type {string} */ name) =>
    ROW_TITLES[/** @type {Row} */ (name)] ??
    (name === 'memory' ? 'Memory of the server process' : 'Latency at a fixed rate')
  return Object.keys(charts(results))
    .filter(wanted)
    .map((file) => `![${alt(file.replace('.svg', ''))}](${folder}${file})`)
}

/** @param {Results} results */
const ratiosOf = (results) =>
  `× bare, ${crowdOf(results).toLocaleString('en')} visitors in turn: the median of the rounds, and their range.`

/** What a README shows of the charts; the others are beside the results. @param {string} file */
const isShown = (file) => file === 'read.svg' || file === 'written.svg'

/** @param {readonly string[]} parts */
const paragraphs = (parts) => parts.filter((part) => part !== '').join('\n\n')

/**
 * What stands between the marks of the README.
 *
 * @param {Results} results
 */
export const readmeSection = (results) =>
  paragraphs([
    caveat(results),
    ratiosOf(results),
    ratios(results),
    ...images(results, 'bench/results/', isShown),
    `Measured ${measuredOn(results)}. ${versionsOf(results)}.`,
  ])

/**
 * The page beside the results: every figure.
 *
 * @param {Results} results
 */
export const resultsPage = (results) =>
  `${paragraphs([
    '# Results of the benchmark',
    'Written by `npm run bench`; [../README.md](../README.md) says how it is measured.',
    caveat(results),
    `Measured ${measuredOn(results)}. ${versionsOf(results)}.`,
    absent(results)
      .map((line) => `- ${line}`)
      .join('\n'),
    '## CPU time',
    ratiosOf(results),
    ratios(results),
    'Each cell, also of one visitor alone:',
    everyCell(results),
    '## Latency',
    latencies(results),
    '## Memory, bytes, round trips',
    sizes(results),
    '## Charts',
    ...images(results, ''),
  ])}\n`

/**
 * The README with the section of a run in it.
 *
 * @param {string} readme @param {Results} results
 * @throws {Error} it has no place for it
 */
export function withSection(readme, results) {
  const [begin = '', end = ''] = MARKS
  const [from, to] = [readme.indexOf(begin), readme.indexOf(end)]
  if (from === -1 || to < from) throw new Error(`the README has no ${begin} … ${end}`)
  return `${readme.slice(0, from + begin.length)}\n\n${readmeSection(results)}\n\n${readme.slice(to)}`
}
