// A visitor of the soak, with a browser's one cookie: what he does, and what he may find afterwards.
import { createHash, randomBytes } from 'node:crypto'
import { visit } from './request.js'

/** @typedef {import('./request.js').Answer} Answer */
/** @typedef {import('./request.js').Vanish} Vanish */
/** @typedef {{ port: number, agent: import('node:http').Agent, up: boolean }} Address */
/**
 * What the visitors of one store have in common.
 *
 * `inCookie`: the browser has the state, so that nothing can be revoked, and the last of concurrent answers wins.
 * `merges`: concurrent changes of different keys are all kept. `strict`: a late request brings nothing back.
 * `lists`: the sessions of an owner can be removed. `pad`, `big`, `tooBig`: characters.
 * `idle`: milliseconds after which a session of which nobody made use may have ended.
 *
 * @typedef {{
 *   inCookie: boolean, merges: boolean, strict: boolean, lists: boolean, pad: number, big: number, tooBig: number,
 *   fileSize: number, idle: number,
 *   addressFor: (home: Address | undefined) => Address | undefined,
 *   count: (answer: Answer, address: Address, path: string, fails: boolean) => void,
 *   isDisturbed: () => boolean,
 *   fault: (what: 'lost' | 'revived' | 'wrong', text: string) => void,
 *   checked: () => void,
 *   wentIdle: () => void,
 *   graves: Grave[],
 * }} Field
 */
/** A cookie whose session was signed out or renewed. @typedef {{ cookie: string, home: Address | undefined }} Grave */
/** From what a key held, as JSON, to what it holds. @typedef {(old: string | undefined) => string | undefined} Change */
/**
 * What a request does if it is done: to keys; `moves`: the session gets a new id; `ends`: it is removed. `loose`: it
 * is done beside others that may undo it.
 *
 * @typedef {{ keys?: Record<string, Change>, moves?: boolean, ends?: boolean, loose?: boolean }} Effect
 */
/** @typedef {'done' | 'not done' | 'unknown'} Outcome */

/** Milliseconds after which a request whose client vanished is over, where nothing is disturbed. */
const SETTLED = 3000

/** @type {Error} a process that kept sessions in its memory has ended, so that this visitor begins anew */
const STALE = new Error('stale')

// two of them are names that an object of JavaScript has already
const KEYS = ['k0', 'k1', 'k2', 'k3', 'constructor', '__proto__']
const LONGEST = 5
const GRAVES = 400

const token = () => randomBytes(6).toString('hex')
const quoted = (/** @type {string} */ text) => JSON.stringify(text)
const chance = (/** @type {number} */ part) => Math.random() < part

/** @template T @param {readonly T[]} list @returns {T} */
const any = (list) => /** @type {T} */ (list[Math.floor(Math.random() * list.length)])

export class Visitor {
  /** @type {string | undefined} `name=value` */
  cookie
  /** The server that he goes to, where each has a store of its own. @type {Address | undefined} */
  home
  busy = false
  generation = 0

  /** @type {Field} */
  #field
  #name
  /** What each key may hold, as JSON; a key that is not in it holds nothing. @type {Map<string, Set<string | undefined>>} */
  #keys = new Map()
  #mayBeGone = false
  /** When the session was last used, so that it stays. */
  #used = 0
  /** Since when something that he asked for may be done or not. @type {number | undefined} */
  #unsure
  /** Whether a notice may be left that he does not know of. */
  #noticed = false
  /** @type {string[]} */
  #history = []

  /** @param {Field} field @param {number} number @param {Address | undefined} home */
  constructor(field, number, home) {
    this.#field = field
    this.#name = `u${number}`
    this.home = home
  }

  /** What he had is no more, and that is as it should be. */
  forget() {
    this.cookie = undefined
    this.#keys = new Map()
    this.#mayBeGone = this.#noticed = false
    this.#unsure = undefined
  }

