import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chromium } from 'playwright-core'
import { test } from 'tap'
import { BrowserJar } from '../../lib/browser-jar.ts'

const NOW = Date.UTC(2026, 0, 1)
const DAY = 24 * 3600

/** What a new browser sends to one address after it was given lines by another. */
function sent(from: string, lines: string | string[], to: string = from): string | undefined {
  const jar = new BrowserJar(() => NOW)
  for (const line of [lines].flat()) jar.store(line, new URL(from))
  return jar.header(new URL(to))
}

test('a cookie goes back to the host that set it, and to no other', async (t) => {
  t.equal(sent('https://shop.example/', 'a=1'), 'a=1')
  t.equal(sent('https://shop.example/', 'a=1', 'http://shop.example:8080/b?c'), 'a=1', 'ports and schemes do not count')
  for (const other of [
    'https://example/',
    'https://www.shop.example/',
    'https://ashop.example/',
    'https://other.test/',
  ]) {
    t.equal(sent('https://shop.example/', 'a=1', other), undefined, other)
  }
})

test('a cookie with a Domain goes to that domain and to all below it', async (t) => {
  const from = 'https://www.shop.example/'
  for (const domain of ['shop.example', '.shop.example', 'SHOP.Example']) {
    const line = `a=1; Domain=${domain}`
    t.equal(sent(from, line), 'a=1', domain)
    t.equal(sent(from, line, 'https://shop.example/'), 'a=1', domain)
    t.equal(sent(from, line, 'https://a.b.shop.example/'), 'a=1', domain)
    t.equal(sent(from, line, 'https://eshop.example/'), undefined, domain)
  }
  t.equal(sent(from, 'a=1; Domain='), 'a=1', 'an empty one is none')
  t.equal(sent(from, 'a=1; Domain=', 'https://x.www.shop.example/'), undefined)
  t.equal(sent(from, 'a=1; Domain=shop.example; Domain=', 'https://shop.example/'), undefined, 'the last one counts')
})

test('a host may set no cookie for another domain, for one below it, or for a whole top-level domain', async (t) => {
  const jar = new BrowserJar(() => NOW)
  for (const domain of ['other.test', 'www.shop.example', 'example', '.example', 'op.example', 'shöp.example']) {
    t.equal(jar.store(`a=1; Domain=${domain}`, new URL('https://shop.example/')), false, domain)
  }
  t.equal(jar.size, 0)
})

test('addresses, and hosts of one label, have cookies for themselves alone', async (t) => {
  t.equal(sent('http://127.0.0.1/', 'a=1; Domain=127.0.0.1'), 'a=1')
  t.equal(sent('http://127.0.0.1/', 'a=1; Domain=0.0.1'), undefined)
  t.equal(sent('http://[::1]/', 'a=1'), 'a=1')
  t.equal(sent('http://localhost/', 'a=1; Domain=.localhost'), 'a=1')
  t.equal(sent('http://localhost/', 'a=1; Domain=localhost', 'http://app.localhost/'), undefined)
  t.equal(sent('http://app.localhost/', 'a=1; Domain=localhost'), undefined)
})

test('a cookie goes to its path and to what is below', async (t) => {
  const from = 'https://shop.example/any/page'
  const on = (line: string, path: string): string | undefined => sent(from, line, `https://shop.example${path}`)
  for (const path of ['/docs', '/docs/', '/docs/a', '/docs?a=1']) t.equal(on('a=1; Path=/docs', path), 'a=1', path)
  for (const path of ['/', '/doc', '/docsets', '/Docs', '/other/docs'])
    t.equal(on('a=1; Path=/docs', path), undefined, path)
  t.equal(on('a=1; Path=/docs/', '/docs/a'), 'a=1')
  t.equal(on('a=1; Path=/docs/', '/docs'), undefined)
})

test('without a path of its own a cookie is for the folder of the page that set it', async (t) => {
  const pathOf = (page: string, line = 'a=1'): string | undefined => {
    const jar = new BrowserJar(() => NOW)
    jar.store(line, new URL(page, 'https://shop.example'))
    return jar.get('a')?.path
  }
  for (const [page, folder] of [
    ['/', '/'],
    ['/a', '/'],
    ['/a/', '/a'],
    ['/a/b', '/a'],
    ['/a/b/c?d=/e/f', '/a/b'],
  ] as const) {
    t.equal(pathOf(page), folder, page)
  }
  t.equal(pathOf('/a/b', 'a=1; Path=relative'), '/a')
  t.equal(pathOf('/a/b', 'a=1; Path=/c; Path='), '/a')
  t.equal(pathOf('/a/b', `a=1; Path=/${'c'.repeat(1024)}`), '/a', 'too long a path is none')
})

