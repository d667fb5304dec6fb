import { IncomingMessage, validateHeaderName, validateHeaderValue, type IncomingHttpHeaders } from 'node:http'
import { Socket } from 'node:net'
import type { App, RackHeaders, RackResponse } from './app.ts'
import { BrowserJar, type Place } from './browser-jar.ts'
import { Builder, stackOf } from './builder.ts'
import { CapturedResponse } from './captured-response.ts'
import { sessionCommit, type CommitMessage } from './channels.ts'
import { statusOf } from './error-response.ts'
import { InvalidOptionError } from './errors.ts'
import { getHeaderLines } from './headers.ts'
import { toListener } from './listener.ts'
import { cutAtSession, type SessionStack } from './session-for.ts'
import type { Session } from './session-handle.ts'

export interface MockRequestOptions {
  /**
   * Where the app is asked: an origin, whose host is the Host header; `https:` makes the requests secure. Default
   * `'http://localhost'`.
   */
  url?: string | undefined
  /** The time in milliseconds since 1970, by which a client's cookies end. Default: `Date.now()`. */
  clock?: (() => number) | undefined
}

/** One request. */
export interface MockInit {
  /** Names in any letter case. A `host` or `cookie` goes instead of what would be sent. */
  headers?: RackHeaders | undefined
  /** Sent as it is; `URLSearchParams` as a form, with its content-type. */
  body?: string | Uint8Array | URLSearchParams | undefined
  /** Sent as JSON, with its content-type. */
  json?: unknown
}

/** What came of a request. */
export interface MockResponse {
  readonly status: number
  /** Names in lower case; `set-cookie` is a list. Without what a connection adds: date, connection, transfer-encoding. */
  readonly headers: IncomingHttpHeaders
  /** The body, read as UTF-8. */
  readonly body: string
  readonly bytes: Uint8Array
}

/** What both a `MockRequest` and its clients can be asked. */
abstract class Requester {
  /**
   * @param method any method, `QUERY` and `PROPFIND` too
   * @param path with its query, and sent as it is; or a whole URL
   * @throws what the app threw, also in the middle of a body; an error that names its own 4xx status is the answer
   *   that a client would get
   * @throws {InvalidOptionError} the path or the body cannot be sent
   */
  abstract request(method: string, path: string, init?: MockInit): Promise<MockResponse>

  get(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('GET', path, init)
  }

  head(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('HEAD', path, init)
  }

  post(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('POST', path, init)
  }

  put(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('PUT', path, init)
  }

  patch(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('PATCH', path, init)
  }

  delete(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('DELETE', path, init)
  }

  options(path: string, init?: MockInit): Promise<MockResponse> {
    return this.request('OPTIONS', path, init)
  }
}

/**
 * Asks an app without a socket, as Rack's MockRequest, for tests:
 *
 * ```ts
 * const { status, body } = await new MockRequest(app).get('/')
 * ```
 *
 * The request is node's own, and the response goes through `toListener`; so what a client would get, it gives. A body
 * is read to its end, so one that has none needs a real server. Each request is a visitor of its own; see `client`.
 *
 * @throws {InvalidOptionError} for what is neither an app nor a Builder; for a url that is no origin
 */
export class MockRequest<Data extends object = Record<string, unknown>> extends Requester {
  readonly #target: Target

  constructor(app: SessionStack<Data>, { url = 'http://localhost', clock = Date.now }: MockRequestOptions = {}) {
    super()
    const stack = app as App | Builder
    const run = stack instanceof Builder ? stack.run() : stack
    if (typeof run !== 'function') throw new InvalidOptionError('MockRequest takes an app or a Builder.')
    if (typeof clock !== 'function') throw new InvalidOptionError('MockRequest({ clock }) takes a function.')
    this.#target = { app: run, origin: originUrl(url), clock }
  }

  override async request(method: string, path: string, init: MockInit = {}): Promise<MockResponse> {
    const { app, origin } = this.#target
    return respond(app, requestOf(method, locate(path, origin), init))
  }

