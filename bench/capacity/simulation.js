// One master of a Redis Cluster, command by command. Times are in seconds.
//
// A session is on one master, and arrivals that are split at random over masters are Poisson on each: so one master, and one
// that stops, stand for all.

/**
 * How a master stops. `pause`: it stands still, and then works off what has come in meanwhile (a fork, a frozen machine).
 * `failover`: it is gone with all that it had not answered; clients are refused and try again, until a replica has taken
 * its place.
 *
 * @typedef {{ kind: 'none' | 'pause' | 'failover', at: number, seconds: number }} Stop
 */
/**
 * `use`: the share of its time that the master works, as planned, before any request is sent again. `writeShare`: of the
 * requests, those that write after they have read. `retryFor`: how long a client tries. `reload`: the share of failed
 * requests that their visitors send again, `reloadAfter` later. `until`: when it ends.
 *
 * @typedef {{
 *   seed: number, use: number, readTime: number, writeTime: number, writeShare: number, service: 'exponential' | 'constant',
 *   roundTrip: number, deadline: number, retryEvery: number, retryFor: number, reload: number, reloadAfter: number,
 *   stop: Stop, until: number,
 * }} Scene
 */
/** `underWay`: commands that wait, on average. @typedef {{ p50: number, p99: number, p999: number, failed: number, underWay: number }} Phase */
/**
 * `recovered`: seconds from the end of the stop to the last request that failed; `undefined` where they fail to the end.
 *
 * @typedef {{ rate: number, before: Phase, during: Phase, after: Phase, recovered: number | undefined }} Course
 */

/** Seconds in which the queue gets its usual length, and which do not count. */
export const WARM_UP = 1

/** Seconds after the stop that count as after it. */
export const AFTER = 5

/** Of the last seconds: a failure there means that it has not recovered. */
const LAST = 2

/** Seconds before the stop that do not count: who waits then waits for its end. */
const NEAR = 0.1

/** Slots of a histogram to a factor of e: percentiles are right to a tenth of a percent. */
const STEPS = 1000

