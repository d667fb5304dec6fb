import { createHash } from 'node:crypto'
import { test } from 'tap'
import { AuthError, AuthService, type AuthServiceOptions } from '../../browser/index.ts'
import { FakePage, tokenOf } from './fake-page.ts'
import { CLIENT, FakeProvider, ISSUER } from './fake-provider.ts'

interface Scene {
  readonly page: FakePage
  readonly provider: FakeProvider
  readonly auth: AuthService
}

const HERE = 'https://app.example/page'

function scene(options: Partial<AuthServiceOptions> = {}): Scene {
  const page = new FakePage()
  const provider = new FakeProvider(page)
  const auth = new AuthService({ issuer: ISSUER, clientId: CLIENT, page, now: page.clock, ...options })
  return { page, provider, auth }
}

/** A scene in which a login was begun. */
async function begun(options: Partial<AuthServiceOptions> = {}, returnTo?: string): Promise<Scene> {
  const made = scene(options)
  await made.auth.login({ returnTo })
  return made
}

/** What a promise is rejected with. */
async function failure(promise: Promise<unknown>): Promise<AuthError> {
  const error: unknown = await promise.then(
    () => new Error('It was not rejected'),
    (reason: unknown) => reason,
  )
  if (error instanceof AuthError) return error
  throw error
}

// ---- login

test('a login asks for a code with PKCE, and comes back to the page without query and fragment', async (t) => {
  const { provider, page } = await begun()
  const { origin, pathname, searchParams } = provider.authorization
  t.equal(origin + pathname, `${ISSUER}/auth`)
  const { state, nonce, code_challenge: challenge, ...others } = Object.fromEntries(searchParams)
  t.strictSame(others, {
    tenant: '1',
    response_type: 'code',
    client_id: CLIENT,
    redirect_uri: HERE,
    scope: 'openid profile email',
    code_challenge_method: 'S256',
  })
  t.match(challenge, /^[\w-]{43}$/)
  for (const secret of [state, nonce]) t.match(secret, /^[\da-f-]{108}$/)
  t.not(state, nonce)
  t.equal(page.visited.length, 1)
})

test('no two logins share what protects them', async (t) => {
  const one = (await begun()).provider.authorization.searchParams
  const other = (await begun()).provider.authorization.searchParams
  for (const name of ['state', 'nonce', 'code_challenge']) t.not(one.get(name), other.get(name), name)
})

test('a scope and an address of your own are asked for', async (t) => {
  const { provider } = await begun({ scope: 'openid', redirectUri: '/callback' })
  t.equal(provider.authorization.searchParams.get('scope'), 'openid')
  t.equal(provider.authorization.searchParams.get('redirect_uri'), 'https://app.example/callback')
})

test('an origin is sent as it was given, with or without the slash', async (t) => {
  for (const redirectUri of ['https://app.example', 'https://app.example/']) {
    const { provider } = await begun({ redirectUri })
    t.equal(provider.authorization.searchParams.get('redirect_uri'), redirectUri)
  }
})

test('an issuer that ends with a slash is asked at the right address', async (t) => {
  const { auth, provider } = scene({ issuer: `${ISSUER}/` })
  provider.configuration = { issuer: `${ISSUER}/` }
  await auth.login()
  t.equal(provider.asked[0]?.url, `${ISSUER}/.well-known/openid-configuration`)
})

const foreign = [
  'https://evil.example/',
  '//evil.example',
  String.raw`/\evil.example`,
  '/\t/evil.example',
  '/.//evil.example',
  '/a/..//evil.example',
  'https://app.example@evil.example/',
  'https://app.example.evil.example/',
  'https://ada@app.example/',
  'http://app.example/',
  'https://app.example:444/',
  'blob:https://app.example/7',
  'javascript:alert(1)',
  'data:text/html,x',
  'http://[',
]

for (const returnTo of foreign) {
  test(`neither after login nor after logout does anybody come to ${JSON.stringify(returnTo)}`, async (t) => {
    const { auth, page, provider } = scene()
    auth.setToken(tokenOf({ sub: 'ada', exp: page.secondsFromNow(60) }))
    t.equal((await failure(auth.login({ returnTo }))).reason, 'invalid_return_to')
    t.equal((await failure(auth.logout({ returnTo }))).reason, 'invalid_return_to')
    t.equal(auth.loggedIn(), true, 'nothing was done')
    t.strictSame(page.visited, [])
    t.strictSame(provider.asked, [])
  })
}

