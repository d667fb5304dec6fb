import { ServerResponse, type IncomingMessage, type OutgoingHttpHeader, type OutgoingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { RackBody, RackHeaders, RackResponse } from './app.ts'
import { NOT_TEXT } from './body.ts'
import { statusOf } from './error-response.ts'

type Chunk = string | Uint8Array

type Done = (error?: Error | null) => void

/** Bytes that may wait for the reader before `write` says to hold on: what node's own streams keep. */
const HIGH_WATER_MARK = 64 * 1024

/** What is piped into a response. */
interface Source {
  destroy?: () => unknown
}

/** A body that somebody else writes to the response. */
interface Feed {
  readonly start: () => void
  readonly stop: () => void
}

/** How a response may end: sent, not wanted by a layer above, broken off, or without a client. */
type End = 'complete' | 'dropped' | 'failed' | 'gone'

/** The responses of a connection that are not over, so that it has one listener, however many layers there are. */
const responsesOf = new WeakMap<Socket, Set<CapturedResponse>>()

/**
 * A node response that has no socket of its own: what is written to it becomes a triple. Its methods may be
 * replaced by others, as Connect's middleware do, which then call these.
 *
 * The triple is there once the head is written. A body that was ended in the same turn is whole, and `null` where
 * nothing was written; any other is read as it is written, and `write` says when to wait for `'drain'`.
 *
 * `'finish'` and `'close'` come when the body was handed on to its end, or a layer above dropped it; when it breaks
 * off, or the client goes away, `'close'` alone.
 */
export class CapturedResponse extends ServerResponse {
  /** Rejects where the response fails before its head. */
  readonly response: Promise<RackResponse>
  #resolve!: (response: RackResponse) => void
  #reject!: (error: unknown) => void
  #head: readonly [status: number, headers: RackHeaders] | undefined
  #queue: { chunk: Chunk; done: Done | undefined }[] = []
  #waiting = 0
  #needDrain = false
  #isRead = false
  #isSent = false
  #readers: (() => void)[] = []
  #feed: Feed | undefined
  #failure: { readonly error: unknown } | undefined
  #end: End | undefined
  #isClosed = false
  readonly #sources = new Set<Source>()

  /** @param req of `node:http`, or of `node:http2`'s compatibility mode */
  constructor(req: IncomingMessage) {
    super(req)
    // Express gives a response another prototype, and these have to stay
    Object.assign(this, METHODS)
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.response.catch(() => {})
    this.on('pipe', (source: Source) => this.#sources.add(source))
    this.on('unpipe', (source: Source) => this.#sources.delete(source))
    // the socket of the request, for the addresses that loggers read and for the on-finished package
    const socket = req.socket as Socket | undefined
    if (typeof socket?.on === 'function') {
      Object.assign(this, { socket })
      this.#watch(socket)
    }
  }

  override writeHead(
    status: number,
    reason?: string | OutgoingHttpHeaders | readonly OutgoingHttpHeader[],
    headers?: OutgoingHttpHeaders | readonly OutgoingHttpHeader[],
  ): this {
    if (this.#head || this.#failure) {
      throw Object.assign(new Error('The head was written already.'), { code: 'ERR_HTTP_HEADERS_SENT' })
    }
    // as node takes it: '404' is a number too
    const code = status | 0
    if (code < 100 || code > 999) {
      throw Object.assign(new RangeError('The status must be from 100 to 999.'), {
        code: 'ERR_HTTP_INVALID_STATUS_CODE',
      })
    }
    if (typeof reason === 'string') this.statusMessage = reason
    for (const [name, value] of pairsOf(typeof reason === 'string' ? headers : (headers ?? reason))) {
      this.setHeader(name, value)
    }
    this.statusCode = code
    this.#head = [code, { ...(this.getHeaders() as RackHeaders) }]
    this.#closeHead()
    // what is ended at once is a whole body
    queueMicrotask(() => this.#resolve([...(this.#head as [number, RackHeaders]), this.#body()]))
    return this
  }

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    return this.#write(chunk, encoding, (typeof encoding === 'function' ? encoding : callback) as Done | undefined)
  }

  #write(chunk: unknown, encoding: unknown, done: Done | undefined): boolean {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) {
      throw Object.assign(new TypeError(NOT_TEXT), { code: 'ERR_INVALID_ARG_TYPE' })
    }
    if (this.finished || this.#end) {
      refuse(done)
      return false
    }
    if (!this.#head) this.writeHead(this.statusCode)
    return this.#push(typeof chunk === 'string' && isOther(encoding) ? Buffer.from(chunk, encoding) : chunk, done)
  }

  override end(chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    const done = [chunk, encoding, callback].find((one) => typeof one === 'function') as (() => void) | undefined
    const isEmpty = chunk === undefined || chunk === null || typeof chunk === 'function' || chunk === ''
    if (this.finished || this.#end) {
      if (done) process.nextTick(done)
      return this
    }
    // and not this.write, which may be that of a middleware, which calls this
    if (!isEmpty) this.#write(chunk, encoding, undefined)
    else if (!this.#head) this.writeHead(this.statusCode)
    if (done) this.once('finish', done)
    this.finished = true
    this.#wake()
    return this
  }

  override flushHeaders(): void {
    if (this.headersSent) return
    this.writeHead(this.statusCode)
    // an empty piece makes the listener send the head
    this.#push('', undefined)
  }

  /** The response cannot be ended: there is no triple, or its body breaks off. */
  override destroy(error?: Error): this {
    this.fail(error ?? new Error('The response was destroyed before its end.'))
    return this
  }

  /** As `destroy`, with whatever an app threw. */
  fail(error: unknown): void {
    if (this.#end) return
    this.#failure = { error }
    // what loggers are to see: the answer will be that of the error
    if (!this.#isSent) this.statusCode = statusOf(error)
    this.#closeHead()
    this.#reject(error)
    this.#over('failed')
  }

  /** Whether nothing that is written now would be part of the response. */
  isOver(): boolean {
    return this.finished || this.#end !== undefined
  }

  /**
   * For a body that is to be written to the response when somebody reads it, and not before.
   *
   * @param start called once, when the body is read for the first time; at once where it is, or where the head did not
   *   come through yet, so that there is nothing to be read
   * @param stop called when the response is over, however that came
   */
  feed(start: () => void, stop: () => void): void {
    if (this.#end) {
      stop()
      return
    }
    const isAwaited = this.#isRead || !this.#head
    this.#feed = { start: isAwaited ? () => {} : start, stop }
    if (isAwaited) start()
  }

  static {
    // what node looks up at the socket, which is not this response's
    const getters: Record<string, (this: CapturedResponse) => unknown> = {
      closed() {
        return this.#isClosed
      },
      writableFinished() {
        return this.#end === 'complete'
      },
      writableLength() {
        return this.#waiting
      },
      writableNeedDrain() {
        return this.#needDrain && !this.isOver()
      },
    }
    for (const [name, get] of Object.entries(getters)) {
      Object.defineProperty(this.prototype, name, { get, configurable: true })
    }
  }

  override cork(): void {}
  override uncork(): void {}

  // interim responses would have to overtake the triple
  override writeContinue(): void {}
  override writeProcessing(): void {}
  override writeEarlyHints(_hints: unknown, callback?: () => void): void {
    callback?.()
  }

  #watch(socket: Socket): void {
    let responses = responsesOf.get(socket)
    if (!responses) {
      const watched = new Set<CapturedResponse>()
      socket.on('close', () => {
        for (const response of watched) response.#leave()
      })
      responsesOf.set(socket, (responses = watched))
    }
    responses.add(this)
  }

  /** The client is gone. The triple is still wanted: layers above have a session to save. */
  #leave(): void {
    this.destroyed = true
    this.#emitClose()
  }

  #emitClose(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.emit('close')
  }

  /** From now on node's own getters and setters know that the head is written. */
  #closeHead(): void {
    Object.assign(this, { _header: `HTTP/1.1 ${this.statusCode}\r\n\r\n` })
  }

  #push(chunk: Chunk, done: Done | undefined): boolean {
    this.#queue.push({ chunk, done })
    this.#waiting += chunk.length
    this.#wake()
    this.#needDrain ||= this.#waiting >= HIGH_WATER_MARK
    return !this.#needDrain
  }

  #wake(): void {
    const readers = this.#readers
    this.#readers = []
    for (const wake of readers) wake()
  }

  #body(): RackBody {
    if (!this.finished) return this.#reader()
    const taken = this.#queue
    this.#queue = []
    this.#isSent = true
    process.nextTick(() => {
      for (const { done } of taken) done?.()
      this.#over('complete')
    })
    const chunks = taken.map(({ chunk }) => chunk)
    if (chunks.length <= 1) return chunks[0] ?? null
    return Buffer.concat(chunks.map((chunk) => (typeof chunk === 'string' ? Buffer.from(chunk) : chunk)))
  }

  #reader(): AsyncIterableIterator<Chunk> {
    const next = async (): Promise<IteratorResult<Chunk>> => {
      if (!this.#isRead) {
        this.#isRead = true
        this.#feed?.start()
      }
      for (;;) {
        const taken = this.#queue.shift()
        if (taken) {
          this.#take(taken.chunk, taken.done)
          return { done: false, value: taken.chunk }
        }
        if (this.#failure) throw this.#failure.error
        if (this.finished) this.#over('complete')
        if (this.#end) return { done: true, value: undefined }
        // oxlint-disable-next-line no-await-in-loop -- one piece after the other
        await new Promise<void>((resolve) => this.#readers.push(resolve))
      }
    }
    return {
      next,
      return: async () => {
        this.#over(isGone(this.req) ? 'gone' : 'dropped')
        return { done: true, value: undefined }
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  #take(chunk: Chunk, done: Done | undefined): void {
    this.#isSent = true
    this.#waiting -= chunk.length
    done?.()
    if (!this.#needDrain || this.#waiting > 0) return
    this.#needDrain = false
    process.nextTick(() => this.emit('drain'))
  }

  /** Whoever waits for the end is told, and what was written, fed or piped here is given back. */
  #over(end: End): void {
    if (this.#end) return
    this.#end = end
    if (this.socket) responsesOf.get(this.socket)?.delete(this)
    // of a response that is on its way, what was written before the failure is read before it
    if (end !== 'failed' || !this.#isSent) {
      for (const { done } of this.#queue) refuse(done)
      this.#queue = []
    }
    // a layer above, or the listener, answers instead
    const isAnswered = end !== 'gone' && !(end === 'failed' && this.#isSent)
    if (isAnswered) this.finished = true
    this.destroyed = true
    this.#wake()
    this.#feed?.stop()
    if (end !== 'complete') {
      // what echoes the request's body must not end its connection
      for (const source of this.#sources) if (source !== this.req) source.destroy?.()
    }
    process.nextTick(() => {
      if (isAnswered && !this.#isClosed) this.emit('finish')
      this.#emitClose()
    })
  }
}

const METHODS: object = Object.fromEntries(
  Object.entries(Object.getOwnPropertyDescriptors(CapturedResponse.prototype))
    .filter(([name, { value }]) => typeof value === 'function' && name !== 'constructor')
    .map(([name, { value }]) => [name, value as unknown]),
)

function isGone(req: IncomingMessage): boolean {
  // a stream of HTTP/2 that its client has cancelled may be open still
  return (req.socket as Socket | undefined)?.destroyed === true || req.aborted
}

function refuse(done: Done | undefined): void {
  if (!done) return
  const error = Object.assign(new Error('Written after the end.'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
  process.nextTick(done, error)
}

/** Header names and values in all forms that `writeHead` takes. */
function pairsOf(
  headers: OutgoingHttpHeaders | readonly OutgoingHttpHeader[] | undefined,
): [name: string, value: string | number | readonly string[]][] {
  if (headers === undefined || headers === null) return []
  if (!Array.isArray(headers)) {
    return Object.entries(headers as OutgoingHttpHeaders).filter(
      (pair): pair is [string, string] => pair[1] !== undefined,
    )
  }
  const flat = headers.every((one) => Array.isArray(one)) ? (headers as unknown as [string, string][]) : undefined
  const pairs: [string, string][] = flat ?? []
  if (!flat) {
    for (let i = 0; i + 1 < headers.length; i += 2) pairs.push([String(headers[i]), headers[i + 1] as string])
  }
  const lines = new Map<string, [string, string | string[]]>()
  for (const [name, value] of pairs) {
    const known = lines.get(name.toLowerCase())
    if (known) known[1] = [known[1], value].flat()
    else lines.set(name.toLowerCase(), [name, value])
  }
  return [...lines.values()]
}

function isOther(encoding: unknown): encoding is BufferEncoding {
  return typeof encoding === 'string' && encoding !== 'utf8' && encoding !== 'utf-8'
}
