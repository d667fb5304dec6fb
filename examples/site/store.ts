import { CookieStore, MemoryStore, type ClosableStore, type OwnedStore, type SessionStore } from 'luggage-rack'

export const STORES: readonly string[] = ['cookie', 'memory', 'sqlite', 'redis', 'memcached']

/** The store of that name, at its usual place. What is not asked for is not loaded. */
export async function storeNamed(name: string): Promise<SessionStore> {
  switch (name) {
    case 'cookie':
      return new CookieStore()
    case 'memory':
      return new MemoryStore()
    case 'sqlite': {
      const { SqliteStore } = await import('luggage-rack/stores/sqlite')
      return new SqliteStore({ filename: process.env.SQLITE_FILE ?? 'sessions.sqlite' })
    }
    case 'redis': {
      const { RedisStore } = await import('luggage-rack/stores/redis')
      return new RedisStore({ url: process.env.REDIS_URL ?? 'redis://localhost:6379' })
    }
    case 'memcached': {
      const { MemcachedStore } = await import('luggage-rack/stores/memcached')
      return new MemcachedStore({ servers: process.env.MEMCACHED_SERVERS ?? 'localhost:11211' })
    }
    default:
      throw new Error(`There is no store ${name}. Choose one of: ${STORES.join(', ')}`)
  }
}

/** Ends the store's connection, if it has one. */
export async function closeStore(store: SessionStore & Partial<ClosableStore>): Promise<void> {
  await store.close?.()
}

/** Whether the store can list whose sessions there are: a cookie is not on the server, and memcached lists nothing. */
export function listsOwners(store: SessionStore): store is SessionStore & OwnedStore {
  return 'sessionsOf' in store
}
