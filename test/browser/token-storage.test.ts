import { test } from 'tap'
import { lockrStorage, memoryStorage, type Lockr } from '../../browser/index.ts'

/** As Lockr 0.8 keeps things, and warns where it cannot. */
function fakeLockr(kept: Map<string, string>, isFull = false): Lockr {
  return {
    get: (key) => (JSON.parse(kept.get(key) ?? '{}') as { data?: unknown }).data,
    set: (key, value) => {
      if (!isFull) kept.set(key, JSON.stringify({ data: value }))
    },
    rm: (key) => kept.delete(key),
  }
}

for (const [name, storage] of [
  ['memoryStorage', memoryStorage()],
  ['lockrStorage', lockrStorage(fakeLockr(new Map()))],
] as const) {
  test(`${name} gives what it was given until it is removed, and null for what it does not have`, (t) => {
    t.equal(storage.getItem('a'), null)
    storage.setItem('a', '1')
    storage.setItem('b', '')
    storage.setItem('a', '2')
    t.equal(storage.getItem('a'), '2')
    t.equal(storage.getItem('b'), '')
    storage.removeItem('a')
    storage.removeItem('never there')
    t.equal(storage.getItem('a'), null)
    t.equal(storage.getItem('b'), '')
    t.end()
  })
}

test('two memories know nothing of each other', (t) => {
  memoryStorage().setItem('a', '1')
  t.equal(memoryStorage().getItem('a'), null)
  t.end()
})

test("what a Lockr of somebody else's keeps and is no string is no token", (t) => {
  const kept = new Map([['id_token', '{"data":{"token":"a"}}']])
  t.equal(lockrStorage(fakeLockr(kept)).getItem('id_token'), null)
  t.end()
})

test('a full storage, of which Lockr only warns, is an error', (t) => {
  const storage = lockrStorage(fakeLockr(new Map(), true))
  t.throws(() => storage.setItem('id_token', 'secret'), { message: /^Lockr could not keep id_token/ })
  t.end()
})
