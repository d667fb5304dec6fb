import { createCipheriv, createHmac, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { test } from 'tap'

import { type LegacyKeys, MessageEncryptor } from '../../lib/message-encryptor.ts'

const key = randomBytes(32)
const retired = randomBytes(32)
const values = [null, false, 0, '', 'é漢😀', { a: { b: [1, '<'] } }]

// The format of Rails 5.1, which the library does not write.
function sealLegacy(text: string, keys: LegacyKeys): string {
  const iv = randomBytes(16)
  const cipher = createCipheriv('aes-256-cbc', keys.key, iv)
  const data = Buffer.concat([cipher.update(text), cipher.final()])
  const outer = Buffer.from(`${data.toString('base64')}--${iv.toString('base64')}`).toString('base64')
  return `${outer}--${createHmac(keys.digest ?? 'SHA1', keys.signKey)
    .update(outer)
    .digest('hex')}`
}

test('opens what it has sealed, in every spelling and with keys of every size', async (t) => {
  for (const size of [16, 24, 32]) {
    for (const urlSafe of [false, true]) {
      for (const envelope of ['message', 'data'] as const) {
        const encryptor = new MessageEncryptor(randomBytes(size), { urlSafe, envelope })
        for (const value of values) {
          t.same(encryptor.decryptAndVerify(encryptor.encryptAndSign(value)), value)
          const message = encryptor.encryptAndSign(value, { purpose: 'p', expiresIn: 60 })
          t.same(encryptor.decryptAndVerify(message, { purpose: 'p' }), value)
          t.equal(encryptor.open(message, { purpose: 'q' }), undefined)
          t.match(message, urlSafe ? /^[\w-]+--[\w-]{16}--[\w-]{22}$/ : /^[\w+/]+=*--[\w+/]{16}--[\w+/]{22}==$/)
        }
      }
    }
  }
})

test('never uses a nonce twice', async (t) => {
  const encryptor = new MessageEncryptor(key)
  const nonces = new Set(Array.from({ length: 2000 }, () => encryptor.encryptAndSign('v').split('--')[1]))
  t.equal(nonces.size, 2000)
})

test('the first key seals, all open, and it says which', async (t) => {
  const old = new MessageEncryptor(retired).encryptAndSign('v')
  const encryptor = new MessageEncryptor([key, retired])
  t.same(encryptor.open(old), { value: 'v', expiresAt: undefined, keyIndex: 1 })
  t.same(encryptor.open(encryptor.encryptAndSign('v')), { value: 'v', expiresAt: undefined, keyIndex: 0 })
  t.equal(new MessageEncryptor(key).open(old), undefined)
})

test('a message with any character changed, added or taken is refused', async (t) => {
  const encryptor = new MessageEncryptor(key, { legacy: [{ key, signKey: retired }] })
  const message = encryptor.encryptAndSign({ user: 1 }, { purpose: 'p' })
  for (let at = 0; at < message.length; at++) {
    for (const other of ['A', '=', '-', ' ', '\u0161', ''].filter((character) => character !== message[at])) {
      t.equal(encryptor.open(message.slice(0, at) + other + message.slice(at + 1), { purpose: 'p' }), undefined)
    }
  }
  const [data, iv, tag] = message.split('--') as [string, string, string]
  const cut = (part: string, size: number) => Buffer.from(part, 'base64').subarray(0, size).toString('base64')
  for (const hostile of [
    '',
    '--',
    '----',
    `--${iv}--${tag}`,
    `${data}--${iv}`,
    `${iv}--${data}--${tag}`,
    `${data}--${cut(iv, 11)}--${tag}`,
    `${data}--${cut(iv, 10)}--${tag}`,
    `${data}--${iv}--${cut(tag, 15)}`,
    `${data}--${iv}--${cut(tag, 4)}`,
    `${data}--${iv}--${cut(tag, 16).replace('==', 'AA')}`,
    `${message}--${tag}`,
    `${message}\n`,
    'A'.repeat(100_000),
  ]) {
    t.equal(encryptor.open(hostile, { purpose: 'p' }), undefined, hostile.slice(0, 200))
  }
  t.equal(encryptor.open(null as unknown as string), undefined)
})

test('refuses what is sealed and yet no JSON', async (t) => {
  const encryptor = new MessageEncryptor(key)
  for (const text of ['', 'hello', '\x04\bi\x06', '\ufeff{}']) {
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key, iv)
    const data = Buffer.concat([cipher.update(text), cipher.final()])
    const message = [data, iv, cipher.getAuthTag()].map((part) => part.toString('base64')).join('--')
    t.equal(encryptor.open(message), undefined, text)
  }
})

test('reads the retired format if told to, as by a retired key', async (t) => {
  for (const digest of [undefined, 'SHA256'] as const) {
    const legacy = { key: retired, signKey: randomBytes(64), digest }
    const encryptor = new MessageEncryptor(key, { legacy: [{ key, signKey: key }, legacy] })
    const message = sealLegacy('{"a":1}', legacy)
    t.same(encryptor.open(message), { value: { a: 1 }, expiresAt: undefined, keyIndex: 2 })
    t.equal(encryptor.open(message, { purpose: 'p' }), undefined)
    t.equal(new MessageEncryptor(key).open(message), undefined)
    for (let at = 0; at < message.length; at++) {
      t.equal(
        encryptor.open(message.slice(0, at) + (message[at] === '1' ? '2' : '1') + message.slice(at + 1)),
        undefined,
      )
    }
  }
})

test('refuses what is signed and yet not of the retired format', async (t) => {
  const legacy = { key: retired, signKey: randomBytes(64) }
  const encryptor = new MessageEncryptor(key, { legacy: [legacy] })
  const encode = (text: string | Buffer) => Buffer.from(text).toString('base64')
  const iv = encode(randomBytes(16))
  for (const inner of [
    '',
    '--',
    iv,
    `--${iv}`,
    `${encode('short')}--${iv}`,
    `${encode(randomBytes(16))}--${iv.slice(4)}`,
    `!!--${iv}`,
  ]) {
    const outer = encode(inner)
    const message = `${outer}--${createHmac('SHA1', legacy.signKey).update(outer).digest('hex')}`
    t.equal(encryptor.open(message), undefined, inner)
  }
})

test('says what is wrong with its keys, and never shows them', async (t) => {
  t.throws(() => new MessageEncryptor([]), { code: 'ERR_INVALID_OPTION' })
  t.throws(() => new MessageEncryptor(randomBytes(64)), { code: 'ERR_INVALID_OPTION', message: /32 bytes/ })
  t.throws(() => new MessageEncryptor(key, { legacy: [{ key: randomBytes(16), signKey: key }] }), {
    code: 'ERR_INVALID_OPTION',
  })
  t.throws(() => new MessageEncryptor(key, { legacy: [{ key, signKey: new Uint8Array() }] }), {
    code: 'ERR_INVALID_OPTION',
  })
  t.notMatch(inspect(new MessageEncryptor(key), { depth: 9, showHidden: true }), /Buffer|Uint8Array/)
})

test("the caller's keys are copied", async (t) => {
  const own = Buffer.from(key)
  const encryptor = new MessageEncryptor([own])
  own.fill(0)
  t.equal(new MessageEncryptor(key).decryptAndVerify(encryptor.encryptAndSign('v')), 'v')
})
