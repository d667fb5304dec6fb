import type { IncomingMessage } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { describe, type Middleware } from '../lib/app.ts'
import {
  FormIncompleteError,
  FormTakenError,
  FormTooLargeError,
  FormUnsupportedError,
  InvalidOptionError,
} from '../lib/errors.ts'

export interface FormOptions {
  /** Bytes that a form may have as it is sent. Default 102400 (100 KiB), as the body parsers of Express. */
  limit?: number | undefined
}

/**
 * The fields of an HTML form (`application/x-www-form-urlencoded`): adds `await req.form()`, a `URLSearchParams`, the
 * same one at every call. Nothing is read before the first call.
 *
 * Any other type of body, multipart and JSON too, reads as no fields and is left to a parser of the application. Where
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
    return app(Object.assign(req, { form: () => formOf(req, limit) }))
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
  return req.httpVersionMajor >= 2 ? !streamOf(req).endAfterHeaders : req.headers['transfer-encoding'] !== undefined
}

/** Whether the end of the body will never come. */
function isCut(req: IncomingMessage): boolean {
  if (req.httpVersionMajor < 2) return req.destroyed && !req.readableEnded
  // there, a body that is cut off ends like any other
  const { aborted, rstCode } = streamOf(req)
  return aborted || Boolean(rstCode)
}

function streamOf(req: IncomingMessage): ServerHttp2Stream {
  return (req as unknown as { readonly stream: ServerHttp2Stream }).stream
}

function read(req: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // of a client that goes away after the answer, only the socket tells
    const socket = req.httpVersionMajor < 2 ? req.socket : undefined
    const chunks: Buffer[] = []
    let size = 0
    const settle = (error?: Error): void => {
      // without a listener the stream flows on into nothing, so that the client can go on to the answer
      req.off('data', take)
      req.off('close', leave)
      socket?.off('close', leave)
      if (error) reject(error)
      else resolve(Buffer.concat(chunks))
      chunks.length = 0
    }
    const take = (chunk: Buffer | string): void => {
      // text, where something else has set an encoding
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, req.readableEncoding ?? 'utf8') : chunk
      size += bytes.length
      if (size > limit) settle(new FormTooLargeError(limit))
      else chunks.push(bytes)
    }
    const leave = (cause?: unknown): void => {
      settle(new FormIncompleteError(cause instanceof Error ? cause : undefined))
    }
    socket?.on('close', leave)
    req.on('data', take)
    req.on('end', () => (isCut(req) ? leave() : settle()))
    req.on('error', leave)
    req.on('close', leave)
    // a stream that something else has paused would stay so
    req.resume()
  })
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
