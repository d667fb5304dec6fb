import { test } from 'tap'
import { errorResponse, statusOf } from '../../lib/error-response.ts'
import { FormTooLargeError } from '../../lib/index.ts'
import { ask, serve } from '../server.ts'

test('an error that says that the request was at fault has its own status, and any other is a 500', (t) => {
  const statuses: [error: unknown, status: number][] = [
    [new FormTooLargeError(10), 413],
    [Object.assign(new Error('x'), { status: 404 }), 404],
    [Object.assign(new Error('x'), { statusCode: 429 }), 429],
    [Object.assign(new Error('x'), { status: 'gone', statusCode: 410 }), 410],
    [Object.assign(new Error('x'), { status: 200 }), 500],
    [Object.assign(new Error('x'), { status: 503 }), 500],
    [Object.assign(new Error('x'), { status: 404.5 }), 500],
    [new Error('x'), 500],
    ['text', 500],
    [undefined, 500],
    [null, 500],
  ]
  for (const [error, status] of statuses) t.equal(statusOf(error), status)
  t.end()
})

test('the page of an error says its status and nothing else, and is for no cache', (t) => {
  const secret = Object.assign(new Error('a secret'), { status: 418 })
  t.strictSame(errorResponse(secret), [
    418,
    { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', 'content-length': 13 },
    "I'm a Teapot\n",
  ])
  t.match(errorResponse(Object.assign(new Error('x'), { status: 499 })), [499, {}, 'Error\n'])
  t.end()
})

test('the listener answers with the status that an error names, and tells of it', async (t) => {
  const error = Object.assign(new Error('a secret'), { status: 404 })
  const { port, errors } = await serve(t, () => {
    throw error
  })
  t.match(await ask(port, '/'), { status: 404, body: 'Not Found\n' })
  t.match(await ask(port, '/', { method: 'HEAD' }), { status: 404, body: '' })
  t.strictSame(errors, [error, error])
})
