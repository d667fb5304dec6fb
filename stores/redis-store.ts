import { Redis, type Cluster } from 'ioredis'
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { InvalidOptionError, StoreCorruptError, StoreTimeoutError } from '../lib/errors.ts'
import { MARKER_LIFE } from '../lib/session-expiry.ts'
import type { JsonValue } from '../lib/json.ts'
import type { SessionData } from '../lib/session-hash.ts'
import { SessionId } from '../lib/session-id.ts'
import type { StoreContext } from '../lib/session-store.ts'
import {
  AbstractStore,
  privateIdOf,
  selects,
  type ClosableStore,
  type DeleteOptions,
  type OwnedSelection,
  type OwnedStore,
  type RenewableStore,
  type RenewOptions,
  type SessionSummary,
  type StoredSession,
  type StoreOptions,
  type TouchableStore,
  type WriteOptions,
} from './abstract-store.ts'
import { checkDeadline, startDeadline } from './deadline.ts'
import { redactError } from './redact-error.ts'

export interface RedisStoreOptions extends StoreOptions {
  /**
   * A client of ioredis: for one Redis, for Sentinel, or a `Cluster`. It stays yours: listen to its `error`
   * event, and close it. Its `scaleReads` must be `'master'`, which is the default: a replica may not have yet
   * what was just written.
   */
  client?: Redis | Cluster | undefined
  /** Instead of a client, where Redis is: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS. */
  url?: string | undefined
  /** What every key begins with. Default `'session:'`. */
  prefix?: string | undefined
  /** Milliseconds after which a command that was not answered is an error, `ERR_STORE_TIMEOUT`. Default 1000. */
  deadline?: number | undefined
  /** The time in milliseconds since 1970. Default: `Date.now()`. */
  clock?: (() => number) | undefined
}

/** A session in a list of all. Times are in milliseconds since 1970. */
export interface ListedSession {
  /** The private id. It opens nothing. */
  readonly id: string
  readonly owner: string | undefined
  readonly createdAt: number
  /** As in `SessionSummary`; of a session without an owner Redis keeps none. */
  readonly lastSeenAt: number | undefined
  readonly expiresAt: number
}

/** Of the fields of a record those that begin with it hold the data; the others are ours. */
const DATA = ':'
const COLON = DATA.charCodeAt(0)

/** Commands that are under way at once where there may be very many. */
const BATCH = 500

/**
 * Sessions in Redis, Redis Cluster, behind Sentinel, or in Valkey: for many machines. Needs the package
 * `ioredis`.
 *
 * A session is one hash, `session:<private id>`, with a field for each key of the data (`:cart`, JSON) beside
 * `created` and `expires`, and where it has an owner `owner`, `seen` and `listed`. A write carries only what
 * changed, so concurrent requests that change different keys all keep their changes. The sessions of an owner
 * are listed in `session:owner:<owner>`.
 *
 * Round trips: one to load, one to save, one to destroy, none for a session that nobody touched; two to renew;
 * where the session has an owner one more to create and to renew, and once in an idle time two more to save.
 *
 * Every key has an expiry, which the command that writes it sets. Run Redis with `maxmemory-policy noeviction`:
 * any other policy signs people out when memory is short, and may forget whose sessions there are.
 *
 * What was answered survives a crash of this process. What survives a crash of Redis is Redis' affair: it
 * replicates asynchronously, so a failover may undo the writes of its last moments, a sign-out among them.
 * Where that matters, set `min-replicas-to-write`, and `appendfsync always` for one Redis on its own.
 */
export class RedisStore extends AbstractStore implements TouchableStore, RenewableStore, OwnedStore, ClosableStore {
  readonly #client: Redis | Cluster
  readonly #isOwn: boolean
  readonly #prefix: string
  readonly #deadline: number
  #gathers = false
  readonly #clock: () => number

