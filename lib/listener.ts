import {
  validateHeaderName,
  validateHeaderValue,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { isPromise, type App, type RackBody, type RackHeaders, type RackResponse } from './app.ts'
import { chunksOf, closeBody, joinChunks, NOT_TEXT, takeResponse, type Chunks } from './body.ts'
import { Builder } from './builder.ts'
import {
  requestEnd,
  requestStart,
  response as responseOut,
  type RequestMessage,
  type ResponseMessage,
} from './channels.ts'
import { errorResponse, statusOf } from './error-response.ts'
import { InvalidOptionError, InvalidResponseError } from './errors.ts'
import { isHttp2 } from './request.ts'

export interface ListenerOptions {
  /**
   * Hears of every failure: of the app, of a body, of a response that cannot be sent. A client that goes away is no
   * failure. Default: `console.error`, but for an error that names a 4xx status of its own, which is the client's.
   */
  onError?: ((error: unknown, req: IncomingMessage) => void) | undefined
}

/** What `createServer` of `node:http`, `node:https` and `node:http2` (compatibility mode) takes. */
export type Listener = (req: IncomingMessage | Http2ServerRequest, res: ServerResponse | Http2ServerResponse) => void

/**
 * Makes an app a listener of a node server.
 *
 * The head is sent with the first bytes of the body, so that an error before them is a plain 500, or the 4xx that
 * the error's own `status` names; an error after them destroys the connection. A stream that wants its head sent at once yields an empty string first.
 * Strings, bytes and lists get a `content-length`; HEAD, 204 and 304 send no body; a body is read no faster
 * than the client takes it, and closed when the client goes away.
 *
 * @param app an app, or a `Builder` that is still to be run
 * @throws {InvalidOptionError} at once, for what is neither
 */
export function toListener(app: App | Builder, options: ListenerOptions = {}): Listener {
  const { onError = report } = options
  const call = app instanceof Builder ? app.run() : app
  if (typeof call !== 'function') throw new InvalidOptionError('toListener() takes an app or a Builder.')

  // node:http2's compatibility classes do what is used of node:http's here
  return function listener(request, res): void {
    const req = request as IncomingMessage
    const out = new Output(req, res as ServerResponse, onError)
    if (requestStart.hasSubscribers || requestEnd.hasSubscribers) publishRequest(req, res as ServerResponse)
    try {
      const response = call(req)
      if (isPromise(response)) {
        response.then(
          (value) => out.send(value),
          (error: unknown) => out.fail(error),
        )
      } else {
        out.send(response)
      }
    } catch (error) {
      out.fail(error)
    }
  }
}

function report(error: unknown): void {
  if (statusOf(error) === 500) console.error(error)
}

/** Sends a triple as the answer to a request. */
export function sendResponse(
  req: IncomingMessage,
  res: ServerResponse,
  response: RackResponse,
  onError: (error: unknown, req: IncomingMessage) => void,
): void {
  new Output(req, res, onError).send(response)
}

/** One response on its way to one client. */
class Output {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly onError: (error: unknown, req: IncomingMessage) => void

  constructor(req: IncomingMessage, res: ServerResponse, onError: Output['onError']) {
    this.req = req
    this.res = res
    this.onError = onError
  }

  send(response: RackResponse): void {
    try {
      const [status, headers, body] = takeResponse(response)
      try {
        if (isGone(this.req, this.res)) closeBody(body)
        else if (status === 204 || status === 304) this.#sendNothing(status, withoutEntity(headers), body)
        else if (this.req.method === 'HEAD') this.#sendNothing(status, withLength(headers, lengthOf(body)), body)
        else if (typeof body === 'string' || body instanceof Uint8Array) this.#sendWhole(status, headers, body)
        else if (body === null) this.#sendWhole(status, headers, '')
        else if (Array.isArray(body)) this.#sendWhole(status, headers, joinChunks(body))
        else void this.#sendStream(status, withLength(headers, undefined), body)
      } catch (error) {
        closeBody(body)
        throw error
      }
    } catch (error) {
      this.fail(error)
    }
  }

  /** A plain page while that is still possible, else the end of the connection. Says nothing about the error. */
  fail(failure: unknown): void {
    const { req, res } = this
    if (!isGone(req, res)) {
      if (res.headersSent) abort(res)
      else sendError(failure, req, res)
    }
    try {
      const heard: unknown = this.onError(failure, req)
      if (isPromise(heard)) heard.then(undefined, (second: unknown) => console.error(second))
    } catch (second) {
      console.error(second)
    }
  }

  #sendWhole(status: number, headers: RackHeaders, body: string | Uint8Array): void {
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength
    const head = withLength(headers, length)
    const said = head['content-length']
    if (said !== undefined && Number(said) !== length) throw new InvalidResponseError(LYING_LENGTH)
    this.#writeHead(status, head)
    this.res.end(body)
  }

  #sendNothing(status: number, headers: OutgoingHttpHeaders, body: RackBody): void {
    this.#writeHead(status, headers)
    this.res.end()
    closeBody(body)
  }

  #writeHead(status: number, headers: OutgoingHttpHeaders): void {
    // node:http refuses control characters by itself; node:http2 leaves that to the peer
    if (isHttp2(this.req)) {
      for (const name in headers) {
        validateHeaderName(name)
        validateHeaderValue(name, headers[name] as string)
      }
    }
    this.res.writeHead(status, headers)
    if (responseOut.hasSubscribers) {
      const message: ResponseMessage = { req: this.req, status }
      responseOut.publish(message)
    }
  }

  async #sendStream(
    status: number,
    headers: OutgoingHttpHeaders,
    body: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
  ): Promise<void> {
    const { req, res } = this
    const said = headers['content-length']
    const promised = said === undefined ? undefined : Number(said)
    let sent = 0
    let chunks: Chunks | undefined
    let done = false
    const stop = (): void => {
      if (done) return
      done = true
      closeBody(body)
      closeBody(chunks as unknown as RackBody)
    }
    const leave = (): void => {
      if (done) return
      stop()
      res.destroy()
    }
    res.on('close', stop)
    res.on('error', stop)
    // a stream of HTTP/2 that the client ends with "no error" stays open for us
    if (isHttp2(req)) req.on('aborted', leave)
    // a response that waits behind others on its connection hears of its end only from the socket
    const queue = !isHttp2(req) && res.socket === null ? req.socket.setMaxListeners(0) : undefined
    queue?.on('close', leave)
    try {
      chunks = chunksOf(body)
      for (;;) {
        const next = await chunks.next()
        if (done) return
        if (next.done) break
        const chunk = next.value
        if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) throw new InvalidResponseError(NOT_TEXT)
        if (promised !== undefined) {
          sent += typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.byteLength
          if (!(sent <= promised)) throw new InvalidResponseError(LYING_LENGTH)
        }
        if (!res.headersSent) this.#writeHead(status, headers)
        if (chunk.length === 0) {
          res.flushHeaders()
        } else if (!res.write(chunk)) {
          await new Promise((resolve) => res.once('drain', resolve))
        }
      }
      if (promised !== undefined && sent !== promised) throw new InvalidResponseError(LYING_LENGTH)
      if (!res.headersSent) this.#writeHead(status, headers)
      done = true
      res.end()
    } catch (error) {
      if (done) return
      stop()
      this.fail(error)
    } finally {
      queue?.off('close', leave)
    }
  }
}

