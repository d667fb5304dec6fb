// What the figures of a fleet rest on: each value with its unit and where it is from.
import { crowdOf, find } from '../report/results.js'

/** @typedef {{ value: number, unit: string, what: string, source: string }} Assumption */
/** @typedef {import('../report/results.js').Results} Results */

/** A cell of ours with the largest crowd. @param {Results} results @param {string} peer @param {import('../check.js').Row} row */
const cell = (results, peer, row) => find(results, peer, row, crowdOf(results))

const SPEC = 'Redis Cluster specification'

/** Of `node capacity.js --measure`. */
const MEASURED = ''

/** @type {Record<string, Assumption>} */
const GIVEN = {
  untouched: { value: 20, unit: '%', what: 'requests that do not touch the session', source: 'assumed' },
  written: { value: 10, unit: '%', what: 'requests that change it; the others read it', source: 'assumed' },
  'visit-rate': { value: 0.1, unit: '/s', what: 'requests of one visitor during a visit', source: 'assumed' },
  visit: { value: 300, unit: 's', what: 'length of a visit', source: 'assumed' },
  'expire-after': { value: 1800, unit: 's', what: '`expireAfter`', source: 'assumed' },
  'refresh-every': { value: 180, unit: 's', what: '`refreshEvery`', source: 'a tenth of `expireAfter`: the default' },
  app: { value: 0, unit: 'µs', what: "CPU of the application's own work a request", source: 'to be given: `--app`' },
  'core-use': { value: 70, unit: '%', what: 'of a core of Node that is used at most', source: 'assumed' },
  zones: { value: 3, unit: '', what: 'availability zones, of which one may be lost', source: 'assumed' },
  'redis-use': {
    value: 50,
    unit: '%',
    what: 'of the core of a Redis that is used at most',
    source: 'from the simulation',
  },
  replicas: { value: 1, unit: '', what: 'replicas of each master', source: 'assumed' },
  'round-trip': {
    value: 0.5,
    unit: 'ms',
    what: 'network, there and back',
    source: '"Latency numbers every programmer should know" (J. Dean): within a data centre',
  },
  deadline: { value: 1000, unit: 'ms', what: '`deadline` of the store', source: 'its default' },
  'retry-every': { value: 100, unit: 'ms', what: 'ioredis tries again', source: '`retryDelayOnFailover`: its default' },
  'retry-for': {
    value: 800,
    unit: 'ms',
    what: 'ioredis goes on trying',
    source: '`maxRedirections` 16, two for each try (refused, `MOVED`): its source, 6.0.0',
  },
  'node-timeout': { value: 5000, unit: 'ms', what: '`cluster-node-timeout`', source: 'assumed; its default is 15000' },
  election: { value: 1000, unit: 'ms', what: 'until a replica is elected', source: `${SPEC}: 500 to 1000, the most` },
  reload: {
    value: 50,
    unit: '%',
    what: 'failed requests that visitors send again, where it is said',
    source: 'assumed',
  },
  'reload-after': { value: 1000, unit: 'ms', what: 'after which they do', source: 'assumed' },
  'store-read': { value: NaN, unit: 'µs', what: 'CPU of Redis: `HGETALL`', source: MEASURED },
  'store-write': { value: NaN, unit: 'µs', what: 'CPU of Redis: the script that updates', source: MEASURED },
  'store-refresh': {
    value: NaN,
    unit: 'µs',
    what: 'CPU of Redis: the same, that moves the expiry too',
    source: MEASURED,
  },
  'session-bytes': { value: NaN, unit: 'B', what: 'memory of Redis a session', source: MEASURED },
  'replicated-bytes': { value: NaN, unit: 'B', what: 'to each replica a write', source: MEASURED },
  cache: {
    value: 16 * 2 ** 20,
    unit: 'B',
    what: 'text in the cache of opened cookies, a process and cookie name',
    source: '`lib/opened-cookies.ts`',
  },
  'cookie-rss': {
    value: 112,
    unit: 'MB',
    what: 'memory of a process of Node: cookie, its cache full',
    source: '`soak.md`',
  },
}

