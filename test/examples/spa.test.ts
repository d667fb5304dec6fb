import type { Page } from 'playwright-core'
import tap, { test, type Test } from 'tap'
import type { Example, Start, StartOptions } from '../../examples/example.ts'
import { startProvider } from '../../examples/openid-provider/provider.ts'
import { startPage } from '../../examples/spa/server.ts'
import { start as startServerSession } from '../../examples/spa/server-session/server.ts'
import { freePort } from '../free-port.ts'
import { accessible } from './accessible.ts'
import { launch, open, type Visit } from './browser.ts'
import { signInAtProvider, withParameter } from './provider-page.ts'

const HOURS = 3_600_000

const browser = await launch(tap)

async function begin(t: Test, start: Start, options: Partial<StartOptions> = {}): Promise<Example> {
  const example = await start({ port: await freePort(), startProvider, ...options })
  t.teardown(() => example.close())
  return example
}

const heading = (page: Page, name: string): Promise<void> => page.getByRole('heading', { name, level: 1 }).waitFor()

const status = (page: Page, text: string): Promise<void> => page.getByRole('status').filter({ hasText: text }).waitFor()

const press = (page: Page, name: string): Promise<void> => page.getByRole('button', { name, exact: true }).click()

async function logIn(page: Page): Promise<void> {
  await press(page, 'Log in')
  await signInAtProvider(page)
  await heading(page, 'Dashboard')
}

/** What the dashboard says, when it does. */
async function profile(page: Page): Promise<string[]> {
  await heading(page, 'Dashboard')
  await page.locator('dd:has-text("Ada Lovelace")').waitFor()
  return page.locator('dl:visible dd').allInnerTexts()
}

const ADA = ['Ada Lovelace', 'ada@example.com']

/** What all of the pages do. At the end somebody is logged in, and on the dashboard. */
async function walk(t: Test, { url, issuer }: Example, { page, context }: Visit, hasOwnMarkup = true): Promise<void> {
  const looks = (what: string): Promise<void> | undefined => (hasOwnMarkup ? accessible(t, page, what) : undefined)
  await heading(page, 'Please log in')
  t.notOk(await page.getByText('ada@example.com').isVisible(), 'the guard refuses at first')
  await looks('refused')

  const asked = page.waitForRequest((request) => request.url().startsWith(`${issuer}/auth?`))
  await logIn(page)
  t.equal(page.url(), `${url}/#/dashboard`, 'back where it began, and nothing of the callback in the address')
  t.strictSame(await profile(page), ADA)
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.setViewportSize({ width: 320, height: 640 })
  await looks('the dashboard on a phone in the dark')
  await page.getByRole('link', { name: 'Home' }).click()
  await page.getByText('You are logged in as Ada Lovelace.').waitFor()
  t.match(await page.evaluate('document.activeElement.tagName'), 'H1', 'who hears the page hears where he is')

  await page.goto(`${url}/#/dashboard`)
  await page.reload()
  t.strictSame(await profile(page), ADA, 'also after a reload')
  const tab = await context.newPage()
  await tab.goto(`${url}/#/dashboard`)
  t.strictSame(await profile(tab), ADA, 'also in a second tab')

  await press(page, 'Log out')
  await page.waitForURL(`${url}/`)
  await page.getByRole('button', { name: 'Log in' }).waitFor()
  await heading(tab, 'Please log in')
  await status(tab, 'You are logged out.')
  t.notOk(await tab.getByText('ada@example.com').isVisible(), 'the second tab is logged out too')
  await tab.close()
  await page.getByRole('link', { name: 'Dashboard' }).click()
  await heading(page, 'Please log in')

  const elsewhere = await open(t, browser, 'about:blank')
  const address = withParameter((await asked).url(), 'redirect_uri', 'http://localhost:1/')
  const refused = await elsewhere.page.goto(address)
  t.equal(refused?.status(), 400, 'the provider sends nobody to an address that was not registered')
  t.match(await elsewhere.page.locator('main').innerText(), /redirect_uri/)

  await logIn(page)
  t.strictSame(await profile(page), ADA, 'the provider asked again, for it had ended its session')
}

