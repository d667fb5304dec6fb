// What the command is told.
import { parseArgs } from 'node:util'
import { ROWS } from './check.js'

/** @typedef {import('./check.js').Row} Row */
/** `isFull`: nothing was asked for but the whole. */
/**
 * @typedef {{
 *   only: string[] | undefined, rows: Row[], visitors: number[], rounds: number, seconds: number, warmup: number,
 *   connections: number, latency: number, json: string | undefined, out: string | undefined,
 *   profile: string | undefined, readme: boolean, help: boolean, isFull: boolean,
 * }} Options
 */

const PLANNED = /** @type {const} */ ({
  only: { type: 'string' },
  rows: { type: 'string' },
  visitors: { type: 'string' },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  warmup: { type: 'string' },
  connections: { type: 'string' },
  latency: { type: 'string' },
  profile: { type: 'string' },
})

/** The whole plan, and the shorter one of some peers only. */
const WHOLE = { rounds: '4', visitors: '1,10000' }
const SOME = { rounds: '2', visitors: '10000' }

/** @param {readonly string[]} peers */
export const help = (peers) => `npm run bench -- [options]

Without options: all peers, all rows, and the results into bench/results and README.md.

  --only a,b         peers: ${peers.join(', ')};
                     fewer rounds and visitors, unless they are given
  --rows a,b         pages: ${ROWS.join(', ')}
  --visitors n,n     how many cookies take turns (${WHOLE.visitors}; with --only ${SOME.visitors})
  --rounds n         rounds, each with fresh server processes (${WHOLE.rounds}; with --only ${SOME.rounds})
  --seconds n        seconds under load of each server in a round, in turns of half a second (1)
  --warmup n         seconds under load before that (1.5)
  --connections n    kept-alive connections, each with one request under way (32)
  --latency n        requests a second at which the latency is measured; 0 is not at all (1000)
  --json file        writes the results; - is standard output, with the tables on standard error
  --out folder       writes results.json and the charts
  --profile folder   writes a CPU profile of each server; the figures are then not to be used
  --readme           measures nothing: writes bench/results/results.json into README.md and the charts
  --help             this`

/**
 * @param {string[]} args @param {readonly string[]} peers
 * @returns {Options}
 * @throws {Error} what is wrong with them
 */
export function optionsOf(args, peers) {
  const { values } = parseArgs({
    args,
    options: {
      ...PLANNED,
      json: { type: 'string' },
      out: { type: 'string' },
      readme: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const usual = values.only === undefined ? WHOLE : SOME
  const only = values.only === undefined ? undefined : listOf('only', values.only, peers)
  const rows = /** @type {Row[]} */ (listOf('rows', values.rows ?? ROWS.join(','), ROWS))
  const visitors = (values.visitors ?? usual.visitors).split(',').map((text) => number('visitors', text, 1, 89_999))
  return {
    only,
    rows: ROWS.filter((row) => rows.includes(row)),
    visitors,
    rounds: number('rounds', values.rounds ?? usual.rounds, 1),
    seconds: number('seconds', values.seconds ?? '1', 0.5),
    warmup: number('warmup', values.warmup ?? '1.5', 0),
    connections: number('connections', values.connections ?? '32', 1),
    latency: number('latency', values.latency ?? '1000', 0),
    json: values.json,
    out: values.out,
    profile: values.profile,
    readme: values.readme,
    help: values.help,
    isFull: Object.keys(PLANNED).every((name) => !(name in values)),
  }
}

/** @param {string} name @param {string} text @param {readonly string[]} known */
function listOf(name, text, known) {
  const list = text.split(',')
  for (const one of list) if (!known.includes(one)) throw new Error(`--${name}: no ${one}, only ${known.join(', ')}`)
  return list
}

/** @param {string} name @param {string} text @param {number} least @param {number} [most] */
function number(name, text, least, most = Infinity) {
  const value = Number(text)
  if (text !== '' && value >= least && value <= most) return value
  throw new Error(`--${name} takes a number from ${least} on, and not ${JSON.stringify(text)}`)
}
