import { test, type Test } from 'tap'
import {
  Builder,
  cookies,
  flash,
  MemoryStore,
  session,
  type FlashHandle,
  type RackResponse,
  type SessionHandle,
  type SessionOptions,
} from '../../lib/index.ts'
import { Client, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'
import type { IncomingMessage } from 'node:http'

interface Messages {
  notice: string
  alert: string
  that: string
  this: string
  foo: unknown
  bar: unknown
  hello: string
  omg: string
  hi: string
  list: string[]
}

type Req = IncomingMessage & {
  session: SessionHandle<{ user: number; flash: unknown }>
  flash: FlashHandle<Messages>
}

type Act = (req: Req) => unknown

/** A site with one page for each step of a test, and `/seen`, which answers the flash. */
async function site(
  t: Test,
  steps: Record<string, Act>,
  options: SessionOptions<{ user: number }> = {},
): Promise<{ client: Client; errors: unknown[] }> {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session<{ user: number }>(options))
    .use(flash<Messages>())
    .run(async (request): Promise<RackResponse> => {
      const req = request as unknown as Req
      const step = steps[req.url?.slice(1) ?? '']
      const result = step ? await step(req) : req.url === '/seen' ? await req.flash : 'nothing'
      return [200, {}, JSON.stringify(result ?? null)]
    })
  const { port, errors } = await serve(t, app)
  return { client: new Client(port), errors }
}

const seen = async (client: Client): Promise<unknown> => JSON.parse((await client.get('/seen')).body)

test('FLASH-07 FLASH-08 a message set before a redirect is seen once after it', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(flash<Messages & { joyride: string }>())
    // a filter that halts the chain and redirects
    .use((app) => async (req) => {
      if (req.url !== '/guarded') return app(req)
      ;(await req.flash).foo = 'bar'
      return [302, { location: '/' }, null]
    })
    .run(async (req) => {
      const flash = await req.flash
      if (req.url !== '/save') return [200, {}, JSON.stringify(flash)]
      flash.notice = 'Good luck'
      flash.alert = 'Beware'
      flash.joyride = 'Horses!'
      return [302, { location: '/' }, null]
    })
  const { port } = await serve(t, app)
  const client = new Client(port)
  const saved = await client.get('/save')
  t.match([saved.status, saved.headers.location], [302, '/'])
  t.same(JSON.parse((await client.get('/')).body), { notice: 'Good luck', alert: 'Beware', joyride: 'Horses!' })
  t.same(JSON.parse((await client.get('/')).body), {})
  await client.get('/guarded')
  t.same(JSON.parse((await client.get('/')).body), { foo: 'bar' })
  t.same(JSON.parse((await client.get('/')).body), {})
})

test('FLASH-02 what is kept is seen by one more request', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => ((await flash).notice = 'saved'),
    keep: async ({ flash }) => {
      const { notice } = await flash
      flash.keep()
      return notice
    },
  })
  await client.get('/set')
  t.equal((await client.get('/keep')).body, '"saved"')
  t.same(await seen(client), { notice: 'saved' })
  t.same(await seen(client), {})
})

test('FLASH-04 a request sees what came and what it adds, and the next one only what was added', async (t) => {
  const { client } = await site(t, {
    first: async ({ flash }) => ((await flash).that = 'hello'),
    second: async (req) => Object.assign(await req.flash, { this: 'hello again' }),
  })
  await client.get('/first')
  t.same(JSON.parse((await client.get('/second')).body), { that: 'hello', this: 'hello again' })
  t.same(await seen(client), { this: 'hello again' })
})

test('FLASH-09 a stack names its own types of messages, and another stack does not know them', async (t) => {
  const own = flash<{ notice: string; foo: string }>()
  const other = flash()
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .map('/own', (builder) =>
      builder.use(own).run(async (req) => {
        ;(await req.flash).foo = 'x'
        return [302, { location: '/own' }, null]
      }),
    )
    .use(other)
    .run(async (req) => {
      const flash = await req.flash
      // @ts-expect-error: only `own` has it
      const { foo } = flash
      return [200, {}, String(foo)]
    })
  const { port } = await serve(t, app)
  const client = new Client(port)
  t.equal((await client.get('/own')).status, 302)
  t.equal((await client.get('/')).body, 'x')
})

