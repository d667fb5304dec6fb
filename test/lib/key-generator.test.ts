import { test } from 'tap'

import { KeyGenerator } from '../../lib/key-generator.ts'

const secret = 'a secret of at least thirty-two characters'

test('64 bytes of PBKDF2 with SHA-256 and 1000 rounds, unless asked otherwise', async (t) => {
  const keys = new KeyGenerator(secret)
  t.equal(keys.generateKey('salt').length, 64)
  t.same(
    keys.generateKey('salt'),
    new KeyGenerator(secret, { digest: 'SHA256', iterations: 1000 }).generateKey('salt', 64),
  )
  t.notSame(keys.generateKey('salt', 32), new KeyGenerator(secret, { digest: 'SHA1' }).generateKey('salt', 32))
  t.notSame(keys.generateKey('salt', 32), new KeyGenerator(secret, { iterations: 999 }).generateKey('salt', 32))
  t.notSame(keys.generateKey('salt', 32), keys.generateKey('pepper', 32))
})

test('text and its bytes are the same secret', async (t) => {
  t.same(new KeyGenerator('clé-🔑').generateKey('s'), new KeyGenerator(Buffer.from('clé-🔑')).generateKey('s'))
})

test("the caller's bytes are neither kept nor changed", async (t) => {
  const bytes = Buffer.from(secret)
  const keys = new KeyGenerator(bytes)
  bytes.fill(0)
  t.same(keys.generateKey('salt'), new KeyGenerator(secret).generateKey('salt'))
  t.same(bytes, Buffer.alloc(secret.length))
})

test('a key that its owner wipes is not wiped for others', async (t) => {
  const keys = new KeyGenerator(secret)
  keys.generateKey('salt').fill(0)
  t.same(keys.generateKey('salt'), new KeyGenerator(secret).generateKey('salt'))
})

test('a key is derived once', async (t) => {
  const keys = new KeyGenerator(secret, { iterations: 200_000 })
  keys.generateKey('salt')
  const start = performance.now()
  for (let i = 0; i < 100; i++) keys.generateKey('salt')
  t.ok(performance.now() - start < 1000)
})
