// A stack with layers of its own: one that times every request, and one that guards a part of the paths.
import { createServer } from 'node:http'
import { Builder, cookies, session, toListener } from 'luggage-rack'

const stack = new Builder()
  .use(function timing(app) {
    return async (req) => {
      const start = performance.now()
      const [status, headers, body] = await app(req)
      const took = (performance.now() - start).toFixed(1)
      // a new triple: an app may give the same one for every request
      return [status, { ...headers, 'server-timing': `app;dur=${took}` }, body]
    }
  })
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ role: string }>({ owner: 'role' })) // another role, another session id
  .map('/admin', (admin) =>
    admin
      .use(function adminsOnly(app) {
        return async (req) => {
          const { role } = await req.session
          return role === 'admin' ? app(req) : [403, { 'content-type': 'text/plain' }, 'for admins\n']
        }
      })
      .run((req) => [200, { 'content-type': 'text/plain' }, `${req.url} below ${req.scriptName}\n`]),
  )

const app = stack.run(async function everybody(req) {
  if (req.method === 'POST') (await req.session).role = 'admin'
  return [200, { 'content-type': 'text/plain' }, 'for everybody\n']
})

console.log(stack.toString())
const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
