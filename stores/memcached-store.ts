import type { IncomingMessage } from 'node:http'
import { createRequire } from 'node:module'
import {
  InvalidOptionError,
  RackError,
  StoreCorruptError,
  StoreFailedError,
  StoreTimeoutError,
  StoreTooLargeError,
} from '../lib/errors.ts'
import type { SessionData } from '../lib/session-hash.ts'
import type { SessionId } from '../lib/session-id.ts'
import {
  AbstractStore,
  merge,
  type ClosableStore,
  type DeleteOptions,
  type RenewableStore,
  type RenewOptions,
  type StoredSession,
  type StoreOptions,
  type TouchableStore,
  type WriteOptions,
} from './abstract-store.ts'
import { checkDeadline, startDeadline } from './deadline.ts'
import { redactError } from './redact-error.ts'

/** A client of `memjs` 1.3 or later, as far as it is used here. */
export interface MemjsClient {
  readonly seq: number
  readonly options?: { readonly failover?: boolean }
  incrSeq(): void
  perform(
    key: string,
    request: Buffer,
    seq: number,
    callback: (error: unknown, response: MemjsResponse) => void,
    retries?: number,
  ): void
}

export interface MemjsResponse {
  readonly header: { readonly status: number; readonly cas: Buffer }
  readonly val: Buffer
}

/** A client of `memcache` 1.7 or later, as far as it is used here. */
export interface MemcacheClient {
  getNodesByKey(key: string): Promise<readonly MemcacheNode[]>
}

export interface MemcacheNode {
  command(command: string, options?: { isMultiline?: boolean; requestedKeys?: string[] }): Promise<unknown>
}

export interface MemcachedStoreOptions extends StoreOptions {
  /**
   * `'localhost:11211'`, or several in a list or between commas, each with `user:password@` in front where it
   * asks for them (SASL). The store makes `memjs` clients of its own. A session's id says which server has it,
   * so that another number of servers loses most sessions.
   */
  servers?: string | readonly string[] | undefined
  /** Instead of servers, a client of `memjs` or of `memcache`, which stays open when the store is closed. */
  client?: MemjsClient | MemcacheClient | undefined
  /** Stands in front of every key. Default `'session:'`. */
  prefix?: string | undefined
  /** Milliseconds that a call may take before it fails with `ERR_STORE_TIMEOUT`. Default 1000. */
  deadline?: number | undefined
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  clock?: (() => number) | undefined
}

/** Visible ASCII: a space or a line end in a key would begin another command. */
const PREFIX = /^[\x21-\x7e]*$/

const PRIVATE_ID = /^2::[0-9a-f]{64}$/

/** Of memcached's 250 bytes for a key, those that a private id leaves. */
const MAX_PREFIX = 250 - 67

/** Above this memcached takes an expiry for a unix time. */
const THIRTY_DAYS = 30 * 24 * 3600

/** memcached reads an expiry as a signed number of 32 bits. */
const MAX_TIME = 2 ** 31 - 1

/**
 * Sessions in memcached, as Rails' mem_cache_store keeps them. It is a cache: it evicts what was used longest
 * ago when its memory is full, and forgets everything when it restarts, and the visitor begins anew. It lists
 * nothing, so there is no `sessionsOf(owner)`. An item, and so a session, holds 1 MB, unless the server was
 * started with a larger `-I`.
 *
 * Every change is a compare-and-swap: concurrent requests that change different keys all keep their changes,
 * also those of other processes, and what was removed stays removed. One round trip to read, one to write.
 *
 * Give it `servers`, and it talks to them through `memjs`, which runs on every Node, ties each answer to its
 * question, and passes on every failure. A client of `memcache` (1.10 wants Node 22.19) can be had instead, for
 * TLS or for servers that come and go; its `get` and `set` take a server that is down for an empty one, so
 * the store uses the commands below them; it needs memcached 1.6 and no SASL. `memcached` and
 * `memcache-client` are not supported: the first is not kept, and in the second a key can run commands.
 *
 * @throws `ERR_STORE_TIMEOUT`, `ERR_STORE_FAILED`: the server did not answer, or not as it should
 * @throws `ERR_STORE_TOO_LARGE`: the session is larger than the server's limit; what was stored stays
 * @throws `ERR_STORE_CORRUPT`: what is stored is no session
 */
