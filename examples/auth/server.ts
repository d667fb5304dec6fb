// The Rails tutorial on signing in, with everything that it needs: npm run example auth
// The session is in a cookie; with STORE=sqlite it is in SQLite.
import { randomBytes } from 'node:crypto'
import { CookieStore, type SessionStore } from 'luggage-rack'
import { SqliteStore } from 'luggage-rack/stores/sqlite'
import { serve, type Example, type StartOptions } from '../example.ts'
import { authApp } from './app.ts'

const client = { clientId: 'rails-tutorial', clientSecret: 'known to the provider and to this application' }

/** @param store where the sessions are. Default: as `STORE` says */
export async function start(
  { port, startProvider, clock }: StartOptions,
  store: SessionStore = process.env.STORE === 'sqlite' ? new SqliteStore({ filename: ':memory:' }) : new CookieStore(),
): Promise<Example> {
  const url = `http://localhost:${port}`
  const provider = await startProvider({
    clients: [
      {
        client_id: client.clientId,
        client_secret: client.clientSecret,
        redirect_uris: [`${url}/auth/oauth2/callback`],
        post_logout_redirect_uris: [`${url}/`],
      },
    ],
  })
  const secret = process.env.SECRET_KEY_BASE ?? randomBytes(32).toString('hex')
  return serve(authApp({ issuer: provider.issuer, ...client, store, secret, clock }), port, provider)
}
