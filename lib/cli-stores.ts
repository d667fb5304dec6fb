import { existsSync } from 'node:fs'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type Database from 'better-sqlite3'
import type { Cluster, Redis } from 'ioredis'
import type { AbstractStore, StoredSession } from '../stores/abstract-store.ts'
import { MARKER_LIFE } from './session-expiry.ts'
import type { ListedSession } from '../stores/redis-store.ts'
import { CommandError, UsageError } from './cli-command.ts'
import { RackError, StoreCorruptError, StoreTimeoutError } from './errors.ts'
import { SessionId } from './session-id.ts'

/** What can be done to the sessions of a store from outside an application. What a store cannot do is not there. */
export interface ManagedStore {
  /** As messages name it. */
  readonly name: string
  /** The live sessions, of one owner or of all. */
  list?(owner: string | undefined): AsyncIterable<ListedSession>
  /** Removes an owner's sessions, and gives how many. */
  deleteOwner?(owner: string): Promise<number>
  /** Removes a session by its private id. `false`: there was none. */
  deleteId?(privateId: string): Promise<boolean>
  deleteAll?(): Promise<void>
  /** Removes what has expired, and gives how many. */
  trim?(): Promise<number>
  close(): Promise<void>
}

export interface StoreLocation {
  /** A URL, or the name of a file. */
  readonly store: string
  readonly prefix: string | undefined
  readonly table: string | undefined
  /** Nothing is to be changed. */
  readonly readonly: boolean
}

/** Milliseconds that a server may take to connect, or for one command: nobody waits for a page here. */
const DEADLINE = 5000

/** Rows that are read at once. */
const PAGE = 500

/** Links from marker to successor that a removal follows. */
const MAX_SUCCESSORS = 8

/** No request: what a store is asked for stands in the other arguments. */
const noRequest = new IncomingMessage(new Socket())

/**
 * Connects to a store.
 *
 * @throws {UsageError} it is none that is known; {CommandError} it is not there, or its package is not
 */
export async function openStore({ store, prefix, table, readonly }: StoreLocation): Promise<ManagedStore> {
  const [, scheme = '', rest = ''] = /^(rediss?|memcached|sqlite):(.*)$/s.exec(store) ?? []
  const isFile = scheme === 'sqlite' || (scheme === '' && /\.(?:db|sqlite3?)$/.test(store))
  if (isFile ? prefix !== undefined : table !== undefined) {
    throw new UsageError('--prefix is of Redis and memcached, and --table of SQLite.')
  }
  if (isFile) return openSqlite(scheme === '' ? store : rest.replace(/^\/\//, ''), table ?? 'sessions', readonly)
  if (scheme === 'memcached') return openMemcached(rest.replace(/^\/\/|\/$/g, ''), prefix)
  if (scheme !== '') return openRedis(store, prefix)
  throw new UsageError('--store takes redis://…, rediss://…, memcached://host:port, or sqlite:file.')
}

/** Says of a store's failure whose it is. Messages of stores and clients hold no data of sessions. */
export function storeFailure(name: string, error: unknown): unknown {
  if (error instanceof RackError || !(error instanceof Error)) return error
  return new CommandError('ERR_STORE_FAILED', `${name}: ${error.message}`)
}

// ---- SQLite

async function openSqlite(file: string, table: string, readonly: boolean): Promise<ManagedStore> {
  // SQLite would make one
  if (!existsSync(file)) throw new CommandError('ERR_STORE_FAILED', 'There is no file where --store says.')
  const { default: Sqlite } = await load('better-sqlite3', () => import('better-sqlite3'))
  const { SqliteStore } = await import('../stores/sqlite-store.ts')
  try {
    const database = new Sqlite(file, { fileMustExist: true, readonly })
    requireTable(database, table)
    const list = (owner?: string): AsyncIterable<ListedSession> => rowsOf(database, table, owner)
    const close = async (): Promise<void> => void database.close()
    if (readonly) return { name: 'SQLite', list, close }
    const store = new SqliteStore({ database, table, sweepEvery: 0 })
    return {
      name: 'SQLite',
      list,
      deleteOwner: async (owner) => store.deleteSessionsOf(owner),
      deleteId: (privateId) => deleteById(store, privateId),
      deleteAll: async () => store.clear(),
      trim: () => store.cleanup(),
      close,
    }
  } catch (error) {
    throw storeFailure('SQLite', error)
  }
}

/** A store would make the table where a wrong name was given. */
function requireTable(database: Database.Database, table: string): void {
  const columns = database.prepare<[string], string>('SELECT name FROM pragma_table_info(?)').pluck().all(table)
  if (
    ['session_id', 'data', 'owner', 'created_at', 'updated_at', 'expires_at', 'gone'].every((c) => columns.includes(c))
  )
    return
  throw new CommandError(
    'ERR_STORE_FAILED',
    columns.length === 0
      ? 'There is no such table in the file. Name the one that SqliteStore has with --table (sessions).'
      : 'The table is not one that SqliteStore made for itself. For that of activerecord-session_store there are ' +
          'db:sessions:trim and db:sessions:clear in Rails.',
  )
}

/** The newest first. */
async function* rowsOf(
  database: Database.Database,
  table: string,
  owner: string | undefined,
): AsyncGenerator<ListedSession> {
  const page = database.prepare<
    { owner: string | undefined; now: number; before: number },
    Omit<ListedSession, 'owner'> & { rowid: number; owner: string | null }
  >(
    `SELECT rowid, session_id AS id, owner, created_at AS createdAt, updated_at AS lastSeenAt, expires_at AS expiresAt
     FROM "${table.replaceAll('"', '""')}"
     WHERE gone IS NULL AND expires_at > $now AND rowid < $before ${owner === undefined ? '' : 'AND owner = $owner'}
     ORDER BY rowid DESC LIMIT ${PAGE}`,
  )
  let before = Number.MAX_SAFE_INTEGER
  for (;;) {
    const rows = page.all({ owner, now: Date.now(), before })
    for (const { rowid, owner, ...row } of rows) {
      before = rowid
      yield { ...row, owner: owner ?? undefined }
    }
    if (rows.length < PAGE) return
  }
}

// ---- Redis

async function openRedis(url: string, prefix: string | undefined): Promise<ManagedStore> {
  const ioredis = await load('ioredis', () => import('ioredis'))
  const { RedisStore } = await import('../stores/redis-store.ts')
  const client = await connect(ioredis, url)
  const store = new RedisStore({ client, deadline: DEADLINE, ...(prefix === undefined ? {} : { prefix }) })
  async function* listOwner(owner: string): AsyncGenerator<ListedSession> {
    for (const session of await store.sessionsOf(owner)) yield { ...session, owner }
  }
  return {
    name: 'Redis',
    list: (owner) => (owner === undefined ? onlyOnce(store.sessions()) : listOwner(owner)),
    deleteOwner: (owner) => store.deleteSessionsOf(owner),
    deleteId: (privateId) => deleteById(store, privateId),
    deleteAll: () => store.clear(),
    close: async () => client.disconnect(),
  }
}

type Client = Redis | Cluster

async function connect(ioredis: { Redis: typeof Redis; Cluster: typeof Cluster }, url: string): Promise<Client> {
  const clients: Client[] = []
  let timer: NodeJS.Timeout | undefined
  const establish = async (): Promise<Client> => {
    const options = { lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null }
    const client = new ioredis.Redis(url, options)
    clients.push(client)
    // why it failed is told by the event alone, and a wrong password as well
    const failed = new Promise<never>((_resolve, reject) => client.on('error', reject))
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new StoreTimeoutError('Redis', DEADLINE)), DEADLINE)
    })
    const isCluster = client.connect().then(async () => {
      await client.ping()
      // it may be denied to this user
      return /^cluster_enabled:1/m.test(await client.info('cluster').catch(() => ''))
    })
    if (!(await Promise.race([failed, late, isCluster]))) return client

    const { host, port, username, password, tls } = client.options
    client.disconnect()
    const redisOptions = { username, password, ...(tls && { tls }) }
    const cluster = new ioredis.Cluster([{ host, port }], {
      redisOptions,
      lazyConnect: true,
      clusterRetryStrategy: () => null,
    })
    clients.push(cluster)
    cluster.on('error', () => {})
    await Promise.race([late, cluster.connect()])
    return cluster
  }
  try {
    return await establish()
  } catch (error) {
    for (const client of clients) client.disconnect()
    throw storeFailure('Redis', error)
  } finally {
    clearTimeout(timer)
  }
}

