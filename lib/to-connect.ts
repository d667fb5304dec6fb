import type { EventEmitter } from 'node:events'
import { validateHeaderValue, type IncomingMessage, type ServerResponse } from 'node:http'
import { isPromise, type Awaitable, type RackBody, type RackResponse } from './app.ts'
import { closeBody, takeResponse } from './body.ts'
import { Builder } from './builder.ts'
import { errorResponse } from './error-response.ts'
import { InvalidOptionError, InvalidResponseError, LintError } from './errors.ts'
import { failReply, isOfMiddie, watchReply } from './fastify-error.ts'
import { getHeaderLines, withHeader } from './headers.ts'
import { sendResponse } from './listener.ts'
import {
  changeHeaders,
  checkStatus,
  headersOf,
  headersSent,
  headOf,
  invalidChunk,
  isClosed,
  mask,
  setHeaders,
  type Head,
} from './node-response.ts'
import { isHttp2 } from './request.ts'

/**
 * Makes a stack one middleware of Express, Connect, Polka or Fastify (`@fastify/middie`). The handlers below it answer
 * with `res`, as ever, and find on `req` what the layers add:
 *
 * ```ts
 * const stack = new Builder().use(cookies({ secret })).use(session<{ user: string }>())
 * const sessionOf = (req: IncomingMessage) => (req as RequestOf<typeof stack>).session
 *
 * app.use(toConnect(stack))
 * app.get('/', async (req, res) => {
 *   const session = await sessionOf(req)
 * ```
 *
 * The layers see the handler's status and headers when the first of `writeHead`, `write`, `end` and `flushHeaders` is
 * called. From then on output is held, and `headersSent` and, after `end`, `writableEnded` read true, until the layers
 * have given the response back, the session being saved. `write` says to wait for `'drain'` meanwhile. Of headers, the
 * layers' word counts; `set-cookie` has the lines of both.
 *
 * - If a layer throws, or the session cannot be saved, what was held is dropped, the status and headers are put back
 *   to what they were before the handler ran, and `next(error)` is called once. In Fastify, which has gone on by then,
 *   the error handler of the route is called.
 * - An error that cannot be passed on, because `next` throws or Fastify does not tell whose it is (that of a 404, of a
 *   reply that was hijacked), is given to `console.error`, and answered with a plain page.
 * - If a layer answers itself, as a guard, a `map` and a 304 do, that is the response. Headers that were on `res`
 *   before the handler ran are kept, unless the layer names them.
 * - A layer cannot read the body, nor put a stream in its place: what compresses or tags bodies is the framework's.
 *
 * @param stack a Builder that was not run: the framework's handlers stand where its controller would
 * @throws {InvalidOptionError} it is none, or what a layer made is no app
 */
