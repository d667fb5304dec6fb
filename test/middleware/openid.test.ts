import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'tap'
import { startProvider } from '../../examples/openid-provider/provider.ts'
import { signIn as signInChannel, type SignInMessage } from '../../lib/channels.ts'
import {
  Builder,
  cookies,
  CookieStore,
  forwarded,
  MemoryStore,
  session,
  type App,
  type LoadedSession,
} from '../../lib/index.ts'
import { MockRequest } from '../../lib/testing.ts'
import { logoutUrl, openid, type OpenIdOptions } from '../../middleware/openid.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { CLIENT, openIdScene, Visitor, type Req, type SceneOptions } from '../openid-scene.ts'
import { ask, serve, type Answer, type Owner } from '../server.ts'
import { SECRET } from '../session-app.ts'

const OPTIONS: OpenIdOptions = { issuer: 'http://127.0.0.1:9', ...CLIENT, log: false }

/** Why the browser was sent to the page for failures. */
function failureIn(answer: Answer): string | undefined {
  const [, reason] = /^\/auth\/failure\?message=([^&]+)&strategy=oauth2$/.exec(answer.headers.location ?? '') ?? []
  return answer.status === 303 ? reason : undefined
}

/** A server on this machine that does as it is told, until the test ends. */
async function standIn(t: Owner, listener: RequestListener, port = 0): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('whoever comes back from the provider is known as in OmniAuth, and the profile goes into the session', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const address = new URL(await scene.begin(visitor))
  t.equal(address.origin, scene.provider.issuer)
  t.match(Object.fromEntries(address.searchParams), {
    client_id: CLIENT.clientId,
    response_type: 'code',
    scope: 'openid profile email',
    redirect_uri: scene.callback,
    code_challenge_method: 'S256',
    code_challenge: /^[\w-]{43}$/,
    state: /^[\w-]{43}$/,
    nonce: /^[\w-]{43}$/,
  })
  const answer = await visitor.get(await visitor.signInAt(address.href))
  t.equal(answer.status, 303)
  t.equal(answer.headers.location, '/dashboard')
  t.match(answer.headers['cache-control'], /private|no-store/)
  const [auth] = scene.heard
  t.match(auth, {
    provider: 'oauth2',
    uid: '1815',
    info: { name: 'Ada Lovelace', email: 'ada@example.com' },
    credentials: { token: /./, id_token: /^[\w-]+\.[\w-]+\.[\w-]+$/, expires: true, expires_at: Number },
    extra: { raw_info: { sub: '1815', name: 'Ada Lovelace' } },
  })
  t.notOk(['nonce', 'exp', 'aud', 'at_hash'].some((claim) => claim in (auth?.extra.raw_info ?? {})))
  t.same(JSON.parse(JSON.stringify(auth)), auth, 'it is JSON')
  t.same(await scene.read(visitor), { userinfo: auth?.extra.raw_info, openid: { provider: 'oauth2', uid: '1815' } })
  t.same([...visitor.jar(new URL(scene.url).host).keys()], ['_session_id'], 'nothing is left of the attempt')
  t.same(scene.log, [])
})

for (const [name, makeStore] of [
  ['cookie', () => new CookieStore()],
  ['memory', () => new MemoryStore()],
  ['SQLite', () => new SqliteStore({ filename: ':memory:' })],
] as const) {
  test(`${name}: signing in takes a new id, keeps what was in the session, and the old cookie is signed in nowhere`, async (t) => {
    const scene = await openIdScene(t, { store: makeStore() })
    const visitor = new Visitor()
    const { host } = new URL(scene.url)
    await visitor.get(`${scene.url}/cart`)
    const before = visitor.jar(host).get('_session_id') as string
    await scene.signIn(visitor)
    const after = visitor.jar(host).get('_session_id') as string
    t.not(after, before)
    t.match(await scene.read(visitor), { cart: ['tea'], userinfo: { sub: '1815' } })
    const thief = new Visitor()
    thief.jar(host).set('_session_id', before)
    const seen = await scene.read(thief)
    t.notOk('userinfo' in seen || 'openid' in seen, 'the old cookie is nobody')
    if (name === 'cookie') t.match(seen, { cart: ['tea'] }, 'but whoever it was before')
    else t.same(seen, {}, 'and opens nothing')
  })
}

test('another person who signs in finds nothing of the one before; the same finds all', async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore() })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  await visitor.get(`${scene.url}/cart`)
  visitor.jars.delete(new URL(scene.provider.issuer).host)
  await scene.signIn(visitor)
  t.match(await scene.read(visitor), { cart: ['tea'], userinfo: { sub: '1815' } })
  visitor.jars.delete(new URL(scene.provider.issuer).host)
  await scene.signIn(visitor, 'grace', 'hopper')
  const seen = await scene.read(visitor)
  t.match(seen, { userinfo: { sub: '1906' } })
  t.notOk('cart' in seen)
})

