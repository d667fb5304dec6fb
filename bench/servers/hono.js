// @hono/session, Hono's own. The other package, hono-sessions 0.8, does other work: it opens its cookie for each page, also
// where nobody asks for the session, and sends one to each visitor, who never had a session, too.
import { getRequestListener } from '@hono/node-server'
import { useSession } from '@hono/session'
import { Hono } from 'hono'
import { createServer } from 'node:http'
import { DAY, FIRST_VISIT, KEY, page, serve, visitor } from './serve.js'

// a key of WebCrypto's is imported once, and bytes for each cookie
const secret = await crypto.subtle.importKey('raw', KEY, 'AES-GCM', false, ['encrypt', 'decrypt'])

/** @type {Hono<import('@hono/session').SessionEnv<{ userId?: number, visits?: number }>>} */
const app = new Hono()
app.use(useSession({ secret, duration: { absolute: DAY } }))
app.get('/untouched', (c) => c.text(page()))
app.get('/read', async (c) => {
  const data = await c.var.session.get()
  return c.text(page(data?.userId, data?.visits))
})
app.get('/written', async (c) => {
  const { session } = c.var
  await session.update((data) => ({ ...data, visits: (data?.visits ?? FIRST_VISIT) + 1 }))
  return c.text(page(session.data?.userId, session.data?.visits))
})
app.get('/sign-in/:id', async (c) => {
  await c.var.session.update(visitor(c.req.param('id')))
  return c.text('signed in\n')
})
const listener = getRequestListener(app.fetch)
await serve(createServer((req, res) => void listener(req, res)))
