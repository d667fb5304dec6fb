import type { RackBody, RackResponse } from './app.ts'

const ignore = (): void => {}

interface Closable {
  on?: unknown
  destroy?: unknown
  cancel?: unknown
  return?: unknown
}

function isStream(body: RackBody): body is RackBody & { on(event: 'error', listener: () => void): unknown } {
  return typeof body === 'object' && body !== null && typeof (body as Closable).on === 'function'
}

/**
 * Listens to a stream's errors from the moment an app returns it: the session is saved before the first byte
 * is read, and an error without a listener in between would end the process. The error is not lost: whoever
 * reads the stream gets it.
 */
export function guardBody(response: RackResponse): RackResponse {
  const body = response?.[2]
  if (typeof body === 'object' && isStream(body)) body.on('error', ignore)
  return response
}

/**
 * Gives back what a body holds: a file, a socket, a generator's `finally`. Whoever replaces or drops a body
 * calls it. Nothing is thrown; a failure to close has nobody left to tell.
 */
export function closeBody(body: RackBody): void {
  if (typeof body !== 'object' || body === null) return
  const { destroy, cancel, return: end } = body as Closable
  try {
    if (typeof destroy === 'function') destroy.call(body)
    else if (typeof end === 'function') settle(end.call(body))
    else if (typeof cancel === 'function') settle(cancel.call(body))
  } catch {
    // see above
  }
}

function settle(result: unknown): void {
  if (result instanceof Promise) result.catch(ignore)
}
