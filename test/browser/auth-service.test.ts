import { test } from 'tap'
import {
  AuthService,
  lockrStorage,
  memoryStorage,
  type AuthEvent,
  type AuthServiceOptions,
} from '../../browser/index.ts'
import { FakePage, openTabs, tokenOf } from './fake-page.ts'

const HOUR = 3600

interface Made {
  readonly auth: AuthService
  /** What listeners heard of. */
  readonly heard: AuthEvent[]
}

function make(page: FakePage, options: Partial<AuthServiceOptions> = {}): Made {
  const auth = new AuthService({
    issuer: 'https://id.example',
    clientId: 'app',
    page,
    now: page.clock,
    ...options,
  })
  const heard: AuthEvent[] = []
  for (const event of ['authenticated', 'expired', 'loggedOut'] as const) auth.on(event, () => heard.push(event))
  return { auth, heard }
}

const tokenFor = (page: FakePage, seconds: number, name = 'Ada'): string =>
  tokenOf({ sub: name.toLowerCase(), name, exp: page.secondsFromNow(seconds) })

test('a page that nobody signed in to has no token and no profile', (t) => {
  const { auth, heard } = make(new FakePage())
  t.equal(auth.loggedIn(), false)
  t.equal(auth.getToken(), null)
  t.equal(auth.getProfile(), null)
  t.strictSame(heard, [])
  t.end()
})

test('a token that was set is kept, told of, and there again after a reload', (t) => {
  const page = new FakePage()
  const { auth, heard } = make(page)
  const token = tokenFor(page, HOUR)
  auth.setToken(token)
  t.equal(auth.loggedIn(), true)
  t.equal(auth.getToken(), token)
  t.match(auth.getProfile(), { sub: 'ada', name: 'Ada' })
  t.equal(page.localStorage.getItem('id_token'), token)
  t.strictSame(heard, ['authenticated'])

  const reloaded = make(page)
  t.match(reloaded.auth.getProfile(), { name: 'Ada' })
  t.strictSame(reloaded.heard, [], 'nothing has changed')
  t.end()
})

for (const [what, tokenAt] of [
  ['has ended', (page: FakePage) => tokenFor(page, 0)],
  ['ends within the offset', (page: FakePage) => tokenFor(page, 60)],
  ['is none', () => 'token'],
] as const) {
  test(`a token that ${what} is not taken, and whoever was signed in stays so`, (t) => {
    const page = new FakePage()
    const { auth, heard } = make(page, { offset: 60 })
    auth.setToken(tokenFor(page, HOUR))
    t.throws(() => auth.setToken(tokenAt(page)), { name: 'AuthError', reason: 'invalid_credentials' })
    t.match(auth.getProfile(), { name: 'Ada' })
    t.strictSame(heard, ['authenticated'])
    t.end()
  })

  test(`a token that ${what} is removed at the start, and listeners put on right after hear of it, once`, async (t) => {
    const page = new FakePage()
    page.localStorage.setItem('id_token', tokenAt(page))
    const { auth, heard } = make(page, { offset: 60 })
    t.equal(auth.loggedIn(), false)
    t.equal(page.localStorage.getItem('id_token'), null)
    t.strictSame(heard, [])
    await Promise.resolve()
    t.strictSame(heard, ['expired'])
    page.pass(HOUR)
    page.hear('focus')
    t.strictSame(heard, ['expired'])
  })
}

test('the token is removed in the moment it ends, and not before', (t) => {
  const page = new FakePage()
  const { auth, heard } = make(page)
  auth.setToken(tokenFor(page, HOUR))
  page.pass(HOUR - 0.001)
  t.equal(auth.loggedIn(), true)
  t.strictSame(heard, ['authenticated'])
  page.pass(0.001)
  t.equal(auth.loggedIn(), false)
  t.equal(page.localStorage.getItem('id_token'), null)
  t.strictSame(heard, ['authenticated', 'expired'])
  t.equal(page.timers, 0)
  t.end()
})

test('a token that was there at the start is removed when it ends, too', (t) => {
  const page = new FakePage()
  page.localStorage.setItem('id_token', tokenFor(page, HOUR))
  const { heard } = make(page)
  page.pass(HOUR)
  t.strictSame(heard, ['expired'])
  t.end()
})

test('with an offset it is removed so many seconds before', (t) => {
  const page = new FakePage()
  const { auth, heard } = make(page, { offset: 300 })
  auth.setToken(tokenFor(page, HOUR))
  page.pass(HOUR - 301)
  t.equal(auth.loggedIn(), true)
  page.pass(1)
  t.equal(auth.loggedIn(), false)
  t.strictSame(heard, ['authenticated', 'expired'])
  t.end()
})

