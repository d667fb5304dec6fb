import type { IncomingMessage } from 'node:http'
import {
  describe,
  isPromise,
  type Awaitable,
  type Middleware,
  type RackBody,
  type RackHeaders,
  type RackResponse,
} from '../lib/app.ts'
import { chunksOf, closeBody, joinChunks, NOT_TEXT, takeResponse, type Chunks } from '../lib/body.ts'
import { withVary } from '../lib/cache-control.ts'
import { CapturedResponse } from '../lib/captured-response.ts'
import { InvalidOptionError, InvalidResponseError } from '../lib/errors.ts'
import { getHeaderLines, withHeader } from '../lib/headers.ts'

/** A middleware of Connect or Express, whatever it says of the request and the response that it takes. */
export type ConnectMiddleware = (req: never, res: never, next: (error?: unknown) => void) => unknown

/**
 * A middleware of Connect or Express as a layer of a stack: helmet, cors, compression, serve-static, morgan, multer.
 *
 * ```ts
 * new Builder().use(fromConnect(helmet())).use(fromConnect<{ file?: Express.Multer.File }>(upload.single('photo')))
 * ```
 *
 * It gets the request, and a node response of its own: what one middleware puts on `res`, such as Express' `locals`,
 * another does not see; put it on `req`. If it answers, that is the layer's response. If it calls
 * `next()`, the app below is called, and its response written to that node response through whatever methods the
 * middleware has put there; what comes out is the layer's response.
 *
 * - Of a header that both have set, the app's counts; but `set-cookie` has the lines of both, `vary` the names of both.
 * - Text, bytes and lists stay whole, unless the middleware makes a stream of them. Their `content-length` is there for
 *   the middleware to see.
 * - A stream is read when the layer's response is, and no faster. An empty string in it calls `res.flush()`, if the
 *   middleware has put that there, as compression does: for server-sent events.
 * - `next(error)`, a throw and a rejected promise become errors of the layer; after the head they break the body off,
 *   and after the end of the response they are dropped. An error of the app goes on as it is; the middleware sees a
 *   response of the error's status. Only the first `next` counts.
 * - `req.originalUrl` is the url with what `map` has cut off.
 *
 * An error that names a status from 400 to 499 is answered with it. Those of multer and busboy name none: see
 * examples/upload.ts.
 *
 * @typeParam Adds what it adds to the request
 * @param mw the middleware, as `helmet()` gives it; the layer is called what it is called
 * @throws {InvalidOptionError} it is no function of `(req, res, next)`; on a request, it gave a middleware instead of
 *   being one
 */
export function fromConnect<Adds = unknown>(mw: ConnectMiddleware): Middleware<Adds> {
  if (typeof mw !== 'function') {
    throw new InvalidOptionError('fromConnect() takes a middleware of Connect or Express, for example helmet().')
  }
  if (mw.length > 3) {
    throw new InvalidOptionError(
      'fromConnect() takes a function of (req, res, next). For what handles errors there is showExceptions().',
    )
  }

  return describe(mw.name || 'fromConnect', { readsBody: true }, (app) => (req) => {
    const res = new CapturedResponse(req)
    const restoreUrl = setUrls(req)
    let isTaken = false
    let isMeasured = false
    const next = (error?: unknown): void => {
      if (isTaken || res.isOver()) return
      isTaken = true
      restoreUrl()
      if (error) res.fail(error)
      else {
        attempt(
          res,
          () => app(req as Parameters<typeof app>[0]),
          (response) => {
            isMeasured = write(res, response)
          },
        )
      }
    }
    attempt(
      res,
      () => mw(req as never, res as never, next),
      (result) => {
        if (typeof result !== 'function' || isTaken || res.isOver()) return
        throw new InvalidOptionError(
          `fromConnect(${mw.name}) got what makes a middleware, and not one: write fromConnect(${mw.name}()).`,
        )
      },
    )
    return res.response.then(
      (response) => {
        restoreUrl()
        return withoutEntity(response, isMeasured)
      },
      (error: unknown) => {
        restoreUrl()
        throw error
      },
    )
  })
}

/**
 * Sets what Connect's middleware find on a request: `originalUrl`, and a `url` that begins with a slash where `map` has
 * left nothing of it. Gives back what restores the url, unless the middleware has made another of it.
 */
function setUrls(req: IncomingMessage & { originalUrl?: string; readonly scriptName?: string }): () => void {
  const { url = '', scriptName = '' } = req
  req.originalUrl ??= scriptName + url
  if (url !== '' && !url.startsWith('?')) return () => {}
  const slashed = `/${url}`
  req.url = slashed
  return () => {
    if (req.url === slashed) req.url = url
  }
}

/** Calls what may fail at once or later, and then `use` with what it gave. */
function attempt<T>(res: CapturedResponse, call: () => Awaitable<T>, use: (value: T) => void): void {
  const fail = (error: unknown): void => res.fail(error)
  try {
    const value = call()
    if (isPromise(value)) value.then(use).then(undefined, fail)
    else use(value)
  } catch (error) {
    fail(error)
  }
}

