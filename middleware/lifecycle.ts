import { readFileSync } from 'node:fs'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { describe, type App, type Middleware, type RackResponse } from '../lib/app.ts'
import { closeBody } from '../lib/body.ts'
import { requestEnd, requestStart, type RequestMessage } from '../lib/channels.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { isEncrypted, isLoopback, originOf } from '../lib/request.ts'
import { watchRequests, type RequestTrace } from '../lib/request-trace.ts'

export { ladder, watchRequests, type RequestTrace, type TraceStep, type WatchOptions } from '../lib/request-trace.ts'

export interface LifecycleOptions {
  /** Where the page is. Default `'/lifecycle'`. */
  path?: string | undefined
  /**
   * Whether the page shows the Cookie header, the session and the Set-Cookie line of every visitor, and may send a
   * request again. Default `false`.
   */
  data?: boolean | undefined
  /** How many requests it remembers. Default 100. */
  keep?: number | undefined
  /** Also in production (`NODE_ENV`), and for hosts other than this machine. Default `false`. */
  force?: boolean | undefined
}

/** What the page gets: a trace, and what it can do with it. */
type Shown = RequestTrace & {
  readonly canReplay: boolean
  readonly replayOf?: number
  readonly tampered?: { readonly cookie: string; readonly at: number }
}

/** A request that can be sent again: what of it is needed for that. */
interface Kept {
  readonly shown: Shown
  readonly headers: IncomingMessage['headers']
  readonly encrypted: boolean
}

/** Milliseconds between two requests that a page hears of, so that a busy server does not drown it. */
const PACE = 100

/** Milliseconds for which requests are watched after the last page was closed: it may only be reloading. */
const LINGER = 30_000

/** Bytes that may wait for a page that does not read them. */
const BACKLOG = 1024 * 1024

/** Of a request to send one again. */
const MOST_BYTES = 1000

// the page is of one piece, and asks nobody else
const SAFE = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}