test('an application may reset the session itself, destroy it, or refuse who comes', async (t) => {
  const store = new MemoryStore()
  const resets = await openIdScene(t, {
    store,
    atCallback: async (req: Req) => {
      req.session.reset()['userinfo'] = { sub: req.auth?.uid }
      return [303, { location: '/' }, null]
    },
  })
  const visitor = new Visitor()
  await visitor.get(`${resets.url}/cart`)
  await resets.signIn(visitor)
  t.match(await resets.read(visitor), { userinfo: { sub: '1815' }, openid: { provider: 'oauth2', uid: '1815' } })

  const destroys = await openIdScene(t, {
    store,
    atCallback: async (req: Req) => {
      req.session.destroy()
      return [200, {}, 'gone']
    },
  })
  const second = new Visitor()
  t.equal((await destroys.signIn(second)).body, 'gone')
  t.same(await destroys.read(second), {})

  const refuses = await openIdScene(t, { store, atCallback: async () => [403, {}, 'not for you'] })
  const third = new Visitor()
  t.equal((await refuses.signIn(third)).status, 403)
  t.same(await refuses.read(third), {}, 'no session was made')

  let isRefusing = false
  const mixed = await openIdScene(t, {
    store,
    atCallback: async (req: Req) => {
      if (isRefusing) return [403, {}, 'not for you']
      ;(await req.session).userinfo = {}
      return [303, { location: '/' }, null]
    },
  })
  const fourth = new Visitor()
  await mixed.signIn(fourth)
  t.match(await mixed.read(fourth), { openid: { uid: '1815' } })
  isRefusing = true
  fourth.jars.delete(new URL(mixed.provider.issuer).host)
  t.equal((await mixed.signIn(fourth, 'grace', 'hopper')).status, 403)
  t.same(await mixed.read(fourth), {}, 'whoever was signed in before is not, either')
})

test('a callback with a wrong state, or with none, signs nobody in', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const back = await visitor.signInAt(await scene.begin(visitor))
  for (const change of [
    (url: URL) => url.searchParams.set('state', `!${url.searchParams.get('state')?.slice(1)}`),
    // the cookie is found by the beginning of it
    (url: URL) => url.searchParams.set('state', `${url.searchParams.get('state')?.slice(0, -1)}!`),
    (url: URL) => url.searchParams.delete('state'),
    (url: URL) => url.searchParams.set('state', ''),
    (url: URL) => (url.search = ''),
  ]) {
    const forged = new URL(back)
    change(forged)
    const answer = await visitor.get(forged.href)
    t.equal(failureIn(answer), 'csrf_detected')
    t.same(answer.cookies, [], 'nothing is sent')
  }
  t.same(await scene.read(visitor), {})
  t.same(scene.heard, [])
  t.equal((await visitor.get(back)).headers.location, '/dashboard', 'the right one still counts')
})

test('a sign-in that was begun in another browser does not count here (login CSRF)', async (t) => {
  const scene = await openIdScene(t)
  const attacker = new Visitor()
  const back = await attacker.signInAt(await scene.begin(attacker), 'grace', 'hopper')
  const victim = new Visitor()
  await scene.begin(victim)
  await victim.get(`${scene.url}/cart`)
  const before = await scene.read(victim)
  const answer = await victim.get(back)
  t.equal(failureIn(answer), 'csrf_detected')
  t.same(answer.cookies, [])
  t.same(await scene.read(victim), before)
  t.equal((await victim.get(`${scene.url}${answer.headers.location}`)).body, 'failure: csrf_detected')
})

test('a callback counts once, for the browser as for whoever has all its cookies', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const { host } = new URL(scene.url)
  const back = await visitor.signInAt(await scene.begin(visitor))
  const thief = new Visitor()
  for (const [name, value] of visitor.jar(host)) thief.jar(host).set(name, value)
  t.equal((await visitor.get(back)).headers.location, '/dashboard')
  const session = await scene.read(visitor)
  const again = await visitor.get(back)
  t.equal(failureIn(again), 'csrf_detected')
  t.same(again.cookies, [])
  t.same(await scene.read(visitor), session, 'who is signed in stays so')
  t.equal(failureIn(await thief.get(back)), 'invalid_credentials', 'the provider takes a code once')
  t.same(await scene.read(thief), {})
})