test('FLASH-10 keep and discard give what they are about', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => Object.assign(await flash, { foo: 1, bar: 2 }),
    ask: async ({ flash }) => [
      await flash.discard('foo'),
      await flash.keep('foo'),
      (await flash.keep('hello')) ?? 'nothing',
      await flash.discard(),
      await flash.keep(),
    ],
  })
  await client.get('/set')
  const whole = { foo: 1, bar: 2 }
  t.same(JSON.parse((await client.get('/ask')).body), [1, 1, 'nothing', whole, whole])
})

test('FLASH-11 what is discarded ends with its own request, unless it is set again', async (t) => {
  const both = { hello: 'hello', omg: 'omg' }
  const { client } = await site(t, {
    again: async ({ flash }) => {
      const hash = Object.assign(await flash, both)
      flash.discard('hello')
      hash.hello = 'hello'
    },
    one: async ({ flash }) => {
      Object.assign(await flash, both)
      flash.discard('hello')
    },
    all: async ({ flash }) => {
      Object.assign(await flash, both)
      flash.discard()
    },
  })
  await client.get('/again')
  t.same(await seen(client), both)
  await client.get('/one')
  t.same(await seen(client), { omg: 'omg' })
  await client.get('/all')
  t.same(await seen(client), {})
})

test('FLASH-12 the flash can be replaced, a message overwritten, and all of it cleared', async (t) => {
  const clear = async ({ flash }: Req): Promise<Partial<Messages>> => {
    const hash = await flash
    for (const key of Object.keys(hash)) delete hash[key as keyof Messages]
    return hash
  }
  const { client } = await site(t, {
    set: async ({ flash }) => ((await flash).hello = 'before'),
    replace: async (req) => Object.assign(await clear(req), { hi: 'mom' }),
    overwrite: async ({ flash }) => {
      const hash = await flash
      delete hash.hello
      hash.hello = 'mom'
    },
    clear,
  })
  await client.get('/set')
  await client.get('/replace')
  t.same(await seen(client), { hi: 'mom' })
  await client.get('/set')
  await client.get('/overwrite')
  t.same(await seen(client), { hello: 'mom' })
  await client.get('/set')
  await client.get('/clear')
  t.same(await seen(client), {})
})

test('FLASH-15 a copy is an ordinary object, and the flash holds nothing but its messages', async (t) => {
  const { client } = await site(t, {
    look: async ({ flash }) => {
      const hash = await flash
      hash.foo = 'bar'
      const copy = { ...hash, zomg: true }
      const names: string[] = []
      for (const name in hash) names.push(name)
      return [Object.keys(hash), 'foo' in hash, 'zomg' in hash, names, Object.keys(copy), 'toString' in hash]
    },
  })
  const { body } = await client.get('/look')
  t.same(JSON.parse(body), [['foo'], true, false, ['foo'], ['foo', 'zomg'], false])
})

test('FLASH-17 a request that does not ask for the flash loads and writes nothing, and leaves it for the next', async (t) => {
  class Spy extends MemoryStore {
    calls = 0
    override findSession(...args: Parameters<MemoryStore['findSession']>): ReturnType<MemoryStore['findSession']> {
      this.calls++
      return super.findSession(...args)
    }
    override writeSession(...args: Parameters<MemoryStore['writeSession']>): ReturnType<MemoryStore['writeSession']> {
      this.calls++
      return super.writeSession(...args)
    }
  }
  const store = new Spy()
  const { client } = await site(
    t,
    { set: async ({ flash }) => ((await flash).notice = 'saved'), session: ({ session }) => session },
    { store },
  )
  await client.get('/set')
  store.calls = 0
  t.same((await client.get('/nothing')).cookies, [])
  t.equal(store.calls, 0)
  t.match(JSON.parse((await client.get('/session')).body), { flash: { discard: [], flashes: { notice: 'saved' } } })
  t.same(await seen(client), { notice: 'saved' })
})

