// What must compile. The build checks it; nothing here is run.
import { createServer, type IncomingMessage } from 'node:http'
import { createSecureServer, createServer as createHttp2Server } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { Readable } from 'node:stream'
import {
  Builder,
  cookies,
  CookieStore,
  MemoryStore,
  session,
  toListener,
  type App,
  type CookieJar,
  type Middleware,
  type RackBody,
  type RackHeaders,
  type RequestOf,
  type Session,
  type SessionHandle,
} from '../../lib/index.ts'
import {
  logoutUrl,
  openid,
  type AuthHash,
  type Claims,
  type OpenIdOptions,
  type SignedIn,
} from '../../middleware/openid.ts'

/** Takes a value of exactly this type, neither narrower nor `any`. */
type Exactly<Expected> = <Given>(
  value: [Given, Expected, unknown extends Given ? 'any' : 0] extends [Expected, Given, 0] ? Given : never,
) => void

declare const secret: string | undefined
declare const exactlyCount: Exactly<number | undefined>
declare const exactlyNumber: Exactly<number>

export function theExample(): void {
  const app = new Builder()
    .use(cookies({ secret }))
    .use(session<{ visits: number }>({ store: new CookieStore(), key: '_app_session' }))
    .run(async (req) => {
      const hash = await req.session
      exactlyCount(hash.visits)
      hash.visits = (hash.visits ?? 0) + 1
      return [200, { 'content-type': 'text/plain' }, `visit ${hash.visits}\n`]
    })
  createServer(toListener(app)).listen(3000)
}

export function theListenerIsOneOfEveryServer(app: App): void {
  const listener = toListener(app, { onError: (error, req) => console.error(req.url, error) })
  createServer(listener)
  createServer({ keepAlive: true }, listener)
  createServer().on('request', listener)
  createHttpsServer(listener)
  createHttpsServer({ cert: '', key: '' }, listener)
  createHttp2Server(listener)
  createHttp2Server({}, listener)
  createSecureServer({ allowHTTP1: true }, listener)
  toListener(new Builder().use(cookies()).map('/a', (a) => a.run(() => [200, {}, ''])))
}

export function theRequestGrowsWithEachLayer(): void {
  const timed: Middleware<{ start: number }> = (app) => (req) => app(Object.assign(req, { start: Date.now() }))
  new Builder()
    .use(timed)
    .use(cookies())
    // inline layers see what those above them add
    .use((app) => (req) => {
      exactlyNumber(req.start)
      req.cookies.get('name')?.toUpperCase()
      return app(req)
    })
    .use((app) => async (req) => {
      const [status, headers, body] = await app(req)
      return [status, { ...headers, 'x-time': Date.now() - req.start }, body]
    })
    // and may add to it
    .use<{ user: string }>((app) => (req) => app(Object.assign(req, { user: req.cookies.get('user') ?? '' })))
    .use(session<{ visits: number }>())
    .run((req) => [200, {}, req.user.toUpperCase() + req.start.toFixed() + String(req.session.loaded)])
}

export function aLayerOfYourOwnMayNeedAnother(): void {
  const greeting: Middleware<{ readonly greeting: string }, { readonly cookies: CookieJar }> = (app) => (req) =>
    app(Object.assign(req, { greeting: `Hello, ${req.cookies.get('name') ?? 'you'}` }))
  new Builder()
    .use(cookies())
    .use(greeting)
    .run((req) => [200, {}, req.greeting])
}

export function stacksAreComposedByHand(): void {
  const app: App = cookies({ secret })(
    session<{ visits: number }>()(async (req) => {
      exactlyCount((await req.session).visits)
      req.cookies.set('a', 'b')
      return [200, {}, '']
    }),
  )
  createServer(toListener(app))
  const constant: App = () => [404, {}, 'Not Found\n']
  const withoutBuilder: Middleware = (inner) => (req) => (req.url === '/' ? inner(req) : constant(req))
  createServer(toListener(withoutBuilder(constant)))
}