/** Numbers between 0 and 1, always the same for a seed (Mulberry32). @param {number} seed */
function generator(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** What is in order already. */
class Queue {
  /** @type {number[]} */
  #times = []
  #head = 0

  /** @param {number} time */
  push(time) {
    this.#times.push(time)
  }

  get first() {
    return this.#times[this.#head] ?? Infinity
  }

  take() {
    const time = this.first
    this.#head++
    return time
  }
}

/** Times that come in any order, to the millisecond. */
class Calendar {
  #counts
  #day = 0

  /** @param {number} until */
  constructor(until) {
    this.#counts = new Uint32Array(Math.ceil(until * 1000))
  }

  /** @param {number} time */
  push(time) {
    const day = Math.max(this.#day, Math.ceil(time * 1000))
    if (day < this.#counts.length) this.#counts[day] = (this.#counts[day] ?? 0) + 1
  }

  /** @param {number} limit later ones are not looked for */
  first(limit) {
    const end = Math.min(this.#counts.length, Math.ceil(limit * 1000))
    while (this.#day < end && this.#counts[this.#day] === 0) this.#day++
    return this.#day < end ? this.#day / 1000 : Infinity
  }

  take() {
    this.#counts[this.#day] = (this.#counts[this.#day] ?? 1) - 1
  }
}

class Tally {
  #counts = new Uint32Array(20 * STEPS)
  #commands = 0
  #waited = 0
  requests = 0
  failures = 0

  /** @param {number} seconds */
  add(seconds) {
    const slot = Math.round(Math.log(seconds * 1e6) * STEPS)
    const last = this.#counts.length - 1
    const place = slot < 0 ? 0 : slot > last ? last : slot
    this.#counts[place] = (this.#counts[place] ?? 0) + 1
    this.#commands++
    this.#waited += seconds
  }

  /** @param {number} part */
  #percentile(part) {
    let left = this.#commands * part
    for (const [slot, count] of this.#counts.entries()) {
      left -= count
      if (left <= 0 && count > 0) return Math.exp(slot / STEPS) / 1e6
    }
    return NaN
  }

  /** @param {number} seconds @returns {Phase} */
  over(seconds) {
    return {
      p50: this.#percentile(0.5),
      p99: this.#percentile(0.99),
      p999: this.#percentile(0.999),
      failed: this.requests === 0 ? 0 : this.failures / this.requests,
      underWay: this.#waited / seconds,
    }
  }
}

/** @param {Scene} scene @returns {Course} */
export function simulate(scene) {
  const { use, readTime, writeTime, writeShare, roundTrip, deadline, retryEvery, retryFor, stop, until } = scene
  const random = generator(scene.seed)
  const exponential = (/** @type {number} */ mean) => -mean * Math.log(1 - random())
  const service = (/** @type {number} */ mean) => (scene.service === 'constant' ? mean : exponential(mean))
  const rate = use / (readTime + writeShare * writeTime)
  const half = roundTrip / 2
  const resumes = stop.at + stop.seconds
  const [before, during, after] = [new Tally(), new Tally(), new Tally()]
  const nothing = new Tally()

  /** When Redis has done what it has. */
  let free = 0
  let lastFailure = -Infinity
  let arrival = exponential(1 / rate)
  /** Of requests that have read, and write. */
  const writes = new Queue()
  const reloads = new Calendar(until)
  /** Those that are tried again when there is a master. @type {{ at: number, first: number, isWrite: boolean }[]} */
  const landings = []
  let landed = -1

  /** @param {number} first */
  function tallyOf(first) {
    if (first < WARM_UP) return nothing
    if (first < stop.at) return first < stop.at - NEAR ? before : nothing
    if (first < resumes) return during
    return first < resumes + AFTER ? after : nothing
  }

  /** @param {number} first @param {number} waited */
  function fail(first, waited) {
    const tally = tallyOf(first)
    tally.add(waited)
    tally.failures++
    if (first > lastFailure) lastFailure = first
    if (random() < scene.reload) reloads.push(first + waited + scene.reloadAfter)
  }

  /** There is no master to send to. @param {number} first @param {boolean} isWrite @param {number} since */
  function retry(first, isWrite, since) {
    const at = since + Math.ceil((resumes - since) / retryEvery) * retryEvery
    if (at - since > retryFor) fail(first, Math.min(deadline, since + retryFor - first))
    else landings.push({ at, first, isWrite })
  }

  /** @param {number} at @param {number} first when it was sent for the first time @param {boolean} isWrite */
  function send(at, first, isWrite) {
    const arrives = at + half
    if (stop.kind === 'failover' && arrives >= stop.at && arrives < resumes) return retry(first, isWrite, arrives)
    let begins = free > arrives ? free : arrives
    if (stop.kind === 'pause' && begins >= stop.at && begins < resumes) begins = resumes
    let done = begins + service(isWrite ? writeTime : readTime)
    if (begins < stop.at && done > stop.at) {
      if (stop.kind === 'pause') done += stop.seconds
      if (stop.kind === 'failover') return retry(first, isWrite, stop.at)
    } else if (stop.kind === 'failover' && arrives < stop.at && begins >= stop.at) return retry(first, isWrite, stop.at)
    free = done
    const waited = done + half - first
    if (waited > deadline) return fail(first, deadline)
    tallyOf(first).add(waited)
    if (!isWrite && random() < writeShare) writes.push(done + half)
  }

  for (;;) {
    const write = writes.first
    const soonest = arrival < write ? arrival : write
    const again = reloads.first(soonest)
    const next = again < soonest ? again : soonest
    if (landed < 0 && next + half >= resumes) {
      landings.sort((a, b) => a.at - b.at)
      landed = 0
    }
    const landing = landed < 0 ? undefined : landings[landed]
    if (landing && landing.at <= next) {
      landed++
      send(landing.at, landing.first, landing.isWrite)
      continue
    }
    if (next >= until) break
    if (next === again) {
      reloads.take()
      tallyOf(again).requests++
      send(again, again, false)
    } else if (next === write) {
      send(writes.take(), write, true)
    } else {
      tallyOf(arrival).requests++
      send(arrival, arrival, false)
      arrival += exponential(1 / rate)
    }
  }
  return {
    rate,
    before: before.over(stop.at - NEAR - WARM_UP),
    during: during.over(stop.seconds),
    after: after.over(AFTER),
    recovered: lastFailure > until - LAST ? undefined : Math.max(0, lastFailure - resumes),
  }
}
