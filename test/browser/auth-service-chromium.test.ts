import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import tap, { test, type Test } from 'tap'
import { startProvider, type Provider } from '../../examples/openid-provider/provider.ts'
import type { App } from '../../lib/index.ts'
import { launch, open, type Visit } from '../examples/browser.ts'
import { serve, type Owner } from '../server.ts'
import { tokenOf } from './fake-page.ts'

const browser = await launch(tap)

/** A page with the module as it was built, and the provider that it signs in with. */
interface Stage {
  readonly url: string
  readonly provider: Provider
  /** Changes the address of the next callback, while the browser is on its way there. */
  tamper: (change: (callback: URL) => void) => void
}

const modules: Readonly<Record<string, string>> = {
  '/jwt-decode.js': 'node_modules/jwt-decode/build/esm/index.js',
  '/lockr.js': 'node_modules/lockr/lockr.js',
}

/** The page calls nothing by itself: each test does. */
const pageOf = (issuer: string, head = '', storage = 'localStorage'): string => `<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <title>A page</title>
  <link rel="icon" href="data:,">
  ${head}
  <script type="importmap">
    { "imports": { "jwt-decode": "/jwt-decode.js", "luggage-rack/browser": "/browser/index.js" } }
  </script>
  <script type="module">
    import { AuthService, lockrStorage } from 'luggage-rack/browser'
    window.heard = []
    window.auth = new AuthService({ issuer: ${JSON.stringify(issuer)}, clientId: 'page', storage: ${storage} })
    for (const event of ['authenticated', 'expired', 'loggedOut']) auth.on(event, () => heard.push(event))
  </script>
`

async function stage(t: Owner): Promise<Stage> {
  let issuer = ''
  let change: ((callback: URL) => void) | undefined
  const app: App = (req) => {
    const { pathname, searchParams, href } = new URL(req.url ?? '/', url)
    if (change !== undefined && searchParams.has('state')) {
      const changed = new URL(href)
      change(changed)
      change = undefined
      return [303, { location: changed.href }, null]
    }
    const file = modules[pathname] ?? (/^\/browser\/[\w-]+\.js$/.test(pathname) ? `build${pathname}` : undefined)
    if (file !== undefined) return [200, { 'content-type': 'text/javascript' }, readFileSync(join(process.cwd(), file))]
    const html =
      pathname === '/lockr'
        ? pageOf(issuer, '<script src="/lockr.js"></script>', 'lockrStorage(Lockr)')
        : pageOf(issuer)
    return [200, { 'content-type': 'text/html; charset=utf-8' }, html]
  }
  const { port } = await serve(t, app)
  const url = `http://localhost:${port}/`
  const provider = await startProvider({
    clients: [
      {
        client_id: 'page',
        token_endpoint_auth_method: 'none',
        redirect_uris: [url],
        post_logout_redirect_uris: [url],
      },
    ],
  })
  t.teardown(() => provider.close())
  issuer = provider.issuer
  return { url, provider, tamper: (next) => (change = next) }
}

const usual = await stage(tap)

const visit = (t: Test, { url }: Stage = usual): Promise<Visit> => open(t, browser, url)

/** Begins a login. */
const begin = (page: Page): Promise<unknown> => page.evaluate(`void auth.login({ returnTo: '/orders?page=2' })`)

/** Goes through the provider's page, to the callback, of which the page has made nothing yet. */
async function goThrough(page: Page, name = 'ada', password = 'lovelace'): Promise<void> {
  await page.getByLabel('Name', { exact: true }).fill(name)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.waitForURL(({ searchParams }) => searchParams.has('state'))
}

async function signIn(page: Page): Promise<void> {
  await begin(page)
  await goThrough(page)
  await page.evaluate('auth.handleCallback()')
}

interface Failure {
  readonly name: string
  readonly reason: string
  readonly message: string
}

/** What a call is rejected with. */
const failure = (page: Page, call: string): Promise<Failure> =>
  page.evaluate<Failure>(
    `${call}.then(() => { throw new Error('It was not rejected') }, ({ name, reason, message }) => ({ name, reason, message }))`,
  )

const whoIs = (page: Page): Promise<string | undefined> => page.evaluate<string | undefined>('auth.getProfile()?.name')

const heard = (page: Page): Promise<string[]> => page.evaluate<string[]>('heard')

const stored = (page: Page): Promise<unknown> => page.evaluate('({ ...localStorage, ...sessionStorage })')

/** Signs out, by the provider, back to the page. */
async function signOut(page: Page, { url }: Stage = usual): Promise<void> {
  const back = page.waitForResponse((response) => response.url() === url && response.request().isNavigationRequest())
  await page.evaluate('void auth.logout()')
  await back
  await page.waitForLoadState()
}

async function secondTab(context: BrowserContext): Promise<Page> {
  const tab = await context.newPage()
  await tab.goto(usual.url)
  return tab
}

