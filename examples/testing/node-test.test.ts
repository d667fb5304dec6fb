import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MockRequest } from 'luggage-rack/testing'
import { app } from './app.ts'

const mock = new MockRequest(app)

test('the visits of each browser are counted', async () => {
  const browser = mock.client()
  assert.equal((await browser.get('/')).body, 'visit 1')
  assert.equal((await browser.get('/')).body, 'visit 2')
  assert.equal((await mock.client().get('/')).body, 'visit 1')
})

test('the account is for those who are signed in', async () => {
  const { status, headers } = await mock.get('/account')
  assert.deepEqual([status, headers.location], [303, '/sign-in'])
  assert.equal((await mock.withSession({ userId: 7 }).get('/account')).body, 'account 7')
})

test('signing out ends the session', async () => {
  const browser = mock.withSession({ userId: 7, visits: 3 })
  assert.equal((await browser.post('/sign-out')).status, 303)
  assert.deepEqual(await browser.session(), {})
  assert.equal(browser.cookies.size, 0)
})
