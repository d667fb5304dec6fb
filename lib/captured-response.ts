import { ServerResponse, type IncomingMessage, type OutgoingHttpHeader, type OutgoingHttpHeaders } from 'node:http'
import type { RackBody, RackResponse } from './app.ts'
import { NOT_TEXT } from './body.ts'

type Chunk = string | Uint8Array

type Done = (error?: Error | null) => void

/** Bytes that may wait for the reader before `write` says to hold on: what node's own streams keep. */
const HIGH_WATER_MARK = 64 * 1024

interface Source {
  destroy?: () => unknown
}

/**
 * A node response that has no socket of its own: what is written to it becomes a triple. Its methods may be
 * replaced by others, as Connect's middleware do, which then call these.
 *
 * The triple is there once the head is written. A body that was ended by then is whole; any other is read as
 * it is written, no faster than the client takes it.
 */
export class CapturedResponse extends ServerResponse {
  /** Rejects where the response is destroyed before its head. */
  readonly response: Promise<RackResponse>
  #resolve!: (response: RackResponse) => void
  #reject!: (error: unknown) => void
  #chunks: { chunk: Chunk; done: Done | undefined }[] = []
  #waiting = 0
  #needDrain = false
  #wake: (() => void) | undefined
  #error: unknown
  #closed = false
  readonly #sources = new Set<Source>()

  constructor(req: IncomingMessage) {
    super(req)
    // for the addresses that loggers read, and to hear of a client that goes away
    Object.assign(this, { socket: req.socket })
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.response.catch(() => {})
    this.on('pipe', (source: Source) => this.#sources.add(source))
    this.on('unpipe', (source: Source) => this.#sources.delete(source))
  }

  override writeHead(
    status: number,
    reason?: string | OutgoingHttpHeaders | readonly OutgoingHttpHeader[],
    headers?: OutgoingHttpHeaders | readonly OutgoingHttpHeader[],
  ): this {
    if (this.headersSent) {
      throw Object.assign(new Error('The head was written already.'), { code: 'ERR_HTTP_HEADERS_SENT' })
    }
    this.statusCode = status
    for (const [name, value] of pairsOf(typeof reason === 'string' ? headers : (reason ?? headers))) {
      this.setHeader(name, value)
    }
    // from now on node's own getters and setters know that the head is written
    Object.assign(this, { _header: `HTTP/1.1 ${status}\r\n\r\n` })
    // what is ended at once is a whole body
    queueMicrotask(() => this.#resolve([this.statusCode, { ...this.getHeaders() }, this.#body()]))
    return this
  }

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    const done = (typeof encoding === 'function' ? encoding : callback) as Done | undefined
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) throw new TypeError(NOT_TEXT)
    if (this.#closed || this.finished) {
      const error = Object.assign(new Error('Written after the end.'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
      if (done) process.nextTick(done, error)
      return false
    }
    if (!this.headersSent) this.writeHead(this.statusCode)
    const bytes = typeof chunk === 'string' && isOther(encoding) ? Buffer.from(chunk, encoding) : chunk
    return this.#push(bytes, done)
  }

  override end(chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    const done = [chunk, encoding, callback].find((one) => typeof one === 'function') as (() => void) | undefined
    if (done) this.once('finish', done)
    if (this.finished || this.#closed) return this
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') this.write(chunk, encoding)
    else if (!this.headersSent) this.writeHead(this.statusCode)
    this.finished = true
    this.#wake?.()
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
    if (this.#closed) return
    this.#error = error ?? new Error('The response failed.')
    this.#reject(this.#error)
    this.#close()
  }

  // interim responses would have to overtake the triple
  override writeContinue(): void {}
  override writeProcessing(): void {}
  override writeEarlyHints(_hints: unknown, callback?: () => void): void {
    callback?.()
  }

  #push(chunk: Chunk, done: Done | undefined): boolean {
    this.#chunks.push({ chunk, done })
    this.#waiting += chunk.length
    this.#wake?.()
    this.#needDrain ||= this.#waiting >= HIGH_WATER_MARK
    return !this.#needDrain
  }

  #body(): RackBody {
    if (!this.finished) return this.#reader()
    const chunks = this.#chunks.map(({ chunk }) => chunk)
    const [first = ''] = chunks
    process.nextTick(() => {
      for (const { done } of this.#chunks) done?.()
      this.#close()
    })
    if (chunks.length <= 1) return first
    return Buffer.concat(chunks.map((chunk) => (typeof chunk === 'string' ? Buffer.from(chunk) : chunk)))
  }

  #reader(): AsyncIterableIterator<Chunk> {
    const next = async (): Promise<IteratorResult<Chunk>> => {
      for (;;) {
        const taken = this.#chunks.shift()
        if (taken) {
          this.#take(taken.chunk, taken.done)
          return { done: false, value: taken.chunk }
        }
        if (this.#error !== undefined) throw this.#error
        if (this.#closed) return { done: true, value: undefined }
        if (this.finished) {
          this.#close()
          return { done: true, value: undefined }
        }
        // oxlint-disable-next-line no-await-in-loop -- one piece after the other
        await new Promise<void>((resolve) => (this.#wake = resolve))
        this.#wake = undefined
      }
    }
    return {
      next,
      return: async () => {
        this.#close()
        return { done: true, value: undefined }
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  #take(chunk: Chunk, done: Done | undefined): void {
    this.#waiting -= chunk.length
    done?.()
    if (!this.#needDrain || this.#waiting > 0) return
    this.#needDrain = false
    process.nextTick(() => this.emit('drain'))
  }

  /** It is over: sent, dropped or failed. Whoever waits for the end is told, and what was piped here is given back. */
  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#chunks = []
    this.finished = true
    this.destroyed = true
    this.#wake?.()
    const sources = [...this.#sources]
    this.emit('finish')
    this.emit('close')
    for (const source of sources) source.destroy?.()
  }
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
