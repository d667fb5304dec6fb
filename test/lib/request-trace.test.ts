import { IncomingMessage } from 'node:http'
import { connect, Socket } from 'node:net'
import { test, type Test } from 'tap'
import * as channels from '../../lib/channels.ts'
import {
  Builder,
  cookies,
  CookieStore,
  ironSealer,
  MemoryStore,
  requestId,
  session,
  type App,
} from '../../lib/index.ts'
import { Keyring } from '../../lib/keyring.ts'
import { ladder, watchRequests, type RequestTrace, type WatchOptions } from '../../lib/request-trace.ts'
import { isWatched } from '../../lib/trace.ts'
import { ask, Client, serve, type Answer, type Ask } from '../server.ts'
import { controller, SECRET, sessionApp, type Data } from '../session-app.ts'

/** Serves an app and gives the trace of each request with its answer. */
async function watched(t: Test, app: App, options?: WatchOptions) {
  const { port } = await serve(t, app)
  const waiting = new Map<string, (trace: RequestTrace) => void>()
  let count = 0
  t.teardown(watchRequests((trace) => waiting.get(trace.url)?.(trace), options))
  const traceOf = async (path: string, send: (path: string) => Promise<Answer>) => {
    const url = `${path}${path.includes('?') ? '&' : '?'}n=${count++}`
    const heard = new Promise<RequestTrace>((resolve) => waiting.set(url, resolve))
    const answer = await send(url)
    return { answer, trace: await heard }
  }
  return {
    visitor: () => {
      const client = new Client(port)
      return { client, get: (path: string, how?: Ask) => traceOf(path, (url) => client.get(url, how)) }
    },
    get: (path: string, how?: Ask) => traceOf(path, (url) => ask(port, url, how)),
  }
}

const titles = ({ steps }: RequestTrace): string[] => steps.map(({ title }) => title)
const told = (trace: RequestTrace, kind: string): string => trace.steps.find((step) => step.kind === kind)?.text ?? ''

test('a request that never looks at its session goes in and out, and says that nobody looked', async (t) => {
  const { get } = await watched(t, sessionApp())
  const { trace } = await get('/nothing', { headers: { cookie: '_session_id=x' } })
  t.strictSame(
    trace.steps.map(({ kind, layer, depth }) => `${depth} ${kind} ${layer ?? ''}`.trim()),
    [
      '0 request',
      '1 enter cookies',
      '2 enter session',
      '3 enter controller',
      '3 leave controller',
      '2 leave session',
      '1 leave cookies',
      '0 response',
      '0 end',
    ],
  )
  t.strictSame(trace.stack, ['cookies', 'session', 'controller'])
  t.equal(trace.decision.text, 'No cookie was sent, because nobody looked at the session.')
  t.match(trace, { method: 'GET', status: 200, store: null, cookie: null, session: null, sealed: null })
  t.ok(trace.steps.every(({ ms }, i) => ms >= (trace.steps[i - 1]?.ms ?? 0)) && trace.ms >= 0)
})

test('a request that only reads says why no cookie was sent', async (t) => {
  const { visitor } = await watched(t, sessionApp())
  const { get } = visitor()
  const { trace: first } = await get('/write')
  t.equal(first.decision.text, 'A cookie was sent, because there is a new session.')
  t.ok(titles(first).includes('Set-Cookie: _session_id'))
  const { trace } = await get('/read')
  t.equal(trace.decision.text, 'No cookie was sent, because nothing in the session differs from what was loaded.')
  t.strictSame(
    trace.steps.map(({ kind }) => kind).filter((kind) => kind !== 'enter' && kind !== 'leave'),
    ['request', 'await', 'cookies', 'store', 'open', 'stored', 'load', 'commit', 'response', 'end'],
  )
})

