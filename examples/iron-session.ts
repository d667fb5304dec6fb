// A page of iron-session beside one of ours, on one server: one session, in one cookie.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { getIronSession, type SessionOptions } from 'iron-session'
import { Builder, cookies, CookieStore, ironSealer, session, toListener } from 'luggage-rack'

interface Data {
  user: string
  visits: number
}

const options: SessionOptions = {
  password: process.env.SECRET_KEY_BASE ?? '', // 32 characters or more; or { 1: 'the old one', 2: 'the new one' }
  cookieName: 'shop',
  cookieOptions: { secure: process.env.NODE_ENV === 'production' },
}

const ours = toListener(
  new Builder()
    .use(cookies())
    .use(session<Data>({ key: 'shop', store: new CookieStore({ sealer: ironSealer(options) }) }))
    .run(async (req) => {
      const session = await req.session
      session.visits = (session.visits ?? 0) + 1 // noticed: sealed and sent, without a save()
      return [200, { 'content-type': 'text/plain' }, `${session.user ?? 'nobody'}, visit ${session.visits}\n`]
    }),
)

async function iron(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const session = await getIronSession<Data>(req, res, options)
  if (req.method === 'POST') {
    session.user = (req.url ?? '').slice('/iron/'.length, 40)
    await session.save()
  }
  res.end(`${session.user ?? 'nobody'} made ${session.visits ?? 0} visits\n`)
}

const server = createServer((req, res) => {
  if (!req.url?.startsWith('/iron/')) {
    ours(req, res)
    return
  }
  iron(req, res).catch((error: unknown) => {
    console.error(error) // iron-session 8 throws for some cookies that it did not make
    res.writeHead(500).end()
  })
})

const port = Number(process.env.PORT ?? 3000)
server.listen(port, () => console.log(`http://localhost:${port}`))
