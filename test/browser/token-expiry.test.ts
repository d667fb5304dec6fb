import { test } from 'tap'
import { getTokenExpirationDate, isTokenExpired } from '../../browser/index.ts'
import { tokenOf } from './fake-page.ts'

const noon = Date.parse('2026-03-01T12:00:00Z')
const endsAtNoon = tokenOf({ exp: noon / 1000 })

const unreadable: [what: string, token: string][] = [
  ['nothing', ''],
  ['a word', 'token'],
  ['no JSON', 'e30.bm9wZQ.'],
  ['no base64', 'e30.%%%.'],
  ['null', tokenOf(null)],
  ['a number', tokenOf(7)],
  ['an end in words', tokenOf({ exp: 'tomorrow' })],
  ['an end that is null', tokenOf({ exp: null })],
  ['an end beyond all dates', tokenOf({ exp: 1e15 })],
]

test('a token ends when its exp says', (t) => {
  t.same(getTokenExpirationDate(endsAtNoon), new Date(noon))
  t.equal(isTokenExpired(endsAtNoon, 0, noon - 1), false)
  t.equal(isTokenExpired(endsAtNoon, 0, noon), true)
  t.equal(isTokenExpired(endsAtNoon, 0, noon + 1), true)
  t.end()
})

test('with an offset it ends so many seconds before, or after', (t) => {
  t.equal(isTokenExpired(endsAtNoon, 60, noon - 60_001), false)
  t.equal(isTokenExpired(endsAtNoon, 60, noon - 60_000), true)
  t.equal(isTokenExpired(endsAtNoon, -60, noon + 59_999), false)
  t.equal(isTokenExpired(endsAtNoon, -60, noon + 60_000), true)
  t.equal(isTokenExpired(endsAtNoon, Number.NaN, noon - 1), true, 'and at once where it is no number')
  t.end()
})

test('by itself it goes by the time of the machine', (t) => {
  t.equal(isTokenExpired(tokenOf({ exp: Date.now() / 1000 + 60 })), false)
  t.equal(isTokenExpired(tokenOf({ exp: Date.now() / 1000 - 60 })), true)
  t.equal(isTokenExpired(tokenOf({ exp: Date.now() / 1000 + 60 }), 120), true)
  t.end()
})

test('a token without exp never ends, and one of 1970 has', (t) => {
  t.equal(getTokenExpirationDate(tokenOf({ sub: 'ada' })), null)
  t.equal(isTokenExpired(tokenOf({ sub: 'ada' })), false)
  t.same(getTokenExpirationDate(tokenOf({ exp: 0 })), new Date(0))
  t.equal(isTokenExpired(tokenOf({ exp: 0 })), true)
  t.end()
})

test('the end may be a fraction of a second, and names in a token may be of any alphabet', (t) => {
  t.equal(getTokenExpirationDate(tokenOf({ exp: 1.5, name: 'Ада 🧳' }))?.getTime(), 1500)
  t.end()
})

for (const [what, token] of unreadable) {
  test(`${what} is no token: it has ended, and has no date`, (t) => {
    t.equal(isTokenExpired(token), true)
    t.throws(() => getTokenExpirationDate(token), { name: 'InvalidTokenError' })
    t.end()
  })
}
