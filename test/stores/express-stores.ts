import Database from 'better-sqlite3'
import { RedisStore } from 'connect-redis'
import expressSession from 'express-session'
import createMemoryStore from 'memorystore'
import { createRequire } from 'node:module'
import { createClient } from 'redis'
import type { ExpressSessionStore } from '../../stores/express-store.ts'
import type { RedisServer } from '../redis.ts'
import type { Owner } from '../server.ts'

interface SqliteStore {
  new (options: { client: Database.Database }): ExpressSessionStore
}

const createSqliteStore = createRequire(import.meta.url)('better-sqlite3-session-store') as (
  session: typeof expressSession,
) => SqliteStore

const SqliteStore: SqliteStore = createSqliteStore(expressSession)

// its timer never ends, and would keep the process
export class QuietSqliteStore extends SqliteStore {
  startInterval(): void {}
}

export type RedisClient = ReturnType<typeof createClient>

/** A connected client of node-redis that ends with the test. */
export async function redisClient(t: Owner, { url }: RedisServer): Promise<RedisClient> {
  const client = createClient({ url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return client as RedisClient
}

/** A store for express-session as somebody may have it. */
export interface Kind {
  name: string
  create: () => ExpressSessionStore
  /** What a store holds, by its keys. */
  records: (store: never) => Promise<[key: string, json: string][]>
  damage: (store: never, key: string, json: string) => unknown
}

let stores = 0
export const LruStore: ReturnType<typeof createMemoryStore> = createMemoryStore(expressSession)

export const kindsOn = (client: RedisClient): Kind[] => [
  {
    name: 'connect-redis',
    create: () => new RedisStore({ client, prefix: `app${++stores}:` }),
    records: async ({ prefix }: RedisStore) => {
      const keys = await client.keys(`${prefix}*`)
      return Promise.all(keys.map(async (key): Promise<[string, string]> => [key, (await client.get(key)) ?? '']))
    },
    damage: (_store: RedisStore, key, json) => client.set(key, json),
  },
  {
    name: 'better-sqlite3-session-store',
    create: () => new QuietSqliteStore({ client: new Database(':memory:') }),
    records: async (store: { client: Database.Database }) =>
      store.client.prepare<[], [string, string]>('SELECT sid, sess FROM sessions').raw().all(),
    damage: (store: { client: Database.Database }, key, json) =>
      store.client.prepare('UPDATE sessions SET sess = ? WHERE sid = ?').run(json, key),
  },
  {
    name: 'memorystore',
    create: () => new LruStore({}),
    records: async (store: { store: { forEach(each: (json: string, key: string) => void): void } }) => {
      const records: [string, string][] = []
      store.store.forEach((json, key) => records.push([key, json]))
      return records
    },
    damage: ({ store }: { store: { set(key: string, json: string): void } }, key, json) => store.set(key, json),
  },
  {
    name: "express-session's MemoryStore",
    create: () => new expressSession.MemoryStore(),
    records: async (store: { sessions: Record<string, string> }) => Object.entries(store.sessions),
    damage: (store: { sessions: Record<string, string> }, key, json) => (store.sessions[key] = json),
  },
]
