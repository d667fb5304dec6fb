// A real OpenID provider, on this machine alone, for the examples and their tests. It forgets everything at its end.
import { generateKeyPair, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import OidcProvider, {
  type ClientMetadata,
  type Configuration,
  type InteractionResults,
  type JWK,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import { listen } from '../listen.ts'
import { messagePage, signInPage, signOutPage } from './pages.ts'
import { PEOPLE } from './people.ts'

export interface ProviderOptions {
  /** The applications that may send people here, as oidc-provider takes them: `redirect_uris` and so on. */
  readonly clients: ClientMetadata[]
  /** Default 0: any. */
  readonly port?: number | undefined
  /** Seconds that ID tokens and access tokens live. Default 3600. */
  readonly ttl?: number | undefined
}

export interface Provider {
  /** Its address: `http://127.0.0.1:4000`. */
  readonly issuer: string
  close(): Promise<void>
}

const DAY = 24 * 3600

/**
 * Starts it. Applications belong on `localhost`: cookies do not tell ports apart, but they do tell that host from
 * 127.0.0.1. Nobody is asked for consent, as it is with applications of the provider's own house.
 */
export async function startProvider({ clients, port = 0, ttl = 3600 }: ProviderOptions): Promise<Provider> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const server = createServer()
  const listening = await listen(server, port)
  const issuer = `http://127.0.0.1:${listening.port}`
  const provider = new OidcProvider(issuer, configurationOf(clients, ttl, privateKey.export({ format: 'jwk' })))
  provider.on('server_error', (_ctx, error: unknown) => console.error(error))
  addPages(provider)
  const listener = provider.callback()
  server.on('request', (req, res) => void listener(req, res))
  return { issuer, close: () => listening.close() }
}

function configurationOf(clients: ClientMetadata[], ttl: number, key: JWK): Configuration {
  return {
    clients,
    jwks: { keys: [{ ...key, use: 'sig', alg: 'RS256' }] },
    claims: {
      openid: ['sub'],
      profile: ['name', 'given_name', 'family_name', 'nickname', 'groups'],
      email: ['email', 'email_verified'],
    },
    // so that the ID token tells the name too, where pages have nothing else to show
    conformIdTokenClaims: false,
    findAccount(_ctx, sub) {
      const person = PEOPLE.find(({ claims }) => claims.sub === sub)
      return person && { accountId: sub, claims: () => ({ ...person.claims }) }
    },
    pkce: { required: () => true },
    // a page may ask for tokens from where its application is
    clientBasedCORS: (_ctx, origin, client) => originsOf(client.redirectUris).includes(origin),
    cookies: {
      names: { session: 'provider_session' },
      keys: [randomBytes(32).toString('hex')],
      long: { signed: true, httpOnly: true, sameSite: 'lax' },
      short: { signed: true, httpOnly: true, sameSite: 'lax' },
    },
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    loadExistingGrant: grantOf,
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource(ctx, form) {
          const { session, params, entities } = ctx.oidc
          const asks = entities.IdTokenHint?.payload['sub'] !== session?.accountId
          show(ctx, 200, signOutPage(form, asks), originsOf([params?.['post_logout_redirect_uri']]))
        },
        postLogoutSuccessSource: (ctx) => show(ctx, 200, messagePage('Signed out', 'You are signed out.')),
      },
    },
    renderError(ctx, { error, error_description: why = '' }) {
      show(ctx, ctx.status, messagePage('That did not work', `${error}: ${why}`))
    },
    ttl: {
      AccessToken: ttl,
      IdToken: ttl,
      AuthorizationCode: 60,
      Interaction: 3600,
      RefreshToken: DAY,
      Session: DAY,
      Grant: DAY,
    },
  }
}

/** What an application may know: all that it asks for. */
async function grantOf({ oidc }: KoaContextWithOIDC): Promise<InstanceType<OidcProvider['Grant']>> {
  const grant = new oidc.provider.Grant({ clientId: oidc.client?.clientId, accountId: oidc.session?.accountId })
  grant.addOIDCScope('openid profile email offline_access')
  await grant.save()
  return grant
}

/** Adds the page on which people say who they are, and what the pages load. */
function addPages(provider: OidcProvider): void {
  const files: Readonly<Record<string, string>> = { '/page.css': 'text/css', '/sign-out.js': 'text/javascript' }
  provider.use(async (ctx, next) => {
    const type = Object.hasOwn(files, ctx.path) ? files[ctx.path] : undefined
    if (type !== undefined) {
      ctx.type = type
      ctx.body = read(ctx.path.slice(1))
      return
    }
    if (!ctx.path.startsWith('/interaction/')) {
      await next()
      return
    }
    const interaction = await provider.interactionDetails(ctx.req, ctx.res).catch(() => undefined)
    if (interaction === undefined) {
      show(ctx, 400, messagePage('That did not work', 'This sign-in is over. Begin again in the application.'))
      return
    }
    const { prompt, params } = interaction
    const isLogin = prompt.name === 'login'
    // consent is asked for by name where an application wants refresh tokens
    const result = isLogin ? await signIn(ctx, originsOf([params['redirect_uri']])) : { consent: {} }
    if (result === undefined) return
    const options = { mergeWithLastSubmission: !isLogin }
    ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result, options))
    ctx.status = 303
  })
}

type Context = Parameters<Parameters<OidcProvider['use']>[0]>[0]

/** Who it is; or `undefined`, and the form. */
async function signIn(ctx: Context, application: readonly string[]): Promise<InteractionResults | undefined> {
  const [origin = ''] = application
  if (ctx.method !== 'POST') {
    show(ctx, 200, signInPage(origin), application)
    return undefined
  }
  const form = new URLSearchParams(await text(ctx.req))
  if (form.has('cancel')) return { error: 'access_denied', error_description: 'The sign-in was cancelled.' }
  const name = form.get('name') ?? ''
  const person = PEOPLE.find(({ login, password }) => login === name && password === form.get('password'))
  if (person !== undefined) return { login: { accountId: person.claims.sub } }
  show(ctx, 401, signInPage(origin, name, 'There is nobody of that name with that password.'), application)
  return undefined
}

/** Answers with a page. `goesTo`: the origins that its form leads to in the end, which its policy must allow. */
function show(
  ctx: Pick<KoaContextWithOIDC, 'status' | 'type' | 'body' | 'set'>,
  status: number,
  html: string,
  goesTo: readonly string[] = [],
): void {
  ctx.status = status
  ctx.type = 'html'
  ctx.set({
    'cache-control': 'no-store',
    'content-security-policy':
      "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; base-uri 'none'; " +
      `frame-ancestors 'none'; form-action ${["'self'", ...goesTo].join(' ')}`,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  })
  ctx.body = html
}

function originsOf(addresses: readonly unknown[] = []): string[] {
  return addresses.filter((address) => typeof address === 'string').map((address) => new URL(address).origin)
}

/** They are served as they are written, and stand beside this file's source. */
function read(name: string): string {
  return readFileSync(new URL(`../../../examples/openid-provider/${name}`, import.meta.url), 'utf8')
}
