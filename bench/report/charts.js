// The JSON of a run -> the charts of the README.
import { crowdOf, find } from './results.js'
import { svg } from './svg.js'

/** @typedef {import('./results.js').Results} Results */
/** @typedef {import('./results.js').Peer} Peer */
/** @typedef {import('../check.js').Row} Row */
/** @typedef {import('./svg.js').Group} Group */
/** @typedef {import('./svg.js').Line} Line */

/** What a server does is compared with what does the same. @type {Record<import('./results.js').Format, string>} */
export const FORMATS = {
  sealed: 'Encrypted cookie',
  signed: 'Signed cookie, which its visitor can read',
  store: 'An id in the cookie, the data in a store',
}

/** @type {Record<Row, string>} */
export const ROW_TITLES = {
  untouched: 'Session mounted, not touched',
  read: 'Session read',
  written: 'Session written',
}

/** @param {number} value */
export const figure = (value) => (value < 100 ? value.toFixed(2) : Math.round(value).toLocaleString('en'))

/** @param {number} bytes */
export const megabytes = (bytes) => (bytes / 1e6).toFixed(1)

/**
 * Peers by what they do, the cheapest first; without those that have no line.
 *
 * @param {Results} results @param {(peer: Peer) => (Line & { order: number }) | undefined} lineOf
 * @returns {Group[]}
 */
function groups(results, lineOf) {
  return Object.entries(FORMATS)
    .map(([format, title]) => {
      const own = results.peers.filter((peer) => peer.format === format)
      const lines = own.flatMap((peer) => lineOf(peer) ?? []).toSorted((a, b) => a.order - b.order)
      return { title, lines }
    })
    .filter(({ lines }) => lines.length > 0)
}

/** @param {Group[]} all */
const inWords = (all) =>
  all.map(({ title, lines }) => `${title}: ${lines.map(({ label, text }) => `${label} ${text}`).join('; ')}.`).join(' ')

/** @param {Results} results @param {Row} row */
function ratioChart(results, row) {
  const visitors = crowdOf(results)
  const all = groups(results, ({ name, title, ours }) => {
    const many = find(results, name, row, visitors)
    if (many === undefined) return undefined
    const one = visitors === 1 ? undefined : find(results, name, row, 1)
    const { median, min, max } = many.ratio
    const marks = [
      ...(one ? [{ kind: /** @type {const} */ ('ring'), value: one.ratio.median }] : []),
      { kind: /** @type {const} */ ('dot'), value: median },
    ]
    const text = `${figure(median)} (${figure(min)}–${figure(max)})`
    return { label: title, ours, marks, range: [min, max], text, order: median }
  })
  if (all.length === 0) return undefined
  const title = `${ROW_TITLES[row]}: CPU time of a request, × bare node:http`
  const ring = results.rows.some((one) => one.visitors === 1) && visitors > 1 ? '; ○ one visitor' : ''
  return svg({
    title,
    description: `Median and range of the rounds, of ${visitors} visitors. ${inWords(all)}`,
    legend: `● ${visitors.toLocaleString('en')} visitors in turn, with the range of the rounds${ring}. Less is better; logarithmic.`,
    panels: [{ title: '× bare', scale: 'log', base: 1, groups: all }],
  })
}

/** @param {string} label @param {boolean} ours @param {import('../latency.js').Latency} latency */
function latencyLine(label, ours, { p50, p99, p999 }) {
  if (p50 === undefined || p99 === undefined || p999 === undefined) {
    return { label, ours, marks: [], text: 'rate not kept', order: Infinity }
  }
  /** @type {import('./svg.js').Mark[]} */
  const marks = [
    { kind: 'tick', value: p999 },
    { kind: 'ring', value: p99 },
    { kind: 'dot', value: p50 },
  ]
  const text = [p50, p99, p999].map(figure).join(' · ')
  return { label, ours, marks, range: /** @type {[number, number]} */ ([p50, p999]), text, order: p50 }
}

/** @param {Results} results */
function latencyChart(results) {
  const rate = results.rows.find(({ latency }) => latency)?.latency?.rate
  if (rate === undefined) return undefined
  const visitors = crowdOf(results)
  const panels = /** @type {Row[]} */ (['read', 'written']).flatMap((row) => {
    const bare = results.bare.filter((one) => one.row === row)
    const plain = {
      title: 'No session',
      lines: bare.map(({ latency }) => latencyLine('bare node:http', false, latency)),
    }
    const peers = groups(results, ({ name, title, ours }) => {
      const { latency } = find(results, name, row, visitors) ?? {}
      return latency && latencyLine(title, ours, latency)
    })
    const all = [plain, ...peers].filter(({ lines }) => lines.length > 0)
    /** @type {import('./svg.js').Panel} */
    const panel = { title: `${ROW_TITLES[row]}, ms`, scale: 'log', groups: all }
    return all.length === 0 ? [] : [panel]
  })
  return svg({
    title: `Latency at ${rate.toLocaleString('en')} requests a second`,
    description: `p50, p99 and p99.9 in milliseconds. ${panels.map((one) => `${one.title}. ${inWords(one.groups)}`).join(' ')}`,
    legend: '● p50   ○ p99   | p99.9. Less is better; logarithmic.',
    panels,
  })
}

/** @param {Results} results */
function memoryChart(results) {
  if (results.memory.length === 0) return undefined
  /** @param {string} title @param {(memory: Results['memory'][number]) => [number, string]} valueOf */
  const panel = (title, valueOf) => {
    const all = groups(results, ({ name, title: label, ours }) => {
      const memory = results.memory.find(({ peer }) => peer === name)
      if (memory === undefined) return undefined
      const [value, note] = valueOf(memory)
      const shown = Math.max(0, value / 1e6)
      return { label, ours, marks: [{ kind: 'bar', value: shown }], text: `${megabytes(value)}${note}`, order: value }
    })
    return { title, scale: /** @type {const} */ ('linear'), base: 0, groups: all }
  }
  const panels = [
    panel('At rest, MB of the process (rss)', ({ rest }) => [rest.rss, '']),
    panel('Per 10,000 sessions held, MB of the heap', ({ per10k }) =>
      per10k.heapUsed === undefined ? [per10k.rss, ' (rss)'] : [per10k.heapUsed, ''],
    ),
  ]
  return svg({
    title: 'Memory of the server process',
    description: panels.map((one) => `${one.title}. ${inWords(one.groups)}`).join(' '),
    legend: 'After a full garbage collection. Less is better.',
    panels,
  })
}

/**
 * The charts that a run gives, by the name of their file.
 *
 * @param {Results} results
 * @returns {Record<string, string>}
 */
export function charts(results) {
  const all = {
    'untouched.svg': ratioChart(results, 'untouched'),
    'read.svg': ratioChart(results, 'read'),
    'written.svg': ratioChart(results, 'written'),
    'latency.svg': latencyChart(results),
    'memory.svg': memoryChart(results),
  }
  return Object.fromEntries(Object.entries(all).flatMap(([name, text]) => (text === undefined ? [] : [[name, text]])))
}
