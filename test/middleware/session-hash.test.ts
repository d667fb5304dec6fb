import { inspect } from 'node:util'
import { test, type Test } from 'tap'
import { CookieStore, MemoryStore, type Session, type SessionStore } from '../../lib/index.ts'
import type { Answer } from '../server.ts'
import type { Data } from '../session-app.ts'
import { json, stage, type Req } from '../http-suite.ts'

type Hash = Session<Data>

/** Runs in a request of a session that holds this data, and tells what the next request reads. */
async function within(
  t: Test,
  data: Record<string, unknown>,
  run: (hash: Hash, req: Req) => unknown,
  store: SessionStore = new MemoryStore(),
): Promise<{ answer: Answer; writes: boolean; error: unknown; after: unknown }> {
  const { client, spy, errors } = await stage(
    t,
    { store },
    {
      '/in': async (req) => {
        Object.assign(await req.session, data)
        return json('in')
      },
      '/run': async (req) => {
        await run(await req.session, req)
        return json('run')
      },
    },
  )
  await client.get('/in')
  spy.took()
  const answer = await client.get('/run')
  const writes = spy.took().includes('put')
  return { answer, writes, error: errors[0], after: JSON.parse((await client.get('/all')).body) }
}

const thrown = (run: () => unknown): Error | undefined => {
  try {
    run()
    return undefined
  } catch (error) {
    return error as Error
  }
}

test('the hash has no prototype, and its copies are ordinary objects', async (t) => {
  await within(t, { foo: 'bar' }, (hash) => {
    t.equal(Object.getPrototypeOf(hash), null)
    t.equal(
      thrown(() => Object.setPrototypeOf(hash, null)),
      undefined,
    )
    t.type(
      thrown(() => Object.setPrototypeOf(hash, { evil: true })),
      TypeError,
    )
    t.notOk('hasOwnProperty' in hash)
    t.equal(Object.getPrototypeOf({ ...hash }), Object.prototype)
    t.same({ ...hash }, { foo: 'bar' })
    t.same(structuredClone({ ...hash }), { foo: 'bar' })
  })
})

test('spread, JSON.stringify, for…in, entries and destructuring work, and are no change', async (t) => {
  const { writes } = await within(t, { foo: 'bar', list: [1, { a: 2 }] }, (hash) => {
    t.equal(JSON.stringify(hash), '{"foo":"bar","list":[1,{"a":2}]}')
    t.same(Object.entries(hash), [
      ['foo', 'bar'],
      ['list', [1, { a: 2 }]],
    ])
    const { foo, ...rest } = hash
    t.equal(foo, 'bar')
    t.same(rest, { list: [1, { a: 2 }] })
    t.ok(Object.hasOwn(hash, 'list'))
    t.notOk(Object.hasOwn(hash, 'other'))
    t.equal(hash['other'], undefined)
  })
  t.notOk(writes)
})

test('console.log of the hash shows the data and hands nothing out', async (t) => {
  const { writes } = await within(t, { foo: 'bar', list: [{ a: 2 }] }, (hash) => {
    const shown = inspect(hash, { depth: 5 })
    t.match(shown, "foo: 'bar'")
    t.match(shown, 'list: [ { a: 2 } ]')
    t.equal(Object.prototype.toString.call(hash), '[object Object]')
  })
  t.notOk(writes)
})

test('a value is the same object each time it is read', async (t) => {
  await within(t, { list: [{ a: 1 }] }, (hash) => {
    const list = hash['list'] as object[]
    t.equal(hash['list'], list)
    t.equal({ ...hash }['list'], list)
    t.equal((hash['list'] as object[])[0], list[0])
    const mine = { b: 2 }
    hash['mine'] = mine
    t.equal(hash['mine'], mine)
  })
})