/** Names of what is taken from the results, and how. @type {[string, string, string, (results: Results) => number | undefined][]} */
const FROM_RESULTS = [
  ...['cookie', 'redis'].flatMap((peer) =>
    /** @type {const} */ (['untouched', 'read', 'written']).map(
      (row) =>
        /** @type {[string, string, string, (results: Results) => number | undefined]} */ ([
          `${peer}-${row}`,
          'µs',
          `CPU of Node, ${peer}: ${row}`,
          (results) => cell(results, peer, row)?.cpu,
        ]),
    ),
  ),
  ['cookie-bytes', 'B', 'cookie that seals', (results) => cell(results, 'cookie', 'read')?.cookieBytes],
  ['set-cookie-bytes', 'B', 'its Set-Cookie', (results) => cell(results, 'cookie', 'written')?.setCookieBytes],
  ['id-bytes', 'B', 'cookie of an id', (results) => cell(results, 'redis', 'read')?.cookieBytes],
  ['read-out', 'B', 'to Redis: read', (results) => cell(results, 'redis', 'read')?.store?.bytesOut],
  ['read-in', 'B', 'from Redis: read', (results) => cell(results, 'redis', 'read')?.store?.bytesIn],
  ['written-out', 'B', 'to Redis: read and written', (results) => cell(results, 'redis', 'written')?.store?.bytesOut],
  ['written-in', 'B', 'from Redis: read and written', (results) => cell(results, 'redis', 'written')?.store?.bytesIn],
  ['redis-rss', 'MB', 'memory of a process of Node: Redis, after the load', (results) => rss(results, 'redis')],
]

/** After the load. @param {Results} results @param {string} peer */
function rss({ memory }, peer) {
  const bytes = memory.find((one) => one.peer === peer)?.afterLoad.rss
  return bytes === undefined ? undefined : Math.round(bytes / 1e6)
}

/** A cookie that is not in the cache of opened cookies. No row of the results has it. */
const UNKNOWN = {
  'cookie-read-unknown': 'CPU of Node, cookie not in the cache: read',
  'cookie-written-unknown': 'CPU of Node, cookie not in the cache: written',
}

/** What may be given on the command line, beside those that come from the results. */
export const names = () => [...Object.keys(GIVEN), ...Object.keys(UNKNOWN), ...FROM_RESULTS.map(([name]) => name)]

/**
 * @param {Results} results @param {Record<string, string | undefined>} flags
 * @param {Record<string, number> | undefined} measured @param {string} measuredAt
 * @returns {Record<string, Assumption>}
 * @throws {Error} where one is missing, or no number
 */
export function assumptionsOf(results, flags, measured, measuredAt) {
  const date = results.date.slice(0, 10)
  /** @type {Record<string, Assumption>} */
  const all = { ...GIVEN }
  for (const [name, unit, what, of] of FROM_RESULTS) {
    all[name] = {
      value: of(results) ?? NaN,
      unit,
      what,
      source: `\`results.json\`, ${date}, ${crowdOf(results).toLocaleString('en-GB')} visitors`,
    }
  }
  for (const [name, what] of Object.entries(UNKNOWN)) all[name] = { value: NaN, unit: 'µs', what, source: '' }
  for (const [name, value] of Object.entries(measured ?? {})) {
    const one = all[name]
    if (one) all[name] = { ...one, value, source: `\`--measure\`, ${measuredAt}` }
  }
  for (const [name, one] of Object.entries(all)) {
    const given = flags[name]
    if (given !== undefined) all[name] = { ...one, value: given === '' ? NaN : Number(given), source: 'given' }
    const value = all[name]?.value ?? NaN
    if (!(value >= 0)) throw new Error(`${name} (${one.what}) is not known: give --${name} a number.`)
  }
  return all
}
