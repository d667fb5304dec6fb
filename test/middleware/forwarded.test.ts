import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request, type IncomingMessage } from 'node:http'
import { connect as connect2, createServer as createServer2 } from 'node:http2'
import { createServer as createServerTls, request as requestTls } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import {
  Builder,
  cookies,
  forwarded,
  lint,
  session,
  toListener,
  type App,
  type Forwarded,
  type ForwardedOptions,
} from '../../lib/index.ts'
import { thrown } from '../jar-app.ts'
import { ask, attributesOf, serve, type Owner } from '../server.ts'
import { SECRET } from '../session-app.ts'

const appOf = (trust?: ForwardedOptions['trust']): App =>
  new Builder()
    .use(lint())
    .use(forwarded({ trust }))
    .use(lint())
    .run((req) => [200, {}, JSON.stringify(req.forwarded)])

/** What a server that trusts these proxies makes of a request from 127.0.0.1. */
async function see(
  t: Owner,
  trust: ForwardedOptions['trust'],
  headers: Record<string, string | string[]>,
): Promise<Forwarded> {
  const { port } = await serve(t, appOf(trust))
  return JSON.parse((await ask(port, '/', { headers: { host: 'own.example', ...headers } })).body) as Forwarded
}

const told = {
  'x-forwarded-proto': 'https',
  'x-forwarded-host': 'shop.example:8443',
  'x-forwarded-for': '203.0.113.9',
}
const believed = { scheme: 'https', host: 'shop.example:8443', address: '203.0.113.9' }
const direct = { scheme: 'http', host: 'own.example', address: '127.0.0.1' }

async function listen(t: Owner, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port
}

async function bodyOf(stream: AsyncIterable<unknown>): Promise<unknown> {
  let body = ''
  for await (const chunk of stream) body += String(chunk)
  return JSON.parse(body)
}

test('nobody is believed by default', async (t) => {
  t.same(await see(t, undefined, told), direct)
  t.same(await see(t, [], told), direct)
  t.same(await see(t, 0, told), direct)
})

test('a proxy is believed when its address is trusted, and no other', async (t) => {
  const trusting: ForwardedOptions['trust'][] = [
    'loopback',
    '127.0.0.1',
    '127.0.0.0/8',
    '127.0.0.0/255.0.0.0',
    ['10.0.0.0/8', 'loopback'],
    1,
    (address) => address === '127.0.0.1',
  ]
  for (const trust of trusting) t.same(await see(t, trust, told), believed, String(trust))
  for (const trust of ['uniquelocal', '127.0.0.2', '::1', ['10.0.0.0/8', '192.0.2.1'], () => false]) {
    t.same(await see(t, trust, told), direct, String(trust))
  }
})

test('each of the three headers is believed by itself', async (t) => {
  for (const [header, name] of [
    ['x-forwarded-proto', 'scheme'],
    ['x-forwarded-host', 'host'],
    ['x-forwarded-for', 'address'],
  ] as const) {
    t.same(await see(t, 'loopback', { [header]: told[header] }), { ...direct, [name]: believed[name] })
  }
  t.same(await see(t, 'loopback', {}), direct)
})

