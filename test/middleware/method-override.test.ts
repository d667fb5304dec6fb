import type { IncomingMessage } from 'node:http'
import { connect as connect2, createServer as createServer2 } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { test } from 'tap'
import {
  Builder,
  cookies,
  csrf,
  form,
  lint,
  methodOverride,
  session,
  toListener,
  type App,
  type MethodOverrideOptions,
} from '../../lib/index.ts'
import { thrown } from '../jar-app.ts'
import { ask, serve, type Answer, type Ask, type Owner } from '../server.ts'
import { SECRET } from '../session-app.ts'

const URLENCODED = 'application/x-www-form-urlencoded'

const stackOf = (options?: MethodOverrideOptions) =>
  new Builder()
    .use(lint())
    .use(form({ limit: 1000 }))
    .use(methodOverride(options))
    .use(lint())

/** Answers the method as the app sees it, and as it was sent. */
async function serveMethods(
  t: Owner,
  options?: MethodOverrideOptions,
): Promise<{ send: (asked: Ask) => Promise<Answer>; errors: unknown[] }> {
  const app = stackOf(options).run((req) => [200, {}, `${req.method} ${req.originalMethod}`])
  const { port, errors } = await serve(t, app)
  return { send: (asked) => ask(port, '/?_method=put', asked), errors }
}

const posted = (body: string, headers: Record<string, string | string[]> = {}, method = 'POST'): Ask => ({
  method,
  body,
  headers: { 'content-type': URLENCODED, ...headers },
})

test('the field _method of a POST is the method that the app sees', async (t) => {
  const { send } = await serveMethods(t)
  const forms: Record<string, string> = {
    '_method=put': 'PUT',
    '_method=PATCH&a=1': 'PATCH',
    'a=1&_method=Delete': 'DELETE',
    '_method=put&_method=delete': 'DELETE',
  }
  for (const body in forms) t.equal((await send(posted(body))).body, `${forms[body]} POST`, body)
  const chunked = posted('_method=put', { 'transfer-encoding': 'chunked' })
  t.equal((await send(chunked)).body, 'PUT POST')
})

test('without the field, the header x-http-method-override counts', async (t) => {
  const { send } = await serveMethods(t)
  const header = { 'x-http-method-override': 'delete' }
  t.equal((await send(posted('a=1', header))).body, 'DELETE POST')
  t.equal((await send({ method: 'POST', headers: header })).body, 'DELETE POST')
  const json = { ...header, 'content-type': 'application/json' }
  t.equal((await send({ method: 'POST', body: '{}', headers: json })).body, 'DELETE POST')
  t.equal((await send(posted('_method=patch', header))).body, 'PATCH POST', 'the field goes before')
  t.equal((await send(posted('_method=foo', header))).body, 'POST POST')
})

test('HTTP-15: anything else leaves the method as it is, and is no error', async (t) => {
  const { send, errors } = await serveMethods(t)
  const multipart = '--x\r\ncontent-disposition: form-data; name="_method"\r\n\r\nput\r\n--x--'
  const unchanged: Record<string, Ask> = {
    'in the query string': { method: 'POST' },
    foo: posted('_method=foo'),
    absent: posted('a=put'),
    empty: posted('_method='),
    'not a string': posted('_method[]=put&_method[a]=put'),
    'of another case': posted('_METHOD=put'),
    'in JSON': posted('{"_method":"put"}', { 'content-type': 'application/json' }),
    'in multipart': posted(multipart, { 'content-type': 'multipart/form-data; boundary=x' }),
    'in multipart without a boundary': posted(multipart, { 'content-type': 'multipart/form-data' }),
    'that cannot be decoded': posted('_method=%&%=%FF&%zz'),
    'with white space': posted('_method=+put'),
    'too deep': posted(`_method${'[a]'.repeat(300)}=put`),
    'of a prototype': posted('_method=__proto__'),
    'a header of two': posted('', { 'x-http-method-override': ['PUT', 'DELETE'] }),
    'an empty header': posted('', { 'x-http-method-override': '' }),
  }
  for (const name in unchanged) {
    const { status, body } = await send(unchanged[name] as Ask)
    t.equal(`${status} ${body}`, '200 POST POST', name)
  }
  // csrf() and others let these pass, and nobody sends the last three
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'QUERY', 'TRACE', 'CONNECT', 'POST', 'LINK', 'UNLINK', 'PROPFIND']) {
    t.equal((await send(posted(`_method=${method}`))).body, 'POST POST', method)
    t.equal((await send(posted('', { 'x-http-method-override': method }))).body, 'POST POST', method)
  }
  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    const { body } = await send(posted('_method=put', { 'x-http-method-override': 'patch' }, method))
    t.equal(body, `${method} ${method}`)
  }
  t.same(errors, [])
})