export class MemcachedStore extends AbstractStore implements TouchableStore, RenewableStore, ClosableStore {
  readonly #connection: Connection
  readonly #prefix: string
  readonly #deadline: number
  readonly #clock: () => number
  /** What a request read, so that its write need not read it again. */
  readonly #read = new WeakMap<IncomingMessage, { readonly key: string; readonly item: Item }>()
  /** Changes of a session by this process take turns, since of those at once only one would succeed. */
  readonly #turns = new Map<string, Promise<unknown>>()

  /** @throws {InvalidOptionError} also where `servers` are given, and `memjs` is not installed */
  constructor({ servers, client, prefix = 'session:', deadline = 1000, clock, ...options }: MemcachedStoreOptions) {
    super(options)
    if (!PREFIX.test(prefix) || prefix.length > MAX_PREFIX) {
      throw new InvalidOptionError(`prefix must be up to ${MAX_PREFIX} visible ASCII characters, without spaces.`)
    }
    checkDeadline(deadline)
    if ((servers === undefined) === (client === undefined)) {
      throw new InvalidOptionError(
        "MemcachedStore takes servers or a client: new MemcachedStore({ servers: 'localhost:11211' }).",
      )
    }
    this.#connection = client === undefined ? connectTo(servers ?? [], deadline) : connectionOf(client)
    this.#prefix = prefix
    this.#deadline = deadline
    this.#clock = clock ?? Date.now
  }

  override async findSession(req: IncomingMessage, sid: SessionId): Promise<StoredSession | undefined> {
    const key = this.#key(sid)
    const item = await this.#get(key, this.#end())
    if (item === undefined) return undefined
    const found = parse(item.text)
    if (found.expiresAt <= this.#clock()) return undefined
    this.#read.set(req, { key, item })
    return found
  }

  override async writeSession(
    req: IncomingMessage,
    sid: SessionId,
    session: SessionData,
    { create, changes, createdAt, expiresAt, extend, owner }: WriteOptions,
  ): Promise<boolean> {
    if (create) return this.#create(sid, { data: session, createdAt, expiresAt, owner })
    const changed = await this.#change(req, sid, (found) => ({
      data: changes === 'all' ? session : merge(found.data, changes),
      createdAt,
      expiresAt: extend ? Math.max(found.expiresAt, expiresAt) : expiresAt,
      owner,
    }))
    return changed !== undefined
  }

  override async deleteSession(
    req: IncomingMessage,
    sid: SessionId,
    { markUntil, successor }: DeleteOptions,
  ): Promise<void> {
    try {
      await this.#change(req, sid, (found) => marker(markUntil, successor ?? found.successor), true)
    } catch (error) {
      if (!(error instanceof StoreCorruptError)) throw error
      // what cannot be read can be removed all the same
      await this.#put('replace', this.#key(sid), marker(markUntil, successor), this.#end())
    }
  }

  /** The expiry stands in the record too, so this writes it anew; memcached's `touch` would move only its own. */
  async touchSession(
    req: IncomingMessage,
    sid: SessionId,
    { expiresAt }: { readonly expiresAt: number },
  ): Promise<boolean> {
    const changed = await this.#change(req, sid, (found) => ({
      ...found,
      expiresAt: Math.max(found.expiresAt, expiresAt),
    }))
    return changed !== undefined
  }

  async renewSession(req: IncomingMessage, from: SessionId, to: SessionId, options: RenewOptions): Promise<boolean> {
    const { changes, createdAt, expiresAt, owner, markUntil } = options
    const taken = await this.#change(req, from, () => marker(markUntil, to.privateId))
    if (taken === undefined) return false
    return this.#create(to, { data: merge(taken.data, changes), createdAt, expiresAt, owner })
  }

  /** Closes the connections that the store made. */
  close(): void {
    this.#connection.close()
  }

  async #create(sid: SessionId, session: StoredSession): Promise<boolean> {
    return (await this.#put('add', this.#key(sid), session, this.#end())) === 'stored'
  }

  /**
   * Writes what becomes of a session, and gives what it was; `undefined`: it is gone, and nothing was written.
   *
   * @param marked whether a marker is changed too
   */
  #change(
    req: IncomingMessage,
    sid: SessionId,
    change: (found: StoredSession) => StoredSession,
    marked = false,
  ): Promise<StoredSession | undefined> {
    const key = this.#key(sid)
    const end = this.#end()
    const read = this.#read.get(req)
    this.#read.delete(req)
    let item = read?.key === key ? read.item : undefined
    return this.#inTurn(key, async () => {
      for (;;) {
        const fresh = item === undefined
        // oxlint-disable-next-line no-await-in-loop -- again only where another process came between
        item ??= await this.#get(key, end)
        if (item === undefined) return undefined
        const found = parse(item.text)
        if (found.expiresAt > this.#clock() && (marked || found.gone !== true)) {
          // oxlint-disable-next-line no-await-in-loop
          const outcome = await this.#put('replace', key, change(found), end, item.cas)
          if (outcome === 'stored') return found
          if (outcome === 'absent') return undefined
        } else if (fresh) {
          return undefined
        }
        item = undefined
      }
    })
  }

  async #inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const turn = this.#turns.get(key)?.then(work, work) ?? work()
    this.#turns.set(key, turn)
    try {
      return await turn
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key)
    }
  }

  #get(key: string, end: number): Promise<Item | undefined> {
    return this.#within(end, key, () => this.#connection.get(key))
  }

  async #put(
    how: 'add' | 'replace',
    key: string,
    session: StoredSession,
    end: number,
    cas?: Item['cas'],
  ): Promise<Exclude<Outcome, 'too large'>> {
    const text = JSON.stringify(session)
    const expiry = this.#expiry(session.expiresAt)
    const outcome = await this.#within(end, key, () => this.#connection.put({ how, key, text, expiry, cas }))
    if (outcome !== 'too large') return outcome
    throw new StoreTooLargeError(
      `A session of ${Buffer.byteLength(text)} bytes is too large for memcached, which keeps 1 MB unless it is ` +
        'started with a larger -I. Keep less in the session, for example an id of what is stored elsewhere.',
    )
  }

  /**
   * Seconds from now. memcached counts whole seconds by a clock of its own, so one more lets no session end
   * early; when it ends to the millisecond, the record says.
   */
  #expiry(expiresAt: number): number {
    const seconds = Math.max(Math.ceil((expiresAt - this.#clock()) / 1000) + 1, 1)
    return seconds <= THIRTY_DAYS ? seconds : Math.min(Math.ceil(Date.now() / 1000) + seconds, MAX_TIME)
  }

  #key(sid: SessionId): string {
    // a successor's id comes out of the store
    if (!PRIVATE_ID.test(sid.privateId)) throw corrupt()
    return this.#prefix + sid.privateId
  }

  #end(): number {
    return performance.now() + this.#deadline
  }

  async #within<T>(end: number, key: string, ask: () => Promise<T>): Promise<T> {
    const left = end - performance.now()
    if (left <= 0) throw this.#late()
    let stop: (() => void) | undefined
    const late = new Promise<never>((_resolve, reject) => {
      stop = startDeadline(left, () => {
        reject(this.#late())
        this.#connection.drop(key)
      })
    })
    try {
      return await Promise.race([ask(), late])
    } catch (error) {
      throw error instanceof RackError ? error : failed(error)
    } finally {
      stop?.()
    }
  }

  #late(): StoreTimeoutError {
    return new StoreTimeoutError('memcached', this.#deadline)
  }
}

