// Moves sessions from one store to another while they are in use: nobody is signed out.
import { createServer, type IncomingMessage } from 'node:http'
import {
  AbstractStore,
  Builder,
  cookies,
  session,
  toListener,
  type Awaitable,
  type DeleteOptions,
  type SessionData,
  type SessionId,
  type StoredSession,
  type WriteOptions,
} from 'luggage-rack'
import { SqliteStore } from 'luggage-rack/stores/sqlite'
import { FileStore } from './custom-store.ts'

/**
 * Reads from both stores, writes to the new one: a session moves when it is next written, its idle time
 * included. All processes change over together, since those that know only the old store miss what has moved.
 * After the idle time of a session (14 days, if you set none) the old store is empty: then use the new one
 * alone. Until then ask both for `deleteSessionsOf(owner)`, the old one first.
 */
export class MigratingStore extends AbstractStore {
  readonly #from: AbstractStore
  readonly #to: AbstractStore

  constructor({ from, to }: { from: AbstractStore; to: AbstractStore }) {
    super({ ttl: to.ttl })
    this.#from = from
    this.#to = to
  }

  override async findSession(req: IncomingMessage, sid: SessionId): Promise<StoredSession | undefined> {
    const find = (store: AbstractStore): Awaitable<StoredSession | undefined> => store.findSession(req, sid)
    // the third time for what was moved between the first and the second
    return (await find(this.#to)) ?? (await find(this.#from)) ?? find(this.#to)
  }

  override async writeSession(
    req: IncomingMessage,
    sid: SessionId,
    data: SessionData,
    options: WriteOptions,
  ): Promise<boolean> {
    if (await this.#to.writeSession(req, sid, data, options)) return true
    if (options.create) return false
    await this.#move(req, sid)
    return this.#to.writeSession(req, sid, data, options)
  }

  /** First from the old store, so that what is being moved meanwhile is found missing there, or deleted here. */
  override async deleteSession(req: IncomingMessage, sid: SessionId, options: DeleteOptions): Promise<void> {
    await this.#from.deleteSession(req, sid, options)
    await this.#to.deleteSession(req, sid, options)
  }

  async #move(req: IncomingMessage, sid: SessionId): Promise<void> {
    const old = await this.#from.findSession(req, sid)
    if (old === undefined || old.gone === true) return
    const { data, createdAt, expiresAt, owner } = old
    const options = { create: true, changes: 'all', createdAt, expiresAt, extend: false, owner } as const
    if (!(await this.#to.writeSession(req, sid, data, options))) return // another request was faster
    const still = await this.#from.findSession(req, sid)
    const signedOut = still === undefined || still.gone === true // meanwhile, so it must not come back
    await (signedOut ? this.#to : this.#from).deleteSession(req, sid, { markUntil: Date.now() })
  }
}

// only where this is the program, and not where another imports the class
if (/migrate-stores\.[jt]s$/.test(process.argv[1] ?? '')) {
  const store = new MigratingStore({
    from: new FileStore(process.env.OLD_SESSIONS ?? 'sessions'),
    to: new SqliteStore({ filename: process.env.NEW_SESSIONS ?? 'sessions.db' }),
  })
  const app = new Builder()
    .use(cookies())
    .use(session<{ visits: number }>({ store }))
    .run(async (req) => {
      const session = await req.session
      session.visits = (session.visits ?? 0) + 1
      return [200, { 'content-type': 'text/plain' }, `visit ${session.visits}\n`]
    })
  const port = Number(process.env.PORT ?? 3000)
  createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
}
