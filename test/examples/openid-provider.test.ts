import { createHash } from 'node:crypto'
import { jwtDecode } from 'jwt-decode'
import type { Page } from 'playwright-core'
import tap, { test } from 'tap'
import { startProvider } from '../../examples/openid-provider/provider.ts'
import { ask, serve } from '../server.ts'
import { accessible } from './accessible.ts'
import { launch, open } from './browser.ts'
import { signInAtProvider, withParameter } from './provider-page.ts'

const browser = await launch(tap)

// whatever comes back from the provider
const { port } = await serve(tap, () => [200, { 'content-type': 'text/html' }, '<h1>Back</h1>'])
const origin = `http://localhost:${port}`

const provider = await startProvider({
  ttl: 90,
  clients: [
    {
      client_id: 'page',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [`${origin}/`],
      post_logout_redirect_uris: [`${origin}/`],
    },
  ],
})
const { issuer } = provider
tap.teardown(() => provider.close())

const verifier = 'v'.repeat(43)

function authorization(more: Record<string, string> = {}): string {
  const parameters = {
    client_id: 'page',
    response_type: 'code',
    redirect_uri: `${origin}/`,
    scope: 'openid profile email',
    state: 'the-state',
    nonce: 'the-nonce',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  }
  return `${issuer}/auth?${new URLSearchParams({ ...parameters, ...more }).toString()}`
}

interface Tokens {
  id_token: string
  access_token: string
  refresh_token?: string
  error?: string
}

async function token(fields: Record<string, string>): Promise<Tokens> {
  const body = new URLSearchParams({ client_id: 'page', ...fields })
  return (await (await fetch(`${issuer}/token`, { method: 'POST', body })).json()) as Tokens
}

async function back(page: Page): Promise<URLSearchParams> {
  await page.waitForURL((url) => url.origin === origin)
  return new URL(page.url()).searchParams
}

const exchange = async (page: Page): Promise<Tokens> =>
  token({
    grant_type: 'authorization_code',
    code: (await back(page)).get('code') ?? '',
    redirect_uri: `${origin}/`,
    code_verifier: verifier,
  })

test('whoever signs in comes back with a code, which is good once, and for whoever began', async (t) => {
  const { page, complaints } = await open(t, browser, authorization())
  t.match(await page.locator('main').innerText(), `Afterwards you go back to ${origin}.`)
  await accessible(t, page, 'the form')
  await page.setViewportSize({ width: 320, height: 640 })
  await page.emulateMedia({ colorScheme: 'dark' })
  await accessible(t, page, 'the form on a phone in the dark')
  await signInAtProvider(page)
  const answer = await back(page)
  t.match(Object.fromEntries(answer), { state: 'the-state', iss: issuer, code: /^[\w-]{20,}$/ })
  t.strictSame(complaints, [])

  const tokens = await exchange(page)
  const { exp = 0, iat = 0, ...claims } = jwtDecode(tokens.id_token)
  t.match(claims, { iss: issuer, aud: 'page', nonce: 'the-nonce', name: 'Ada Lovelace', email: 'ada@example.com' })
  t.equal(exp - iat, 90, 'the time that it was started with')
  t.equal(tokens.refresh_token, undefined)
  t.match(await exchange(page), { error: 'invalid_grant' }, 'a second time')

  await page.goto(authorization())
  await back(page)
  t.pass('and is signed in already the next time')
})

test('a wrong password, and a sign-in that is cancelled or over', async (t) => {
  const { page } = await open(t, browser, authorization())
  await signInAtProvider(page, 'ada"><b>', 'wrong')
  t.match(await page.getByRole('alert').innerText(), /nobody of that name/)
  t.equal(await page.getByLabel('Name').inputValue(), 'ada"><b>', 'as the text that it is')
  await accessible(t, page, 'the form again')
  const form = page.url()
  await page.getByRole('button', { name: 'Cancel' }).click()
  t.match(Object.fromEntries(await back(page)), { error: 'access_denied', state: 'the-state', iss: issuer })
  t.equal((await page.goto(form))?.status(), 400)
  t.match(await page.locator('main').innerText(), /over/)
})

test('no address that was not registered, and no sign-in without PKCE', async (t) => {
  const { page } = await open(t, browser, authorization())
  for (const [parameter, value] of [
    ['redirect_uri', `${origin}/elsewhere`],
    ['redirect_uri', 'https://evil.example/'],
    ['client_id', 'nobody'],
  ] as const) {
    const refused = await page.goto(withParameter(authorization(), parameter, value))
    t.equal(refused?.status(), 400, `${parameter} ${value}`)
    t.match(await page.locator('main').innerText(), /invalid_/)
  }
  await accessible(t, page, 'an error')
  await page.goto(authorization().replace(/&code_challenge=[^&]*&code_challenge_method=S256/, ''))
  t.match(Object.fromEntries(await back(page)), { error: 'invalid_request' })
})

test('refresh tokens come with offline_access, and nobody is asked for consent', async (t) => {
  const { page } = await open(t, browser, authorization({ scope: 'openid offline_access', prompt: 'consent' }))
  await signInAtProvider(page)
  const { refresh_token = '' } = await exchange(page)
  const tokens = await token({ grant_type: 'refresh_token', refresh_token })
  t.match(jwtDecode(tokens.id_token), { sub: '1815', iss: issuer })
})

test('who shows whose session is to end is not asked; anybody else is, and goes nowhere unregistered', async (t) => {
  const { page, complaints } = await open(t, browser, authorization())
  await signInAtProvider(page)
  const { id_token } = await exchange(page)
  const end = `${issuer}/session/end`

  await page.goto(`${end}?client_id=page&post_logout_redirect_uri=${encodeURIComponent(`${origin}/`)}`)
  await accessible(t, page, 'the question')
  await page.getByRole('button', { name: 'Stay signed in' }).click()
  await back(page)
  await page.goto(authorization())
  await back(page)
  t.pass('still signed in')

  const parameters = new URLSearchParams({ id_token_hint: id_token, post_logout_redirect_uri: `${origin}/` })
  const unregistered = withParameter(
    `${end}?${parameters.toString()}`,
    'post_logout_redirect_uri',
    'https://evil.example/',
  )
  const elsewhere = await open(t, browser, 'about:blank')
  t.equal((await elsewhere.page.goto(unregistered))?.status(), 400)
  t.match(await elsewhere.page.locator('main').innerText(), /post_logout_redirect_uri not registered/)

  await page.goto(`${end}?${parameters.toString()}`)
  await back(page)
  await page.goto(authorization())
  await page.getByLabel('Password').waitFor()
  await page.goto(`${end}?${parameters.toString()}`)
  await back(page)
  t.strictSame(complaints, [], 'also where there is no session any more')
})

test('pages of registered applications may ask for tokens, and those of others may not', async (t) => {
  const allowed = async (from: string): Promise<string | undefined> => {
    const answer = await ask(Number(new URL(issuer).port), '/token', {
      method: 'POST',
      headers: { origin: from, 'content-type': 'application/x-www-form-urlencoded' },
      body: 'client_id=page&grant_type=authorization_code&code=none&redirect_uri=none&code_verifier=none',
    })
    return answer.headers['access-control-allow-origin']
  }
  t.equal(await allowed(origin), origin)
  t.equal(await allowed('https://evil.example'), undefined)
})