/**
 * Writes the app's response through the methods that the node response has now.
 *
 * @returns whether its length was added
 */
function write(res: CapturedResponse, response: RackResponse): boolean {
  const [status, headers, body] = takeResponse(response)
  try {
    // the middleware may have answered meanwhile, or failed
    if (res.isOver()) {
      closeBody(body)
      return false
    }
    res.statusCode = status
    addHeaders(res, headers)
    const whole = hasNoBody(status) ? null : wholeOf(body)
    if (whole === undefined) {
      res.writeHead(status)
      pour(res, body as Pieces)
    } else if (whole === null) {
      res.end()
      closeBody(body)
    } else {
      const isMeasured = whole.length > 0 && FRAMING.every((name) => getHeaderLines(headers, name).length === 0)
      if (isMeasured) res.setHeader('content-length', Buffer.byteLength(whole))
      res.end(whole)
      return isMeasured
    }
    return false
  } catch (error) {
    closeBody(body)
    throw error
  }
}

/** The lines of cookies and the names in Vary add up; of all other headers the app's count. */
function addHeaders(res: CapturedResponse, headers: RackHeaders): void {
  const seen = new Set<string>()
  for (const key in headers) {
    const name = key.toLowerCase()
    const lines = getHeaderLines(headers, name)
    if (lines.length === 0 || seen.has(name)) continue
    seen.add(name)
    const there = [res.getHeader(name) ?? []].flat().map(String)
    if (name === 'set-cookie') res.setHeader(name, [...there, ...lines])
    else if (name === 'vary') res.setHeader(name, union(there, lines))
    else res.setHeader(name, lines.length === 1 ? (lines[0] as string) : lines)
  }
}

function union(some: readonly string[], others: readonly string[]): string {
  let headers: RackHeaders = { vary: some }
  const names = others
    .join(',')
    .split(',')
    .map((name) => name.trim())
  for (const name of names) if (name !== '') headers = withVary(headers, name)
  return getHeaderLines(headers, 'vary').join(', ')
}

/** A body that is here in full, in one piece. */
function wholeOf(body: RackBody): string | Buffer | null | undefined {
  if (typeof body === 'string' || body === null) return body
  if (body instanceof Uint8Array) return bufferOf(body)
  return Array.isArray(body) ? joinChunks(body) : undefined
}

/** Bytes as Connect's middleware know them. */
function bufferOf(chunk: unknown): Buffer {
  if (!(chunk instanceof Uint8Array)) throw new InvalidResponseError(NOT_TEXT)
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}

type Pieces = Iterable<unknown> | AsyncIterable<unknown>

/** Writes a body piece by piece, as fast as the response is read. It is closed when the response is over. */
function pour(res: CapturedResponse, body: Pieces): void {
  let chunks: Chunks | undefined
  let isOver = false
  let goOn = (): void => {}

  const start = async (): Promise<void> => {
    // once for all pieces: compression, which replaces `on`, would keep each listener
    res.on('drain', () => goOn())
    try {
      chunks = chunksOf(body)
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- one piece after the other
        const next = await chunks.next()
        if (isOver) return
        if (next.done) break
        const chunk = typeof next.value === 'string' ? next.value : bufferOf(next.value)
        if (chunk.length === 0) flush(res)
        else if ((res.write(chunk) as unknown) === false && !isOver) {
          // oxlint-disable-next-line no-await-in-loop -- no piece before there is room
          await new Promise<void>((resolve) => (goOn = resolve))
          if (isOver) return
        }
      }
      isOver = true
      res.end()
    } catch (error) {
      res.fail(error)
    }
  }

  res.feed(
    () => void start(),
    () => {
      if (isOver) return
      isOver = true
      closeBody(body as RackBody)
      closeBody(chunks as unknown as RackBody)
      goOn()
    },
  )
}

/** Sends the head, and what compression holds back. */
function flush(res: CapturedResponse & { flush?: unknown }): void {
  res.flushHeaders()
  if (typeof res.flush === 'function') res.flush()
}

const FRAMING = ['content-length', 'transfer-encoding'] as const

/** RFC 9110, sections 15.3.5 and 15.4.5. */
function hasNoBody(status: number): boolean {
  return status === 204 || status === 304
}

/**
 * What is not said of a body that there is not; nor the length, where we have set it ourselves: a layer above may
 * still make another of a whole body, and the listener sets it.
 */
function withoutEntity(response: RackResponse, isMeasured: boolean): RackResponse {
  const [status, headers, body] = response
  if (hasNoBody(status)) return [status, without(headers, [...FRAMING, 'content-type']), body]
  const isWhole = typeof body === 'string' || body instanceof Uint8Array
  return isMeasured && isWhole ? [status, without(headers, ['content-length']), body] : response
}

function without(headers: RackHeaders, names: readonly string[]): RackHeaders {
  return names.reduce((kept, name) => withHeader(kept, name, undefined), headers)
}
