import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import {
  AbstractStore,
  Builder,
  cookies,
  MemoryStore,
  session,
  toConnect,
  type CookieJar,
  type DeleteOptions,
  type RequestOf,
  type SessionData,
  type SessionHandle,
  type SessionId,
  type SessionStore,
  type StoredSession,
  type WriteOptions,
} from '../../lib/index.ts'
import type { Owner } from '../server.ts'
import { SECRET } from '../session-app.ts'

/** A save that has begun, and ends as the test says. */
export interface Save {
  finish(): void
  fail(error: unknown): void
}

/** A store whose saves wait until the test says so. */
export class GatedStore extends AbstractStore {
  readonly memory: MemoryStore = new MemoryStore()
  readonly #begun: Save[] = []
  #tell: ((save: Save) => void) | undefined

  /** The next save, once it has begun. */
  saving(): Promise<Save> {
    const save = this.#begun.shift()
    return save ? Promise.resolve(save) : new Promise((resolve) => (this.#tell = resolve))
  }

  override findSession(req: IncomingMessage, sid: SessionId): StoredSession | undefined {
    return this.memory.findSession(req, sid)
  }

  override async writeSession(
    req: IncomingMessage,
    sid: SessionId,
    data: SessionData,
    how: WriteOptions,
  ): Promise<boolean> {
    await new Promise<void>((finish, fail) => {
      if (this.#tell) this.#tell({ finish, fail })
      else this.#begun.push({ finish, fail })
      this.#tell = undefined
    })
    return this.memory.writeSession(req, sid, data, how)
  }

  override deleteSession(req: IncomingMessage, sid: SessionId, how: DeleteOptions): void {
    this.memory.deleteSession(req, sid, how)
  }
}

export interface Data {
  n: number
}

/** Cookies and a session with a number. */
export const stackOn = (
  store: SessionStore = new MemoryStore(),
): Builder<IncomingMessage & { readonly cookies: CookieJar } & { readonly session: SessionHandle<Data> }> =>
  new Builder().use(cookies({ secret: SECRET })).use(session<Data>({ store }))

export type Req = RequestOf<ReturnType<typeof stackOn>>
export type Handler = (req: Req, res: ServerResponse) => unknown

export interface Mounted {
  port: number
  /** What `next` was called with. */
  nexts: unknown[]
  /** What became of the handler's promise, where it was rejected. */
  errors: unknown[]
}

export async function listen(t: Owner, listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  return (server.address() as AddressInfo).port
}

/** A server of node alone, with what a framework does: a handler, and a page for errors. */
export async function mount<Added extends IncomingMessage>(
  t: Owner,
  stack: Builder<Added>,
  handler: (req: Added, res: ServerResponse) => unknown,
  before: (req: IncomingMessage, res: ServerResponse, next: () => void) => void = (_req, _res, next) => next(),
): Promise<Mounted> {
  const nexts: unknown[] = []
  const errors: unknown[] = []
  const middleware = toConnect(stack)
  const handle = async (req: Added, res: ServerResponse): Promise<void> => {
    try {
      await handler(req, res)
    } catch (error) {
      errors.push(error)
    }
  }
  const port = await listen(t, (req, res) => {
    if (req.url === '/beside') {
      res.end('beside')
      return
    }
    before(req, res, () =>
      middleware(req, res, (error) => {
        nexts.push(error)
        if (error) {
          res.statusCode = 500
          res.end(`failed: ${(error as Error).message}`)
        } else {
          void handle(req as Added, res)
        }
      }),
    )
  })
  return { port, nexts, errors }
}

/** Changes the session, so that it has to be saved. */
export async function count(req: Req): Promise<number> {
  const hash = await req.session
  hash.n = (hash.n ?? 0) + 1
  return hash.n
}

export async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