test('of a list, the value counts that the outermost trusted proxy wrote, and not what the client sent', async (t) => {
  const trust = ['loopback', '10.0.0.0/8']
  const cases: [addresses: string, list: string, expected: string][] = [
    // one proxy: it replaces the header, or adds to what the client sent
    ['203.0.113.9', 'a', 'a'],
    ['203.0.113.9', 'client, a', 'a'],
    ['203.0.113.9', 'client, client, a', 'a'],
    // the client claims to be behind a proxy that is trusted
    ['10.9.9.9, 203.0.113.9', 'client, a', 'a'],
    // two proxies: both add, the outer replaces and the inner adds, or only one of them writes it
    ['203.0.113.9, 10.0.0.1', 'client, a, b', 'a'],
    ['203.0.113.9, 10.0.0.1', 'a, b', 'a'],
    ['203.0.113.9, 10.0.0.1', 'a', 'a'],
    // three, and nobody beyond them
    ['10.0.0.2, 10.0.0.1', 'client, a, b, c', 'a'],
    // a proxy that writes nothing gives the client no say
    ['203.0.113.9', 'client,', 'own'],
    ['203.0.113.9', 'client, ,', 'own'],
  ]
  for (const [addresses, list, expected] of cases) {
    const saidHost = list.replace(/\w+/g, '$&.example')
    const saidProto = list.replaceAll(/client|[bc]/g, 'http').replace(/\ba\b/, 'HTTPS')
    const headers = { 'x-forwarded-for': addresses, 'x-forwarded-host': saidHost, 'x-forwarded-proto': saidProto }
    const { host, scheme } = await see(t, trust, headers)
    t.equal(host, `${expected}.example`, `${addresses}: ${list}`)
    t.equal(scheme, expected === 'a' ? 'https' : 'http', `${addresses}: ${saidProto}`)
  }
  const lines = { 'x-forwarded-host': ['client.example', 'a.example'], 'x-forwarded-for': ['10.9.9.9', '203.0.113.9'] }
  t.match(await see(t, 'loopback', lines), { host: 'a.example', address: '203.0.113.9' }, 'lines are one list')
})

test('the address is the first one, from the server on, that is not of a trusted proxy', async (t) => {
  const trust = ['loopback', '10.0.0.0/8']
  const addresses: Record<string, string> = {
    '203.0.113.9': '203.0.113.9',
    '10.9.9.9, 203.0.113.9': '203.0.113.9',
    '198.51.100.7, 203.0.113.9, 10.0.0.1': '203.0.113.9',
    '10.0.0.2, 10.0.0.1': '10.0.0.2',
    '2001:db8::1': '2001:db8::1',
    // what is no address falls back to the last one that is
    unknown: '127.0.0.1',
    '203.0.113.9, <script>': '127.0.0.1',
    '203.0.113.9:5678, 10.0.0.1:99': '203.0.113.9',
    '[2001:db8::9]:5678': '2001:db8::9',
    '999.1.1.1': '127.0.0.1',
    '1': '127.0.0.1',
    ', ,': '127.0.0.1',
  }
  for (const said in addresses) {
    t.equal((await see(t, trust, { 'x-forwarded-for': said })).address, addresses[said], said)
  }
})

test('a scheme or a host that cannot be one is not believed', async (t) => {
  for (const scheme of ['', 'ftp', 'https;', 'https http', 'wss', '"https"', 'on']) {
    t.equal((await see(t, 'loopback', { 'x-forwarded-proto': scheme })).scheme, 'http', scheme)
  }
  t.equal((await see(t, 'loopback', { 'x-forwarded-proto': ' HTTPS ' })).scheme, 'https')
  const wrong = [
    '',
    'a b',
    'a/b',
    'a.example/',
    'user@a.example',
    'a.example?',
    '"a"',
    'a:b',
    'a:1:2',
    'a:123456',
    '::1',
  ]
  for (const host of [...wrong, '[::1', '[x]', '[]', '<b>', 'é.example', 'a'.repeat(254), 'a\tb']) {
    t.equal((await see(t, 'loopback', { 'x-forwarded-host': host })).host, 'own.example', host)
  }
  for (const host of ['a', 'A_b-c.Example.', '127.0.0.1:80', '[::1]', '[2001:db8::1]:8443']) {
    t.equal((await see(t, 'loopback', { 'x-forwarded-host': host })).host, host)
  }
})

test('SECURITY-15: a scheme that would be markup in a page is http', async (t) => {
  const scheme = 'a."><script>alert(1)</script>'
  for (const said of [scheme, `https, ${scheme}`, `${scheme}https`, `https${scheme}`]) {
    t.equal((await see(t, 'loopback', { 'x-forwarded-proto': said })).scheme, 'http', said)
  }
  // the header that Rack reads beside it is not read here
  t.equal((await see(t, 'loopback', { 'x-forwarded-scheme': scheme })).scheme, 'http')
})