  /** @throws {InvalidOptionError} */
  constructor(options: RedisStoreOptions) {
    super(options)
    const { client, url, prefix = 'session:', deadline = 1000 } = options
    if ((client === undefined) === (url === undefined)) {
      throw new InvalidOptionError(
        "RedisStore takes a client of ioredis or a url: new RedisStore({ url: 'redis://localhost' }).",
      )
    }
    if (url !== undefined && !/^rediss?:\/\//.test(url)) {
      throw new InvalidOptionError('url must begin with redis:// or rediss://. For a cluster, pass a client.')
    }
    this.#isOwn = client === undefined
    this.#client = client ?? connect(url as string)
    this.#prefix = prefix
    this.#deadline = checkDeadline(deadline)
    this.#clock = options.clock ?? Date.now
  }

  override findSession(_req: IncomingMessage, sid: SessionId): Promise<StoredSession | undefined> {
    this.#gather()
    return this.#within(this.#client.hgetall(this.#keyOf(sid.privateId))).then((fields) => this.#read(fields))
  }

  override writeSession(
    _req: IncomingMessage,
    { privateId }: SessionId,
    session: SessionData,
    options: WriteOptions,
  ): Promise<boolean> {
    const { create, changes, owner, extend } = options
    const expiresAt = Math.ceil(options.expiresAt)
    const all = changes === 'all'
    const data: string[] = []
    pushJson(data, all ? session : changes.set)
    if (create) {
      if (owner === undefined) return this.#create(privateId, data, options)
      return this.#list(owner, privateId, expiresAt).then(() => this.#create(privateId, data, options))
    }
    const whose = owner === undefined ? '' : `=${owner}`
    const deleted = all ? [] : changes.delete.map((key) => DATA + key)
    return this.#update(privateId, expiresAt, [extend ? 1 : 0, whose, all ? -1 : deleted.length, ...deleted], data)
  }

  override async deleteSession(
    _req: IncomingMessage,
    { privateId }: SessionId,
    { markUntil, successor }: DeleteOptions,
  ): Promise<void> {
    const { id, state, owner } = await this.#remove(privateId, markUntil, { successor })
    if (state === 'removed' && owner !== undefined) this.#unlist(owner, [id])
  }

  touchSession(
    _req: IncomingMessage,
    { privateId }: SessionId,
    { expiresAt }: { readonly expiresAt: number },
  ): Promise<boolean> {
    return this.#update(privateId, Math.ceil(expiresAt), [1, '?', 0], [])
  }

