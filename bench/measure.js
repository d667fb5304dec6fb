// One cell of one round: a peer and the bare server, in fresh processes, in turns under load.
import { setTimeout as pause } from 'node:timers/promises'
import { must, sample, whose } from './check.js'
import { ask, serve, stop, usage } from './processes.js'
import { signIn, visit } from './load/visit.js'

/** @typedef {import('./processes.js').Server} Server */
/** @typedef {import('./check.js').Row} Row */
/** @typedef {import('./peers.js').Peer} Peer */
/** @typedef {import('./load/visit.js').Answer} Answer */
/** @typedef {{ cpu: number, requests: number, answered: number, seconds: number, bytes: number }} Used `cpu` in microseconds */
/** @typedef {{ round: number, ratio: number, cpu: number, bareCpu: number, requestsPerSecond: number, bareRequestsPerSecond: number, bytes: number, bareBytes: number }} Round */
/** @typedef {{ cookieBytes: number, setCookieBytes: number }} Sizes */
/** @typedef {{ peer: Peer, row: Row, visitors: number }} Cell */
/**
 * What all cells share. `crowds`: by peer, the cookies of those who have signed in.
 *
 * @typedef {{
 *   backends: import('./backends.js').Backends, generator: import('./processes.js').ChildProcess,
 *   bare: import('./processes.js').Program, crowds: Map<string, string[]>,
 *   seconds: number, warmup: number, connections: number, profile: string | undefined,
 * }} Bench
 */

/** Seconds of one turn. The shorter, the more alike is what else the machine does in the turns of both. */
const TURN = 0.5

/** Seconds of a turn of a server that answered `FEW` in the warm-up, so that the figure is not made of a handful. */
const SLOW_TURN = 2

const FEW = 100

/** Turns of a warm-up. */
const MOST_WARMUPS = 4

/** Of one core: a server that uses more is still at work. */
const BUSY = 0.3

/** By how much the bytes of an answer of the two may differ, of what the peer sends. */
const APART = 0.05

/** What node:http sends by itself. */
const OWN = new Set(['date', 'connection', 'keep-alive'])

/** How long these are, which a server that is no Node need not send. */
const OWN_BYTES = 90

/**
 * Visitors who have signed in. Those of an earlier process stay, unless its sessions ended with it.
 *
 * @param {Bench} bench @param {Peer} peer @param {number} port @param {number} count
 */
export async function crowd({ crowds }, peer, port, count) {
  const known = crowds.get(peer.name)
  if (known && known.length >= count) {
    const last = known.length - 1
    const { body } = await visit(port, '/read', known[last])
    if (body.startsWith(whose(last))) return known.slice(0, count)
  }
  const cookies = await signIn(port, count)
  // one alone is not told from a stranger, whose page is that of the first visitor
  if (count > 1) crowds.set(peer.name, cookies)
  return cookies
}

/**
 * A bare server that sends what the peer sends in this row: status, headers, and a body of the same length.
 *
 * @param {Bench} bench @param {Answer} answer
 */
export function serveBare({ bare }, { status, headers, body }) {
  const sent = headers.filter(([name]) => !OWN.has(name))
  return serve(bare, { answer: { status, headers: sent, length: Buffer.byteLength(body) } })
}

/**
 * @param {Bench} bench @param {Server} server @param {string} path @param {number} seconds
 * @returns {Promise<Used>}
 */
export async function turn({ generator, connections }, server, path, seconds) {
  const before = await usage(server)
  const job = { port: server.port, path, connections, seconds }
  const load = await ask(generator, job, 'the load generator')
  const after = await settled(server)
  const { answered, resets, bytes } = load
  const requests = after.requests === undefined ? answered : after.requests - (before.requests ?? 0)
  // Puma, which counts none, closes connections while others wait, and what was written into them was not worked on
  const failed = load.failed - (after.requests === undefined ? resets : 0)
  const isAll = Math.abs(requests - answered) <= connections
  must(failed === 0 && isAll, `${path}: ${failed} failed, ${answered} of ${requests} answered`)
  return { cpu: after.cpu - before.cpu, requests, answered, seconds: load.seconds, bytes }
}

/**
 * What a server used when it has done with what was under way as the turn ended. That is of this turn's requests, and
 * must not be in the way of the next turn.
 *
 * @param {Server} server
 */
async function settled(server) {
  let before = await usage(server)
  for (let i = 0; i < 500; i++) {
    const from = performance.now()
    await pause(15)
    const after = await usage(server)
    if (after.cpu - before.cpu < (performance.now() - from) * 1000 * BUSY) return after
    before = after
  }
  throw new Error('it goes on working when nobody asks')
}

