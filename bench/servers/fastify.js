// The pages of Fastify's plugins, which put `request.session` there with get and set, and save it by themselves.
import Fastify from 'fastify'
import { FIRST_VISIT, page, serve, visitor } from './serve.js'

/** @typedef {{ get: (key: string) => number | undefined, set: (key: string, value: unknown) => void }} Session */

/** @param {(app: import('fastify').FastifyInstance) => void} mount */
export async function serveWith(mount) {
  const app = Fastify()
  mount(app)
  const sessionOf = (/** @type {object} */ request) => /** @type {{ session: Session }} */ (request).session

  app.get('/untouched', (_request, reply) => reply.send(page()))

  app.get('/read', (request, reply) => {
    const session = sessionOf(request)
    return reply.send(page(session.get('userId'), session.get('visits')))
  })

  app.get('/written', (request, reply) => {
    const session = sessionOf(request)
    const visits = (session.get('visits') ?? FIRST_VISIT) + 1
    session.set('visits', visits)
    return reply.send(page(session.get('userId'), visits))
  })

  app.get('/sign-in/:id', (request, reply) => {
    const session = sessionOf(request)
    const { id } = /** @type {{ id: string }} */ (request.params)
    for (const [key, value] of Object.entries(visitor(id))) session.set(key, value)
    return reply.send('signed in\n')
  })

  await app.listen({ host: '127.0.0.1', port: 0 })
  await serve(app.server)
}
