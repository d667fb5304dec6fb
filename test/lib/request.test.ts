import { createServer, connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'tap'
import { toListener, type App, type Forwarded } from '../../lib/index.ts'
import { hostOf, isLoopback, isSecure, originOf } from '../../lib/request.ts'
import { ask, askRaw, serve } from '../server.ts'

const app: App = (req) => [200, {}, JSON.stringify([hostOf(req), isLoopback(req), isSecure(req)])]

const forwarded = (value: Forwarded): App => {
  return (req) => app(Object.assign(req, { forwarded: value }))
}

test('the host is in lower case and without its port', async (t) => {
  const { port } = await serve(t, app)
  const hosts: Record<string, [host: string, loopback: boolean]> = {
    'Example.COM': ['example.com', false],
    'example.com:8080': ['example.com', false],
    'example.com:': ['example.com', false],
    'localhost:3000': ['localhost', true],
    'app.LOCALHOST': ['app.localhost', true],
    'localhost.': ['localhost.', true],
    'app.localhost.:80': ['app.localhost.', true],
    'localhost..': ['localhost..', false],
    'localhost.example.com': ['localhost.example.com', false],
    notlocalhost: ['notlocalhost', false],
    '127.0.0.1': ['127.0.0.1', true],
    '127.1.2.3:80': ['127.1.2.3', true],
    '127.0.0.1.example.com': ['127.0.0.1.example.com', false],
    '1127.0.0.1': ['1127.0.0.1', false],
    '[::1]:3000': ['[::1]', true],
    '[::1]': ['[::1]', true],
    '[::2]': ['[::2]', false],
    '::1': [':', false],
    '[2001:db8::1]': ['[2001:db8::1]', false],
  }
  for (const [host, expected] of Object.entries(hosts)) {
    t.same(JSON.parse((await ask(port, '/', { headers: { host } })).body), [...expected, false], host)
  }
  const none = await askRaw(port, 'GET / HTTP/1.0\r\n\r\n')
  t.match(none, '["",false,false]')
})

test('the word of a trusted proxy goes before', async (t) => {
  const { port } = await serve(t, forwarded({ scheme: 'https', host: 'Shop.example:8443', address: '192.0.2.1' }))
  t.equal((await ask(port, '/', { headers: { host: 'localhost' } })).body, '["shop.example",false,true]')
  const plain = await serve(t, forwarded({ scheme: 'http', host: 'localhost', address: '192.0.2.1' }))
  t.equal((await ask(plain.port, '/', { headers: { host: 'example.com' } })).body, '["localhost",true,false]')
})

test("our own origin is written as browsers write it, a trusted proxy's word included", async (t) => {
  const echo: App = (req) => [200, {}, originOf(req)]
  const { port } = await serve(t, echo)
  const origins: Record<string, string> = {
    'Example.COM': 'http://example.com',
    'example.com:8080': 'http://example.com:8080',
    'example.com:80': 'http://example.com',
    'example.com:443': 'http://example.com:443',
    '[::1]:80': 'http://[::1]',
    '[::80]': 'http://[::80]',
  }
  for (const [host, origin] of Object.entries(origins)) {
    t.equal((await ask(port, '/', { headers: { host } })).body, origin, host)
  }
  t.match(await askRaw(port, 'GET / HTTP/1.0\r\n\r\n'), /\r\n\r\nhttp:\/\/$/)
  for (const [host, origin] of [
    ['Shop.example:443', 'https://shop.example'],
    ['shop.example:80', 'https://shop.example:80'],
  ] as const) {
    const address = '192.0.2.1'
    const proxied = await serve(t, (req) => echo(Object.assign(req, { forwarded: { scheme: 'https', host, address } })))
    t.equal((await ask(proxied.port, '/')).body, origin)
  }
})

test('headers that say so are not believed', async (t) => {
  const { port } = await serve(t, app)
  const headers = {
    host: 'a.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'localhost',
    forwarded: 'proto=https',
  }
  t.equal((await ask(port, '/', { headers })).body, '["a.example",false,false]')
})

test('over http/2 the host is the authority', async (t) => {
  const server = createServer(toListener(app))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(() => {
    client.close()
    server.close()
  })
  const stream = client.request({ ':path': '/', ':authority': 'App.localhost:3000' })
  let body = ''
  for await (const chunk of stream) body += String(chunk)
  t.equal(body, '["app.localhost",true,false]')
})
