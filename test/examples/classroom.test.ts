import type { Page } from 'playwright-core'
import tap, { test } from 'tap'
import { ask } from '../server.ts'
import { accessible } from './accessible.ts'
import { launch, open } from './browser.ts'
import { start } from './program.ts'

const browser = await launch(tap)
const site = await start(tap, 'site/server', { cwd: tap.testdir(), env: { PORT: '0' }, args: ['--trace'] })

/** Does what a station says, and gives what came of each request. */
async function visitStation(page: Page, station: number): Promise<{ decisions: string[]; text: string }> {
  await page.locator(`[data-station="${station}"]`).click()
  const result = page.locator(`#result-${station}[aria-busy="false"]`)
  await result.locator('.decision').first().waitFor()
  return { decisions: await result.locator('.decision').allInnerTexts(), text: await result.innerText() }
}

const NOBODY = 'No cookie was sent, because nobody looked at the session.'
const CREATED = 'A cookie was sent, because there is a new session.'
const SAME = 'No cookie was sent, because nothing in the session differs from what was loaded.'
const EMPTY = 'No cookie was sent, because there is no session, and nothing was written to begin one.'

test('the course leads through six stations, with the session in a sealed cookie', async (t) => {
  const { page, complaints } = await open(t, browser, `${site.url}/course/`)
  t.strictSame((await visitStation(page, 1)).decisions, [NOBODY])
  const written = await visitStation(page, 2)
  t.strictSame(written.decisions, [CREATED])
  t.match(written.text, /The page says: hello, Ada: your cart holds tea/)
  t.match(written.text, /_course_cookie=[\w%-]+; Path=\/course\/cookie; HttpOnly; SameSite=Lax/)
  t.strictSame((await visitStation(page, 3)).decisions, [SAME])
  const pushed = await visitStation(page, 4)
  t.strictSame(pushed.decisions, ['A cookie was sent, because the session changed (cart), and its cookie with it.'])
  t.match(pushed.text, /\{"visitor":"Ada","cart":\["tea"\]\}\n\{"visitor":"Ada","cart":\["tea","map"\]\}/)
  const tampered = await visitStation(page, 5)
  t.strictSame(tampered.decisions, [SAME, EMPTY])
  t.match(tampered.text, /the cookie is refused: seal/)
  const signedIn = await visitStation(page, 6)
  t.strictSame(signedIn.decisions, [SAME, CREATED, SAME], 'a sealed cookie of before still opens, as the page says')
  await accessible(t, page, 'the course')
  t.strictSame(complaints, [])
})

test('the same course with the session on the server: the cookie is an id, and the old one opens nothing', async (t) => {
  const options = { colorScheme: 'dark', viewport: { width: 360, height: 740 } } as const
  const { page, complaints } = await open(t, browser, `${site.url}/course/`, options)
  await page.getByLabel('Where sessions are kept').selectOption('memory')
  t.strictSame((await visitStation(page, 1)).decisions, [NOBODY])
  t.match((await visitStation(page, 2)).text, /_course_memory=[\da-f]{32};/)
  t.strictSame((await visitStation(page, 3)).decisions, [SAME])
  const pushed = await visitStation(page, 4)
  t.match(pushed.decisions, [/the change is in the store/])
  t.match(pushed.text, /MemoryStore: save/)
  const tampered = await visitStation(page, 5)
  t.match(tampered.text, /the session is loaded: unknown/)
  const signedIn = await visitStation(page, 6)
  t.strictSame(signedIn.decisions, [SAME, CREATED, EMPTY])
  t.match(signedIn.text, /the session is loaded: gone/)
  await accessible(t, page, 'the course on a phone in the dark')
  t.strictSame(complaints, [])
})

