// Sessions in a server that is there already: some paths go to a stack, the others stay as they are.
import { createServer } from 'node:http'
import { Builder, cookies, session, toListener } from 'luggage-rack'

// Built once, not for each request: that checks the options and derives the keys.
const things = toListener(
  new Builder()
    .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
    .use(session<{ seen: string[] }>({ key: '_shop_session' }))
    .run(async (req) => {
      const session = await req.session
      const seen = (session.seen ??= [])
      if (seen.push((req.url ?? '').slice('/things/'.length, 40)) > 5) seen.shift()
      return [200, { 'content-type': 'text/plain' }, `seen lately: ${seen.join(', ')}\n`]
    }),
)

const server = createServer((req, res) => {
  if (req.url?.startsWith('/things/')) {
    things(req, res) // answers, errors included
  } else {
    res.end('as ever\n')
  }
})

const port = Number(process.env.PORT ?? 3000)
server.listen(port, () => console.log(`http://localhost:${port}`))
