import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { setInterval } from 'node:timers/promises'
import { test } from 'tap'
import { Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { freePort, start } from './program.ts'

const launch = async () => ({ env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })

test('streaming sends events until the browser leaves, and then gives back what the stream holds', async (t) => {
  const { port, output } = await start(t, 'streaming', await launch())
  const client = new Client(port)
  t.match((await client.get('/')).headers, { 'content-type': /^text\/html/ })
  const asked = get({ host: '127.0.0.1', port, path: '/ticks', headers: { cookie: client.cookie }, agent: false })
  const [res] = (await once(asked, 'response')) as [IncomingMessage]
  t.match(res.headers, { 'content-type': 'text/event-stream', 'set-cookie': undefined })
  const [first] = await once(res, 'data')
  const [, name = ''] = /^data: tick 1 for (\w{8})\n\n$/.exec(String(first)) ?? []
  t.ok(name)
  const [second] = await once(res, 'data')
  t.equal(String(second), `data: tick 2 for ${name}\n\n`)
  t.notMatch(output(), 'left')
  res.destroy()
  for await (const _ of setInterval(20)) if (output().includes('left')) break
  t.match(output(), `${name} left\n`)
  t.notMatch(output(), /error/i)
})

test('streaming counts a download before its head, and cannot after it', async (t) => {
  const { port, output } = await start(t, 'streaming', await launch())
  const client = new Client(port)
  for (const count of [1, 2]) {
    const { status, body, cookies, headers } = await client.get('/report')
    t.equal(status, 200)
    t.equal(headers['content-length'], undefined)
    t.equal(cookies.length, 1)
    const lines = body.split('\n')
    t.equal(lines.length, 100_002)
    t.match(lines[99_999], /^line 100000 for \w{8}$/)
    t.equal(lines[100_000], `download ${count}, not counted at its end: ERR_SESSION_COMMITTED`)
  }
  t.notMatch(output(), /error/i)
})
