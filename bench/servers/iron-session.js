// iron-session in plain node:http: a page asks for the session where it wants it, and saves it itself.
import { getIronSession } from 'iron-session'
import { createServer } from 'node:http'
import { COOKIE, DAY, FIRST_VISIT, numberIn, page, SECRET, send, serve, visitor } from './serve.js'

/** @typedef {import('node:http').IncomingMessage} Req */
/** @typedef {import('node:http').ServerResponse} Res */

const options = { password: SECRET, cookieName: 'session', ttl: DAY, cookieOptions: { secure: COOKIE.secure } }

/** @param {Req} req @param {Res} res @returns {Promise<import('iron-session').IronSession<{ userId?: number, visits?: number }>>} */
const open = (req, res) => getIronSession(req, res, options)

/** @type {Record<string, (req: Req, res: Res) => void | Promise<void>>} */
const pages = {
  '/untouched': (_req, res) => send(res, page()),

  async '/read'(req, res) {
    const session = await open(req, res)
    send(res, page(session.userId, session.visits))
  },

  async '/written'(req, res) {
    const session = await open(req, res)
    session.visits = (session.visits ?? FIRST_VISIT) + 1
    await session.save()
    send(res, page(session.userId, session.visits))
  },
}

/** @param {Req} req @param {Res} res */
async function signIn(req, res) {
  const session = await open(req, res)
  Object.assign(session, visitor(numberIn(req.url)))
  await session.save()
  send(res, 'signed in\n')
}

await serve(createServer((req, res) => void (pages[req.url ?? ''] ?? signIn)(req, res)))