  /**
   * Three steps on keys that may be on different servers: the new id is listed, the old record taken, and a
   * marker with the new id left, and the new record created. Whatever comes between them, there are never two:
   * who removes the session from then on finds the new id, in the list or in the marker, and where its record
   * is still to be created puts a marker, over which nothing is created.
   */
  async renewSession(
    _req: IncomingMessage,
    { privateId: from }: SessionId,
    { privateId: to }: SessionId,
    options: RenewOptions,
  ): Promise<boolean> {
    const { owner, changes } = options
    const began = this.#clock()
    if (owner !== undefined) await this.#list(owner, to, Math.ceil(options.expiresAt))
    const taken = (await this.#run(TAKE, this.#keyOf(from), [...this.#times(options.markUntil), to])) as string[]
    if (taken.length === 0) {
      if (owner !== undefined) this.#unlist(owner, [to])
      return false
    }
    const deleted = new Set(changes.delete)
    const data: string[] = []
    let previous: string | undefined
    for (let i = 0; i < taken.length; i += 2) {
      const [field, value] = [taken[i] as string, taken[i + 1] as string]
      if (field === 'owner') previous = value
      if (field.charCodeAt(0) !== COLON) continue
      const key = field.slice(1)
      // the JSON goes on as it is
      if (!Object.hasOwn(changes.set, key) && !deleted.has(key)) data.push(field, value)
    }
    pushJson(data, changes.set)
    const creation = this.#create(to, data, options)
    if (previous !== undefined) this.#unlist(previous, [from])
    const created = await creation
    // a marker against this creation may have ended before it, where this process was suspended
    if (created && this.#clock() - began > MARKER_LIFE / 2) {
      await this.#remove(to, options.markUntil)
      return false
    }
    return created
  }

  async sessionsOf(owner: string | number): Promise<SessionSummary[]> {
    const ids = await this.#idsOf(String(owner))
    const now = this.#clock()
    const sessions: SessionSummary[] = []
    const stale: string[] = []
    await inBatches(ids, async (id) => {
      const key = this.#keyOf(id)
      const record = await this.#within(this.#client.hmget(key, 'created', 'seen', 'expires', 'owner', 'gone'))
      const [created, seen, expires, whose, gone] = record
      if (gone !== null) stale.push(id)
      else if (whose === String(owner) && Number(expires) > now) {
        sessions.push({ id, createdAt: Number(created), lastSeenAt: Number(seen), expiresAt: Number(expires) })
      }
      // where there is nothing, it may be about to be created: such a member goes when its time is over
    })
    if (stale.length > 0) this.#unlist(String(owner), stale)
    return sessions.toSorted((a, b) => b.lastSeenAt - a.lastSeenAt)
  }

  async deleteSessionsOf(owner: string | number, selection: OwnedSelection = {}): Promise<number> {
    const whose = String(owner)
    const { only } = selection
    const listed = await this.#idsOf(whose)
    const ids = listed.filter((id) => selects(selection, id))
    // what was renewed since it was listed for a page stands no more in the list, but leads on
    if (only !== undefined && ids.length === 0) ids.push(privateIdOf(only))
    const until = this.#clock() + MARKER_LIFE
    const expected = new Set(listed)
    const gone: string[] = []
    let count = 0
    await inBatches(ids, async (first) => {
      const { id, state } = await this.#remove(first, until, { of: whose, expected: expected.has(first) })
      if (state === 'removed') count++
      if (state !== 'other') gone.push(id)
      if (first !== id) gone.push(first)
    })
    if (gone.length > 0) this.#unlist(whose, gone)
    return count
  }

  /**
   * Every live session under this prefix, in no order, asked for as the iteration goes on, which holds up nobody else
   * however many there are. What begins or ends meanwhile may be in it or not, and, as `SCAN` has it, one may come
   * twice. For whoever looks after a store; the sessions of one owner are to be had from `sessionsOf`.
   */
  async *sessions(): AsyncGenerator<ListedSession, void, void> {
    const sessions = this.#keyOf('')
    for await (const keys of this.#scan(this.#keyOf('2::'))) {
      const now = this.#clock()
      const found: ListedSession[] = []
      await inBatches(keys, async (key) => {
        const record = await this.#within(
          this.#client.hmget(key, 'created', 'seen', 'expires', 'owner', 'gone').catch(noneOfAnotherType),
        )
        const [created, seen, expires, owner, gone] = record
        // what another program put there is no session
        if (typeof created !== 'string' || gone !== null || !(Number(expires) > now)) return
        found.push({
          id: key.slice(sessions.length),
          owner: owner ?? undefined,
          createdAt: Number(created),
          lastSeenAt: seen == null ? undefined : Number(seen),
          expiresAt: Number(expires),
        })
      })
      yield* found
    }
  }