test('a change inside of a value says which key changed', async (t) => {
  const { visitor } = await watched(t, sessionApp(), { data: true })
  const { get } = visitor()
  await get('/push?v=tea')
  const { trace } = await get('/push?v=map')
  t.match(told(trace, 'commit'), /Changed: cart\.$/)
  t.match(trace.decision, {
    sent: true,
    text: 'A cookie was sent, because the session changed (cart), and its cookie with it.',
  })
  t.strictSame(trace.session, {
    key: '_session_id',
    before: { cart: ['tea'] },
    after: { cart: ['tea', 'map'] },
    changed: ['cart'],
  })
  t.strictSame(
    trace.cookie?.parts.map(([name]) => name),
    ['_session_id'],
  )
  t.match(trace.sealed?.line, /^_session_id=[\w%-]+; Path=\//)
  t.equal(trace.sealed?.bytes, (trace.sealed?.line?.split(';')[0]?.length ?? 0) - 1)
})

test('of a refused cookie it says which check refused it', async (t) => {
  let now = Date.now()
  const { visitor, get } = await watched(t, sessionApp({}, { clock: () => now }))
  const { client, get: visit } = visitor()
  await visit('/write')
  const value = client.jar.get('_session_id') as string
  const refusal = async (cookie: string): Promise<string> => {
    const { trace, answer } = await get('/read', { headers: { cookie: `_session_id=${cookie}` } })
    t.equal(answer.body, 'foo: null')
    return trace.steps.find(({ kind }) => kind === 'open')?.title ?? ''
  }
  t.equal(await refusal((value.startsWith('A') ? 'B' : 'A') + value.slice(1)), 'the cookie is refused: seal')
  t.equal(await refusal('nonsense'), 'the cookie is refused: form')
  const keyring = new Keyring({ secret: SECRET })
  const seal = (payload: object, name = '_session_id'): string =>
    encodeURIComponent(keyring.seal(payload as never, name, now + 60_000))
  t.equal(await refusal(seal({ session_id: 'a' }, 'another')), 'the cookie is refused: purpose')
  t.equal(
    await refusal(encodeURIComponent(keyring.encryptor.encryptAndSign({ a: 1 }))),
    'the cookie is refused: purpose',
  )
  t.equal(await refusal(seal([1])), 'the cookie is refused: content')
  now += 15 * 24 * 3600 * 1000
  t.equal(await refusal(value), 'the cookie is refused: ended')
})

test('a sealer of another format does not say why', async (t) => {
  const store = new CookieStore({ sealer: ironSealer({ password: SECRET }) })
  const { get } = await watched(t, sessionApp({ store }))
  const { trace } = await get('/read', { headers: { cookie: '_session_id=Fe26.2*nonsense' } })
  t.ok(titles(trace).includes('the cookie is refused: other'))
})

test('with ids the store is asked, and a change leaves the cookie as it is', async (t) => {
  const { visitor } = await watched(t, sessionApp({ store: new MemoryStore() }))
  const { get } = visitor()
  await get('/write')
  const { trace } = await get('/write?v=other')
  t.equal(trace.store, 'MemoryStore')
  t.strictSame(
    titles(trace).filter((title) => title.startsWith('MemoryStore')),
    ['MemoryStore: load', 'MemoryStore answered', 'MemoryStore: save', 'MemoryStore answered'],
  )
  t.match(trace.decision, { sent: false, text: /holds nothing but the id/ })
  const { trace: gone } = await get('/destroy')
  t.match(gone.decision, { sent: true, text: /the session has ended/ })
})

test('an error goes through the layers, and so does a store that fails', async (t) => {
  const boom = new Builder().use(cookies({ secret: SECRET })).run(function fails() {
    throw new Error('boom')
  })
  const { get } = await watched(t, boom)
  const { trace } = await get('/')
  t.equal(trace.status, 500)
  t.match(trace.steps.find(({ kind }) => kind === 'leave')?.text, /ended with an error/)
  const store = Object.assign(new MemoryStore(), {
    findSession: () => Promise.reject(new Error('no store today')),
  })
  const failing = await watched(t, sessionApp({ store }))
  const { trace: failed } = await failing.get('/read', { headers: { cookie: `_session_id=${'a'.repeat(32)}` } })
  t.equal(failed.status, 500)
  t.ok(titles(failed).includes('MemoryStore failed') && titles(failed).includes('the session is loaded: failed'))
  t.notMatch(JSON.stringify(failed), /no store today/)
})

test('without { data: true } a trace holds no cookie, id or data', async (t) => {
  const { visitor } = await watched(t, sessionApp({ store: new MemoryStore() }))
  const { client, get } = visitor()
  const first = await get('/write?v=a-value-of-theirs')
  const second = await get('/write?v=another-value')
  const id = client.jar.get('_session_id') as string
  for (const { trace } of [first, second]) {
    const { url: _, steps, ...rest } = trace
    const text = JSON.stringify([rest, steps.slice(1)])
    t.notMatch(text, id)
    t.notMatch(text, /of-theirs|another-value/)
  }
})

test('watching changes no answer, and nobody listens afterwards', async (t) => {
  const app = sessionApp({ store: new MemoryStore() })
  const { port } = await serve(t, app)
  const paths = ['/write', '/read', '/push', '/renew', '/reset-write', '/destroy', '/nowhere']
  const walk = async (): Promise<unknown[]> => {
    const client = new Client(port)
    const answers: unknown[] = []
    for (const path of paths) {
      const { status, body, headers } = await client.get(path)
      const { date: _, 'set-cookie': lines, ...same } = headers
      answers.push({ status, body, same, lines: lines?.map((line) => line.replace(/=[\da-f]{32}/, '=id')) })
    }
    return answers
  }
  const before = await walk()
  const stop = watchRequests(() => {}, { data: true })
  t.ok(isWatched(channels.layerSteps) && isWatched(channels.storeSteps) && channels.sessionCommit.hasSubscribers)
  t.strictSame(await walk(), before)
  stop()
  const { layerSteps, storeSteps, ...points } = channels
  t.notOk(isWatched(layerSteps) || isWatched(storeSteps))
  for (const channel of Object.values(points)) t.notOk(channel.hasSubscribers, String(channel.name))
})

test('an app without a listener is watched from its first layer to its last', async (t) => {
  const heard: RequestTrace[] = []
  t.teardown(watchRequests((trace) => heard.push(trace)))
  const req = Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url: '/read' })
  await sessionApp()(req)
  t.strictSame(
    heard.map(({ status, stack }) => [status, stack]),
    [[200, ['cookies', 'session', 'controller']]],
  )
})

