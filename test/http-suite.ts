import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import {
  Builder,
  cookies,
  session,
  type Awaitable,
  type CommitMessage,
  type CookieJar,
  type CookiesOptions,
  type Forwarded,
  type LoadedSession,
  type LoadMessage,
  type RackResponse,
  type SavedSession,
  type SessionHandle,
  type SessionOptions,
  type SessionStore,
  type StoreContext,
} from '../lib/index.ts'
import { attributesOf, Client, serve, type Answer } from './server.ts'
import { controller, SECRET, type Data } from './session-app.ts'

export type Req = IncomingMessage & { cookies: CookieJar; session: SessionHandle<Data> }

export type Action = (req: Req) => Awaitable<RackResponse>

export const KEY = '_session_id'

export const json = (value: unknown): RackResponse => [200, {}, JSON.stringify(value ?? null)]

/** A clock that only a test moves. It begins at the real time, since a store may have a clock of its own. */
export class Time {
  now: number = Date.now()

  readonly clock = (): number => this.now

  advance(seconds: number): void {
    this.now += seconds * 1000
  }
}

/** A point where requests wait until the test lets them go on. */
export class Gate {
  readonly begun: Promise<void>
  open: () => void = () => {}
  #arrive: () => void = () => {}
  readonly #opened: Promise<void>

