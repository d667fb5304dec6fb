import tap, { test } from 'tap'
import type { StoredSession } from '../../lib/index.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { httpSuite } from '../http-suite.ts'
import { memcached } from '../memcached.ts'

const common = memcached(tap)
let stores = 0

interface Kept {
  prefix: string
  clock: () => number
}

const kept = new WeakMap<MemcachedStore, Kept>()

/** The records of a store, as they stand in memcached. */
async function recordsOf(store: MemcachedStore): Promise<{ key: string; record: StoredSession; now: number }[]> {
  const server = await common
  const { prefix, clock } = kept.get(store) as Kept
  const keys = (await server.keys()).filter((key) => key.startsWith(prefix))
  return Promise.all(
    keys.map(async (key) => ({
      key,
      record: JSON.parse((await server.value(key)) ?? '{"gone":true}') as StoredSession,
      now: clock(),
    })),
  )
}

httpSuite(test, {
  name: 'MemcachedStore',
  store: async (t, { clock }) => {
    const prefix = `app${++stores}:`
    const store = new MemcachedStore({ servers: (await common).server, prefix, clock })
    t.teardown(() => store.close())
    kept.set(store, { prefix, clock })
    return store
  },
  serverSide: true,
  merges: true,
  markers: true,
  clocked: true,
  size: async (store) => {
    const records = await recordsOf(store)
    return records.filter(({ record, now }) => record.gone !== true && record.expiresAt > now).length
  },
  corrupt: async (store) => {
    const server = await common
    for (const { key } of await recordsOf(store)) await server.say(`set ${key} 0 0 7\r\nno JSON`)
  },
})
