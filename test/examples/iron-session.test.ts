import { test } from 'tap'
import { Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { fail, freePort, start } from './program.ts'

test('iron-session and our page see the same visits and the same user', async (t) => {
  const { port, output } = await start(t, 'iron-session', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const client = new Client(port)
  const page = async (path: string, method = 'GET'): Promise<string> => (await client.get(path, { method })).body
  t.equal(await page('/iron/'), 'nobody made 0 visits\n')
  t.equal(await page('/iron/ada', 'POST'), 'ada made 0 visits\n')
  t.equal(await page('/'), 'ada, visit 1\n')
  t.equal(await page('/'), 'ada, visit 2\n')
  t.equal(await page('/iron/'), 'ada made 2 visits\n')
  t.equal(await page('/iron/bob', 'POST'), 'bob made 2 visits\n')
  t.equal(await page('/'), 'bob, visit 3\n')
  t.match(client.cookie, /^shop=Fe26\.2\*1\*.*~2$/)
  t.equal((await new Client(port).get('/')).body, 'nobody, visit 1\n', 'another browser')
  t.notMatch(output(), /error/i)
  client.jar.set('shop', '*******')
  t.equal((await client.get('/iron/')).status, 500)
  t.equal(await page('/'), 'nobody, visit 1\n', 'what nobody sealed is no session')
})

test('iron-session without a password does not start, and says what to do', async (t) => {
  const { code, output } = await fail('iron-session', { env: { PORT: await freePort(), SECRET_KEY_BASE: undefined } })
  t.equal(code, 1)
  t.match(output, /ERR_SECRET_TOO_SHORT/)
})