for (const name of ['plain', 'jquery', 'jquery-lockr', 'react'] as const) {
  test(`${name}: the session in the browser, from logging in to its end`, async (t) => {
    const { url, issuer, ...example } = await begin(t, startPage(name))
    const visit = await open(t, browser, `${url}/#/dashboard`)
    const { page } = visit
    // those with jQuery have the markup of the plain one
    await walk(t, { url, issuer, ...example }, visit, !name.startsWith('jquery'))

    const kept = await page.evaluate('localStorage.getItem("id_token")')
    t.match(kept, name === 'jquery-lockr' ? /^\{"data":"ey/ : /^ey/)
    const elsewhere = `import('/luggage-rack/index.js').then(({ AuthService }) =>
      new AuthService({ issuer: ${JSON.stringify(issuer)}, clientId: 'spa' }).logout({ returnTo: 'https://evil.example/' })
    ).catch(({ reason }) => reason)`
    t.equal(await page.evaluate(elsewhere), 'invalid_return_to', 'nor do we')
    t.equal(await page.evaluate('localStorage.getItem("id_token")'), kept, 'and nobody was logged out')

    // the page is away while the token expires
    await page.goto('about:blank')
    await page.clock.setFixedTime(Date.now() + 2 * HOURS)
    await page.goto(`${url}/#/dashboard`)
    await status(page, 'Your session has expired.')
    await heading(page, 'Please log in')
    t.equal(await page.evaluate('localStorage.getItem("id_token")'), null, 'it was removed')
    t.strictSame(visit.complaints, [])
  })
}

test('an answer that nobody asked for, and a provider that cannot be reached: told, and nobody is logged in', async (t) => {
  const { url } = await begin(t, startPage('plain'))
  const { page, context } = await open(t, browser, `${url}/?code=forged&state=forged`)
  await status(page, 'This tab has begun no such login')
  t.equal(page.url(), `${url}/`)
  await context.setOffline(true)
  await press(page, 'Log in')
  await status(page, 'could not be asked')
  t.equal(await page.evaluate('localStorage.length + sessionStorage.length'), 0)
})

test('server-session: the same with the session on the server, and nothing in the browser to steal', async (t) => {
  let ahead = 0
  const example = await begin(t, startServerSession, { clock: () => Date.now() + ahead })
  const { url } = example
  const visit = await open(t, browser, `${url}/#/dashboard`)
  const { page, context } = visit
  await walk(t, example, visit)

  t.equal(await page.evaluate('document.cookie'), '', 'no script can read the cookie')
  t.equal(await page.evaluate('localStorage.length + sessionStorage.length'), 0)
  const [cookie, ...others] = (await context.cookies()).filter(({ domain }) => domain === 'localhost')
  t.match(cookie, { name: '_app_session', httpOnly: true, sameSite: 'Strict', expires: -1 })
  t.match(cookie?.value, /^[\da-f]{32}$/, 'it is an id')
  t.strictSame(others, [])
  t.notMatch(
    await page.evaluate('fetch("/me").then((answer) => answer.text())'),
    /ey[\w-]+\.ey/,
    'the page gets no token',
  )

  // logged in elsewhere than where the form says
  await press(page, 'Log out')
  await page.waitForURL(`${url}/`)
  await page.getByRole('button', { name: 'Log in' }).waitFor()
  await page.evaluate('document.querySelector("[name=origin]").value = "https://evil.example/"')
  await press(page, 'Log in')
  await signInAtProvider(page)
  await page.getByText('You are logged in as Ada Lovelace.').waitFor()
  t.equal(page.url(), `${url}/`, 'nor do we send anybody elsewhere')

  ahead = 2 * HOURS
  await page.reload()
  await status(page, 'Your session has expired.')
  await page.getByRole('button', { name: 'Log in' }).waitFor()
  await page.reload()
  await page.getByRole('button', { name: 'Log in' }).waitFor()
  t.equal(await page.getByRole('status').innerText(), '', 'which is said once')

  await page.getByRole('link', { name: 'Why', exact: true }).click()
  await heading(page, 'Why the token is on the server')
  await accessible(t, page, 'why, on a phone in the dark')
  await page.emulateMedia({ colorScheme: 'light' })
  await accessible(t, page, 'why')
  t.strictSame(visit.complaints, [])
})

test('server-session: a cancelled sign-in is told of, an old cookie opens nothing, another site logs nobody out', async (t) => {
  const { url } = await begin(t, startServerSession)
  const { page, context } = await open(t, browser, `${url}/#/dashboard`)
  await press(page, 'Log in')
  await press(page, 'Cancel')
  await status(page, 'You are not logged in: access denied.')

  const planted = await context.cookies(url)
  await page.getByRole('link', { name: 'Dashboard' }).click()
  await logIn(page)
  const kept = await context.cookies(url)
  t.not(kept[0]?.value, planted[0]?.value, 'whoever logs in gets a new id')
  const thief = await browser.newContext()
  t.teardown(() => thief.close())
  const me = async (): Promise<unknown> => (await (await thief.request.get(`${url}/me`)).json()) as unknown
  await thief.addCookies(planted)
  t.match(await me(), { profile: null }, 'the old one opens nothing')
  await thief.addCookies(kept)
  t.match(await me(), { profile: { name: 'Ada Lovelace' } })

  const forged = await page.request.post(`${url}/logout`, { headers: { origin: 'http://localhost:1' } })
  t.equal(forged.status(), 422)
  await press(page, 'Log out')
  await page.waitForURL(`${url}/`)
  await thief.addCookies(kept)
  t.match(await me(), { profile: null, hasEnded: true }, 'to log out ends the session for every holder of its cookie')
})