function marker(until: number, successor: string | undefined): StoredSession {
  return { data: {}, createdAt: 0, expiresAt: until, gone: true, successor }
}

function parse(text: string): StoredSession {
  try {
    const found = JSON.parse(text) as Partial<StoredSession> | null
    if (
      typeof found?.data === 'object' &&
      found.data !== null &&
      typeof found.createdAt === 'number' &&
      typeof found.expiresAt === 'number'
    ) {
      return found as StoredSession
    }
  } catch {
    // the parser's message would quote the data
  }
  throw corrupt()
}

function corrupt(): StoreCorruptError {
  return new StoreCorruptError(
    'What memcached keeps under the key of a session is no session. It was left as it is. See that nothing else ' +
      'writes keys with the same prefix.',
  )
}

function failed(error: unknown): StoreFailedError {
  const cause = redactError(error)
  const why = cause instanceof Error ? cause.message : String(cause)
  return new StoreFailedError(`memcached failed: ${why}`, cause)
}

// ---- how memcached is asked

interface Item {
  readonly text: string
  /** Changes with every write: memcached's token for compare-and-swap. */
  readonly cas: Buffer | string
}

/** `exists`: an add found one, or what a swap replaces was changed meanwhile. */
type Outcome = 'stored' | 'absent' | 'exists' | 'too large'

interface Put {
  readonly how: 'add' | 'replace'
  readonly key: string
  readonly text: string
  /** As memcached has it. */
  readonly expiry: number
  /** Of a replace: what it replaces must still have this token. */
  readonly cas: Item['cas'] | undefined
}