  /** A session that nobody used for its idle time has ended, as it should. */
  forgetIfIdle() {
    if (this.cookie === undefined || performance.now() - this.#used < this.#field.idle) return
    this.#field.wentIdle()
    this.forget()
  }

  /** One thing that a visitor does: one request or some. */
  async act() {
    this.busy = true
    this.forgetIfIdle()
    try {
      if (this.cookie === undefined) await any(BEGINNINGS)(this)
      else if (this.#unsure !== undefined) await this.look()
      else await pick()(this)
    } catch (error) {
      if (error !== STALE) throw error
    } finally {
      this.busy = false
    }
  }

  /** Reads the session, and compares it with what was acknowledged. */
  async look() {
    const settled = this.#isSettled()
    const known = this.#unsure === undefined
    const { outcome, answer } = await this.#ask('/read', {}, {})
    if (outcome !== 'done' || !answer.complete) return
    this.#compare(answer.body, known || settled)
  }

  #isSettled() {
    if (this.#unsure === undefined) return true
    return performance.now() - this.#unsure > SETTLED && !this.#field.isDisturbed()
  }

  /** @param {string} body @param {boolean} final whether what is read now stays so */
  #compare(body, final) {
    const field = this.#field
    field.checked()
    /** @type {Record<string, unknown>} */
    const found = JSON.parse(body)
    if (!Object.hasOwn(found, 'who')) {
      if (!this.#mayBeGone) field.fault('lost', `${this.#name}: ${body.slice(0, 200)} ${this.#told()}`)
      if (final || !this.#mayBeGone) this.forget()
      return
    }
    const names = new Set([...this.#keys.keys(), ...Object.keys(found)])
    names.delete('flash')
    for (const name of names) {
      const value = Object.hasOwn(found, name) ? JSON.stringify(found[name]) : undefined
      const possible = this.#keys.get(name) ?? new Set([undefined])
      if (!possible.has(value)) {
        const expected = [...possible].join(' or ')
        field.fault('wrong', `${this.#name}: ${name} is ${value}, and not ${expected} ${this.#told()}`)
      }
      if (final || !possible.has(value)) this.#keys.set(name, new Set([value]))
    }
    if (!final) return
    this.#unsure = undefined
    this.#mayBeGone = false
  }

  #told() {
    return `(${this.#history.join(', ')})`
  }

  /** The value of a key that is certain. @param {string} key */
  #sure(key) {
    const [value] = this.#keys.get(key) ?? []
    return value === undefined ? undefined : String(JSON.parse(value))
  }

  /**
   * Asks in the own session, and remembers what may have become of it.
   *
   * @param {string} path
   * @param {import('./request.js').Ask} ask
   * @param {Effect} effect
   * @param {{ fails?: boolean }} [options] `fails`: it is to be refused
   * @returns {Promise<{ outcome: Outcome, answer: Answer }>}
   */
  async #ask(path, ask, effect, { fails = false } = {}) {
    const before = new Map(this.#keys)
    const cookie = this.cookie
    const answer = await this.#send(path, { cookie, ...ask }, fails)
    const { status, setCookie } = answer
    const { keys = {}, moves = false, ends = false, loose = false } = effect
    const outcome = this.#outcomeOf(answer, ask.vanish, fails)
    const at = Math.round(answer.from / 100) / 10
    this.#history.push(
      `${at} s ${path.slice(0, 40)}${ask.vanish ? ` vanished ${ask.vanish.at}` : ''} ${status} ${outcome}`,
    )
    if (this.#history.length > 12) this.#history.shift()
    if (outcome === 'done') {
      this.#used = answer.from
      if (setCookie !== undefined) this.cookie = setCookie.endsWith('=') ? undefined : setCookie
      if (moves && (setCookie === undefined || setCookie === cookie)) {
        this.#field.fault('wrong', `${this.#name}: no new id after ${path}`)
      }
      if (ends && setCookie?.endsWith('=') !== true)
        this.#field.fault('wrong', `${this.#name}: still a cookie after ${path}`)
      if (this.#field.inCookie) {
        // the state is in the cookie that he holds now: what it was when he asked, and the change
        if (setCookie !== undefined) this.#keys = before
        if (setCookie !== undefined) this.#change(keys, false)
      } else this.#change(keys, loose)
    } else if (outcome === 'unknown') {
      if (moves || ends) this.#mayBeGone = true
      else this.#change(keys, true)
      const changes = moves || ends || Object.keys(keys).length > 0
      if (changes || this.#unsure !== undefined) this.#unsure = answer.to
    }
    return { outcome, answer }
  }

  /** @param {Record<string, Change>} keys @param {boolean} maybe whether all may be as before, too */
  #change(keys, maybe) {
    for (const [key, change] of Object.entries(keys)) {
      const old = this.#keys.get(key) ?? new Set([undefined])
      const values = new Set([...old].map(change))
      this.#keys.set(key, maybe ? new Set([...old, ...values]) : values)
    }
  }

  /**
   * The head is sent after the session is saved, so whoever has the head knows.
   *
   * @param {Answer} answer @param {Vanish | undefined} vanish @param {boolean} fails @returns {Outcome}
   */
  #outcomeOf({ status, refused }, vanish, fails) {
    if (status >= 200 && status < 300) return 'done'
    if (refused || fails || (status >= 400 && status < 500) || vanish?.at === 'upload') return 'not done'
    return this.#field.inCookie ? 'not done' : 'unknown'
  }

  /** @param {string} path @param {import('./request.js').Ask} [ask] @param {boolean} [fails] */
  async #send(path, ask, fails = false, home = this.home) {
    const address = this.#field.addressFor(home)
    if (address === undefined) throw STALE
    const { generation } = this
    const answer = await visit(address, path, ask)
    this.#field.count(answer, address, path, fails)
    if (generation !== this.generation) throw STALE
    if (answer.status >= 500 && answer.setCookie !== undefined) {
      this.#field.fault('wrong', `a cookie with status ${answer.status} of ${path}`)
    }
    return answer
  }

  // ---- without a session

  async #signUp() {
    const who = token()
    const answer = await this.#send(`/sign-in?user=${this.#name}&who=${who}`, {
      vanish: chance(0.03) ? vanishing() : undefined,
    })
    this.#history = [`${Math.round(answer.from / 100) / 10} s sign-up ${answer.status}`]
    // what was made for him, and did not reach him, is nobody's
    if (answer.status !== 200) return
    if (answer.setCookie === undefined) return this.#field.fault('wrong', `${this.#name}: signed in without a cookie`)
    this.forget()
    this.cookie = answer.setCookie
    this.#used = answer.from
    this.#keys.set('user', new Set([quoted(this.#name)]))
    this.#keys.set('who', new Set([quoted(who)]))
    if (this.#field.pad > 0) await this.#fill(this.#field.pad)
  }

  async #stroll() {
    const method = chance(0.2) ? 'HEAD' : 'GET'
    const path = any(['/nothing', '/read', '/stream', '/no-such-page'])
    const answer = await this.#send(path, { method })
    if (answer.setCookie !== undefined) this.#field.fault('wrong', `a cookie for a visitor who only read ${path}`)
    if (method === 'HEAD' && answer.body !== '') this.#field.fault('wrong', `a body of HEAD ${path}`)
  }

  /** What was signed out is to stay so. */
  async #dig() {
    const grave = any(this.#field.graves)
    if (grave !== undefined) await this.exhume(grave)
  }

  /** @param {Grave} grave */
  async exhume({ cookie, home }) {
    const answer = await this.#send('/read', { cookie }, false, home)
    if (answer.status === 200 && answer.complete && answer.body !== '{}') {
      this.#field.fault('revived', `${this.#name}: ${answer.body.slice(0, 200)} ${this.#told()}`)
    }
    if (answer.setCookie !== undefined) this.#field.fault('revived', `${this.#name}: a cookie for one signed out`)
  }

  /** @param {string | undefined} cookie */
  async #bury(cookie) {
    const { graves, inCookie } = this.#field
    // a cookie that holds the session can be sent again until it ends
    if (inCookie || cookie === undefined) return
    const grave = { cookie, home: this.home }
    if (graves.length < GRAVES) graves.push(grave)
    else graves[Math.floor(Math.random() * GRAVES)] = grave
    await this.exhume(grave)
  }

  async #attack() {
    const own = this.cookie
    const value = own?.slice(own.indexOf('=') + 1) ?? ''
    const at = Math.floor(value.length * (0.2 + Math.random() * 0.3))
    const tampered = `${value.slice(0, at)}${value[at] === 'a' ? 'b' : 'a'}${value.slice(at + 1)}`
    const cookies = [
      randomBytes(16).toString('hex'),
      'x'.repeat(12_000),
      'x'.repeat(17_000),
      '__proto__',
      '%00%ff%',
      `${randomBytes(400).toString('base64')}--${randomBytes(12).toString('base64')}--${randomBytes(16).toString('base64')}`,
      ...(own === undefined ? [] : [tampered, tampered, value.slice(0, -1), `${value}${value}`]),
    ]
    const cookie = `_soak_session=${any(cookies)}`
    // above 16 kB node itself refuses, and closes
    const fails = cookie.length > 16_000
    const answer = await this.#send('/read', { cookie, method: chance(0.2) ? 'HEAD' : 'GET' }, fails)
    const { status, setCookie, body, complete } = answer
    if (status === 200 && complete && body !== '{}' && body !== '') {
      this.#field.fault('wrong', `a made up cookie opened ${body.slice(0, 200)}`)
    }
    if (setCookie !== undefined) this.#field.fault('wrong', 'a made up cookie was answered with one')
    if (own === undefined || this.#unsure !== undefined) return
    // beside a forged one the own session is found all the same
    const beside = await this.#send('/read', { cookie: `_soak_session=${randomBytes(16).toString('hex')}; ${own}` })
    // what it says of the expiry is not taken over, as it would be by a browser with two cookies
    if (beside.status === 200 && beside.complete) this.#compare(beside.body, true)
  }

  // ---- in a session

  async #write() {
    await this.#set(any(KEYS), token())
  }

  async #remove() {
    await this.#set(any(KEYS), undefined)
  }

  /** @param {string} key @param {string | undefined} value @param {{ vanish?: Vanish, loose?: boolean }} [how] */
  async #set(key, value, { vanish, loose = false } = {}) {
    const query = value === undefined ? '' : `&v=${value}`
    const change = () => (value === undefined ? undefined : quoted(value))
    await this.#ask(`/write?k=${key}${query}`, { vanish }, { keys: { [key]: change }, loose })
  }

  /** A change in place, below the first level. @param {Vanish} [vanish] */
  async #push(vanish) {
    const value = token()
    /** @type {Change} */
    const change = (old) =>
      JSON.stringify([.../** @type {string[]} */ (JSON.parse(old ?? '[]')), value].slice(-LONGEST))
    await this.#ask(`/push?v=${value}`, { vanish }, { keys: { list: change } })
  }

  /** Different keys at once. */
  async #concurrently() {
    const { inCookie, merges } = this.#field
    const keys = KEYS.toSorted(() => Math.random() - 0.5).slice(0, 2 + Math.floor(Math.random() * 4))
    await Promise.all(keys.map((key) => this.#set(key, token(), { loose: !inCookie && !merges })))
    if (this.#unsure === undefined) await this.look()
  }

  /** @param {Vanish} [vanish] */
  async #form(vanish) {
    const [key, value] = [any(KEYS), token()]
    const form = new URLSearchParams({ k: key, v: value, filler: 'f'.repeat(3000) }).toString()
    await this.#ask('/form', { method: 'POST', form, vanish }, { keys: { [key]: () => quoted(value) } })
  }

  /** A message for the next page, and for that alone. */
  async #notice() {
    if (this.#noticed) {
      const { outcome } = await this.#ask('/see-notice', {}, {})
      if (outcome !== 'done') return
      this.#noticed = false
    }
    this.#noticed = true
    const value = token()
    const left = await this.#ask(`/notice?v=${value}`, {}, {})
    if (left.outcome === 'unknown') this.#unsure = performance.now()
    if (left.outcome !== 'done') return
    for (const expected of [quoted(value), 'null']) {
      const { outcome, answer } = await this.#ask('/see-notice', {}, {})
      if (outcome !== 'done' || !answer.complete) return
      if (answer.body === expected) continue
      this.#field.fault('wrong', `${this.#name}: the notice is ${answer.body}, and not ${expected} ${this.#told()}`)
    }
    this.#noticed = false
  }

  /** @param {Vanish} [vanish] */
  async #renew(vanish) {
    const old = this.cookie
    const { outcome } = await this.#ask('/renew', { vanish }, { moves: true })
    if (outcome === 'done') await this.#bury(old)
  }

  /** As another user: takes a new id by itself. @param {Vanish} [vanish] */
  async #signIn(vanish) {
    const old = this.cookie
    const user = `${this.#name}-${token()}`
    const { outcome } = await this.#ask(
      `/sign-in?user=${user}`,
      { vanish },
      { keys: { user: () => quoted(user) }, moves: true },
    )
    if (outcome === 'done') await this.#bury(old)
  }

  async #startOver() {
    const old = this.cookie
    const who = token()
    /** @type {[string, Change][]} */
    const changes = [...this.#keys.keys()].map((key) => [key, () => undefined])
    const keys = Object.fromEntries([...changes, ['user', () => quoted(this.#name)], ['who', () => quoted(who)]])
    const path = `/start-over?user=${this.#name}&who=${who}`
    const { outcome } = await this.#ask(path, {}, { keys, moves: true })
    if (outcome === 'done') {
      this.#noticed = false
      await this.#bury(old)
    }
  }

  /** @param {Vanish} [vanish] */
  async #signOut(vanish) {
    const old = this.cookie
    const { outcome } = await this.#ask('/sign-out', { vanish }, { ends: true })
    if (outcome !== 'done') return
    this.forget()
    await this.#bury(old)
  }

  /** Signs out while another request of the session is under way. */
  async #race() {
    if (!this.#field.strict) return this.#signOut()
    const old = this.cookie
    const [key, value] = [any(KEYS), token()]
    const path = `/slow?k=${key}&v=${value}&ms=${50 + Math.floor(Math.random() * 150)}`
    const late = this.#send(path, {
      cookie: old,
      vanish: chance(0.3) ? { at: 'sent', ms: 20, reset: false } : undefined,
    })
    const [{ outcome }, { setCookie }] = await Promise.all([this.#ask('/sign-out', {}, { ends: true }), late])
    if (outcome !== 'done') {
      this.#change({ [key]: () => quoted(value) }, true)
      this.#unsure = performance.now()
      return
    }
    if (setCookie !== undefined) this.#field.fault('revived', `${this.#name}: a late request was given a cookie`)
    this.forget()
    await this.#bury(old)
  }

  async #signOutElsewhere() {
    if (!this.#field.lists) return this.look()
    const user = this.#sure('user')
    const other = await this.#send(`/sign-in?user=${user}&who=${token()}`)
    const { outcome } = await this.#ask('/sign-out-elsewhere', {}, {})
    if (outcome === 'done' && other.status === 200) await this.#bury(other.setCookie)
    await this.look()
  }

  async #signOutEverywhere() {
    if (!this.#field.lists) return this.look()
    const old = this.cookie
    const { outcome } = await this.#ask('/sign-out-everywhere', {}, {})
    if (outcome === 'done') {
      this.forget()
      await this.#bury(old)
    } else if (outcome === 'unknown') {
      this.#mayBeGone = true
      this.#unsure = performance.now()
    }
  }

  /** Nearly as much as a session may hold, and more than that. */
  async #big() {
    const { big, tooBig, pad } = this.#field
    if (tooBig > 0 && chance(0.4)) {
      await this.#ask(`/big?v=${token()}&size=${tooBig}`, {}, {}, { fails: true })
      return this.look()
    }
    await this.#fill(big)
    if (this.#unsure === undefined) await this.look()
    if (this.#unsure !== undefined || this.cookie === undefined) return
    if (pad > 0) await this.#fill(pad)
    else await this.#set('big', undefined)
  }

  /** @param {number} size */
  async #fill(size) {
    const value = token()
    const text = value.padEnd(size, '0123456789')
    const shown = `${text.length}:${createHash('sha1').update(text).digest('hex')}`
    await this.#ask(`/big?v=${value}&size=${size}`, {}, { keys: { big: () => quoted(shown) } })
  }

  async #stream() {
    const { answer } = await this.#ask(any(['/stream', '/stream', '/file']), {}, {})
    if (answer.status !== 200 || !answer.complete) return
    if (answer.bytes === this.#field.fileSize) return
    const dots = answer.body.indexOf('}...')
    if (answer.body.length - dots - 1 !== 2000) return this.#field.fault('wrong', `a stream of ${answer.body.length}`)
    this.#compare(answer.body.slice(0, dots + 1), true)
  }

  /** Is gone before there is an answer, or in the middle of it. */
  async #vanish() {
    const vanish = vanishing()
    switch (any(['write', 'push', 'renew', 'in', 'out', 'form', 'slow', 'body', 'body', 'body', 'read'])) {
      case 'write':
        return this.#set(any(KEYS), token(), { vanish })
      case 'push':
        return this.#push(vanish)
      case 'renew':
        return this.#renew(vanish)
      case 'in':
        return this.#signIn(vanish)
      case 'out':
        return this.#signOut(vanish)
      case 'form':
        return this.#form({ ...vanish, at: 'upload' })
      case 'slow': {
        const [key, value] = [any(KEYS), token()]
        const ms = 10 + Math.floor(Math.random() * 60)
        const ask = { vanish: { ...vanish, at: /** @type {const} */ ('sent'), ms } }
        await this.#ask(`/slow?k=${key}&v=${value}&ms=60`, ask, { keys: { [key]: () => quoted(value) } })
        return
      }
      case 'body':
        await this.#ask(any(['/stream', '/file', '/flood']), { vanish: { ...vanish, at: 'body' } }, {})
        return
      default:
        await this.#ask('/read', { vanish }, {})
    }
  }

  async #head() {
    const { answer } = await this.#ask('/read', { method: 'HEAD' }, {})
    if (answer.body !== '') this.#field.fault('wrong', 'a body of HEAD')
  }

  /** What he does without a session. */
  static beginnings() {
    /** @type {((visitor: Visitor) => Promise<void>)[]} */
    const acts = [(visitor) => visitor.#stroll(), (visitor) => visitor.#attack(), (visitor) => visitor.#dig()]
    return [...acts, ...Array.from({ length: 6 }, () => (/** @type {Visitor} */ visitor) => visitor.#signUp())]
  }

  /** What he does, and how often of a hundred times or so. */
  static acts() {
    /** @type {[(visitor: Visitor) => Promise<void>, number][]} */
    const weights = [
      [(visitor) => visitor.look(), 22],
      [(visitor) => visitor.#stroll(), 8],
      [(visitor) => visitor.#write(), 18],
      [(visitor) => visitor.#remove(), 3],
      [(visitor) => visitor.#push(), 10],
      [(visitor) => visitor.#concurrently(), 5],
      [(visitor) => visitor.#form(), 4],
      [(visitor) => visitor.#notice(), 3],
      [(visitor) => visitor.#renew(), 3],
      [(visitor) => visitor.#signIn(), 2],
      [(visitor) => visitor.#startOver(), 1],
      [(visitor) => visitor.#signOut(), 1],
      [(visitor) => visitor.#race(), 1],
      [(visitor) => visitor.#signOutElsewhere(), 1.5],
      [(visitor) => visitor.#signOutEverywhere(), 0.5],
      [(visitor) => visitor.#big(), 0.7],
      [(visitor) => visitor.#stream(), 3],
      [(visitor) => visitor.#attack(), 5],
      [(visitor) => visitor.#dig(), 2],
      [(visitor) => visitor.#vanish(), 10],
      [(visitor) => visitor.#head(), 3],
    ]
    return weights.flatMap(([act, weight]) => Array.from({ length: weight * 10 }, () => act))
  }
}

const ACTS = Visitor.acts()

const BEGINNINGS = Visitor.beginnings()

const pick = () => any(ACTS)

/** @returns {Vanish} */
function vanishing() {
  const reset = chance(0.3)
  if (chance(0.15)) return { at: 'head', ms: Math.floor(Math.random() * 20), reset }
  if (chance(0.1)) return { at: 'body', ms: 0, reset }
  return { at: 'sent', ms: chance(0.4) ? 0 : Math.floor(Math.random() * 8), reset }
}
