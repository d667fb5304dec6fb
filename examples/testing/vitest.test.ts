import { MockRequest } from 'luggage-rack/testing'
import { expect, test } from 'vitest'
import { app } from './app.ts'

const mock = new MockRequest(app)

test('the visits of each browser are counted', async () => {
  const browser = mock.client()
  expect((await browser.get('/')).body).toBe('visit 1')
  expect((await browser.get('/')).body).toBe('visit 2')
  expect((await mock.client().get('/')).body).toBe('visit 1')
})

test('the account is for those who are signed in', async () => {
  expect(await mock.get('/account')).toMatchObject({ status: 303, headers: { location: '/sign-in' } })
  expect(await mock.withSession({ userId: 7 }).get('/account')).toMatchObject({ status: 200, body: 'account 7' })
})

test('signing out ends the session', async () => {
  const browser = mock.withSession({ userId: 7, visits: 3 })
  expect((await browser.post('/sign-out')).status).toBe(303)
  expect(await browser.session()).toEqual({})
  expect(browser.cookies.size).toBe(0)
})
