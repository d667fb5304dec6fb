import { MockRequest } from 'luggage-rack/testing'
import { test } from 'tap'
import { app } from './app.ts'

const mock = new MockRequest(app)

test('the visits of each browser are counted', async (t) => {
  const browser = mock.client()
  t.equal((await browser.get('/')).body, 'visit 1')
  t.equal((await browser.get('/')).body, 'visit 2')
  t.equal((await mock.client().get('/')).body, 'visit 1')
})

test('the account is for those who are signed in', async (t) => {
  t.match(await mock.get('/account'), { status: 303, headers: { location: '/sign-in' } })
  t.match(await mock.withSession({ userId: 7 }).get('/account'), { status: 200, body: 'account 7' })
})

test('signing out ends the session', async (t) => {
  const browser = mock.withSession({ userId: 7, visits: 3 })
  t.equal((await browser.post('/sign-out')).status, 303)
  t.same(await browser.session(), {})
  t.equal(browser.cookies.size, 0)
})
