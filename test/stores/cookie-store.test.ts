import { test, type Test } from 'tap'
import {
  CookieStore,
  ironSealer,
  MemoryStore,
  rackSealer,
  railsSealer,
  type CookieStoreOptions,
  type LoadMessage,
  type RackResponse,
  type Sealer,
} from '../../lib/index.ts'
import { KEY, LOAD, messagesOf, stage, Time, type StageOptions } from '../http-suite.ts'
import { Client } from '../server.ts'
import { SECRET } from '../session-app.ts'

const PASSWORD = 'a password of the tests, which is long enough and known to everybody'

const sealers: [name: string, make: () => Sealer][] = [
  ['Rails', () => railsSealer({ secret: SECRET })],
  ['rack-session', () => rackSealer({ secret: SECRET })],
  ['iron-session', () => ironSealer({ password: PASSWORD })],
  ['h3', () => ironSealer({ password: { 1: PASSWORD }, form: 'h3' })],
]

type Hook = NonNullable<CookieStoreOptions['revokedSince']>

/** A server whose cookies are asked for with a hook, and whose sessions are a `userId`'s. */
function asking(t: Test, hook: Hook, options: Partial<StageOptions> & { sealer?: Sealer } = {}) {
  const { sealer, session, ...others } = options
  return stage(t, {
    store: new CookieStore({ revokedSince: hook, sealer }),
    session: { owner: 'userId', ...session },
    ...others,
  })
}

const signedIn = '{"userId":1}'

for (const [name, make] of sealers) {
  test(`revokedSince refuses what was created before, and not what was created at that moment or after (${name})`, async (t) => {
    const time = new Time()
    let since: number | Date | undefined
    const hook: [string, Hook][] = [
      ['at once', () => since],
      ['later', async () => since],
    ]
    for (const [when, revokedSince] of hook) {
      since = undefined
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { client } = await asking(t, revokedSince, { time, sealer: make() })
      const read = async (): Promise<string> => (await client.clone().get('/all')).body
      // oxlint-disable-next-line no-await-in-loop
      await client.get('/signin')
      const created = time.now
      time.advance(60)
      for (const [told, body] of [
        [undefined, signedIn],
        [0, signedIn],
        [created - 1, signedIn],
        [created, signedIn],
        [new Date(created), signedIn],
        [created + 1, '{}'],
        [new Date(created + 1), '{}'],
        [time.now, '{}'],
        [Infinity, '{}'],
        [NaN, '{}'],
        [new Date(Number.NaN), '{}'],
      ] as const) {
        since = told
        // oxlint-disable-next-line no-await-in-loop
        t.equal(await read(), body, `${when}: ${String(told)}`)
      }
    }
  })

  test(`signing in again restarts the time of creation, and neither a change, a renewal nor idle time does (${name})`, async (t) => {
    const time = new Time()
    let since: number | undefined
    const { client } = await asking(t, () => since, { time, sealer: make(), session: { refreshEvery: 0 } })
    await client.get('/signin?user=1')
    const first = time.now
    for (const path of ['/write', '/renew', '/read']) {
      time.advance(60)
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      t.equal((await client.get(path)).cookies.length, 1, `${path} seals the session anew`)
      since = first
      // oxlint-disable-next-line no-await-in-loop
      t.match((await client.clone().get('/all')).body, '"userId":1')
      since = first + 1
      // oxlint-disable-next-line no-await-in-loop
      t.equal((await client.clone().get('/all')).body, '{}', `it was created where it was before ${path}`)
      since = undefined
    }
    time.advance(60)
    const old = client.clone()
    await client.get('/signin?user=2')
    since = time.now
    t.match((await client.get('/all')).body, '"userId":2', 'who signed in anew is let in')
    t.equal((await old.get('/all')).body, '{}', 'and the cookie of before is not')
  })
}

test('revokedSince is asked for the owner at each load, of a cookie that was opened before too', async (t) => {
  const asked: unknown[] = []
  const loads = messagesOf<LoadMessage>(t, LOAD)
  let since: number | undefined
  const time = new Time()
  const { client } = await asking(
    t,
    (owner) => {
      asked.push(owner)
      return since
    },
    { time },
  )
  await client.get('/signin?user=7')
  t.same(asked, [], 'there was no session to load')
  await client.get('/nothing')
  t.same(asked, [], 'nor is one loaded that no page asks for')
  await client.get('/read')
  await client.get('/count')
  t.same(asked, [7, 7])
  since = time.now + 1
  const refused = await client.get('/all')
  t.equal(refused.body, '{}')
  t.same(refused.cookies, [], 'what is refused is not cleared, since the browser may hold a newer one by now')
  t.same(
    loads.map(({ outcome }) => outcome),
    ['none', 'found', 'found', 'refused'],
  )
  t.equal((await client.get('/write')).cookies.length, 1)
  since = undefined
  t.equal((await client.get('/all')).body, '{"foo":"bar"}', 'what is written begins a session of nobody')
})

