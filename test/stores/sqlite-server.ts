// A server process of its own: node sqlite-server.js FILE. It sends its port to its parent, and ends at a message.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Builder, cookies, session, toListener } from '../../lib/index.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'

const store = new SqliteStore({ filename: process.argv[2] ?? '' })

/** Each path sets the key of its name to one more. */
const app = new Builder()
  .use(cookies())
  .use(session<Record<string, number>>({ store }))
  .run(async (req) => {
    const hash = await req.session
    const key = req.url?.slice(1) ?? ''
    if (key !== '') hash[key] = (hash[key] ?? 0) + 1
    return [200, {}, JSON.stringify(hash)]
  })

const server = createServer(toListener(app)).listen(0, '127.0.0.1', () => {
  process.send?.((server.address() as AddressInfo).port)
})

process.once('message', () => process.disconnect())
process.once('disconnect', () => {
  server.close()
  server.closeIdleConnections()
  store.close()
})
