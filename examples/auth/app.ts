import { Builder, cookies, csrf, flash, form, session, showExceptions } from 'luggage-rack'
import type { App, FlashHandle, RackResponse, SessionHandle, SessionStore } from 'luggage-rack'
import { logoutUrl, openid, type AuthHash, type Claims, type SignInFailure } from 'luggage-rack/auth'
import type { IncomingMessage } from 'node:http'
import { dashboardPage, failurePage, homePage, messagePage, profilePage } from './pages.ts'

interface Data {
  /** The profile, as the provider told it. Who is signed in has one. */
  userinfo: Claims
  visits: number
}

type Req = IncomingMessage & {
  readonly session: SessionHandle<Data>
  readonly flash: FlashHandle<{ notice: string }>
  readonly csrfToken: () => Promise<string>
  readonly auth: AuthHash | undefined
}

export interface AppOptions {
  issuer: string
  clientId: string
  clientSecret: string
  store: SessionStore
  secret: string
  clock?: (() => number) | undefined
}

const REASONS: Readonly<Record<string, string>> = {
  access_denied: 'You have not let this application know who you are.',
  authenticity_error: 'The request came from another site.',
  csrf_detected: 'This browser did not begin to sign in, or did so too long ago.',
  failed_to_connect: 'The provider cannot be reached.',
  invalid_credentials: 'The provider did not confirm who you are.',
  timeout: 'The provider does not answer.',
} satisfies Partial<Record<SignInFailure, string>>

/** The tutorial's application: home page, callback, dashboard, profile, and the way out. */
export function authApp({ issuer, clientId, clientSecret, store, secret, clock }: AppOptions): App {
  return new Builder()
    .use(showExceptions())
    .use(cookies({ secret, clock }))
    .use(session<Data>({ store, key: '_tutorial_session' }))
    .use(flash<{ notice: string }>())
    .use(form())
    .use(csrf())
    .use(openid({ issuer, clientId, clientSecret, returnTo: ['/'] }))
    .run(answer)
}

async function answer(req: Req): Promise<RackResponse> {
  const { pathname, searchParams } = new URL(req.url ?? '/', 'http://localhost')
  switch (`${req.method} ${pathname}`) {
    case 'GET /':
      return home(req)
    case 'GET /auth/oauth2/callback':
      return signedIn(req)
    case 'GET /auth/failure':
      return page(403, failurePage(REASONS[searchParams.get('message') ?? ''] ?? 'The provider refused.'))
    case 'GET /dashboard':
      return guarded(req, dashboard)
    case 'GET /profile':
      return guarded(req, profile)
    case 'POST /logout':
      return signOut(req)
    default:
      return page(404, messagePage('There is no such page.'))
  }
}

async function home(req: Req): Promise<RackResponse> {
  const { userinfo } = await req.session
  if (userinfo) return redirect('/dashboard')
  const notice = (await req.flash).notice
  return page(200, homePage(await req.csrfToken(), '/dashboard', notice))
}

/** The provider has sent the browser back, and the layer above has checked all of it. */
async function signedIn(req: Req): Promise<RackResponse> {
  // somebody opened the address without the provider
  if (req.auth === undefined) return redirect('/')
  const session = await req.session
  session.userinfo = req.auth.extra.raw_info
  return redirect(req.auth.extra.origin ?? '/dashboard')
}

async function signOut(req: Req): Promise<RackResponse> {
  const address = await logoutUrl(req, '/')
  req.session.reset()
  ;(await req.flash).notice = 'You are signed out.'
  return redirect(address)
}

/** A page for who is signed in; everybody else signs in first, and comes back to it. */
async function guarded(req: Req, show: (req: Req, user: Claims) => Promise<RackResponse>): Promise<RackResponse> {
  const { userinfo } = await req.session
  if (userinfo) return show(req, userinfo)
  return page(401, homePage(await req.csrfToken(), req.url ?? '/dashboard', 'Sign in to see this page.'))
}

async function dashboard(req: Req, user: Claims): Promise<RackResponse> {
  const session = await req.session
  session.visits = (session.visits ?? 0) + 1
  return page(200, dashboardPage(user, session.visits, await req.csrfToken()))
}

async function profile(req: Req, user: Claims): Promise<RackResponse> {
  return page(200, profilePage(user, await req.csrfToken()))
}

function page(status: number, html: string): RackResponse {
  // not even for the back button, after signing out
  const headers = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }
  return [status, { ...headers, 'content-security-policy': POLICY }, html]
}

function redirect(location: string): RackResponse {
  return [303, { location }, null]
}

// no form-action: browsers apply it to the redirect to the provider as well
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