test('a change by way of a descriptor, entries or values is noticed, too', async (t) => {
  const pushTo = (list: unknown): number => (list as number[]).push(2)
  const ways: Record<string, (hash: Hash) => unknown> = {
    descriptor: (hash) => pushTo(Object.getOwnPropertyDescriptor(hash, 'list')?.value),
    descriptors: (hash) => pushTo(Object.getOwnPropertyDescriptors(hash)['list']?.value),
    values: (hash) => pushTo(Object.values(hash)[0]),
    spread: (hash) => pushTo({ ...hash }['list']),
    Reflect: (hash) => pushTo(Reflect.get(hash, 'list')),
    defineProperty: (hash) =>
      Object.defineProperty(hash, 'list', { value: [1, 2], writable: true, enumerable: true, configurable: true }),
    'Reflect.set': (hash) => Reflect.set(hash, 'list', [1, 2]),
  }
  for (const [way, change] of Object.entries(ways)) {
    const { after } = await within(t, { list: [1] }, change)
    t.same(after, { list: [1, 2] }, way)
  }
})

test('deleting works by delete, undefined and Reflect; deleting what is not there is no change', async (t) => {
  const { after } = await within(t, { a: 1, b: [2], c: 3, d: 4 }, (hash) => {
    t.equal(delete hash['a'], true)
    hash['b'] = undefined
    t.equal(Reflect.deleteProperty(hash, 'c'), true)
    t.same(Object.keys(hash), ['d'])
    t.notOk('b' in hash)
  })
  t.same(after, { d: 4 })
  const { writes } = await within(t, { d: 4 }, (hash) => {
    delete hash['a']
    hash['b'] = undefined
  })
  t.notOk(writes)
})

test('deleting a key and writing the same again is no change, also in another order', async (t) => {
  const { writes, after } = await within(t, { a: { x: 1, y: [2] }, b: 1 }, (hash) => {
    delete hash['a']
    hash['a'] = { y: [2], x: 1 }
    delete hash['b']
    hash['b'] = 1
    t.same(Object.keys(hash), ['a', 'b'])
  })
  t.notOk(writes)
  t.same(after, { a: { x: 1, y: [2] }, b: 1 })
})

test('what looks alike is a change where JSON tells it apart', async (t) => {
  const pairs: [before: unknown, after: unknown][] = [
    [1, '1'],
    [null, false],
    [0, false],
    [[], {}],
    [
      [1, 2],
      [2, 1],
    ],
    [{ a: null }, {}],
    [{ a: 1 }, { b: 1 }],
    [[[]], [[[]]]],
    ['', null],
    [{ 0: 'a' }, ['a']],
  ]
  for (const [before, value] of pairs) {
    const { writes, after } = await within(t, { value: before }, (hash) => (hash['value'] = value))
    t.ok(writes, `${JSON.stringify(before)} to ${JSON.stringify(value)}`)
    t.same(JSON.stringify(after), JSON.stringify({ value }))
  }
})

test('null, false, 0 and the empty text are values and stay', async (t) => {
  const values = { nothing: null, no: false, zero: 0, empty: '', list: [], object: {} }
  const { after } = await within(t, values, () => {})
  t.same(after, values)
})

test('what JSON cannot carry is refused at the assignment, and the error names the path', async (t) => {
  class Cart {
    readonly items = []
  }
  const cycle: Record<string, unknown> = {}
  cycle['self'] = { back: cycle }
  const values: [value: unknown, message: string][] = [
    [1n, 'session.cart is a bigint'],
    [() => 1, 'session.cart is a function'],
    [Symbol('s'), 'session.cart is a symbol'],
    [NaN, 'session.cart is NaN'],
    [-Infinity, 'session.cart is -Infinity'],
    [new Date(0), 'session.cart is an instance of Date'],
    [new Map(), 'session.cart is an instance of Map'],
    [new Set(), 'session.cart is an instance of Set'],
    [/x/, 'session.cart is an instance of RegExp'],
    [Buffer.from('x'), 'session.cart is an instance of Buffer'],
    [new Error('x'), 'session.cart is an instance of Error'],
    [new Cart(), 'session.cart is an instance of Cart'],
    [Promise.resolve(1), 'session.cart is an instance of Promise'],
    [Object('boxed'), 'session.cart is an instance of String'],
    [{ items: [{ price: 1n }] }, 'session.cart.items[0].price is a bigint'],
    [{ 'two words': NaN }, 'session.cart["two words"] is NaN'],
    [[1, undefined], 'session.cart[1] is undefined'],
    // oxlint-disable-next-line no-sparse-arrays -- a hole is what this is about
    [[, 1], 'session.cart[0] is undefined'],
    [cycle, 'session.cart.self.back is a cycle'],
  ]
  const { writes, after } = await within(t, { foo: 'bar' }, (hash) => {
    for (const [value, message] of values) {
      const error = thrown(() => (hash['cart'] = value as string[]))
      t.type(error, TypeError, message)
      t.match(error, { code: 'ERR_SESSION_VALUE' })
      t.equal(error?.message.startsWith(message), true, message)
      t.notOk('cart' in hash, 'and nothing was assigned')
    }
  })
  t.notOk(writes)
  t.same(after, { foo: 'bar' })
})

