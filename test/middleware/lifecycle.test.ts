import { IncomingMessage, request } from 'node:http'
import { Socket } from 'node:net'
import { test, type Test } from 'tap'
import { layerSteps } from '../../lib/channels.ts'
import { Builder, cookies, MemoryStore, session } from '../../lib/index.ts'
import type { RequestTrace } from '../../lib/request-trace.ts'
import { isWatched } from '../../lib/trace.ts'
import { lifecycle, type LifecycleOptions } from '../../middleware/lifecycle.ts'
import { ask, Client, serve, type Answer } from '../server.ts'
import { controller, SECRET, type Data } from '../session-app.ts'

type Shown = RequestTrace & { canReplay: boolean; replayOf?: number; tampered?: object; error?: string }

async function site(t: Test, options: LifecycleOptions = {}, store?: MemoryStore) {
  const app = new Builder()
    .use(lifecycle(options))
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ store }))
    .run(controller)
  const { port, errors } = await serve(t, app)
  const headers = { host: `localhost:${port}` }
  const get = (path: string): Promise<Answer> => ask(port, path, { headers })
  const shown = async (): Promise<Shown[]> => JSON.parse((await get('/lifecycle/requests')).body) as Shown[]
  const replay = async (body: object, more: Record<string, string> = {}) => {
    const answer = await ask(port, '/lifecycle/replay', {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', ...more },
      body: JSON.stringify(body),
    })
    return { status: answer.status, shown: JSON.parse(answer.body) as Shown }
  }
  return { port, errors, get, shown, replay, client: new Client(port) }
}

/** Asks until there is as much to see: a trace ends a moment after its answer is read. */
async function until<T>(look: () => Promise<T>, isThere: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await look()
    if (isThere(value)) return value
  }
}

test('nothing is watched before somebody looks; then the newest requests are remembered', async (t) => {
  const { client, shown } = await site(t, { keep: 3 })
  await client.get('/read')
  t.notOk(isWatched(layerSteps))
  t.strictSame(await shown(), [])
  for (const path of ['/nothing', '/read', '/write', '/all']) await client.get(path)
  const kept = await until(shown, (all) => all.at(-1)?.url === '/all')
  t.strictSame(
    kept.map(({ url }) => url),
    ['/read', '/write', '/all'],
  )
  t.strictSame(kept[0]?.stack, ['lifecycle', 'cookies', 'session', 'controller'])
  t.ok(kept.every(({ canReplay, cookie, session }) => !canReplay && cookie === null && session === null))
})

test('the page and its two files are served as they are written, and load nothing else', async (t) => {
  const { get } = await site(t)
  const there = await get('/lifecycle?a=b')
  t.strictSame([there.status, there.headers.location], [308, 'lifecycle/'])
  for (const [path, type] of [
    ['/lifecycle/', 'text/html; charset=utf-8'],
    ['/lifecycle/page.css', 'text/css; charset=utf-8'],
    ['/lifecycle/page.js', 'text/javascript; charset=utf-8'],
  ] as const) {
    const { status, headers, body } = await get(path)
    t.strictSame([status, headers['content-type']], [200, type])
    t.match(headers['content-security-policy'], /^default-src 'none'; script-src 'self';/)
    t.ok(body.length > 500)
    t.notMatch(body, /https?:\/\/(?!localhost|www\.w3\.org)/, 'nothing from elsewhere')
  }
  t.equal((await get('/lifecycle/nothing')).status, 404)
  t.equal((await get('/lifecycle-of-others')).body, 'no such page')
})

