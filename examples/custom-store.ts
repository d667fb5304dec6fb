// A session store of your own: three methods. This one keeps each session in a file of a folder, for one process.
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { AbstractStore, type SessionData, type SessionId, type StoredSession, type WriteOptions } from 'luggage-rack'

export class FileStore extends AbstractStore {
  readonly #folder: string
  /** What is under way for a file: whoever writes or removes it next waits, else a slow update undoes a removal. */
  readonly #queue = new Map<string, Promise<unknown>>()

  constructor(folder: string) {
    super() // takes { ttl }, the seconds that an idle session lives: 14 days
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.#folder = folder
  }

  override async findSession(_req: IncomingMessage, sid: SessionId): Promise<StoredSession | undefined> {
    try {
      const session = JSON.parse(await readFile(this.#file(sid), 'utf8')) as StoredSession
      return session.expiresAt > Date.now() ? session : undefined // expired is as good as absent
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined // absent is no error
      // all else is: a store that cannot tell must not say that there is no session
      throw error instanceof SyntaxError ? new Error('A session file is damaged.') : error // and no log quotes it
    }
  }

  override writeSession(req: IncomingMessage, sid: SessionId, data: SessionData, how: WriteOptions): Promise<boolean> {
    return this.#inTurn(sid, () => this.#write(req, sid, data, how))
  }

  override deleteSession(_req: IncomingMessage, sid: SessionId): Promise<void> {
    return this.#inTurn(sid, () => rm(this.#file(sid), { force: true })) // what does not exist is no error
  }

  async #write(
    req: IncomingMessage,
    sid: SessionId,
    data: SessionData,
    { create, createdAt, expiresAt, owner }: WriteOptions,
  ): Promise<boolean> {
    if (!create && (await this.findSession(req, sid)) === undefined) return false // it was removed: it stays so
    const file = this.#file(sid)
    const draft = `${file}.${randomUUID()}`
    await writeFile(draft, JSON.stringify({ data, createdAt, expiresAt, owner }), { mode: 0o600 })
    try {
      await (create ? link(draft, file) : rename(draft, file)) // nobody reads half a file, and link overwrites none
      return true
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false
      throw error
    } finally {
      await rm(draft, { force: true })
    }
  }

  #inTurn<T>(sid: SessionId, work: () => Promise<T>): Promise<T> {
    const file = this.#file(sid)
    const turn = (this.#queue.get(file) ?? Promise.resolve()).then(work, work)
    this.#queue.set(file, turn)
    const leave = (): unknown => this.#queue.get(file) === turn && this.#queue.delete(file)
    turn.then(leave, leave)
    return turn
  }

  /** Named by the private id, `2::` and 64 hexadecimal digits: the cookie's id is nowhere in the folder. */
  #file(sid: SessionId): string {
    return join(this.#folder, `${sid.privateId.slice('2::'.length)}.json`)
  }
}

const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException).code
