import type { IncomingMessage } from 'node:http'
import type { App } from './app.ts'
import { closeBody } from './body.ts'
import { stackOf, type Builder } from './builder.ts'
import { InvalidOptionError, SessionCommittedError, StackOrderError } from './errors.ts'
import { checkOrigins, originOf } from './request.ts'
import type { Session, SessionHandle } from './session-handle.ts'
import { SessionHash } from './session-hash.ts'

type WithSession<Data> = IncomingMessage & { readonly session: SessionHandle<Data> }

/** A `Builder`, run or not, whose session holds `Data`; or an app that a Builder made. */
export type SessionStack<Data> = App | Builder | Builder<WithSession<Data>>

export interface SessionForOptions {
  /** Other origins whose pages may open a socket here, for example `['https://www.example.org']`. Default: none. */
  trustedOrigins?: readonly string[] | undefined
}

/** One call, on its way down to the session and back. */
interface Call {
  readonly trusted: ReadonlySet<string>
  session?: object
  failure?: { readonly error: unknown }
}

interface Reader {
  readonly app: App
  readonly calls: WeakMap<IncomingMessage, Call>
}

const readers = new WeakMap<Builder, Reader>()

/**
 * The session of a WebSocket upgrade, to be read where a server hears of one:
 *
 * ```ts
 * const { userId } = await sessionFor(stack, req)
 * ```
 *
 * Nothing is saved, extended or sent, and a write throws `ERR_SESSION_COMMITTED`. Browsers send their cookies with an
 * upgrade that a page of any other site asks for, and no rule of CORS holds it back; so the session is empty, and no
 * store is asked, unless the Origin is that of the host that was asked for, or a trusted one. Called again with the
 * same request, it tells whether the session is still there.
 *
 * @param stack the stack of the pages that the socket belongs to: the layers above its session run, those of the `map`
 *   that its path belongs to included; whatever is below does not. Behind a proxy it has `forwarded({ trust })`
 * @param req the upgrade's request
 * @returns the hash, empty for a visitor without a session
 * @throws {InvalidOptionError} no Builder made the app; a trusted origin is none
 * @throws {StackOrderError} the stack has no session
 */
export async function sessionFor<Data extends object = Record<string, unknown>>(
  stack: SessionStack<Data>,
  req: IncomingMessage,
  options: SessionForOptions = {},
): Promise<Readonly<Session<Data>>> {
  const call: Call = { trusted: checkOrigins(options.trustedOrigins ?? [], 'sessionFor({ trustedOrigins })') }
  const { app, calls } = readerOf(stack as App | Builder)
  calls.set(req, call)
  const [, , body] = await app(req)
  closeBody(body)
  // which a layer above may have made a page of
  if (call.failure) throw call.failure.error
  // a layer above the session may have answered itself
  return (call.session ?? emptySession()) as Readonly<Session<Data>>
}

function readerOf(stack: App | Builder): Reader {
  const builder = stackOf(stack)
  const known = builder && readers.get(builder)
  if (known) return known
  const calls: Reader['calls'] = new WeakMap()
  const app = cutAtSession(stack, 'sessionFor', async (req) => {
    const call = calls.get(req)
    // only here, since forwarded() above may know better which host was asked for
    if (call === undefined || !isOwn(req, call.trusted)) return
    Object.assign(req.session.options, { skip: true, touch: false })
    try {
      call.session = await req.session
    } catch (error) {
      call.failure = { error }
      throw error
    }
  })
  const reader = { app, calls }
  readers.set(builder as Builder, reader)
  return reader
}

/** Whether a page of ours, or of a trusted origin, made the browser ask. */
function isOwn(req: IncomingMessage, trusted: ReadonlySet<string>): boolean {
  const { origin } = req.headers
  return origin !== undefined && (origin === originOf(req) || trusted.has(origin))
}

function emptySession(): object {
  const hash = new SessionHash()
  hash.freeze(() => new SessionCommittedError('The session was written'))
  return hash.proxy
}

/**
 * The stack down to its session, with something else to do there than its controller.
 *
 * @param asker what is told of in errors
 * @throws {InvalidOptionError} no Builder made the app
 * @throws {StackOrderError} the stack has no session
 */
export function cutAtSession(
  stack: App | Builder,
  asker: string,
  visit: (req: WithSession<Record<string, unknown>>) => Promise<void>,
): App {
  const builder = stackOf(stack)
  if (builder === undefined) {
    throw new InvalidOptionError(`${asker}() takes a Builder, or the app that its run() gave.`)
  }
  const app = builder.cut('session', async (req: Partial<WithSession<Record<string, unknown>>>) => {
    // of several maps, some may have none
    if (req.session) await visit(req as WithSession<Record<string, unknown>>)
    return [204, {}, null]
  })
  if (app) return app
  throw new StackOrderError(`${asker}() needs a stack with the layer that adds req.session: use(session()) in it.`)
}