/** Whatever goes wrong on the way is a rejection. */
interface Connection {
  get(key: string): Promise<Item | undefined>
  put(put: Put): Promise<Outcome>
  /** The server of this key did not answer. */
  drop(key: string): void
  close(): void
}

const SERVER = /^(?:[^\s,@]+@)?[^\s,@:/]+(?::\d{1,5})?$/

function connectTo(servers: string | readonly string[], deadline: number): Connection {
  const list = (typeof servers === 'string' ? servers.split(',') : servers).map((server) => server.trim())
  if (list.length === 0 || !list.every((server) => SERVER.test(server))) {
    throw new InvalidOptionError("servers must be a host and port, 'localhost:11211', or a list of them.")
  }
  const { Client } = loadMemjs()
  const options = {
    retries: 1,
    // beyond our deadline, at which the connection is dropped as a whole
    timeout: (deadline * 2) / 1000,
    logger: { log() {} },
  }
  return new OwnServers(list.map((server) => () => Client.create(server, options)))
}

function loadMemjs(): typeof import('memjs') {
  try {
    return createRequire(import.meta.url)('memjs') as typeof import('memjs')
  } catch (cause) {
    throw new InvalidOptionError(`MemcachedStore needs the package memjs: npm install memjs (${String(cause)})`)
  }
}

function connectionOf(client: MemjsClient | MemcacheClient): Connection {
  if ('getNodesByKey' in client) return new TextConnection(client)
  if (!('perform' in client)) {
    throw new InvalidOptionError('client must be a client of the package memjs, or of memcache.')
  }
  if (client.options?.failover === true) {
    throw new InvalidOptionError('A client with failover takes every session of a server that is down for unknown.')
  }
  return new BinaryConnection(client)
}

const GET = 0x00
const ADD = 0x02
const REPLACE = 0x03
const STATUS: Readonly<Record<number, Outcome>> = { 0: 'stored', 1: 'absent', 2: 'exists', 3: 'too large' }

/** A client of `memjs`, asked by the call below its `get` and `replace`, since those leave the cas out. */
class BinaryConnection implements Connection {
  readonly #client: MemjsClient

  constructor(client: MemjsClient) {
    this.#client = client
  }

  async get(key: string): Promise<Item | undefined> {
    const { header, val } = await this.#ask(key, (seq) => frame(GET, key, seq))
    if (header.status === 1) return undefined
    if (header.status !== 0) throw unexpected(header.status)
    return { text: val.toString(), cas: header.cas }
  }

  async put(put: Put): Promise<Outcome> {
    const { header } = await this.#ask(put.key, (seq) => frame(put.how === 'add' ? ADD : REPLACE, put.key, seq, put))
    const outcome = STATUS[header.status]
    if (outcome === undefined) throw unexpected(header.status)
    return outcome
  }

  drop(): void {}

  close(): void {}

  #ask(key: string, request: (seq: number) => Buffer): Promise<MemjsResponse> {
    return new Promise((resolve, reject) => {
      this.#client.incrSeq()
      // the client lets it turn negative, and its own buffers refuse that
      const seq = this.#client.seq >>> 0
      const answer = (error: unknown, response: MemjsResponse): void => {
        if (error === null || error === undefined) resolve(response)
        else reject(failed(error))
      }
      // not tried again: an add that was done would find itself
      this.#client.perform(key, request(seq), seq, answer, 1)
    })
  }
}

function unexpected(status: number): StoreFailedError {
  return new StoreFailedError(`memcached refused, with status 0x${status.toString(16).padStart(4, '0')}.`)
}

/**
 * A request of the binary protocol:
 * magic 0x80, opcode (1), key length (2), extras length (1), 0 0 0 (3), body length (4), opaque (4), cas (8);
 * then the extras (flags (4) and expiry (4), of a write), the key and the value.
 */
function frame(opcode: number, key: string, seq: number, put?: Put): Buffer {
  const extras = put ? 8 : 0
  const body = extras + key.length + (put ? Buffer.byteLength(put.text) : 0)
  const buffer = Buffer.alloc(24 + body)
  buffer[0] = 0x80
  buffer[1] = opcode
  buffer.writeUInt16BE(key.length, 2)
  buffer[4] = extras
  buffer.writeUInt32BE(body, 8)
  buffer.writeUInt32BE(seq, 12)
  if (put?.cas instanceof Buffer) put.cas.copy(buffer, 16)
  if (put) buffer.writeUInt32BE(put.expiry, 28)
  buffer.write(key, 24 + extras, 'latin1')
  if (put) buffer.write(put.text, 24 + extras + key.length)
  return buffer
}