  constructor() {
    this.begun = new Promise((resolve) => (this.#arrive = resolve))
    this.#opened = new Promise((resolve) => (this.open = resolve))
  }

  wait(): Promise<void> {
    this.#arrive()
    return this.#opened
  }
}

/** A store that notes what it is asked, and fails when it is told to. */
export class Spy implements SessionStore {
  readonly ttl: number
  readonly needs: readonly string[]
  readonly inCookie: boolean
  readonly #store: SessionStore
  calls: string[] = []
  down: Error | undefined

  constructor(store: SessionStore) {
    this.#store = store
    this.ttl = store.ttl
    this.needs = store.needs ?? []
    this.inCookie = store.inCookie === true
  }

  async fromCookie(req: IncomingMessage, cookie: string, context: StoreContext): Promise<LoadedSession | undefined> {
    this.#note('get')
    return this.#store.fromCookie(req, cookie, context)
  }

  async toCookie(req: IncomingMessage, saved: SavedSession, context: StoreContext): Promise<string | undefined> {
    this.#note('put')
    return this.#store.toCookie(req, saved, context)
  }

  async forgetCookie(req: IncomingMessage, cookie: string, context: StoreContext): Promise<void> {
    this.#note('delete')
    await this.#store.forgetCookie(req, cookie, context)
  }

  /** What it was asked since the last time. */
  took(): string[] {
    return this.calls.splice(0)
  }

  #note(call: string): void {
    this.calls.push(call)
    if (this.down) throw this.down
  }
}

export interface StageOptions {
  store: SessionStore
  session?: Omit<SessionOptions<Data>, 'store'>
  cookies?: CookiesOptions
  time?: Time
  /** As if `forwarded()` had believed a proxy. */
  forwarded?: Partial<Forwarded>
}

/** Serves a store: the given pages, and beside them those of the controller of the tests. */
export async function stage(
  t: Test,
  { store, session: options, cookies: jar, time = new Time(), forwarded }: StageOptions,
  pages: Record<string, Action> = {},
): Promise<{ client: Client; spy: Spy; time: Time; errors: unknown[]; port: number }> {
  const spy = new Spy(store)
  const app = new Builder()
    .use((inner) => (req) => inner(forwarded ? Object.assign(req, { forwarded }) : req))
    .use(cookies({ secret: SECRET, clock: time.clock, ...jar }))
    .use(session<Data>({ ...options, store: spy }))
    .run((req) => {
      const page = pages[req.url ?? '']
      return page ? page(req) : controller(req)
    })
  const { port, errors } = await serve(t, app)
  return { client: new Client(port), spy, time, errors, port }
}

/** The messages of a channel until the test ends. */
export function messagesOf<Message extends LoadMessage | CommitMessage>(t: Test, channel: string): Message[] {
  const messages: Message[] = []
  const note = (message: unknown): unknown => messages.push(message as Message)
  subscribe(channel, note)
  t.teardown(() => {
    unsubscribe(channel, note)
  })
  return messages
}

export const COMMIT = 'luggage-rack:session:commit'
export const LOAD = 'luggage-rack:session:load'

export interface HttpSuite<Store extends SessionStore> {
  name: string
  /** An empty store of its own at each call. */
  store: (t: Test, env: { clock: () => number }) => Awaitable<Store>
  /** Records on the server: the cookie holds an id, and what one client removes is gone for all. */
  serverSide: boolean
  /** Concurrent requests that change different keys keep all changes. */
  merges: boolean
  /** For 60 s a marker stands where a session was removed. */
  markers: boolean
  /** Ends records and markers by the clock that it is given. */
  clocked: boolean
  /** An update may bring back what was removed meanwhile. */
  resurrects?: boolean
  /** How many sessions there are, for stores that can tell. */
  size?: (store: Store) => Awaitable<number>
  /** Makes every record unreadable, for stores where a test can. */
  corrupt?: (store: Store) => Awaitable<void>
}

/** What a user sees of a session, the same on every store. */
export function httpSuite<Store extends SessionStore>(
  test: (name: string, run: (t: Test) => Promise<void>) => unknown,
  suite: HttpSuite<Store>,
): void {
  const it = (sentence: string, run: (t: Test) => Promise<void>): unknown => test(`${sentence} (${suite.name})`, run)
  const itIf = (applies: boolean, sentence: string, run: (t: Test) => Promise<void>): unknown =>
    applies ? it(sentence, run) : undefined

  const begin = async (
    t: Test,
    pages: Record<string, Action> = {},
    options: Omit<StageOptions, 'store'> = {},
  ): Promise<Awaited<ReturnType<typeof stage>> & { store: Store; size: () => Promise<number | undefined> }> => {
    const time = options.time ?? new Time()
    const store = await suite.store(t, { clock: time.clock })
    const set = await stage(t, { ...options, time, store }, pages)
    return { ...set, store, size: async () => suite.size?.(store) }
  }

  const all = async (client: Client): Promise<unknown> => JSON.parse((await client.get('/all')).body)

  // ---- reading and writing

  it('CORE-25: a request that does not touch the session sends no cookie and asks the store nothing', async (t) => {
    const { client, spy } = await begin(t)
    t.same((await client.get('/nothing')).cookies, [])
    t.same(spy.took(), [])
    await client.get('/write')
    spy.took()
    const { status, cookies: lines, headers } = await client.get('/nothing')
    t.equal(status, 200)
    t.same(lines, [])
    t.same(spy.took(), [])
    t.equal(headers['vary'], undefined)
    t.equal(headers['cache-control'], undefined)
  })

  it('a request without a session cookie never asks the store to read', async (t) => {
    const { client, spy } = await begin(t)
    t.equal((await client.get('/read')).body, 'foo: null')
    t.same(spy.took(), [])
    await client.get('/write')
    t.same(spy.took(), ['put'])
  })

  it('CORE-27: a write sends one cookie with the default attributes, and the next request reads it', async (t) => {
    const { client } = await begin(t)
    const { cookies: lines } = await client.get('/write?v=bar')
    t.equal(lines.length, 1)
    t.match(lines[0], /^_session_id=[^;]+;/)
    t.same(attributesOf(lines[0] ?? ''), { path: '/', httponly: true, samesite: 'Lax' })
    t.equal((await client.get('/read')).body, 'foo: "bar"')
  })

  it('CORE-28: a counter counts across requests', async (t) => {
    const { client } = await begin(t)
    for (const count of ['1', '2', '3']) t.equal((await client.get('/count')).body, count)
  })

  it('a request that only reads sends no cookie and writes nothing', async (t) => {
    const { client, spy } = await begin(t)
    await client.get('/push')
    spy.took()
    t.same((await client.get('/all')).cookies, [])
    t.same(spy.took(), ['get'])
  })

  it('a visitor who only reads gets no id, no record and no cookie', async (t) => {
    const { client, spy, size } = await begin(t, {
      '/look': async (req) => {
        const hash = await req.session
        const { counter } = hash
        return json([req.session.id ?? 'no id', req.session.exists, counter ?? 0, Object.keys(hash)])
      },
    })
    const { body, cookies: lines } = await client.get('/look')
    t.equal(body, '["no id",false,0,[]]')
    t.same(lines, [])
    t.same(spy.took(), [])
    t.equal((await size()) ?? 0, 0)
  })

  it('setting an equal value, another order of keys, or set and undo is no change', async (t) => {
    const { client, spy } = await begin(t, {
      '/in': async (req) => {
        Object.assign(await req.session, { a: 1, b: { x: [1, { y: 2 }], z: null }, c: 'text' })
        return json('in')
      },
      '/equal': async (req) => {
        Object.assign(await req.session, { a: 1, b: { z: null, x: [1, { y: 2 }] }, c: 'text' })
        return json('equal')
      },
      '/undo': async (req) => {
        const hash = await req.session
        hash['a'] = 2
        hash['a'] = 1
        hash['new'] = true
        delete hash['new']
        const b = hash['b'] as { x: unknown[] }
        b.x.push('more')
        b.x.pop()
        delete hash['c']
        hash['c'] = 'text'
        return json('undone')
      },
    })
    await client.get('/in')
    for (const path of ['/equal', '/undo']) {
      spy.took()
      t.same((await client.get(path)).cookies, [], path)
      t.same(spy.took(), ['get'], path)
    }
    t.same(await all(client), { a: 1, b: { x: [1, { y: 2 }], z: null }, c: 'text' })
  })

  it('a nested value that is changed in place is saved', async (t) => {
    const { client, spy } = await begin(t, {
      '/deep': async (req) => {
        const { tree } = (await req.session) as { tree: { leaves: { colour?: string }[] } }
        for (const leaf of tree.leaves) leaf.colour = 'red'
        return json('deep')
      },
      '/in': async (req) => {
        const tree = { leaves: [{}] as object[] }
        Object.assign(await req.session, { tree })
        tree.leaves.push({ late: true }) // a change in place of what was assigned in this request
        return json('in')
      },
    })
    await client.get('/push?v=a')
    await client.get('/push?v=b')
    t.same(await all(client), { cart: ['a', 'b'] })
    await client.get('/in')
    t.same(await all(client), { cart: ['a', 'b'], tree: { leaves: [{}, { late: true }] } })
    spy.took()
    await client.get('/deep')
    t.same(spy.took(), ['get', 'put'])
    const { tree } = (await all(client)) as { tree: unknown }
    t.same(tree, { leaves: [{ colour: 'red' }, { late: true, colour: 'red' }] })
  })

  it('of a hundred requests, those that change the content write, and no others', async (t) => {
    const { client, spy } = await begin(t, {
      '/step': async (req) => {
        const hash = await req.session
        const { n } = (await new Promise((resolve) => resolve({ n: Number(req.headers['x-step']) }))) as { n: number }
        if (n % 5 === 0) hash['n'] = n
        if (n % 7 === 0) ((hash['list'] ??= []) as number[]).push(n)
        if (n % 3 === 0) hash['same'] = 'same'
        if (n % 11 === 0) delete hash['list']
        return json(hash)
      },
    })
    let before = '{}'
    for (let n = 1; n <= 100; n++) {
      spy.took()
      const { body, cookies: lines } = await client.get('/step', { headers: { 'x-step': String(n) } })
      const changed = body !== before
      const created = before === '{}' && changed
      t.equal(spy.took().includes('put'), changed, `request ${n} ${changed ? 'writes' : 'does not write'}`)
      t.equal(lines.length, created || (changed && !suite.serverSide) ? 1 : 0, `request ${n}: Set-Cookie`)
      before = body
    }
  })

  it('CORE-32: deleted keys are gone in the next request, and an emptied session reads as empty', async (t) => {
    const { client } = await begin(t, {
      '/in': async (req) => {
        Object.assign(await req.session, { a: 1, b: 2 })
        return json('in')
      },
      '/delete-a': async (req) => {
        const hash = await req.session
        const { a } = hash
        return json([a, delete hash['a'], 'a' in hash])
      },
      '/delete-b': async (req) => {
        const hash = await req.session
        hash['b'] = undefined
        return json(Object.keys(hash))
      },
    })
    await client.get('/in')
    t.equal((await client.get('/delete-a')).body, '[1,true,false]')
    t.same(await all(client), { b: 2 })
    t.equal((await client.get('/delete-b')).body, '[]')
    t.same(await all(client), {})
    await client.get('/in')
    await client.get('/clear')
    t.same(await all(client), {})
  })

  it('clear() empties a loaded session, and what is written after it stays', async (t) => {
    const { client } = await begin(t, {
      '/clear-write': async (req) => {
        const hash = await req.session
        req.session.clear()
        const left = Object.keys(hash)
        hash.foo = 'new'
        return json(left)
      },
      '/clear-await': async (req) => {
        req.session.clear()
        return json(await req.session)
      },
    })
    await client.get('/write')
    await client.get('/count')
    t.equal((await client.get('/clear-write')).body, '[]')
    t.same(await all(client), { foo: 'new' })
    t.equal((await client.get('/clear-await')).body, '{}')
    t.same(await all(client), {})
  })

  it('CORE-34: a plain copy of the session is a copy', async (t) => {
    const { client, spy } = await begin(t, {
      '/copy': async (req) => {
        const hash = await req.session
        const copy: Record<string, unknown> = { ...hash }
        copy['evil'] = 1
        return json(['evil' in hash, copy])
      },
    })
    await client.get('/write')
    spy.took()
    const { body, cookies: lines } = await client.get('/copy')
    t.equal(body, '[false,{"foo":"bar","evil":1}]')
    t.same(lines, [])
    t.same(spy.took(), ['get'])
    t.same(await all(client), { foo: 'bar' })
  })

  it('CORE-36: keys, values and entries are the data alone, in the order of their insertion', async (t) => {
    const { client } = await begin(t, {
      '/in': async (req) => {
        Object.assign(await req.session, { rails: 'ftw', adequate: 'awesome' })
        return json('in')
      },
      '/keys': async (req) => json(Object.keys(await req.session)),
      '/values': async (req) => json(Object.values(await req.session)),
      '/entries': async (req) => json(Object.entries(await req.session)),
      '/has': async (req) => {
        const hash = await req.session
        return json(['rails', 'id', 'options', 'reset', 'session_id', 'toString'].map((key) => key in hash))
      },
      '/for-in': async (req) => {
        const keys = []
        for (const key in await req.session) keys.push(key)
        return json(keys)
      },
    })
    await client.get('/in')
    t.equal((await client.get('/keys')).body, '["rails","adequate"]')
    t.equal((await client.get('/for-in')).body, '["rails","adequate"]')
    t.equal((await client.get('/values')).body, '["ftw","awesome"]')
    t.equal((await client.get('/entries')).body, '[["rails","ftw"],["adequate","awesome"]]')
    t.equal((await client.get('/has')).body, '[true,false,false,false,false,false]')
  })

  it('COOKIESTORE-04: text of any script is read as it was written, and undefined members are left out', async (t) => {
    const { client } = await begin(t, {
      '/in': async (req) => {
        Object.assign(await req.session, { text: 'bar 😀 é ;\u2028<>&"\\', object: { a: 1, b: undefined, c: 3 } })
        return json('in')
      },
    })
    await client.get('/in')
    t.same(await all(client), { text: 'bar 😀 é ;\u2028<>&"\\', object: { a: 1, c: 3 } })
  })

  it('keys with names of methods and of the language are keys like any other', async (t) => {
    const names = ['__proto__', 'constructor', 'then', 'toString', 'toJSON', 'id', 'options', 'reset', 'length', '0']
    const { client } = await begin(t, {
      '/in': async (req) => {
        const hash = await req.session
        for (const name of names) hash[name] = name === '__proto__' ? { polluted: true } : `my ${name}`
        return json('in')
      },
      '/out': async (req) => {
        const hash = await req.session
        return json([names.map((name) => hash[name]), ({} as Record<string, unknown>)['polluted'] ?? 'clean'])
      },
      '/touch': async (req) => {
        req.session.options.expireAfter = 3600 // adds a key of the session's own beside them
        return json((await req.session)['constructor'])
      },
    })
    await client.get('/in')
    const [first, ...others] = names
    const expected = [[{ polluted: true }, ...others.map((name) => `my ${name}`)], 'clean']
    t.equal(first, '__proto__')
    t.same(JSON.parse((await client.get('/out')).body), expected)
    await client.get('/touch')
    t.same(JSON.parse((await client.get('/out')).body), expected)
  })

  it('CORE-45: with expireAfter, too, a request that does not touch the session sends no cookie', async (t) => {
    const { client, spy } = await begin(t, {}, { session: { expireAfter: 3600 } })
    t.same((await client.get('/nothing')).cookies, [])
    t.same((await client.get('/read')).cookies, [])
    t.same(spy.took(), [])
  })

  it('CORE-47: skip saves nothing and sends no cookie; defer saves and sends no cookie', async (t) => {
    const { client, spy, size } = await begin(t, {
      '/skip': async (req) => {
        req.session.options.skip = true
        ;(await req.session).foo = 'skipped'
        return json('skip')
      },
      '/defer': async (req) => {
        req.session.options.defer = true
        ;(await req.session).foo = 'deferred'
        return json('defer')
      },
    })
    t.same((await client.get('/skip')).cookies, [])
    t.same(spy.took(), [])
    t.same((await client.get('/defer')).cookies, [])
    t.same(spy.took(), ['put'])
    if (suite.size) t.equal(await size(), 1)

    await client.get('/write?v=first')
    t.same((await client.get('/skip')).cookies, [])
    t.equal((await client.get('/read')).body, 'foo: "first"')
    t.same((await client.get('/defer')).cookies, [])
    t.equal((await client.get('/read')).body, suite.serverSide ? 'foo: "deferred"' : 'foo: "first"')
  })

  // ---- ids, reset, renew, destroy

  it('COOKIESTORE-11: a session keeps its id of 32 hexadecimal digits, and another has another', async (t) => {
    const { client, port } = await begin(t)
    const other = new Client(port)
    await client.get('/write')
    await other.get('/write')
    const { body } = await client.get('/id')
    t.match(body, /^[0-9a-f]{32}$/)
    t.equal((await client.get('/id')).body, body)
    t.match((await other.get('/id')).body, /^[0-9a-f]{32}$/)
    t.not((await other.get('/id')).body, body)
  })

  it('the id is known from the first write on, and is the one that is saved', async (t) => {
    const { client } = await begin(t, {
      '/early': async (req) => {
        const hash = await req.session
        const before = req.session.id
        hash.foo = 'bar'
        return json([before ?? 'none', req.session.id])
      },
    })
    const [before, id] = JSON.parse((await client.get('/early')).body) as [string, string]
    t.equal(before, 'none')
    t.equal((await client.get('/id')).body, id)
  })

  itIf(suite.serverSide, "CORE-39: the id is the session cookie's value", async (t) => {
    const { client } = await begin(t)
    await client.get('/write')
    t.equal((await client.get('/id')).body, client.jar.get(KEY))
  })

  it('CORE-49: resetting twice and writing, without any session, begins one', async (t) => {
    const { client } = await begin(t, {
      '/twice': (req) => {
        req.session.reset()
        req.session.reset().foo = 'baz'
        return json('twice')
      },
    })
    const { status, cookies: lines } = await client.get('/twice')
    t.equal(status, 200)
    t.equal(lines.length, 1)
    t.equal((await client.get('/read')).body, 'foo: "baz"')
  })

  it('reset() gives the same hash, emptied, under a new id, and asks the store to read nothing', async (t) => {
    const { client, spy } = await begin(t, {
      '/same': async (req) => {
        const before = await req.session
        const after = req.session.reset()
        const seen = [before === after, (await req.session) === after, Object.keys(after)]
        after.foo = 'after'
        return json(seen)
      },
    })
    await client.get('/write')
    const { body: id } = await client.get('/id')
    t.equal((await client.get('/same')).body, '[true,true,[]]')
    t.same(await all(client), { foo: 'after' })
    const { body: next } = await client.get('/id')
    t.not(next, id)
    spy.took()
    await client.get('/reset-write?v=again')
    t.notOk(spy.took().includes('get'))
    t.not((await client.get('/id')).body, next)
    t.same(await all(client), { foo: 'again' })
  })

  it('what is written after reset() is stored, also where it equals what there was', async (t) => {
    const { client } = await begin(t, {
      '/again': async (req) => {
        const before = await req.session
        before.foo = 'changed'
        const hash = req.session.reset()
        hash.foo = 'bar'
        return json('again')
      },
    })
    await client.get('/write?v=bar')
    await client.get('/count')
    await client.get('/again')
    t.same(await all(client), { foo: 'bar' })
  })

  it('a reset that leaves the session empty removes it and expires the cookie', async (t) => {
    const { client, size } = await begin(t)
    await client.get('/write')
    const old = client.clone()
    const { cookies: lines } = await client.get('/reset')
    t.equal(lines.length, 1)
    t.match(attributesOf(lines[0] ?? ''), { 'max-age': '0', expires: 'Thu, 01 Jan 1970 00:00:00 GMT' })
    t.equal(client.jar.size, 0)
    t.equal((await client.get('/read')).body, 'foo: null')
    if (!suite.serverSide) return
    t.equal((await old.get('/read')).body, 'foo: null')
    if (suite.size) t.equal(await size(), 0)
  })

  it('COOKIESTORE-12: renew() keeps the data under a new id, and sends its cookie', async (t) => {
    const { client, size } = await begin(t)
    await client.get('/write?v=bar')
    await client.get('/count')
    const { body: id } = await client.get('/id')
    const old = client.clone()
    t.equal((await client.get('/renew')).cookies.length, 1)
    t.not((await client.get('/id')).body, id)
    t.same(await all(client), { foo: 'bar', counter: 1 })
    if (!suite.serverSide) return
    t.equal((await old.get('/read')).body, 'foo: null', 'the old id opens nothing')
    if (suite.size) t.equal(await size(), 1)
  })

  it('renew() together with a write keeps both, and without a session does nothing', async (t) => {
    const { client, spy } = await begin(t, {
      '/renew-write': async (req) => {
        const hash = await req.session
        req.session.renew()
        hash.counter = 5
        delete hash.foo
        return json('both')
      },
    })
    t.same((await client.get('/renew')).cookies, [])
    t.same(spy.took(), [])
    await client.get('/write')
    await client.get('/push?v=a')
    await client.get('/renew-write')
    t.same(await all(client), { cart: ['a'], counter: 5 })
  })

  it('COOKIESTORE-13, SERVERSTORE-12: destroy() removes the session and expires its cookie', async (t) => {
    const { client, size } = await begin(t)
    await client.get('/write')
    await client.get('/count')
    const { body: id } = await client.get('/id')
    const old = client.clone()
    const { cookies: lines } = await client.get('/destroy')
    t.equal(lines.length, 1)
    t.match(lines[0], /^_session_id=;/)
    t.match(attributesOf(lines[0] ?? ''), { 'max-age': '0', expires: 'Thu, 01 Jan 1970 00:00:00 GMT', path: '/' })
    if (suite.size) t.equal(await size(), 0)
    t.equal((await client.get('/count')).body, '1')
    t.not((await client.get('/id')).body, id)
    t.equal((await client.get('/read')).body, 'foo: null')
    if (suite.serverSide) t.equal((await old.get('/all')).body, '{}', 'a copied cookie opens nothing')
  })

  it('SERVERSTORE-13: writing and then destroying, without a cookie, leaves nothing', async (t) => {
    const { client, spy, size } = await begin(t, {
      '/both': async (req) => {
        ;(await req.session).foo = 'bar'
        req.session.destroy()
        return json('both')
      },
    })
    t.same((await client.get('/both')).cookies, [])
    t.same((await client.get('/destroy')).cookies, [])
    t.same(spy.took(), [])
    if (suite.size) t.equal(await size(), 0)
  })

  // ---- sign-in

  it('signing in, and as another, takes a new id by itself; the same user again does not', async (t) => {
    const { client } = await begin(t, {}, { session: { owner: 'userId' } })
    await client.get('/write')
    const ids = [(await client.get('/id')).body]
    for (const user of [1, 1, 2]) {
      await client.get(`/signin?user=${user}`)
      ids.push((await client.get('/id')).body)
    }
    t.not(ids[0], ids[1])
    t.equal(ids[1], ids[2])
    t.not(ids[2], ids[3])
    t.same(await all(client), { foo: 'bar', userId: 2 })
  })

  it('signing out by deleting the owner takes a new id, too', async (t) => {
    const { client } = await begin(
      t,
      {
        '/signout': async (req) => {
          delete (await req.session).userId
          return json('out')
        },
      },
      { session: { owner: 'userId' } },
    )
    await client.get('/signin')
    const { body: id } = await client.get('/id')
    t.equal((await client.get('/signout')).cookies.length, 1)
    t.not((await client.get('/id')).body, id)
  })

  it('a renewal drops the CSRF token that was known before, and keeps one that is set with it', async (t) => {
    const { client } = await begin(
      t,
      {
        '/in': async (req) => {
          Object.assign(await req.session, { _csrf_token: 'known before', foo: 'bar' })
          return json('in')
        },
        '/fresh': async (req) => {
          ;(await req.session)['_csrf_token'] = 'fresh'
          req.session.renew()
          return json('fresh')
        },
      },
      { session: { owner: 'userId' } },
    )
    await client.get('/in')
    await client.get('/renew')
    t.same(await all(client), { foo: 'bar' })
    await client.get('/in')
    await client.get('/signin')
    t.same(await all(client), { foo: 'bar', userId: 1 })
    await client.get('/in')
    await client.get('/fresh')
    t.same(await all(client), { foo: 'bar', userId: 1, _csrf_token: 'fresh' })
  })

  // ---- records on the server

  itIf(suite.serverSide, 'SERVERSTORE-02: a change of data sends no cookie, since the id is the same', async (t) => {
    const { client, size } = await begin(t)
    await client.get('/count')
    for (const count of ['2', '3']) {
      const { body, cookies: lines } = await client.get('/count')
      t.equal(body, count)
      t.same(lines, [])
    }
    if (suite.size) t.equal(await size(), 1)
  })

  itIf(suite.serverSide, 'SERVERSTORE-03: an id that the store does not know is never adopted', async (t) => {
    const { client } = await begin(t)
    await client.get('/count')
    await client.get('/count')
    const id = client.jar.get(KEY) ?? ''
    const elsewhere = await begin(t)
    elsewhere.client.jar.set(KEY, id)

    const read = await elsewhere.client.get('/read')
    t.equal(read.body, 'foo: null')
    t.same(read.cookies, [], 'and the cookie is not cleared: the request may be late')
    t.equal((await elsewhere.client.get('/id')).body, '')

    const { body, cookies: lines } = await elsewhere.client.get('/count')
    t.equal(body, '1')
    t.equal(lines.length, 1)
    t.not(elsewhere.client.jar.get(KEY), id)
    const fixated = new Client(elsewhere.port)
    fixated.jar.set(KEY, id)
    t.equal((await fixated.get('/all')).body, '{}', 'nothing is stored under the old id')
    if (suite.size) t.equal(await elsewhere.size(), 1)
  })

  itIf(suite.serverSide, 'what is no id reaches no store, and is replaced at the first write', async (t) => {
    const { client, size } = await begin(t)
    for (const value of ['x', 'ABCDEF0123456789ABCDEF0123456789', '0'.repeat(31), `2::${'0'.repeat(64)}`, '%00']) {
      client.jar.set(KEY, value)
      t.equal((await client.get('/read')).body, 'foo: null', value)
    }
    await client.get('/write')
    t.match(client.jar.get(KEY), /^[0-9a-f]{32}$/)
    if (suite.size) t.equal(await size(), 1)
  })

  itIf(suite.serverSide, 'SECURITY-07: an id in a parameter is ignored', async (t) => {
    const { client, port } = await begin(t)
    await client.get('/write')
    const id = client.jar.get(KEY) ?? ''
    const { body, cookies: lines } = await new Client(port).get(`/read?${KEY}=${id}`)
    t.equal(body, 'foo: null')
    t.same(lines, [])
    const { cookies: written } = await new Client(port).get(`/write?${KEY}=${id}`)
    t.notOk(written[0]?.includes(id))
  })

  itIf(suite.serverSide, 'SERVERSTORE-27: sessions are apart, and destroying an unknown id removes none', async (t) => {
    const { client, port, size } = await begin(t)
    const other = new Client(port)
    const nobody = new Client(port)
    await client.get('/write?v=one')
    await other.get('/write?v=two')
    nobody.jar.set(KEY, '0123456789abcdef0123456789abcdef')
    await nobody.get('/destroy')
    t.equal(nobody.jar.size, 0, 'its cookie is expired all the same')
    t.equal((await client.get('/read')).body, 'foo: "one"')
    t.equal((await other.get('/read')).body, 'foo: "two"')
    if (suite.size) t.equal(await size(), 2)
  })

  itIf(suite.serverSide, 'SERVERSTORE-26: what a request has not saved yet, another does not see', async (t) => {
    const gate = new Gate()
    const { client } = await begin(t, {
      '/slow': async (req) => {
        const hash = await req.session
        hash.foo = 'unsaved'
        hash.cart?.push('unsaved')
        await gate.wait()
        return json('slow')
      },
    })
    await client.get('/push?v=saved')
    const slow = client.clone().get('/slow')
    await gate.begun
    t.same(await all(client), { cart: ['saved'] })
    gate.open()
    await slow
    t.same(await all(client), { cart: ['saved', 'unsaved'], foo: 'unsaved' })
  })

  itIf(suite.corrupt !== undefined, 'SERVERSTORE-28: a record that cannot be read is an error', async (t) => {
    const { client, store, errors } = await begin(t)
    await client.get('/write')
    await suite.corrupt?.(store)
    for (let time = 0; time < 2; time++) {
      const { status, cookies: lines } = await client.get('/read')
      t.equal(status, 500)
      t.same(lines, [])
    }
    t.equal(errors.length, 2)
  })

  // ---- gone stays gone

  const removals: [path: string, what: string][] = [
    ['/reset', 'a reset'],
    ['/reset-write?v=new', 'a reset with a new session'],
    ['/renew', 'a renewal'],
    ['/destroy', 'a destruction'],
  ]

  for (const [path, what] of removals) {
    const applies = suite.serverSide && suite.resurrects !== true
    itIf(applies, `a slow request does not undo ${what}: its writes are dropped, without a cookie`, async (t) => {
      const gate = new Gate()
      const commits = messagesOf<CommitMessage>(t, COMMIT)
      const { client, size } = await begin(t, {
        '/slow': async (req) => {
          ;(await req.session).foo = 'from the past'
          await gate.wait()
          return json('slow')
        },
      })
      await client.get('/write?v=bar')
      const late = client.clone()
      const slow = late.get('/slow')
      await gate.begun
      await client.get(path)
      const left = await size()
      commits.length = 0
      gate.open()
      const answer = await slow
      t.equal(answer.status, 200)
      t.same(answer.cookies, [])
      t.same(
        commits.map(({ outcome, cookie }) => [outcome, cookie]),
        [['dropped', 'none']],
      )
      t.equal((await late.get('/read')).body, 'foo: null', 'nothing came back')
      t.notMatch((await client.get('/read')).body, /past/)
      if (suite.size) t.equal(await size(), left)
    })

    itIf(suite.markers, `a request that comes after ${what} reads empty, and its writes are dropped`, async (t) => {
      const commits = messagesOf<CommitMessage>(t, COMMIT)
      const loads = messagesOf<LoadMessage>(t, LOAD)
      const { client, size } = await begin(t)
      await client.get('/write?v=bar')
      const late = client.clone()
      await client.get(path)
      const left = await size()
      commits.length = loads.length = 0
      const read = await late.get('/read')
      t.equal(read.body, 'foo: null')
      t.same(read.cookies, [])
      const write = await late.get('/write?v=late')
      t.equal(write.status, 200)
      t.same(write.cookies, [])
      t.same((await late.get('/renew')).cookies, [])
      t.same((await late.get('/clear')).cookies, [])
      t.same(
        loads.map(({ outcome }) => outcome),
        ['gone', 'gone', 'gone', 'gone'],
      )
      t.same(
        commits.map(({ outcome }) => outcome),
        ['unchanged', 'dropped', 'unchanged', 'unchanged'],
      )
      if (suite.size) t.equal(await size(), left)
    })

    itIf(suite.markers, `after ${what} a late request can reset and write, or sign in`, async (t) => {
      const { client } = await begin(t, {}, { session: { owner: 'userId' } })
      await client.get('/write?v=bar')
      const [late, later] = [client.clone(), client.clone()]
      await client.get(path)
      t.equal((await late.get('/reset-write?v=mine')).cookies.length, 1)
      t.same(await all(late), { foo: 'mine' })
      t.equal((await later.get('/signin?user=7')).cookies.length, 1)
      t.same(await all(later), { userId: 7 }, 'what was gone does not come back')
    })
  }

  itIf(suite.serverSide && suite.resurrects !== true, 'a slow sign-in is stored after a destruction', async (t) => {
    const gate = new Gate()
    const { client } = await begin(
      t,
      {
        '/slow': async (req) => {
          const hash = await req.session
          await gate.wait()
          hash.userId = 3
          return json('slow')
        },
      },
      { session: { owner: 'userId' } },
    )
    await client.get('/write')
    const slow = client.clone()
    const answer = slow.get('/slow')
    await gate.begun
    await client.get('/destroy')
    gate.open()
    t.equal((await answer).cookies.length, 1)
    t.same(await all(slow), { userId: 3 })
  })

  itIf(suite.serverSide && suite.resurrects !== true, 'a slow reset with a write is stored all the same', async (t) => {
    const gate = new Gate()
    const { client } = await begin(t, {
      '/slow': async (req) => {
        await req.session
        await gate.wait()
        req.session.reset().foo = 'new'
        return json('slow')
      },
    })
    await client.get('/write')
    const slow = client.clone()
    const answer = slow.get('/slow')
    await gate.begun
    await client.get('/destroy')
    gate.open()
    t.equal((await answer).cookies.length, 1)
    t.same(await all(slow), { foo: 'new' })
  })

  itIf(suite.serverSide && suite.resurrects !== true, 'a slow renewal of what is gone writes nothing', async (t) => {
    const gate = new Gate()
    const { client, size } = await begin(t, {
      '/slow': async (req) => {
        await req.session
        await gate.wait()
        req.session.renew()
        return json('slow')
      },
    })
    await client.get('/write')
    const slow = client.clone().get('/slow')
    await gate.begun
    await client.get('/destroy')
    gate.open()
    t.same((await slow).cookies, [])
    if (suite.size) t.equal(await size(), 0)
  })

  itIf(suite.markers, 'destroy() after a renewal elsewhere deletes the successor, too', async (t) => {
    const { client, size } = await begin(t)
    await client.get('/write')
    const tab = client.clone()
    await client.get('/renew')
    await client.get('/renew')
    t.equal((await client.get('/read')).body, 'foo: "bar"')
    t.equal((await tab.get('/destroy')).cookies.length, 1)
    t.equal((await client.get('/read')).body, 'foo: null')
    if (suite.size) t.equal(await size(), 0)
  })

  itIf(suite.markers, 'a reset after a renewal elsewhere deletes the successor, too', async (t) => {
    const { client } = await begin(t)
    await client.get('/write')
    const tab = client.clone()
    await client.get('/renew')
    await tab.get('/reset-write?v=new')
    t.equal((await client.get('/read')).body, 'foo: null')
    t.equal((await tab.get('/read')).body, 'foo: "new"')
  })

  itIf(suite.markers && suite.clocked, 'after 60 s the marker is gone, and a write begins a new session', async (t) => {
    const { client, time } = await begin(t)
    await client.get('/write')
    const late = client.clone()
    await client.get('/destroy')
    time.advance(59)
    t.same((await late.get('/write')).cookies, [])
    time.advance(2)
    const { cookies: lines } = await late.get('/write?v=new')
    t.equal(lines.length, 1)
    t.equal((await late.get('/read')).body, 'foo: "new"')
  })

  // ---- concurrent requests

  itIf(suite.merges, 'concurrent requests that change different keys keep all changes', async (t) => {
    const gates = Array.from({ length: 10 }, () => new Gate())
    const { client } = await begin(
      t,
      Object.fromEntries(
        gates.map((gate, i): [string, Action] => [
          `/set${i}`,
          async (req) => {
            const hash = await req.session
            if (i === 0) delete hash.foo
            else hash[`key${i}`] = i
            await gate.wait()
            return json('set')
          },
        ]),
      ),
    )
    await client.get('/write')
    const answers = gates.map((_, i) => client.clone().get(`/set${i}`))
    await Promise.all(gates.map(({ begun }) => begun))
    for (const gate of gates) gate.open()
    for (const { status } of await Promise.all(answers)) t.equal(status, 200)
    t.same(await all(client), { key1: 1, key2: 2, key3: 3, key4: 4, key5: 5, key6: 6, key7: 7, key8: 8, key9: 9 })
  })

  itIf(suite.merges, 'of two requests that change the same key the last to end wins', async (t) => {
    const [first, second] = [new Gate(), new Gate()]
    const slow =
      (gate: Gate, value: string): Action =>
      async (req) => {
        ;(await req.session).foo = value
        await gate.wait()
        return json(value)
      }
    const { client } = await begin(t, { '/first': slow(first, 'first'), '/second': slow(second, 'second') })
    await client.get('/write')
    const answers = [client.clone().get('/first'), client.clone().get('/second')]
    await Promise.all([first.begun, second.begun])
    second.open()
    await answers[1]
    first.open()
    await answers[0]
    t.same(await all(client), { foo: 'first' })
  })

  itIf(suite.merges, 'a renewal keeps what another request saved since it was loaded', async (t) => {
    const gate = new Gate()
    const { client } = await begin(t, {
      '/slow-renew': async (req) => {
        const hash = await req.session
        await gate.wait()
        req.session.renew()
        hash['renewed'] = true
        return json('renewed')
      },
    })
    await client.get('/write?v=bar')
    const slow = client.clone()
    const answer = slow.get('/slow-renew')
    await gate.begun
    await client.get('/count')
    gate.open()
    await answer
    t.same(await all(slow), { foo: 'bar', counter: 1, renewed: true })
  })

  // ---- time

  it('SERVERSTORE-04: a session that was idle too long reads as empty, and the next has another id', async (t) => {
    const { client, time, size } = await begin(t, {}, { session: { expireAfter: 3600 } })
    await client.get('/count')
    const { body: id } = await client.get('/id')
    time.advance(3599)
    t.equal((await client.get('/count')).body, '2')
    time.advance(3601)
    if (suite.size && suite.clocked) t.equal(await size(), 0, 'and the store does not count it')
    t.equal((await client.get('/read')).body, 'foo: null')
    t.equal((await client.get('/count')).body, '1')
    t.not((await client.get('/id')).body, id)
  })

  it('reading extends the idle time, at most once per refreshEvery', async (t) => {
    const { client, time, spy } = await begin(t, {}, { session: { expireAfter: 1000, refreshEvery: 100 } })
    await client.get('/write')
    time.advance(99)
    spy.took()
    t.same((await client.get('/read')).cookies, [])
    t.same(spy.took(), ['get'])
    time.advance(1)
    const { cookies: lines } = await client.get('/read')
    t.same(spy.took(), ['get', 'put'])
    t.equal(attributesOf(lines[0] ?? '')['max-age'], '1000')
    time.advance(999)
    t.equal((await client.get('/read')).body, 'foo: "bar"')
    time.advance(1000)
    t.equal((await client.get('/read')).body, 'foo: null')
  })

  it('no activity keeps a session longer than maxLifetime', async (t) => {
    const { client, time } = await begin(t, {}, { session: { expireAfter: 1000, maxLifetime: 2500, refreshEvery: 0 } })
    await client.get('/write')
    for (let i = 0; i < 2; i++) {
      time.advance(900)
      t.equal((await client.get('/read')).body, 'foo: "bar"')
    }
    time.advance(699)
    t.equal((await client.get('/count')).body, '1')
    time.advance(1)
    t.same(await all(client), {})
  })

  // ---- cookies of one name

  it('of several session cookies the first that opens counts, and at most four are tried', async (t) => {
    const { client, spy } = await begin(t)
    await client.get('/write')
    const good = `${KEY}=${client.jar.get(KEY)}`
    const bad = `${KEY}=${suite.serverSide ? 'ffffffffffffffffffffffffffffffff' : 'garbage--of--another'}`
    const read = async (...sent: string[]): Promise<string> => {
      spy.took()
      return (await new Client(client.port).get('/read', { headers: { cookie: sent.join('; ') } })).body
    }
    t.equal(await read(bad, good), 'foo: "bar"', 'a garbage cookie tossed in front of ours')
    t.equal(await read('a=b', bad, 'x=y', good, 'z=_session_id'), 'foo: "bar"')
    t.equal(await read(bad, bad, bad, good), 'foo: "bar"')
    t.equal(await read(bad, bad, bad, bad, good), 'foo: null')
    t.equal(spy.took().length, 4)
  })

  it('a tossed cookie in front of ours does not keep destroy() from deleting the session', async (t) => {
    const { client, port } = await begin(t)
    await client.get('/write')
    const bad = `${KEY}=${suite.serverSide ? 'ffffffffffffffffffffffffffffffff' : 'garbage--of--another'}`
    const headers = { cookie: `${bad}; ${client.cookie}` }
    t.equal((await new Client(port).get('/destroy', { headers })).cookies.length, 1)
    if (suite.serverSide) t.equal((await client.get('/read')).body, 'foo: null')
  })

  // ---- plain http and https

  it('SECURITY-11: with secure: true nothing is saved over plain http', async (t) => {
    const { client, spy, size } = await begin(t, {}, { session: { secure: true } })
    const { status, cookies: lines } = await client.get('/write')
    t.equal(status, 200)
    t.same(lines, [])
    t.same(spy.took(), [])
    if (suite.size) t.equal(await size(), 0)
  })

  it('over plain http to another host nothing is saved, and destroy() works', async (t) => {
    const { client, spy } = await begin(t)
    const headers = { host: 'app.example' }
    for (const path of ['/write', '/signin', '/reset-write']) {
      const { status, cookies: lines } = await client.get(path, { headers })
      t.equal(status, 200)
      t.same(lines, [], path)
    }
    t.same(spy.took(), [])
    await client.get('/write')
    const old = client.clone()
    for (const path of ['/write?v=clear', '/renew', '/reset-write']) {
      t.same((await client.get(path, { headers })).cookies, [], path)
    }
    t.equal((await client.get('/read', { headers })).body, 'foo: "bar"')
    t.equal((await client.get('/destroy', { headers })).cookies.length, 1)
    if (suite.serverSide) t.equal((await old.get('/read')).body, 'foo: null')
  })

  it('over https, by the word of a trusted proxy, the cookie is Secure', async (t) => {
    const forwarded = { scheme: 'https', host: 'app.example', address: '192.0.2.1' } as const
    const { client } = await begin(t, {}, { forwarded })
    const { cookies: lines } = await client.get('/write')
    t.equal(attributesOf(lines[0] ?? '')['secure'], true)
    t.equal((await client.get('/read')).body, 'foo: "bar"')
  })

  // ---- stores that fail

  it('SERVERSTORE-25: a page that does not use the session works while the store is down', async (t) => {
    const { client, spy } = await begin(t)
    await client.get('/write')
    spy.down = new Error('down')
    t.equal((await client.get('/nothing')).status, 200)
  })

  it('a store that fails to read or write is an error, with no session cookie touched', async (t) => {
    const { client, spy, errors } = await begin(t)
    await client.get('/write')
    spy.down = new Error('down')
    for (const path of ['/read', '/write', '/reset-write', '/renew', '/destroy', '/clear', '/signin']) {
      const { status, cookies: lines } = await client.get(path)
      t.equal(status, 500, path)
      t.same(lines, [], path)
      t.equal(errors.pop(), spy.down, path)
    }
    const visitor = new Client(client.port)
    const { status, cookies: lines } = await visitor.get('/write')
    t.equal(status, 500)
    t.same(lines, [])
    spy.down = undefined
    t.equal((await client.get('/read')).body, 'foo: "bar"', 'and the session is there when the store is back')
  })

  it("with onStoreError: 'anonymous' a read is empty, and what would be lost is refused", async (t) => {
    const { client, spy, errors } = await begin(t, {}, { session: { onStoreError: 'anonymous' } })
    await client.get('/write')
    spy.down = new Error('down')
    const read = await client.get('/read')
    t.equal(read.status, 200)
    t.equal(read.body, 'foo: null')
    t.same(read.cookies, [])
    for (const path of ['/write', '/count', '/clear', '/renew']) {
      const { status, cookies: lines } = await client.get(path)
      t.equal(status, 500, path)
      t.same(lines, [], path)
      t.match(errors.pop(), { code: 'ERR_SESSION_UNAVAILABLE', cause: spy.down }, path)
    }
    spy.down = undefined
    t.equal((await client.get('/read')).body, 'foo: "bar"')
  })

  // ---- caches

  it('a response that depends on the session varies by the cookie, and is private where there is one', async (t) => {
    const { client } = await begin(t, {
      '/public': async (req) => {
        await req.session
        return [
          200,
          {
            'Cache-Control': 'public, max-age=60, s-maxage=600',
            'CDN-Cache-Control': 'max-age=600',
            'Surrogate-Control': 'max-age=600',
            Vary: 'Accept-Encoding',
          },
          'news',
        ]
      },
      '/exists': (req) => json(req.session.exists),
      '/id-only': (req) => json(req.session.id),
    })
    const caching = ({ headers }: Answer): unknown[] => [headers['cache-control'], headers['vary']]
    t.same(caching(await client.get('/read')), [undefined, 'cookie'])
    const news = await client.get('/public')
    t.same(caching(news), ['public, max-age=60, s-maxage=600', 'Accept-Encoding, cookie'])
    t.equal(news.headers['cdn-cache-control'], 'max-age=600')
    t.same(caching(await client.get('/exists')), [undefined, 'cookie'])
    t.same(caching(await client.get('/id-only')), [undefined, 'cookie'])
    t.same(caching(await client.get('/write')), ['private', 'cookie'], 'a cookie is sent')
    t.same(caching(await client.get('/read')), ['private', 'cookie'])
    t.same(caching(await client.get('/exists')), ['private', 'cookie'])
    const member = await client.get('/public')
    t.same(caching(member), ['max-age=60, private', 'Accept-Encoding, cookie'])
    t.equal(member.headers['cdn-cache-control'], undefined)
    t.equal(member.headers['surrogate-control'], undefined)
    t.same(caching(await client.get('/nothing')), [undefined, undefined])
    t.same(caching(await client.get('/destroy')), ['private', 'cookie'])
  })
}
