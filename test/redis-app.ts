import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Builder, cookies, session, toListener, type App } from '../lib/index.ts'
import { RedisStore } from '../stores/redis-store.ts'

/** Each request sets a key of its own: `/<key>`. `/` gives all. */
export function keysApp(store: RedisStore): App {
  return new Builder()
    .use(cookies())
    .use(session<Record<string, string>>({ store }))
    .run(async (req) => {
      const hash = await req.session
      const key = (req.url ?? '/').slice(1)
      if (key !== '') hash[key] = key
      return [200, {}, JSON.stringify(hash)]
    })
}

// as a process of its own: `node redis-app.js <url> <prefix>` tells its parent the port
if (process.send && process.argv[2] !== undefined) {
  const store = new RedisStore({ url: process.argv[2], prefix: process.argv[3] ?? '' })
  const listening = createServer(toListener(keysApp(store))).listen(0, '127.0.0.1', () => {
    process.send?.((listening.address() as AddressInfo).port)
  })
  process.on('disconnect', () => process.exit())
}
