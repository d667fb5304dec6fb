import type { Cluster, Redis } from 'ioredis'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { test, type Test } from 'tap'
import { SessionId } from '../../lib/index.ts'
import { RedisStore } from '../../stores/redis-store.ts'
import { keysApp } from '../redis-app.ts'
import { clientOf, keysOf, startCluster, startRedis } from '../redis.ts'
import { Client, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'

const [server, cluster] = await Promise.all([startRedis(t), startCluster(t)])
const single = clientOf(t, server)
const clients: readonly (readonly [name: string, client: Redis | Cluster, races: number])[] = [
  ['Redis', single, 1000],
  ['Redis Cluster', cluster.client(), 300],
]

const req = new IncomingMessage(new Socket())

const uniquePrefix = (): string => `${SessionId.generate().publicId}:`

interface Live {
  id: string
  owner: string | undefined
}

/** The sessions that Redis holds, markers aside. */
async function liveOf(client: Redis | Cluster, prefix: string): Promise<Live[]> {
  const keys = await keysOf(client, `${prefix}2::*`)
  const records = await Promise.all(keys.map((key) => client.hgetall(key)))
  return records.flatMap(({ gone, owner }, i) =>
    gone === undefined ? [{ id: (keys[i] as string).slice(prefix.length), owner }] : [],
  )
}

// ---- every order of the commands

/** A client whose commands wait until the test lets them through, one at a time. */
function gate(client: Redis, waiting: (() => Promise<void>)[]): Redis {
  const held = new Set<unknown>(['evalsha', 'eval', 'hgetall', 'hmget', 'zrange', 'zrem'])
  return new Proxy(client, {
    get(target, name): unknown {
      const member = Reflect.get(target, name) as unknown
      if (!held.has(name)) return member
      return (...args: unknown[]) =>
        new Promise((resolve, reject) => {
          waiting.push(async () => {
            const command = (member as (...args: unknown[]) => Promise<unknown>).apply(target, args)
            await command.then(resolve, reject)
          })
        })
    },
  })
}

interface Scene {
  store: RedisStore
  /** Makes a session. */
  signIn: (owner?: string) => Promise<SessionId>
  renew: (from: SessionId, to: SessionId, owner?: string) => Promise<boolean>
}

function sceneOf(client: Redis, prefix: string): Scene {
  // nothing but the order of the commands decides, and so no deadline
  const store = new RedisStore({ client, prefix, deadline: 60_000 })
  const options = (owner?: string) =>
    ({ createdAt: Date.now(), expiresAt: Date.now() + 60_000, extend: true, owner }) as const
  return {
    store,
    signIn: async (owner) => {
      const sid = SessionId.generate()
      await store.writeSession(req, sid, { a: 1 }, { ...options(owner), create: true, changes: 'all' })
      return sid
    },
    renew: async (from, to, owner) =>
      store.renewSession(req, from, to, {
        ...options(owner),
        create: true,
        changes: { set: {}, delete: [] },
        markUntil: Date.now() + 60_000,
      }),
  }
}

/** Beyond these an order is drawn at random. */
const IN_TURN = 300
const AT_RANDOM = 200

/**
 * Plays a scene in every order in which the commands of its actors can come, or in many at random where there
 * are too many. After each it holds that whoever is signed in is listed.
 */
async function everyOrder(
  t: Test,
  prepare: (scene: Scene) => Promise<{
    actors: (gated: Scene) => Promise<unknown>[]
    check: (scene: Scene, live: string[], results: unknown[]) => Promise<void> | void
  }>,
): Promise<void> {
  let orders = 0
  for (let choices: number[] | undefined = []; choices && orders < IN_TURN + AT_RANDOM; orders++) {
    const prefix = uniquePrefix()
    const scene = sceneOf(single, prefix)
    const { actors, check } = await prepare(scene)
    const waiting: (() => Promise<void>)[] = []
    const playing = Promise.all(actors(sceneOf(gate(single, waiting), prefix)))
    const widths: number[] = []
    for (await turn(); waiting.length > 0; await turn()) {
      const step = widths.push(waiting.length) - 1
      choices[step] ??= orders < IN_TURN ? 0 : Math.floor(Math.random() * waiting.length)
      const [next] = waiting.splice(choices[step], 1)
      await next?.()
    }
    const results = await playing
    const live = await liveOf(single, prefix)
    await check(
      scene,
      live.map(({ id }) => id),
      results,
    )
    for (const { id, owner } of live) {
      if (owner === undefined) continue
      const listed = (await scene.store.sessionsOf(owner)).map((session) => session.id)
      if (!listed.includes(id)) t.fail(`a session is live and not listed, in the order ${choices.join()}`)
    }
    if (!t.passing()) return
    choices = orders < IN_TURN ? nextOrder(choices, widths) : []
  }
  t.comment(`${orders} orders`)
}

function nextOrder(choices: readonly number[], widths: readonly number[]): number[] | undefined {
  const last = choices.findLastIndex((choice, i) => choice + 1 < (widths[i] as number))
  return last === -1 ? undefined : [...choices.slice(0, last), (choices[last] as number) + 1]
}

const none = (t: Test) => (_scene: Scene, live: string[]) => {
  t.same(live, [])
}

test('in no order of commands a renewal escapes the removal of all sessions of an owner', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [from, to] = [await signIn('ada'), SessionId.generate()]
    return {
      actors: ({ store, renew }) => [renew(from, to, 'ada'), store.deleteSessionsOf('ada')],
      check: none(t),
    }
  }))

