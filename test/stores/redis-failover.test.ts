import type { Cluster, Redis } from 'ioredis'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t, { test, type Test } from 'tap'
import { SessionId } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { startCluster, startSentinel, type RedisServer } from '../redis.ts'
import { Client, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'

const [cluster, sentinel] = await Promise.all([startCluster(t), startSentinel(t)])

for (const [name, client] of [
  ['RedisStore on a cluster', cluster.client()],
  ['RedisStore on a cluster with automatic pipelining', cluster.client({ enableAutoPipelining: true })],
  ['RedisStore on a cluster with a prefix', cluster.client({ keyPrefix: 'app:' })],
  ['RedisStore behind Sentinel', sentinel.client()],
  ['RedisStore behind Sentinel with automatic pipelining', sentinel.client({ enableAutoPipelining: true })],
] as const) {
  testStore(() => new RedisStore({ client }), { test, name, merges: true, markers: true, owners: true })
}

const req = new IncomingMessage(new Socket())

test('every session under a prefix is removed from all masters of a cluster', async (t) => {
  const client = cluster.client()
  const [store, other] = [new RedisStore({ client, prefix: 'a:' }), new RedisStore({ client, prefix: 'b:' })]
  const sids = Array.from({ length: 200 }, () => SessionId.generate())
  const options = () => ({ createdAt: Date.now(), expiresAt: Date.now() + 60_000, extend: true, owner: undefined })
  const fill = (each: RedisStore) =>
    sids.map((sid) => each.writeSession(req, sid, { a: 1 }, { ...options(), create: true, changes: 'all' }))
  const found = (each: RedisStore) => Promise.all(sids.map((sid) => each.findSession(req, sid)))
  await Promise.all([...fill(store), ...fill(other)])
  t.ok((await found(store)).every((record) => record?.data['a'] === 1))
  await store.clear()
  t.ok((await found(store)).every((record) => record === undefined))
  t.ok((await found(other)).every((record) => record?.data['a'] === 1))
})

/**
 * Steady load, under which a master is killed: visitors who count their visits, one request after the other.
 * In the end each is answered again, and has what Redis kept of what was acknowledged.
 */
async function survives(t: Test, client: Redis | Cluster, master: RedisServer): Promise<void> {
  const store = new RedisStore({ client, prefix: `${SessionId.generate().publicId}:` })
  const { port, errors } = await serve(t, sessionApp({ store }))
  const visitors = Array.from({ length: 30 }, () => ({ browser: new Client(port), acknowledged: 0, replaced: 0 }))
  let failed = 0
  let killedAt = 0
  let lastFailure = 0
  const end = new AbortController()
  const load = visitors.map(async (visitor) => {
    while (!end.signal.aborted) {
      const had = visitor.browser.jar.get('_session_id')
      const { status, body, cookies } = await visitor.browser.get('/count')
      if (status === 200) {
        visitor.acknowledged = Math.max(visitor.acknowledged, Number(body))
        if (had !== undefined && cookies.length > 0) visitor.replaced++
      } else {
        failed++
        lastFailure = performance.now()
        t.same(cookies, [], 'a page that failed touches no cookie')
      }
      await pause(10)
    }
  })
  await pause(300)
  t.equal(failed, 0, 'no error before')
  // what was acknowledged until now has reached the replicas
  const before = visitors.map(({ acknowledged }) => acknowledged)
  await pause(200)
  killedAt = performance.now()
  await master.kill()
  const nothing = await Promise.all(visitors.map(({ browser }) => browser.clone().get('/nothing')))
  t.ok(
    nothing.every(({ status }) => status === 200),
    'pages without a session work meanwhile',
  )
  // it is over when each has been answered again for half a second
  const until = performance.now() + 15_000
  do await pause(100)
  while (performance.now() - Math.max(killedAt + 3000, lastFailure) < 500 && performance.now() < until)
  end.abort()
  await Promise.all(load)
  t.ok(performance.now() < until, `errors ended, ${Math.round(lastFailure - killedAt)} ms after the kill`)
  t.comment(`${failed} requests failed: ${[...new Set(errors.map((error) => (error as Error).message))].join('; ')}`)
  for (const [i, { browser, acknowledged, replaced }] of visitors.entries()) {
    const { status, body } = await browser.get('/read')
    t.equal(status, 200)
    t.equal(replaced, 0, 'nobody lost his session')
    const { counter } = JSON.parse((await browser.get('/all')).body) as { counter: number }
    t.ok(counter >= (before[i] as number), `${body}: ${counter} of ${acknowledged} visits, ${before[i]} before`)
  }
}

test('a cluster whose master is killed under load answers again, with the sessions that it had', (t) =>
  survives(t, cluster.client(), cluster.servers[0] as RedisServer))

test('a failover by Sentinel under load ends, with the sessions that there were', (t) =>
  survives(t, sentinel.client(), sentinel.servers[0] as RedisServer))
