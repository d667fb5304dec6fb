// A small site on node:http and luggage-rack alone: sign in, be counted, fill a cart, sign out.
// All that it knows of a visitor is in his encrypted cookie, and the server remembers nothing; with another store
// (npm start -- --store sqlite) it is there, and the visitor sees where else he is signed in.
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import {
  Builder,
  cookies,
  csrf,
  CsrfError,
  flash,
  form,
  session,
  SessionId,
  showExceptions,
  toListener,
  type RackResponse,
  type RequestOf,
} from 'luggage-rack'
import { ladder, lifecycle, watchRequests } from 'luggage-rack/lifecycle'
import { courseOf } from './course.ts'
import { cartPage, dashboardPage, messagePage, sessionsPage, signInPage, WARES, type CartLine } from './pages.ts'
import { secretIn } from './secret.ts'
import { closeStore, listsOwners, storeNamed } from './store.ts'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: process.env.PORT || '3000' },
    store: { type: 'string', default: 'cookie' },
    // prints what happens to each request
    trace: { type: 'boolean', default: false },
  },
})
const store = await storeNamed(values.store)

/** What went wrong, as a page of the site. Of a fault of ours it says nothing, and the log everything. */
function sorry(error: unknown, _req: IncomingMessage, status: number): RackResponse {
  if (status === 413) return page(413, messagePage('That is too much for a form.'))
  if (error instanceof CsrfError) return page(403, messagePage('That form was not one of ours.'))
  return page(status, messagePage('That did not work.'))
}

const secret = secretIn('.luggage-rack-secret')

// the classroom: each request can be watched, and a course leads through them. It shows what visitors have in their
// sessions, so it is for one's own machine alone
const isClassroom = process.env.NODE_ENV !== 'production'
const top = new Builder()
if (isClassroom) top.use(lifecycle({ data: true })).map('/course', (builder) => courseOf(builder, secret))
if (values.trace) watchRequests((trace) => console.log(ladder(trace)))

const stack = top
  .use(showExceptions({ render: sorry }))
  .use(cookies({ secret }))
  .use(session<{ user: string; visits: number; cart: CartLine[] }>({ store, key: '_site_session', owner: 'user' }))
  .use(flash())
  .use(form({ limit: 10_000 }))
  // SameSite=Lax keeps the session's cookie out of what other sites post; this refuses what another origin of the
  // same site posts (another port of localhost, a sibling subdomain). Browsers say where a request comes from, so a
  // demonstration does without tokens
  .use(csrf({ tokens: false }))

/** What the layers make of node's request: it has `cookies` and `session`. */
type Req = RequestOf<typeof stack>

const app = stack.run((req) => {
  const [path] = (req.url ?? '/').split('?')
  switch (`${req.method === 'HEAD' ? 'GET' : req.method} ${path}`) {
    case 'GET /':
      return dashboard(req)
    case 'POST /sign-in':
      return signIn(req)
    case 'POST /sign-out':
      return signOut(req)
    case 'GET /cart':
      return showCart(req)
    case 'GET /sessions':
      return showSessions(req)
    case 'POST /sessions/sign-out':
      return signOutElsewhere(req)
    case 'POST /cart/add':
    case 'POST /cart/quantity':
    case 'POST /cart/remove':
      return changeCart(req, path)
    default:
      return page(404, messagePage('There is no such page.'))
  }
})

async function dashboard(req: Req): Promise<RackResponse> {
  const session = await req.session
  if (session.user === undefined) return page(200, signInPage())
  session.visits = (session.visits ?? 0) + 1
  return page(200, dashboardPage(session.user, session.visits, session.cart ?? []))
}

async function signIn(req: Req): Promise<RackResponse> {
  const name = (await req.form()).get('name')?.trim().slice(0, 50)
  if (!name) return page(422, signInPage('Please tell us a name.'))
  // a new, empty session: what somebody planted in this browser before does not become the user's
  const session = req.session.reset()
  session.user = name
  return seeOther('/')
}

function signOut(req: Req): RackResponse {
  // The browser forgets its cookie. A copy of it would still open until it expires, since the server remembers
  // nothing; where that matters, keep sessions in a store, or give CookieStore a `revokedSince`.
  req.session.destroy()
  return seeOther('/')
}

async function showCart(req: Req): Promise<RackResponse> {
  const session = await req.session
  if (session.user === undefined) return seeOther('/')
  const { notice } = await req.flash
  return page(200, cartPage(session.user, session.cart ?? [], notice))
}

async function showSessions(req: Req): Promise<RackResponse> {
  const { user } = await req.session
  if (user === undefined) return seeOther('/')
  const sessions = listsOwners(store) ? await store.sessionsOf(user) : undefined
  const here = req.session.id === undefined ? undefined : new SessionId(req.session.id).privateId
  return page(200, sessionsPage(user, sessions, here))
}

/** Signs out of the session that the form names, or of all but this one. */
async function signOutElsewhere(req: Req): Promise<RackResponse> {
  const only = (await req.form()).get('id') ?? undefined
  const { user } = await req.session
  if (user === undefined || !listsOwners(store)) return seeOther('/')
  await store.deleteSessionsOf(user, { only, except: req.session.id })
  return seeOther('/sessions')
}

/** Changes the cart in place, which the session notices as it does an assignment. */
async function changeCart(req: Req, path: string | undefined): Promise<RackResponse> {
  const form = await req.form()
  const session = await req.session
  if (session.user === undefined) return seeOther('/')
  const cart = (session.cart ??= [])
  const item = form.get('item') ?? ''
  const quantity = Number(form.get('quantity'))
  const line = cart.find((one) => one.item === item)
  // the page that follows says it, and the one after that does not
  const flash = await req.flash
  if (path === '/cart/add') {
    if (line) line.quantity = Math.min(line.quantity + 1, 99)
    else if (WARES.includes(item)) cart.push({ item, quantity: 1 })
    if (WARES.includes(item)) flash.notice = `${item}: it is in your cart.`
  } else if (line && path === '/cart/remove') {
    cart.splice(cart.indexOf(line), 1)
    flash.notice = `${item}: it is no longer in your cart.`
  } else if (line && Number.isInteger(quantity) && quantity >= 1 && quantity <= 99) {
    line.quantity = quantity
  }
  return seeOther('/cart')
}

/** A page says who is signed in, so no cache may keep it. */
function page(status: number, html: string): RackResponse {
  return [status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }, html]
}

/** The answer to a post, so that reloading the page that follows posts nothing again. */
function seeOther(location: string): RackResponse {
  return [303, { location }, null]
}

const server = createServer(toListener(app))

server.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EADDRINUSE') throw error
  console.error(`Port ${values.port} is taken. Choose another one, for example: npm start -- --port 3001`)
  process.exitCode = 1
})

server.listen(Number(values.port), () => {
  const url = `http://localhost:${(server.address() as AddressInfo).port}`
  console.log(`The site is at ${url} (Ctrl+C ends it)`)
  if (isClassroom) console.log(`The course is at ${url}/course/, and each request can be watched at ${url}/lifecycle/`)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(() => void closeStore(store))
    // browsers open connections ahead of need, and close() alone would wait for their first request
    setTimeout(() => server.closeAllConnections(), 500).unref()
  })
}
