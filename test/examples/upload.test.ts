import { test } from 'tap'
import { ask, Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { freePort, start } from './program.ts'

/** A form as a browser sends it. */
async function formOf(name: string, content: string, fileName = 'a.png') {
  const form = new FormData()
  form.set(name, new Blob([content], { type: 'image/png' }), fileName)
  const request = new Request('http://localhost/', { method: 'POST', body: form })
  return {
    method: 'POST',
    headers: { 'content-type': String(request.headers.get('content-type')) },
    body: await request.text(),
  }
}

test('upload takes a photo, and remembers in the session what it was called', async (t) => {
  const { port, output } = await start(t, 'upload', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const client = new Client(port)
  const send = async (...form: Parameters<typeof formOf>) => {
    const { headers, ...ask } = await formOf(...form)
    return client.get('/', { ...ask, headers: { ...headers, cookie: client.cookie } })
  }
  t.match((await client.get('/')).body, /<form method="post" enctype="multipart\/form-data">/)
  t.match(await send('photo', 'x'.repeat(5000)), { status: 303, headers: { location: '/' } })
  t.match(await send('photo', 'y', '<größe>.png'), { status: 303 })
  t.match((await client.get('/')).body, '<ul><li>a.png (5000 bytes)</li><li>&#60;größe&#62;.png (1 bytes)</li></ul>')
  for (let i = 0; i < 6; i++) t.equal((await send('photo', 'z', '<&>'.repeat(100))).status, 303)
  t.equal((await client.get('/')).body.split('<li>').length, 6)
  t.notMatch((await ask(port, '/')).body, /<li>/, 'another visitor has sent nothing')
  t.notMatch(output(), /error/i)
})

test('upload refuses what is no photo, too large, broken, or from another site', async (t) => {
  const { port, output } = await start(t, 'upload', { env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })
  const good = await formOf('photo', 'x'.repeat(5000))
  const type = good.headers['content-type']
  const status = async (body: string, headers: Record<string, string> = {}) =>
    (await ask(port, '/', { method: 'POST', body, headers: { 'content-type': type, ...headers } })).status
  t.equal(await status(good.body), 303)
  t.equal(await status('', { 'content-type': 'text/plain' }), 400, 'no form')
  t.equal(
    await status((await formOf('photo', 'x'.repeat(1_000_001))).body),
    400,
    'another boundary than the one announced',
  )
  const large = await formOf('photo', 'x'.repeat(1_000_001))
  t.equal(await status(large.body, large.headers), 413)
  const other = await formOf('paper', 'x')
  t.equal(await status(other.body, other.headers), 400, 'a field that is not asked for')
  t.equal(await status(good.body.slice(0, 1000)), 400, 'a form that breaks off')
  t.equal(await status(good.body, { 'content-type': 'multipart/form-data' }), 400, 'a form without its boundary')
  t.equal(await status(good.body, { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }), 422)
  t.equal((await ask(port, '/')).status, 200, 'and goes on')
  t.notMatch(output(), /Error:/, 'and none of it is an error of ours')
})
