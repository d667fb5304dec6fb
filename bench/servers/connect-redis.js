import { RedisStore } from 'connect-redis'
import { createClient } from 'redis'
import { settings } from './serve.js'

/** Sessions that last a day, its default. @param {{ disableTouch?: boolean }} [options] */
export async function connectRedis(options = {}) {
  const client = createClient({ url: settings().redis ?? 'redis://127.0.0.1:6379' })
  client.on('error', (error) => {
    throw error
  })
  await client.connect()
  return new RedisStore({ client, ...options })
}