  /** A browser with a jar of cookies of its own. It follows no redirects. */
  client(): MockClient<Data> {
    return new MockClient(this.#target)
  }

  /**
   * A browser that is in a session already, whatever the store: its first request first saves one, through the
   * stack's own layers down to the session (one inside `map` too), and keeps the cookie.
   *
   * @param data what the session holds
   * @param options `path`: where, in a stack whose maps have several
   * @throws {InvalidOptionError} no Builder made the app; at the first request, where the session was not saved or the
   *   browser would not keep its cookie, as over plain http that of a stack that wants https
   * @throws {StackOrderError} the stack has no session
   */
  withSession(data: Session<Data>, options: MockSessionOptions = {}): MockClient<Data> {
    return new MockClient(this.#target, data, options)
  }
}

/** Which session is meant. */
export interface MockSessionOptions {
  /** A path that it is the session of. Default: `'/'`, or the one `map` that has a session. */
  path?: string | undefined
}

interface Target {
  readonly app: App
  readonly origin: URL
  readonly clock: () => number
}

/** What `MockRequest` gives for a browser: the same requests, with cookies. */
export class MockClient<Data extends object = Record<string, unknown>> extends Requester {
  /** The cookies that it holds. */
  readonly cookies: BrowserJar
  readonly #target: Target
  readonly #plant: (() => Promise<void>) | undefined
  #planted: Promise<void> | undefined

  constructor(target: Target, data?: Session<Data>, options?: MockSessionOptions) {
    super()
    this.#target = target
    this.cookies = new BrowserJar(target.clock)
    this.#plant = data && this.#planting(data, options)
  }

  override async request(method: string, path: string, init: MockInit = {}): Promise<MockResponse> {
    await this.#ready()
    const to = locate(path, this.#target.origin)
    return this.#ask(this.#target.app, to, requestOf(method, to, init, this.cookies.header(to)))
  }

  /**
   * What the session holds now, as an ordinary object; empty where there is none. It is loaded as a request would
   * load it, whatever the path of its cookie, and neither extended nor saved.
   *
   * @param options `path`: where, in a stack whose maps have several
   * @throws {InvalidOptionError}, {StackOrderError} as `withSession`
   */
  async session(options: MockSessionOptions = {}): Promise<Session<Data>> {
    const found: { session?: object } = {}
    const app = cutAtSession(this.#target.app, 'session', async (req) => {
      Object.assign(req.session.options, { skip: true, touch: false })
      found.session = structuredClone({ ...(await req.session) })
    })
    await this.#ready()
    const { protocol, hostname } = this.#target.origin
    const cookies = this.cookies.header({ protocol, hostname })
    const { status } = await respond(app, requestOf('GET', this.#at(options), {}, cookies))
    if (found.session === undefined) throw notReached(status)
    return found.session
  }

  #ready(): Promise<void> | undefined {
    return (this.#planted ??= this.#plant?.())
  }

  async #ask(app: App, to: Location, asked: Asked): Promise<MockResponse> {
    const response = await respond(app, asked)
    for (const line of response.headers['set-cookie'] ?? []) this.cookies.store(line, to)
    return response
  }

  /** @throws {InvalidOptionError} the stack has several sessions, and which one was not said */
  #at({ path }: MockSessionOptions = {}): Location {
    const { app, origin } = this.#target
    if (path !== undefined) return locate(path, origin)
    const [location = '/', ...others] = stackOf(app)?.locationsOf('session') ?? []
    if (others.length === 0 || location === '/') return locate(location, origin)
    throw new InvalidOptionError(
      `This stack has several sessions, at ${[location, ...others].join(', ')}. Say which: withSession(data, { path }).`,
    )
  }

  #planting(data: object, options?: MockSessionOptions): () => Promise<void> {
    let reached = false
    const app = cutAtSession(this.#target.app, 'withSession', async (req) => {
      reached = true
      Object.assign(await req.session, data)
    })
    return async () => {
      const { origin } = this.#target
      const to = this.#at(options)
      const asked = requestOf('GET', to, {})
      const commits: CommitMessage[] = []
      const listen = (message: unknown): void => {
        if ((message as CommitMessage).req === asked.req) commits.push(message as CommitMessage)
      }
      sessionCommit.subscribe(listen)
      const { status } = await this.#ask(app, to, asked).finally(() => sessionCommit.unsubscribe(listen))
      if (!reached) throw notReached(status)
      const [commit] = commits
      // of what holds nothing there is no session to begin with
      if (commit === undefined || commit.outcome === 'unchanged') return
      if (commit.outcome === 'insecure') {
        throw new InvalidOptionError(
          `The session was not saved, since this stack keeps sessions over https alone and ${origin.origin} is ` +
            `plain http. Ask over https: new MockRequest(app, { url: 'https://${origin.host}' }).`,
        )
      }
      if (this.cookies.get(commit.key)) return
      throw new InvalidOptionError(
        `A browser at ${origin.origin} does not keep the cookie ${commit.key} that came. Give the host that it is ` +
          "for: new MockRequest(app, { url: 'https://www.example.org' }).",
      )
    }
  }
}

function notReached(status: number): Error {
  return new InvalidOptionError(
    `The session was not reached: there is none at this path, or a layer above it answered by itself, with status ${status}.`,
  )
}

/** Where a request goes. */
interface Location extends Place {
  readonly pathname: string
  /** The Host header. */
  readonly host: string
  /** What stands in the request line. */
  readonly target: string
}

function originUrl(url: string): URL {
  if (typeof url === 'string' && URL.canParse(url)) {
    const origin = new URL(url)
    if (/^https?:$/.test(origin.protocol) && origin.href === `${origin.origin}/`) return origin
  }
  throw new InvalidOptionError("MockRequest({ url }) takes an origin, for example 'https://localhost', without a path.")
}

