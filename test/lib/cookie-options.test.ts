import { test } from 'tap'
import { checkCookie, type CookieOptions } from '../../lib/cookie-options.ts'
import type { App, CookieJar } from '../../lib/index.ts'
import { jarApp, thrown, useJar } from '../jar-app.ts'
import { ask, attributesOf, serve } from '../server.ts'

const setX = (options: CookieOptions) => (jar: CookieJar) => void jar.set('x', 'v', options)

/** As behind a proxy that ends TLS. */
const https = (app: App): App => {
  return (req) => app(Object.assign(req, { forwarded: { scheme: 'https', host: 'www.example.com', address: '::1' } }))
}

test("CORE-19: domain 'all' is the host's registrable domain, as Rails guesses it", async (t) => {
  const { port } = await serve(t, jarApp(setX({ domain: 'all' })))
  const domains: Record<string, string | undefined> = {
    'www.nextangle.com': 'nextangle.com',
    'x.nextangle.co.uk': 'nextangle.co.uk',
    'x.nextangle.com.au': 'nextangle.com.au',
    'x.hawth.ca': 'hawth.ca',
    'nextangle.local:3000': 'nextangle.local',
    'A.B.Example.CO.UK': 'example.co.uk',
    'a.b.c.de': 'c.de',
    'b.cc': 'b.cc',
    'localhost:3000': undefined,
    '127.0.0.1': undefined,
    '[::1]:3000': undefined,
    'example.com.': undefined,
    'www..com': undefined,
    'x.<script>.com': undefined,
    'exam_ple.com': undefined,
  }
  for (const [host, domain] of Object.entries(domains)) {
    const { cookies, status } = await ask(port, '/', { headers: { host } })
    t.equal(status, 200, host)
    t.equal(attributesOf(cookies[0] ?? '')['domain'], domain, host)
  }
})

test('CORE-21: a number of labels, or a function, names the domain', async (t) => {
  const cases: [string, CookieOptions, string | undefined][] = [
    ['two.subdomains.nextangle.local', { domain: 'all', tldLength: 2 }, 'nextangle.local'],
    ['x.y.z.t.com', { domain: 'all', tldLength: 4 }, 'y.z.t.com'],
    ['t.com', { domain: 'all', tldLength: 4 }, undefined],
    ['www.nextangle.com', { domain: (req) => `.sub.${req.headers.host}` }, '.sub.www.nextangle.com'],
    ['www.nextangle.com', { domain: () => undefined }, undefined],
  ]
  for (const [host, options, domain] of cases) {
    const { cookies } = await useJar(t, setX(options), { headers: { host } })
    t.equal(attributesOf(cookies[0] ?? '')['domain'], domain, host)
  }
  await useJar(t, (jar) => {
    const odd = thrown(() => jar.set('x', 'v', { domain: () => 'a\r\nb' }))
    t.match(odd, { code: 'ERR_INVALID_OPTION', message: /function.*"a\\r\\nb"/ })
  })
})

test('CORE-22: of a list of domains the one counts that the host belongs to', async (t) => {
  const app = jarApp(setX({ domain: ['example1.com', 'example2.com', '.example3.com'] }))
  const { port } = await serve(t, app)
  const domains: Record<string, string | undefined> = {
    'subdomain.example1.com': 'example1.com',
    'EXAMPLE2.com:80': 'example2.com',
    'www.example3.com': '.example3.com',
    'example3.com': '.example3.com',
    'myexample1.com': undefined,
    'example1.com.au': undefined,
    'other-domain.com': undefined,
  }
  for (const [host, domain] of Object.entries(domains)) {
    const { cookies } = await ask(port, '/', { headers: { host } })
    t.equal(attributesOf(cookies[0] ?? '')['domain'], domain, host)
  }
})

test('every attribute is sent as it was asked for', async (t) => {
  const all: CookieOptions = {
    path: '/p',
    domain: 'example.com',
    expires: new Date(Date.UTC(2030, 0, 2, 3, 4, 5)),
    maxAge: 9,
    secure: true,
    httpOnly: true,
    sameSite: 'strict',
    partitioned: true,
    priority: 'high',
  }
  const { port } = await serve(t, https(jarApp(setX(all))))
  const { cookies } = await ask(port, '/')
  t.same(attributesOf(cookies[0] ?? ''), {
    path: '/p',
    domain: 'example.com',
    expires: 'Wed, 02 Jan 2030 03:04:05 GMT',
    'max-age': '9',
    secure: true,
    httponly: true,
    samesite: 'Strict',
    partitioned: true,
    priority: 'High',
  })
})

