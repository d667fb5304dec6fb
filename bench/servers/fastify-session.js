import { serveOn } from './fastify-session-options.js'

await serveOn()