test('HTTP-15: a form in an encoding that is not read stays a POST, and is noted', async (t) => {
  const heard: unknown[] = []
  const { send, errors } = await serveMethods(t, { onError: (error, req) => heard.push([error, req.method]) })
  const body = gzipSync('_method=put').toString('latin1')
  const { status, body: answer } = await send(posted(body, { 'content-encoding': 'gzip' }))
  t.equal(`${status} ${answer}`, '200 POST POST')
  t.match(heard, [[{ code: 'ERR_FORM_UNSUPPORTED' }, 'POST']])
  t.same(errors, [])

  const log = console.error
  t.teardown(() => void (console.error = log))
  console.error = (...args: unknown[]): unknown => heard.push(args)
  const quiet = await serveMethods(t)
  const header = { 'content-encoding': 'gzip', 'x-http-method-override': 'put' }
  t.equal((await quiet.send(posted(body, header))).body, 'PUT POST', 'the header is read')
  t.match(heard[1], [{ code: 'ERR_FORM_UNSUPPORTED' }])
})

test('a form over the limit is a 413, and the app is not called', async (t) => {
  let called = false
  const app = stackOf().run(() => {
    called = true
    return [200, {}, '']
  })
  const { port, errors } = await serve(t, app)
  t.equal((await ask(port, '/', posted(`_method=put&a=${'x'.repeat(1000)}`))).status, 413)
  t.match(errors, [{ code: 'ERR_FORM_TOO_LARGE' }])
  t.equal(called, false)
})

test('req.method is as it was when the app has answered, or failed', async (t) => {
  const seen: unknown[] = []
  const apps: Record<string, App> = {
    '/answers': () => [200, {}, ''],
    '/answers-later': async () => [200, {}, ''],
    '/throws': () => {
      throw new Error('at once')
    },
    '/rejects': () => Promise.reject(new Error('later')),
  }
  const app = new Builder()
    .use((inner) => async (req) => {
      try {
        return await inner(req)
      } finally {
        seen.push(req.method)
      }
    })
    .use(form())
    .use(methodOverride())
    .run((req) => {
      seen.push(req.method)
      return (apps[req.url ?? ''] as App)(req)
    })
  const { port } = await serve(t, app)
  for (const path in apps) {
    await ask(port, path, posted('_method=put'))
    t.same(seen.splice(0), ['PUT', 'POST'], path)
  }
})

test('a second one, in a stack inside map, changes nothing more', async (t) => {
  const app = stackOf().map('/inner', (inner) =>
    inner
      .use(form())
      .use(methodOverride())
      .run((req) => [200, {}, `${req.method} ${req.originalMethod}`]),
  )
  const { port } = await serve(t, app.run())
  t.equal((await ask(port, '/inner', posted('_method=put'))).body, 'PUT POST')
  t.equal((await ask(port, '/inner', { method: 'GET' })).body, 'GET GET')
})

test('over HTTP/2 the method is overridden and restored all the same', async (t) => {
  const seen: unknown[] = []
  const app = new Builder()
    .use((inner) => async (req) => {
      const response = await inner(req)
      seen.push(req.method)
      return response
    })
    .use(form())
    .use(methodOverride())
    .run((req) => [200, {}, `${req.method} ${req.originalMethod}`])
  const server = createServer2(toListener(app))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(() => {
    client.destroy()
    server.close()
  })
  const stream = client.request({ ':method': 'POST', 'content-type': URLENCODED })
  let body = ''
  for await (const chunk of stream.end('_method=delete')) body += String(chunk)
  t.equal(body, 'DELETE POST')
  t.same(seen, ['POST'])
})

test('csrf() goes by the method that was sent', async (t) => {
  const app = new Builder()
    .use(form())
    .use(methodOverride())
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(csrf({ log: false }))
    .run((req) => [200, {}, `${req.method}`])
  const { port } = await serve(t, app)
  for (const method of ['GET', 'HEAD', 'QUERY', 'DELETE']) {
    t.equal((await ask(port, '/', posted(`_method=${method}`))).status, 422, method)
    const header = { 'x-http-method-override': method, 'sec-fetch-site': 'cross-site' }
    t.equal((await ask(port, '/', { method: 'POST', headers: header })).status, 422, method)
  }
  t.equal((await ask(port, '/', posted('_method=delete', { 'sec-fetch-site': 'same-origin' }))).body, 'DELETE')
})

test('a GET is answered without a promise where the app is', (t) => {
  const app = form()(methodOverride()(() => [200, {}, '']))
  t.same(app({ method: 'GET' } as IncomingMessage), [200, {}, ''])
  t.end()
})

test('without form() above it is an error when the stack is built, and does not compile', (t) => {
  const error = thrown(() =>
    // @ts-expect-error -- needs req.form
    new Builder().use(methodOverride()),
  )
  t.match(error, { code: 'ERR_STACK_ORDER', message: /methodOverride.*req\.form/ })
  const wrong = thrown(() => methodOverride({ onError: 'log' } as unknown as MethodOverrideOptions))
  t.match(wrong, { code: 'ERR_INVALID_OPTION', message: /onError/ })
  t.end()
})