test('a session that is nobody’s is not asked for, and cannot be revoked', async (t) => {
  const asked: unknown[] = []
  const { client } = await asking(t, (owner) => {
    asked.push(owner)
    return Infinity
  })
  await client.get('/write')
  t.equal((await client.get('/all')).body, '{"foo":"bar"}')
  t.same(asked, [])
})

test('owners are told as they stand in the session: numbers, texts and more', async (t) => {
  const asked: unknown[] = []
  const time = new Time()
  let owner: unknown
  const { client } = await stage(
    t,
    {
      store: new CookieStore({ revokedSince: (whose) => void asked.push(whose) }),
      session: { owner: 'whose' },
      time,
    },
    {
      '/in': async (req): Promise<RackResponse> => {
        ;(await req.session)['whose'] = owner
        return [200, {}, '']
      },
    },
  )
  const owners = [7, '7', false, ['tenant', 7], { tenant: 'a', id: 7 }]
  for (owner of owners) {
    const visitor = new Client(client.port)
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await visitor.get('/in')
    // oxlint-disable-next-line no-await-in-loop
    await visitor.get('/read')
  }
  t.same(asked, owners)
})

test('a hook that fails is a store that fails: an error, or a session that is empty and takes no writes', async (t) => {
  const failure = new Error('the database is down')
  let down = false
  const hooks: [string, Hook][] = [
    [
      'throws',
      () => {
        if (down) throw failure
        return undefined
      },
    ],
    ['rejects', async () => (down ? Promise.reject(failure) : undefined)],
  ]
  for (const [how, hook] of hooks) {
    for (const [name, make] of sealers.slice(0, 3)) {
      down = false
      const about = `${how}, ${name}`
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { client, errors } = await asking(t, hook, { sealer: make() })
      // oxlint-disable-next-line no-await-in-loop
      const other = await asking(t, hook, { sealer: make(), session: { onStoreError: 'anonymous' } })
      // oxlint-disable-next-line no-await-in-loop
      await client.get('/signin')
      const anonymous = new Client(other.port)
      anonymous.jar.set(KEY, client.jar.get(KEY) ?? '')
      down = true
      // oxlint-disable-next-line no-await-in-loop
      const { status, cookies } = await client.get('/all')
      t.equal(status, 500, about)
      t.same(cookies, [])
      t.same(errors, [failure])
      // oxlint-disable-next-line no-await-in-loop
      t.equal((await client.get('/nothing')).status, 200, 'pages without a session go on')
      // oxlint-disable-next-line no-await-in-loop
      t.equal((await anonymous.get('/all')).body, '{}', about)
      // oxlint-disable-next-line no-await-in-loop
      t.equal((await anonymous.get('/write')).status, 500)
      t.match(other.errors, [{ code: 'ERR_SESSION_UNAVAILABLE', cause: failure }])
      // oxlint-disable-next-line no-await-in-loop
      t.equal((await client.get('/destroy')).cookies.length, 1, 'and signing out works')
      down = false
      // oxlint-disable-next-line no-await-in-loop
      t.equal((await anonymous.get('/all')).body, signedIn, 'the session is there when the hook is back')
    }
  }
})

test('revokedSince of a retired CookieStore is asked before its sessions are brought over', async (t) => {
  const time = new Time()
  let since: number | undefined
  const revokedSince: Hook = () => since
  const before = await stage(t, { store: new CookieStore(), session: { owner: 'userId' }, time })
  for (const store of [new MemoryStore({ clock: time.clock }), new CookieStore({ revokedSince })]) {
    since = undefined
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const now = await stage(t, {
      store,
      time,
      session: { owner: 'userId', key: '_new', retired: [{ key: KEY, store: new CookieStore({ revokedSince }) }] },
    })
    // oxlint-disable-next-line no-await-in-loop
    await before.client.get('/signin')
    const copy = before.client.jar.get(KEY) ?? ''
    const bearer = (): Client => {
      const client = new Client(now.port)
      client.jar.set(KEY, copy)
      return client
    }
    time.advance(1)
    since = time.now
    const revoked = bearer()
    // oxlint-disable-next-line no-await-in-loop
    t.equal((await revoked.get('/all')).body, '{}')
    t.notOk(revoked.jar.has('_new'), 'nothing is brought over')
    since = undefined
    const moved = bearer()
    // oxlint-disable-next-line no-await-in-loop
    t.equal((await moved.get('/all')).body, signedIn)
    t.ok(moved.jar.has('_new'))
  }
})