/** The callback fails, and leaves nothing behind: no token, no login, no code in the address. */
async function refused(t: Test, page: Page, expected: object): Promise<void> {
  t.match(await failure(page, 'auth.handleCallback()'), { name: 'AuthError', ...expected })
  t.strictSame(await stored(page), {})
  t.equal(await page.evaluate('auth.loggedIn()'), false)
  t.equal(page.url(), usual.url)
  t.strictSame(await heard(page), [])
}

test('signing in shows the profile, and a reload does', async (t) => {
  const { page, complaints } = await visit(t)
  t.equal(await whoIs(page), undefined)
  await begin(page)
  await goThrough(page)
  t.strictSame(await page.evaluate('auth.handleCallback()'), { returnTo: '/orders?page=2' })
  t.equal(await whoIs(page), 'Ada Lovelace')
  t.strictSame(await heard(page), ['authenticated'])
  t.equal(page.url(), usual.url, 'no code is left in the address')
  t.equal(await page.evaluate('sessionStorage.length'), 0)

  await page.reload()
  t.equal(await whoIs(page), 'Ada Lovelace')
  t.equal(await page.evaluate('auth.handleCallback()'), undefined)
  t.strictSame(await heard(page), [])
  t.strictSame(complaints, [])
})

test('whoever presses Cancel at the provider is not signed in, and told why', async (t) => {
  const { page } = await visit(t)
  await begin(page)
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.waitForURL(({ searchParams }) => searchParams.has('error'))
  await refused(t, page, { reason: 'access_denied' })
})

test('a callback with another state is refused', async (t) => {
  const { page } = await visit(t)
  await begin(page)
  usual.tamper(({ searchParams }) => searchParams.set('state', 'forged'))
  await goThrough(page)
  t.match(page.url(), 'state=forged')
  await refused(t, page, { reason: 'csrf_detected' })
})

test('a token for another nonce is refused', async (t) => {
  const { page } = await visit(t)
  await page.route(
    (url) => url.origin === usual.provider.issuer && url.searchParams.has('nonce'),
    (route) => {
      const url = new URL(route.request().url())
      url.searchParams.set('nonce', 'of-another-login')
      return route.continue({ url: url.href })
    },
    { times: 1 },
  )
  await begin(page)
  await goThrough(page)
  await refused(t, page, { reason: 'invalid_credentials', message: /\(nonce\)/ })
})

test('a callback of another issuer, or of none where one was announced, is refused', async (t) => {
  for (const issuer of ['http://evil.example', undefined]) {
    const { page } = await visit(t)
    await begin(page)
    usual.tamper(({ searchParams }) =>
      issuer === undefined ? searchParams.delete('iss') : searchParams.set('iss', issuer),
    )
    await goThrough(page)
    await refused(t, page, { reason: 'invalid_credentials', message: /\(iss\)/ })
  }
})

test('a code that is not ours is refused by the provider', async (t) => {
  const { page } = await visit(t)
  await begin(page)
  usual.tamper(({ searchParams }) => searchParams.set('code', 'guessed'))
  await goThrough(page)
  await refused(t, page, { reason: 'invalid_credentials', message: /invalid_grant/ })
})

test('a login that another browser began signs nobody in', async (t) => {
  const attacker = await visit(t)
  await begin(attacker.page)
  await goThrough(attacker.page, 'grace', 'hopper')
  const { page } = await visit(t)
  await page.goto(attacker.page.url())
  await refused(t, page, { reason: 'csrf_detected' })
})

test('a callback that comes a second time is refused, and whoever is signed in stays so', async (t) => {
  const { page } = await visit(t)
  await begin(page)
  await goThrough(page)
  const callback = page.url()
  const login = await page.evaluate<string>(`sessionStorage.getItem('id_token.login')`)
  await page.evaluate('auth.handleCallback()')
  await page.goto(callback)
  t.match(await failure(page, 'auth.handleCallback()'), { reason: 'csrf_detected' })
  t.equal(await whoIs(page), 'Ada Lovelace')

  await page.evaluate(`sessionStorage.setItem('id_token.login', ${JSON.stringify(login)})`)
  await page.goto(callback)
  t.match(
    await failure(page, 'auth.handleCallback()'),
    { reason: 'invalid_credentials', message: /invalid_grant/ },
    'and the provider would refuse it, too',
  )
  t.equal(await whoIs(page), 'Ada Lovelace')
  t.equal(page.url(), usual.url)
})

test('while the provider is down nobody signs in, at whichever step it went down', async (t) => {
  const own = await stage(t)
  const { page } = await visit(t, own)
  await begin(page)
  await goThrough(page)
  await own.provider.close()
  t.match(await failure(page, 'auth.handleCallback()'), { name: 'AuthError', reason: 'failed_to_connect' })
  t.strictSame(await stored(page), {})
  t.match(await failure(page, 'auth.login()'), { name: 'AuthError', reason: 'failed_to_connect' })
  t.strictSame(await stored(page), {})
  t.equal(page.url(), own.url)
})

