import { CookieStore, type SessionStore } from 'luggage-rack'
import { SqliteStore } from 'luggage-rack/stores/sqlite'
import tap, { test, type Test } from 'tap'
import { start } from '../../examples/auth/server.ts'
import type { Example } from '../../examples/example.ts'
import { startProvider } from '../../examples/openid-provider/provider.ts'
import { freePort } from '../free-port.ts'
import { accessible } from './accessible.ts'
import { launch, open, type Visit } from './browser.ts'
import { signInAtProvider, withParameter } from './provider-page.ts'

const browser = await launch(tap)

async function begin(t: Test, store: SessionStore, clock?: () => number): Promise<Example> {
  const example = await start({ port: await freePort(), startProvider, clock }, store)
  t.teardown(() => example.close())
  return example
}

/** The session's cookie. */
async function cookieOf({ context }: Visit, url: string): Promise<string | undefined> {
  const cookies = await context.cookies(url)
  return cookies.find(({ name }) => name === '_tutorial_session')?.value
}

for (const [name, makeStore] of [
  ['cookie', () => new CookieStore()],
  ['SQLite', () => new SqliteStore({ filename: ':memory:' })],
] as const) {
  test(`auth on ${name}: signing in, the dashboard, the profile, and the way out`, async (t) => {
    const { url, issuer } = await begin(t, makeStore())
    const visit = await open(t, browser, `${url}/profile`)
    const { page, context } = visit
    await page.getByRole('status').filter({ hasText: 'Sign in to see this page.' }).waitFor()
    await accessible(t, page, 'refused')
    const before = await cookieOf(visit, url)
    t.ok(before, 'the form has a token of a session')

    const asked = page.waitForRequest((request) => request.url().startsWith(`${issuer}/auth?`))
    await page.getByRole('button', { name: 'Log in' }).click()
    await signInAtProvider(page)
    await page.getByRole('heading', { name: 'What the provider told' }).waitFor()
    t.equal(page.url(), `${url}/profile`, 'back at the page that was asked for')
    await page.getByText('ada@example.com').waitFor()
    await accessible(t, page, 'the profile')

    const after = await cookieOf(visit, url)
    t.not(after, before, 'the session has a new id')
    const old = await fetch(`${url}/dashboard`, { headers: { cookie: `_tutorial_session=${before}` } })
    t.equal(old.status, 401, 'and the old one opens nothing')

    await page.getByRole('link', { name: 'Dashboard' }).click()
    await page.getByRole('heading', { name: 'Good day, Ada Lovelace!' }).waitFor()
    await page.reload()
    await page.getByText('You have seen this page 2 times').waitFor()
    await accessible(t, page, 'the dashboard')
    const tab = await context.newPage()
    await tab.goto(`${url}/dashboard`)
    await tab.getByText('You have seen this page 3 times').waitFor()

    await page.getByRole('button', { name: 'Log out' }).click()
    if (name === 'cookie') {
      // without the ID token the provider asks whether it is meant
      await page.getByRole('button', { name: 'Sign out', exact: true }).click()
    }
    await page.waitForURL(`${url}/`)
    await page.getByRole('status').filter({ hasText: 'You are signed out.' }).waitFor()
    await tab.reload()
    await tab.getByRole('button', { name: 'Log in' }).waitFor()
    await page.goto(`${url}/dashboard`)
    await page.getByRole('status').filter({ hasText: 'Sign in to see this page.' }).waitFor()
    if (name === 'SQLite') {
      const copied = await fetch(`${url}/dashboard`, { headers: { cookie: `_tutorial_session=${after}` } })
      t.equal(copied.status, 401, 'a copy of the cookie opens nothing either')
    }

    const elsewhere = await open(t, browser, 'about:blank')
    const refused = await elsewhere.page.goto(
      withParameter((await asked).url(), 'redirect_uri', 'https://evil.example/'),
    )
    t.equal(refused?.status(), 400, 'the provider sends nobody to an address that was not registered')

    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByLabel('Password').waitFor()
    t.pass('the provider asks again, for it has ended its session')
    t.strictSame(
      visit.complaints.filter((text) => !text.includes('401')),
      [],
    )
  })
}

test('auth: what goes wrong is a page that says so, and nobody is signed in', async (t) => {
  const { url } = await begin(t, new CookieStore())
  const { page } = await open(t, browser, url)
  const failed = async (reason: string): Promise<void> => {
    await page.getByRole('alert').filter({ hasText: reason }).waitFor()
    const response = await page.goto(`${url}/dashboard`)
    t.equal(response?.status(), 401)
  }
  await page.goto(`${url}/auth/oauth2/callback?code=stolen&state=guessed`)
  await accessible(t, page, 'a failure')
  await failed('This browser did not begin to sign in')

  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('button', { name: 'Cancel' }).click()
  await failed('You have not let this application know who you are.')

  await page.goto(`${url}/auth/oauth2/callback`)
  await failed('This browser did not begin to sign in')
  t.equal(await page.goto(`${url}/nothing`).then((response) => response?.status()), 404)
})

test('auth: a sign-in that takes ten minutes has to begin anew', async (t) => {
  let late = 0
  const { url } = await begin(t, new CookieStore(), () => Date.now() + late)
  const { page } = await open(t, browser, url)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByLabel('Name').waitFor()
  late = 601_000
  await signInAtProvider(page)
  await page.getByRole('alert').filter({ hasText: 'did so too long ago' }).waitFor()
  await page.getByRole('link', { name: 'Try again' }).click()
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: 'Good day, Ada Lovelace!' }).waitFor()
})