test('Secure cookies come and go over https alone; a loopback host counts as https, as in Chromium', async (t) => {
  t.equal(sent('https://shop.example/', 'a=1; Secure'), 'a=1')
  t.equal(sent('https://shop.example/', 'a=1; Secure', 'http://shop.example/'), undefined)
  t.equal(sent('http://shop.example/', 'a=1; Secure', 'https://shop.example/'), undefined)
  for (const host of ['localhost:3000', 'app.localhost', '127.0.0.1:8080', '127.1.2.3', '[::1]:80']) {
    t.equal(sent(`http://${host}/`, 'a=1; Secure'), 'a=1', host)
  }
  t.equal(sent('http://127.example/', 'a=1; Secure'), undefined)
})

test('plain http does not replace or hide a Secure cookie', async (t) => {
  const jar = new BrowserJar(() => NOW)
  const [plain, secure] = [new URL('http://www.shop.example/a/b'), new URL('https://shop.example/')]
  t.ok(jar.store('a=good; Secure; Domain=shop.example; Path=/a', secure))
  t.notOk(jar.store('a=bad', plain), 'a longer path')
  t.notOk(jar.store('a=bad; Domain=shop.example; Path=/a', plain))
  t.notOk(jar.store('a=; Max-Age=0; Domain=shop.example; Path=/a', plain))
  t.ok(jar.store('a=other; Path=/', plain), 'what does not stand before it')
  t.ok(jar.store('b=1', plain))
  t.equal(jar.header(new URL('https://www.shop.example/a/b')), 'a=good; b=1; a=other')
  t.ok(jar.store('a=better; Domain=shop.example; Path=/a', secure), 'https may')
  t.equal(jar.get('a')?.value, 'better')
})

test('what browsers ignore is not held', async (t) => {
  const https = new URL('https://shop.example/')
  const jar = new BrowserJar(() => NOW)
  for (const line of [
    '',
    '=',
    '; Path=/',
    'a=1; SameSite=None',
    'a=1; Partitioned',
    'a=1\t2',
    '__Secure-a=1',
    '__secure-a=1; Path=/',
    '__Host-a=1; Path=/',
    '__Host-a=1; Secure',
    '__Host-a=1; Secure; Path=/a',
    '__HOST-a=1; Secure; Path=/; Domain=shop.example',
    '=__Host-a=1; Secure; Path=/',
    '__Secure-a; Secure',
    `a=${'1'.repeat(4096)}`,
  ]) {
    t.equal(jar.store(line, https), false, line.slice(0, 60))
  }
  t.equal(jar.size, 0)
  for (const line of [
    'a=1; SameSite=None; Secure',
    'b=1; Partitioned; Secure',
    '__Secure-c=1; Secure; Domain=shop.example',
    '__Host-d=1; Secure; Path=/',
    `e=${'1'.repeat(4095)}`,
    'lonely',
  ]) {
    t.equal(jar.store(line, https), true, line.slice(0, 60))
  }
  t.match(jar.header(https), /^a=1; b=1; __Secure-c=1; __Host-d=1; e=1+; lonely$/)
})

test('the prefixes want https, and take a loopback host for it', async (t) => {
  for (const line of ['__Host-a=1; Secure; Path=/', '__Secure-a=1; Secure; Path=/']) {
    t.ok(sent('http://localhost:3000/', line), line)
    t.equal(sent('http://shop.example/', line, 'https://shop.example/'), undefined, line)
  }
})

test('a cookie ends by Max-Age, or else by Expires, and at the latest after 400 days', async (t) => {
  let time = NOW
  const jar = new BrowserJar(() => time)
  const at = new URL('https://shop.example/')
  jar.store('age=1; Max-Age=60', at)
  jar.store('date=1; Expires=Thu, 01 Jan 2026 00:02:00 GMT', at)
  jar.store('both=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=180', at)
  jar.store('far=1; Max-Age=99999999999999999999', at)
  jar.store('browser=1; Expires=never; Max-Age=soon', at)
  const names = (seconds: number): string[] => {
    time = NOW + seconds * 1000
    return [...jar].map(({ name }) => name)
  }
  t.same(names(59), ['age', 'date', 'both', 'far', 'browser'])
  t.same(names(60), ['date', 'both', 'far', 'browser'])
  t.equal(jar.get('age'), undefined)
  t.equal(jar.size, 4)
  t.same(names(120), ['both', 'far', 'browser'])
  t.same(names(180), ['far', 'browser'])
  t.equal(jar.header(at), 'far=1; browser=1')
  t.same(names(400 * DAY), ['browser'])
  t.equal(jar.get('browser')?.expiresAt, undefined)
})

test('a cookie is removed by one that has ended, with the same name, domain and path', async (t) => {
  const at = new URL('https://shop.example/a/')
  for (const ended of ['Max-Age=0', 'Max-Age=-1', 'Expires=Thu, 01 Jan 1970 00:00:00 GMT']) {
    const jar = new BrowserJar(() => NOW)
    for (const line of ['a=1; Path=/', 'a=2', 'a=3; Domain=shop.example; Path=/', 'a=4; Path=/; Partitioned; Secure']) {
      jar.store(line, at)
    }
    t.ok(jar.store(`a=; Path=/; ${ended}`, at))
    t.equal(jar.header(at), 'a=2; a=3; a=4', ended)
    t.ok(jar.store(`a=; Path=/; Partitioned; Secure; ${ended}`, at))
    t.equal(jar.header(at), 'a=2; a=3', ended)
  }
})