test('a flash that is asked for and empty sends nothing and makes no session', async (t) => {
  const { client } = await site(t, { now: ({ flash }) => (flash.now.notice = 'seen now') })
  t.same((await client.get('/seen')).cookies, [])
  t.same((await client.get('/now')).cookies, [])
})

test('what is set on now is seen by this request alone, whenever the flash is read', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => Object.assign(await flash, { notice: 'before', that: 'old' }),
    before: async ({ flash }) => {
      flash.now.notice = 'now'
      return [flash.now.notice, { ...(await flash) }, flash.now.that]
    },
    after: async ({ flash }) => {
      const hash = await flash
      flash.now.notice = 'now'
      return { ...hash }
    },
  })
  await client.get('/set')
  t.same(JSON.parse((await client.get('/before')).body), ['now', { notice: 'now', that: 'old' }, 'old'])
  t.same(await seen(client), {})
  t.same(JSON.parse((await client.get('/after')).body), { notice: 'now' })
  t.same(await seen(client), {})
})

test('keep and discard count without being awaited, also where the flash is never read', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => Object.assign(await flash, { foo: 1, bar: 2 }),
    keep: ({ flash }) => void flash.keep('foo'),
    discard: ({ flash }) => void flash.discard(),
  })
  await client.get('/set')
  await client.get('/keep')
  t.same(await seen(client), { foo: 1 })
  await client.get('/set')
  await client.get('/discard')
  t.same(await seen(client), {})
})

test('a reset of the session takes the messages with it; what is said after it is kept', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => ((await flash).notice = 'before'),
    reset: async (req) => {
      const flash = await req.flash
      const { notice } = flash
      flash.alert = 'lost with the session'
      req.session.reset()
      const empty = { ...flash }
      flash.notice = 'signed out'
      return [notice, empty]
    },
    late: (req) => {
      req.session.reset()
      req.flash.now.that = 'x'
      return req.flash
    },
  })
  await client.get('/set')
  t.same(JSON.parse((await client.get('/reset')).body), ['before', {}])
  t.same(await seen(client), { notice: 'signed out' })
  await client.get('/set')
  t.same(JSON.parse((await client.get('/late')).body), { that: 'x' })
})

test('a change in place is kept as well', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => {
      const hash = await flash
      hash.list = ['a']
      hash.list.push('b')
    },
  })
  await client.get('/set')
  t.same(await seen(client), { list: ['a', 'b'] })
})

test('a message that JSON cannot carry is refused where it is set, and one after the response too', async (t) => {
  let late: (() => void) | undefined
  const { client, errors } = await site(t, {
    date: async ({ flash }) => ((await flash).foo = new Date(0)),
    now: ({ flash }) => (flash.now.foo = 1n),
    accessor: async ({ flash }) => Object.defineProperty(await flash, 'foo', { get: () => 1, configurable: true }),
    late: async ({ flash }) => {
      const hash = await flash
      late = () => (hash.notice = 'too late')
    },
  })
  t.equal((await client.get('/date')).status, 500)
  t.equal((await client.get('/now')).status, 500)
  t.equal((await client.get('/accessor')).status, 500)
  t.match(errors, [
    { code: 'ERR_SESSION_VALUE', message: /^flash\.foo is an instance of Date/ },
    { code: 'ERR_SESSION_VALUE', message: /^flash\.now\.foo is a bigint/ },
    { code: 'ERR_SESSION_VALUE', message: /^flash\.foo is an accessor/ },
  ])
  await client.get('/late')
  t.throws(() => late?.(), { code: 'ERR_SESSION_COMMITTED' })
})