test('whoever keeps the page open hears of requests as they come', async (t) => {
  const { port, client } = await site(t, { data: true })
  const heard = await new Promise<string>((resolve, reject) => {
    const req = request(
      { host: '127.0.0.1', port, path: '/lifecycle/events', headers: { host: 'localhost' } },
      (res) => {
        t.match(res.headers['content-type'], 'text/event-stream')
        let text = ''
        void client.get('/write?v=1').catch(reject)
        res.on('data', (chunk) => {
          text += String(chunk)
          if (!/event: request\ndata: .*\n\n/.test(text)) return
          resolve(text)
          req.destroy()
        })
      },
    )
    req.on('error', () => {})
    req.end()
  })
  const shown = JSON.parse(/data: (\{.*)\n/.exec(heard)?.[1] ?? '') as Shown
  t.match(shown, { url: '/write?v=1', session: { after: { foo: '1' }, changed: ['foo'] } })
})

test('a request is sent again, with another character in its cookie if that is asked for', async (t) => {
  const { client, shown, replay } = await site(t, { data: true, keep: 1000 })
  await shown()
  await client.get('/write')
  await client.get('/read')
  const read = (await until(shown, (all) => all.at(-1)?.url === '/read')).at(-1)
  const { id } = read as Shown
  const same = await replay({ id })
  t.match(same, { status: 200, shown: { replayOf: id, status: 200, session: { before: { foo: 'bar' } } } })
  const other = await replay({ id, tamper: 10 })
  t.match(other.shown.tampered, { cookie: '_session_id', at: 10 })
  t.ok(other.shown.steps.some(({ title }) => title === 'the cookie is refused: seal'))
  t.equal(other.shown.session?.before, null)
  const value = read?.cookie?.parts[0]?.[1] ?? ''
  const last = value.length
  // wherever it is, also inside of an escape
  for (let tamper = 0; tamper < last; tamper++) {
    const { shown: one } = await replay({ id, tamper })
    const changed = one.cookie?.parts[0]?.[1] ?? ''
    t.not(decodeURIComponent(changed), decodeURIComponent(value))
    t.equal(decodeURIComponent(changed).length, decodeURIComponent(value).length)
    t.ok(
      one.steps.some(({ title }) => title === 'the cookie is refused: seal'),
      `character ${tamper}`,
    )
  }
  for (const tamper of [-1, 1.5, last, 'x', null]) t.equal((await replay({ id, tamper })).status, 409, String(tamper))
  t.match(await replay({ id: 999_999 }), { status: 404, shown: { error: /forgotten/ } })
  t.equal((await client.get('/read')).body, 'foo: "bar"', 'the browser has what it had')
})

test('after signing in anew, the cookie of before opens nothing on a store', async (t) => {
  const { client, shown, replay } = await site(t, { data: true }, new MemoryStore())
  await shown()
  await client.get('/write')
  await client.get('/read')
  const { id } = (await until(shown, (all) => all.at(-1)?.url === '/read')).at(-1) as Shown
  await client.get('/reset-write')
  const { shown: old } = await replay({ id })
  t.ok(old.steps.some(({ title }) => title === 'the session is loaded: gone'))
})

test('without data nothing is sent again, and what changes something never is', async (t) => {
  const secretive = await site(t)
  await secretive.shown()
  await secretive.client.get('/read')
  const [one] = await until(secretive.shown, (all) => all.length > 0)
  t.equal((await secretive.replay({ id: one?.id })).status, 409)
  const open = await site(t, { data: true })
  await open.shown()
  await open.client.get('/write', { method: 'POST' })
  const [posted] = await until(open.shown, (all) => all.length > 0)
  t.equal(posted?.canReplay, false)
  t.equal((await open.replay({ id: posted?.id })).status, 409)
})

test('a page of another site can send nothing again, and a name that leads here sees nothing', async (t) => {
  const { port, replay, get } = await site(t, { data: true })
  t.equal((await replay({ id: 1 }, { origin: 'https://evil.example' })).status, 403)
  t.equal((await replay({ id: 1 }, { origin: 'null' })).status, 403)
  t.equal((await replay({ id: 1 }, { 'sec-fetch-site': 'cross-site' })).status, 403)
  t.equal((await replay({ id: 1 }, { 'content-type': 'text/plain' })).status, 403)
  t.equal((await replay({ id: 1 }, { origin: `http://localhost:${port}` })).status, 404, 'our own may ask')
  for (const path of ['/lifecycle', '/lifecycle/', '/lifecycle/requests', '/lifecycle/events', '/lifecycle/page.js']) {
    const { status, body } = await ask(port, path, { headers: { host: 'rebound.example' } })
    t.equal(status, 403)
    t.match(body, /http:\/\/localhost/)
  }
  const forced = await site(t, { force: true })
  t.equal((await ask(forced.port, '/lifecycle/', { headers: { host: 'a.example' } })).status, 200)
  t.equal((await get('/lifecycle/replay')).status, 405)
  t.equal((await ask(port, '/lifecycle/', { method: 'POST', headers: { host: 'localhost' } })).status, 405)
})

test('who asks from another machine, or through a proxy, sees nothing, whatever name he asks for', async (t) => {
  const app = new Builder().use(lifecycle({ data: true })).run(() => [200, {}, 'the app'])
  const ask = async (remoteAddress: string | undefined, more: Record<string, string> = {}): Promise<number> => {
    const socket = Object.defineProperty(new Socket(), 'remoteAddress', { value: remoteAddress })
    const req = Object.assign(new IncomingMessage(socket), { method: 'GET', url: '/lifecycle/requests' })
    Object.assign(req.headers, { host: 'localhost', ...more })
    return (await app(req))[0]
  }
  for (const here of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1']) t.equal(await ask(here), 200, here)
  for (const there of ['10.0.0.7', '::ffff:10.0.0.7', 'fe80::1', '128.0.0.1', '127.0.0.1.example', undefined]) {
    t.equal(await ask(there), 403, String(there))
  }
  for (const name of ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via']) {
    t.equal(await ask('127.0.0.1', { [name]: 'a' }), 403, name)
  }
})

test('a request to send again that is no JSON, or too long, is none', async (t) => {
  const { port } = await site(t, { data: true })
  for (const body of ['', '{', '[]', 'null', '"x"', JSON.stringify({ id: 'x'.repeat(2000) })]) {
    const headers = { host: 'localhost', 'content-type': 'application/json' }
    t.equal((await ask(port, '/lifecycle/replay', { method: 'POST', headers, body })).status, 404)
  }
})

test('it is refused in production unless forced, and so are options that cannot be', (t) => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  process.env['NODE_ENV'] = 'production'
  t.throws(() => lifecycle(), { code: 'ERR_INVALID_OPTION', message: /not for production/ })
  t.doesNotThrow(() => lifecycle({ force: true }))
  process.env['NODE_ENV'] = 'test'
  for (const options of [
    { path: 'x' },
    { path: '/a/' },
    { path: '/' },
    { path: 7 as never },
    { keep: 0 },
    { keep: 1.5 },
  ]) {
    t.throws(() => lifecycle(options), { code: 'ERR_INVALID_OPTION' })
  }
  t.end()
})