test('an attempt is over after ten minutes', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const back = await visitor.signInAt(await scene.begin(visitor))
  scene.wait(601)
  t.equal(failureIn(await visitor.get(back)), 'csrf_detected')
})

test('a token with another nonce, and an answer of another issuer, sign nobody in', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const address = new URL(await scene.begin(visitor))
  address.searchParams.set('nonce', 'of-the-attacker')
  t.equal(failureIn(await visitor.get(await visitor.signInAt(address.href))), 'invalid_credentials')
  t.match(scene.log.at(-1), /nonce/)

  for (const change of [
    (url: URL) => url.searchParams.set('iss', 'https://evil.example'),
    (url: URL) => url.searchParams.delete('iss'),
    (url: URL) => url.searchParams.append('iss', scene.provider.issuer),
  ]) {
    const back = new URL(await visitor.signInAt(await scene.begin(visitor)))
    t.equal(back.searchParams.get('iss'), scene.provider.issuer)
    change(back)
    const answer = await visitor.get(back.href)
    t.equal(failureIn(answer), 'invalid_credentials')
    t.equal(answer.cookies.length, 1, 'the attempt is over, and nothing else is sent')
  }
  t.same(await scene.read(visitor), {})
  t.same(scene.heard, [])
})

test('a provider that calls itself otherwise than it was called is none', async (t) => {
  const real = await startProvider({ clients: [] })
  t.teardown(() => real.close())
  // the real documents, at an address that is not theirs
  const issuer = await standIn(t, (req, res) => {
    void fetch(`${real.issuer}${req.url}`)
      .then((response) => response.text())
      .then((text) => res.setHeader('content-type', 'application/json').end(text))
  })
  const scene = await openIdScene(t, { openid: { issuer } })
  const answer = await new Visitor().post(`${scene.url}/auth/oauth2`)
  t.equal(failureIn(answer), 'invalid_credentials')
  t.same(answer.cookies, [])
  t.match(scene.log[0], /issuer/)
})

test('a code that is not from this provider, or of another attempt, signs nobody in', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const forged = new URL(await visitor.signInAt(await scene.begin(visitor)))
  forged.searchParams.set('code', 'made-up')
  t.equal(failureIn(await visitor.get(forged.href)), 'invalid_credentials')

  const first = new URL(await visitor.signInAt(await scene.begin(visitor)))
  const second = new URL(await visitor.signInAt(await scene.begin(visitor)))
  first.searchParams.set('code', second.searchParams.get('code') as string)
  t.equal(
    failureIn(await visitor.get(first.href)),
    'invalid_credentials',
    'PKCE and the nonce bind a code to its attempt',
  )
  t.same(await scene.read(visitor), {})
})

test('what the provider refuses is told in its own word, to the browser that began alone', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const refusalOf = (address: string, error: string): string => {
    const state = new URL(address).searchParams.get('state') as string
    return `${scene.callback}?${new URLSearchParams({ error, error_description: 'secret\nwords', state, iss: scene.provider.issuer }).toString()}`
  }
  t.equal(failureIn(await visitor.get(refusalOf(await scene.begin(visitor), 'access_denied'))), 'access_denied')
  t.equal(
    failureIn(await visitor.get(refusalOf(await scene.begin(visitor), '"><script>'))),
    'invalid_credentials',
    'what is no such word is not repeated',
  )
  const elsewhere = await scene.begin(new Visitor())
  t.equal(failureIn(await visitor.get(refusalOf(elsewhere, 'access_denied'))), 'csrf_detected')
  t.notMatch(scene.log.join('\n'), /secret|script/)
  t.equal(scene.log.join('').includes('\n'), false)
})

test('a provider that is down, or does not answer in time, is a failure, and nothing is kept of it', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const back = await visitor.signInAt(await scene.begin(visitor))
  await scene.provider.close()
  t.equal(failureIn(await visitor.get(back)), 'failed_to_connect')
  t.same(await scene.read(visitor), {})

  const refused = await openIdScene(t, { openid: { issuer: scene.provider.issuer } })
  const answer = await visitor.post(`${refused.url}/auth/oauth2`)
  t.equal(failureIn(answer), 'failed_to_connect')
  t.same(answer.cookies, [])
  t.match(refused.log[0], /ECONNREFUSED/)

  const silent = await standIn(t, () => {})
  const slow = await openIdScene(t, { openid: { issuer: silent, timeout: 0.1 } })
  t.equal(failureIn(await visitor.post(`${slow.url}/auth/oauth2`)), 'timeout')

  const broken = await standIn(t, (_req, res) => void res.writeHead(502).end('Bad Gateway'))
  const ill = await openIdScene(t, { openid: { issuer: broken } })
  t.equal(failureIn(await visitor.post(`${ill.url}/auth/oauth2`)), 'failed_to_connect')
})

