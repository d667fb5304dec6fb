import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { inspect } from 'node:util'
import { test } from 'tap'
import { Builder, cookies, session, type CookiesOptions, type Secret } from '../../lib/index.ts'
import { Keyring } from '../../lib/keyring.ts'
import { jarApp, SECRET, thrown, useJar } from '../jar-app.ts'
import { Client, serve, type Owner } from '../server.ts'
import { sessionApp } from '../session-app.ts'

const OLD = 'the secret of last year, which some browsers still have cookies of'
const BYTES = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 37) & 255))

/** Counts the keys that are derived until the test ends. */
function derivations(t: Owner): () => number {
  const { pbkdf2Sync } = crypto
  let count = 0
  crypto.pbkdf2Sync = (...args: Parameters<typeof pbkdf2Sync>) => {
    count++
    return pbkdf2Sync(...args)
  }
  syncBuiltinESMExports()
  t.teardown(() => {
    crypto.pbkdf2Sync = pbkdf2Sync
    syncBuiltinESMExports()
  })
  return () => count
}

test('SECURITY-05: a session in a cookie wants a secret that is there and long enough', (t) => {
  const build = (secret: Secret | undefined): unknown => new Builder().use(cookies({ secret })).use(session()).run()
  t.match(
    thrown(() => build(undefined)),
    { code: 'ERR_SECRET_MISSING', message: /at least 32 characters/ },
  )
  t.match(
    thrown(() => build([])),
    { code: 'ERR_INVALID_OPTION', message: /secret is an empty list/ },
  )
  for (const secret of ['', 'sixteen letters!', 'x'.repeat(31), Buffer.alloc(16, 'q'), [SECRET, 'sixteen letters!']]) {
    const error = thrown(() => build(secret))
    t.match(error, { code: 'ERR_SECRET_TOO_SHORT', message: /at least 32 characters, and this one has \d+/ })
    t.notMatch(error?.message, /sixteen|xxx|qqq|known to/)
  }
  for (const secret of [null, 5, {}, [SECRET, undefined]]) {
    const error = thrown(() => build(secret as unknown as string))
    t.match(error, { code: 'ERR_INVALID_OPTION', message: /must be a string or bytes/ })
    t.notMatch(error?.message, /known to/)
  }
  t.ok(build('x'.repeat(32)))
  t.ok(build(BYTES))
  t.end()
})

test('COOKIESTORE-18: bytes are a secret as text is, and stay as they are', async (t) => {
  const mine = Buffer.from(BYTES)
  const { port } = await serve(t, sessionApp({}, { secret: mine }))
  const client = new Client(port)
  await client.get('/write')
  t.equal((await client.get('/read')).body, 'foo: "bar"')
  t.same(mine, BYTES)

  // whoever wipes his bytes does not change ours
  const wiped = Buffer.from(BYTES)
  const other = await serve(t, sessionApp({}, { secret: new Uint8Array(wiped) }))
  const early = sessionApp({}, { secret: wiped })
  wiped.fill(0)
  const late = await serve(t, early)
  for (const { port: same } of [other, late]) {
    const again = new Client(same)
    again.jar.set('_session_id', client.jar.get('_session_id') ?? '')
    t.equal((await again.get('/read')).body, 'foo: "bar"')
  }
})

test('text is the same secret as its bytes', async (t) => {
  const { port } = await serve(t, sessionApp({}, { secret: SECRET }))
  const client = new Client(port)
  await client.get('/write')
  const bytes = new Client((await serve(t, sessionApp({}, { secret: Buffer.from(SECRET) }))).port)
  bytes.jar.set('_session_id', client.jar.get('_session_id') ?? '')
  t.equal((await bytes.get('/read')).body, 'foo: "bar"')
})

test('of a list of secrets the first seals and all open', async (t) => {
  const sealed = async (secret: Secret): Promise<string> => {
    const { cookies: lines } = await useJar(
      t,
      (jar) => void [jar.signed.set('s', 1), jar.encrypted.set('e', 2)],
      {},
      { secret },
    )
    return lines.map((line) => line.split(';')[0]).join('; ')
  }
  const read = async (cookie: string, secret: Secret): Promise<unknown> =>
    (await useJar(t, (jar) => [jar.signed.get('s') ?? 0, jar.encrypted.get('e') ?? 0], { cookie }, { secret })).result

  t.same(await read(await sealed(OLD), [SECRET, OLD]), [1, 2])
  t.same(await read(await sealed([SECRET, OLD]), SECRET), [1, 2])
  t.same(await read(await sealed([SECRET, OLD]), OLD), [0, 0])
  t.same(await read(await sealed(OLD), SECRET), [0, 0])
})

test('no key is derived before a sealed jar is used, and then each once', async (t) => {
  const count = derivations(t)
  const app = jarApp(
    (jar, req) => {
      if (req.url === '/plain') return [jar.get('a'), jar.set('b', '1').size, typeof jar.signed, typeof jar.encrypted]
      if (req.url === '/absent') return jar.signed.get('absent')
      return [jar.signed.set('s', 1).get('s'), jar.signed.size]
    },
    { secret: [SECRET, OLD] },
  )
  const { port } = await serve(t, app)
  const client = new Client(port)
  await client.get('/plain')
  await client.get('/absent')
  t.equal(count(), 0)
  for (let i = 0; i < 5; i++) await client.get('/signed')
  t.equal(count(), 2, 'one for each secret')

  const sessions = await serve(t, sessionApp({}, { secret: SECRET }))
  const other = new Client(sessions.port)
  await other.get('/nothing')
  t.equal(count(), 2)
  for (let i = 0; i < 3; i++) await other.get('/count')
  t.equal(count(), 3)
})

test('options that cannot work are errors at once', (t) => {
  const bad: Record<string, unknown>[] = [
    { keyIterations: 0 },
    { keyIterations: 1.5 },
    { keyIterations: '1000' },
    { keyDigest: 'MD5' },
    { keyDigest: 'sha256' },
    { signedDigest: 'CRC' },
  ]
  for (const options of bad) {
    const error = thrown(() => cookies({ secret: SECRET, ...options }))
    t.match(error, { code: 'ERR_INVALID_OPTION' }, JSON.stringify(options))
  }
  t.end()
})

test('the secret is not seen where a request or a jar is printed', async (t) => {
  const { result } = await useJar(t, (jar, req) => {
    jar.signed.set('s', 1)
    return inspect([jar, jar.signed, req], { depth: 20, showHidden: true })
  })
  t.match(result, 'RequestJar')
  t.notMatch(result, 'known to everybody')
  t.notMatch(inspect(new Keyring({ secret: SECRET }), { depth: 20, showHidden: true }), 'known to everybody')
})

test('settings of Rails that were changed are changed here', async (t) => {
  const changed: CookiesOptions[] = [
    { keyDigest: 'SHA1' },
    { keyIterations: 2000 },
    { signedDigest: 'SHA256' },
    { salts: { signed: 'my own' } },
  ]
  const { cookies: lines } = await useJar(t, (jar) => void jar.signed.set('s', 1))
  const cookie = lines[0]?.split(';')[0] ?? ''
  for (const options of changed) {
    const own = await useJar(
      t,
      (jar) => [jar.signed.get('s') ?? 'none', jar.signed.set('t', 2).get('t')],
      { cookie },
      options,
    )
    t.same(own.result, ['none', 2], JSON.stringify(options))
  }
})