test('what to return to comes back as a path of the origin', async (t) => {
  for (const [returnTo, path] of [
    ['/orders?page=2#last', '/orders?page=2#last'],
    ['https://app.example/a', '/a'],
    ['https://app.example', '/'],
    ['other', '/other'],
    ['/\nlines', '/lines'],
  ] as const) {
    const { auth, provider } = await begun({}, returnTo)
    provider.sendBack()
    t.strictSame(await auth.handleCallback(), { returnTo: path })
  }
})

test('a page of plain http is told so, instead of a TypeError of crypto.subtle', async (t) => {
  const { auth, page } = scene()
  page.isSecureContext = false
  t.equal((await failure(auth.login())).reason, 'insecure_context')
  t.strictSame(page.visited, [])
})

// ---- what the provider says of itself

test('a provider that is down is failed_to_connect, nothing is begun, and the next try may succeed', async (t) => {
  const { auth, page, provider } = scene()
  provider.instead.set('configuration', () => Promise.reject(new TypeError('Failed to fetch')))
  const error = await failure(auth.login())
  t.equal(error.reason, 'failed_to_connect')
  t.match(error.message, 'https://id.example')
  t.ok(error.cause instanceof TypeError)
  t.equal(page.sessionStorage.getItem('id_token.login'), null)
  provider.instead.clear()
  await auth.login()
  t.equal(page.visited.length, 1)
})

for (const [what, answer, reason] of [
  ['an error of its own', () => new Response('Bad Gateway', { status: 502 }), 'failed_to_connect'],
  ['that there is nothing', () => new Response('Not Found', { status: 404 }), 'failed_to_connect'],
  ['a page', () => new Response('<p>hello'), 'invalid_credentials'],
  ['null', () => Response.json(null), 'invalid_credentials'],
] as const) {
  test(`a provider that answers ${what} is ${reason}`, async (t) => {
    const { auth, page, provider } = scene()
    provider.instead.set('configuration', answer)
    t.equal((await failure(auth.login())).reason, reason)
    t.strictSame(page.visited, [])
  })
}

test('a provider that does not answer within ten seconds is a timeout', async (t) => {
  const { auth, page } = scene()
  let begin = (): void => {}
  const asked = new Promise<void>((resolve) => (begin = resolve))
  page.fetch = (_url, init) =>
    new Promise((_resolve, reject) => {
      const { signal } = init as { signal: AbortSignal }
      signal.addEventListener('abort', () => reject(signal.reason as Error))
      begin()
    })
  const failed = failure(auth.login())
  await asked
  page.pass(9.999)
  t.equal(page.timers, 1)
  page.pass(0.001)
  t.equal((await failed).reason, 'timeout')
})

test('an answer leaves no timer behind', async (t) => {
  const { page } = await begun()
  t.equal(page.timers, 0)
})

for (const [what, configuration] of [
  ['calls itself something else', { issuer: 'https://id.example' }],
  ['signs in over plain http', { authorization_endpoint: 'http://id.example/auth' }],
  ['gives tokens over plain http', { token_endpoint: 'http://id.example/token' }],
  ['gives no tokens', { token_endpoint: undefined }],
  ['would sign out in a script', { end_session_endpoint: 'javascript:alert(1)' }],
] as const) {
  test(`a provider that ${what} is not sent anybody`, async (t) => {
    const { auth, page, provider } = scene()
    provider.configuration = configuration
    t.equal((await failure(auth.login())).reason, 'invalid_credentials')
    t.equal((await failure(auth.logout())).reason, 'invalid_credentials')
    t.strictSame(page.visited, [])
  })
}

// ---- the callback

