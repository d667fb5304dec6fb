import { test } from 'tap'
import { Keyring } from '../../lib/keyring.ts'
import { OpenedCookies } from '../../lib/opened-cookies.ts'
import type { SessionData } from '../../lib/session-hash.ts'
import { SECRET } from '../session-app.ts'

const seal = (n: number): { payload: SessionData; expiresAt: undefined; retired: false } => ({
  payload: { n },
  expiresAt: undefined,
  retired: false,
})

test('what was opened is found again, and what was asked for lately stays longest', async (t) => {
  const cookies = new OpenedCookies()
  const text = (n: number): string => String(n).padStart(1024 * 1024, '.')
  cookies.set(text(0), seal(0))
  for (let n = 1; n < 40; n++) {
    cookies.set(text(n), seal(n))
    t.equal(cookies.get(text(0))?.payload['n'], 0)
  }
  t.equal(cookies.get(text(39))?.payload['n'], 39)
  t.equal(cookies.get(text(1)), undefined, 'and there is a bound')
})

test('a cookie that was opened before is refused once it has ended, and under another name', async (t) => {
  const keyring = new Keyring({ secret: SECRET })
  const text = keyring.seal({ a: 1 }, 'one', 1000)
  const opened = keyring.open(text, 'one', 500)
  t.same(opened?.payload, { a: 1 })
  t.equal(keyring.open(text, 'one', 999), opened, 'opened once')
  t.equal(keyring.open(text, 'one', 1000), undefined)
  t.equal(keyring.open(text, 'other', 500), undefined)
  const other = text.endsWith('A==') ? 'Q==' : 'A=='
  t.equal(keyring.open(text.slice(0, -3) + other, 'one', 500), undefined)
})

test('a cookie that ends as another one does is not taken for it', async (t) => {
  const cookies = new OpenedCookies()
  const end = '='.repeat(60)
  cookies.set(`one${end}`, seal(1))
  t.equal(cookies.get(`two${end}`), undefined)
  cookies.set(`two${end}`, seal(2))
  t.equal(cookies.get(`two${end}`)?.payload['n'], 2)
  t.equal(cookies.get(`one${end}`), undefined)
  t.equal(cookies.get(end), undefined)
})

test('a cookie opens however it is escaped, and is kept as it is written alone', async (t) => {
  const keyring = new Keyring({ secret: SECRET })
  const text = keyring.seal({ a: 1 }, 'one', 1000)
  const raw = encodeURIComponent(text)
  const escape = (one: string): string => `%${one.charCodeAt(0).toString(16).toUpperCase()}`
  t.equal(keyring.openRaw(raw, 'one', 500), keyring.openRaw(raw, 'one', 500), 'opened once')
  for (const other of [
    text.replaceAll(/./g, escape),
    raw.replaceAll('%3D', '='),
    raw.replaceAll(/%../g, (one) => one.toLowerCase()),
  ]) {
    const opened = keyring.openRaw(other, 'one', 500)
    t.same(opened?.payload, { a: 1 })
    t.not(keyring.openRaw(other, 'one', 500), opened, 'and opened anew each time')
  }
  t.equal(keyring.openRaw(raw.replaceAll('%', '%25'), 'one', 500), undefined)
  t.equal(keyring.open(raw, 'one', 500), undefined, 'a value that is decoded already has no escapes')
})

test('one cookie that comes again and again takes the place of no other', async (t) => {
  const cookies = new OpenedCookies()
  cookies.set('other', seal(0))
  const end = '='.repeat(60)
  for (let i = 0; i < 100; i++) cookies.set(`${String(i).padStart(1024 * 1024, '.')}${end}`, seal(i))
  t.equal(cookies.get('other')?.payload['n'], 0)
})
