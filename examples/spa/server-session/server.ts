// The same page with its session on the server: it signs in through the server, which keeps the token, and the browser
// holds nothing but the id of a session, in a cookie that no script can read. The page /why says why.
import { randomBytes } from 'node:crypto'
import {
  Builder,
  cookies,
  csrf,
  form,
  MemoryStore,
  session,
  showExceptions,
  type RackResponse,
  type RequestOf,
} from 'luggage-rack'
import { logoutUrl, openid, type Claims } from 'luggage-rack/auth'
import { serve, type Example, type StartOptions } from '../../example.ts'
import { file, files, notFound } from '../server.ts'

interface Settings {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
  readonly url: string
  readonly clock: StartOptions['clock']
}

export async function start({ port, startProvider, clock }: StartOptions): Promise<Example> {
  const url = `http://localhost:${port}`
  // a server can keep a secret, and so the provider knows it by one
  const clientId = 'server-session'
  const clientSecret = randomBytes(32).toString('hex')
  const provider = await startProvider({
    clients: [
      {
        client_id: clientId,
        client_secret: clientSecret,
        redirect_uris: [`${url}/auth/oauth2/callback`],
        post_logout_redirect_uris: [`${url}/`],
      },
    ],
  })
  const app = stackOf({ issuer: provider.issuer, clientId, clientSecret, url, clock }).run(answer)
  return serve(app, port, provider)
}

function stackOf({ issuer, clientId, clientSecret, url, clock }: Settings) {
  return (
    new Builder()
      .use(
        files(
          {
            '/': file('examples/spa/server-session/page.html'),
            '/why': file('examples/spa/server-session/why.html'),
            '/page.js': file('examples/spa/server-session/page.js'),
            '/page.css': file('examples/spa/page.css'),
          },
          // the form that signs in leads to the provider
          `script-src 'self'; connect-src 'self'; form-action 'self' ${issuer}`,
        ),
      )
      .use(showExceptions())
      // with a secret of its own, a restart signs everybody out; the store of this example forgets them anyway
      .use(cookies({ secret: randomBytes(64).toString('hex'), clock }))
      // 'strict', since all that needs the session is asked for by the page itself
      .use(
        session<{ userinfo: Claims }>({ store: new MemoryStore({ clock }), key: '_app_session', sameSite: 'strict' }),
      )
      .use(form())
      .use(csrf())
      .use(openid({ issuer, clientId, clientSecret, origin: url, endWithToken: true }))
  )
}

type Req = RequestOf<ReturnType<typeof stackOf>>

async function answer(req: Req): Promise<RackResponse> {
  const [path, query] = (req.url ?? '/').split('?')
  switch (`${req.method} ${path}`) {
    case 'GET /me':
      return me(req)
    case 'GET /auth/oauth2/callback':
      return welcome(req)
    case 'GET /auth/failure':
      // which the page shows
      return [303, { location: `/#/failure?${query ?? ''}` }, null]
    case 'POST /logout':
      return logOut(req)
    default:
      return notFound()
  }
}

/** What the page may know of whoever is here; and what its forms need. */
async function me(req: Req): Promise<RackResponse> {
  const session = await req.session
  // a cookie came, and there is nothing behind it any more
  const hasEnded = req.session.exists && Object.keys(session).length === 0
  const known = { profile: session.userinfo ?? null, hasEnded, csrfToken: await req.csrfToken() }
  return [200, { 'content-type': 'application/json', 'cache-control': 'no-store' }, JSON.stringify(known)]
}

async function welcome(req: Req): Promise<RackResponse> {
  if (req.auth === undefined) return notFound()
  const { raw_info, origin = '/' } = req.auth.extra
  const session = await req.session
  session.userinfo = raw_info
  return [303, { location: origin }, null]
}

/** Here first, and then at the provider. */
async function logOut(req: Req): Promise<RackResponse> {
  const location = await logoutUrl(req, '/')
  req.session.reset()
  return [303, { location }, null]
}