test('keys of the prototype are messages like any other', async (t) => {
  const { client } = await site(t, {
    set: async ({ flash }) => {
      const hash = (await flash) as Record<string, unknown>
      Object.defineProperty(hash, '__proto__', { value: 'p', enumerable: true, configurable: true, writable: true })
      Object.assign(hash, JSON.parse('{"constructor":"c","then":"t"}'))
    },
  })
  await client.get('/set')
  t.equal((await client.get('/seen')).body, '{"__proto__":"p","constructor":"c","then":"t"}')
})

test('a message for a session that was destroyed is an error, since it would be lost', async (t) => {
  const { client, errors } = await site(t, {
    set: async ({ flash }) => ((await flash).notice = 'before'),
    destroy: async (req) => {
      ;(await req.flash).notice = 'bye'
      req.session.destroy()
      ;(await req.flash).notice = 'bye'
    },
    read: async (req) => {
      const { notice } = await req.flash
      req.session.destroy()
      return notice
    },
  })
  await client.get('/set')
  t.equal((await client.get('/destroy')).status, 500)
  t.match(errors, [{ code: 'ERR_SESSION_DESTROYED', stack: /flash\.test/ }])
  t.equal((await client.get('/read')).body, '"before"')
  t.equal(client.jar.size, 0)
})

test('what is said for now is seen after a destroy, and does not stand in its way', async (t) => {
  const { client, errors } = await site(t, {
    set: async ({ flash }) => ((await flash).notice = 'before'),
    destroy: async (req) => {
      req.session.destroy()
      req.flash.now.notice = 'bye'
      return req.flash
    },
  })
  await client.get('/set')
  t.equal((await client.get('/destroy')).body, '{"notice":"bye"}')
  t.same([client.jar.size, errors], [0, []])
})

test('to keep a message of a session that was destroyed is an error where it is asked for', async (t) => {
  const { client, errors } = await site(t, {
    set: async ({ flash }) => ((await flash).notice = 'before'),
    before: (req) => {
      req.flash.now.notice = 'x'
      void req.flash.keep()
      req.session.destroy()
    },
    after: (req) => {
      req.session.destroy()
      void req.flash.keep()
    },
  })
  await client.get('/set')
  const other = client.clone()
  t.equal((await client.get('/before')).status, 200, 'what was kept before has gone with the session')
  t.equal((await other.get('/after')).status, 500)
  t.match(errors, [{ code: 'ERR_SESSION_DESTROYED', stack: /flash\.test/ }])
})

test('a layer in map with a session of its own does not change whose flash it is', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session({ key: 'a' }))
    .use(flash())
    .map('/inner', (inner) =>
      inner.use(session({ key: 'b' })).run(async (req) => {
        ;(await req.flash).notice = 'from inside'
        return [200, {}, 'set']
      }),
    )
    .run(async (req) => [200, {}, JSON.stringify(await req.flash)])
  const { port, errors } = await serve(t, app)
  const client = new Client(port)
  await client.get('/inner')
  t.same([...client.jar.keys()], ['a'])
  t.same(JSON.parse((await client.get('/')).body), { notice: 'from inside' })
  t.same(errors, [])
})

test('two layers of one session are one flash', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(flash())
    .use((app) => async (req) => {
      await req.flash
      return app(req)
    })
    .map('/inner', (inner) =>
      inner.use(flash()).run(async (req) => {
        ;(await req.flash).notice = 'from inside'
        return [200, {}, 'set']
      }),
    )
    .run(async (req) => [200, {}, JSON.stringify(await req.flash)])
  const { port } = await serve(t, app)
  const client = new Client(port)
  await client.get('/inner')
  t.same(JSON.parse((await client.get('/')).body), { notice: 'from inside' })
})

test('the flash needs a session above it', (t) => {
  const stack = new Builder().use(cookies({ secret: SECRET }))
  // @ts-expect-error: needs, above it, the layer that adds req.session
  t.throws(() => stack.use(flash()), { code: 'ERR_STACK_ORDER', message: /req\.session/ })
  t.end()
})
