import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RackHeaders } from './app.ts'
import { statusOf } from './error-response.ts'
import { headersOf } from './node-response.ts'

/** What is used of Fastify's reply. */
interface Reply {
  readonly raw: ServerResponse
  readonly sent: boolean
  code(status: number): unknown
  getHeaders(): ReturnType<ServerResponse['getHeaders']>
  header(name: string, value: unknown): unknown
  removeHeader(name: string): unknown
  send(error: Error): unknown
}

/** The replies of the responses that are watched, with their headers, from when their handlers run. */
const replies = new WeakMap<ServerResponse, { readonly reply: Reply; readonly headers: RackHeaders } | undefined>()

/**
 * Whether `@fastify/middie` calls a middleware, by what it puts on requests; Express in Fastify puts more there. Its
 * `next` serves another request as soon as Fastify has gone on with this one: called again, it would make that one
 * skip a middleware. So an error has to find another way.
 */
export function isOfMiddie(req: IncomingMessage): boolean {
  return Object.hasOwn(req, 'ips') && Object.hasOwn(req, 'log') && !('app' in req)
}

let isWatching = false

/**
 * Finds out which reply a response is of, on Fastify's diagnostics channel. While anybody listens there, Fastify sets
 * an error's status before it calls an error handler of the application, and not after.
 */
export function watchReply(res: ServerResponse): void {
  replies.set(res, undefined)
  if (isWatching) return
  isWatching = true
  subscribe('tracing:fastify.request.handler:start', (message) => {
    const { reply } = message as { reply: Reply }
    if (replies.has(reply.raw)) replies.set(reply.raw, { reply, headers: headersOf(reply) })
  })
}

/**
 * Gives an error to Fastify's error handler, with the headers that the reply had before its handler ran.
 *
 * @returns whether that was possible: it is for the handlers of routes, unless they have hijacked the reply
 */
export function failReply(res: ServerResponse, error: object): boolean {
  const { reply, headers } = replies.get(res) ?? {}
  if (!reply || reply.sent) return false
  for (const name in reply.getHeaders()) reply.removeHeader(name)
  for (const name in headers) reply.header(name, headers[name])
  // the handler may have chosen one that is no error's
  reply.code(statusOf(error))
  reply.send(error instanceof Error ? error : new Error('Something was thrown that is no error.', { cause: error }))
  return true
}
