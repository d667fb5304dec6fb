import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { parseSetCookie } from 'cookie'
import { test } from 'tap'
import {
  Builder,
  cookies,
  csrf,
  flash,
  form,
  session,
  type App,
  type CsrfToken,
  type CookieJar,
  type CookiesOptions,
  type FlashHandle,
  type JsonValue,
  type RackResponse,
  type SessionHandle,
} from '../../lib/index.ts'
import { attributesOf } from '../server.ts'
import { vectorFiles, type Vector, type VectorConfig, type VectorFile } from '../vectors.ts'

type Data = Record<string, JsonValue | undefined>

/** A request to a whole Rails::Application, and what it answered. */
interface FullApp extends Vector {
  load_defaults: string
  request: {
    method: string
    path: string
    params: Record<string, string> | null
    cookie_header: string | null
    headers: Record<string, string>
  }
  status: number
  body: string
  set_cookies: string[]
  session_json: string | null
}

type Req = IncomingMessage & {
  cookies: CookieJar
  session: SessionHandle<Data>
  flash: FlashHandle<Data>
  csrfToken: CsrfToken
}

let now = 0

/** What a setting of Rails, as it comes out of `load_defaults`, is here. */
function optionsOf({ env_config: env, configs }: VectorFile): CookiesOptions {
  const setting = (name: string): unknown => env[`action_dispatch.${name}`]
  return {
    secret: (configs['c1'] as VectorConfig).secret_key_base,
    keyDigest: String(env['key_generator_hash_digest_class']).endsWith('SHA1') ? 'SHA1' : 'SHA256',
    signedDigest: (setting('signed_cookie_digest') ?? 'SHA1') as 'SHA1',
    // what was written without metadata says for no name that it is for it
    requirePurpose: setting('use_cookies_with_metadata') === true,
    sameSite: (setting('cookies_same_site_protection') ?? null) as 'lax' | null,
    clock: () => now,
  }
}

/** The application that answered, in TypeScript. */
async function controller(req: Req): Promise<RackResponse> {
  const { pathname, searchParams } = new URL(req.url ?? '', 'http://www.example.com')
  const param = (name: string): string => searchParams.get(name) ?? ''
  const all = async (): Promise<object> => {
    const hash = await req.session
    return { ...(req.session.id !== undefined && { session_id: req.session.id }), ...hash }
  }
  switch (pathname) {
    case '/read':
      return json(await all())
    case '/write': {
      const hash = await req.session
      hash[param('key')] = searchParams.has('json') ? (JSON.parse(param('json')) as JsonValue) : param('value')
      return json(await all())
    }
    case '/flash': {
      const messages = await req.flash
      const answer = { flash: { ...messages }, session: await all() }
      if (searchParams.has('set')) messages['notice'] = param('set')
      return json(answer)
    }
    case '/form': {
      const perForm = await req.csrfToken({ action: param('action_path'), method: param('form_method') })
      return json({ token: await req.csrfToken(), per_form_token: perForm })
    }
    case '/cookies': {
      const [plain, signed, encrypted] = ['plain', 'signed', 'encrypted'].map((kind) => `${param('name')}_${kind}`)
      const jar = req.cookies
      const answer = {
        plain: jar.get(plain as string) ?? null,
        signed: jar.signed.get(signed as string) ?? null,
        encrypted: jar.encrypted.get(encrypted as string) ?? null,
      }
      if (searchParams.has('value')) {
        jar.set(plain as string, param('value'))
        jar.signed.set(signed as string, param('value'), { httpOnly: true })
        jar.encrypted.set(encrypted as string, param('value'), { httpOnly: true })
      }
      return json(answer)
    }
    case '/protected':
      return json({ ok: true, method: req.method, path: '/protected' })
    case '/reset':
      req.session.reset()
      return json(await all())
    default:
      throw new Error(`the Rails application has no ${pathname}`)
  }
}

const json = (value: unknown): RackResponse => [200, {}, JSON.stringify(value)]

/** Ours beside a Rails application with these settings. */
function appOf(file: VectorFile): App {
  const options = optionsOf(file)
  const tokens = file.env_config['forgery_protection_verification_strategy'] !== 'header_only'
  return (
    new Builder()
      .use(cookies(options))
      // Rails sends its session over plain http to any host
      .use(session<Data>({ key: '_full_session', sameSite: options.sameSite as 'lax' | null, secure: false }))
      .use(flash<Data>())
      .use(form())
      .use(csrf({ tokens, strategy: () => [422, {}, '{"ok":false}'], log: false }))
      .run(controller)
  )
}

interface Answer {
  status: number
  body: unknown
  /** Set-Cookie lines. */
  lines: string[]
}

