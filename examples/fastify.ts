// Sessions in a Fastify application, with @fastify/middie. Handlers answer with reply as ever.
import middie from '@fastify/middie'
import fastify, { type FastifyRequest } from 'fastify'
import { Builder, cookies, csrf, session, toConnect, type RequestOf } from 'luggage-rack'

const stack = new Builder()
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ cart: string[] }>({ key: '_fastify_session' }))
  .use(csrf({ tokens: false })) // refuses what pages of other sites send

// The stack is below Fastify: it sees, and adds to, node's own request.
const sessionOf = (request: FastifyRequest) => (request.raw as RequestOf<typeof stack>).session

const app = fastify()
await app.register(middie)
app.use(toConnect(stack))

app.get('/', async (request) => {
  const { cart = [] } = await sessionOf(request)
  return { cart }
})

app.post<{ Params: { thing: string } }>('/cart/:thing', async (request, reply) => {
  const session = await sessionOf(request)
  const cart = (session.cart ??= [])
  if (cart.push(request.params.thing.slice(0, 40)) > 5) cart.shift()
  return reply.redirect('/', 303) // goes out when the session is saved, and not before
})

app.delete('/cart', async (request, reply) => {
  const session = await sessionOf(request)
  delete session.cart
  return reply.code(204).send()
})

const port = Number(process.env.PORT ?? 3000)
await app.listen({ port })
console.log(`http://localhost:${port}`)
