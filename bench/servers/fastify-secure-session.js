import secureSession from '@fastify/secure-session'
import { serveWith } from './fastify.js'
import { COOKIE, DAY, KEY } from './serve.js'

await serveWith((app) => void app.register(secureSession, { key: KEY, expiry: DAY, cookie: { ...COOKIE } }))
