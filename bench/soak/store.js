// One store of the soak: its two servers, its visitors, what is done to them, and what is found.
import { setTimeout as pause } from 'node:timers/promises'
import { DRAINED, LEAST, levels } from './level.js'
import { places } from './places.js'
import { CONNECTIONS, Server } from './process.js'
import { visit } from './request.js'
import { Visitor } from './visitor.js'

/** @typedef {import('./server.js').Measure} Measure */
/** @typedef {import('./server.js').Report} Report */
/** @typedef {import('./level.js').Sample} Sample */
/** @typedef {import('./places.js').Place} Place */
/** @typedef {import('./request.js').Answer} Answer */
/** @typedef {import('./visitor.js').Address} Address */
/** @typedef {import('./visitor.js').Field} Field */
/** @typedef {{ from: number, to: number, what: string, strict: boolean }} Window */
/**
 * `sample`: seconds between two measurements; `interval`: about so many between two ends of the server that is
 * restarted, and between two disturbances of the store; `ttl`: seconds that an idle session lives.
 *
 * @typedef {{
 *   seconds: number, sample: number, interval: number, ttl: number, rate: number, visitors: number,
 *   file: string, fileSize: number, owner: import('../../build/test/server.js').Owner, isEnding: () => boolean,
 * }} Settings
 */

export class Soak {
  name
  /** @type {Place} */
  place = { where: {}, disturbances: [], version: '' }
  /** Never restarted: what it holds is judged. */
  steady
  other
  /** @type {Visitor[]} */
  visitors = []
  /** @type {Window[]} */
  windows = []
  /** When a process was held up, by other work on the machine. @type {{ from: number, to: number }[]} */
  stalls = []
  /** @type {Sample[]} */
  samples = []
  /** @type {Record<string, Measure>} */
  drained = {}
  /** @type {{ what: string, text: string, seconds: number }[]} */
  faults = []
  counts = {
    requests: 0,
    answered: 0,
    vanished: 0,
    disturbed: 0,
    errors: 0,
    away: 0,
    checked: 0,
    lost: 0,
    revived: 0,
    wrong: 0,
    disturbances: 0,
    forgotten: 0,
    faults: 0,
    idle: 0,
    stalls: 0,
    heldUp: 0,
  }
  /** By their codes, what the servers reported. @type {Record<string, number>} */
  reported = {}
  /** @type {{ seconds: number, loop99: number, loopMax: number }[]} */
  loops = []
  #began = 0
  /** Whether visitors are let in. */
  open = false
  #allowance = 0
  #underWay = 0
  /** Whether something is being done to the store or a server. */
  #disturbing = false
  /** @type {Field} */
  #field
  /** @type {Settings} */
  #settings