test('a function is asked from the server outwards, until it answers anything but true', async (t) => {
  const asked: [address: string, hop: number][] = []
  const trust = (address: string, hop: number): boolean => {
    asked.push([address, hop])
    return hop < 2
  }
  const headers = { ...told, 'x-forwarded-for': '198.51.100.7, 203.0.113.9, 192.0.2.1' }
  t.equal((await see(t, trust, headers)).address, '203.0.113.9')
  t.same(asked, [
    ['127.0.0.1', 0],
    ['192.0.2.1', 1],
    ['203.0.113.9', 2],
  ])
  const late = (async () => true) as unknown as (address: string) => boolean
  t.same(await see(t, late, told), direct, 'a promise of true is not true')
})

test('a number trusts so many proxies, whatever their addresses', async (t) => {
  const headers = {
    'x-forwarded-for': '198.51.100.7, 203.0.113.9, 192.0.2.1',
    'x-forwarded-proto': 'http, https, http',
  }
  t.match(await see(t, 1, headers), { address: '192.0.2.1', scheme: 'http' })
  t.match(await see(t, 2, headers), { address: '203.0.113.9', scheme: 'https' })
  t.match(await see(t, 9, headers), { address: '198.51.100.7', scheme: 'http' })
})

test('what cannot be trusted is an error when the stack is built', async (t) => {
  const wrong = ['', 'localhost', '1', '10.0.0.0/0', '10.0.0.0/33', '::1/129', 'a/8', '0.0.0.0/0', '127.0.0.1,10.0.0.1']
  for (const trust of [
    ...wrong,
    ['loopback', 'nobody'],
    [1],
    true,
    false,
    null,
    -1,
    0.5,
    NaN,
    Infinity,
    {},
    'toString',
  ]) {
    const error = thrown(() => forwarded({ trust } as ForwardedOptions))
    t.match(error, { code: 'ERR_INVALID_OPTION', message: /trust.*'loopback'/ }, JSON.stringify(trust))
  }
})

test('a Unix socket has no address, and is trusted by a function or a number alone', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'luggage-rack-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const seeBySocket = async (name: string, trust: ForwardedOptions['trust'], headers = {}): Promise<unknown> => {
    const socketPath = join(folder, name)
    const server = createServer(toListener(appOf(trust)))
    await new Promise<void>((resolve) => server.listen(socketPath, resolve))
    t.teardown(() => void server.close())
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ socketPath, agent: false, headers: { host: 'own.example', ...headers } }, resolve)
        .on('error', reject)
        .end()
    })
    return bodyOf(res)
  }
  t.same(await seeBySocket('a', undefined, told), { ...direct, address: '' })
  t.same(await seeBySocket('b', 'loopback', told), { ...direct, address: '' })
  t.same(await seeBySocket('c', (address, hop) => address === '' && hop === 0, told), believed)
  t.same(await seeBySocket('d', 1, told), believed)
  t.same(await seeBySocket('e', 1), { ...direct, address: '' })
})

test('over HTTP/2 the host is the authority, and a proxy is believed all the same', async (t) => {
  for (const [trust, headers, expected] of [
    [undefined, told, { ...direct, host: 'h2.example' }],
    ['loopback', {}, { ...direct, host: 'h2.example' }],
    ['loopback', told, believed],
  ] as const) {
    const client = connect2(`http://127.0.0.1:${await listen(t, createServer2(toListener(appOf(trust))))}`)
    const stream = client.request({ ':path': '/', ':authority': 'h2.example', ...headers })
    t.same(await bodyOf(stream), expected)
    client.destroy()
  }
})