export function mapSeesTheOuterRequest(): void {
  const app: App = new Builder()
    .use(cookies({ secret }))
    .map('/admin', (admin) =>
      admin
        .use(session<{ userId: number }>({ owner: 'userId' }))
        .map('/deep', (deep) => deep.run(async (req) => [200, {}, String((await req.session).userId) + req.scriptName]))
        .run((req) => [200, {}, req.scriptName.toUpperCase() + (req.cookies.get('a') ?? '')]),
    )
    .map('/builder', (inner) => inner.use(session()))
    .map('/app', () => () => [200, {}, ''])
    .run()
  createServer(toListener(app))
}

export function theRequestOfAStackHasAName(): void {
  const stack = new Builder().use(cookies({ secret })).use(session<{ visits: number }>())
  type Req = RequestOf<typeof stack>
  const controller = async (req: Req): Promise<[number, RackHeaders, RackBody]> => {
    exactlyCount((await req.session).visits)
    return [200, {}, req.url ?? '']
  }
  // a controller that asks for less fits, too
  const plain: App = (req) => [200, {}, req.url ?? '']
  const jarOnly = (req: IncomingMessage & { cookies: CookieJar }): [number, RackHeaders, null] => [
    req.cookies.size,
    {},
    null,
  ]
  stack.run(controller)
  stack.run(plain)
  stack.run(jarOnly)
}

export async function theSessionIsAHash(handle: SessionHandle<{ visits: number; cart: string[] }>): Promise<void> {
  const hash: Session<{ visits: number; cart: string[] }> = await handle
  hash.visits = 1
  ;(hash.cart ??= []).push('a')
  delete hash.cart
  Object.assign(hash, { visits: 2 })
  exactlyCount({ ...hash }.visits)
  handle.reset().visits = 1
  handle.renew()
  handle.clear()
  handle.destroy()
  handle.id?.toUpperCase()
  handle.options.expireAfter = 60
  handle.options.skip = true
}

export function aSessionMayBeOfAnything(): void {
  interface Data {
    userId: number
    name?: string
  }
  new Builder()
    .use(cookies({ secret: [secret ?? '', secret ?? ''] }))
    .use(session<Data>({ owner: 'userId', store: new MemoryStore(), sameSite: 'strict', expireAfter: 60 }))
    .run(async (req) => [200, {}, (await req.session).name ?? ''])
  new Builder()
    .use(cookies())
    .use(session())
    .run(async (req) => {
      const hash = await req.session
      hash['anything'] = { goes: [true] }
      return [200, {}, '']
    })
}

export function bodiesAndHeaders(): RackBody[] {
  const headers: RackHeaders = { a: 'a', b: 1, c: ['a', 'b'], d: undefined }
  const frozen: App = () => Object.freeze([200, Object.freeze(headers), Object.freeze(['a'])] as const)
  toListener(frozen)
  const chunks = ['a', new Uint8Array(1)]
  return [
    'a',
    Buffer.from('a'),
    new Uint8Array(1),
    null,
    chunks,
    new Set(chunks),
    Readable.from(chunks),
    new Blob(['a']).stream(),
    (function* (): Generator<string> {
      yield 'a'
    })(),
    (async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1)
    })(),
  ]
}

export function signingIn(): App {
  const options: OpenIdOptions = {
    issuer: new URL('https://example.com/'),
    clientId: 'a',
    params: (req) => ({ ui_locales: req.headers['accept-language'] ?? 'en' }),
  }
  return new Builder()
    .use(cookies())
    .use(session<{ userinfo: Claims; openid: SignedIn }>())
    .use(openid({ ...options, clientSecret: process.env['CLIENT_SECRET'] }))
    .run(async (req) => {
      const { userinfo, openid: signedIn } = await req.session
      const ends: number | undefined = signedIn?.ends_at
      if (req.auth === undefined) return [303, { location: await logoutUrl(req, '/') }, `${userinfo?.sub} ${ends}`]
      const { uid, info, credentials, extra }: AuthHash = req.auth
      const texts: (string | undefined)[] = [uid, info.name, info.email, credentials.token, extra.raw_info.sub]
      ;(await req.session).userinfo = extra.raw_info
      return [200, {}, texts.join(' ')]
    })
}
