import cookieSession from 'cookie-session'
import { serveWith } from './connect.js'
import { COOKIE, DAY, SECRET } from './serve.js'

const middleware = cookieSession({ ...COOKIE, name: 'session', keys: [SECRET], maxAge: DAY * 1000 })
await serveWith(/** @type {import('./connect.js').Middleware} */ (/** @type {unknown} */ (middleware)))
