import type { IncomingMessage } from 'node:http'
import { test } from 'tap'
import { SessionId } from '../../lib/index.ts'
import { ExpressStore } from '../../stores/express-store.ts'
import { MemcachedStore } from '../../stores/memcached-store.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { checkDeadline } from '../../stores/deadline.ts'
import { memcached } from '../memcached.ts'
import { clientOf, startRedis } from '../redis.ts'

const req = {} as IncomingMessage

/** Keeps this process busy, so that no timer and no answer gets its turn. */
function holdUp(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

test('an answer that came in while this process was held up beyond the deadline is no error', async (t) => {
  const redis = await startRedis(t)
  const client = clientOf(t, redis)
  const { server } = await memcached(t)
  const stores = {
    memcached: new MemcachedStore({ servers: server, deadline: 200 }),
    redis: new RedisStore({ client, deadline: 200 }),
    express: new ExpressStore(
      {
        get: async (id) => {
          await client.get(id)
          return null
        },
        set: () => {},
        destroy: () => {},
      },
      { deadline: 200 },
    ),
  }
  t.teardown(() => stores.memcached.close())
  for (const [name, store] of Object.entries(stores)) {
    // the connection is there
    t.equal(await store.findSession(req, SessionId.generate()), undefined)
    const found = store.findSession(req, SessionId.generate())
    await new Promise(setImmediate)
    holdUp(300)
    t.equal(await found, undefined, name)
  }
})

test('a deadline is a number of milliseconds that a timer can wait', (t) => {
  t.equal(checkDeadline(0.5), 0.5)
  for (const deadline of [0, -1, NaN, Infinity, 2 ** 31]) {
    t.throws(() => checkDeadline(deadline), { code: 'ERR_INVALID_OPTION' })
  }
  t.end()
})
