import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { describe, type Middleware, type RackResponse } from '../lib/app.ts'
import { callInner } from '../lib/call-inner.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { withHeader } from '../lib/headers.ts'

export interface RequestIdOptions {
  /** The name of the header that carries the id, in both directions. Default `'x-request-id'`. */
  header?: string | undefined
}

/** Rails' limit, in characters. */
const LONGEST = 255

/**
 * Gives each request an id, by which it is found in the logs of all who had a part in it (Rails'
 * ActionDispatch::RequestId): adds `req.requestId`, and sends it in the response's header.
 *
 * The id is the one that the request came with, from a proxy or a client, reduced to at most 255 of `A-Z a-z 0-9 _ -
 * @`; without one a random UUID. It is a label and proves nothing: a client may send what it wants. A layer of the
 * same kind above has given the request its id already, and that one stays.
 *
 * @throws {InvalidOptionError} `header` is no name of a header
 */
export function requestId(options: RequestIdOptions = {}): Middleware<{ readonly requestId: string }> {
  const { header = 'x-request-id' } = options
  if (typeof header !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(header)) {
    throw new InvalidOptionError("requestId({ header }) takes the name of a header, for example 'x-request-id'.")
  }
  const name = header.toLowerCase()

  return describe('requestId', { adds: ['requestId'] }, (app) => (req: IncomingMessage & { requestId?: string }) => {
    const id = req.requestId ?? (givenId(req, name) || randomUUID())
    const commit = ([status, headers, body]: RackResponse): RackResponse => [
      status,
      withHeader(headers, name, id),
      body,
    ]
    return callInner(app, req, { requestId: id }, { commit })
  })
}

function givenId(req: IncomingMessage, name: string): string {
  const given = req.headers[name]
  return typeof given === 'string' ? given.replace(/[^\w@-]/g, '').slice(0, LONGEST) : ''
}
