import { test } from 'tap'

import { railsJson } from '../../lib/rails-json.ts'

test('escapes what would end a script element or a line of JavaScript, in lower case', async (t) => {
  t.equal(railsJson({ '<a>': '&\u2028\u2029&' }), String.raw`{"\u003ca\u003e":"\u0026\u2028\u2029\u0026"}`)
})

test('is otherwise plain JSON, and the same value when read', async (t) => {
  const value = { s: 'é漢😀/"\\\n', n: [1, -0.5, 1e21, null, true], o: {} }
  t.equal(railsJson(value), JSON.stringify(value))
  t.same(JSON.parse(railsJson({ s: '</script>' })), { s: '</script>' })
})

test('a lone surrogate is escaped, so that the text is UTF-8', async (t) => {
  t.equal(railsJson('\ud800'), String.raw`"\ud800"`)
})

test('throws for what has no JSON form', async (t) => {
  for (const value of [undefined, () => 1, Symbol('s'), 1n]) t.throws(() => railsJson(value), TypeError)
})