interface OwnClient extends MemjsClient {
  readonly servers: readonly { error(error: Error): void }[]
}

/**
 * A client of `memjs` for each server, thrown away when anything goes wrong on its way: it would keep the half
 * of an answer, and an old socket that closes takes the new one with it.
 */
class OwnServers implements Connection {
  readonly #create: readonly (() => OwnClient)[]
  readonly #clients: OwnClient[]

  constructor(create: readonly (() => OwnClient)[]) {
    this.#create = create
    this.#clients = create.map((one) => one())
  }

  get(key: string): Promise<Item | undefined> {
    return this.#ask(key, (connection) => connection.get(key))
  }

  put(put: Put): Promise<Outcome> {
    return this.#ask(put.key, (connection) => connection.put(put))
  }

  drop(key: string): void {
    this.#giveUp(this.#indexOf(key))
  }

  close(): void {
    for (const client of this.#clients) disconnect(client)
  }

  async #ask<T>(key: string, ask: (connection: Connection) => Promise<T>): Promise<T> {
    const index = this.#indexOf(key)
    const client = this.#clients[index] as OwnClient
    try {
      return await ask(new BinaryConnection(client))
    } catch (error) {
      if (isOnTheWay(error) && this.#clients[index] === client) this.#giveUp(index)
      throw error
    }
  }

  #giveUp(index: number): void {
    const client = this.#clients[index] as OwnClient
    this.#clients[index] = (this.#create[index] as () => OwnClient)()
    disconnect(client)
  }

  /** By the id, which is as good as random. */
  #indexOf(key: string): number {
    return Number.parseInt(key.slice(-8), 16) % this.#create.length
  }
}

/** Whether it is no answer of the server's. */
function isOnTheWay(error: unknown): boolean {
  return !(error instanceof RackError && error.cause === undefined)
}

/** Destroys the socket, and fails what is under way. */
function disconnect({ servers }: OwnClient): void {
  for (const server of servers) server.error(new Error('the connection was given up'))
}

/** A client of `memcache`, asked by single commands of the text protocol, whose failures it passes on. */
class TextConnection implements Connection {
  readonly #client: MemcacheClient
  #node: Promise<MemcacheNode | undefined> = Promise.resolve(undefined)

  constructor(client: MemcacheClient) {
    this.#client = client
  }

  async get(key: string): Promise<Item | undefined> {
    const node = await this.#nodeOf(key)
    // sent together, the token first, so that it is never newer than the value
    const [token, found] = await Promise.all([
      node.command(`mg ${key} k c`),
      node.command(`get ${key}`, { isMultiline: true, requestedKeys: [key] }),
    ])
    const { values, foundKeys } = found as { values?: string[]; foundKeys?: string[] }
    if (token === 'EN' || values === undefined) return undefined
    const [, answered, cas] = /^HD k(\S+) c(\d+)$/.exec(String(token)) ?? []
    const [text] = values
    if (answered !== key || foundKeys?.[0] !== key || cas === undefined || text === undefined) {
      throw new Error('an answer to another question')
    }
    return { text, cas }
  }

  async put({ how, key, text, expiry, cas }: Put): Promise<Outcome> {
    const node = await this.#nodeOf(key)
    const line = `${key} 0 ${expiry} ${Buffer.byteLength(text)}`
    const command = typeof cas === 'string' ? `cas ${line} ${cas}` : `${how} ${line}`
    try {
      const answer = await node.command(`${command}\r\n${text}`)
      if (answer === 'STORED') return 'stored'
      if (answer === 'NOT_FOUND') return 'absent'
      if (answer === 'EXISTS') return 'exists'
      if (answer === false) return how === 'add' ? 'exists' : 'absent' // NOT_STORED
    } catch (error) {
      if (error instanceof Error && error.message.includes('too large')) return 'too large'
      throw error
    }
    throw new Error('an answer to another question')
  }

  drop(): void {}

  close(): void {}

  /** One after the other: the client opens a connection for each that finds none, and confuses their answers. */
  async #nodeOf(key: string): Promise<MemcacheNode> {
    const found = this.#node.then(() => this.#client.getNodesByKey(key)).then(([first]) => first)
    this.#node = found.catch(() => undefined)
    const node = await found
    if (node === undefined) throw new Error('the client has no server')
    return node
  }
}
