import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'tap'

import { type Digest, MessageVerifier } from '../../lib/message-verifier.ts'

const key = randomBytes(64)
const retired = randomBytes(64)
const values = [null, false, 0, '', 'é漢😀', { a: { b: [1, '<'] } }]

test('reads what it has signed, in every spelling', async (t) => {
  for (const digest of ['SHA1', 'SHA256', 'SHA384', 'SHA512'] as const) {
    for (const urlSafe of [false, true]) {
      for (const envelope of ['message', 'data'] as const) {
        const verifier = new MessageVerifier(key, { digest, urlSafe, envelope })
        for (const value of values) {
          t.same(verifier.verified(verifier.generate(value)), value)
          const message = verifier.generate(value, { purpose: 'p', expiresIn: 60 })
          t.same(verifier.verified(message, { purpose: 'p' }), value)
          t.equal(verifier.open(message, { purpose: 'q' }), undefined)
        }
      }
    }
  }
})

test('is base64, two dashes and a hexadecimal HMAC with SHA-1', async (t) => {
  const data = Buffer.from('"v"').toString('base64')
  const mac = createHmac('sha1', key).update(data).digest('hex')
  t.equal(new MessageVerifier(key).generate('v'), `${data}--${mac}`)
})

test('the first key signs, all verify, and it says which', async (t) => {
  const old = new MessageVerifier(retired).generate('v')
  const verifier = new MessageVerifier([key, retired])
  t.same(verifier.open(old), { value: 'v', expiresAt: undefined, keyIndex: 1 })
  t.same(verifier.open(verifier.generate('v')), { value: 'v', expiresAt: undefined, keyIndex: 0 })
  t.equal(new MessageVerifier(key).open(old), undefined)
})

test('a message with any character changed, added or taken is refused', async (t) => {
  const verifier = new MessageVerifier(key)
  const message = verifier.generate({ user: 1 }, { purpose: 'p' })
  for (let at = 0; at < message.length; at++) {
    for (const other of ['A', '0', '-', '\u0161', ''].filter((character) => character !== message[at])) {
      t.equal(verifier.open(message.slice(0, at) + other + message.slice(at + 1), { purpose: 'p' }), undefined)
    }
  }
  const mac = message.slice(-40)
  for (const hostile of ['', '--', '----', `--${mac}`, mac, ` ${message}`, `${message} `, `${message}--${mac}`]) {
    t.equal(verifier.open(hostile, { purpose: 'p' }), undefined, hostile)
  }
  t.equal(verifier.open(message.slice(0, -40) + mac.toUpperCase(), { purpose: 'p' }), undefined)
  t.equal(verifier.open(undefined as unknown as string), undefined)
})

test('refuses what is signed and yet no canonical base64 or no JSON', async (t) => {
  const verifier = new MessageVerifier(key)
  for (const data of ['', 'InYi=', 'In Yi', '"v"', 'NB==', Buffer.from('\x04\bi\x06', 'latin1').toString('base64')]) {
    t.equal(verifier.open(`${data}--${createHmac('sha1', key).update(data).digest('hex')}`), undefined, data)
  }
})

test('expires by its clock, by the time given, and by a replaced Date.now', async (t) => {
  let time = 1_000_000
  const verifier = new MessageVerifier(key, { clock: () => time })
  const message = verifier.generate('v', { expiresIn: 2.5 })
  t.equal(verifier.open(message)?.expiresAt, 1_002_500)
  time = 1_002_500
  t.equal(verifier.open(message), undefined)
  t.equal(verifier.open(message, { now: 1_002_499 })?.value, 'v')

  const { now } = Date
  t.teardown(() => (Date.now = now))
  const plain = new MessageVerifier(key)
  Date.now = () => 1_002_499
  t.equal(plain.verified(message), 'v')
  Date.now = () => 1_002_500
  t.equal(plain.verified(message), undefined)
})

test('takes an expiry as a Date or a number, and refuses one that cannot be written', async (t) => {
  const verifier = new MessageVerifier(key)
  const expiresAt = Date.now() + 60_000
  t.equal(verifier.open(verifier.generate('v', { expiresAt }))?.expiresAt, expiresAt)
  t.equal(verifier.open(verifier.generate('v', { expiresAt: new Date(expiresAt), expiresIn: 1 }))?.expiresAt, expiresAt)
  for (const wrong of [NaN, Infinity, -1, Date.UTC(10_000, 0), new Date(NaN)]) {
    t.throws(() => verifier.generate('v', { expiresAt: wrong }), { code: 'ERR_INVALID_OPTION' })
  }
})

test('says what is wrong with its options, and with a value', async (t) => {
  t.throws(() => new MessageVerifier([]), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => new MessageVerifier(new Uint8Array()), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => new MessageVerifier(key, { digest: 'MD5' as Digest }), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => new MessageVerifier(key).generate(undefined), TypeError)
})

test("the caller's key is copied", async (t) => {
  const own = Buffer.from(key)
  const verifier = new MessageVerifier(own)
  own.fill(0)
  t.equal(verifier.generate('v'), new MessageVerifier(key).generate('v'))
})
