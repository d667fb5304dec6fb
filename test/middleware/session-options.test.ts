import { inspect } from 'node:util'
import { test } from 'tap'
import {
  Builder,
  cookies,
  CookieStore,
  MemoryStore,
  session,
  SessionId,
  type App,
  type RackResponse,
  type RequestOf,
} from '../../lib/index.ts'
import { ask, Client, serve, type Owner } from '../server.ts'
import { SECRET, sessionApp } from '../session-app.ts'

type Data = Record<string, unknown>

const stackOf = (store: MemoryStore | CookieStore) =>
  new Builder().use(cookies({ secret: SECRET })).use(session<Data>({ store, owner: 'userId' }))

type Req = RequestOf<ReturnType<typeof stackOf>>

/** A browser, and a server that does with the session what the test says next. */
async function stage(
  t: Owner,
  store: MemoryStore | CookieStore,
): Promise<(act: (req: Req) => unknown) => Promise<{ status: number; cookies: string[]; body: string }>> {
  let act: (req: Req) => unknown = () => undefined
  const app: App = stackOf(store).run(async (req): Promise<RackResponse> => {
    await act(req)
    return [200, {}, JSON.stringify(await req.session)]
  })
  const client = new Client((await serve(t, app)).port)
  return (next) => {
    act = next
    return client.get('/')
  }
}

test('a wrong option of a request is an error before the store is touched', async (t) => {
  const wrong: ((req: Req) => void)[] = [
    (req) => Object.assign(req.session.options, { sameSite: 'none', secure: false }),
    (req) => Object.assign(req.session.options, { path: 'bad;path' }),
    (req) => Object.assign(req.session.options, { domain: 'no domain' }),
    (req) => Object.assign(req.session.options, { expireAfter: -1 }),
  ]
  for (const option of wrong) {
    for (const act of [(req: Req) => req.session.renew(), (req: Req) => Object.assign(req.session.reset(), { z: 1 })]) {
      const visit = await stage(t, new MemoryStore())
      await visit(async (req) => Object.assign(await req.session, { a: 1 }))
      const { status, cookies: lines } = await visit((req) => {
        option(req)
        act(req)
      })
      t.equal(status, 500)
      t.same(lines, [])
      t.equal((await visit(() => undefined)).body, '{"a":1}', 'the session is as it was')
    }
  }
})

test('half a surrogate pair is refused at the assignment, wherever it stands', async (t) => {
  for (const store of [new CookieStore(), new MemoryStore()]) {
    const visit = await stage(t, store)
    await visit(async (req) => Object.assign(await req.session, { user: 'ada' }))
    const half = '😀'.slice(0, 1)
    for (const data of [{ n: half }, { n: { deep: [half] } }, { n: { [half]: 1 } }, { [half]: 1 }]) {
      await visit(async (req) => {
        const hash = await req.session
        t.throws(() => Object.assign(hash, data), { code: 'ERR_SESSION_VALUE', message: /surrogate/ })
      })
    }
    t.equal((await visit(() => undefined)).body, '{"user":"ada"}')
  }
})

test('an owner of null is nobody: it brings no session back, and signing out by it takes a new id', async (t) => {
  const store = new MemoryStore()
  const visit = await stage(t, store)
  await visit(async (req) => Object.assign(await req.session, { userId: 1 }))
  const renewed = await visit(async (req) => Object.assign(await req.session, { userId: null }))
  t.equal(renewed.cookies.length, 1)
  await visit(async (req) => Object.assign(await req.session, { userId: 2 }))
  const late = await visit(async (req) => {
    const hash = await req.session
    store.deleteSessionsOf(2)
    hash['userId'] = null
  })
  t.same(late.cookies, [])
  t.equal(store.size, 0)
})

test('revokedSince needs an owner, and a time that is none refuses', async (t) => {
  const hook = (): Date => new Date('no date')
  t.throws(() => session({ store: new CookieStore({ revokedSince: hook }) }), {
    code: 'ERR_INVALID_OPTION',
    message: /owner/,
  })
  const visit = await stage(t, new CookieStore({ revokedSince: hook }))
  await visit(async (req) => Object.assign(await req.session, { userId: 1 }))
  t.equal((await visit(() => undefined)).body, '{}')
})

test('a store that does not tell whether it wrote is an error, and one that finds null finds nothing', async (t) => {
  class Untyped extends MemoryStore {
    override findSession(): undefined {
      return null as unknown as undefined
    }
    override writeSession(): boolean {
      return undefined as unknown as boolean
    }
  }
  const { port, errors } = await serve(t, sessionApp({ store: new Untyped() }))
  const headers = { cookie: `_session_id=${'a'.repeat(32)}` }
  t.equal((await ask(port, '/read', { headers })).body, 'foo: null')
  t.equal((await ask(port, '/write', { headers })).status, 500)
  t.match(errors, [{ code: 'ERR_STORE_FAILED' }])
})

test('what a store is told, printed, holds no id that opens a session', async (t) => {
  const sid = SessionId.generate()
  t.notMatch(inspect({ sid }), sid.publicId)
  t.match(inspect(sid), sid.privateId)
})

test('after a reset there is no id until something is written', async (t) => {
  const visit = await stage(t, new MemoryStore())
  await visit(async (req) => {
    const hash = await req.session
    hash['a'] = 1
    t.ok(req.session.id)
    req.session.reset()
    t.equal(req.session.id, undefined)
  })
})

test('a cycle through the hash itself, and a key that could not be deleted, are refused at once', async (t) => {
  const visit = await stage(t, new MemoryStore())
  await visit(async (req) => {
    const hash = await req.session
    t.throws(() => Object.assign(hash, { self: hash }), { code: 'ERR_SESSION_VALUE', message: /cycle/ })
    t.throws(() => Object.defineProperty(hash, 'k', { value: 1, configurable: false }), TypeError)
    t.same(Object.keys(hash), [])
  })
})

test('a cookie of the same name with a space before its equals sign does not hide the session', async (t) => {
  const { port } = await serve(t, sessionApp())
  const client = new Client(port)
  await client.get('/write')
  const answer = await ask(port, '/read', { headers: { cookie: `_session_id =junk; ${client.cookie}` } })
  t.equal(answer.body, 'foo: "bar"')
})

test('layers above a map have their own jar and session back when it has answered', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<Data>({ key: 'outer' }))
    .use((app) => async (req) => {
      const response = await app(req)
      req.cookies.set('late', '1')
      ;(await req.session)['seen'] = 'outer'
      return response
    })
    .map('/x', (inner) =>
      inner
        .use(cookies({ secret: SECRET }))
        .use(session<Data>({ key: 'inner' }))
        .run(async (req) => {
          ;(await req.session)['seen'] = 'inner'
          return [200, {}, null]
        }),
    )
    .run(() => [404, {}, null])
  const { port } = await serve(t, app)
  const { status, cookies: lines } = await ask(port, '/x')
  t.equal(status, 200)
  t.same(new Set(lines.map((line) => line.split('=')[0])), new Set(['inner', 'late', 'outer']))
})
