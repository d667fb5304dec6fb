// Of its options, those that write a session and send its cookie only where it was changed.
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { serveWith } from './fastify.js'
import { COOKIE, SECRET } from './serve.js'

/** @param {import('@fastify/session').FastifySessionOptions['store']} [store] Default: its own, in memory */
export const serveOn = (store) =>
  serveWith((app) => {
    app.register(fastifyCookie)
    app.register(fastifySession, {
      secret: SECRET,
      cookie: { ...COOKIE },
      rolling: false,
      saveUninitialized: false,
      ...(store && { store }),
    })
  })
