import { connectRedis } from './connect-redis.js'
import { serveOn } from './express-session-options.js'

await serveOn(await connectRedis())
