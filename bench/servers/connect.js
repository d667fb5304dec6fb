// The pages of those that are middleware for connect, and so for Express: they put an object on `req.session`, and save
// it by themselves. connect is the lightest of those that they are made for.
import connect from 'connect'
import { createServer } from 'node:http'
import { FIRST_VISIT, numberIn, page, send, serve, visitor } from './serve.js'

/** @typedef {import('node:http').IncomingMessage & { session: { userId?: number, visits?: number } }} Req */
/** @typedef {import('node:http').ServerResponse} Res */
/** Express' types say that it needs Express. @typedef {import('connect').NextHandleFunction} Middleware */

/** @type {Record<string, (req: Req, res: Res) => void>} */
const pages = {
  '/untouched': (_req, res) => send(res, page()),

  '/read': ({ session }, res) => send(res, page(session.userId, session.visits)),

  '/written'({ session }, res) {
    session.visits = (session.visits ?? FIRST_VISIT) + 1
    send(res, page(session.userId, session.visits))
  },
}

/** @param {Req} req @param {Res} res */
function signIn(req, res) {
  Object.assign(req.session, visitor(numberIn(req.url)))
  send(res, 'signed in\n')
}

/** @param {Middleware} middleware */
export async function serveWith(middleware) {
  const app = connect()
  app.use(middleware)
  app.use((req, res) => (pages[req.url ?? ''] ?? signIn)(/** @type {Req} */ (req), res))
  await serve(createServer(app))
}