test('layers without a name, and those of map, are steps of their own', async (t) => {
  const app = new Builder()
    .use((inner) => (req) => inner(req))
    .map('/admin', (admin) => admin.use(requestId()).run(() => [200, {}, 'admin']))
    .run(() => [200, {}, 'all'])
  const { get } = await watched(t, app)
  t.strictSame((await get('/admin')).trace.stack, ['(anonymous)', 'requestId', 'controller'])
  t.strictSame((await get('/')).trace.stack, ['(anonymous)', 'controller'])
})

test('a client that leaves before the answer ends its trace', async (t) => {
  const stuck = new Builder().run(() => new Promise(() => {}))
  const { port } = await serve(t, stuck)
  const heard = new Promise<RequestTrace>((resolve) => t.teardown(watchRequests(resolve)))
  const socket = connect(port, '127.0.0.1', () =>
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n', () => setImmediate(() => socket.destroy())),
  )
  const trace = await heard
  t.equal(trace.status, undefined)
  t.equal(trace.steps.at(-1)?.title, 'the client left')
})

test('the ladder of a request is text', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>())
    .run(controller)
  const { visitor } = await watched(t, app)
  const { trace } = await visitor().get('/write')
  const lines = ladder(trace).split('\n')
  t.match(lines[0], /^#\d+ GET \/write\?n=\d+ → 200 in \d+\.\d\d ms$/)
  t.match(lines[1], /^ {4}0\.\d{3} {2}· GET \/write\?n=\d+ comes in$/)
  t.match(lines[2], /^ +\d+\.\d{3} {2}→ into cookies$/)
  t.match(lines[3], /^ +\d+\.\d{3} {4}→ into session$/)
  t.match(lines.at(-2), /^ {11}A cookie was sent, because there is a new session\.$/)
})
