// As its README recommends: nothing is saved that did not change, and no session that is empty.
import session from 'express-session'
import { serveWith } from './connect.js'
import { COOKIE, SECRET } from './serve.js'

/** @param {session.Store} store */
export function serveOn(store) {
  const middleware = session({ store, secret: SECRET, resave: false, saveUninitialized: false, cookie: COOKIE })
  return serveWith(/** @type {import('./connect.js').Middleware} */ (/** @type {unknown} */ (middleware)))
}
