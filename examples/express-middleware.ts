// Middleware of Express around a session: a log, security headers, compression, files, and an API for another origin.
import { createServer } from 'node:http'
import compression from 'compression'
import cors from 'cors'
import helmet from 'helmet'
import { Builder, cookies, fromConnect, session, showExceptions, toListener } from 'luggage-rack'
import morgan from 'morgan'
import serveStatic from 'serve-static'

const stack = new Builder()
  .use(fromConnect(morgan('tiny'))) // on top: it logs what is sent
  .use(fromConnect(helmet()))
  .use(showExceptions()) // below helmet, so that pages of errors have its headers too
  .use(fromConnect(compression()))
  .use(fromConnect(serveStatic('public'))) // above the session: files need none
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ visits: number }>())
  .map('/api', (api) =>
    api
      .use(fromConnect(cors({ origin: 'https://app.example.org', credentials: true }))) // for these paths alone
      .run(async (req) => {
        const { visits = 0 } = await req.session
        return [200, { 'content-type': 'application/json' }, JSON.stringify({ visits })]
      }),
  )

const app = stack.run(async (req) => {
  const session = await req.session
  session.visits = (session.visits ?? 0) + 1
  return [200, { 'content-type': 'text/html; charset=utf-8' }, `<p>visit ${session.visits}</p>\n`]
})

const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
