import { test } from 'tap'

import { randomBytes } from '../../lib/random-pool.ts'

test('gives as many bytes as asked for, also more than the pool holds', async (t) => {
  for (const size of [0, 1, 12, 16, 8191, 8192, 8193, 20_000]) t.equal(randomBytes(size).length, size)
})

test('never gives the same bytes twice, across refills', async (t) => {
  const seen = new Set<string>()
  for (let i = 0; i < 3000; i++) seen.add(randomBytes(16).toString('hex'))
  t.equal(seen.size, 3000)
})

test('what was given stays as it is, and nobody else sees it', async (t) => {
  const first = randomBytes(16)
  const copy = Buffer.from(first)
  randomBytes(16).fill(0)
  t.same(first, copy)
  for (let i = 0; i < 1000; i++) randomBytes(16)
  t.same(first, copy)
})

test('refuses a size that is none', async (t) => {
  for (const size of [-1, NaN]) t.throws(() => randomBytes(size), RangeError)
})