const FILES: Readonly<Record<string, [file: string, type: string]>> = {
  '/': ['page.html', 'text/html; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
}

/**
 * A page that shows each request as it goes through the layers below and comes back, live: for teaching, and for
 * development. Put it above everything else. While no page is open, nothing is watched.
 *
 * It is refused in production, and answers only a browser of this machine that asks by its own name (`localhost`),
 * unless forced: with `data` it shows whatever all visitors have in their sessions. What comes through a proxy is
 * refused where the proxy says so; one that says nothing, and asks by `localhost` itself, cannot be told from a browser.
 *
 * @throws {InvalidOptionError} in production; or `path` or `keep` cannot be one
 */
export function lifecycle(options: LifecycleOptions = {}): Middleware {
  const { path = '/lifecycle', data = false, keep = 100, force = false } = options
  if (process.env['NODE_ENV'] === 'production' && !force) {
    throw new InvalidOptionError(
      'lifecycle() shows what requests carry, and is not for production. Leave it out there, or set { force: true }.',
    )
  }
  if (typeof path !== 'string' || !/^(?:\/[\w.~-]+)+$/.test(path)) {
    throw new InvalidOptionError("lifecycle({ path }) takes a path such as '/lifecycle', without a slash at its end.")
  }
  if (!Number.isSafeInteger(keep) || keep < 1) {
    throw new InvalidOptionError('lifecycle({ keep }) takes a number of requests, for example 100.')
  }

  return describe('lifecycle', {}, (app) => {
    const desk = new Desk(app, { data, keep })
    return (req) => {
      const [target = '/'] = (req.url ?? '/').split('?', 1)
      if (target !== path && !target.startsWith(`${path}/`)) return app(req)
      desk.leaveOut(req)
      if (!force && !isFromHere(req)) {
        return plain(403, 'The lifecycle page is for this machine alone: open it as http://localhost.\n')
      }
      if (target === path) return [308, { ...SAFE, location: `${path.slice(path.lastIndexOf('/') + 1)}/` }, null]
      return desk.answer(req, target.slice(path.length))
    }
  })
}

/** What the pages of one stack share: the requests that were watched, and who is looking. */
class Desk {
  readonly #app: App
  readonly #data: boolean
  readonly #keep: number
  readonly #kept: Kept[] = []
  readonly #pages = new Set<Readable>()
  readonly #own = new WeakSet<IncomingMessage>()
  /** What a request that is sent again stands for, and what is shown of it. */
  readonly #again = new WeakMap<IncomingMessage, Pick<Shown, 'replayOf' | 'tampered'>>()
  readonly #answers = new WeakMap<IncomingMessage, Shown>()
  #stop: (() => void) | undefined
  #linger: NodeJS.Timeout | undefined
  #told = 0
  #skipped = 0

  constructor(app: App, { data, keep }: { data: boolean; keep: number }) {
    this.#app = app
    this.#data = data
    this.#keep = keep
  }

  /** A request of the page itself, which is not shown. */
  leaveOut(req: IncomingMessage): void {
    this.#own.add(req)
  }

  answer(req: IncomingMessage, target: string): RackResponse | Promise<RackResponse> {
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    if (target === '/replay') return req.method === 'POST' ? this.#replay(req) : plain(405, 'Send it with POST.\n')
    if (!isRead) return plain(405, 'The lifecycle page is read with GET.\n')
    const file = Object.hasOwn(FILES, target) ? FILES[target] : undefined
    if (file) {
      this.#watch()
      return [200, { ...SAFE, 'content-type': file[1] }, readPage(file[0])]
    }
    if (target === '/requests') {
      this.#watch()
      return json(
        200,
        this.#kept.map(({ shown }) => shown),
      )
    }
    if (target === '/events') return this.#events()
    return plain(404, 'There is no such page of the lifecycle.\n')
  }

  /** Watches from now on, and until nobody has looked for a while. */
  #watch(): void {
    this.#stop ??= watchRequests(
      (trace, req) => this.#heard(trace, req),
      { data: this.#data },
      (req) => this.#own.has(req),
    )
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.#rest(), LINGER).unref()
  }

  #rest(): void {
    if (this.#pages.size > 0) return
    this.#stop?.()
    this.#stop = undefined
  }

  #heard(trace: RequestTrace, req: IncomingMessage): void {
    const canReplay = this.#data && trace.method === 'GET'
    const again = this.#again.get(req)
    const shown: Shown = { ...trace, canReplay, ...again }
    this.#kept.push({ shown, headers: req.headers, encrypted: isEncrypted(req) })
    if (this.#kept.length > this.#keep) this.#kept.shift()
    if (again) this.#answers.set(req, shown)
    if (this.#pages.size === 0) return
    const now = performance.now()
    if (!again && now - this.#told < PACE) {
      this.#skipped++
      return
    }
    this.#told = now
    const skipped = this.#skipped > 0 ? `event: skipped\ndata: ${this.#skipped}\n\n` : ''
    const text = `${skipped}event: request\ndata: ${JSON.stringify(shown)}\n\n`
    for (const page of this.#pages) if (page.readableLength < BACKLOG) page.push(text)
  }

  #events(): RackResponse {
    this.#watch()
    const page = new Readable({
      read: () => {},
      destroy: (error, done) => {
        this.#pages.delete(page)
        if (this.#stop) this.#watch()
        done(error)
      },
    })
    this.#pages.add(page)
    page.push(': the requests of this server\nretry: 1000\n\n')
    return [200, { ...SAFE, 'content-type': 'text/event-stream' }, page]
  }

  /** Sends a request again, perhaps with a cookie that differs by one character. Nothing of it reaches a browser. */
  async #replay(req: IncomingMessage): Promise<RackResponse> {
    const { origin, 'sec-fetch-site': site } = req.headers
    const isOurs = origin === undefined ? site === undefined || site === 'same-origin' : origin === originOf(req)
    if (!isOurs || !/^application\/json\b/.test(req.headers['content-type'] ?? '')) {
      return json(403, { error: 'Only the lifecycle page may send a request again.' })
    }
    this.#watch()
    const wanted = await readJson(req)
    const { id, tamper } = (wanted ?? {}) as { id?: unknown; tamper?: unknown }
    const kept = this.#kept.find(({ shown }) => shown.id === id)
    if (kept === undefined) return json(404, { error: 'That request is forgotten. Choose a newer one.' })
    if (!kept.shown.canReplay)
      return json(409, { error: 'Only a GET can be sent again, and only with { data: true }.' })
    const headers = { ...kept.headers }
    let tampered: Shown['tampered']
    if (tamper !== undefined) {
      const key = kept.shown.session?.key
      const changed = key === undefined ? undefined : withOneChanged(headers.cookie ?? '', key, tamper)
      if (key === undefined || changed === undefined) {
        return json(409, { error: 'That request has no cookie of the session, or none with so many characters.' })
      }
      headers.cookie = changed
      tampered = { cookie: key, at: tamper as number }
    }
    return json(200, await this.#send(kept, headers, tampered))
  }

  async #send(
    { shown, encrypted }: Kept,
    headers: IncomingMessage['headers'],
    tampered: Shown['tampered'],
  ): Promise<Shown> {
    const again = new IncomingMessage(Object.assign(new Socket(), { encrypted }))
    Object.assign(again, { method: 'GET', url: shown.url, headers, httpVersionMajor: 1, httpVersionMinor: 1 })
    again.push(null)
    const replayOf = shown.id
    this.#again.set(again, tampered === undefined ? { replayOf } : { replayOf, tampered })
    const begun: RequestMessage = { req: again }
    requestStart.publish(begun)
    let status = 500
    try {
      const [answered, , body] = await this.#app(again)
      status = answered
      closeBody(body)
    } catch {
      // the trace says it
    }
    const ended: RequestMessage = { req: again, status, complete: true }
    requestEnd.publish(ended)
    return this.#answers.get(again) as Shown
  }
}

/** An address of this machine (RFC 1122, section 3.2.1.3, and RFC 4291, section 2.5.3), also as IPv6 has it of IPv4. */
const HERE = /^(?:::1|(?:::ffff:)?127(?:\.\d{1,3}){3})$/

/**
 * Whether a browser of this machine asks, by a name of this machine: another machine may write any Host header, and a
 * page of another site may lead its own name here. What a proxy passes on comes from elsewhere.
 */
function isFromHere(req: IncomingMessage): boolean {
  const { remoteAddress } = req.socket
  const isPassedOn = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via'].some(
    (name) => req.headers[name] !== undefined,
  )
  return remoteAddress !== undefined && HERE.test(remoteAddress) && isLoopback(req) && !isPassedOn
}