export function toConnect<Req extends IncomingMessage>(
  stack: Builder<Req>,
): (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void {
  if (!(stack instanceof Builder)) {
    throw new InvalidOptionError(
      'toConnect() takes a Builder that was not run, for example new Builder().use(cookies({ secret })).use(session()).' +
        " The framework's handlers take the place of run().",
    )
  }
  const reader = stack.readerOfBodies
  if (reader !== undefined) {
    throw new InvalidOptionError(
      `toConnect() takes a stack whose layers leave the body alone, and ${reader} does not: use what it does in the ` +
        'framework itself.',
    )
  }
  const app = stack.around((req) => (req as Held)[OUTPUT].handle())

  return function stackOfLayers(req, res, next): void {
    if (isOfMiddie(req)) watchReply(res)
    const output = new HeldOutput(req, res, next)
    ;(req as Held)[OUTPUT] = output
    try {
      const response = app(req)
      if (isPromise(response)) {
        response.then(
          (value) => output.settle(value),
          (error: unknown) => output.fail(error),
        )
      } else {
        output.settle(response)
      }
    } catch (error) {
      output.fail(error)
    }
  }
}

const OUTPUT = Symbol('toConnect')

type Held = IncomingMessage & { [OUTPUT]: HeldOutput }

const NO_BODY_HERE =
  'A layer of the stack that toConnect() was given reads or replaces the body, which the handler writes to res ' +
  'itself. Take that layer out, and use a middleware of the framework for what it does.'

/** Stands in the triple for the body that the handler writes to `res`. */
const HELD: AsyncIterable<string> = Object.freeze({
  [Symbol.asyncIterator](): never {
    throw new InvalidResponseError(NO_BODY_HERE)
  },
})

/** What sends, in all its forms, and `on`, which compression replaces to move listeners elsewhere. */
interface Methods {
  readonly writeHead: (this: ServerResponse, status: number, ...args: unknown[]) => unknown
  readonly write: (this: ServerResponse, ...args: unknown[]) => boolean
  readonly end: (this: ServerResponse, ...args: unknown[]) => unknown
  readonly flushHeaders: (this: ServerResponse) => unknown
  readonly on: (this: ServerResponse, event: string, listener: () => void) => EventEmitter | undefined
}

type Call = readonly [method: 'writeHead' | 'write' | 'end' | 'flushHeaders', args: readonly unknown[]]

type Callback = (error?: unknown) => void

/** One response: what its handler writes is held until the stack has settled what is sent. */
class HeldOutput {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #next: (error?: unknown) => void
  #state: 'new' | 'handled' | 'held' | 'released' | 'dropped' = 'new'
  /** What was on `res` before: node's own methods, or those of a middleware around this one. */
  #methods!: Methods
  #before!: Head
  /** What the layers were given for what the handler wrote. */
  #given: RackResponse | undefined
  #resolve: ((response: RackResponse) => void) | undefined
  #message: string | undefined
  #calls: Call[] = []
  #unmask: (() => void) | undefined
  /** Why what was held is dropped: an error, or `undefined` for another response. */
  #reason: unknown

  constructor(req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) {
    this.#req = req
    this.#res = res
    this.#next = next
  }

  /** Lets the handler run. Gives the response as soon as its head is known. */
  handle(): Awaitable<RackResponse> {
    if (this.#state !== 'new') {
      throw new LintError('A layer called its app twice, or too late, and a handler that writes to res runs only once.')
    }
    this.#state = 'handled'
    this.#before = headOf(this.#res)
    this.#patch()
    this.#next()
    return this.#given ?? new Promise((resolve) => (this.#resolve = resolve))
  }

  /** The stack has a response. */
  settle(response: RackResponse): void {
    try {
      const taken = takeResponse(response)
      const [status, headers, body] = taken
      if (body !== HELD) this.#answer(taken)
      else if (status !== this.#given?.[0] && (status === 204 || status === 304)) this.#answer([status, headers, null])
      else this.#release(taken)
    } catch (error) {
      this.fail(error)
    }
  }

  /** The stack has none: what was written is dropped, and the framework hears of it. */
  fail(thrown: unknown): void {
    const [req, res] = [this.#req, this.#res]
    const isHandled = this.#state !== 'new'
    this.#drop(thrown)
    // next() without an error would go on, and next('route') too
    const error =
      typeof thrown === 'object' && thrown !== null
        ? thrown
        : new Error('A layer threw something that is no error.', { cause: thrown })
    try {
      if (!isHandled || !isOfMiddie(req)) this.#next(error)
      else if (!failReply(res, error)) throw error
    } catch {
      console.error(error)
      if (!res.headersSent) sendResponse(req, res, errorResponse(error), report)
      else if (!res.writableEnded) res.destroy()
    }
  }

  // ---- what the handler calls instead of node's methods

  #patch(): void {
    const res = this.#res
    const { writeHead, write, end, flushHeaders, on } = res as unknown as Methods
    this.#methods = { writeHead, write, end, flushHeaders, on }
    const isOpen = (): boolean => this.#state === 'released'
    const patched: Omit<Methods, 'on'> = {
      writeHead: (...args) => (isOpen() ? writeHead.apply(res, args) : this.#writeHead(...args)),
      write: (...args) => (isOpen() ? write.apply(res, args) : this.#write(args)),
      end: (...args) => (isOpen() ? end.apply(res, args) : this.#end(args)),
      flushHeaders: () => (isOpen() ? flushHeaders.call(res) : this.#hold('flushHeaders', [])),
    }
    Object.assign(res, patched)
    res.on('pipe', addSource)
  }

  #writeHead(status: number, reason?: unknown, headers?: unknown): ServerResponse {
    const res = this.#res
    if (this.#state === 'dropped') return res
    if (res.headersSent) throw headersSent()
    res.statusCode = checkStatus(status)
    if (typeof reason !== 'string') setHeaders(res, reason ?? headers)
    else {
      if (!isHttp2(res.req)) res.statusMessage = reason
      setHeaders(res, headers)
    }
    this.#hold('writeHead', [])
    return res
  }

  #write(args: readonly unknown[]): boolean {
    const [chunk] = args
    if (!isChunk(chunk)) throw invalidChunk(chunk)
    this.#hold('write', args)
    return false
  }

  #end(args: readonly unknown[]): ServerResponse {
    const [chunk] = args
    if (chunk && typeof chunk !== 'function' && !isChunk(chunk)) throw invalidChunk(chunk)
    this.#hold('end', args)
    if (this.#unmask) Object.defineProperty(this.#res, 'writableEnded', { value: true, configurable: true })
    return this.#res
  }

  #hold(method: Call[0], args: readonly unknown[]): void {
    if (this.#state === 'handled') this.#begin()
    // only what was put over these methods still gets here: the compression of what was dropped, for example
    if (this.#state === 'dropped') process.nextTick(callbackOf(args), this.#reason)
    else this.#calls.push([method, args])
  }

  /** The handler begins its response. */
  #begin(): void {
    const res = this.#res
    const { status, message, headers } = headOf(res)
    checkStatus(status)
    // where it would be sent, it is too late to tell the handler
    if (message) validateHeaderValue('statusMessage', message)
    this.#message = message
    this.#given = [status | 0, headers, HELD]
    this.#state = 'held'
    if (!res.headersSent) this.#unmask = mask(res)
    this.#resolve?.(this.#given)
  }

  // ---- what becomes of it

  #release([status, headers]: RackResponse): void {
    const res = this.#res
    const [givenStatus, given] = this.#given as RackResponse
    this.#state = 'released'
    this.#unmask?.()
    this.#unmask = undefined
    res.statusCode = status
    if (!isHttp2(res.req)) res.statusMessage = (status === givenStatus ? this.#message : undefined) ?? ''
    if (headers !== given) changeHeaders(res, given, headers)

    let hasWritten = false
    let isFull = false
    for (let call = this.#calls.shift(); call; call = this.#calls.shift()) {
      const [method, args] = call
      // the status may be another one by now; the headers of `writeHead` are set
      const result = this.#methods[method].apply(res, (method === 'writeHead' ? [status] : args) as [never])
      if (method !== 'write') continue
      hasWritten = true
      isFull ||= result === false
    }
    if (hasWritten && !isFull && !res.writableEnded) process.nextTick(() => this.#drain())
  }

  /** To the handler, every `write` said to wait; where node would not have, there is no `'drain'` of its own. */
  #drain(): void {
    const res = this.#res
    if (res.destroyed) return
    // a compression around us listens on a stream of its own for whoever listens here, and `on` returns that stream
    const probe = (): void => {}
    const emitter = this.#methods.on.call(res, 'drain', probe) ?? res
    emitter.off('drain', probe)
    emitter.emit('drain')
  }

  /** Sends a response of the layers, and nothing of the handler's. */
  #answer([status, headers, body]: RackResponse): void {
    if (this.#given && !isWhole(body)) {
      closeBody(body)
      throw new InvalidResponseError(NO_BODY_HERE)
    }
    this.#drop(undefined)
    const lines = getHeaderLines(headers, 'set-cookie')
    const others = getHeaderLines(headersOf(this.#res), 'set-cookie').filter((line) => !lines.includes(line))
    const merged = others.length === 0 ? headers : withHeader(headers, 'set-cookie', [...others, ...lines])
    sendResponse(this.#req, this.#res, [status, merged, body], report)
  }

  /** Makes `res` what it was before the handler ran, as far as that is still possible. */
  #drop(reason: unknown): void {
    const res = this.#res as ServerResponse & WithSources
    const isHandled = this.#state !== 'new'
    this.#state = 'dropped'
    this.#reason = reason
    if (!isHandled) return
    this.#unmask?.()
    this.#unmask = undefined
    // without what inner middleware put there, which is busy with what was dropped
    Object.assign(res, this.#methods)
    if (res.headersSent) res.destroy()
    else {
      const { status, message, headers } = this.#before
      res.statusCode = status
      if (!isHttp2(res.req)) res.statusMessage = message ?? ''
      changeHeaders(res, headersOf(res), headers)
    }

    // the handler may go on writing, into another's response or after its end, and nobody listens to the error of that
    res.on('error', () => {})
    res.removeAllListeners('drain')
    const sources = [...(res[SOURCES] ?? [])]
    for (const source of sources) source.unpipe?.(res)
    const calls = this.#calls.splice(0)
    const leave = (): void => {
      for (const source of sources) closeBody(source as unknown as RackBody)
      for (const [, args] of calls) callbackOf(args)(reason)
    }
    // not before: who waits for these, as pipeline() does, may destroy `res` then
    if (isClosed(res)) process.nextTick(leave)
    else res.once('close', leave)
  }
}

/** What is piped into a response. */
interface Source {
  unpipe?(to: ServerResponse): unknown
  destroy?(): unknown
}

const SOURCES = Symbol('sources')

interface WithSources {
  [SOURCES]?: Set<Source>
}

function addSource(this: WithSources & ServerResponse, source: Source): void {
  if (!this[SOURCES]) {
    const sources = (this[SOURCES] = new Set())
    this.on('unpipe', (gone: Source) => sources.delete(gone))
  }
  this[SOURCES].add(source)
}

function callbackOf(args: readonly unknown[]): Callback {
  return args.find((one): one is Callback => typeof one === 'function') ?? ((): void => {})
}

function isWhole(body: RackBody): boolean {
  return typeof body === 'string' || body === null || body instanceof Uint8Array || Array.isArray(body)
}

function isChunk(chunk: unknown): boolean {
  return typeof chunk === 'string' || chunk instanceof Uint8Array
}

function report(error: unknown): void {
  console.error(error)
}