test('a callback signs in: the code goes to the provider with the verifier, and out of the address', async (t) => {
  const { auth, page, provider } = await begun()
  let heard = 0
  auth.on('authenticated', () => heard++)
  provider.sendBack({ session_state: 'x', iss: ISSUER })
  t.strictSame(await auth.handleCallback(), { returnTo: undefined })
  t.match(auth.getProfile(), { sub: 'ada', iss: ISSUER })
  t.equal(heard, 1)
  t.equal(page.location.href, HERE)

  const asked = provider.asked.at(-1)
  t.equal(asked?.url, `${ISSUER}/token`)
  t.equal(asked?.method, 'POST')
  const { code_verifier: verifier = '', ...others } = Object.fromEntries(asked?.body ?? [])
  t.strictSame(others, { grant_type: 'authorization_code', client_id: CLIENT, redirect_uri: HERE, code: 'c0d3-4711' })
  t.match(verifier, /^[\w.~-]{43,128}$/)
  t.equal(
    createHash('sha256').update(verifier).digest('base64url'),
    provider.authorization.searchParams.get('code_challenge'),
  )
})

test('the challenge is written in the letters of base64url', async (t) => {
  const { auth, page, provider } = scene()
  page.crypto = { randomUUID: () => '00000000-0000-4000-8000-000000000002', subtle: crypto.subtle }
  await auth.login()
  t.equal(provider.authorization.searchParams.get('code_challenge'), '1CPe-J8GuGHzhJ7PsaM_M4n1Xsrx-Cgx_n_1wqGM6kc')
})

test('whoever answers for the provider, and sends the page elsewhere with its code, is not followed', async (t) => {
  const { auth, provider } = await begun()
  provider.sendBack()
  await auth.handleCallback()
  t.strictSame(
    provider.asked.map(({ redirect }) => redirect),
    ['error', 'error', 'error'],
  )
})

test('the address is clean before the provider is asked', async (t) => {
  const { auth, page, provider } = await begun()
  provider.sendBack()
  const signedIn = auth.handleCallback()
  t.equal(page.location.href, HERE)
  await signedIn
})

test('a callback with a query of its own keeps that', async (t) => {
  const { auth, page, provider } = await begun({ redirectUri: '/callback?from=id' })
  provider.sendBack()
  await auth.handleCallback()
  t.equal(page.location.href, 'https://app.example/callback?from=id')
  t.ok(auth.loggedIn())
})

test('calls at the same time are one, and the next finds nothing', async (t) => {
  const { auth, provider } = await begun({}, '/orders')
  provider.sendBack()
  const [one, other] = await Promise.all([auth.handleCallback(), auth.handleCallback()])
  t.strictSame(one, { returnTo: '/orders' })
  t.strictSame(other, one)
  t.equal(await auth.handleCallback(), undefined)
  t.equal(provider.asked.filter(({ url }) => url.endsWith('/token')).length, 1)
})

for (const address of [
  HERE,
  `${HERE}?tab=1`,
  `${HERE}?code=10`,
  `${HERE}?error=1`,
  `${HERE}?state=open`,
  `${HERE}#code=a&state=b`,
  'https://app.example/filter?code=10&state=open',
]) {
  test(`${address} is no callback, and is left alone`, async (t) => {
    const { auth, page } = await begun({ redirectUri: HERE })
    page.location.href = address
    t.equal(await auth.handleCallback(), undefined)
    t.equal(page.location.href, address)
    t.not(page.sessionStorage.getItem('id_token.login'), null)
  })
}

