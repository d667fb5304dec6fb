import { createServer, request, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { test } from 'tap'
import { Builder, cookies, toListener, type App, type CookieJar, type RackResponse } from '../../lib/index.ts'
import { jarApp, SECRET, thrown, useJar } from '../jar-app.ts'
import { ask, askRaw, attributesOf, serve, type Owner } from '../server.ts'

const KEY = Buffer.alloc(32, 7)

/** One request over TLS, with a key that both sides know in place of a certificate. */
async function askTls(t: Owner, app: App, headers: Record<string, string> = {}): Promise<string[]> {
  const psk = { ciphers: 'PSK', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
  const server = createServer({ ...psk, pskCallback: () => KEY }, toListener(app))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  const { port } = server.address() as AddressInfo
  return new Promise((resolve, reject) => {
    const options: RequestOptions & ConnectionOptions = {
      ...psk,
      pskCallback: () => ({ psk: KEY, identity: 'test' }),
      checkServerIdentity: () => undefined,
      host: '127.0.0.1',
      port,
      headers,
      agent: false,
    }
    const req = request(options)
    req.on('response', (res) => resolve(res.resume().headers['set-cookie'] ?? []))
    req.on('error', reject)
    req.end()
  })
}

// the first test here that makes it warn, as it warns once for a process
test('SECURITY-12: a secure cookie is not sent over plain http, on loopback neither, and a warning says so once', async (t) => {
  const warnings: (Error & { code?: string })[] = []
  const listener = (warning: Error): void => void warnings.push(warning)
  process.on('warning', listener)
  t.teardown(() => process.off('warning', listener))
  const app = jarApp((jar) => {
    jar.set('plain', 'a').set('safe', 'b', { secure: true })
    return jar.get('safe')
  })
  const { port } = await serve(t, app)

  for (const host of ['www.example.com', 'localhost', 'example.onion.com']) {
    const { cookies, body } = await ask(port, '/', { headers: { host } })
    t.same(cookies, ['plain=a; Path=/; SameSite=Lax'], host)
    t.equal(body, '"b"', 'the request reads what it wrote')
  }
  const codes = warnings.map(({ code }) => code)
  t.same(codes, ['LUGGAGE_RACK_SECURE_COOKIE'])
  t.match(warnings[0]?.message, /safe.*forwarded\(\{ trust \}\)/)

  const overTls = await askTls(t, app)
  t.ok(overTls.includes('safe=b; Path=/; Secure; SameSite=Lax'), overTls.join())
  const onion = await ask(port, '/', { headers: { host: 'EXAMPLE.onion:8080' } })
  t.ok(onion.cookies.includes('safe=b; Path=/; Secure; SameSite=Lax'))
})

test('CORE-01: segments of the header without a value are ignored', async (t) => {
  const { port } = await serve(
    t,
    jarApp((jar) => [...jar]),
  )
  const answer = await askRaw(port, 'GET / HTTP/1.0\r\nCookie: a=b; ; c=d; e\r\n\r\n')
  t.match(answer, /^HTTP\/1.1 200 /)
  t.match(answer, '[["a","b"],["c","d"]]')
})

test('CORE-03: what cannot be decoded is read as it stands', async (t) => {
  const { status, result } = await useJar(t, (jar) => jar.toObject(), {
    cookie: 'email=%20%22%2c%3b%2f; foo=%1; bar=%ff',
  })
  t.equal(status, 200)
  t.same(result, { email: ' ",;/', foo: '%1', bar: '%ff' })
})

test('CORE-05: commas do not separate, blanks around are trimmed, quotes are kept', async (t) => {
  const cookie = 'key1=value1, key2=v2;   foo  =  bar  ;  Customer="WILE"  '
  const { result } = await useJar(t, (jar) => jar.toObject(), { cookie })
  t.same(result, { key1: 'value1, key2=v2', foo: 'bar', Customer: '"WILE"' })
})

test('CORE-06: a plain cookie has a path and SameSite, and nothing that was not asked for', async (t) => {
  const plain = await useJar(t, (jar) => void jar.set('user_name', 'david'))
  t.same(plain.cookies, ['user_name=david; Path=/; SameSite=Lax'])
  const hidden = await useJar(t, (jar) => void jar.set('user_name', 'david', { httpOnly: true }))
  t.same(hidden.cookies, ['user_name=david; Path=/; HttpOnly; SameSite=Lax'])
})

test('CORE-07: setting the value that the browser has sends nothing', async (t) => {
  const same = await useJar(t, (jar) => void jar.set('user_name', 'da vid'), { cookie: 'user_name=da%20vid' })
  t.notOk('set-cookie' in same.headers)
  const other = await useJar(t, (jar) => void jar.set('user_name', 'da vit'), { cookie: 'user_name=da%20vid' })
  t.same(other.cookies, ['user_name=da%20vit; Path=/; SameSite=Lax'])
  const expiring = await useJar(t, (jar) => void jar.set('x', 'v', { maxAge: 9 }), { cookie: 'x=v' })
  t.same(expiring.cookies, ['x=v; Max-Age=9; Path=/; SameSite=Lax'])
  const back = await useJar(t, (jar) => void jar.set('x', 'w').set('x', 'v'), { cookie: 'x=v' })
  t.same(back.cookies, ['x=v; Path=/; SameSite=Lax'])
})

test('CORE-11: a deleted cookie is empty and long over, whatever the method, and reads as nothing', async (t) => {
  const app = jarApp((jar) => [jar.delete('user_name'), jar.get('user_name') ?? 'none', jar.has('user_name'), jar.size])
  const { port } = await serve(t, app)
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD']) {
    const { cookies, body } = await ask(port, '/', { method, headers: { cookie: 'user_name=Joe' } })
    const [line = ''] = cookies
    t.ok(line.startsWith('user_name=;'), method)
    t.match(attributesOf(line), { path: '/', 'max-age': '0', expires: 'Thu, 01 Jan 1970 00:00:00 GMT' }, method)
    if (method !== 'HEAD') t.equal(body, '["Joe","none",false,0]')
  }
})

test('CORE-12: a deletion repeats path and domain', async (t) => {
  const gone = await useJar(t, (jar) => jar.delete('user_name', { path: '/beaten', domain: 'example.com' }), {
    cookie: 'user_name=Joe',
  })
  t.match(attributesOf(gone.cookies[0] ?? ''), { path: '/beaten', domain: 'example.com', 'max-age': '0' })
})

test('CORE-13: deleting gives the value back, and what the browser did not send is left alone', async (t) => {
  const { port } = await serve(
    t,
    jarApp((jar) => jar.delete('user_name') ?? 'nothing'),
  )
  const absent = await ask(port, '/', { headers: { cookie: 'other=1' } })
  t.equal(absent.body, '"nothing"')
  t.notOk('set-cookie' in absent.headers)
  const sent = await ask(port, '/', { headers: { cookie: 'user_name=Joe' } })
  t.equal(sent.body, '"Joe"')
  t.equal(sent.cookies.length, 1)
})

test('CORE-14: deleted and then set is one line, the last one', async (t) => {
  const expires = new Date('2030-10-10T00:00:00Z')
  const { cookies } = await useJar(
    t,
    (jar) => {
      jar.delete('user_name')
      jar.set('user_name', 'david', { expires })
    },
    { cookie: 'user_name=Joe' },
  )
  t.same(cookies, ['user_name=david; Path=/; Expires=Thu, 10 Oct 2030 00:00:00 GMT; SameSite=Lax'])
})

test('CORE-15: a request reads its own writes', async (t) => {
  const { result } = await useJar(
    t,
    (jar) => {
      jar.set('foo', 'baz').set('new', '1')
      return [jar.get('foo'), jar.get('new'), jar.has('new'), jar.size, ...jar]
    },
    { cookie: 'foo=bar' },
  )
  t.same(result, ['baz', '1', true, 2, ['foo', 'baz'], ['new', '1']])
})

test('CORE-16: an absent cookie is undefined, whatever stands in for it, and sends nothing', async (t) => {
  const answer = await useJar(t, (jar) => [jar.get('zzz') ?? 'd', jar.has('zzz'), jar.size])
  t.same(answer.result, ['d', false, 0])
  t.notOk('set-cookie' in answer.headers)
})

test('CORE-17: SameSite is that of the call, else that of cookies()', async (t) => {
  const set = (jar: CookieJar): void => {
    jar.set('a', '1', { sameSite: 'strict' }).set('b', '1', { sameSite: 'none', secure: true })
    jar.set('c', '1', { sameSite: null }).set('d', '1')
  }
  t.same(await askTls(t, jarApp(set)), [
    'a=1; Path=/; SameSite=Strict',
    'b=1; Path=/; Secure; SameSite=None',
    'c=1; Path=/',
    'd=1; Path=/; SameSite=Lax',
  ])

  const spooky = jarApp((jar) => void jar.set('a', '1'), {
    sameSite: (req) => (req.headers['user-agent'] === 'spooky browser' ? undefined : 'strict'),
  })
  const { port } = await serve(t, spooky)
  t.same((await ask(port, '/')).cookies, ['a=1; Path=/; SameSite=Strict'])
  t.same((await ask(port, '/', { headers: { 'user-agent': 'spooky browser' } })).cookies, ['a=1; Path=/'])

  const none = await useJar(t, (jar) => void jar.set('a', '1'), {}, { sameSite: null })
  t.same(none.cookies, ['a=1; Path=/'])
  t.match(
    thrown(() => cookies({ sameSite: 'Lax' as 'lax' })),
    { code: 'ERR_INVALID_OPTION' },
  )
})

test('several cookies are as many lines, in the order of their first write', async (t) => {
  const { cookies } = await useJar(
    t,
    (jar) => {
      jar.set('b', '1').set('a', '2').set('b', '3')
      jar.set('b', '4', { path: '/deep' }).delete('c')
    },
    { cookie: 'c=3' },
  )
  t.same(
    cookies.map((line) => line.split('; ').slice(0, 2).join(' ')),
    ['b=3 Path=/', 'a=2 Path=/', 'b=4 Path=/deep', 'c= Max-Age=0'],
  )
})

test('what a browser keeps apart is sent apart, and what it does not, is not', async (t) => {
  const app = jarApp((jar) => {
    jar.delete('sid')
    jar.delete('sid', { partitioned: true })
    jar.set('x', '1', { domain: 'example.com' }).set('x', '2', { domain: '.Example.com' })
  })
  const lines = await askTls(t, app, { cookie: 'sid=1' })
  t.same(
    lines.map((line) => [line.split(';')[0], 'partitioned' in attributesOf(line)]),
    [
      ['sid=', false],
      ['sid=', true],
      ['x=2', false],
    ],
  )
})

test("Set-Cookie lines of the app's own stay, under a name in any letter case, and frozen headers are copied", async (t) => {
  const cases: [RackResponse[1], string[]][] = [
    [{ 'Set-Cookie': 'own=1; Path=/' }, ['own=1; Path=/']],
    [{ 'SET-COOKIE': ['own=1', 'own=2'] }, ['own=1', 'own=2']],
    [{ 'set-cookie': [] }, []],
    [{ 'set-cookie': undefined }, []],
  ]
  for (const [headers, own] of cases) {
    const response: RackResponse = Object.freeze([200, Object.freeze(headers), 'ok'] as const)
    const before = JSON.stringify(response)
    const app = new Builder().use(cookies()).run((req) => {
      req.cookies.set('mine', '1')
      return response
    })
    const { port } = await serve(t, app)
    for (let i = 0; i < 2; i++) t.same((await ask(port, '/')).cookies, [...own, 'mine=1; Path=/; SameSite=Lax'])
    t.equal(JSON.stringify(response), before)
  }
})

test('a response is given on as it is when no cookie was written', async (t) => {
  const response: RackResponse = [200, { 'set-cookie': 'own=1' }, 'ok']
  let outer: RackResponse | undefined
  const app = new Builder()
    .use((inner: App) => async (req) => (outer = await inner(req)))
    .use(cookies())
    .run((req) => {
      req.cookies.get('a')
      return response
    })
  const { port } = await serve(t, app)
  await ask(port, '/', { headers: { cookie: 'a=1' } })
  t.equal(outer, response)
})

test('a write after the response was made throws', async (t) => {
  const late: unknown[] = []
  const app = new Builder().use(cookies({ secret: SECRET })).run((req) => {
    const { cookies } = req
    async function* body(): AsyncGenerator<string> {
      yield 'a'
      await Promise.resolve()
      // what would send nothing is a write as well
      for (const write of [
        () => cookies.set('x', '1'),
        () => cookies.set('a', 'b'),
        () => cookies.delete('a'),
        () => cookies.delete('absent'),
        () => cookies.signed.set('x', 1),
        () => cookies.permanent.set('x', '1'),
      ]) {
        late.push(thrown(write)?.code)
      }
      yield String(cookies.get('a'))
      cookies.set('x', '1')
    }
    return [200, {}, body()]
  })
  const { port, errors } = await serve(t, app)
  await t.rejects(ask(port, '/', { headers: { cookie: 'a=b' } }), 'the connection ends before the body does')
  t.same(late, Array(6).fill('ERR_SESSION_COMMITTED'))
  t.match(errors, [{ code: 'ERR_SESSION_COMMITTED' }])
})

test('a write after the app failed throws, whether it failed at once or later', async (t) => {
  for (const failing of [
    (): never => {
      throw new Error('at once')
    },
    () => Promise.reject(new Error('later')),
  ]) {
    let jar: CookieJar | undefined
    const app = new Builder().use(cookies()).run((req) => {
      jar = req.cookies
      jar.set('a', '1')
      return failing()
    })
    const { port, errors } = await serve(t, app)
    const { status, headers } = await ask(port, '/')
    t.equal(status, 500)
    t.notOk('set-cookie' in headers)
    t.match(errors, [/at once|later/])
    t.match(
      thrown(() => jar?.set('b', '1')),
      { code: 'ERR_SESSION_COMMITTED', message: 'b' },
    )
  }
})

test('the Cookie header is not looked at until somebody looks', async (t) => {
  const looks = async (use: (jar: CookieJar) => unknown): Promise<number> => {
    let count = 0
    const counting = (app: App): App => {
      return (req) => {
        const { headers } = req
        Object.defineProperty(req, 'headers', { get: () => (count++, headers) })
        return app(req)
      }
    }
    const { port } = await serve(t, counting(jarApp((jar) => void use(jar))))
    await ask(port, '/', { headers: { cookie: 'a=1' } })
    return count
  }
  t.equal(await looks(() => {}), 0)
  t.equal(await looks((jar) => jar.signed), 0)
  t.equal(await looks((jar) => jar.permanent.encrypted), 0)
  t.equal(await looks((jar) => [jar.get('a'), jar.has('b'), jar.get('c')]), 1, 'and parsed once')
})

test('SECURITY-05: a secret that is missing is an error on first use, one that is too short at once', async (t) => {
  const { errors, status } = await useJar(t, (jar) => jar.signed.get('absent'), {}, { secret: undefined })
  t.equal(status, 500)
  t.match(errors, [{ code: 'ERR_SECRET_MISSING' }])

  const plain = await useJar(t, (jar) => void jar.set('a', '1').signed, {}, { secret: undefined })
  t.same(plain.cookies, ['a=1; Path=/; SameSite=Lax'])

  const short = thrown(() => cookies({ secret: 'only-sixteen-chr' }))
  t.match(short, { code: 'ERR_SECRET_TOO_SHORT', message: /at least 32.*has 16/ })
  t.notMatch(short?.message, 'only-sixteen-chr')
})

test('a loop that deletes all cookies is not broken by names that only a hostile client sends', async (t) => {
  const app = new Builder().use(cookies()).run((req) => {
    for (const [name] of req.cookies) req.cookies.delete(name)
    return [200, {}, 'deleted']
  })
  const { port } = await serve(t, app)
  for (const hostile of ['\u00e4=1', 'a b=1', '=1', 'a\tb=1']) {
    const { status, cookies: lines } = await ask(port, '/', { headers: { cookie: `${hostile}; good=1` } })
    t.match([status, lines], [200, [/^good=; Max-Age=0/]], JSON.stringify(hostile))
  }
})
