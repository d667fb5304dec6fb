import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import tap, { test, type Test } from 'tap'
import { serve } from '../server.ts'
import { launch, open } from './browser.ts'
import { start, type Program } from './program.ts'

const browser = await launch(tap)

const site = await start(tap, 'site/server', { cwd: tap.testdir(), env: { PORT: '0' } })

const visit = (t: Test, url: string = site.url, options: BrowserContextOptions = {}) => open(t, browser, url, options)

/** Presses a button, or follows a link, and waits for the page to which it leads. */
async function press(page: Page, name: string, role: 'button' | 'link' = 'button'): Promise<void> {
  const loaded = page.waitForEvent('load')
  await page.getByRole(role, { name }).click()
  await loaded
}

async function signIn(page: Page, name: string): Promise<void> {
  await page.getByLabel('Your name').fill(name)
  await press(page, 'Sign in')
}

const fact = (page: Page, term: string): Promise<string> =>
  page.locator(`dt:text-is("${term}") + dd`).innerText({ timeout: 60_000 })

const cartOf = (page: Page): Promise<[item: string, quantity: string][]> =>
  page
    .locator('li form')
    .evaluateAll((forms) =>
      forms.map((form) => [
        form.querySelector('strong')?.textContent ?? '',
        (form.querySelector('[name=quantity]') as unknown as { value: string }).value,
      ]),
    )

test('whoever signs in is greeted by name, and counted each time the page is loaded', async (t) => {
  const { page, context, complaints } = await visit(t)
  t.match(await page.locator('main').innerText(), /demonstration.*no password/)
  await signIn(page, 'Ada')
  t.equal(await fact(page, 'Signed in as'), 'Ada')
  t.equal(await fact(page, 'Visits'), '1')
  await page.reload()
  await page.reload()
  t.equal(await fact(page, 'Visits'), '3')

  t.equal(await page.evaluate('document.cookie'), '', 'no script can read the cookie')
  const [cookie, ...others] = await context.cookies()
  t.match(cookie, { name: '_site_session', httpOnly: true, sameSite: 'Lax', path: '/', expires: -1 })
  t.strictSame(others, [])
  t.strictSame(complaints, [])
})

test('the cart keeps what is added, changed and removed, and a second tab sees it', async (t) => {
  const { page, context, complaints } = await visit(t)
  await signIn(page, 'Ada')
  await press(page, 'Cart', 'link')
  for (const item of ['Umbrella', 'Travel chess', 'Umbrella', 'Flask of tea']) {
    await press(page, `Add: ${item}`)
  }
  t.equal(await page.getByRole('status').innerText(), 'Flask of tea: it is in your cart.')
  await page.reload()
  t.equal(await page.getByRole('status').count(), 0, 'which is said once')
  t.strictSame(await cartOf(page), [
    ['Umbrella', '2'],
    ['Travel chess', '1'],
    ['Flask of tea', '1'],
  ])

  await page.getByLabel('How many: Travel chess').fill('7')
  await press(page, 'Update: Travel chess')
  await press(page, 'Remove: Umbrella')
  const tab = await context.newPage()
  await tab.goto(`${site.url}/cart`)
  t.strictSame(await cartOf(tab), [
    ['Travel chess', '7'],
    ['Flask of tea', '1'],
  ])

  await press(tab, 'Add: Flask of tea')
  await press(page, 'Dashboard', 'link')
  t.equal(await fact(page, 'Things in the cart'), '9', 'and the first sees what the second did')
  t.strictSame(complaints, [])
})

test('a restart signs nobody out while the secret is kept, and everybody when it is gone', async (t) => {
  const cwd = t.testdir()
  const restart = (): Promise<Program> => start(t, 'site/server', { cwd, env: { PORT: '0' } })
  const first = await restart()
  const { page, complaints } = await visit(t, first.url)
  await signIn(page, 'Ada')
  const file = join(cwd, '.luggage-rack-secret')
  const secret = readFileSync(file, 'utf8')
  t.match(secret, /^[0-9a-f]{128}\n$/)
  t.equal((statSync(file).mode & 0o777).toString(8), '600', 'nobody else can read it')

  t.equal(await first.end(), 0)
  const second = await restart()
  await page.goto(second.url)
  t.equal(await fact(page, 'Signed in as'), 'Ada')
  t.equal(await fact(page, 'Visits'), '2')
  t.equal(readFileSync(file, 'utf8'), secret)

  t.equal(await second.end(), 0)
  rmSync(file)
  await page.goto((await restart()).url)
  t.ok(await page.getByLabel('Your name').isVisible())
  t.strictSame(complaints, [])
})

