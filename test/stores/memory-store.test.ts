import { test } from 'tap'
import { MemoryStore, SessionId } from '../../lib/index.ts'
import { testStore } from '../../lib/testing.ts'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'

let time = Date.UTC(2026, 0, 1)
const clock = (): number => time

testStore(() => new MemoryStore({ clock }), {
  test,
  name: 'MemoryStore',
  merges: true,
  markers: true,
  owners: true,
  now: clock,
  advance: (milliseconds) => {
    time += milliseconds
  },
})

const req = new IncomingMessage(new Socket())
const options = (): {
  create: true
  changes: 'all'
  createdAt: number
  expiresAt: number
  extend: boolean
  owner: undefined
} => ({
  create: true,
  changes: 'all',
  createdAt: time,
  expiresAt: time + 1000,
  extend: false,
  owner: undefined,
})

test('MemoryStore keeps no more sessions than max, and drops the one that was used longest ago', async (t) => {
  const store = new MemoryStore({ max: 2, clock })
  const [a, b, c] = [SessionId.generate(), SessionId.generate(), SessionId.generate()]
  store.writeSession(req, a, {}, options())
  store.writeSession(req, b, {}, options())
  t.ok(store.findSession(req, a))
  store.writeSession(req, c, {}, options())
  t.equal(store.size, 2)
  t.equal(store.findSession(req, b), undefined)
  t.ok(store.findSession(req, a))
})

test('MemoryStore counts neither expired sessions nor markers', async (t) => {
  const store = new MemoryStore({ clock })
  const [a, b, c] = [SessionId.generate(), SessionId.generate(), SessionId.generate()]
  for (const sid of [a, b, c]) store.writeSession(req, sid, {}, options())
  t.equal(store.size, 3)
  store.deleteSession(req, a, { markUntil: time + 60_000 })
  t.equal(store.size, 2)
  time += 1000
  t.equal(store.size, 0)
  t.equal(store.cleanup(), 2, 'the marker stands longer')
  t.equal(store.cleanup(), 0)
})

test('MemoryStore refuses a max and a ttl that make no sense', async (t) => {
  for (const max of [0, -1, Number.NaN]) {
    t.throws(() => new MemoryStore({ max }), { code: 'ERR_INVALID_OPTION' })
  }
  for (const ttl of [0, -1, Number.NaN, Infinity]) {
    t.throws(() => new MemoryStore({ ttl }), { code: 'ERR_INVALID_OPTION' })
  }
})