function publishRequest(req: IncomingMessage, res: ServerResponse): void {
  const begun: RequestMessage = { req }
  requestStart.publish(begun)
  res.once('close', () => {
    const { headersSent, writableFinished: complete } = res
    const ended: RequestMessage = { req, status: headersSent ? res.statusCode : undefined, complete }
    requestEnd.publish(ended)
  })
}

const LYING_LENGTH = 'The content-length of a response must be the number of bytes of its body.'

function sendError(failure: unknown, req: IncomingMessage, res: ServerResponse): void {
  const [status, headers, body] = errorResponse(failure)
  // writeHead, where it refused a header, has kept those before it
  for (const name of res.getHeaderNames()) res.removeHeader(name)
  if (!isHttp2(req)) {
    res.statusMessage = ''
    res.chunkedEncoding = false
  }
  res.writeHead(status, present(headers))
  res.end(req.method === 'HEAD' ? undefined : body)
}

/** Ends a response so that the client can tell it from one that is complete. */
function abort(res: ServerResponse): void {
  const { stream } = res as unknown as Partial<Http2ServerResponse>
  if (stream) stream.close(2)
  else res.destroy()
}

function isGone(req: IncomingMessage, res: ServerResponse): boolean {
  if (isHttp2(req)) return (res as unknown as Http2ServerResponse).stream.closed
  return res.destroyed || (res.socket === null && req.socket.destroyed)
}

/** Bytes, where they can be known without reading the body; of no body, HEAD's GET may have any. */
function lengthOf(body: RackBody): number | undefined {
  if (typeof body === 'string') return Buffer.byteLength(body)
  if (body instanceof Uint8Array) return body.byteLength
  return Array.isArray(body) ? Buffer.byteLength(joinChunks(body)) : undefined
}

function present(headers: RackHeaders): OutgoingHttpHeaders {
  const head: OutgoingHttpHeaders = {}
  for (const name in headers) {
    const value = headers[name]
    if (value !== undefined) head[name] = value as OutgoingHttpHeaders[string]
  }
  return head
}

function withLength(headers: RackHeaders, length: number | undefined): OutgoingHttpHeaders {
  const head: OutgoingHttpHeaders = {}
  let known = length === undefined
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined) continue
    const lower = name.length === 14 || name.length === 17 ? name.toLowerCase() : ''
    if (lower === 'content-length') {
      head['content-length'] = value as string
      known = true
    } else {
      head[name] = value as OutgoingHttpHeaders[string]
      if (lower === 'transfer-encoding') known = true
    }
  }
  if (!known) head['content-length'] = length as number
  return head
}

/** 204 and 304 have no body and say nothing of one (RFC 9110, sections 15.3.5 and 15.4.5). */
function withoutEntity(headers: RackHeaders): OutgoingHttpHeaders {
  const head = present(headers)
  for (const name in head) {
    const lower = name.toLowerCase()
    if (lower === 'content-length' || lower === 'content-type' || lower === 'transfer-encoding') delete head[name]
  }
  return head
}
