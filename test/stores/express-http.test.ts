import tap, { test } from 'tap'
import type { StoredSession } from '../../lib/index.ts'
import { ExpressStore } from '../../stores/express-store.ts'
import { httpSuite } from '../http-suite.ts'
import { startRedis } from '../redis.ts'
import { kindsOn, redisClient } from './express-stores.ts'

// up before the first test: tap ends the file when there is none to run
const client = await redisClient(tap, await startRedis(tap))

for (const { name, create, records, damage } of kindsOn(client)) {
  const inner = new WeakMap<ExpressStore, { store: never; clock: () => number }>()
  const recordsOf = (store: ExpressStore): Promise<[string, string][]> => records(inner.get(store)?.store as never)

  httpSuite<ExpressStore>(test, {
    name: `ExpressStore over ${name}`,
    store: (_t, { clock }) => {
      const express = create()
      const store = new ExpressStore(express, { clock })
      inner.set(store, { store: express as never, clock })
      return store
    },
    serverSide: true,
    merges: false,
    markers: false,
    resurrects: true,
    clocked: true,
    size: async (store) => {
      const now = inner.get(store)?.clock() ?? 0
      const all = await recordsOf(store)
      return all.filter(([, json]) => (JSON.parse(json) as StoredSession).expiresAt > now).length
    },
    corrupt: async (store) => {
      const [[key] = ['']] = await recordsOf(store)
      await damage(inner.get(store)?.store as never, key, 'no JSON')
    },
  })
}