  /** Removes every session and list under this prefix, and nothing else. On a cluster: from all its masters. */
  async clear(): Promise<void> {
    const [sessions, owners] = [this.#keyOf('2::'), this.#listOf('')]
    for await (const keys of this.#scan(this.#prefix)) {
      const ours = keys.filter((key) => key.startsWith(sessions) || key.startsWith(owners))
      await inBatches(ours, (key) => this.#within(this.#client.unlink(key)))
    }
  }

  /** Ends the connection that the store made. A client that it was given stays as it is. */
  async close(): Promise<void> {
    if (!this.#isOwn) return
    try {
      await this.#within(this.#client.quit())
    } catch {
      // it is closed either way
    }
    this.#client.disconnect()
  }

  /**
   * A removal follows the markers by itself, with no gap between looking and removing.
   *
   * @internal
   */
  override async forgetCookie(req: IncomingMessage, cookie: string, { now }: StoreContext): Promise<void> {
    const sid = SessionId.parse(cookie)
    if (sid) await this.deleteSession(req, sid, { markUntil: now + MARKER_LIFE })
  }

  /** The keys that begin so, as commands of the client name them. On a cluster: of all its masters. */
  async *#scan(begin: string): AsyncGenerator<string[], void, void> {
    const client = this.#client
    const keyPrefix = client.options.keyPrefix ?? ''
    const pattern = (keyPrefix + begin).replace(/[*?[\]\\]/g, String.raw`\$&`)
    const masters = client.isCluster ? (client as Cluster).nodes('master') : [client as Redis]
    for (const master of masters) {
      let cursor = '0'
      do {
        // oxlint-disable-next-line no-await-in-loop -- a scan goes on where it ended
        const [next, found] = await this.#within(master.scan(cursor, 'MATCH', `${pattern}*`, 'COUNT', BATCH))
        cursor = next
        yield found.map((key) => key.slice(keyPrefix.length))
      } while (cursor !== '0')
    }
  }

  /** @throws {StoreCorruptError} */
  #read(fields: Readonly<Record<string, string>>): StoredSession | undefined {
    const { expires } = fields
    if (expires === undefined) {
      for (const _ in fields) throw corrupt()
      return undefined
    }
    const expiresAt = numberOf(expires)
    if (expiresAt <= this.#clock()) return undefined
    const data = Object.create(null) as SessionData
    if (fields['gone'] !== undefined) {
      return { data, createdAt: 0, expiresAt, gone: true, successor: fields['successor'] }
    }
    for (const field in fields) {
      if (field.charCodeAt(0) === COLON) data[field.slice(1)] = parse(fields[field] as string)
    }
    return { data, createdAt: numberOf(fields['created']), expiresAt, owner: fields['owner'] }
  }

  #keyOf(privateId: string): string {
    return this.#prefix + privateId
  }

  #listOf(owner: string): string {
    return `${this.#prefix}owner:${owner}`
  }

  /**
   * When a key ends, and in how many milliseconds: what Redis is told is a duration, so that its clock need not
   * be the application's.
   */
  #times(expiresAt: number): [now: number, expiresAt: number, milliseconds: number] {
    const [now, until] = [Math.floor(this.#clock()), Math.ceil(expiresAt)]
    return [now, until, until - now]
  }

  async #create(privateId: string, data: string[], { createdAt, expiresAt, owner }: WriteOptions): Promise<boolean> {
    const [now, until, milliseconds] = this.#times(expiresAt)
    const fields = ['created', createdAt, 'expires', until]
    if (owner !== undefined) fields.push('owner', owner, 'seen', now, 'listed', listedUntil(until, now))
    const created = await this.#run(CREATE, this.#keyOf(privateId), [milliseconds, ...fields, ...data])
    return Number(created) === 1
  }

