import { RedisStore } from '../../build/stores/redis-store.js'
import { serveOn } from './luggage-rack.js'
import { settings } from './serve.js'

await serveOn(new RedisStore({ url: settings().redis ?? 'redis://127.0.0.1:6379' }))
