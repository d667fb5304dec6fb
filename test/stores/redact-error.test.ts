import { inspect } from 'node:util'
import { test } from 'tap'
import { redactError } from '../../stores/redact-error.ts'

const DATA = 'planted-data'

test('what a client hangs on its errors is taken off, and what tells how it failed stays', (t) => {
  const error = Object.assign(new Error('OOM command not allowed'), {
    code: 'EX',
    errno: -1,
    syscall: 'write',
    command: { name: 'set', args: ['key', DATA] },
    query: `INSERT ${DATA}`,
    parameters: [DATA],
    detail: DATA,
    [Symbol('request')]: DATA,
  })
  Object.defineProperty(error, 'hidden', { value: DATA, configurable: true })
  t.equal(redactError(error), error)
  t.same(new Set(Reflect.ownKeys(error)), new Set(['stack', 'message', 'code', 'errno', 'syscall']))
  t.notMatch(inspect(error, { showHidden: true }), DATA)
  t.match(error.stack, /OOM command/)
  t.end()
})

test('the same of all errors that are in it, also in a circle', (t) => {
  const of = (): Error => Object.assign(new Error('x'), { command: [DATA] })
  const inner = of()
  const errors = [
    Object.assign(new Error('a', { cause: inner }), { lastNodeError: of() }),
    new AggregateError([of(), Object.assign(of(), { previousErrors: [of()] })]),
    { message: 'no error', args: [DATA] },
  ]
  inner.cause = errors[0]
  for (const error of errors) t.notMatch(inspect(redactError(error), { depth: null, showHidden: true }), DATA)
  for (const other of ['text', 5, null, undefined]) t.equal(redactError(other), other)
  t.end()
})

test('a message that quotes is cut, in the stack too', (t) => {
  const redis = new Error(`ERR unknown command 'EVALSHA', with args beginning with: '1' '${DATA}' `)
  redactError(redis)
  t.equal(redis.message, "ERR unknown command 'EVALSHA'")
  const query = new Error(`insert into s values ('{"cookie":{"originalMaxAge":1},\n"data":"${DATA}"}')\n - disk full`)
  redactError(query)
  for (const { message, stack } of [redis, query]) {
    t.notMatch(message, DATA)
    t.notMatch(stack, DATA)
    t.match(stack, /^Error: .*\n {4}at .*redact-error/)
  }
  t.end()
})

test('an error from which it cannot be taken off is replaced', (t) => {
  const command = { command: [DATA] }
  const errors = [
    Object.freeze(Object.assign(new Error('frozen'), command)),
    Object.freeze(new Error(`originalMaxAge ${DATA}`)),
    Object.defineProperty(new Error('x'), 'command', { value: DATA }),
    Object.assign(new Error('x'), { cause: Object.freeze({ ...command }) }),
    Object.defineProperty(new Error('x'), 'cause', {
      get: () => {
        throw new Error(DATA)
      },
    }),
    new Proxy(new Error(DATA), {
      ownKeys: () => {
        throw new Error(DATA)
      },
    }),
  ]
  for (const error of errors) {
    const shown = redactError(error)
    t.ok(shown instanceof Error)
    t.notMatch(inspect(shown, { depth: null, showHidden: true }), DATA)
  }
  t.end()
})

test('a cause, a code or a stack that holds data is taken off as well', (t) => {
  const error = Object.assign(new Error(DATA), { cause: DATA, code: { key: DATA }, errors: new Map([[1, DATA]]) })
  error.message = 'another'
  t.equal(redactError(error), error)
  t.notMatch(inspect(error, { depth: null, showHidden: true }), DATA)
  t.match(error.stack, /^Error: another\n {4}at /)
  t.end()
})