test('the lifecycle page shows requests as they come, and goes through one step by step', async (t) => {
  const fresh = await start(t, 'site/server', { cwd: t.testdir(), env: { PORT: '0' } })
  const { page, context, complaints } = await open(t, browser, `${fresh.url}/lifecycle/`)
  await page.getByText('Open your site in another tab').waitFor()
  await accessible(t, page, 'with nothing to show')
  const other = await context.newPage()
  await other.goto(`${fresh.url}/course/`)
  await visitStation(other, 2)
  await page.locator('#request', { hasText: '/course/cookie/write' }).waitFor()
  t.equal(await page.locator('#decision').innerText(), CREATED)
  t.match(await page.locator('#session').innerText(), /visitor\s+.*"Ada".*added/s)
  t.match(await page.locator('#request').innerText(), /\d+ of 4096 bytes/)
  await accessible(t, page, 'a request')

  // slowly, forwards and back, with the mouse and with the keys
  const title = page.locator('#step-title')
  await page.getByRole('button', { name: 'First', exact: true }).click()
  t.match(await title.innerText(), /^GET \/course\/cookie\/write.* comes in$/)
  await page.getByRole('button', { name: 'Next', exact: true }).click()
  t.equal(await title.innerText(), 'into lifecycle')
  await page.keyboard.press('ArrowRight')
  t.equal(await title.innerText(), 'into cookies')
  t.match(await page.locator('#step-text').innerText(), /The Cookie header is not parsed/)
  await page.keyboard.press('ArrowLeft')
  t.equal(await title.innerText(), 'into lifecycle')
  await page.getByRole('button', { name: 'Last', exact: true }).click()
  t.equal(await title.innerText(), 'the response is out')
  t.equal(await page.locator('[aria-current="step"]').count(), 1)
  await page.getByRole('button', { name: 'Back', exact: true }).click()
  t.equal(await title.innerText(), 'the head is sent')
  t.strictSame(complaints, [])
})

test('one byte of a cookie is changed on the lifecycle page, and the check that refuses it is named', async (t) => {
  const { page, context, complaints } = await open(t, browser, `${site.url}/lifecycle/`)
  const other = await context.newPage()
  await other.goto(`${site.url}/course/`)
  await visitStation(other, 2)
  await visitStation(other, 3)
  await page.locator('#request', { hasText: '/course/cookie/read' }).waitFor()
  t.equal(await page.locator('#decision').innerText(), SAME)
  await page.getByRole('button', { name: 'Change one byte and send it' }).click()
  await page.locator('#step-title', { hasText: 'the cookie is refused: seal' }).waitFor()
  t.equal(await page.locator('#decision').innerText(), EMPTY)
  await accessible(t, page, 'a tampered request')
  await page.setViewportSize({ width: 360, height: 740 })
  await page.emulateMedia({ colorScheme: 'dark' })
  await accessible(t, page, 'the same on a phone in the dark')
  t.strictSame(complaints, [])
})

test('what visitors hold is text on the page, whatever it looks like', async (t) => {
  const { page, complaints } = await open(t, browser, `${site.url}/lifecycle/`)
  await ask(site.port, '/?<script>alert(1)</script><img/src=x/onerror=alert(1)>', {
    headers: { cookie: '_site_session=<img src=x onerror=alert(2)>; <b>=<i>' },
  })
  await page.locator('#request', { hasText: '<img/src=x/onerror=alert(1)>' }).waitFor()
  t.equal(await page.locator('#request img, #request script, #requests img').count(), 0)
  t.strictSame(complaints, [])
})

test('with --trace the ladder of each request is printed, and in production there is no classroom', async (t) => {
  await ask(site.port, '/a-page-that-there-is-not')
  for (;;) {
    if (site.output().includes('GET /a-page-that-there-is-not → 404')) break
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.match(site.output(), /→ into session\n/)
  t.match(site.output(), /The course is at http:\/\/localhost:\d+\/course\//)
  const production = await start(t, 'site/server', {
    cwd: t.testdir(),
    env: { PORT: '0', NODE_ENV: 'production' },
  })
  for (const path of ['/lifecycle/', '/lifecycle/requests', '/course/', '/course/memory/read']) {
    t.equal((await ask(production.port, path)).status, 404, path)
  }
  t.notMatch(production.output(), /course/)
})