  /** @param {string} name @param {Settings} settings */
  constructor(name, settings) {
    const { ttl, fileSize } = settings
    this.name = name
    this.#settings = settings
    /** @type {import('./process.js').Watcher} */
    const watcher = {
      args: () => [name, JSON.stringify({ ...this.place.where, ttl, file: settings.file })],
      fault: (what, text) => this.fault(what, text),
      hear: (report) => this.hear(report),
    }
    this.steady = new Server(watcher)
    this.other = new Server(watcher)
    const inCookie = name === 'cookie'
    this.#field = {
      inCookie,
      merges: !inCookie && name !== 'express',
      strict: !inCookie && name !== 'express',
      lists: ['memory', 'redis', 'sqlite', 'activerecord'].includes(name),
      // so that the cache of opened cookies is filled and emptied several times
      pad: inCookie ? 1000 : 0,
      big: inCookie ? 1500 : name === 'memcached' ? 900_000 : 200_000,
      tooBig: inCookie ? 4000 : name === 'memcached' ? 1_200_000 : 0,
      fileSize,
      // its expiry moves once in a tenth of the idle time
      idle: ttl * 1000 * 0.8,
      addressFor: (home) => this.#addressFor(home),
      count: (answer, address, path, fails) => this.#count(answer, address, path, fails),
      isDisturbed: () => this.#isDisturbed(performance.now(), performance.now()),
      fault: (what, text) => this.fault(what, text),
      checked: () => this.counts.checked++,
      wentIdle: () => this.counts.idle++,
      graves: [],
    }
  }

  async start() {
    this.place = await /** @type {(typeof places)[string]} */ (places[this.name])(this.#settings.owner)
    await this.steady.start()
    await this.other.start()
    // so that the store is connected, and its table made
    for (const server of [this.steady, this.other]) {
      for (let i = 0; i < 20; i++) await visit(server, `/sign-in?user=first&who=${i}`)
      server.agent.destroy()
    }
    const homes = this.name === 'memory' ? [this.steady, this.other] : [undefined]
    this.visitors = Array.from(
      { length: this.#settings.visitors },
      (_, i) => new Visitor(this.#field, i, homes[i % homes.length]),
    )
    await pause(300)
    this.drained['start'] = await this.steady.measure()
    this.#began = performance.now()
  }

  /** @param {string} what @param {string} text */
  fault(what, text) {
    if (this.#settings.isEnding()) return
    if (what === 'lost' || what === 'revived' || what === 'wrong') this.counts[what]++
    const seconds = Math.round((performance.now() - this.#began) / 1000)
    this.counts.faults++
    if (this.faults.length >= 100) return
    this.faults.push({ what, text, seconds })
    console.error(`${this.name} at ${seconds} s: ${what}: ${text.slice(0, 600)}`)
  }

  /** @param {Report} message */
  hear({ kind, name, code, text, path }) {
    const now = performance.now()
    if (kind === 'stall') return this.stall(Number(text))
    // the sweep, too, meets the lock
    if (kind === 'warning' && code === 'LUGGAGE_RACK_SWEEP' && this.#isDisturbed(now - 1000, now, true)) return
    if (kind === 'warning' || kind === 'fatal') this.fault('process', `${kind}: ${name} ${code} ${text}`)
    if (kind !== 'error') return
    const of = code || name
    this.reported[of] = (this.reported[of] ?? 0) + 1
    // a client that goes away while it sends a form; what is too large on purpose
    if (code === 'ERR_FORM_INCOMPLETE' && path === '/form') return
    if (/^ERR_(COOKIE_OVERFLOW|STORE_TOO_LARGE)$/.test(code) && path.startsWith('/big')) return
    const ours =
      /^(Type|Range|Reference|Syntax|Assertion)Error$/.test(name) || /^ERR_(SESSION|STORE_CORRUPT)/.test(code)
    if (ours) return this.fault('error', `${name} ${code} ${text} ${path}`)
    if (this.#isDisturbed(now - 1000, now, true)) return undefined
    return this.#unlessStalled(now - 1000, now, () => this.fault('error', `${name} ${code} ${text} ${path}`))
  }

  /** A process that did not run, its own or the clients', for so many milliseconds, up to now. @param {number} milliseconds */
  stall(milliseconds) {
    const now = performance.now()
    this.counts.stalls++
    this.stalls.push({ from: now - milliseconds - 1000, to: now + 1000 })
  }

  /**
   * What did not run in time cannot answer in time; that it did not run may be heard a little later.
   *
   * @param {number} from @param {number} to @param {() => void} fault
   */
  #unlessStalled(from, to, fault) {
    setTimeout(() => {
      if (this.stalls.some((one) => one.from <= to && from <= one.to)) this.counts.heldUp++
      else fault()
    }, 2000)
  }

  // ---- what the visitors ask of it

  /** @param {Address | undefined} home */
  #addressFor(home) {
    if (home !== undefined) return home.up ? home : undefined
    return !this.other.up || Math.random() < 0.6 ? this.steady : this.other
  }

  /** @param {number} from @param {number} to @param {boolean} [mayFail] only disturbances in which a request may fail */
  #isDisturbed(from, to, mayFail = false) {
    return this.windows.some((one) => one.from <= to && from <= one.to && !(mayFail && one.strict))
  }

  /** @param {Answer} answer @param {Address} address @param {string} path @param {boolean} fails */
  #count(answer, address, path, fails) {
    const { counts } = this
    const { status, complete, vanished, hung, from, to } = answer
    counts.requests++
    this.#allowance--
    if (hung) return this.fault('hung', `${path}, for ${Math.round(to - from)} ms`)
    if (vanished) return void counts.vanished++
    if (complete) counts.answered++
    if (fails) return undefined
    if (complete && status < 500) return undefined
    const server = address === this.steady ? this.steady : this.other
    if (complete) {
      if (this.#isDisturbed(from, to, true)) return void counts.disturbed++
    } else if (server.away.some((one) => one.from <= to && from <= one.to)) {
      return void counts.away++
    }
    const fault = () => {
      counts.errors++
      this.fault('error', `${path}: ${status} ${answer.error} ${answer.body.slice(0, 100)}`)
    }
    return complete ? this.#unlessStalled(from, to, fault) : fault()
  }

  // ---- the run

  /** Every 10 ms: begins as much as the rate allows; each request counts when it is over. @param {number} seconds */
  tick(seconds) {
    const { rate } = this.#settings
    this.#allowance = Math.min(this.#allowance + seconds * rate, rate / 4)
    for (let begun = 0; begun < rate / 60 && this.open; begun++) {
      if (this.#allowance < 1 || this.#underWay >= CONNECTIONS * 3) return
      const visitor = this.visitors[Math.floor(Math.random() * this.visitors.length)]
      if (visitor === undefined || visitor.busy || visitor.home?.up === false) continue
      void this.#let(visitor)
    }
  }

  /** @param {Visitor} visitor */
  async #let(visitor) {
    this.#underWay++
    try {
      await visitor.act()
    } catch (error) {
      this.fault('soak', /** @type {Error} */ (error).stack ?? String(error))
    } finally {
      this.#underWay--
    }
  }

  async run() {
    try {
      await this.#run()
    } catch (error) {
      // the others go on
      this.open = false
      this.fault('soak', /** @type {Error} */ (error).stack ?? String(error))
    }
  }

  async #run() {
    this.open = true
    const until = this.#began + this.#settings.seconds * 1000
    const half = this.#began + this.#settings.seconds * 500
    await Promise.all([
      this.#sample(until),
      this.#restart(until),
      this.#disturb(until),
      (async () => {
        await pause(half - performance.now())
        await this.#alone(() => this.#drain('middle'))
      })(),
    ])
    await this.#finish()
  }

  /** When nothing else is being done to a server or the store. @param {() => Promise<void>} work */
  async #alone(work) {
    while (this.#disturbing) await pause(50)
    this.#disturbing = true
    try {
      await work()
    } finally {
      this.#disturbing = false
    }
  }

  /** @param {number} until */
  async #sample(until) {
    while (performance.now() + this.#settings.sample * 1000 < until) {
      await pause(this.#settings.sample * 1000)
      const { heap, rss, external, handles, fds, loop99, loopMax } = await this.steady.measure()
      const seconds = (performance.now() - this.#began) / 1000
      this.samples.push({ seconds, heap, rss, external, handles: handles.length, fds })
      this.loops.push({ seconds, loop99, loopMax })
    }
  }

  /** @param {number} until */
  async #restart(until) {
    for (let i = 0; ; i++) {
      await pause(this.#settings.interval * 1000 * (0.7 + Math.random() * 0.6))
      if (performance.now() + 5000 > until) return
      await this.#alone(async () => {
        const stopped = this.other.restart(i % 2 === 0 ? 'SIGTERM' : 'SIGKILL')
        // sessions in the memory of a process end with it
        const forget = () => {
          for (const visitor of this.visitors) {
            if (visitor.home !== this.other) continue
            if (visitor.cookie !== undefined) this.counts.forgotten++
            visitor.generation++
            visitor.forget()
          }
        }
        if (this.name === 'memory') forget()
        await stopped
        if (this.name === 'memory') forget()
      })
    }
  }

  /** @param {number} until */
  async #disturb(until) {
    const { disturbances } = this.place
    if (disturbances.length === 0) return
    for (let i = 0; ; i++) {
      await pause(this.#settings.interval * 1000 * (0.7 + Math.random() * 0.6))
      if (performance.now() + 12_000 > until) return
      const { what, strict, margin, act } = /** @type {Place['disturbances'][0]} */ (
        disturbances[i % disturbances.length]
      )
      await this.#alone(async () => {
        const window = { from: performance.now(), to: Infinity, what, strict }
        this.windows.push(window)
        await act()
        window.to = performance.now() + margin * 1000
        this.counts.disturbances++
      })
    }
  }

  /** @param {string} name */
  async #drain(name) {
    this.open = false
    while (this.#underWay > 0) await pause(20)
    this.steady.agent.destroy()
    this.other.agent.destroy()
    // timers and bodies of requests whose clients have vanished
    await pause(2500)
    const held = (this.drained[name] = await this.steady.measure())
    const before = /** @type {Measure} */ (this.drained['start'])
    const judge = (
      /** @type {string} */ what,
      /** @type {number} */ now,
      /** @type {number} */ then,
      more = DRAINED,
    ) => {
      if (now > then + more) this.fault('level', `${name}, with no load: ${now} ${what}, and ${then} at the start`)
    }
    judge('file descriptors', held.fds, before.fds)
    judge(`handles (${held.handles.join(', ')})`, held.handles.length, before.handles.length)
    judge('bodies under way', held.bodies, 0, 0)
    this.open = name !== 'end'
  }

  /** Every session, and every one that was signed out, once more. */
  async #finish() {
    this.open = false
    while (this.#underWay > 0 || this.#isDisturbed(performance.now(), performance.now())) await pause(50)
    await pause(3500)
    this.final = { sessions: 0, graves: this.#field.graves.length }
    for (const visitor of this.visitors) {
      visitor.forgetIfIdle()
      if (visitor.cookie === undefined) continue
      this.final.sessions++
      await visitor.look()
    }
    const [digger] = this.visitors
    for (const grave of this.#field.graves) await digger?.exhume(grave)
    await this.#drain('end')
    const complaint = await this.place.check?.()
    if (complaint !== undefined) this.fault('place', complaint)
    await Promise.all([this.steady.stop('SIGTERM'), this.other.stop('SIGTERM')])
    this.judge()
  }

  final = { sessions: 0, graves: 0 }
  /** @type {import('./level.js').Level[]} */
  levels = []

  judge() {
    this.levels = levels(this.samples, this.#settings.seconds)
    if (this.#settings.seconds / 3 < LEAST) return
    for (const { figure, second, last, limit, level } of this.levels) {
      if (!level) this.fault('level', `${figure} rose from ${second} to ${last}, above ${limit}`)
    }
  }
}