/** Nobody is signed in, the code is gone from the address, and whoever was signed in still is. */
for (const [what, { answer = {}, configuration = {}, claims = {}, instead, reason, says }] of Object.entries<{
  answer?: Record<string, string>
  configuration?: object
  claims?: object
  instead?: () => Response | Promise<Response>
  reason: string
  says?: RegExp
}>({
  'with another state': { answer: { state: 'forged' }, reason: 'csrf_detected' },
  'with an empty state': { answer: { state: '' }, reason: 'csrf_detected' },
  'of another issuer': { answer: { iss: 'https://evil.example' }, reason: 'invalid_credentials', says: /iss/ },
  'without the issuer that was announced': {
    configuration: { authorization_response_iss_parameter_supported: true },
    reason: 'invalid_credentials',
    says: /iss/,
  },
  'that was denied': { answer: { error: 'access_denied' }, reason: 'access_denied' },
  'with an error that is a text': {
    answer: { error: '<b>Call 555-1234</b>' },
    reason: 'invalid_credentials',
    says: /does not say why/,
  },
  'whose code is refused': {
    instead: () => Response.json({ error: 'invalid_grant', error_description: 'used' }, { status: 400 }),
    reason: 'invalid_credentials',
    says: /invalid_grant/,
  },
  'whose code is refused without a word': {
    instead: () => new Response('', { status: 403 }),
    reason: 'invalid_credentials',
    says: /403/,
  },
  'while the provider is down': {
    instead: () => Promise.reject(new TypeError('Failed to fetch')),
    reason: 'failed_to_connect',
  },
  'while the provider is broken': {
    instead: () => Response.json({ error: 'server_error' }, { status: 500 }),
    reason: 'failed_to_connect',
  },
  'without an ID token': {
    instead: () => Response.json({ access_token: 'opaque' }),
    reason: 'invalid_credentials',
    says: /openid/,
  },
  'with an ID token that is none': {
    instead: () => Response.json({ id_token: 'opaque' }),
    reason: 'invalid_credentials',
    says: /read/,
  },
  'whose token is of another provider': {
    claims: { iss: 'https://evil.example' },
    reason: 'invalid_credentials',
    says: /\(iss\)/,
  },
  'whose token is for another application': {
    claims: { aud: 'other' },
    reason: 'invalid_credentials',
    says: /\(aud, azp\)/,
  },
  'whose token is for others as well, and not for us first': {
    claims: { aud: ['other', CLIENT], azp: 'other' },
    reason: 'invalid_credentials',
    says: /\(aud, azp\)/,
  },
  'whose token is for others as well, and does not say for whom first': {
    claims: { aud: ['other', CLIENT] },
    reason: 'invalid_credentials',
    says: /\(aud, azp\)/,
  },
  'whose token was given to another': {
    claims: { azp: 'other' },
    reason: 'invalid_credentials',
    says: /\(aud, azp\)/,
  },
  'whose token belongs to another login': { claims: { nonce: 'a' }, reason: 'invalid_credentials', says: /\(nonce\)/ },
  'whose token belongs to no login': {
    claims: { nonce: undefined },
    reason: 'invalid_credentials',
    says: /\(nonce\)/,
  },
  'whose token is about nobody': { claims: { sub: '' }, reason: 'invalid_credentials', says: /\(sub\)/ },
  'whose token has ended': { claims: { exp: 1 }, reason: 'invalid_credentials', says: /\(exp\)/ },
  'whose token never ends': { claims: { exp: undefined }, reason: 'invalid_credentials', says: /\(exp\)/ },
  'whose token is of the future': { claims: { iat: 1e11 }, reason: 'invalid_credentials', says: /\(iat\)/ },
  'whose token has no time': { claims: { iat: undefined }, reason: 'invalid_credentials', says: /\(iat\)/ },
})) {
  test(`a callback ${what} is ${reason}, and changes nothing`, async (t) => {
    const { auth, page, provider } = await begun()
    const before = tokenOf({ sub: 'grace', exp: page.secondsFromNow(3600) })
    auth.setToken(before)
    let heard = 0
    for (const event of ['authenticated', 'expired', 'loggedOut'] as const) auth.on(event, () => heard++)
    Object.assign(provider, { configuration, claims })
    if (instead !== undefined) provider.instead.set('/token', instead)
    provider.sendBack(answer)
    const { searchParams } = new URL(page.location.href)

    const error = await failure(auth.handleCallback())
    t.equal(error.reason, reason)
    if (says !== undefined) t.match(error.message, says)
    for (const name of ['code', 'state']) {
      const secret = searchParams.get(name)
      if (secret) t.notMatch(error.message, secret, `the message does not quote the ${name}`)
    }
    t.equal(auth.getToken(), before)
    t.equal(heard, 0)
    t.equal(page.location.href, HERE)
    t.equal(page.sessionStorage.getItem('id_token.login'), null)
    if (answer['state'] !== undefined || answer['iss'] !== undefined || answer['error'] !== undefined) {
      t.notOk(
        provider.asked.some(({ url }) => url.endsWith('/token')),
        'the code goes to nobody',
      )
    }
  })
}