/** One request, without a socket. */
async function ask(
  app: App,
  { method, path, params, cookie_header: cookie, headers }: FullApp['request'],
): Promise<Answer> {
  const body = params === null ? '' : new URLSearchParams(params).toString()
  const named = Object.entries(headers).map(([name, value]) => [
    name
      .replace(/^HTTP_/, '')
      .replaceAll('_', '-')
      .toLowerCase(),
    value,
  ])
  const req = Object.assign(new IncomingMessage(new Socket()), {
    method,
    url: path,
    headers: {
      host: 'www.example.com',
      ...(cookie !== null && { cookie }),
      ...(Object.fromEntries(named) as Record<string, string>),
      ...(body && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': `${body.length}` }),
    },
  })
  if (body) req.push(body)
  req.push(null)
  const [status, sent, answer] = await app(req)
  return {
    status,
    body: JSON.parse(answer as string) as unknown,
    lines: (sent['set-cookie'] ?? []) as string[],
  }
}

const get = (path: string, cookie: string | null): FullApp['request'] => ({
  method: 'GET',
  path,
  params: null,
  cookie_header: cookie,
  headers: {},
})

/** The session's line, and the pair that a browser sends back. */
function sessionIn(lines: string[]): { line: string; pair: string } | undefined {
  const line = lines.find((one) => one.startsWith('_full_session='))
  return line === undefined ? undefined : { line, pair: line.split(';')[0] as string }
}

/** What Rails and we may well make differently: ids and CSRF tokens that are new. */
function withoutRandom(value: unknown): unknown {
  const text = JSON.stringify(value)
  return JSON.parse(
    text
      .replace(/"session_id":"[\da-f]{32}"/g, '"session_id":"…"')
      .replace(/"(_csrf_token)":"[\w+/-]{43}=?"/g, '"$1":"…"'),
  ) as unknown
}

// Where we do not answer as Rails did. Nothing else may differ.
const exceptions: { reason: string; when: (vector: FullApp) => boolean; status: number; body: unknown }[] = [
  {
    reason: 'a session that is reset and left empty is no session; Rails keeps an empty one under a new id',
    when: ({ label }) => label === 'reset',
    status: 200,
    body: {},
  },
  {
    reason: 'a token of this session is proof, wherever its page came from; Rails also wants the Origin to be its own',
    // from 8.2 on there are no tokens, and another origin is refused here, too
    when: ({ label, load_defaults }) => label === 'protected, wrong origin' && load_defaults !== '8.2',
    status: 200,
    body: { ok: true, method: 'POST', path: '/protected' },
  },
  {
    reason: 'Rails 6.1 ignores what follows after the last part of a message',
    when: ({ rails, label }) => rails.startsWith('6.1') && /^tampered: parts: .* at the end$/.test(label),
    status: 200,
    body: {},
  },
  {
    reason: 'where Rails raised an error, an empty session is the sane answer',
    when: ({ status }) => status === 500,
    status: 200,
    body: {},
  },
]

const exceptionFor = (vector: FullApp): (typeof exceptions)[number] | undefined =>
  exceptions.find(({ when }) => when(vector))

const about = ({ rails, load_defaults, label }: FullApp): string =>
  `Rails ${rails}, defaults of ${load_defaults}: ${label}`

const files = vectorFiles().filter(({ category }) => category.startsWith('fullapp-'))

function each(file: VectorFile): FullApp[] {
  return file.vectors.filter((vector): vector is FullApp => vector.kind === 'fullapp')
}

test('a Rails application and ours with the same settings give a browser the same pages, and leave it the same session', async (t) => {
  let compared = 0
  for (const file of files) {
    const app = appOf(file)
    for (const vector of each(file)) {
      now = Date.parse(vector.generated_at ?? '')
      const { status, body, lines } = await ask(app, vector.request)
      const excepted = exceptionFor(vector)
      const expected = excepted ?? { status: vector.status, body: JSON.parse(vector.body) as unknown }
      t.equal(status, expected.status, about(vector))
      // of a refusal, and of tokens, the next tests speak
      if (vector.label !== 'form' && status === 200) t.same(withoutRandom(body), withoutRandom(expected.body))
      compared++

      // what the browser then holds, as ours reads it: what Rails wrote, and what we did, or left as it was
      const ours = sessionIn(lines)
      if (vector.label === 'reset') t.match(ours?.line, /^_full_session=; Max-Age=0;/, 'and the cookie is forgotten')
      if (excepted || vector.session_json === null) continue
      const written = JSON.parse(vector.session_json) as object
      const railsCookie = sessionIn(vector.set_cookies)?.pair ?? ''
      t.same((await ask(app, get('/read', railsCookie))).body, written, `${about(vector)}: what Rails wrote`)
      const kept = await ask(app, get('/read', ours?.pair ?? vector.request.cookie_header))
      t.same(withoutRandom(kept.body), withoutRandom(written), `${about(vector)}: what we left`)
    }
  }
  t.ok(compared >= 30, `${compared} requests`)
})

test('the id of a session that goes on is the same in both', async (t) => {
  let compared = 0
  for (const file of files) {
    const app = appOf(file)
    for (const vector of each(file)) {
      if (vector.request.cookie_header === null || vector.status !== 200 || exceptionFor(vector)) continue
      const { session_id: theirs } = JSON.parse(vector.body) as { session_id?: string }
      if (theirs === undefined) continue
      now = Date.parse(vector.generated_at ?? '')
      const { body } = await ask(app, vector.request)
      t.equal((body as { session_id?: string }).session_id, theirs, about(vector))
      compared++
    }
  }
  t.ok(compared >= 3, `${compared} sessions`)
})

test("the session's cookie has the attributes of Rails', which its settings explain", async (t) => {
  let compared = 0
  for (const file of files) {
    const app = appOf(file)
    now = Date.parse('2026-01-01T00:00:00Z')
    const { lines } = await ask(app, get('/write?key=a&value=b', null))
    const ours = comparable(sessionIn(lines)?.line ?? '')
    const protection = file.env_config['action_dispatch.cookies_same_site_protection']
    t.same(ours, { httponly: true, path: '/', ...(protection !== null && { samesite: protection }) })
    for (const vector of each(file)) {
      const theirs = sessionIn(vector.set_cookies)
      if (theirs === undefined) continue
      t.same(comparable(theirs.line), ours, about(vector))
      compared++
    }
  }
  t.ok(compared >= 10, `${compared} cookies`)
})

/** Names and values in lower case, as browsers take them. */
function comparable(line: string): Record<string, string | true> {
  const attributes = Object.entries(attributesOf(line))
  return Object.fromEntries(attributes.map(([name, value]) => [name, value === true ? value : value.toLowerCase()]))
}

test('the other cookies of a Rails application are read here, and ours say what its own do', async (t) => {
  let compared = 0
  for (const file of files) {
    const app = appOf(file)
    for (const vector of each(file).filter(({ label }) => label === 'cookies')) {
      now = Date.parse(vector.generated_at ?? '')
      const { lines } = await ask(app, vector.request)
      const cookie = vector.set_cookies.map((line) => line.split(';')[0]).join('; ')
      const { body } = await ask(app, get('/cookies?name=pref', cookie))
      // Rails escapes a plain cookie as forms are, by + for a space; in a cookie a + is a +
      t.same(body, { plain: 'v+é', signed: 'v é', encrypted: 'v é' }, about(vector))

      const own = lines.map((line) => line.split(';')[0]).join('; ')
      const readBack = await ask(app, get('/cookies?name=pref', own))
      t.same(readBack.body, { plain: 'v é', signed: 'v é', encrypted: 'v é' }, `${about(vector)}: our own`)
      t.equal(lines.length, vector.set_cookies.length)
      for (const [i, theirs] of vector.set_cookies.entries()) {
        const ours = lines[i] as string
        t.same([nameOf(ours), comparable(ours)], [nameOf(theirs), comparable(theirs)], about(vector))
      }
      // ours names the purpose always, Rails unless it was told not to
      const [plain, signed] = [0, 1].map((i) =>
        [lines[i], vector.set_cookies[i]].map((line) => valueOf(line as string)),
      )
      t.same(plain, ['v%20%C3%A9', 'v+%C3%A9'])
      if (optionsOf(file).requirePurpose === true) t.equal(signed?.[0], signed?.[1], 'the same bytes')
      compared++
    }
  }
  t.ok(compared >= 1, `${compared} applications`)
})

const nameOf = (line: string): string => line.slice(0, line.indexOf('='))
const valueOf = (line: string): string | undefined => parseSetCookie(line, { decode: (raw) => raw }).value

test('CSRF-03 CSRF-04 CSRF-06 the tokens of a page that Rails made are good here, and ours are those of Rails', async (t) => {
  let compared = 0
  for (const file of files) {
    const app = appOf(file)
    for (const vector of each(file).filter(({ label }) => label === 'form')) {
      now = Date.parse(vector.generated_at ?? '')
      const theirs = JSON.parse(vector.body) as { token: string; per_form_token: string }
      const cookie = sessionIn(vector.set_cookies)?.pair ?? null
      const { body } = await ask(app, { ...vector.request, cookie_header: cookie })
      const ours = body as typeof theirs
      t.equal(unmask(ours.token), unmask(theirs.token), about(vector))
      if (file.env_config['forgery_protection_verification_strategy'] === 'header_only') continue
      t.equal(unmask(ours.per_form_token), unmask(theirs.per_form_token), about(vector))
      for (const token of [theirs.token, theirs.per_form_token]) {
        const request = { ...get('/protected', cookie), method: 'POST' }
        const field = await ask(app, { ...request, params: { authenticity_token: token } })
        const header = await ask(app, { ...request, headers: { HTTP_X_CSRF_TOKEN: token } })
        const neither = await ask(app, request)
        t.same([field.status, header.status, neither.status], [200, 200, 422], about(vector))
      }
      compared++
    }
  }
  t.ok(compared >= 1, `${compared} pages`)
})

/** What stands in a token beneath its pad. */
function unmask(token: string): string {
  const bytes = Buffer.from(token, 'base64')
  return Buffer.from(bytes.subarray(0, 32).map((byte, i) => byte ^ (bytes[32 + i] as number))).toString('hex')
}
