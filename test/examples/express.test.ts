import { test } from 'tap'
import { Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { fail, freePort, start } from './program.ts'

test('express counts visits, signs in and out, and answers errors as Express does', async (t) => {
  const { port } = await start(t, 'express', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const client = new Client(port)
  const first = await client.get('/')
  t.equal(first.body, 'hello stranger, visit 1\n')
  t.match(first.cookies, [/^_express_session=[\w%.-]+; Path=\/; HttpOnly; SameSite=Lax$/])

  const origin = `http://127.0.0.1:${port}`
  const headers = { origin, 'content-type': 'application/x-www-form-urlencoded' }
  const signedIn = await client.get('/sign-in', { method: 'POST', headers, body: 'user=ada' })
  t.equal(signedIn.status, 303)
  t.equal(signedIn.headers.location, '/')
  t.match(signedIn.cookies, [/^_express_session=/], 'the redirect carries the session')
  t.equal((await client.get('/')).body, 'hello ada, visit 2\n')
  t.equal((await new Client(port).get('/')).body, 'hello stranger, visit 1\n', 'another browser')

  t.equal((await client.get('/sign-out', { method: 'POST', headers: { origin } })).status, 303)
  t.equal(client.jar.size, 0)
  t.equal((await client.get('/')).body, 'hello stranger, visit 1\n')
  const foreign = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
  t.match(await client.get('/sign-out', { method: 'POST', headers: foreign }), { status: 422, body: /CsrfError/ })
  t.match(await client.get('/nowhere'), { status: 404, body: /Cannot GET \/nowhere/ })
})

test('express without a secret does not start, and says what to do', async (t) => {
  const { code, output } = await fail('express', { env: { PORT: await freePort(), SECRET_KEY_BASE: undefined } })
  t.equal(code, 1)
  t.match(output, /ERR_SECRET_MISSING/)
})