/** The Cookie header with one character of a cookie's value changed; `undefined` where there is none. */
function withOneChanged(header: string, key: string, at: unknown): string | undefined {
  const pairs = header.split(';')
  const nth = pairs.findIndex((pair) => pair.trimStart().startsWith(`${key}=`))
  const pair = pairs[nth]
  if (pair === undefined || typeof at !== 'number' || !Number.isSafeInteger(at) || at < 0) return undefined
  const place = pair.indexOf('=') + 1 + at
  if (place >= pair.length) return undefined
  // an escape, as %2B, is one character of the value
  const begun = pair.slice(0, place + 1).search(/%[\da-f]{0,2}$/i)
  const from = begun === -1 ? place : begun
  const before = pair.slice(from, begun === -1 ? place + 1 : begun + 3)
  const after = begun === -1 ? (before === 'A' ? 'B' : 'A') : before.toUpperCase() === '%2B' ? '%2F' : '%2B'
  pairs[nth] = pair.slice(0, from) + after + pair.slice(from + before.length)
  return pairs.join(';')
}

async function readJson(req: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of req as AsyncIterable<Buffer>) {
    text += chunk.toString()
    if (text.length > MOST_BYTES) return undefined
  }
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The page's files stand beside this one's source, which the package holds, too. */
function readPage(name: string): string {
  return readFileSync(new URL(`../../middleware/lifecycle/${name}`, import.meta.url), 'utf8')
}

function json(status: number, value: unknown): RackResponse {
  return [status, { ...SAFE, 'content-type': 'application/json' }, JSON.stringify(value)]
}

function plain(status: number, text: string): RackResponse {
  return [status, { ...SAFE, 'content-type': 'text/plain; charset=utf-8' }, text]
}