test('a token of 100 days waits in steps that a browser can count', (t) => {
  const page = new FakePage()
  const { auth, heard } = make(page)
  auth.setToken(tokenFor(page, 100 * 24 * HOUR))
  page.pass(99 * 24 * HOUR)
  t.strictSame(heard, ['authenticated'])
  page.pass(24 * HOUR)
  t.strictSame(heard, ['authenticated', 'expired'])
  t.ok(
    page.delays.every((delay) => delay <= 2 ** 31 - 1),
    'a longer timer ends at once',
  )
  t.ok(page.delays.length <= 6, 'few steps')
  t.end()
})

test('a token without exp has no timer, and stays', (t) => {
  const page = new FakePage()
  const { auth } = make(page)
  auth.setToken(tokenOf({ sub: 'ada' }))
  t.equal(page.timers, 0)
  page.pass(1000 * 24 * HOUR)
  t.equal(auth.loggedIn(), true)
  t.end()
})

test('a token of more time takes the place of the one before, and of its timer', (t) => {
  const page = new FakePage()
  const { auth, heard } = make(page)
  auth.setToken(tokenFor(page, HOUR))
  auth.setToken(tokenFor(page, 2 * HOUR, 'Grace'))
  t.equal(page.timers, 1)
  page.pass(HOUR)
  t.match(auth.getProfile(), { name: 'Grace' })
  page.pass(HOUR)
  t.strictSame(heard, ['authenticated', 'authenticated', 'expired'])
  t.end()
})

for (const event of ['visibilitychange', 'pageshow', 'focus']) {
  test(`a page that slept through the end notices at the next ${event}`, (t) => {
    const page = new FakePage()
    const { auth, heard } = make(page)
    auth.setToken(tokenFor(page, HOUR))
    page.sleep(HOUR - 1)
    page.hear(event)
    t.strictSame(heard, ['authenticated'])
    page.sleep(1)
    t.equal(auth.loggedIn(), false, 'before that it is not believed, either')
    t.equal(auth.getToken(), null)
    t.equal(auth.getProfile(), null)
    page.hear(event)
    t.strictSame(heard, ['authenticated', 'expired'])
    t.equal(page.localStorage.getItem('id_token'), null)
    t.end()
  })

  test(`a page that was put aside while another tab signed out notices at the next ${event}`, (t) => {
    const page = new FakePage()
    const { auth, heard } = make(page)
    auth.setToken(tokenFor(page, HOUR))
    page.localStorage.removeItem('id_token')
    page.hear(event)
    t.equal(auth.loggedIn(), false)
    t.strictSame(heard, ['authenticated', 'loggedOut'])
    t.equal(page.timers, 0)
    t.end()
  })
}

test('a page that is left does not take away what the next page is to tell', (t) => {
  const page = new FakePage()
  const { heard } = make(page)
  page.localStorage.setItem('id_token', tokenFor(page, 0))
  page.document.visibilityState = 'hidden'
  page.hear('visibilitychange')
  t.not(page.localStorage.getItem('id_token'), null)
  t.strictSame(heard, [])
  t.end()
})

test('a timer that comes early, or after the clock was set back, waits again', (t) => {
  const page = new FakePage()
  const { auth, heard } = make(page)
  auth.setToken(tokenFor(page, HOUR))
  page.sleep(-60)
  page.pass(HOUR)
  t.equal(auth.loggedIn(), true)
  page.pass(60)
  t.strictSame(heard, ['authenticated', 'expired'])
  t.end()
})

test('a second tab hears of signing in, of somebody else, and of signing out', async (t) => {
  const [here, there] = openTabs(2) as [FakePage, FakePage]
  const { auth } = make(here)
  const other = make(there)
  auth.setToken(tokenFor(here, HOUR))
  t.strictSame(other.heard, ['authenticated'])
  t.match(other.auth.getProfile(), { name: 'Ada' })
  auth.setToken(tokenFor(here, HOUR, 'Grace'))
  t.strictSame(other.heard, ['authenticated', 'authenticated'])
  t.match(other.auth.getProfile(), { name: 'Grace' })
  await t.rejects(auth.logout(), { name: 'AuthError', reason: 'failed_to_connect' })
  t.strictSame(other.heard, ['authenticated', 'authenticated', 'loggedOut'])
  t.equal(other.auth.loggedIn(), false)
  t.equal(there.timers, 0)
})

test('of tabs whose token ends each hears once that it ended, whoever was first to remove it', (t) => {
  const tabs = openTabs(3)
  const made = tabs.map((tab) => make(tab))
  made[0]?.auth.setToken(tokenFor(tabs[0] as FakePage, HOUR))
  for (const tab of tabs) tab.sleep(HOUR)
  tabs[1]?.pass(0)
  for (const { heard } of made) t.strictSame(heard, ['authenticated', 'expired'])
  for (const tab of tabs) tab.pass(60)
  for (const { heard } of made) t.strictSame(heard, ['authenticated', 'expired'])
  t.end()
})