test('nor do two renewals, one after the other', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [from, to, last] = [await signIn('ada'), SessionId.generate(), SessionId.generate()]
    return {
      actors: ({ store, renew }) => [
        renew(from, to, 'ada').then(() => renew(to, last, 'ada')),
        store.deleteSessionsOf('ada'),
      ],
      check: none(t),
    }
  }))

test('nor does a renewal of any of several sessions, and the one that is to stay stays', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [mine, from, to] = [await signIn('ada'), await signIn('ada'), SessionId.generate()]
    return {
      actors: ({ store, renew }) => [renew(from, to, 'ada'), store.deleteSessionsOf('ada', { except: mine.publicId })],
      check: (_scene, live) => {
        t.same(live, [mine.privateId])
      },
    }
  }))

test('nor does a renewal of the one that is to be removed, and others stay', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [mine, from, to] = [await signIn('ada'), await signIn('ada'), SessionId.generate()]
    return {
      actors: ({ store, renew }) => [renew(from, to, 'ada'), store.deleteSessionsOf('ada', { only: from.privateId })],
      check: (_scene, live) => {
        t.same(live, [mine.privateId])
      },
    }
  }))

test('in no order of commands a renewal escapes the destruction of the session', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [from, to, last] = [await signIn('ada'), SessionId.generate(), SessionId.generate()]
    return {
      actors: ({ store, renew }) => [
        renew(from, to, 'ada').then(() => renew(to, last)),
        store.deleteSession(req, from, { markUntil: Date.now() + 60_000 }),
      ],
      check: none(t),
    }
  }))

test('of two renewals at once one succeeds, and there is one session', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [from, one, other] = [await signIn('ada'), SessionId.generate(), SessionId.generate()]
    return {
      actors: ({ renew }) => [renew(from, one, 'ada'), renew(from, other, 'ada')],
      check: (_scene, live, results) => {
        t.same(live, [results[0] === true ? one.privateId : other.privateId])
        t.not(results[0], results[1])
      },
    }
  }))

test('two renewals at once do not escape either', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [from, one, other] = [await signIn('ada'), SessionId.generate(), SessionId.generate()]
    return {
      actors: ({ store, renew }) => [renew(from, one, 'ada'), renew(from, other, 'ada'), store.deleteSessionsOf('ada')],
      check: none(t),
    }
  }))

test('a sign-in during a removal or while somebody looks at the list is listed, or refused', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const [anonymous, to] = [await signIn(), SessionId.generate()]
    return {
      actors: (scene) => [
        scene.renew(anonymous, to, 'ada'),
        scene.signIn('ada'),
        scene.store.deleteSessionsOf('ada'),
        scene.store.sessionsOf('ada'),
      ],
      check: (_scene, live, [renewed]) => {
        if (renewed !== true) t.notOk(live.includes(to.privateId))
        t.notOk(live.includes(anonymous.privateId))
      },
    }
  }))

test('a session that becomes somebody else’s stays listed with whom it is', (t) =>
  everyOrder(t, async ({ signIn }) => {
    const sid = await signIn('ada')
    const times = { createdAt: Date.now(), expiresAt: Date.now() + 500_000, extend: true, create: false } as const
    const changes = { set: { b: 1 }, delete: [] }
    return {
      actors: ({ store }) => [
        store.writeSession(req, sid, {}, { ...times, changes, owner: 'bob' }),
        store.touchSession(req, sid, times),
        store.sessionsOf('bob'),
        store.deleteSessionsOf('bob'),
      ],
      check: () => {},
    }
  }))

// ---- many at once, over HTTP

