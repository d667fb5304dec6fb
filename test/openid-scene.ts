import type { IncomingMessage } from 'node:http'
import { startProvider, type Provider, type ProviderOptions } from '../examples/openid-provider/provider.ts'
import {
  Builder,
  cookies,
  session,
  type App,
  type Middleware,
  type SessionHandle,
  type SessionStore,
} from '../lib/index.ts'
import { logoutUrl, openid, type AuthHash, type OpenIdOptions } from '../middleware/openid.ts'
import { freePort } from './free-port.ts'
import { keepCookies, serve, type Answer, type Ask, type Owner } from './server.ts'
import { SECRET } from './session-app.ts'

export const CLIENT = { clientId: 'the-tests', clientSecret: 'a secret of the provider and the tests' }

export interface Data {
  userinfo: Record<string, unknown>
  cart: string[]
  [key: string]: unknown
}

export type Req = IncomingMessage & { session: SessionHandle<Data>; auth: AuthHash | undefined }

/** A browser: cookies for each host, and redirects that it follows only when told to. */
export class Visitor {
  readonly jars: Map<string, Map<string, string>> = new Map()

  jar(host: string): Map<string, string> {
    if (!this.jars.has(host)) this.jars.set(host, new Map())
    return this.jars.get(host) as Map<string, string>
  }

  async get(address: string, options: Ask = {}): Promise<Answer> {
    const { host } = new URL(address)
    const cookie = [...this.jar(host)].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(address, {
      method: options.method ?? 'GET',
      redirect: 'manual',
      headers: { ...(cookie ? { cookie } : {}), ...(options.headers as Record<string, string>) },
      ...(options.body === undefined ? {} : { body: options.body }),
    })
    const lines = response.headers.getSetCookie()
    keepCookies(this.jar(host), lines)
    const headers = Object.fromEntries(response.headers)
    return { status: response.status, headers, cookies: lines, body: await response.text() }
  }

  post(address: string, fields: Record<string, string> = {}, headers: Record<string, string> = {}): Promise<Answer> {
    return this.get(address, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(fields).toString(),
    })
  }

  /** Signs in at the provider's page, and gives the address that the provider sends the browser back to. */
  async signInAt(address: string, name = 'ada', password = 'lovelace'): Promise<string> {
    const { origin } = new URL(address)
    let at = address
    let answer = await this.get(at)
    for (let steps = 0; steps < 10; steps++) {
      const { location } = answer.headers
      if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
        at = new URL(location, at).href
        if (new URL(at).origin !== origin) return at
        // oxlint-disable-next-line no-await-in-loop -- one leads to the next
        answer = await this.get(at)
        continue
      }
      if (answer.status !== 200 || !answer.body.includes('<form')) break
      // oxlint-disable-next-line no-await-in-loop -- one leads to the next
      answer = await this.post(at, { name, password })
    }
    throw new Error(`The provider did not send the browser back: ${answer.status} ${answer.body.slice(0, 500)}`)
  }
}

export interface Scene {
  readonly url: string
  readonly provider: Provider
  readonly callback: string
  /** What the application was told at its callback. */
  readonly heard: AuthHash[]
  readonly log: string[]
  readonly errors: unknown[]
  /** Moves the application's clock, by seconds. */
  readonly wait: (seconds: number) => void
  /** Begins a sign-in, and gives the provider's address. */
  readonly begin: (visitor: Visitor, fields?: Record<string, string>) => Promise<string>
  /** All of it, until the application has answered its callback. */
  readonly signIn: (visitor: Visitor, name?: string, password?: string) => Promise<Answer>
  /** What is in the visitor's session. */
  readonly read: (visitor: Visitor) => Promise<Record<string, unknown>>
}

export interface SceneOptions {
  store?: SessionStore
  openid?: Partial<OpenIdOptions>
  provider?: Partial<ProviderOptions> & { grants?: string[] }
  /** What the application does at its callback. Default: keeps the profile, and goes to its dashboard. */
  atCallback?: (req: Req) => Promise<readonly [number, Record<string, string>, string | null]>
  /** Above the jar. */
  first?: Middleware
  /** Between the session and `openid()`. */
  above?: Middleware
}

/** An application whose people sign in at a real provider. */
export async function openIdScene(t: Owner, options: SceneOptions = {}): Promise<Scene> {
  let now = 0
  const clock = (): number => Date.now() + now
  const heard: AuthHash[] = []
  const log: string[] = []
  let app: App = () => [503, {}, null]
  const { url, errors } = await serve(t, (req) => app(req))
  const callback = `${url}/auth/oauth2/callback`
  const { grants = ['authorization_code'], ...more } = options.provider ?? {}
  const provider = await startProvider({
    port: await freePort(),
    clients: [
      {
        client_id: CLIENT.clientId,
        client_secret: CLIENT.clientSecret,
        redirect_uris: [callback],
        post_logout_redirect_uris: [`${url}/`],
        grant_types: grants,
      },
    ],
    ...more,
  })
  t.teardown(() => provider.close())
  const atCallback = options.atCallback ?? keepProfile
  const none: Middleware = (inner) => inner
  app = new Builder()
    .use(options.first ?? none)
    .use(cookies({ secret: SECRET, clock }))
    .use(session<Data>({ store: options.store }))
    .use(options.above ?? none)
    .use(openid({ issuer: provider.issuer, ...CLIENT, log: (reason) => log.push(reason), ...options.openid }))
    .run(async (req) => {
      const { pathname, searchParams } = new URL(req.url ?? '/', url)
      switch (`${req.method} ${pathname}`) {
        case 'GET /auth/oauth2/callback':
          if (req.auth === undefined) return [404, {}, 'not signed in']
          heard.push(req.auth)
          return atCallback(req)
        case 'GET /auth/failure':
          return [403, {}, `failure: ${searchParams.get('message')}`]
        case 'GET /throw':
          await req.session
          throw new Error('the application failed')
        case 'GET /cart':
          ;((await req.session).cart ??= []).push('tea')
          return [200, {}, 'put into the cart']
        case 'GET /logout': {
          const address = await logoutUrl(req, searchParams.get('to') ?? undefined)
          req.session.reset()
          return [303, { location: address }, null]
        }
        case 'GET /reset-while-reading': {
          const reading = req.session.then((data) => data)
          // the provider has been asked, and has not answered
          await new Promise((resolve) => setImmediate(resolve))
          req.session.reset()
          await reading
          return [200, {}, 'reset']
        }
        case 'GET /read':
          return [200, {}, JSON.stringify(await req.session)]
        case 'GET /':
          return [200, {}, 'home']
        default:
          return [404, {}, `no ${pathname}`]
      }
    })

  const begin: Scene['begin'] = async (visitor, fields) => {
    const { headers, status, body } = await visitor.post(`${url}/auth/oauth2`, fields)
    if (status !== 303 || headers.location === undefined) throw new Error(`${status} ${body}`)
    return headers.location
  }
  return {
    url,
    provider,
    callback,
    heard,
    log,
    errors,
    wait: (seconds) => void (now += seconds * 1000),
    begin,
    signIn: async (visitor, name, password) =>
      visitor.get(await visitor.signInAt(await begin(visitor), name, password)),
    read: async (visitor) => JSON.parse((await visitor.get(`${url}/read`)).body) as Record<string, unknown>,
  }
}

async function keepProfile(req: Req): Promise<readonly [number, Record<string, string>, null]> {
  const data = await req.session
  data.userinfo = { ...req.auth?.extra.raw_info }
  return [303, { location: '/dashboard' }, null]
}
