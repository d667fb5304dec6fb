// The JSON of a run: rounds become medians.

/** @typedef {{ median: number, min: number, max: number }} Spread */
/** @typedef {import('../measure.js').Round} Round */
/** @typedef {import('../check.js').Row} Row */
/** @typedef {import('../latency.js').Latency} Latency */
/** @typedef {import('../processes.js').Memory} Memory */
/** @typedef {import('../load/counting-proxy.js').Traffic} Traffic */
/** `ratio` is to bare node:http; `cpu` and `bareCpu` are microseconds a request. */
/**
 * @typedef {{
 *   peer: string, row: Row, visitors: number, ratio: Spread, cpu: number, bareCpu: number,
 *   requestsPerSecond: number, bareRequestsPerSecond: number, cookieBytes: number, setCookieBytes: number,
 *   latency?: Latency, store?: Traffic, rounds: Round[],
 * }} Cell
 */
/** @typedef {import('../peers.js').Format} Format */
/** @typedef {{ name: string, title: string, format: Format, ours: boolean, signIn?: Traffic }} Peer */
/** @typedef {{ peer: string, reason: string }} Absent */
/**
 * @typedef {{
 *   date: string, node: string, machine: import('../machine.js').Machine, load: { before: number, after: number },
 *   versions: Record<string, string>, commit: string, options: Record<string, string | number>,
 *   peers: Peer[], failed: Absent[], missing: Absent[], rows: Cell[], bare: { row: Row, latency: Latency }[],
 *   memory: { peer: string, rest: Memory, per10k: Memory, afterLoad: Memory }[],
 * }} Results
 */

/** @param {number[]} values @returns {Spread} */
export function spread(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  const [low = 0, high = 0] = sorted.length % 2 === 1 ? [sorted[half], sorted[half]] : [sorted[half - 1], sorted[half]]
  return { median: rounded((low + high) / 2), min: rounded(sorted[0] ?? 0), max: rounded(sorted.at(-1) ?? 0) }
}

/** Four figures are more than the rounds agree on. @param {number} value */
const rounded = (value) => Number(value.toPrecision(4))

/**
 * A cell of the table from its rounds. The ratio is made of each round, and the median of the ratios.
 *
 * @param {{ peer: string, row: Row, visitors: number }} cell
 * @param {readonly (Round & import('../measure.js').Sizes)[]} found
 * @returns {Cell}
 */
export function cellOf(cell, found) {
  const median = (/** @type {keyof Round} */ what) => spread(found.map((one) => one[what])).median
  return {
    ...cell,
    ratio: spread(found.map(({ ratio }) => ratio)),
    cpu: median('cpu'),
    bareCpu: median('bareCpu'),
    requestsPerSecond: Math.round(median('requestsPerSecond')),
    bareRequestsPerSecond: Math.round(median('bareRequestsPerSecond')),
    cookieBytes: found[0]?.cookieBytes ?? 0,
    setCookieBytes: found[0]?.setCookieBytes ?? 0,
    rounds: found.map((one) => ({
      round: one.round,
      ratio: rounded(one.ratio),
      cpu: rounded(one.cpu),
      bareCpu: rounded(one.bareCpu),
      requestsPerSecond: rounded(one.requestsPerSecond),
      bareRequestsPerSecond: rounded(one.bareRequestsPerSecond),
      bytes: rounded(one.bytes),
      bareBytes: rounded(one.bareBytes),
    })),
  }
}

/** The largest crowd of a run: what the tables and charts show first. @param {Results} results */
export const crowdOf = ({ rows }) => Math.max(0, ...rows.map(({ visitors }) => visitors))

/** @param {Results} results @param {string} peer @param {Row} row @param {number} visitors */
export const find = (results, peer, row, visitors) =>
  results.rows.find((one) => one.peer === peer && one.row === row && one.visitors === visitors)
