import { test } from 'tap'
import { Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { fail, freePort, start } from './program.ts'

test('fastify keeps a cart in the session, and answers errors as Fastify does', async (t) => {
  const { port } = await start(t, 'fastify', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const client = new Client(port)
  const empty = await client.get('/')
  t.equal(empty.body, '{"cart":[]}')
  t.strictSame(empty.cookies, [], 'who only reads gets no session')

  const headers = { origin: `http://127.0.0.1:${port}` }
  const added = await client.get('/cart/tea', { method: 'POST', headers })
  t.equal(added.status, 303)
  t.match(added.cookies, [/^_fastify_session=[\w%.-]+; Path=\/; HttpOnly; SameSite=Lax$/])
  t.equal((await client.get('/')).body, '{"cart":["tea"]}')
  for (const thing of ['map', 'a', 'b', 'c', 'd']) await client.get(`/cart/${thing}`, { method: 'POST', headers })
  t.equal((await client.get('/')).body, '{"cart":["map","a","b","c","d"]}')
  t.equal((await new Client(port).get('/')).body, '{"cart":[]}', 'another browser')

  t.equal((await client.get('/cart', { method: 'DELETE', headers })).status, 204)
  t.equal((await client.get('/')).body, '{"cart":[]}')
  const foreign = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
  const refused = await client.get('/cart', { method: 'DELETE', headers: foreign })
  t.match(refused, { status: 422, body: /"code":"ERR_CSRF"/ })
  t.match(await client.get('/nowhere'), { status: 404, body: /"statusCode":404/ })
})

test('fastify without a secret does not start, and says what to do', async (t) => {
  const { code, output } = await fail('fastify', { env: { PORT: await freePort(), SECRET_KEY_BASE: undefined } })
  t.equal(code, 1)
  t.match(output, /ERR_SECRET_MISSING/)
})
