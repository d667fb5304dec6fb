import type { IncomingMessage } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { describe, type Middleware } from '../lib/app.ts'
import { callInner } from '../lib/call-inner.ts'
import {
  FormIncompleteError,
  FormTakenError,
  FormTooLargeError,
  FormUnsupportedError,
  InvalidOptionError,
} from '../lib/errors.ts'
import { isHttp2 } from '../lib/request.ts'

export interface FormOptions {
  /** Bytes that a form may have as it is sent. Default 102400 (100 KiB), as the body parsers of Express. */
  limit?: number | undefined
}

/**
 * The fields of an HTML form (`application/x-www-form-urlencoded`): adds `await req.form()`, a `URLSearchParams`, the
 * same one at every call. Nothing is read before the first call.
 *
 * A form is put back when it was read, so that a parser below, of a framework that the stack is in, finds it too; but
 * not over HTTP/2. Any other type of body, multipart and JSON too, reads as no fields and is left to a parser of the application. Where
 * a parser of Express has read the form already, its fields are taken from `req.body`: those that are strings, or
 * lists of strings.
 *
 * How long a client may take is node's to say: `requestTimeout` of the server, five minutes by default; over HTTP/2,
 * where there is none, the timeout of the session, which is yours to set.
 *
 * `req.form()` rejects with
 * - {FormTooLargeError} (413): the form is larger than `limit`; the rest is thrown away as it comes
 * - {FormIncompleteError} (400): the client went away
 * - {FormUnsupportedError} (415): it is compressed
 * - {FormTakenError}: something else has read the body, and left no fields
 *
 * @throws {InvalidOptionError} `limit` is no number of bytes
 */
export function form(options: FormOptions = {}): Middleware<{ readonly form: () => Promise<URLSearchParams> }> {
  const { limit = 100 * 1024 } = options
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new InvalidOptionError('form({ limit }) takes a whole number of bytes, for example 100 * 1024.')
  }
  return describe('form', { adds: ['form'] }, (app) => (req) => {
    const added = { form: (): Promise<URLSearchParams> => formOf(req, limit) }
    return callInner(app, req, added, {
      commit(response) {
        drain(req)
        return response
      },
      close: () => drain(req),
    })
  })
}

/** A body can be read only once, also where a stack inside `map` has a form() of its own. */
const forms = new WeakMap<IncomingMessage, Promise<URLSearchParams>>()

function formOf(req: IncomingMessage, limit: number): Promise<URLSearchParams> {
  let promise = forms.get(req)
  if (!promise) {
    promise = begin(req, limit)
    // who called may be gone before it fails
    promise.catch(() => {})
    forms.set(req, promise)
  }
  return promise
}

async function begin(req: IncomingMessage & { readonly body?: unknown }, limit: number): Promise<URLSearchParams> {
  const { headers } = req
  if (!isForm(headers['content-type']) || !hasBody(req)) return new URLSearchParams()
  if (req.readableDidRead || req.readableEnded) {
    if (req.readableEnded && isPlain(req.body)) return fieldsOf(req.body)
    throw isCut(req) ? new FormIncompleteError() : new FormTakenError()
  }
  if (isCut(req)) throw new FormIncompleteError()
  if ((headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity') throw new FormUnsupportedError()
  if (Number(headers['content-length']) > limit) throw new FormTooLargeError(limit)
  const text = (await read(req, limit)).toString()
  // the constructor drops one "?" at the beginning, which in a body is part of a name
  return new URLSearchParams(`?${text}`)
}

function isForm(type: string | undefined): boolean {
  return type?.split(';', 1)[0]?.trim().toLowerCase() === 'application/x-www-form-urlencoded'
}

/** RFC 9112, section 6.3; HTTP/2 says it with a flag. */
function hasBody(req: IncomingMessage): boolean {
  const length = req.headers['content-length']
  if (length !== undefined) return Number(length) !== 0
  return isHttp2(req) ? !streamOf(req).endAfterHeaders : req.headers['transfer-encoding'] !== undefined
}

/** Whether the end of the body will never come. */
function isCut(req: IncomingMessage): boolean {
  if (!isHttp2(req)) return req.destroyed && !req.readableEnded
  // there, a body that is cut off ends like any other
  const { aborted, rstCode } = streamOf(req)
  return aborted || Boolean(rstCode)
}

function streamOf(req: IncomingMessage): ServerHttp2Stream {
  return (req as unknown as { readonly stream: ServerHttp2Stream }).stream
}

/**
 * Reads the body and, where node lets it, puts it back: a parser below, of Express or Fastify, then finds it as if
 * nobody had been there, and does not wait for an end that is past. Over HTTP/2 it is told apart too late.
 */
function read(req: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // of a client that goes away after the answer, only the socket tells
    const socket = isHttp2(req) ? undefined : req.socket
    const chunks: (Buffer | string)[] = []
    let size = 0
    const settle = (): void => {
      req.off('readable', take).off('end', end).off('close', leave)
      socket?.off('close', leave)
    }
    const done = (): void => {
      settle()
      resolve(whole(chunks, req))
    }
    const leave = (cause?: unknown): void => {
      settle()
      reject(new FormIncompleteError(cause instanceof Error ? cause : undefined))
    }
    const take = (): void => {
      for (let chunk = next(req); chunk !== null; chunk = next(req)) {
        size += Buffer.byteLength(chunk, req.readableEncoding ?? 'utf8')
        if (size > limit) {
          settle()
          // the rest flows on into nothing, so that the client can go on to the answer
          req.resume()
          return reject(new FormTooLargeError(limit))
        }
        chunks.push(chunk)
      }
      if (socket === undefined || !req.complete || req.readableEnded) return
      done()
      putBack(req, chunks)
    }
    const end = (): void => (isCut(req) ? leave() : done())
    socket?.on('close', leave)
    req.on('end', end)
    req.on('error', leave)
    req.on('close', leave)
    req.on('readable', take)
    take()
  })
}

function next(req: IncomingMessage): Buffer | string | null {
  return req.read() as Buffer | string | null
}

/** As bytes; text came where something else has set an encoding. */
function whole(chunks: readonly (Buffer | string)[], { readableEncoding }: IncomingMessage): Buffer {
  return Buffer.concat(
    chunks.map((chunk) => (typeof chunk === 'string' ? Buffer.from(chunk, readableEncoding ?? 'utf8') : chunk)),
  )
}

/** What was put back, and is to be thrown away at the end where nobody wants it. */
const putBacks = new WeakSet<IncomingMessage>()

function putBack(req: IncomingMessage, chunks: readonly (Buffer | string)[]): void {
  if (chunks.length === 0) return
  if (req.readableEncoding) req.unshift(chunks.join(''), req.readableEncoding)
  else req.unshift(whole(chunks, req))
  putBacks.add(req)
}

/** Ends the request, as node does with a body that nobody has read. */
function drain(req: IncomingMessage): void {
  if (putBacks.delete(req) && req.readableFlowing !== true && req.listenerCount('readable') === 0) req.resume()
}

function isPlain(body: unknown): body is Record<string, unknown> {
  if (typeof body !== 'object' || body === null) return false
  const prototype = Object.getPrototypeOf(body) as object | null
  return prototype === null || prototype === Object.prototype
}

function fieldsOf(body: Record<string, unknown>): URLSearchParams {
  const fields = new URLSearchParams()
  for (const [name, value] of Object.entries(body)) {
    for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof one === 'string') fields.append(name, one)
    }
  }
  return fields
}
