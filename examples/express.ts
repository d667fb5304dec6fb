// Sessions in an Express application, whose handlers answer with res as ever.
import type { IncomingMessage } from 'node:http'
import express from 'express'
import { Builder, cookies, csrf, session, toConnect, type RequestOf } from 'luggage-rack'

const stack = new Builder()
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ user: string; visits: number }>({ key: '_express_session', owner: 'user' }))
  .use(csrf({ tokens: false })) // refuses what pages of other sites send

// What the stack adds to a request is not in Express' own type of it.
const sessionOf = (req: IncomingMessage) => (req as RequestOf<typeof stack>).session

const app = express()
app.use(toConnect(stack))

app.get('/', async (req, res) => {
  const session = await sessionOf(req)
  session.visits = (session.visits ?? 0) + 1
  res.type('text').send(`hello ${session.user ?? 'stranger'}, visit ${session.visits}\n`)
})

app.post('/sign-in', express.urlencoded(), async (req, res) => {
  const session = await sessionOf(req)
  session.user = String((req.body as { user?: unknown } | undefined)?.user).slice(0, 40)
  res.redirect(303, '/') // goes out when the session is saved, and not before
})

app.post('/sign-out', (req, res) => {
  sessionOf(req).destroy()
  res.redirect(303, '/')
})

const port = Number(process.env.PORT ?? 3000)
app.listen(port, () => console.log(`http://localhost:${port}`))