test('without a word of a proxy, the scheme is that of the connection', async (t) => {
  // TLS without certificates: both ends know a key
  const tls = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
  const psk = Buffer.alloc(32, 7)
  const seeByTls = async (trust: ForwardedOptions['trust'], headers: Record<string, string>): Promise<unknown> => {
    const server = createServerTls({ ...tls, pskCallback: () => psk }, toListener(appOf(trust)))
    const port = await listen(t, server)
    const pskCallback = (): { psk: Buffer; identity: string } => ({ psk, identity: 'a test' })
    const options = { ...tls, pskCallback, checkServerIdentity: () => undefined, host: '127.0.0.1', port, agent: false }
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      requestTls({ ...options, headers: { host: 'own.example', ...headers } } as object, resolve)
        .on('error', reject)
        .end()
    })
    return bodyOf(res)
  }
  t.same(await seeByTls(undefined, {}), { ...direct, scheme: 'https' })
  t.same(await seeByTls('loopback', { 'x-forwarded-proto': 'ftp' }), { ...direct, scheme: 'https' })
  t.same(await seeByTls('loopback', { 'x-forwarded-proto': 'http' }), direct)
})

test('req.forwarded is frozen, and a stack inside map may trust others', async (t) => {
  const seen: unknown[] = []
  const app = new Builder()
    .use(forwarded({ trust: 'loopback' }))
    .use((inner) => async (req) => {
      const response = await inner(req)
      seen.push(req.forwarded.host)
      return response
    })
    .map('/inner', (builder) =>
      builder.use(forwarded()).run((req) => [200, {}, `${req.forwarded.host} ${Object.isFrozen(req.forwarded)}`]),
    )
    .run((req) => [200, {}, `${req.forwarded.host} ${Object.isFrozen(req.forwarded)}`])
  const { port } = await serve(t, app)
  const headers = { host: 'own.example', ...told }
  t.equal((await ask(port, '/', { headers })).body, 'shop.example:8443 true')
  t.equal((await ask(port, '/inner', { headers })).body, 'own.example true')
  t.same(seen, ['shop.example:8443', 'shop.example:8443'])
})

test('headers as long as node takes them are read', async (t) => {
  const many = (one: string): string => `${`${one},`.repeat(1200)}${one}`
  const headers = {
    'x-forwarded-for': many('9.9.9.9'),
    'x-forwarded-host': many('a'),
    'x-forwarded-proto': ','.repeat(900),
  }
  t.same(await see(t, 'loopback', headers), { scheme: 'http', host: 'a', address: '9.9.9.9' })
  t.same(await see(t, () => true, headers), { scheme: 'http', host: 'a', address: '9.9.9.9' })
})

test("a session's cookie is Secure behind a trusted proxy with TLS, and not sent at the word of anybody else", async (t) => {
  const warnings: string[] = []
  const listener = (warning: Error): unknown => warnings.push(warning.message)
  process.on('warning', listener)
  t.teardown(() => void process.off('warning', listener))
  const setCookie = async (trust: ForwardedOptions['trust'], headers: Record<string, string>): Promise<string[]> => {
    const app = new Builder()
      .use(forwarded({ trust }))
      .use(cookies({ secret: SECRET }))
      .use(session<{ visits: number }>())
      .run(async (req) => {
        const hash = await req.session
        hash.visits = 1
        return [200, {}, '']
      })
    const { port } = await serve(t, app)
    return (await ask(port, '/', { headers: { host: 'shop.example', ...headers } })).cookies
  }
  const https = { 'x-forwarded-proto': 'https' }

  const [line = '', ...more] = await setCookie('loopback', https)
  t.match(line, /^_session_id=[^;]+;/)
  t.equal(attributesOf(line)['secure'], true)
  t.same(more, [])

  t.same(await setCookie('10.0.0.0/8', https), [], 'another address')
  t.same(await setCookie(undefined, https), [], 'nobody')
  t.same(await setCookie('loopback', { 'x-forwarded-proto': 'http' }), [], 'no TLS before the proxy')
  t.same(
    await setCookie('loopback', { 'x-forwarded-proto': 'https, http' }),
    [],
    'the client says https, the proxy http',
  )
  t.equal(warnings.filter((message) => message.includes('forwarded({ trust })')).length, 1)

  const [local = ''] = await setCookie(undefined, { host: 'localhost', ...https })
  t.equal(attributesOf(local)['secure'], undefined, 'a host of this machine needs no TLS')
  t.same(await setCookie('loopback', { host: 'localhost', 'x-forwarded-host': 'shop.example' }), [])
})
