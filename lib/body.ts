import type { Awaitable, RackBody, RackResponse } from './app.ts'
import { InvalidResponseError } from './errors.ts'

const ignore = (): void => {}

interface Closable {
  on?: (event: 'error', listener: () => void) => unknown
  destroy?: () => unknown
  cancel?: () => unknown
  return?: () => unknown
}

/** What `InvalidResponseError` says of a body, or a piece of one, that cannot be sent. */
export const NOT_TEXT = 'A body must be a string, bytes, null, or an iterable of strings and bytes.'

/**
 * Takes a response from an app: what is no triple is an error here, and not in whatever layer touches it first;
 * a stream is listened to from now on (see `guardBody`).
 *
 * @throws {InvalidResponseError} it is not `[status, headers, body]`; its body, if any, is closed
 */
export function takeResponse(response: RackResponse): RackResponse {
  const fault = faultOf(response)
  if (fault === undefined) return guardBody(response)
  if (Array.isArray(response)) closeBody((response as RackResponse)[2])
  throw new InvalidResponseError(fault)
}

function faultOf(response: RackResponse): string | undefined {
  if (!Array.isArray(response) || response.length !== 3) return 'An app must return [status, headers, body].'
  const [status, headers, body] = response as RackResponse
  if (!Number.isInteger(status) || status < 200 || status > 999) {
    return 'The status of a response must be a whole number from 200 to 999.'
  }
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    return 'The headers of a response must be an object of names and values.'
  }
  if (typeof body === 'string' || body === null) return undefined
  return typeof body === 'object' && (Symbol.iterator in body || Symbol.asyncIterator in body) ? undefined : NOT_TEXT
}

/**
 * Listens to a stream's errors from the moment an app returns it: the session is saved before the first byte
 * is read, and an error without a listener in between would end the process. The error is not lost: whoever
 * reads the stream gets it.
 */
export function guardBody(response: RackResponse): RackResponse {
  const body = response[2]
  if (typeof body === 'object') guard(body as Closable | null)
  return response
}

function guard(body: Closable | null): void {
  if (typeof body?.on === 'function') body.on('error', ignore)
}

/**
 * Gives back what a body holds: a file, a socket, a generator's `finally`. Whoever replaces or drops a body
 * calls it. Nothing is thrown; a failure to close has nobody left to tell.
 */
export function closeBody(body: RackBody): void {
  if (typeof body !== 'object' || body === null) return
  const closable = body as Closable
  try {
    if (typeof closable.destroy === 'function') {
      // a file that is still being opened may fail after it was destroyed
      guard(closable)
      closable.destroy()
    } else if (typeof closable.return === 'function') settle(closable.return())
    else if (typeof closable.cancel === 'function') settle(closable.cancel())
  } catch {
    // see above
  }
}

function settle(result: unknown): void {
  if (result instanceof Promise) result.catch(ignore)
}

/** The part of an iterator that is used of one. */
export interface Chunks {
  next(): Awaitable<IteratorResult<unknown>>
  return?(value?: unknown): unknown
}

/** Begins to read a body that comes in pieces. */
export function chunksOf(body: Iterable<unknown> | AsyncIterable<unknown>): Chunks {
  if ('getReader' in body) {
    // the iterator of a web stream cannot be stopped while it waits for a chunk
    const reader = (body as ReadableStream<unknown>).getReader()
    return { next: () => reader.read(), return: () => reader.cancel() }
  }
  return Symbol.asyncIterator in body ? body[Symbol.asyncIterator]() : body[Symbol.iterator]()
}

/**
 * A list of chunks as one piece.
 *
 * @throws {InvalidResponseError} one of them is neither text nor bytes
 */
export function joinChunks(chunks: readonly unknown[]): string | Buffer {
  if (chunks.every((chunk) => typeof chunk === 'string')) return chunks.join('')
  return Buffer.concat(
    chunks.map((chunk) => {
      if (typeof chunk === 'string') return Buffer.from(chunk)
      if (chunk instanceof Uint8Array) return chunk
      throw new InvalidResponseError(NOT_TEXT)
    }),
  )
}
