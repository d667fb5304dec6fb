// What growth.js measures: charts, each with lines of points.
import { availableParallelism } from 'node:os'

/** @typedef {import('./fill.js').Filling} Filling */
/** @typedef {'cookie' | 'memory' | 'sqlite' | 'redis'} Store */
/** @typedef {'untouched' | 'read' | 'written'} Row */
/**
 * `filling`: the sessions that there are at a point. `settings`: of the server, beside where its store is. `workers`:
 * processes. `reseals`: a page that was only read sends a cookie.
 *
 * @typedef {{
 *   label: string, store: Store, row: Row, points: number[], filling: (n: number) => Filling,
 *   settings?: (n: number) => object, workers?: (n: number) => number, reseals?: (n: number) => boolean,
 * }} Line
 */
/** @typedef {{ name: string, topic: string, title: string, x: string, logX: boolean, logY: boolean, lines: Line[] }} Chart */

export const TOPICS = ['size', 'keys', 'layers', 'secrets', 'rows', 'processes']

const CROWD = 10_000

/** So few that the cookies of all, of any size, stay in the cache of opened cookies. */
const KNOWN = 2_000

/** Characters of cookies, half as many again as that cache takes: asked for in turns, none is found. */
const UNKNOWN = 24 * 1024 * 1024

/** Bytes of all sessions of a point, so that a hundred kilobytes for each of 10,000 visitors need not be held. */
const HELD = 50e6

/** @param {number} n */
const crowd = (n) => ({ sessions: n, visitors: n })

/** Visitors enough that their cookies do not stay in the cache. @param {number} bytes of JSON */
const unknown = (bytes) => crowd(Math.min(60_000, Math.ceil(UNKNOWN / (150 + (bytes + 80) * 1.85))))

/** @param {number} bytes */
const held = (bytes) => crowd(Math.max(200, Math.min(CROWD, Math.floor(HELD / bytes))))

/** @type {Store[]} */
const STORES = ['memory', 'sqlite', 'redis']
/** @type {Row[]} */
const ROWS = ['read', 'written']

/** For each of these stores a page that reads and one that writes. @param {Store[]} stores @param {Omit<Line, 'label' | 'store' | 'row'>} line @returns {Line[]} */
const linesOf = (stores, line) =>
  stores.flatMap((store) => ROWS.map((row) => ({ ...line, label: `${store}, ${row}`, store, row })))

const sizes = [100, 500, 1000, 1500, 1900]
/** Three are of every visitor. */
const keys = [3, 10, 50, 100, 200]
const sealedOf = (/** @type {number} */ bytes) => ({ ...unknown(bytes), bytes })

/** @returns {number[]} 1, 2, 4, … and all cores */
function powers() {
  const cores = availableParallelism()
  return [1, 2, 4, 8, 16, 32, 64, 128].filter((one) => one < cores).concat(cores)
}

/** @type {Chart[]} */
export const CHARTS = [
  {
    name: 'size-cookie',
    topic: 'size',
    title: 'The size of a session in a cookie',
    x: 'bytes of JSON',
    logX: false,
    logY: false,
    lines: [
      {
        label: 'read, opened lately',
        store: 'cookie',
        row: 'read',
        points: sizes,
        filling: (bytes) => ({ ...crowd(KNOWN), bytes }),
      },
      { label: 'read, not seen before', store: 'cookie', row: 'read', points: sizes, filling: sealedOf },
      { label: 'written, not seen before', store: 'cookie', row: 'written', points: sizes, filling: sealedOf },
    ],
  },
  {
    name: 'size-store',
    topic: 'size',
    title: 'The size of a session in a store',
    x: 'bytes of JSON',
    logX: true,
    logY: true,
    lines: linesOf(STORES, { points: [100, 1000, 10_000, 100_000], filling: (bytes) => ({ ...held(bytes), bytes }) }),
  },
  {
    name: 'keys',
    topic: 'keys',
    title: 'Keys in a session, of which one is written',
    x: 'keys',
    logX: false,
    logY: false,
    lines: [
      ...linesOf(['cookie'], { points: keys, filling: (n) => ({ ...unknown(55 + (n - 3) * 9), keys: n }) }),
      ...linesOf(STORES, { points: keys, filling: (n) => ({ ...crowd(CROWD), keys: n }) }),
    ],
  },
  {
    name: 'layers',
    topic: 'layers',
    title: 'Layers between the session and the page, that do nothing',
    x: 'layers',
    logX: false,
    logY: false,
    lines: ['untouched', 'read'].map((row) => ({
      label: row,
      store: 'cookie',
      row: /** @type {Row} */ (row),
      points: [0, 5, 10, 20, 50],
      filling: () => crowd(KNOWN),
      settings: (middleware) => ({ middleware }),
    })),
  },
  {
    name: 'secrets',
    topic: 'secrets',
    title: 'Secrets in the list, the cookie sealed by the last',
    x: 'secrets',
    logX: false,
    logY: false,
    lines: ROWS.map((row) => ({
      label: `${row}, not seen before`,
      store: 'cookie',
      row,
      points: [1, 2, 5, 10, 20],
      filling: () => unknown(55),
      settings: (/** @type {number} */ n) => ({ secrets: n }),
      reseals: (/** @type {number} */ n) => n > 1,
    })),
  },
  {
    name: 'rows',
    topic: 'rows',
    title: 'Sessions in the store',
    x: 'sessions',
    logX: true,
    logY: false,
    lines: linesOf(STORES, {
      points: [1e3, 1e4, 1e5, 1e6],
      filling: (sessions) => ({ sessions, visitors: Math.min(sessions, CROWD) }),
    }),
  },
  {
    name: 'processes',
    topic: 'processes',
    title: 'Processes on one machine',
    x: 'processes',
    logX: false,
    logY: false,
    lines: linesOf(['cookie', 'sqlite', 'redis'], {
      points: powers(),
      filling: () => crowd(CROWD),
      workers: (n) => n,
    }),
  },
]

/** A plan to try it out: the first, middle and last points, and no million rows. @param {Chart[]} charts @returns {Chart[]} */
export const quick = (charts) =>
  charts.map((chart) => ({
    ...chart,
    lines: chart.lines.map((line) => {
      const points = chart.topic === 'rows' ? line.points.filter((n) => n <= 1e4) : line.points
      return { ...line, points: [...new Set([points[0] ?? 0, points[points.length >> 1] ?? 0, points.at(-1) ?? 0])] }
    }),
  }))