test('other ways to put in what cannot be carried are refused, too', async (t) => {
  await within(t, {}, (hash) => {
    const refused: (() => unknown)[] = [
      () => Object.assign(hash, { a: 1n }),
      () => Object.defineProperty(hash, 'a', { get: () => 1 }),
      () => Object.defineProperty(hash, 'a', { value: new Date(0) }),
      () => Reflect.set(hash, 'a', NaN),
      () => ((hash as Record<symbol, unknown>)[Symbol('key')] = 1),
    ]
    for (const attempt of refused) t.type(thrown(attempt), TypeError, String(attempt))
    t.type(
      thrown(() => Object.freeze(hash)),
      TypeError,
      'the hash cannot be frozen or sealed from outside',
    )
    t.same(Object.keys(hash), [])
  })
})

test('what JSON cannot carry is refused at commit for a change in place, and nothing is saved', async (t) => {
  const changes: [change: (hash: Hash) => unknown, message: string][] = [
    [(hash) => (hash['deep'] as { a: unknown[] }).a.push(new Date(0)), 'session.deep.a[1] is an instance of Date'],
    [(hash) => ((hash['deep'] as { a: unknown }).a = 5n), 'session.deep.a is a bigint'],
    [
      (hash) => {
        const deep = hash['deep'] as { self: unknown }
        deep.self = deep
      },
      'session.deep.self is a cycle',
    ],
    [(hash) => ((hash['deep'] as { o: unknown }).o = new Map()), 'session.deep.o is an instance of Map'],
    [
      (hash) => {
        const mine: unknown[] = []
        hash['mine'] = mine
        mine.push(new Map())
      },
      'session.mine[0] is an instance of Map',
    ],
  ]
  for (const [change, message] of changes) {
    const { answer, writes, error, after } = await within(t, { deep: { a: [1], o: {} } }, change)
    t.equal(answer.status, 500)
    t.same(answer.cookies, [])
    t.type(error, TypeError)
    t.ok((error as Error).message.startsWith(message), (error as Error).message)
    t.notOk(writes)
    t.same(after, { deep: { a: [1], o: {} } })
  }
})

test('an object under two keys is no cycle, and is stored twice', async (t) => {
  const { after } = await within(t, {}, (hash) => {
    const shared = { n: 1 }
    hash['a'] = shared
    hash['b'] = { first: shared, second: shared }
    shared.n = 2
  })
  t.same(after, { a: { n: 2 }, b: { first: { n: 2 }, second: { n: 2 } } })
})

test('a loaded value that is put under another key is stored there, too', async (t) => {
  const { after } = await within(t, { a: { n: 1 }, foo: 'bar' }, (hash) => {
    hash['b'] = hash['a']
    ;(hash['b'] as { n: number }).n = 2
  })
  t.same(after, { a: { n: 2 }, b: { n: 2 }, foo: 'bar' })
})

test('plain objects of any making are stored, their undefined members left out', async (t) => {
  const { after } = await within(t, {}, (hash) => {
    hash['bare'] = Object.assign(Object.create(null) as object, { a: 1 })
    hash['parsed'] = JSON.parse('{"__proto__": {"x": 1}, "b": 2}')
    hash['partial'] = { c: undefined, d: [{ e: undefined }] }
  })
  t.equal(JSON.stringify(after), '{"bare":{"a":1},"parsed":{"__proto__":{"x":1},"b":2},"partial":{"d":[{}]}}')
})

