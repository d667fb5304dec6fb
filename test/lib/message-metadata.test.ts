import { test } from 'tap'

import { decodeBase64, unwrap, wrap } from '../../lib/message-metadata.ts'

const noon = Date.UTC(2026, 2, 14, 12)
const base64 = (json: string) => Buffer.from(json).toString('base64')

function read(text: string, purpose?: string, form: 'message' | 'data' = 'message', requirePurpose = true) {
  return unwrap(Buffer.from(text), form, purpose, requirePurpose, noon)
}

test('there is an envelope only if there is something to say on it', async (t) => {
  t.equal(wrap({ a: 1 }, 'message', undefined, undefined), '{"a":1}')
  t.equal(wrap({ a: 1 }, 'data', undefined, undefined), '{"a":1}')
})

test("Rails' two forms, to the byte", async (t) => {
  const message = base64('"v"')
  t.equal(wrap('v', 'message', 'p', undefined), `{"_rails":{"message":"${message}","exp":null,"pur":"p"}}`)
  t.equal(wrap('v', 'message', '', undefined), `{"_rails":{"message":"${message}","exp":null,"pur":""}}`)
  t.equal(
    wrap('v', 'message', undefined, noon + 7),
    `{"_rails":{"message":"${message}","exp":"2026-03-14T12:00:00.007Z","pur":null}}`,
  )
  t.equal(wrap('v', 'data', 'a<b', undefined), String.raw`{"_rails":{"data":"v","pur":"a\u003cb"}}`)
  t.equal(wrap('v', 'data', undefined, noon), '{"_rails":{"data":"v","exp":"2026-03-14T12:00:00.000Z"}}')
})

test('what was wrapped is unwrapped, with its expiry', async (t) => {
  for (const form of ['message', 'data'] as const) {
    for (const purpose of [undefined, '', 'cookie.a', 'é<"漢']) {
      for (const expiresAt of [undefined, noon + 1, noon + 1001]) {
        for (const value of [null, false, 0, '', 'é漢', [], { n: [1] }]) {
          t.same(read(wrap(value, form, purpose, expiresAt), purpose, form), { value, expiresAt })
        }
      }
    }
  }
})

test('it is expired at the very millisecond of its expiry', async (t) => {
  for (const form of ['message', 'data'] as const) {
    t.equal(read(wrap('v', form, 'p', noon), 'p', form), undefined)
    t.same(read(wrap('v', form, 'p', noon + 1), 'p', form)?.value, 'v')
  }
})

test('another purpose is never accepted, none only if that is allowed', async (t) => {
  for (const form of ['message', 'data'] as const) {
    for (const strict of [true, false]) {
      t.equal(read(wrap('v', form, 'p', undefined), 'q', form, strict), undefined)
      t.equal(read(wrap('v', form, 'p', undefined), undefined, form, strict), undefined)
    }
    for (const text of [wrap('v', form, undefined, undefined), wrap('v', form, undefined, noon + 1)]) {
      t.equal(read(text, 'p', form), undefined)
      t.equal(read(text, 'p', form, false)?.value, 'v')
    }
    t.equal(read(wrap('v', form, '', undefined), 'p', form, false)?.value, 'v')
    t.equal(read(wrap('v', form, undefined, noon), 'p', form, false), undefined)
  }
})

test('a value that looks like an envelope stays a value', async (t) => {
  const forged = { _rails: { message: base64('"forged"'), exp: null, pur: 'admin' } }
  const forgedData = { a: 1, _rails: { data: 'forged', pur: 'admin' } }
  for (const form of ['message', 'data'] as const) {
    for (const value of [forged, forgedData]) {
      const text = wrap(value, form, undefined, undefined)
      t.equal(read(text, 'admin', form), undefined)
      t.same(read(text, undefined, form), { value, expiresAt: undefined })
    }
  }
})

test('only the form that is asked for is read', async (t) => {
  const data = '{"_rails":{"data":"v","pur":"p"}}'
  t.equal(read(data, 'p'), undefined)
  t.same(read(data)?.value, { _rails: { data: 'v', pur: 'p' } })
  t.equal(read(data, 'p', 'data')?.value, 'v')
  t.equal(read(wrap('v', 'message', 'p', undefined), 'p', 'data')?.value, 'v')
})

test('an envelope spelt otherwise is read as well', async (t) => {
  const message = base64('"v"')
  for (const rest of [
    ',"pur":"p"}}',
    ',"pur":"p","exp":null}}',
    ',"exp":null,"pur":"p"}}\n',
    ',"exp":null,"pur":"p"},"x":1}',
    String.raw`,"exp":null,"pur":"\u0070"}}`,
    ',"exp":false,"pur":"p"}}',
    ',"exp":"2999-01-01T00:00:00Z","pur":"p"}}',
    ',"exp":"2999-01-01T00:00:00","pur":"p"}}',
    ',"exp":"2999-01-01T00:00:00.123456+02:00","pur":"p"}}',
    ',"exp":32472144000,"pur":"p"}}',
  ]) {
    t.equal(read(`{"_rails":{"message":"${message}"${rest}`, 'p')?.value, 'v', rest)
  }
})

test('what is malformed is refused, and never thrown', async (t) => {
  const message = base64('"v"')
  for (const exp of [
    '"soon"',
    '""',
    'true',
    '{}',
    '"2999-01-01"',
    '"2999-01-01 00:00:00 UTC"',
    '"2999-99-99T99:99:99.999Z"',
  ]) {
    t.equal(read(`{"_rails":{"message":"${message}","exp":${exp},"pur":"p"}}`, 'p'), undefined, exp)
  }
  for (const pur of ['false', '1', '{}', '"P"', '"p "']) {
    t.equal(read(`{"_rails":{"message":"${message}","exp":null,"pur":${pur}}}`, 'p', 'message', false), undefined, pur)
  }
  for (const inner of ['""', '"***"', '"InYi="', '"InYi IA"', 'null', '5', '{}', `"${base64('{')}"`, '"In=="']) {
    t.equal(read(`{"_rails":{"message":${inner},"exp":null,"pur":"p"}}`, 'p'), undefined, inner)
  }
  for (const text of [
    '',
    '{',
    'hello',
    '{"_rails":{"message":',
    `{"_rails":{"message":"${message}","exp":null,"pur":"p"}}x`,
  ]) {
    t.equal(read(text, 'p'), undefined, text)
    t.equal(read(text), undefined, text)
  }
  for (const envelope of ['[]', 'null', '"x"', '{}', '{"exp":null}']) {
    t.equal(read(`{"_rails":${envelope}}`, undefined, 'data'), undefined, envelope)
  }
  t.equal(unwrap(Buffer.from('\x04\b{\x06I"\x06a', 'latin1'), 'message', undefined, true, noon), undefined, 'Marshal')
  t.equal(read('['.repeat(200_000)), undefined, 'nesting')
})

test('base64 has one spelling', async (t) => {
  t.same(decodeBase64('', 'base64'), Buffer.alloc(0))
  t.same(decodeBase64('+/8=', 'base64'), Buffer.from([0xfb, 0xff]))
  t.same(decodeBase64('-_8', 'base64url'), Buffer.from([0xfb, 0xff]))
  for (const text of ['+/8', '-_8=', '+/9=', '+/8=\n', ' +/8=', '+/8==', '+/8=AAAA', 'é', 'šABC']) {
    t.equal(decodeBase64(text, 'base64'), undefined, text)
  }
  for (const text of ['+/8', '-_8=', '-_9', '-_8\n']) t.equal(decodeBase64(text, 'base64url'), undefined, text)
})
