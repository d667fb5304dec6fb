import { connect } from 'node:net'
import { test } from 'tap'
import { ask, Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { fail, freePort, start } from './program.ts'

test('counter counts the visits of each browser', async (t) => {
  const { port } = await start(t, 'counter', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const client = new Client(port)
  const first = await client.get('/')
  t.equal(first.body, 'visit 1\n')
  t.match(first.cookies, [/^_app_session=[\w%.-]+; Path=\/; HttpOnly; SameSite=Lax$/])
  t.equal((await client.get('/')).body, 'visit 2\n')
  t.equal((await client.get('/')).body, 'visit 3\n')
  t.equal((await new Client(port).get('/')).body, 'visit 1\n', 'another browser')
})

test('counter without a secret does not start, and says what to do', async (t) => {
  const { code, output } = await fail('counter', { env: { PORT: await freePort(), SECRET_KEY_BASE: undefined } })
  t.equal(code, 1)
  t.match(output, /ERR_SECRET_MISSING/)
  t.match(output, /SECRET_KEY_BASE/)
})

test('embed has sessions on some paths, and leaves the others alone', async (t) => {
  const { port } = await start(t, 'embed', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const client = new Client(port)
  const plain = await client.get('/')
  t.equal(plain.body, 'as ever\n')
  t.equal((await client.get('/things/tea')).body, 'seen lately: tea\n')
  t.strictSame((await client.get('/')).body, 'as ever\n')
  t.equal((await client.get('/things/map')).body, 'seen lately: tea, map\n')
  for (const thing of 'abcd') await client.get(`/things/${thing}`)
  t.equal((await client.get('/things/e')).body, 'seen lately: a, b, c, d, e\n')
})

test('stack prints its layers, times every request, and guards what is below /admin', async (t) => {
  const { port, output } = await start(t, 'stack', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  t.match(
    output(),
    `use timing\nuse cookies\nuse session\nmap /admin\n  use adminsOnly\n  run (anonymous)\nrun everybody\nhttp://localhost:${port}\n`,
  )
  const client = new Client(port)
  const everybody = await client.get('/')
  t.equal(everybody.body, 'for everybody\n')
  t.match(everybody.headers['server-timing'], /^app;dur=\d+\.\d$/)
  const refused = await client.get('/admin/reports')
  t.equal(refused.status, 403)
  t.match(refused.headers['server-timing'], /^app;dur=/)
  await client.get('/', { method: 'POST' })
  t.equal((await client.get('/admin/reports?of=today')).body, '/reports?of=today below /admin\n')
})

test('the site says that its port is taken, and which other to choose', async (t) => {
  const { port } = await start(t, 'site/server', { cwd: t.testdir(), env: { PORT: '0' } })
  const second = await fail('site/server', { cwd: t.testdirName, args: ['--port', String(port)], env: { PORT: '0' } })
  t.equal(second.code, 1)
  t.equal(second.output, `Port ${port} is taken. Choose another one, for example: npm start -- --port 3001\n`)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`the site ends cleanly on ${signal}, also while a browser holds a connection open`, async (t) => {
    const site = await start(t, 'site/server', { cwd: t.testdir(), env: { PORT: '0' } })
    const spare = connect(site.port, '127.0.0.1')
    t.teardown(() => spare.destroy())
    spare.on('error', () => {})
    t.equal((await ask(site.port, '/')).status, 200, 'which the server has by now accepted')
    t.equal(await site.end(signal), 0)
    t.notMatch(site.output(), /error/i)
  })
}