test('names that the session keeps for itself are refused as keys, and never seen', async (t) => {
  for (const store of [new MemoryStore(), new CookieStore()]) {
    await within(
      t,
      { foo: 'bar' },
      (hash, req) => {
        req.session.options.expireAfter = 100
        for (const key of ['session_id', '_created_at', '_expire_after']) {
          t.match(
            thrown(() => (hash[key] = 1)),
            { code: 'ERR_SESSION_VALUE' },
            key,
          )
          t.notOk(key in hash)
        }
        t.same(Object.keys(hash), ['foo'])
      },
      store,
    )
  }
})

test('after the commit, writes to the hash throw', async (t) => {
  let late: Hash = {}
  await within(t, { foo: 'bar', list: [1] }, (hash) => {
    late = hash
    hash['own'] = { mine: 1 }
  })
  const writes: ((hash: Hash) => unknown)[] = [
    (hash) => (hash.foo = 'late'),
    (hash) => delete hash.foo,
    (hash) => (hash.foo = undefined),
    (hash) => Object.assign(hash, { other: 1 }),
    (hash) => Object.defineProperty(hash, 'foo', { value: 1 }),
  ]
  for (const write of writes)
    t.match(
      thrown(() => write(late)),
      { code: 'ERR_SESSION_COMMITTED' },
      String(write),
    )
  t.equal(late.foo, 'bar', 'reading goes on')
  t.same(late['list'], [1])
  t.throws(() => (late['list'] as number[]).push(2), TypeError, 'a loaded value first read now is frozen, too')
  t.equal(late['list'], late['list'])
})

test('after the commit, loaded values that were handed out are frozen, whatever their depth', async (t) => {
  let list: { items: { n: number }[] }[] = []
  await within(t, { list: [{ items: [{ n: 1 }] }] }, (hash) => {
    list = hash['list'] as typeof list
    list[0]?.items.push({ n: 2 })
  })
  t.throws(() => list.push({ items: [] }), TypeError)
  t.throws(() => list[0]?.items.push({ n: 3 }), TypeError)
  t.throws(() => Object.assign(list[0]?.items[0] ?? {}, { n: 5 }), TypeError)
  t.same(list[0]?.items.length, 2)
})

test('a change from a streaming body throws there, and is not silently lost', async (t) => {
  const { client, errors } = await stage(
    t,
    { store: new MemoryStore() },
    {
      '/stream': async (req) => {
        const hash = await req.session
        const cart = hash.cart as string[]
        async function* body(): AsyncGenerator<string> {
          yield 'head '
          for (const attempt of [(): unknown => cart.push('late'), (): unknown => (hash.foo = 'late')]) {
            yield `${thrown(attempt)?.name} `
          }
        }
        return [200, {}, body()]
      },
    },
  )
  await client.get('/push')
  t.equal((await client.get('/stream')).body, 'head TypeError SessionCommittedError ')
  t.same(errors, [])
  t.equal((await client.get('/all')).body, '{"cart":["thing"]}')
})

test('an object that a controller assigned is not frozen: it is the controller’s own', async (t) => {
  const shared = { settings: { theme: 'dark' } }
  const { after } = await within(t, {}, (hash) => (hash['mine'] = shared))
  shared.settings.theme = 'light'
  t.same(after, { mine: { settings: { theme: 'dark' } } })
})

test('what one request holds of a session is no part of the store', async (t) => {
  const kept: unknown[] = []
  const store = new MemoryStore()
  const { after } = await within(
    t,
    { list: [1] },
    (hash) => {
      const mine = [1]
      hash['mine'] = mine
      kept.push(mine)
    },
    store,
  )
  ;(kept[0] as number[]).push(2)
  t.same(after, { list: [1], mine: [1] })
})

test('nesting of a hundred, the hash included, is stored, and more is refused, as Ruby has it', async (t) => {
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)])
  const { writes, after } = await within(t, {}, (hash) => {
    hash['deep'] = nested(99)
    for (const depth of [100, 5000]) {
      t.match(
        thrown(() => (hash['deep'] = nested(depth))),
        { code: 'ERR_SESSION_VALUE' },
        String(depth),
      )
    }
  })
  t.ok(writes)
  t.same(JSON.stringify(after), JSON.stringify({ deep: nested(99) }))
})
