// The course: six stations, each an exchange with a little application that is there once for each store.
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import {
  Builder,
  CookieStore,
  cookies,
  MemoryStore,
  session,
  type App,
  type RackResponse,
  type Secret,
  type SessionHandle,
  type SessionStore,
} from 'luggage-rack'

interface Data {
  visitor: string
  cart: string[]
}

type Req = IncomingMessage & { readonly session: SessionHandle<Data> }

/** What the stations ask for. */
const pages: Readonly<Record<string, (req: Req) => RackResponse | Promise<RackResponse>>> = {
  // station 1: the session is there to be asked for, and nobody asks
  '/hello': () => text('hello, whoever you are\n'),

  // station 2: the first write makes a session
  async '/write'(req) {
    const session = await req.session
    session.visitor = 'Ada'
    session.cart = ['tea']
    return text('hello, Ada: your cart holds tea\n')
  },

  // station 3: what is only read is not sent again
  async '/read'(req) {
    const { visitor = 'whoever you are', cart = [] } = await req.session
    return text(`hello, ${visitor}: your cart holds ${cart.join(', ') || 'nothing'}\n`)
  },

  // station 4: a change inside of a value is one, too
  async '/push'(req) {
    const session = await req.session
    const cart = (session.cart ??= [])
    if (cart.push('map') > 10) cart.length = 1
    return text(`your cart holds ${cart.join(', ')}\n`)
  },

  // station 6: whoever signs in starts over, under a new id
  '/sign-in'(req) {
    const session = req.session.reset()
    session.visitor = 'Ada, signed in'
    return text('hello, Ada: you are signed in\n')
  },
}

const files: Readonly<Record<string, [file: string, type: string]>> = {
  '/': ['page.html', 'text/html; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
}

/** The page of the course, and its application under the name of each store: `/memory/read`. */
export function courseOf(builder: Builder, secret: Secret): App {
  const stores: Readonly<Record<string, SessionStore>> = { cookie: new CookieStore(), memory: new MemoryStore() }
  for (const [name, store] of Object.entries(stores)) {
    builder.map(`/${name}`, (inner) =>
      inner
        .use(cookies({ secret }))
        .use(session<Data>({ store, key: `_course_${name}`, path: `/course/${name}` }))
        .run(function answer(req) {
          const [path = ''] = (req.url ?? '').split('?')
          return (
            (Object.hasOwn(pages, path) ? pages[path] : undefined)?.(req) ?? text('There is no such station.\n', 404)
          )
        }),
    )
  }
  return builder.run(function course(req) {
    const [path = ''] = (req.url ?? '').split('?')
    // so that the page finds its files
    if (path === '') return [308, { location: '/course/' }, null]
    const file = Object.hasOwn(files, path) ? files[path] : undefined
    if (file === undefined) return text('There is no such page.\n', 404)
    return [
      200,
      { 'content-type': file[1], 'content-security-policy': "default-src 'self'; img-src data:" },
      read(file[0]),
    ]
  })
}

function text(body: string, status = 200): RackResponse {
  return [status, { 'content-type': 'text/plain; charset=utf-8' }, body]
}

/** They are served as they are written, and stand beside this file's source. */
function read(name: string): string {
  return readFileSync(new URL(`../../../examples/site/course/${name}`, import.meta.url), 'utf8')
}
