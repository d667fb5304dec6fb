// What a run does, step by step, and about how long each step takes.

/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./peers.js').Peer} Peer */
/** @typedef {import('./check.js').Row} Row */
/**
 * `guess` is in seconds.
 *
 * @typedef {{ guess: number, peer: Peer } & (
 *   { kind: 'check' } | { kind: 'traffic' } | { kind: 'memory' } |
 *   { kind: 'round', round: number, row: Row, visitors: number } |
 *   { kind: 'latency', row: Row, visitors: number, isBare: boolean }
 * )} Step
 */

/** Seconds that processes take to start, to be signed in at and to end: a guess for the forecast alone. */
const AROUND = 1.2

/**
 * Seconds at the fixed rate: enough answers for a p99.9 in the whole plan, and less when it is to be quick.
 *
 * @param {Options} options
 */
export const latencySeconds = ({ rounds, seconds, isFull }) => (isFull ? 10 : Math.min(5, 2 * rounds * seconds))

/** Turned by one place each round, and the other way round in every second one, so that nobody is always after the same. */
/** @template T @param {readonly T[]} list @param {number} round @returns {T[]} */
function rotated(list, round) {
  const place = round % Math.max(1, list.length)
  const turned = [...list.slice(place), ...list.slice(0, place)]
  return round % 2 === 0 ? turned.toReversed() : turned
}

/** @param {readonly Peer[]} peers @param {Options} options @returns {Step[]} */
export function planOf(peers, options) {
  const { rows, visitors, rounds, seconds, warmup, latency } = options
  const cells = visitors.flatMap((count) => rows.map((row) => ({ row, visitors: count })))
  const crowd = Math.max(...visitors)
  const paced = rows.filter((row) => row !== 'untouched')
  const can = (/** @type {Peer} */ peer, /** @type {Row} */ row) => peer.rows.includes(row)

  /** @type {Step[]} */
  const checks = peers.map((peer) => ({ kind: 'check', guess: AROUND, peer }))
  // all peers of a cell after one another, so that they meet the same machine
  const guess = 2 * (warmup + seconds) + AROUND
  /** @type {Step[]} */
  const measured = Array.from({ length: rounds }, (_, i) => i + 1).flatMap((round) =>
    cells.flatMap((cell) =>
      rotated(peers, round)
        .filter((peer) => can(peer, cell.row))
        .map((peer) => ({ kind: /** @type {const} */ ('round'), guess, peer, round, ...cell })),
    ),
  )
  const wait = latencySeconds(options) + 1 + AROUND
  const [first] = peers
  /** @type {Step[]} */
  const latencies =
    latency === 0
      ? []
      : paced.flatMap((row) => [
          ...(first
            ? [{ kind: /** @type {const} */ ('latency'), guess: wait, peer: first, row, visitors: crowd, isBare: true }]
            : []),
          ...peers
            .filter((peer) => can(peer, row))
            .map((peer) => ({
              kind: /** @type {const} */ ('latency'),
              guess: wait,
              peer,
              row,
              visitors: crowd,
              isBare: false,
            })),
        ])
  /** @type {Step[]} */
  const memories = peers.map((peer) => ({ kind: 'memory', guess: AROUND + 2 + seconds, peer }))
  /** @type {Step[]} */
  const traffics = peers.filter(asksStore).map((peer) => ({ kind: 'traffic', guess: AROUND, peer }))
  return [...checks, ...measured, ...latencies, ...memories, ...traffics]
}

/** Whether its sessions are in another process. @param {Peer} peer */
export const asksStore = ({ needs }) => needs.includes('redis') || needs.includes('memcached')

/** Of the bare server alone. @param {Step} step */
export const isOfBare = (step) => step.kind === 'latency' && step.isBare

/** @param {Step} step */
export function titleOf(step) {
  const who = (isOfBare(step) ? 'bare' : step.peer.name).padEnd(24)
  if (step.kind === 'round') return `${`round ${step.round}  ${step.row} ${step.visitors}`.padEnd(26)} ${who}`
  if (step.kind === 'latency') return `${`latency  ${step.row}`.padEnd(26)} ${who}`
  return `${step.kind.padEnd(26)} ${who}`
}