  async #update(
    privateId: string,
    expiresAt: number,
    how: readonly (string | number)[],
    data: readonly string[],
  ): Promise<boolean> {
    const now = Math.floor(this.#clock())
    const key = this.#keyOf(privateId)
    const answer = await this.#run(UPDATE, key, [now, expiresAt, 0, ...how, ...data])
    if (!Array.isArray(answer)) return Number(answer) === 1
    // once in an idle time: the owner's list is to stand longer, before the session does
    const listed = await this.#list(answer[0] as string, privateId, expiresAt)
    const again = await this.#run(UPDATE, key, [now, expiresAt, listed, ...how, ...data])
    return Number(again) === 1
  }

  /** Removes a session, or what it was renewed to. */
  async #remove(
    privateId: string,
    markUntil: number,
    { successor = '', of, expected = false }: { successor?: string | undefined; of?: string; expected?: boolean } = {},
  ): Promise<{ id: string; state: string; owner: string | undefined }> {
    let id = privateId
    let mayCome = expected
    for (;;) {
      const whose = of === undefined ? '' : `=${of}`
      const args = [...this.#times(markUntil), successor, whose, mayCome ? 1 : 0]
      // oxlint-disable-next-line no-await-in-loop -- from marker to marker
      const [state, owner, next] = (await this.#run(MARK, this.#keyOf(id), args)) as [string, string, string]
      if (state !== 'gone' || next === '' || successor !== '') {
        return { id, state, owner: owner === '' ? undefined : owner.slice(1) }
      }
      id = next
      mayCome = true
    }
  }

  async #idsOf(owner: string): Promise<string[]> {
    return this.#within(this.#client.zrange(this.#listOf(owner), '0', '-1'))
  }

  /** Puts a session in its owner's list, and gives until when it stands there. */
  async #list(owner: string, privateId: string, expiresAt: number): Promise<number> {
    const now = Math.floor(this.#clock())
    const until = listedUntil(expiresAt, now)
    await this.#run(LIST, this.#listOf(owner), [now, until, privateId])
    return until
  }

  /** Nobody waits for it, and if it fails, what is left in the list does no harm. */
  #unlist(owner: string, privateIds: string[]): void {
    this.#within(this.#client.zrem(this.#listOf(owner), ...privateIds)).catch(() => {})
  }

  #run({ sha, lua }: Script, key: string, args: readonly (string | number)[]): Promise<unknown> {
    const client = this.#client
    this.#gather()
    // a Redis that was restarted, or a new master, does not know the script
    return this.#within(client.evalsha(sha, 1, key, ...args), () => client.eval(lua, 1, key, ...args))
  }

  /**
   * What is asked for in one turn of the event loop leaves in one write: to hand each command to the system by itself
   * takes longer than all else that is done for it. How a cluster's connections write is left to its client.
   */
  #gather(): void {
    const { stream } = this.#client as Partial<Pick<Redis, 'stream'>>
    if (this.#gathers || stream === undefined) return
    this.#gathers = true
    stream.cork()
    setImmediate(() => {
      this.#gathers = false
      stream.uncork()
    })
  }

  /** What comes too late is ignored. */
  #within<T>(command: Promise<T>, unknownScript?: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = startDeadline(this.#deadline, () => reject(new StoreTimeoutError('Redis', this.#deadline)))
      const settle = (value: T): void => {
        stop()
        resolve(value)
      }
      const fail = (error: unknown): void => {
        stop()
        reject(redactError(error))
      }
      command.then(settle, (error: unknown) => {
        if (unknownScript && isUnknownScript(error)) unknownScript().then(settle, fail)
        else fail(error)
      })
    })
  }
}

interface Script {
  readonly sha: string
  readonly lua: string
}