/** @param {Used[]} turns @returns {Used} */
function sum(turns) {
  const total = (/** @type {keyof Used} */ what) => turns.reduce((all, one) => all + one[what], 0)
  return {
    cpu: total('cpu'),
    requests: total('requests'),
    answered: total('answered'),
    seconds: total('seconds'),
    bytes: total('bytes'),
  }
}

/**
 * Until each visitor has come once: what a server does for those whom it sees for the first time is not what is timed.
 * One that is too slow for that has nothing to remember.
 *
 * @param {Bench} bench @param {Server} server @param {string} path @param {number} visitors
 * @returns {Promise<number>} how many were answered in the first turn
 */
async function warm(bench, server, path, visitors) {
  const { answered: first } = await turn(bench, server, path, bench.warmup)
  let answered = first
  for (let i = 1; i < MOST_WARMUPS && answered < visitors; i++) {
    answered += (await turn(bench, server, path, bench.warmup)).answered
  }
  return first
}

/**
 * @param {Bench} bench @param {Cell} cell @param {number} round from 1 on
 * @returns {Promise<Round & Sizes>}
 */
export async function measure(bench, { peer, row, visitors }, round) {
  const { generator, backends, seconds, warmup, profile } = bench
  const name = `${peer.name}-${row}-${visitors}-${round}.cpuprofile`
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`, `--cpu-prof-name=${name}`]
  /** @type {Server[]} */
  const servers = []
  try {
    const server = await serve(peer, backends.settings(peer.name), flags)
    servers.push(server)
    const cookies = await crowd(bench, peer, server.port, visitors)
    const answer = await sample(server.port, row, peer, cookies)
    const bare = await serveBare(bench, answer)
    servers.push(bare)
    await sameHeaders(bare, row, answer)
    generator.send({ visitors: cookies })

    const path = `/${row}`
    /** @type {Map<Server, Used[]>} */
    const turns = new Map(servers.map((one) => [one, []]))
    const pair = round % 2 === 0 ? [bare, server] : [server, bare]
    /** @type {Map<Server, number>} */
    const times = new Map()
    if (warmup > 0) {
      for (const one of pair) {
        times.set(one, (await warm(bench, one, path, visitors)) < FEW ? SLOW_TURN : TURN)
      }
    }
    for (let i = 0; i < Math.max(1, Math.round(seconds / TURN)); i++) {
      // a b, b a, a b, …: what drifts, drifts for both
      for (const one of i % 2 === 0 ? pair : pair.toReversed()) {
        turns.get(one)?.push(await turn(bench, one, path, times.get(one) ?? TURN))
      }
    }
    await sample(server.port, row, peer, cookies)
    const [used, plain] = [sum(turns.get(server) ?? []), sum(turns.get(bare) ?? [])]
    must(used.answered > 0 && plain.answered > 0, `/${row}: nothing was answered in ${seconds} s`)
    const bytes = used.bytes / used.answered
    const bareBytes = plain.bytes / plain.answered
    const own = server.pid === server.child.pid ? 0 : OWN_BYTES
    must(
      Math.abs(bareBytes - bytes) < bytes * APART + own,
      `bare sends ${bareBytes} bytes an answer, ${peer.name} ${bytes}`,
    )
    const cpu = used.cpu / used.requests
    const bareCpu = plain.cpu / plain.requests
    return {
      round,
      ratio: cpu / bareCpu,
      cpu,
      bareCpu,
      requestsPerSecond: used.answered / used.seconds,
      bareRequestsPerSecond: plain.answered / plain.seconds,
      bytes,
      bareBytes,
      cookieBytes: cookies[0]?.length ?? 0,
      setCookieBytes: answer.cookies.join('').length,
    }
  } finally {
    await Promise.all(servers.map(stop))
  }
}

/** @param {Server} bare @param {Row} row @param {Answer} answer the peer's */
async function sameHeaders(bare, row, answer) {
  const plain = await visit(bare.port, `/${row}`)
  const lines = (/** @type {Answer} */ { headers }) =>
    headers
      .filter(([name]) => !OWN.has(name))
      .map(([name, value]) => `${name}: ${value}`)
      .toSorted()
      .join('; ')
  must(lines(plain) === lines(answer), `bare sends ${lines(plain)}, and the peer ${lines(answer)}`)
  must(plain.status === answer.status && plain.body.length === answer.body.length, 'bare sends a page of that length')
}
