// What must not compile. The build checks it: a directive without an error below it is an error itself.
import {
  Builder,
  cookies,
  session,
  toListener,
  type App,
  type Middleware,
  type RackResponse,
  type RequestOf,
  type SessionHandle,
} from '../../lib/index.ts'
import { openid } from '../../middleware/openid.ts'

const ok: App = () => [200, {}, '']

export function aLayerWhoseNeedsAreNotMet(): void {
  // @ts-expect-error -- needs, above it, the layer that adds req.cookies
  new Builder().use(session())
  // @ts-expect-error -- the order counts
  new Builder().use(session()).use(cookies())
  // @ts-expect-error -- an inline layer above adds nothing
  new Builder().use((app) => (req) => app(req)).use(session())
  // @ts-expect-error -- inside map, too
  new Builder().map('/a', (a) => a.use(session()).run(ok))

  const needsAnother: Middleware<unknown, { readonly cookies: number }> = (app) => app
  // @ts-expect-error -- what is there is something else
  new Builder().use(cookies()).use(needsAnother)

  // what a layer inside map adds is not there outside of it
  const mapped = new Builder().map('/a', (a) => a.use(cookies()).run(ok))
  // @ts-expect-error -- needs, above it, the layer that adds req.cookies
  mapped.use(session())
}

export function aControllerThatAsksForWhatIsNotThere(): void {
  // @ts-expect-error -- no session
  new Builder().use(cookies()).run((req) => [200, {}, String(req.session)])
  // @ts-expect-error -- no scriptName outside of map
  new Builder().run((req) => [200, {}, req.scriptName])
  // @ts-expect-error -- no start above the layer that adds it
  new Builder().use((app) => (req) => app(Object.assign(req, { late: req.start }))).use<{ start: number }>((app) => app)

  const stack = new Builder().use(cookies()).use(session<{ visits: number }>())
  const controller = (req: RequestOf<typeof stack>): RackResponse => [200, {}, String(req.session.loaded)]
  // @ts-expect-error -- another stack
  new Builder().run(controller)
  // @ts-expect-error -- a server has none of it
  toListener(controller)
  // @ts-expect-error -- nor has a stack that is composed by hand without cookies()
  toListener(session()(ok))
}

export async function theSession(handle: SessionHandle<{ visits: number }>): Promise<void> {
  const hash = await handle
  // @ts-expect-error -- may be absent
  hash.visits.toFixed()
  // @ts-expect-error -- no key of the data
  hash.visit = 1
  // @ts-expect-error -- no key of the data
  if (hash.vist) return
  // @ts-expect-error -- of another type
  hash.visits = '1'
  // @ts-expect-error -- a forgotten await
  handle.visits = 1
  // @ts-expect-error -- a forgotten await
  if (handle.visits) return
  // @ts-expect-error -- of another type
  handle.reset().visits = '1'
  // @ts-expect-error -- of the store
  handle.id = 'mine'
}

export function theRequest(): void {
  new Builder()
    .use(cookies())
    .use(session<{ visits: number }>())
    .run((req) => {
      // @ts-expect-error -- Rails' reset_session is req.session.reset()
      req.session = {}
      // @ts-expect-error -- nor is there a session to delete
      delete req.session
      // @ts-expect-error -- cookies are set one by one
      req.cookies = {}
      return [200, {}, '']
    })
}

export function options(): void {
  // @ts-expect-error -- owner is a key of the data
  session<{ userId: number }>({ owner: 'userid' })
  // @ts-expect-error -- no option
  session({ expires: 60 })
  // @ts-expect-error -- seconds
  session({ expireAfter: '1h' })
  // @ts-expect-error -- no such value
  session({ sameSite: 'loose' })
  // @ts-expect-error -- a store
  session({ store: 'redis' })
  // @ts-expect-error -- a string, or a list of them
  cookies({ secret: 42 })
  // @ts-expect-error -- cookies was not called
  new Builder().use(cookies)
}

export function responses(): void {
  // @ts-expect-error -- nothing was returned
  new Builder().run(() => {})
  // @ts-expect-error -- no triple
  new Builder().run(() => 'text')
  // @ts-expect-error -- no body
  new Builder().run(() => [200, {}])
  // @ts-expect-error -- the status is a number
  new Builder().run(() => ['200', {}, ''])
  // @ts-expect-error -- a body is text or bytes
  new Builder().run(() => [200, {}, 42])
  // @ts-expect-error -- also in a list
  new Builder().run(() => [200, {}, [1]])
  // @ts-expect-error -- headers are text, numbers and lists of text
  new Builder().run(() => [200, { 'x-a': true }, ''])
  // @ts-expect-error -- Headers are no plain object
  new Builder().run(() => [200, new Headers(), ''])
  // @ts-expect-error -- map's function returns an app
  new Builder().map('/a', (a) => void a.run(ok))

  const response: RackResponse = [200, { a: 'b' }, '']
  // @ts-expect-error -- a response is a value, which nobody changes
  response[0] = 404
  // @ts-expect-error -- nor its headers
  response[1]['a'] = 'c'
}

export function signingIn(): void {
  const options = { issuer: 'https://example.com/', clientId: 'a' }
  const layer = openid(options)
  // @ts-expect-error -- there is no jar
  new Builder().use(layer)
  // @ts-expect-error -- there is no session
  new Builder().use(cookies()).use(layer)
  const stack = new Builder().use(cookies()).use(session()).use(layer)
  // @ts-expect-error -- most requests come from no provider
  stack.run((req) => [200, {}, req.auth.uid])
  // @ts-expect-error -- there is no such key
  stack.run((req) => [200, {}, req.auth?.info.nmae ?? ''])
  // @ts-expect-error -- not every provider tells the address
  stack.run((req) => [200, {}, req.auth ? req.auth.info.email : ''])
  // @ts-expect-error -- openid() is not there
  new Builder().use(cookies()).run((req) => [200, {}, req.auth?.uid ?? ''])
  // @ts-expect-error -- who it is for
  openid({ issuer: 'https://example.com/' })
  // @ts-expect-error -- no such token
  openid({ ...options, keep: ['code'] })
  // @ts-expect-error -- a list
  openid({ ...options, returnTo: '/' })
  // @ts-expect-error -- seconds
  openid({ ...options, timeout: '10s' })
  // @ts-expect-error -- no option
  openid({ ...options, domain: 'example.com' })
}