test('signing out leads back to the form, and leaves nothing to go back to', async (t) => {
  const { page, context, complaints } = await visit(t)
  await signIn(page, 'Ada')
  await page.goto(`${site.url}/cart`)
  await press(page, 'Add: Umbrella')
  await press(page, 'Sign out')
  t.ok(await page.getByLabel('Your name').isVisible())
  t.strictSame(await context.cookies(), [])

  // page.goBack() knows nothing of the pages that a browser keeps alive to go back to
  const asked = page.waitForResponse(`${site.url}/cart`, { timeout: 60_000 })
  await page.evaluate('void history.back()')
  t.equal((await asked).status(), 303, 'the cart is asked for anew, and leads to the form')
  await page.getByLabel('Your name').waitFor()
  t.strictSame(complaints, [])
})

test('signing in as somebody else takes nothing along', async (t) => {
  const { page, context } = await visit(t)
  const form = await context.newPage()
  await form.goto(site.url)
  await signIn(page, 'Ada')
  await page.goto(`${site.url}/cart`)
  await press(page, 'Add: Umbrella')
  await signIn(form, 'Grace')
  t.equal(await fact(form, 'Visits'), '1')
  t.equal(await fact(form, 'Things in the cart'), '0')
})

test('a name of spaces gets the form again, and any other is shown as the text that it is', async (t) => {
  const { page, context } = await visit(t)
  await page.getByLabel('Your name').fill('   ')
  await press(page, 'Sign in')
  t.match(await page.getByRole('alert').innerText(), /name/)
  t.strictSame(await context.cookies(), [])

  const name = `<img src=x onerror=alert(1)> &amp; "Ada's"`
  await signIn(page, name)
  t.equal(await fact(page, 'Signed in as'), name)
  t.equal(await page.locator('img').count(), 0)
})

test('what another page posts is refused, also from another port of the same host', async (t) => {
  const { page } = await visit(t)
  const other = await serve(t, () => [
    200,
    { 'content-type': 'text/html' },
    `<form method="post" action="${site.url}/sign-out"><button>Win a prize</button></form>`,
  ])
  await signIn(page, 'Ada')
  for (const host of ['127.0.0.1', 'localhost']) {
    await page.goto(`http://${host}:${other.port}`)
    await press(page, 'Win a prize')
    t.match(await page.locator('main').innerText(), /not one of ours/, host)
  }
  await page.goto(site.url)
  t.equal(await fact(page, 'Signed in as'), 'Ada')
})

test('the pages fit a phone, in the dark too', async (t) => {
  const { page } = await visit(t, site.url, { viewport: { width: 320, height: 640 }, colorScheme: 'dark' })
  const tooWide = (): Promise<boolean> => page.evaluate('document.documentElement.scrollWidth > innerWidth')
  t.notOk(await tooWide(), 'the form')
  await signIn(page, 'W'.repeat(50))
  t.notOk(await tooWide(), 'the dashboard')
  await page.goto(`${site.url}/cart`)
  await press(page, 'Add: Walking boots')
  t.notOk(await tooWide(), 'the cart')
  const background = await page.evaluate('getComputedStyle(document.body).backgroundColor')
  const [red = 255] = String(background).match(/\d+/g)?.map(Number) ?? []
  t.ok(red < 60, `the background is dark: ${String(background)}`)
})

test('a visitor sees where else he is signed in, and signs out there or everywhere else', async (t) => {
  const cwd = t.testdir()
  const { url } = await start(t, 'site/server', { cwd, env: { PORT: '0' }, args: ['--store', 'sqlite'] })
  const here = await visit(t, url)
  const others = [await visit(t, url), await visit(t, url)]
  for (const { page } of [here, ...others]) await signIn(page, 'Ada')
  const stranger = await visit(t, url)
  await signIn(stranger.page, 'Bob')

  await press(here.page, 'Sessions', 'link')
  const sessions = here.page.locator('main li')
  t.equal(await sessions.count(), 3)
  t.equal(await sessions.filter({ hasText: 'This browser' }).count(), 1)
  const signedIn = async (): Promise<boolean[]> =>
    Promise.all(
      others.map(async ({ page }) => {
        await page.goto(url)
        return page.getByRole('heading', { name: 'Ada' }).isVisible()
      }),
    )
  t.same(await signedIn(), [true, true])

  const loaded = here.page.waitForEvent('load')
  await here.page.getByRole('button', { name: 'Sign out there' }).first().click()
  await loaded
  t.equal(await sessions.count(), 2)
  t.equal((await signedIn()).filter(Boolean).length, 1)

  await press(here.page, 'Sign out everywhere else')
  t.equal(await sessions.count(), 1)
  t.same(await signedIn(), [false, false])
  await stranger.page.goto(url)
  t.ok(await stranger.page.getByRole('heading', { name: 'Bob' }).isVisible(), 'nobody else is signed out')
  t.same(here.complaints, [])
})