test('a provider that was down when it was first asked is asked again', async (t) => {
  let isUp = false
  let real = ''
  const issuer = await standIn(t, (req, res) => {
    if (!isUp) {
      res.writeHead(503).end()
      return
    }
    void fetch(`${real}${req.url}`)
      .then((response) => response.text())
      .then((text) => res.setHeader('content-type', 'application/json').end(text.replaceAll(real, issuer)))
  })
  const provider = await startProvider({ clients: [] })
  t.teardown(() => provider.close())
  real = provider.issuer
  const scene = await openIdScene(t, { openid: { issuer } })
  const visitor = new Visitor()
  t.equal(failureIn(await visitor.post(`${scene.url}/auth/oauth2`)), 'failed_to_connect')
  isUp = true
  t.match(await scene.begin(visitor), new RegExp(`^${issuer}/`))
})

test('signing in begins on a page of the application, by POST', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const start = `${scene.url}/auth/oauth2`
  for (const headers of [
    { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
    { 'sec-fetch-site': 'same-site', origin: 'https://sibling.example' },
    { 'sec-fetch-site': 'cross-site' },
    { origin: 'https://evil.example' },
    { origin: 'null' },
  ]) {
    const answer = await visitor.post(start, {}, headers)
    t.equal(failureIn(answer), 'authenticity_error', JSON.stringify(headers))
    t.same(answer.cookies, [])
  }
  for (const headers of [{ 'sec-fetch-site': 'same-origin', origin: 'null' }, { origin: scene.url }, {}]) {
    t.equal(failureIn(await visitor.post(start, {}, headers as Record<string, string>)), undefined)
  }
  t.equal((await visitor.get(start)).body, 'no /auth/oauth2', "GET is the application's own")
  t.equal((await visitor.get(`${start}/callback`, { method: 'HEAD' })).status, 404)
  t.equal((await visitor.get(`${start}x`)).status, 404)
})

test('four tabs may be at it, each for itself', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const addresses: string[] = []
  // oxlint-disable-next-line no-await-in-loop -- one after another, as a person does it
  for (let i = 0; i < 6; i++) addresses.push(await scene.begin(visitor))
  t.equal(visitor.jar(new URL(scene.url).host).size, 4, 'a browser that never comes back does not fill up')
  t.equal(failureIn(await visitor.get(await visitor.signInAt(addresses[0] as string))), 'csrf_detected')
  for (const address of [addresses[3], addresses[5]]) {
    t.equal((await visitor.get(await visitor.signInAt(address as string))).headers.location, '/dashboard')
  }
})

test('a form may say which path to come back to, and no other address', async (t) => {
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const originFor = async (origin: string): Promise<string | undefined> => {
    const address = await visitor.post(`${scene.url}/auth/oauth2?${new URLSearchParams({ origin }).toString()}`)
    await visitor.get(await visitor.signInAt(address.headers.location as string))
    return scene.heard.at(-1)?.extra.origin
  }
  t.equal(await originFor('/reports?of=today#end'), '/reports?of=today#end')
  for (const evil of [
    'https://evil.example/',
    `/${'x'.repeat(500)}`,
    '//evil.example',
    '/\\evil.example',
    '/.//evil.example',
    'evil',
    '/\t/evil.example',
    '',
  ]) {
    t.equal(await originFor(evil), undefined, JSON.stringify(evil))
  }
})

test('over TLS the cookie of an attempt has the prefix that no sibling can set', async (t) => {
  const scene = await openIdScene(t, {
    first: forwarded({ trust: ['loopback'] }),
  })
  const { cookies: lines, headers } = await new Visitor().post(
    `${scene.url}/auth/oauth2`,
    {},
    { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'app.example.com' },
  )
  t.match(lines, [/^__Host-openid\.oauth2\.[\w-]{16}=\S+; .*Max-Age=600; Path=\/.*HttpOnly; Secure; SameSite=Lax$/i])
  t.equal(
    new URL(headers.location as string).searchParams.get('redirect_uri'),
    'https://app.example.com/auth/oauth2/callback',
  )
})

