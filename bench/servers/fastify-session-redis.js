import { connectRedis } from './connect-redis.js'
import { serveOn } from './fastify-session-options.js'

await serveOn(await connectRedis())