test('a tab that was signed in to by another has a timer of its own', (t) => {
  const [here, there] = openTabs(2) as [FakePage, FakePage]
  const { auth } = make(here)
  const { heard } = make(there)
  auth.setToken(tokenFor(here, HOUR))
  there.pass(HOUR)
  t.strictSame(heard, ['authenticated', 'expired'])
  t.end()
})

test('what others keep in the storage is nothing to a tab', (t) => {
  const [here, there] = openTabs(2) as [FakePage, FakePage]
  const { auth, heard } = make(here)
  auth.setToken(tokenFor(here, HOUR))
  there.localStorage.setItem('theme', 'dark')
  there.localStorage.setItem('id_token', auth.getToken() as string)
  t.strictSame(heard, ['authenticated'])
  t.end()
})

test('a storage and a key of your own are used, and nothing else', (t) => {
  const page = new FakePage()
  const storage = memoryStorage()
  const { auth } = make(page, { storage, storageKey: 'token' })
  auth.setToken(tokenFor(page, HOUR))
  t.equal(storage.getItem('token'), auth.getToken())
  t.ok(auth.loggedIn())
  t.equal(page.localStorage.getItem('id_token'), null)
  t.equal(page.localStorage.getItem('token'), null)
  t.end()
})

test('a tab that keeps the token in Lockr is in step, under whatever prefix', (t) => {
  const [here, there] = openTabs(2) as [FakePage, FakePage]
  const lockrOf = ({ localStorage }: FakePage) =>
    lockrStorage({
      get: (key) => (JSON.parse(localStorage.getItem(`my_${key}`) ?? '{}') as { data?: unknown }).data,
      set: (key, value) => localStorage.setItem(`my_${key}`, JSON.stringify({ data: value })),
      rm: (key) => localStorage.removeItem(`my_${key}`),
    })
  const { auth } = make(here, { storage: lockrOf(here) })
  const { heard } = make(there, { storage: lockrOf(there) })
  auth.setToken(tokenFor(here, HOUR))
  here.pass(HOUR)
  t.strictSame(heard[0], 'authenticated')
  t.equal(heard.length, 2)
  t.end()
})

test('a listener that was taken off hears no more, and one that was put on twice hears twice', (t) => {
  const page = new FakePage()
  const { auth } = make(page)
  let heard = 0
  const listener = (): number => heard++
  const off = auth.on('authenticated', listener)
  const offAgain = auth.on('authenticated', listener)
  auth.setToken(tokenFor(page, HOUR))
  t.equal(heard, 2)
  off()
  off()
  auth.setToken(tokenFor(page, HOUR))
  t.equal(heard, 3)
  offAgain()
  auth.setToken(tokenFor(page, HOUR))
  t.equal(heard, 3)
  t.end()
})

test('a listener already sees what it is told of', (t) => {
  const page = new FakePage()
  const { auth } = make(page)
  const seen: unknown[] = []
  auth.on('authenticated', () => seen.push(auth.getProfile()?.name))
  auth.on('expired', () => seen.push(auth.getProfile()))
  auth.setToken(tokenFor(page, HOUR))
  page.pass(HOUR)
  t.strictSame(seen, ['Ada', null])
  t.end()
})

test('a service that was closed keeps no timer, hears nothing and tells nothing, and the token stays', async (t) => {
  const [here, there] = openTabs(2) as [FakePage, FakePage]
  const { auth, heard } = make(here)
  auth.setToken(tokenFor(here, HOUR))
  auth.close()
  t.equal(here.timers, 0)
  there.localStorage.removeItem('id_token')
  here.hear('focus')
  auth.setToken(tokenFor(here, HOUR))
  t.equal(here.timers, 0)
  t.strictSame(heard, ['authenticated'])
  t.equal(here.localStorage.getItem('id_token'), auth.getToken())
  t.ok(auth.loggedIn())
})

test('without a page it says that it is for browsers', (t) => {
  t.throws(() => new AuthService({ issuer: 'https://id.example', clientId: 'app' }), {
    name: 'TypeError',
    message: /make it in a browser/,
  })
  t.end()
})

for (const issuer of [
  'http://id.example',
  'http://localhost.example',
  'http://127.0.0.1:80@id.example',
  'id.example',
  '',
  'https:///',
]) {
  test(`a provider at ${JSON.stringify(issuer)} is refused: who stands in between could be anybody`, (t) => {
    t.throws(() => make(new FakePage(), { issuer }), { name: 'TypeError', message: /issuer/ })
    t.end()
  })
}

for (const issuer of [
  'http://localhost:8080',
  'http://127.0.0.1:8080/realm',
  'http://[::1]',
  'https://id.example/realm',
]) {
  test(`a provider at ${issuer} is taken`, (t) => {
    t.doesNotThrow(() => make(new FakePage(), { issuer }))
    t.end()
  })
}

test('a callback on another origin, where the login is not remembered, is refused', (t) => {
  t.throws(() => make(new FakePage(), { redirectUri: 'https://other.example/callback' }), { name: 'TypeError' })
  t.end()
})
