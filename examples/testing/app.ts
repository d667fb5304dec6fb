// What the test files beside this one test: the same three times, with tap, node:test and vitest.
import { Builder, cookies, MemoryStore, session, type App } from 'luggage-rack'

export const app: App = new Builder()
  .use(cookies())
  .use(session<{ visits: number; userId: number }>({ store: new MemoryStore(), owner: 'userId' }))
  .run(async (req) => {
    const session = await req.session
    switch (`${req.method} ${req.url}`) {
      case 'GET /account':
        if (session.userId === undefined) return [303, { location: '/sign-in' }, '']
        return [200, {}, `account ${session.userId}`]
      case 'POST /sign-out':
        req.session.destroy()
        return [303, { location: '/' }, '']
      default:
        session.visits = (session.visits ?? 0) + 1
        return [200, {}, `visit ${session.visits}`]
    }
  })