test('names and attributes that no browser accepts are refused at the call, and nothing is sent', async (t) => {
  const bad: Record<string, Record<string, unknown>[]> = {
    path: [
      { path: 'p' },
      { path: '' },
      { path: '/a;b' },
      { path: '/a\r\nb: c' },
      { path: '/é' },
      { path: '/<' },
      { path: null },
    ],
    domain: [
      { domain: '' },
      { domain: 'exa mple.com' },
      { domain: 'example.com; Path=/' },
      { domain: 'a\nb' },
      { domain: 'münchen.de' },
      { domain: ['ok.com', 'not ok'] },
      { domain: 5 },
      { domain: `${'a'.repeat(70)}.com` },
    ],
    tldLength: [
      { domain: 'all', tldLength: 0 },
      { domain: 'all', tldLength: -2 },
      { domain: 'all', tldLength: 1.5 },
      { domain: 'all', tldLength: '2' },
    ],
    sameSite: [{ sameSite: 'Lax' }, { sameSite: 'nope' }, { sameSite: true }, { sameSite: 'none' }],
    maxAge: [{ maxAge: 1.5 }, { maxAge: Number.NaN }, { maxAge: Infinity }, { maxAge: '60' }, { maxAge: null }],
    expires: [{ expires: new Date('no') }, { expires: '2030-01-01' }, { expires: 0 }, { expires: new Date(8.64e15) }],
    priority: [{ priority: 'High' }, { priority: 'urgent' }, { priority: 1 }],
    secure: [{ secure: 1 }, { secure: 'true' }, { httpOnly: 'yes' }, { partitioned: 0 }, { partitioned: true }],
  }
  const { cookies, result } = await useJar(t, (jar) => {
    for (const [name, cases] of Object.entries(bad)) {
      for (const options of cases) {
        const error = thrown(() => jar.set('x', 'v', options))
        const what = `${name} ${JSON.stringify(options)}`
        t.match(error, { code: 'ERR_INVALID_OPTION', message: /^The cookie x / }, what)
        t.match(error?.message.toLowerCase(), name.toLowerCase(), what)
      }
    }
    for (const name of ['', 'a b', 'a;b', 'a=b', 'a,b', 'a\r\nb', 'a\0', 'é', '"a"', '[a]', undefined, 5]) {
      const error = thrown(() => jar.set(name as string, 'v'))
      t.match(error, { code: 'ERR_INVALID_OPTION', message: /no token/ }, JSON.stringify(name))
      t.notMatch(error?.message, /[\r\n\0]/)
    }
    return jar.size
  })
  t.equal(result, 0)
  t.same(cookies, [])
})

test('the prefixes __Host- and __Secure- are set and deleted as browsers want them', async (t) => {
  const app = jarApp((jar) => {
    jar.set('__Host-a', '1', { secure: true })
    jar.set('__secure-b', '1', { secure: true, path: '/p', domain: 'example.com' })
    jar.delete('__Host-c')
    jar.delete('__Secure-d', { path: '/p' })
    return [
      jar.set.bind(jar, '__Host-a', '1'),
      jar.set.bind(jar, '__host-a', '1', { secure: true, path: '/p' }),
      jar.set.bind(jar, '__Host-a', '1', { secure: true, domain: 'example.com' }),
      jar.set.bind(jar, '__Secure-b', '1', { secure: false }),
      jar.delete.bind(jar, '__Host-e', { path: '/p' }),
    ].map((call) => thrown(call)?.code)
  })
  const { port } = await serve(t, https(app))
  const { cookies, body } = await ask(port, '/', { headers: { cookie: '__Host-c=1; __Secure-d=1; __Host-e=1' } })
  t.same(JSON.parse(body), Array(5).fill('ERR_INVALID_OPTION'))
  const ended = 'Max-Age=0; Path=/'
  t.same(cookies, [
    '__Host-a=1; Path=/; Secure; SameSite=Lax',
    '__secure-b=1; Domain=example.com; Path=/p; Secure; SameSite=Lax',
    `__Host-c=; ${ended}; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; SameSite=Lax`,
    `__Secure-d=; ${ended}p; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; SameSite=Lax`,
  ])
})

test('a deletion is as secure as its attributes want it, since browsers would drop it otherwise', async (t) => {
  const cookie = 'a=1; b=1; c=1'
  const { cookies } = await useJar(
    t,
    (jar) => {
      jar.delete('a')
      jar.delete('b', { sameSite: 'lax', partitioned: true })
      jar.delete('c', { sameSite: 'lax' })
    },
    { cookie },
    { sameSite: 'none' },
  )
  t.same(
    cookies.map((line) => 'secure' in attributesOf(line)),
    [true, true, false],
  )
})

test('a cookie whose name we would not set can be deleted', async (t) => {
  const { cookies, result } = await useJar(t, (jar) => jar.delete('cart[0]'), { cookie: 'cart[0]=1' })
  t.equal(result, '1')
  t.match(cookies, [/^cart\[0\]=; Max-Age=0/])

  const odd = await useJar(t, (jar) => [jar.delete('a b'), jar.get('a b')], { cookie: 'a b=1' })
  t.same([odd.result, odd.cookies], [['1', '1'], []], 'but nothing is sent for one that no browser can have sent')
})

test("the session's check leaves out what is decided later", (t) => {
  checkCookie('_session', { secure: true, sameSite: 'none', partitioned: true, domain: () => undefined })
  t.throws(() => checkCookie('_session', { secure: false, sameSite: 'none' }), { code: 'ERR_INVALID_OPTION' })
  t.end()
})
