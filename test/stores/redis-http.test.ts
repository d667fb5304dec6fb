import t, { test } from 'tap'
import type { Cluster, Redis } from 'ioredis'
import { SessionId } from '../../lib/index.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { httpSuite } from '../http-suite.ts'
import { clientOf, keysOf, startCluster, startRedis } from '../redis.ts'

// all up before the first test: tap ends the file when there is none to run
const [server, cluster] = await Promise.all([startRedis(t), startCluster(t)])

class Store extends RedisStore {
  readonly client: Redis | Cluster
  readonly prefix: string
  readonly clock: () => number

  constructor(client: Redis | Cluster, clock: () => number) {
    const prefix = `${SessionId.generate().publicId}:`
    super({ client, clock, prefix })
    this.client = client
    this.prefix = prefix
    this.clock = clock
  }

  keys(): Promise<string[]> {
    return keysOf(this.client, `${this.prefix}2::*`)
  }
}

const clients: [name: string, client: Redis | Cluster][] = [
  ['Redis', clientOf(t, server)],
  ['Redis, with automatic pipelining', clientOf(t, server, { enableAutoPipelining: true })],
  ['Redis Cluster', cluster.client()],
]

for (const [name, client] of clients) {
  httpSuite<Store>(test, {
    name,
    store: (_t, { clock }) => new Store(client, clock),
    serverSide: true,
    merges: true,
    markers: true,
    clocked: true,
    size: async (store) => {
      const records = (await store.keys()).map((key) => client.hmget(key, 'expires', 'gone'))
      const live = (await Promise.all(records)).filter(([expires, gone]) => !gone && Number(expires) > store.clock())
      return live.length
    },
    corrupt: async (store) => {
      for (const key of await store.keys()) await client.hset(key, ':foo', 'no JSON')
    },
  })
}
