// Counts a browser's visits in an encrypted cookie.
import { createServer } from 'node:http'
import { Builder, cookies, session, CookieStore, toListener } from 'luggage-rack'

const app = new Builder()
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ visits: number }>({ store: new CookieStore(), key: '_app_session' }))
  .run(async (req) => {
    const session = await req.session // loaded here, on the first await, and only then
    session.visits = (session.visits ?? 0) + 1 // noticed: will be sealed and sent
    return [200, { 'content-type': 'text/plain' }, `visit ${session.visits}\n`]
  })

const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