test('while the provider is down one signs out here, and hears that it is only here', async (t) => {
  const own = await stage(t)
  const { page } = await visit(t, own)
  await signIn(page)
  await own.provider.close()
  t.match(await failure(page, 'auth.logout()'), { name: 'AuthError', reason: 'failed_to_connect' })
  t.equal(await page.evaluate('auth.loggedIn()'), false)
  t.strictSame(await heard(page), ['authenticated', 'loggedOut'])
  t.strictSame(await stored(page), {})
})

test('a token is removed when it ends, by the timer', async (t) => {
  const { page } = await visit(t)
  await page.clock.install()
  await page.reload()
  await signIn(page)
  await page.clock.fastForward('59:00')
  t.equal(await whoIs(page), 'Ada Lovelace')
  await page.clock.fastForward('01:01')
  t.strictSame(await heard(page), ['authenticated', 'expired'])
  t.strictSame(await stored(page), {})
})

test('a token that has ended is removed at the start', async (t) => {
  const { page } = await visit(t)
  await page.evaluate(`localStorage.setItem('id_token', '${tokenOf({ name: 'Ada', exp: 1 })}')`)
  await page.reload()
  t.equal(await whoIs(page), undefined)
  t.strictSame(await stored(page), {})
  t.strictSame(await heard(page), ['expired'])
})

test('a second tab is signed in, and signed out, without being touched', async (t) => {
  const { page, context } = await visit(t)
  const tab = await secondTab(context)
  await signIn(page)
  await tab.waitForFunction('heard.length === 1')
  t.equal(await whoIs(tab), 'Ada Lovelace')
  await signOut(page)
  await tab.waitForFunction('heard.length === 2')
  t.strictSame(await heard(tab), ['authenticated', 'loggedOut'])
  t.equal(await whoIs(tab), undefined)
})

test('a page that one goes back to is signed out as well, where that happened in another tab', async (t) => {
  const { page, context } = await visit(t)
  await signIn(page)
  await page.evaluate('window.isOld = true')
  await page.goto(`${usual.url}other`)
  await signOut(await secondTab(context))
  // page.goBack() knows nothing of the pages that a browser keeps alive to go back to
  await page.evaluate('void history.back()')
  await page.waitForFunction('window.isOld === true && heard.length === 2')
  t.strictSame(await heard(page), ['authenticated', 'loggedOut'])
  t.equal(await whoIs(page), undefined)
})

test('signing out ends the session of the provider, too', async (t) => {
  const { page, complaints } = await visit(t)
  await signIn(page)
  await signOut(page)
  t.equal(page.url(), usual.url)
  t.equal(await page.evaluate('auth.loggedIn()'), false)
  t.strictSame(await stored(page), {})
  await begin(page)
  await goThrough(page, 'grace', 'hopper')
  await page.evaluate('auth.handleCallback()')
  t.equal(await whoIs(page), 'Grace Hopper', 'who was asked for a name and a password')
  t.strictSame(complaints, [])
})

test('nobody comes back from signing out to an address of another origin: we refuse it', async (t) => {
  const { page } = await visit(t)
  await signIn(page)
  t.match(await failure(page, `auth.logout({ returnTo: 'https://evil.example/' })`), { reason: 'invalid_return_to' })
  t.equal(await whoIs(page), 'Ada Lovelace', 'nothing was done')
  t.equal(page.url(), usual.url)
})

test('nobody comes back from signing out to an address that is not registered: the provider refuses it', async (t) => {
  const { page } = await visit(t)
  await signIn(page)
  await page.evaluate(`void auth.logout({ returnTo: '/unregistered' })`)
  await page.getByText('post_logout_redirect_uri not registered').waitFor()
  await page.goto(usual.url)
  t.equal(await page.evaluate('auth.loggedIn()'), false, 'here the token is gone all the same')
})

test('Lockr itself keeps the token, in its own form, under its prefix, and tabs are in step', async (t) => {
  const { page, context } = await visit(t)
  await page.route(`${usual.provider.issuer}/**`, (route) => route.abort())
  await page.goto(`${usual.url}lockr`)
  const tab = await context.newPage()
  await tab.goto(`${usual.url}lockr`)
  for (const prefix of ['', 'my_']) {
    for (const one of [page, tab]) await one.evaluate(`Lockr.prefix = '${prefix}'; heard.length = 0`)
    const token = tokenOf({ name: 'Ada', exp: Date.now() / 1000 + 3600 })
    await page.evaluate(`auth.setToken('${token}')`)
    t.strictSame(await stored(page), { [`${prefix}id_token`]: JSON.stringify({ data: token }) })
    await tab.waitForFunction('heard.length === 1')
    t.equal(await whoIs(tab), 'Ada')
    t.match(await failure(page, 'auth.logout()'), { reason: 'failed_to_connect' })
    await tab.waitForFunction('heard.length === 2')
    t.strictSame(await heard(tab), ['authenticated', 'loggedOut'])
  }
})