/** A scan may come upon a session twice. */
async function* onlyOnce(sessions: AsyncIterable<ListedSession>): AsyncGenerator<ListedSession> {
  const ids = new Set<string>()
  for await (const session of sessions) {
    if (ids.has(session.id)) continue
    ids.add(session.id)
    yield session
  }
}

// ---- memcached

async function openMemcached(servers: string, prefix: string | undefined): Promise<ManagedStore> {
  const { MemcachedStore } = await import('../stores/memcached-store.ts')
  const store = new MemcachedStore({ servers, deadline: DEADLINE, ...(prefix === undefined ? {} : { prefix }) })
  return {
    name: 'memcached',
    deleteId: (privateId) => deleteById(store, privateId),
    close: async () => store.close(),
  }
}

// ---- what they share

type Deleting = Pick<AbstractStore, 'findSession' | 'deleteSession'>

/** Removes a session, and what it was renewed to in the last minute. */
async function deleteById(store: Deleting, privateId: string): Promise<boolean> {
  let removed = false
  let next: string | undefined = privateId
  for (let i = 0; next !== undefined && i < MAX_SUCCESSORS; i++) {
    const sid = SessionId.ofPrivate(next)
    // oxlint-disable-next-line no-await-in-loop -- from marker to marker
    let found = await find(store, sid)
    if (found !== undefined && found.gone !== true) {
      removed = true
      // oxlint-disable-next-line no-await-in-loop
      await store.deleteSession(noRequest, sid, { markUntil: Date.now() + MARKER_LIFE })
      // oxlint-disable-next-line no-await-in-loop -- it may have been renewed in between
      found = await find(store, sid)
    }
    next = found?.successor
  }
  return removed
}

/** What cannot be read is removed all the same. */
async function find(store: Deleting, sid: SessionId): Promise<Partial<StoredSession> | undefined> {
  try {
    return await store.findSession(noRequest, sid)
  } catch (error) {
    if (error instanceof StoreCorruptError) return {}
    throw error
  }
}

/** @throws {CommandError} the package is not installed */
async function load<T>(name: string, module: () => Promise<T>): Promise<T> {
  try {
    return await module()
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new CommandError(
      'ERR_PACKAGE_MISSING',
      `This store needs the package ${name}, beside luggage-rack: npm install ${name}`,
    )
  }
}
