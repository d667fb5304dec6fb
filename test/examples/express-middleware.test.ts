import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { ask, Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { freePort, start } from './program.ts'

test('express-middleware has a log, security headers, compression, files and CORS around a session', async (t) => {
  const style = 'body { color: black }\n'.repeat(100)
  const cwd = t.testdir({ public: { 'style.css': style } })
  const { port, output } = await start(t, 'express-middleware', {
    cwd,
    env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET },
  })
  const client = new Client(port)

  const page = await client.get('/')
  t.equal(page.body, '<p>visit 1</p>\n')
  t.match(page.headers, { 'x-content-type-options': 'nosniff', 'content-length': '15', 'cache-control': 'private' })
  t.equal((await client.get('/')).body, '<p>visit 2</p>\n')

  const file = await client.get('/style.css')
  t.equal(file.body, style)
  t.equal(file.headers['cache-control'], 'public, max-age=0', 'which no session makes private')
  t.equal((await client.get('/style.css', { headers: { 'if-none-match': String(file.headers.etag) } })).status, 304)
  const beyond = await client.get('/style.css', { headers: { range: 'bytes=9999-' } })
  t.match(beyond, { status: 416, headers: { 'x-content-type-options': 'nosniff' } }, 'as pages of errors have them')
  const zipped = await fetch(`http://localhost:${port}/style.css`, { headers: { 'accept-encoding': 'gzip' } })
  t.equal(zipped.headers.get('content-encoding'), 'gzip')
  t.equal(await zipped.text(), style)

  const api = await client.get('/api/visits', { headers: { cookie: client.cookie, origin: 'https://app.example.org' } })
  t.equal(api.body, '{"visits":2}')
  t.equal(api.headers['access-control-allow-origin'], 'https://app.example.org')
  t.same(String(api.headers.vary).split(', '), ['Origin', 'cookie', 'Accept-Encoding'])
  t.notOk('access-control-allow-origin' in page.headers)
  t.equal((await ask(port, '/api', { method: 'OPTIONS' })).status, 204)

  const logged = ['GET / 200 15 ', 'GET /style.css 200 2200 ', 'GET /style.css 304 - ', 'GET /api/visits 200 12 ']
  while (!logged.every((line) => output().includes(line))) await turn()
  t.ok(output().endsWith(' ms\n'))
})
