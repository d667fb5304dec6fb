import type { IncomingMessage } from 'node:http'
import {
  Builder,
  cookies,
  session,
  type App,
  type CookiesOptions,
  type RackResponse,
  type SessionHandle,
  type SessionOptions,
} from '../lib/index.ts'

export const SECRET = 'a secret of the tests, which is long enough and known to everybody'

export interface Data {
  foo: unknown
  counter: number
  cart: string[]
  userId: number
  [key: string]: unknown
}

type Req = IncomingMessage & { session: SessionHandle<Data> }

/** The controller of most tests: each path does what it says. */
export async function controller(req: Req): Promise<RackResponse> {
  const url = new URL(req.url ?? '/', 'http://test')
  const text = (body: string): RackResponse => [200, { 'content-type': 'text/plain' }, body]
  switch (url.pathname) {
    case '/nothing':
      return text('nothing')
    case '/read':
      return text(`foo: ${JSON.stringify((await req.session).foo ?? null)}`)
    case '/all':
      return text(JSON.stringify(await req.session))
    case '/write': {
      const hash = await req.session
      hash.foo = url.searchParams.get('v') ?? 'bar'
      return text('written')
    }
    case '/count': {
      const hash = await req.session
      hash.counter = (hash.counter ?? 0) + 1
      return text(String(hash.counter))
    }
    case '/id':
      await req.session
      return text(req.session.id ?? '')
    case '/push': {
      const hash = await req.session
      ;(hash.cart ??= []).push(url.searchParams.get('v') ?? 'thing')
      return text(JSON.stringify(hash.cart))
    }
    case '/signin': {
      const hash = await req.session
      hash.userId = Number(url.searchParams.get('user') ?? 1)
      return text('signed in')
    }
    case '/reset':
      req.session.reset()
      return text('reset')
    case '/reset-write': {
      const hash = req.session.reset()
      hash.foo = url.searchParams.get('v') ?? 'baz'
      return text('reset')
    }
    case '/renew':
      req.session.renew()
      return text('renewed')
    case '/destroy':
      req.session.destroy()
      return text('destroyed')
    case '/clear':
      req.session.clear()
      return text('cleared')
    default:
      return [404, {}, 'no such page']
  }
}

/** Cookies, session, controller. */
export function sessionApp(options: SessionOptions<Data> = {}, jar: CookiesOptions = {}): App {
  return new Builder()
    .use(cookies({ secret: SECRET, ...jar }))
    .use(session<Data>(options))
    .run(controller)
}
