import { tokenOf, type FakePage } from './fake-page.ts'

export const ISSUER = 'https://id.example/realm'

export const CLIENT = 'app'

interface Asked {
  readonly url: string
  readonly method: string
  /** What the browser is to do where it is sent elsewhere. */
  readonly redirect: string | undefined
  readonly body: URLSearchParams
}

interface Init {
  readonly method?: string
  readonly redirect?: string
  readonly body?: string
  readonly signal: AbortSignal
}

/** What a provider answers a page, of which tests change a part. The browser's way through it is left to the test. */
export class FakeProvider {
  /** What it says of itself, beside what it must. */
  configuration: object = {}
  /** What its tokens say, beside what they must. */
  claims: object = {}
  /** What it answers instead, for an address that ends so. */
  readonly instead: Map<string, () => Response | Promise<Response>> = new Map()
  readonly asked: Asked[] = []
  readonly #page: FakePage

  constructor(page: FakePage) {
    this.#page = page
    page.fetch = (url, init) => this.#answer(url, init as Init)
  }

  /** The address at which the page last asked for a login, in its parts. */
  get authorization(): URL {
    return new URL(this.#page.visited.at(-1) ?? 'about:blank')
  }

  /** The browser comes back, with the state of the login unless the test says otherwise. */
  sendBack(parameters: Record<string, string> = {}): void {
    const { searchParams } = this.authorization
    const back = new URL(searchParams.get('redirect_uri') ?? '')
    const usual = { code: 'c0d3-4711', state: searchParams.get('state') ?? '' }
    for (const [name, value] of Object.entries({ ...usual, ...parameters })) back.searchParams.set(name, value)
    this.#page.location.href = back.href
  }

  async #answer(url: string, { method = 'GET', redirect, body, signal }: Init): Promise<Response> {
    this.asked.push({ url, method, redirect, body: new URLSearchParams(body) })
    signal.throwIfAborted()
    for (const [end, answer] of this.instead) if (url.endsWith(end)) return answer()
    if (url === `${ISSUER}/.well-known/openid-configuration`) {
      return Response.json({
        issuer: ISSUER,
        authorization_endpoint: `${ISSUER}/auth?tenant=1`,
        token_endpoint: `${ISSUER}/token`,
        end_session_endpoint: `${ISSUER}/logout`,
        ...this.configuration,
      })
    }
    const now = this.#page.secondsFromNow(0)
    const id_token = tokenOf({
      iss: ISSUER,
      sub: 'ada',
      aud: CLIENT,
      iat: now,
      exp: now + 3600,
      nonce: this.authorization.searchParams.get('nonce'),
      ...this.claims,
    })
    return Response.json({ access_token: 'opaque', token_type: 'Bearer', id_token })
  }
}
