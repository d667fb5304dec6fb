import type { IncomingMessage } from 'node:http'
import { test } from 'tap'
import { MemoryStore, SessionId, type DeleteOptions } from '../../lib/index.ts'
import { Client, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'

test('a destroy removes what the session was renewed to at the last moment', async (t) => {
  const to = SessionId.generate()
  let renewed = false
  class RenewedMeanwhile extends MemoryStore {
    override deleteSession(req: IncomingMessage, sid: SessionId, options: DeleteOptions): void {
      const stored = renewed ? undefined : this.findSession(req, sid)
      if (stored) {
        renewed = true
        const changes = { set: {}, delete: [] }
        const { createdAt, expiresAt, owner } = stored
        const how = { create: true, changes, createdAt, expiresAt, extend: false, owner, markUntil: expiresAt }
        this.renewSession(req, sid, to, how)
      }
      super.deleteSession(req, sid, options)
    }
  }
  const store = new RenewedMeanwhile()
  const { port } = await serve(t, sessionApp({ store }))
  const client = new Client(port)
  await client.get('/write')
  t.equal(store.size, 1)
  await client.get('/destroy')
  t.ok(renewed)
  t.equal(store.size, 0)
})

test('a late clear of a signed-in session that was destroyed makes no session and sends no cookie', async (t) => {
  const store = new MemoryStore()
  const { port } = await serve(t, sessionApp({ store, owner: 'userId' }))
  const client = new Client(port)
  await client.get('/signin?user=1')
  const late = client.clone()
  await client.get('/destroy')
  for (const path of ['/clear', '/count', '/renew']) t.same((await late.get(path)).cookies, [], path)
  t.equal(store.size, 0)
  const again = await late.get('/signin?user=2')
  t.equal(again.cookies.length, 1, 'but who signs in is signed in')
})
