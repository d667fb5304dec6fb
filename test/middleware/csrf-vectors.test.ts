import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { test } from 'tap'
import { Builder, cookies, csrf, form, session, type App, type Forwarded } from '../../lib/index.ts'
import { configOf, railsOptions, vectorFiles, type Vector, type VectorConfig } from '../vectors.ts'

/** The settings of a Rails controller. */
interface Options {
  per_form_csrf_tokens: boolean
  forgery_protection_origin_check: boolean
  trusted_origins?: string[]
  verification_strategy?: 'header_only'
}

interface Verify extends Vector {
  options: Options
  cookie_header: string
  token: string | null
  request: {
    method: string
    path: string
    via: 'param' | 'header' | 'none'
    scheme: 'http' | 'https'
    host: string
    origin: string | null
    sec_fetch_site: string | null
  }
  accepted: boolean
}

const about = ({ id, label }: Vector): string => `${id} ${label}`

/** Deriving keys takes milliseconds. */
const apps = new Map<string, App>()

function appOf(config: VectorConfig, { trusted_origins = [], verification_strategy }: Options): App {
  const name = JSON.stringify([config, trusted_origins, verification_strategy])
  const known = apps.get(name)
  if (known) return known
  const app = new Builder()
    .use(cookies({ ...railsOptions(config), requirePurpose: false }))
    .use(session({ key: config.cookie_name, secure: false }))
    .use(form())
    .use(
      csrf({
        trustedOrigins: trusted_origins,
        tokens: verification_strategy !== 'header_only',
        strategy: () => [422, {}, 'refused'],
        log: false,
      }),
    )
    .run(() => [200, {}, 'accepted'])
  apps.set(name, app)
  return app
}

/** One request without a socket. */
function requestOf(vector: Verify): IncomingMessage {
  const { method, path, via, scheme, host, origin, sec_fetch_site: site } = vector.request
  const forwarded: Forwarded = { scheme, host, address: '192.0.2.1' }
  const body = via === 'param' ? new URLSearchParams({ authenticity_token: vector.token ?? '' }).toString() : ''
  const req = Object.assign(new IncomingMessage(new Socket()), {
    method,
    url: path,
    forwarded,
    headers: {
      host,
      ...(vector.cookie_header && { cookie: vector.cookie_header }),
      ...(origin === null ? {} : { origin }),
      ...(site === null ? {} : { 'sec-fetch-site': site }),
      ...(via === 'header' && { 'x-csrf-token': vector.token ?? '' }),
      ...(body && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': `${body.length}` }),
    },
  })
  if (body) req.push(body)
  req.push(null)
  return req
}

// Where we do not decide as Rails did. Nothing else may differ.
const exceptions: { reason: string; ours: boolean; applies: (vector: Verify) => boolean }[] = [
  {
    reason: 'OPTIONS promises to change nothing (RFC 9110, section 9.2.1), and CORS sends it without a token',
    ours: true,
    applies: ({ request }) => request.method === 'OPTIONS',
  },
  {
    reason: 'Sec-Fetch-Site: same-origin is enough; before 8.2 Rails did not look at it',
    ours: true,
    applies: ({ rails, request }) => !rails.startsWith('8') && request.sec_fetch_site?.toLowerCase() === 'same-origin',
  },
  {
    reason: 'Sec-Fetch-Site: cross-site is refused whatever the token; before 8.2 Rails did not look at it',
    ours: false,
    applies: ({ rails, request }) => !rails.startsWith('8') && request.sec_fetch_site === 'cross-site',
  },
  {
    reason: 'same-site is another origin, which a subdomain can be: it needs a token, where Rails 8.2 lets it pass',
    ours: false,
    applies: ({ request }) => request.sec_fetch_site === 'same-site' && request.via === 'none',
  },
  {
    reason: 'an Origin that is our own is enough, where Rails without tokens wants Sec-Fetch-Site over https',
    ours: true,
    applies: ({ options, request }) =>
      options.verification_strategy === 'header_only' && request.origin === `${request.scheme}://${request.host}`,
  },
  {
    reason: 'a trusted origin passes, which Rails refuses where it also checks that the origin is its own',
    ours: true,
    applies: ({ options, request }) => options.trusted_origins?.includes(request.origin ?? '') === true,
  },
  {
    reason: 'an Origin that is not our own needs a token and no more, where Rails can be set to refuse it with one too',
    ours: true,
    applies: ({ options, request }) =>
      options.forgery_protection_origin_check &&
      options.verification_strategy === undefined &&
      request.origin !== null &&
      request.via !== 'none',
  },
]

test('CSRF-03 CSRF-04 CSRF-06 CSRF-12 CSRF-15 what Rails accepts is accepted, and what it refuses is refused', async (t) => {
  let checked = 0
  const used = new Set<string>()
  for (const { configs, vectors } of vectorFiles(['csrf'])) {
    for (const vector of vectors.filter((one): one is Verify => one.kind === 'csrf-verify')) {
      const config = configOf(configs, vector)
      const [status] = await appOf(config, vector.options)(requestOf(vector))
      const excepted = exceptions.find(({ applies }) => applies(vector))
      if (excepted) used.add(excepted.reason)
      const expected = excepted ? excepted.ours : vector.accepted
      t.equal(status, expected ? 200 : 422, `${about(vector)}${excepted ? ` (${excepted.reason})` : ''}`)
      checked++
    }
  }
  t.ok(checked > 50, `${checked} requests`)
  t.ok(used.size >= 2, 'the exceptions are met')
})

interface Issue extends Vector {
  options: Options
  session_csrf_token: string
  form_path: string
  global_tokens: string[]
  per_form_tokens: { action: string; method: string; token: string }[]
}

const unmask = (token: string): Buffer => {
  const bytes = Buffer.from(token, 'base64')
  return Buffer.from(bytes.subarray(0, 32).map((byte, i) => byte ^ (bytes[32 + i] as number)))
}

test('CSRF-06 CSRF-12 the tokens that we issue are those of Rails under another pad', async (t) => {
  let checked = 0
  for (const { configs, vectors } of vectorFiles(['csrf'])) {
    for (const vector of vectors.filter((one): one is Issue => one.kind === 'csrf-issue')) {
      const config = configOf(configs, vector)
      const asked = vector.options.per_form_csrf_tokens ? vector.per_form_tokens : []
      const app = new Builder()
        .use(cookies({ ...railsOptions(config), requirePurpose: false }))
        .use(session<{ _csrf_token: string }>({ key: config.cookie_name, secure: false }))
        .use(csrf())
        .run(async (req) => {
          const made = [await req.csrfToken()]
          for (const { action, method } of asked) made.push(await req.csrfToken({ action, method }))
          return [200, {}, JSON.stringify(made)]
        })
      const line = (vector.set_cookie ?? '').split(';')[0] as string
      const req = Object.assign(new IncomingMessage(new Socket()), {
        method: 'GET',
        url: vector.form_path,
        headers: { host: 'localhost', cookie: line },
      })
      const [, , body] = await app(req)
      const [global = '', ...forms] = JSON.parse(body as string) as string[]
      t.match(global, /^[\w-]{86}$/, 'url-safe, without padding')
      t.same(unmask(global), unmask(vector.global_tokens[0] as string), `${about(vector)} global`)
      for (const [i, { action, method, token }] of asked.entries()) {
        t.same(unmask(forms[i] as string), unmask(token), `${about(vector)} ${method} ${action}`)
        checked++
      }
    }
  }
  t.ok(checked >= 9, `${checked} forms`)
})