test('the longest path is sent first, then the oldest; what is replaced keeps its place', async (t) => {
  let time = NOW
  const jar = new BrowserJar(() => time)
  const at = new URL('https://shop.example/a/b/c')
  for (const line of ['one=1; Path=/', 'two=1; Path=/a', 'three=1; Path=/', 'four=1; Path=/a', 'one=1; Path=/a/b']) {
    jar.store(line, at)
  }
  t.equal(jar.header(at), 'one=1; two=1; four=1; one=1; three=1')
  jar.store('two=2; Path=/a; Max-Age=60', at)
  t.equal(jar.header(at), 'one=1; two=2; four=1; one=1; three=1')
  t.equal(jar.get('one')?.path, '/a/b', 'the one that is sent first')
  time += 60_000
  jar.store('two=3; Path=/a', at)
  t.equal(jar.header(at), 'one=1; four=1; two=3; one=1; three=1', 'after it has ended, it is a new one')
})

test('a cookie can be looked at, with its value as it came', async (t) => {
  const jar = new BrowserJar(() => NOW)
  jar.store('a=x%20y; HttpOnly; SameSite=lax; Path=/p', new URL('https://shop.example/'))
  t.same(
    [...jar],
    [
      {
        name: 'a',
        value: 'x%20y',
        domain: 'shop.example',
        hostOnly: true,
        path: '/p',
        secure: false,
        httpOnly: true,
        sameSite: 'lax',
        partitioned: false,
        expiresAt: undefined,
      },
    ],
  )
  t.equal(jar.get('b'), undefined)
  t.equal(jar.header({ protocol: 'https:', hostname: 'shop.example' }), 'a=x%20y', 'whatever the path')
})

test('names of prototypes are names of cookies like any other', async (t) => {
  const names = ['__proto__', 'constructor', 'toString']
  t.equal(
    sent(
      'https://shop.example/',
      names.map((name) => `${name}=1`),
    ),
    '__proto__=1; constructor=1; toString=1',
  )
})

test('Chromium keeps and sends the same cookies', async (t) => {
  const lines = [
    'plain=1',
    'secure=1; Secure',
    '__Host-a=1; Secure; Path=/',
    '__Host-b=1; Secure',
    '__Secure-c=1; Secure',
    '__Secure-d=1',
    'partitioned=1; Secure; Partitioned; Path=/',
    'partitioned=2; Secure; Path=/',
    'partitioned=3; Partitioned; Path=/a',
    'none=1; SameSite=None',
    'none=2; SameSite=None; Secure; Path=/a',
    'strict=1; SameSite=Strict',
    'host=1; Domain=localhost',
    'host=2; Domain=127.0.0.1',
    'host=3; Domain=.sub.shop.example',
    'host=4; Domain=shop.example',
    'host=5; Domain=example; Path=/a',
    'host=6; Domain=shop.example; Domain=; Path=/',
    'lonely',
    '=',
    '=__Host-e=1; Secure; Path=/',
    'relative=1; Path=b',
    'deep=1; Path=/a/b/c',
    'slash=1; Path=/a/b/',
    'short=1; Path=/a/',
    'ended=1; Max-Age=0',
    'past=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
    'age=1; Max-Age=100; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
    'long=1; Max-Age=9999999999',
    'tab=1\t1',
    'quoted="x y"',
    `large=${'1'.repeat(4093)}`,
    `fits=${'1'.repeat(4092)}`,
    `path=1; Path=/${'p'.repeat(1100)}`,
    'strict=1; SameSite=Strict; Max-Age=100', // with another value it would be the youngest in Chromium
  ]
  const server = createServer((req, res) => {
    if (req.url === '/a/b/set') res.setHeader('set-cookie', lines)
    res.end(req.headers.cookie ?? '')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium',
    args: [
      ...'--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync'.split(' '),
      '--disable-background-networking',
      '--disable-component-update',
      '--host-resolver-rules=MAP *.example 127.0.0.1 , MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost',
    ],
  })
  t.teardown(async () => {
    await browser.close()
    server.close()
  })
  for (const host of ['localhost', '127.0.0.1', 'sub.shop.example']) {
    const url = new URL(`http://${host}:${port}/a/b/set`)
    const jar = new BrowserJar()
    for (const line of lines) jar.store(line, url)
    const page = await browser.newPage()
    await page.goto(new URL('/', url).href)
    await page.evaluate("fetch('/a/b/set')")
    for (const path of ['/a/b/c', '/a/b', '/a/', '/']) {
      const sent = await page.evaluate(`fetch('${path}').then((answer) => answer.text())`)
      t.equal(jar.header(new URL(path, url)), sent, host + path)
    }
  }
})