for (const [name, client, races] of clients) {
  test(`100 concurrent requests that change 100 keys of one session all keep their change (${name})`, async (t) => {
    const store = new RedisStore({ client, prefix: uniquePrefix() })
    const { port } = await serve(t, keysApp(store))
    const browser = new Client(port)
    await browser.get('/first')
    const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
    const answers = await Promise.all(keys.map((key) => browser.clone().get(`/${key}`)))
    for (const { status, cookies } of answers) t.same([status, cookies], [200, []])
    t.same(Object.keys(JSON.parse((await browser.get('/')).body) as object).toSorted(), [...keys, 'first'].toSorted())
  })

  test(`in ${races} races nothing brings a session back, and no cookie is handed out for it (${name})`, async (t) => {
    const prefix = uniquePrefix()
    const store = new RedisStore({ client, prefix })
    const { port, errors } = await serve(t, sessionApp({ store, owner: 'userId', refreshEvery: 0 }))
    const slow = ['/write?v=late', '/push', '/read', '/clear', '/renew']
    const ends = ['/destroy', '/reset', '/reset-write', '/renew', '/signin?user=9']
    const cookieOf = (browser: Client): string => browser.jar.get('_session_id') ?? ''

    const race = async (n: number): Promise<void> => {
      const [late = '', end = ''] = [slow[n % slow.length], ends[Math.floor(n / slow.length) % ends.length]]
      const browser = new Client(port)
      // to clear a session that is somebody's is to sign him out, with a new id
      await browser.get(n % 2 || late === '/clear' ? '/write' : '/signin')
      const old = cookieOf(browser)
      const other = browser.clone()
      const [lateAnswer, endAnswer] = n % 3 ? [other.get(late), browser.get(end)] : [browser.get(late), other.get(end)]
      const answers = await Promise.all([lateAnswer, endAnswer])
      const what = `${late} against ${end}: ${answers.map(({ cookies }) => cookies.join()).join(' | ')}`
      const handedOut = [browser, other].map(cookieOf).filter((id) => id !== '' && id !== old)
      const records = await Promise.all(handedOut.map((id) => store.findSession(req, new SessionId(id))))
      const live = records.filter((record) => record !== undefined && record.gone !== true).length
      const oldRecord = await store.findSession(req, new SessionId(old))
      if (oldRecord?.gone !== true) t.fail(`${what}: the old session is there`)
      if (late !== '/renew' && answers[0].cookies.length > 0) t.fail(`${what}: the late request was given a cookie`)
      // whoever signs in is signed in, and so there are two where the renewal was first
      const most = end === '/destroy' || end === '/reset' ? 0 : end.startsWith('/signin') && late === '/renew' ? 2 : 1
      if (live > most) t.fail(`${what}: ${live} sessions`)
      if (most > 0 && live === 0) t.fail(`${what}: nobody is signed in`)
    }
    for (let n = 0; n < races; n += 20) await Promise.all(Array.from({ length: 20 }, (_, i) => race(n + i)))
    t.same(errors, [])
    t.pass('no race was lost')
  })

  test(`no renewal escapes a removal of all sessions, 200 times, 5 sessions at once (${name})`, async (t) => {
    const prefix = uniquePrefix()
    const store = new RedisStore({ client, prefix })
    const { port } = await serve(t, sessionApp({ store, owner: 'userId' }))
    for (let user = 1; user <= 200; user++) {
      const browsers = Array.from({ length: 5 }, () => new Client(port))
      await Promise.all(browsers.map((browser) => browser.get(`/signin?user=${user}`)))
      const renewals = browsers.map((browser) => browser.get('/renew'))
      for (let i = 0; i < user % 7; i++) await turn()
      await Promise.all([store.deleteSessionsOf(user), ...renewals])
    }
    t.same(await liveOf(client, prefix), [])
  })
}

test('two processes that change 100 keys of one session keep all changes', async (t) => {
  const prefix = uniquePrefix()
  const ports = await Promise.all(
    [0, 1].map(async () => {
      const app = fork(fileURLToPath(new URL('../redis-app.js', import.meta.url)), [server.url, prefix])
      t.teardown(() => app.kill())
      const [port] = (await once(app, 'message')) as [number]
      return port
    }),
  )
  const browser = new Client(ports[0] as number)
  await browser.get('/first')
  const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
  await Promise.all(
    keys.map((key, i) => {
      const other = new Client(ports[i % 2] as number)
      other.jar.set('_session_id', browser.jar.get('_session_id') ?? '')
      return other.get(`/${key}`)
    }),
  )
  t.same(Object.keys(JSON.parse((await browser.get('/')).body) as object).toSorted(), [...keys, 'first'].toSorted())
})
