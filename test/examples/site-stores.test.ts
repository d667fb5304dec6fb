import { test } from 'tap'
import { memcached } from '../memcached.ts'
import { startRedis } from '../redis.ts'
import { Client } from '../server.ts'
import { fail, start } from './program.ts'

test('the site runs on every store, and its visitors stay signed in', async (t) => {
  const env = {
    PORT: '0',
    REDIS_URL: `redis://127.0.0.1:${(await startRedis(t)).port}`,
    MEMCACHED_SERVERS: (await memcached(t)).server,
  }
  const lists: Record<string, boolean> = { cookie: false, memory: true, sqlite: true, redis: true, memcached: false }
  for (const [store, listed] of Object.entries(lists)) {
    const { port, end } = await start(t, 'site/server', { cwd: t.testdir(), env, args: ['--store', store] })
    const client = new Client(port)
    const headers = { 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' }
    await client.get('/sign-in', { method: 'POST', body: 'name=Ada', headers })
    for (const visits of [1, 2]) {
      t.match((await client.get('/')).body, new RegExp(`Ada.*<dd>${visits}</dd>`, 's'), `${store}: visit ${visits}`)
    }
    t.match((await client.get('/sessions')).body, listed ? 'Sign out everywhere else' : 'cannot list', store)
    t.equal(await end(), 0, `${store}: it ends when it is told to`)
  }
})

test('a store that there is not is an error that names those there are', async (t) => {
  const { code, output } = await fail('site/server', { cwd: t.testdir(), args: ['--store', 'paper'] })
  t.equal(code, 1)
  t.match(output, /no store paper.*cookie, memory, sqlite, redis, memcached/)
})