test("the address for signing out is the provider's, and comes back to registered addresses alone", async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore() })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  const out = new URL((await visitor.get(`${scene.url}/logout`)).headers.location as string)
  t.equal(out.origin, scene.provider.issuer)
  t.match(Object.fromEntries(out.searchParams), {
    client_id: CLIENT.clientId,
    post_logout_redirect_uri: `${scene.url}/`,
    id_token_hint: scene.heard[0]?.credentials.id_token,
  })
  t.same(await scene.read(visitor), {})
  for (const to of [
    'https://evil.example/',
    '//evil.example/',
    '/elsewhere',
    `${scene.url}.evil.example/`,
    'javascript:alert(1)',
    '',
  ]) {
    const answer = await visitor.get(`${scene.url}/logout?${new URLSearchParams({ to }).toString()}`)
    t.equal(answer.status, to === '' ? 303 : 400, JSON.stringify(to))
    if (to !== '') t.equal(answer.headers.location, undefined)
  }
  const unregistered = new URL(out)
  unregistered.searchParams.set('post_logout_redirect_uri', 'https://evil.example/')
  t.equal((await visitor.get(unregistered.href)).status, 400, 'the provider refuses it too')
})

test("without the token, without such an address, in Auth0's form, and with a provider that is down", async (t) => {
  const cookie = await openIdScene(t)
  const visitor = new Visitor()
  await cookie.signIn(visitor)
  const out = new URL((await visitor.get(`${cookie.url}/logout`)).headers.location as string)
  t.equal(out.searchParams.get('id_token_hint'), null)
  t.equal(out.searchParams.get('client_id'), CLIENT.clientId)

  const auth0 = await openIdScene(t, { openid: { logout: 'auth0', returnTo: ['/', 'https://www.example.com/bye'] } })
  const { headers } = await new Visitor().get(`${auth0.url}/logout?to=https://www.example.com/bye`)
  t.equal(
    headers.location,
    `${auth0.provider.issuer}/v2/logout?client_id=${CLIENT.clientId}&returnTo=https%3A%2F%2Fwww.example.com%2Fbye`,
  )

  const down = await openIdScene(t)
  await down.signIn(visitor)
  const silent = await openIdScene(t, { openid: { issuer: 'http://127.0.0.1:9' } })
  t.equal((await new Visitor().get(`${silent.url}/logout`)).headers.location, `${silent.url}/`)
  t.match(silent.log, [/could not be asked where to sign out/])

  const issuer = await standIn(t, (_req, res) => {
    const metadata = {
      issuer,
      authorization_endpoint: `${issuer}/auth`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`,
    }
    res.setHeader('content-type', 'application/json').end(JSON.stringify(metadata))
  })
  const none = await openIdScene(t, { openid: { issuer } })
  t.equal((await new Visitor().get(`${none.url}/logout`)).headers.location, `${none.url}/`)
})

test('a session that ends with its token is over when the token is, and not before', async (t) => {
  const scene = await openIdScene(t, {
    store: new MemoryStore(),
    openid: { endWithToken: true },
    provider: { ttl: 3600 },
  })
  const visitor = new Visitor()
  const heard: SignInMessage[] = []
  const listener = (message: unknown): void => void heard.push(message as SignInMessage)
  signInChannel.subscribe(listener)
  t.teardown(() => signInChannel.unsubscribe(listener))
  await scene.signIn(visitor)
  await visitor.get(`${scene.url}/cart`)
  scene.wait(3590)
  t.match(await scene.read(visitor), { cart: ['tea'], userinfo: { sub: '1815' } })
  scene.wait(15)
  const { body, cookies: lines } = await visitor.get(`${scene.url}/read`)
  t.equal(body, '{}')
  t.match(lines, [/^_session_id=; .*Max-Age=0/i], 'the browser forgets it')
  t.same(
    heard.map(({ outcome }) => outcome),
    ['begun', 'done', 'ended'],
  )
})

test('a session that is read above openid() ends with its token as well', async (t) => {
  const scene = await openIdScene(t, {
    openid: { endWithToken: true },
    above: (app) => async (req) => {
      await (req as Req).session
      return app(req)
    },
  })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  t.match(await scene.read(visitor), { userinfo: { sub: '1815' } })
  scene.wait(3 * 3600)
  t.same(await scene.read(visitor), {})
})

const REFRESHING: SceneOptions = {
  openid: {
    endWithToken: true,
    keep: ['id_token', 'access_token', 'refresh_token'],
    scope: 'openid profile email offline_access',
    params: { prompt: 'consent' },
  },
  provider: { ttl: 3600, grants: ['authorization_code', 'refresh_token'] },
}

test('where a refresh token is kept, the session lives on with a new token, which is asked for once', async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore(), ...REFRESHING })
  const visitor = new Visitor()
  const outcomes: string[] = []
  const listener = (message: unknown): void => void outcomes.push((message as SignInMessage).outcome)
  signInChannel.subscribe(listener)
  t.teardown(() => signInChannel.unsubscribe(listener))
  await scene.signIn(visitor)
  const first = (await scene.read(visitor))['openid'] as Record<string, string>
  t.match(first, { id_token: /./, refresh_token: /./, ends_at: Number })
  scene.wait(3605)
  const seen = await Promise.all([scene.read(visitor), scene.read(visitor), scene.read(visitor)])
  for (const one of seen) t.match(one, { userinfo: { sub: '1815' } })
  const second = (await scene.read(visitor))['openid'] as Record<string, string>
  t.not(second['access_token'], first['access_token'])
  t.same(
    new Set(seen.map((one) => (one['openid'] as Record<string, string>)['access_token'])),
    new Set([second['access_token']]),
    'all three got the tokens of one refresh',
  )
  t.ok(outcomes.includes('refreshed'))
  t.notOk(outcomes.includes('ended'))
})

test('whoever the provider has locked out is signed out; a provider that is down ends nothing', async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore(), ...REFRESHING })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  const { refresh_token } = (await scene.read(visitor))['openid'] as { refresh_token: string }
  const metadata = (await (await fetch(`${scene.provider.issuer}/.well-known/openid-configuration`)).json()) as {
    revocation_endpoint?: string
  }
  t.ok(metadata.revocation_endpoint)
  const other = new Visitor()
  await scene.signIn(other, 'grace', 'hopper')
  await fetch(metadata.revocation_endpoint as string, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${CLIENT.clientId}:${encodeURIComponent(CLIENT.clientSecret)}`)}` },
    body: new URLSearchParams({ token: refresh_token }),
  })
  scene.wait(3605)
  t.same(await scene.read(visitor), {})
  t.match(scene.log.at(-1), /gave no new token, and the session ended: .*invalid_grant/)

  await scene.provider.close()
  const answer = await other.get(`${scene.url}/read`)
  t.equal(answer.status, 500)
  t.match(scene.errors, [{ code: 'ERR_PROVIDER_UNAVAILABLE' }])
  scene.wait(-3605)
  t.match(await scene.read(other), { userinfo: { sub: '1906' } }, 'the session was left as it is')
})

test('a provider that is busy or ill ends nothing, and a new token is not lost with the request that got it', async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore(), ...REFRESHING })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  scene.wait(3605)
  t.equal((await visitor.get(`${scene.url}/throw`)).status, 500, 'it was refreshed, and not saved')
  await scene.provider.close()
  t.match(await scene.read(visitor), { userinfo: { sub: '1815' } }, 'and is saved now, without the provider')

  const other = await openIdScene(t, { store: new MemoryStore(), ...REFRESHING })
  await other.signIn(visitor)
  other.wait(3605)
  const otherPort = Number(new URL(other.provider.issuer).port)
  await other.provider.close()
  const answers: [status: number, body: string][] = [
    [429, '{"error":"too_many_requests"}'],
    [401, '{"error":"invalid_client"}'],
    [403, '<html>'],
    [200, '{"access_token":"secret-token",}'],
  ]
  let answer = answers[0]
  await standIn(
    t,
    (_req, res) => void res.writeHead(answer?.[0] ?? 500, { 'content-type': 'application/json' }).end(answer?.[1]),
    otherPort,
  )
  for (answer of answers) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    t.equal((await visitor.get(`${other.url}/read`)).status, 500, answer[1])
  }
  const shown = other.errors.map((error) => `${String(error)} ${String((error as Error).cause)}`).join('\n')
  t.match(shown, /could not be asked/)
  t.notMatch(shown, /secret-token/)
  other.wait(-3605)
  t.match(await other.read(visitor), { userinfo: { sub: '1815' } })
})

test('whoever cannot be given a new token can sign in again', async (t) => {
  const scene = await openIdScene(t, {
    store: new MemoryStore(),
    openid: { endWithToken: true },
    above: (app) => async (req) => {
      if (req.url !== '/of-a-client-that-may-not-refresh') return app(req)
      ;(await (req as Req).session)['openid'] = { provider: 'oauth2', uid: '1815', ends_at: 1, refresh_token: 'a' }
      return [200, {}, '']
    },
  })
  const visitor = new Visitor()
  await visitor.get(`${scene.url}/cart`)
  await visitor.get(`${scene.url}/of-a-client-that-may-not-refresh`)
  t.equal((await visitor.get(`${scene.url}/read`)).status, 500)
  t.match(scene.errors, [{ code: 'ERR_PROVIDER_UNAVAILABLE' }])
  t.match(String((scene.errors[0] as Error).cause), /invalid_request/, 'nobody was locked out')
  t.equal((await scene.signIn(visitor)).headers.location, '/dashboard')
  t.match(await scene.read(visitor), { cart: ['tea'], userinfo: { sub: '1815' } })
})

test('a reset while the token is refreshed stays a reset', async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore(), ...REFRESHING })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  scene.wait(3605)
  t.equal((await visitor.get(`${scene.url}/reset-while-reading`)).body, 'reset')
  t.same(await scene.read(visitor), {})
  await scene.signIn(visitor)
  scene.wait(3605)
  t.equal((await visitor.get(`${scene.url}/logout`)).status, 303)
  t.same(await scene.read(visitor), {})
})

/** A store that takes a while, as one in the network. */
class SlowStore extends MemoryStore {
  override async fromCookie(...asked: Parameters<MemoryStore['fromCookie']>): Promise<LoadedSession | undefined> {
    await new Promise((resolve) => setImmediate(resolve))
    return super.fromCookie(...asked)
  }
}

test('a session that a layer above is just reading ends with its token as well', async (t) => {
  const scene = await openIdScene(t, {
    store: new SlowStore(),
    openid: { endWithToken: true },
    above: (app) => (req) => {
      void (req as Req).session.then((data) => data)
      return app(req)
    },
  })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  t.match(await scene.read(visitor), { userinfo: { sub: '1815' } })
  scene.wait(3605)
  t.same(await scene.read(visitor), {})
})

test('a session that nobody awaits below is neither refreshed nor ended, also where one above has begun to read it', async (t) => {
  const scene = await openIdScene(t, {
    store: new SlowStore(),
    ...REFRESHING,
    above: (app) => (req) => {
      void (req as Req).session.then((data) => data)
      return app(req)
    },
  })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  scene.wait(3605)
  await scene.provider.close()
  t.equal((await visitor.get(`${scene.url}/`)).body, 'home')
  t.equal((await visitor.get(`${scene.url}/read`)).status, 500)
  t.match(scene.errors, [{ code: 'ERR_PROVIDER_UNAVAILABLE' }])
})

test('whoever signs out is not held up by a token that is over, and a provider that says nothing', async (t) => {
  const scene = await openIdScene(t, { store: new MemoryStore(), ...REFRESHING })
  const visitor = new Visitor()
  await scene.signIn(visitor)
  scene.wait(3605)
  await scene.provider.close()
  let asked = 0
  await standIn(t, () => void asked++, Number(new URL(scene.provider.issuer).port))
  const { headers } = await visitor.get(`${scene.url}/logout`)
  t.equal(new URL(headers.location as string).origin, scene.provider.issuer)
  t.equal(asked, 0, 'what was known of the provider is enough')
})

test('a Host that cannot be is a failure as any other', async (t) => {
  const scene = await openIdScene(t)
  const { port } = new URL(scene.url)
  const answer = await ask(Number(port), '/auth/oauth2/callback?state=a', { headers: { host: '[' } })
  t.equal(failureIn(answer), 'csrf_detected')
  t.same(scene.errors, [])
})

test('tokens are kept where they are asked for, and those that fit no cookie are told apart', async (t) => {
  const keep = ['id_token', 'access_token'] as const
  const stored = await openIdScene(t, { store: new MemoryStore(), openid: { keep } })
  const visitor = new Visitor()
  await stored.signIn(visitor)
  const { credentials } = stored.heard[0] as (typeof stored.heard)[0]
  t.match((await stored.read(visitor))['openid'], { id_token: credentials.id_token, access_token: credentials.token })

  const large = await openIdScene(t, { openid: { keep } })
  const answer = await large.signIn(visitor, 'charles', 'babbage')
  t.equal(answer.status, 500)
  t.match(large.errors, [{ code: 'ERR_TOKEN_OVERFLOW', message: /id_token has \d{4} bytes/ }])
  t.notOk((large.errors[0] as Error).message.includes(large.heard[0]?.credentials.id_token as string))
  t.notOk('userinfo' in (await large.read(visitor)))
})

test('two providers stand side by side', async (t) => {
  let app: App = () => [503, {}, null]
  const { url } = await serve(t, (req) => app(req))
  const providers = await Promise.all(
    ['outer', 'inner'].map((name) =>
      startProvider({
        clients: [
          {
            client_id: CLIENT.clientId,
            client_secret: CLIENT.clientSecret,
            redirect_uris: [`${url}/auth/${name}/callback`],
          },
        ],
      }),
    ),
  )
  for (const provider of providers) t.teardown(() => provider.close())
  const [outer, inner] = providers.map(({ issuer }) => issuer) as [string, string]
  app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session({ store: new MemoryStore() }))
    .use(openid({ ...OPTIONS, issuer: outer, provider: 'outer' }))
    .use(openid({ ...OPTIONS, issuer: inner, provider: 'inner' }))
    .run(async (req) => {
      if (req.url === '/read') return [200, {}, JSON.stringify(await req.session)]
      if (req.url === '/logout') return [303, { location: await logoutUrl(req) }, null]
      return [req.auth ? 200 : 404, {}, req.auth?.provider ?? 'nobody']
    })
  for (const [name, issuer] of [
    ['outer', outer],
    ['inner', inner],
  ]) {
    const visitor = new Visitor()
    const { headers } = await visitor.post(`${url}/auth/${name}`)
    t.equal(new URL(headers.location as string).origin, issuer)
    t.equal((await visitor.get(await visitor.signInAt(headers.location as string))).body, name)
    t.match(JSON.parse((await visitor.get(`${url}/read`)).body), { openid: { provider: name, uid: '1815' } })
    t.equal(new URL((await visitor.get(`${url}/logout`)).headers.location as string).origin, issuer)
    t.equal((await visitor.get(`${url}/elsewhere`)).body, 'nobody')
  }
})

test('below map() the paths are those of the browser', async (t) => {
  const provider = await startProvider({ clients: [] })
  t.teardown(() => provider.close())
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .map('/admin', (admin) => admin.use(openid({ ...OPTIONS, issuer: provider.issuer })).run(() => [200, {}, 'admin']))
    .run(() => [200, {}, 'everybody'])
  const { url } = await serve(t, app)
  const visitor = new Visitor()
  const { headers } = await visitor.post(`${url}/admin/auth/oauth2`)
  t.equal(new URL(headers.location as string).searchParams.get('redirect_uri'), `${url}/admin/auth/oauth2/callback`)
  const failed = await visitor.get(`${url}/admin/auth/oauth2/callback`)
  t.equal(failed.headers.location, '/admin/auth/failure?message=csrf_detected&strategy=oauth2')
  t.equal((await visitor.get(`${url}/admin/x`)).body, 'admin')
})

test('nothing that is secret comes out: not in the log, nor on the channel', async (t) => {
  const messages: string[] = []
  const listener = (message: unknown): void => {
    const { req: _, ...rest } = message as SignInMessage
    messages.push(JSON.stringify(rest))
  }
  signInChannel.subscribe(listener)
  t.teardown(() => signInChannel.unsubscribe(listener))
  const scene = await openIdScene(t)
  const visitor = new Visitor()
  const address = new URL(await scene.begin(visitor))
  const back = new URL(await visitor.signInAt(address.href))
  const forged = new URL(back)
  forged.searchParams.set('code', 'a-code-of-the-attacker')
  await visitor.get(forged.href)
  await visitor.get(back.href)
  await scene.signIn(visitor)
  const secrets = [
    CLIENT.clientSecret,
    'a-code-of-the-attacker',
    ...['state', 'nonce', 'code_challenge'].map((name) => address.searchParams.get(name) as string),
    back.searchParams.get('code') as string,
    scene.heard[0]?.credentials.token as string,
    scene.heard[0]?.credentials.id_token as string,
    'Lovelace',
  ]
  const out = [...scene.log, ...messages].join('\n')
  t.match(out, /invalid_credentials/)
  t.match(out, /"outcome":"done"/)
  for (const secret of secrets) t.notOk(out.includes(secret), secret.slice(0, 4))
})

test('options that cannot work are errors when the stack is built', (t) => {
  for (const wrong of [
    { issuer: 'example.com' },
    { issuer: 'http://example.com' },
    { issuer: 'https://example.com/?a=b' },
    { clientId: '' },
    { clientSecret: '' },
    { clientAuth: 'jwt' },
    { scope: 'profile' },
    { origin: 'https://app.example.com/' },
    { provider: 'a/b' },
    { path: 'auth' },
    { returnTo: '/' },
    { returnTo: ['http://['] },
    { keep: ['everything'] },
    { endWithToken: 'yes' },
    { timeout: 0 },
    { logout: 'none' },
    { log: 'yes' },
    { params: 'prompt' },
  ]) {
    t.throws(() => openid({ ...OPTIONS, ...(wrong as object) }), { code: 'ERR_INVALID_OPTION' }, JSON.stringify(wrong))
  }
  t.throws(() => new Builder().use(openid(OPTIONS) as never).run(() => [200, {}, null]), { code: 'ERR_STACK_ORDER' })
  t.end()
})

test('logoutUrl() without openid() above says so', async (t) => {
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .run(async (req) => [303, { location: await logoutUrl(req) }, null])
  await t.rejects(new MockRequest(app).get('/'), { code: 'ERR_STACK_ORDER' })
})