function locate(path: string, { protocol, hostname, host }: URL): Location {
  if (typeof path === 'string') {
    // as it is: a URL would make something else of `//admin` and `/a/../b`
    if (/^\/[!-ÿ]*$|^\*$/.test(path)) {
      return { protocol, hostname, host, target: path, pathname: /^[^#?]*/.exec(path)?.[0] ?? path }
    }
    if (/^https?:\/\//i.test(path) && URL.canParse(path)) {
      const url = new URL(path)
      const { pathname } = url
      return { protocol: url.protocol, hostname: url.hostname, host: url.host, target: pathname + url.search, pathname }
    }
  }
  throw new InvalidOptionError(
    `${JSON.stringify(path)} cannot be asked for: a path starts with "/", and other characters than those of ` +
      'a URL are escaped (encodeURIComponent).',
  )
}

/** A request, and the body that is to follow it. */
interface Asked {
  readonly req: IncomingMessage
  readonly body: Uint8Array | undefined
}

/** A request as node's parser would have made it. */
function requestOf(method: string, to: Location, init: MockInit, cookies?: string): Asked {
  const [type, body] = bodyOf(init)
  const empty = /^(?:POST|PUT|PATCH)$/i.test(method) ? 0 : undefined
  const { headers = {} } = init
  const isStream = getHeaderLines(headers, 'transfer-encoding').length > 0
  const lines = linesOf({
    host: to.host,
    cookie: cookies,
    'content-type': type,
    'content-length': isStream ? undefined : (body?.byteLength ?? empty),
  }).filter(([name]) => getHeaderLines(headers, name).length === 0)
  lines.push(...linesOf(headers))

  const req = new IncomingMessage(socketOf(to.protocol === 'https:'))
  Object.assign(req, { httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 })
  req.method = method.toUpperCase()
  req.url = to.target
  req.rawHeaders = lines.flat()
  const distinct: Record<string, string[]> = {}
  for (const [name, value] of lines) (distinct[name.toLowerCase()] ??= []).push(value)
  req.headersDistinct = distinct
  req.headers = Object.fromEntries(
    Object.entries(distinct).map(([name, values]) => [name, values.join(name === 'cookie' ? '; ' : ', ')]),
  )
  return { req, body }
}

function bodyOf({ body, json }: MockInit): [type: string | undefined, body: Uint8Array | undefined] {
  if (json !== undefined) {
    if (body !== undefined) throw new InvalidOptionError('A request has a body or json, and not both.')
    return ['application/json', Buffer.from(JSON.stringify(json))]
  }
  if (body === undefined || body instanceof Uint8Array) return [undefined, body]
  if (typeof body === 'string') return [undefined, Buffer.from(body)]
  if (body instanceof URLSearchParams) return ['application/x-www-form-urlencoded', Buffer.from(body.toString())]
  throw new InvalidOptionError('The body of a request is a string, bytes or URLSearchParams; for an object use json.')
}

/** @throws {TypeError} for what node would not send */
function linesOf(headers: RackHeaders): [name: string, value: string][] {
  const lines: [string, string][] = []
  for (const name in headers) {
    validateHeaderName(name)
    for (const value of [headers[name] ?? []].flat()) {
      validateHeaderValue(name, String(value))
      lines.push([name, String(value)])
    }
  }
  return lines
}

/** A socket that leads nowhere. */
function socketOf(encrypted: boolean): Socket {
  // own properties, since the class has them as getters
  return Object.defineProperties(new Socket(), {
    remoteAddress: { value: '127.0.0.1' },
    remoteFamily: { value: 'IPv4' },
    ...(encrypted && { encrypted: { value: true } }),
  })
}

function respond(app: App, { req, body }: Asked): Promise<MockResponse> {
  return new Promise((resolve, reject) => {
    const res = new CapturedResponse(req)
    let answered: unknown
    const listener = toListener(app, {
      onError(error) {
        if (statusOf(error) === 500) reject(error)
        else answered = error
      },
    })
    // then the client is left without an answer, whatever was written
    const closed = new Error('The app closed the connection.')
    req.socket.on('close', () => res.destroy(closed))
    res.response
      .then(read)
      .then((response) => (req.socket.destroyed ? reject(closed) : resolve(response)))
      .catch((error: unknown) => reject(answered ?? error))
    listener(req, res)
    // as from a server, the body comes after the head
    if (body !== undefined) req.push(body)
    req.push(null)
    req.complete = true
  })
}

async function read([status, headers, body]: RackResponse): Promise<MockResponse> {
  const chunks: Uint8Array[] = []
  for await (const chunk of typeof body === 'string' || body instanceof Uint8Array ? [body] : (body ?? [])) {
    chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
  }
  const bytes = Buffer.concat(chunks)
  const received: IncomingHttpHeaders = {}
  for (const name in headers) {
    const lines = getHeaderLines({ [name]: headers[name] }, name)
    if (name === 'set-cookie') received[name] = lines
    else if (lines.length > 0) received[name] = lines.join(', ')
  }
  return { status, headers: received, body: bytes.toString(), bytes: new Uint8Array(bytes) }
}
