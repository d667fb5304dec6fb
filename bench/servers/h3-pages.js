import { H3, toNodeHandler, updateSession, useSession } from 'h3'
import { createServer } from 'node:http'
import { COOKIE, DAY, FIRST_VISIT, page, SECRET, serve, visitor } from './serve.js'

/** @typedef {{ userId: number, visits: number }} Data */

/** @param {Partial<import('h3').SessionConfig>} [options] */
export async function serveWith(options = {}) {
  const config = { password: SECRET, maxAge: DAY, cookie: COOKIE, ...options }
  /** @param {import('h3').H3Event} event @returns {Promise<import('h3').SessionManager<Partial<Data>>>} */
  const open = (event) => useSession(event, config)
  const app = new H3()

  app.get('/untouched', () => page())

  app.get('/read', async (event) => {
    const { data } = await open(event)
    return page(data.userId, data.visits)
  })

  app.get('/written', async (event) => {
    const session = await open(event)
    const visits = (session.data.visits ?? FIRST_VISIT) + 1
    await session.update({ visits })
    return page(session.data.userId, visits)
  })

  app.get('/sign-in/:id', async (event) => {
    // useSession would seal the empty session first, and so twice: too long where thousands sign in
    await updateSession(event, config, visitor(event.context.params?.['id'] ?? ''))
    return 'signed in\n'
  })

  await serve(createServer(toNodeHandler(app)))
}