for (const [what, claims] of [
  ['in a list of one', { aud: [CLIENT] }],
  ['first of several', { aud: ['other', CLIENT], azp: CLIENT }],
  ['on a machine whose clock is four minutes behind', { iat: Date.parse('2026-03-01T12:04:00Z') / 1000 }],
] as const) {
  test(`a token for us ${what} is taken`, async (t) => {
    const { auth, provider } = await begun()
    provider.claims = claims
    provider.sendBack()
    await auth.handleCallback()
    t.ok(auth.loggedIn())
  })
}

test('a callback that comes a second time is refused, whether it succeeded or failed', async (t) => {
  for (const state of [undefined, 'forged']) {
    const { auth, page, provider } = await begun()
    provider.sendBack(state === undefined ? {} : { state })
    await auth.handleCallback().catch(() => {})
    const before = auth.getToken()
    provider.sendBack()
    t.equal((await failure(auth.handleCallback())).reason, 'csrf_detected')
    t.equal(auth.getToken(), before)
    t.equal(page.location.href, HERE)
  }
})

test('a callback of a login that another browser began is refused: nobody is signed in as somebody else', async (t) => {
  const attacker = await begun()
  attacker.provider.sendBack()
  const { auth, page, provider } = scene()
  page.location.href = attacker.page.location.href
  t.equal((await failure(auth.handleCallback())).reason, 'csrf_detected')
  t.equal(auth.loggedIn(), false)
  t.strictSame(provider.asked, [])
})

test('of two logins in one tab the later one counts', async (t) => {
  const { auth, page, provider } = await begun({}, '/first')
  provider.sendBack()
  const first = page.location.href
  page.location.href = HERE
  await auth.login({ returnTo: '/second' })
  provider.sendBack()
  const second = page.location.href
  t.not(first, second)
  t.strictSame(await auth.handleCallback(), { returnTo: '/second' })
})

// ---- logout

test('a logout removes the token in the very call, and ends the session of the provider', async (t) => {
  const { auth, page, provider } = scene()
  const token = tokenOf({ sub: 'ada', exp: page.secondsFromNow(3600) })
  auth.setToken(token)
  let heard = 0
  auth.on('loggedOut', () => heard++)
  const left = auth.logout({ returnTo: '/bye' })
  t.equal(auth.loggedIn(), false)
  t.equal(page.localStorage.getItem('id_token'), null)
  t.equal(heard, 1)
  t.equal(page.timers, 1, 'that of the question to the provider alone')
  await left
  const { origin, pathname, searchParams } = provider.authorization
  t.equal(origin + pathname, `${ISSUER}/logout`)
  t.strictSame(Object.fromEntries(searchParams), {
    id_token_hint: token,
    client_id: CLIENT,
    post_logout_redirect_uri: 'https://app.example/bye',
  })
})

test('by itself a logout comes back to where a login does', async (t) => {
  for (const [options, address] of [
    [{}, HERE],
    [{ redirectUri: 'https://app.example' }, 'https://app.example'],
  ] as const) {
    const { auth, provider } = scene(options)
    await auth.logout()
    t.equal(provider.authorization.searchParams.get('post_logout_redirect_uri'), address)
    t.notOk(provider.authorization.searchParams.has('id_token_hint'), 'nobody was signed in')
  }
})

test('a logout while the provider is down signs out here, and says so', async (t) => {
  const { auth, page, provider } = scene()
  auth.setToken(tokenOf({ sub: 'ada', exp: page.secondsFromNow(3600) }))
  provider.instead.set('configuration', () => Promise.reject(new TypeError('Failed to fetch')))
  t.equal((await failure(auth.logout())).reason, 'failed_to_connect')
  t.equal(auth.loggedIn(), false)
  t.equal(page.localStorage.getItem('id_token'), null)
  t.strictSame(page.visited, [])
})

test('of a provider that has no place to sign out, the browser goes straight to where it would come back', async (t) => {
  const { auth, page, provider } = scene()
  provider.configuration = { end_session_endpoint: undefined }
  auth.setToken(tokenOf({ sub: 'ada', exp: page.secondsFromNow(3600) }))
  await auth.logout({ returnTo: '/bye' })
  t.equal(auth.loggedIn(), false)
  t.strictSame(page.visited, ['https://app.example/bye'])
})