function script(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

// Each script works on one key, and so on any server of a cluster. `unpack` takes a few thousand values at most.

/** milliseconds, field, value, … → whether it was created */
const CREATE = script(`
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- exactly this record: the client sent it twice, since the connection broke before the answer came
  if redis.call('HLEN', KEYS[1]) * 2 ~= #ARGV - 1 then return 0 end
  for i = 2, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
  end
  return 1
end
for i = 2, #ARGV, 1000 do redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV))) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1`)

/**
 * now, expires, until when its owner lists it (0: as far as the record says), whether the expiry may only grow,
 * owner ('' nobody, '?' whoever it is), how many fields to delete (-1: all data), these, field, value, …
 * → whether it was updated, or `{ owner }`: first it must be listed longer
 */
const UPDATE = script(`
local was = redis.call('HMGET', KEYS[1], 'expires', 'gone', 'owner', 'listed')
local now, expires, listed, deleted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
if not was[1] or was[2] or tonumber(was[1]) <= now then return 0 end
if ARGV[4] == '1' then expires = math.max(expires, tonumber(was[1])) end
local owner = was[3]
if ARGV[5] ~= '?' then owner = ARGV[5] ~= '' and string.sub(ARGV[5], 2) end
if owner and (owner ~= was[3] or expires > tonumber(was[4])) then
  if listed == 0 then return { owner } end
  expires = math.min(expires, listed)
  redis.call('HSET', KEYS[1], 'owner', owner, 'listed', listed)
end
if owner then redis.call('HSET', KEYS[1], 'seen', ARGV[1])
elseif was[3] then redis.call('HDEL', KEYS[1], 'owner', 'seen', 'listed') end
if deleted < 0 then
  deleted = 0
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 1) == ':' then redis.call('HDEL', KEYS[1], field) end
  end
end
for i = 7, 6 + deleted, 1000 do redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 999, 6 + deleted))) end
for i = 7 + deleted, #ARGV, 1000 do redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV))) end
if expires ~= tonumber(was[1]) then
  redis.call('HSET', KEYS[1], 'expires', expires)
  redis.call('PEXPIRE', KEYS[1], expires - now)
end
return 1`)

/** now, until, milliseconds, successor → all fields of the record in whose place a marker stands now; none: it was gone */
const TAKE = script(`
local was = redis.call('HMGET', KEYS[1], 'expires', 'gone', 'owner')
if not was[1] or was[2] or tonumber(was[1]) <= tonumber(ARGV[1]) then return {} end
local all = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'gone', 1, 'expires', ARGV[2], 'successor', ARGV[4])
if was[3] then redis.call('HSET', KEYS[1], 'owner', was[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return all`)

/**
 * now, until, milliseconds, successor, owner ('' whoever it is), whether it may be about to be created
 * → what was there (removed, gone, other, absent), its owner, its successor
 */
const MARK = script(`
local was = redis.call('HMGET', KEYS[1], 'expires', 'gone', 'owner', 'successor')
local owner = was[3] and '=' .. was[3] or ''
if not was[1] then
  if ARGV[6] == '0' then return { 'absent', '', '' } end
elseif ARGV[5] ~= '' and ARGV[5] ~= owner then
  return { 'other', '', '' }
elseif was[2] then
  return { 'gone', owner, was[4] or '' }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'gone', 1, 'expires', ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'successor', ARGV[4]) end
if was[3] then redis.call('HSET', KEYS[1], 'owner', was[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { was[1] and 'removed' or 'absent', owner, '' }`)

/**
 * An owner's list is a sorted set of private ids, each with the time until which it stands there, which no
 * record outlives.
 *
 * now, until, private id → 1
 */
const LIST = script(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
if not score or tonumber(score) < tonumber(ARGV[2]) then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3]) end
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIRE', KEYS[1], tonumber(last) - tonumber(ARGV[1]))
return 1`)

/** Twice the idle time: so a session that is extended at each visit is listed anew only once in an idle time. */
function listedUntil(expiresAt: number, now: number): number {
  return expiresAt + Math.max(0, expiresAt - now)
}

function connect(url: string): Redis {
  const client = new Redis(url, {
    // a command that nobody waits for any more is not to be sent when the connection is back
    maxRetriesPerRequest: 2,
    // a master that became a replica: the name in the URL stands for another one now
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
  })
  // whoever asks for a session hears of it; without a listener ioredis prints it
  client.on('error', () => {})
  return client
}

function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT')
}

function pushJson(fields: string[], data: SessionData): void {
  for (const key in data) fields.push(DATA + key, JSON.stringify(data[key]))
}

function parse(json: string): JsonValue {
  try {
    return JSON.parse(json) as JsonValue
  } catch {
    // the parser's message would quote the data
    throw corrupt()
  }
}

/** Of a key that is no hash. */
function noneOfAnotherType(error: unknown): (string | null)[] {
  if (error instanceof Error && error.message.startsWith('WRONGTYPE')) return []
  throw error
}

function numberOf(text: string | undefined): number {
  const number = Number(text)
  if (Number.isFinite(number)) return number
  throw corrupt()
}

function corrupt(): StoreCorruptError {
  return new StoreCorruptError(
    'What Redis holds for a session was not written by this store, or was changed since: it cannot be read, and ' +
      'was left as it is. See that nothing else writes under the same prefix.',
  )
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < items.length; i += BATCH) {
    // oxlint-disable-next-line no-await-in-loop -- not all at once
    await Promise.all(items.slice(i, i + BATCH).map(work))
  }
}
