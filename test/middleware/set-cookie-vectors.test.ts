import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { test } from 'tap'
import {
  Builder,
  cookies,
  session,
  type App,
  type CookieJar,
  type CookieOptions,
  type SameSite,
  type SessionOptions,
} from '../../lib/index.ts'
import { SECRET } from '../jar-app.ts'
import { attributesOf } from '../server.ts'
import { vectorFiles, type Vector } from '../vectors.ts'

interface Sent extends Vector {
  /** What was done, in Ruby; null for a session that was written. */
  calls: string | null
  url: string
  same_site_default: SameSite
  set_cookies: string[]
}

type Write = (jar: CookieJar) => unknown

// The calls that are more than one assignment, by their labels, as they are here.
const date = new Date(Date.UTC(2030, 0, 2, 3, 4, 5))
const calls: Record<string, Write> = {
  'array value with unsafe characters': (jar) => jar.set('x', ['a&b', 'c d'] as unknown as string),
  'the value it already has, with expires': (jar) => jar.set('x', 'v', { expires: date }),
  'permanent with attributes': (jar) => jar.permanent.set('x', 'v', { httpOnly: true }),
  'delete with domain :all': (jar) => jar.delete('x', { domain: 'all' }),
  'delete with all attributes': (jar) =>
    jar.delete('x', { path: '/p', domain: 'example.com', secure: true, httpOnly: true, sameSite: 'none' }),
  'set then delete': (jar) => [jar.set('x', 'v'), jar.delete('x')],
  'delete then set': (jar) => [jar.delete('x'), jar.set('x', 'w')],
  several: (jar) => [jar.set('b', '1'), jar.set('a', '2'), jar.delete('c')],
}

/** The call of a vector: by its label, or else read from the Ruby. */
function callOf({ label, calls: ruby }: Sent): Write {
  const known = calls[label]
  if (known !== undefined) return known
  const [, permanent, quoted, symbol, text] =
    /^cookies(\.permanent)?\[(?:'([^']*)'|:(\w+))\] = (?:"([^"]*)"|'v')$/.exec(ruby ?? '') ?? []
  const name = quoted ?? symbol
  if (name !== undefined) {
    const value = JSON.parse(`"${text ?? 'v'}"`) as string
    return (jar) => (permanent === undefined ? jar : jar.permanent).set(name, value)
  }
  const [, removed] = /^cookies\.delete\(:(\w+)\)$/.exec(ruby ?? '') ?? []
  if (removed !== undefined) return (jar) => jar.delete(removed)
  const [, hash] = /^cookies\[:x\] = \{ value: "v" \}\.merge\(\{(.*)\}\)$/.exec(ruby ?? '') ?? []
  const options = hash ?? (ruby?.startsWith('domain: :all') === true ? ruby : undefined)
  if (options !== undefined) return (jar) => jar.set('x', 'v', optionsOf(options))
  throw new Error(`no call for "${label}": ${ruby}`)
}

/** Options as Ruby prints them, `{:path=>"/p", :max_age=>9}` or `{path: "/p"}`, as they are here. */
function optionsOf(hash: string): CookieOptions {
  const options: Record<string, unknown> = {}
  const pair = /:?(\w+)(?:=>|: )(\[.*?\]|".*?"|:\w+|\d{4}-[^,}]+UTC|\w+)/g
  for (const [, name = '', ruby = ''] of hash.matchAll(pair)) {
    let value: unknown = ruby.replace(/^:/, '')
    if (/^["[]/.test(ruby) || /^(?:\d+|true|false)$/.test(ruby)) value = JSON.parse(ruby)
    else if (ruby === 'nil') value = null
    else if (ruby.endsWith(' UTC')) value = new Date(ruby)
    Object.assign(options, rename(name, value))
  }
  return options
}

/** One of Rails' options of a cookie, or of a session, as it is here. */
function rename(name: string, value: unknown): Record<string, unknown> {
  switch (name) {
    case 'same_site':
      return { sameSite: typeof value === 'string' ? value.toLowerCase() : null }
    case 'httponly':
      return { httpOnly: value }
    case 'max_age':
      return { maxAge: value }
    case 'tld_length':
      return { tldLength: value }
    case 'expire_after':
      return { expireAfter: value }
    case 'expires':
      return { expires: value instanceof Date ? value : new Date(String(value)) }
    default:
      return { [name]: value }
  }
}

// Where our lines are others. Nothing else may differ.
const exceptions: { reason: string; when: (vector: Sent) => boolean; ours: string[] | RegExp }[] = [
  {
    reason: 'browsers drop a cookie with SameSite=None that is not secure; Rails sends it, here it is an error',
    when: ({ label }) => /same_site (default )?none$/.test(label),
    ours: /InvalidOptionError.*sameSite/,
  },
  {
    reason: 'a name is a token (RFC 6265); Rails escaped others until 8.0, into names that nobody else unescapes',
    when: ({ label }) => /^(odd|bracket|unicode) name$/.test(label),
    ours: /InvalidOptionError.*no token/,
  },
  {
    reason: 'a cookie holds text; Rails joins a list in a way that no list comes back from',
    when: ({ label }) => label.startsWith('array value'),
    ours: /TypeError.*takes a string/,
  },
  {
    reason: 'of one cookie one line, the last; from Rails 7.2 on both are sent',
    when: ({ label, rails }) => label === 'set then delete' && !rails.startsWith('6.1'),
    ours: ['x=; path=/; max-age=0; expires=Thu, 01 Jan 1970 00:00:00 GMT; samesite=lax'],
  },
  {
    reason: 'null sends no SameSite; Rails 6.1 then takes the default',
    when: ({ label, rails }) => /same_site (nil|false)$/.test(label) && rails.startsWith('6.1'),
    ours: ['x=v; path=/'],
  },
  {
    reason: 'Rails 6.1 knows no partitioned cookies',
    when: ({ label, rails }) => label === 'options over https: partitioned' && rails.startsWith('6.1'),
    ours: ['x=v; path=/; secure; samesite=lax; partitioned'],
  },
  {
    reason: 'a session that ends at once is none',
    when: ({ label }) => label.endsWith('expire_after zero'),
    ours: /InvalidOptionError.*expireAfter/,
  },
  {
    reason: 'a session ends after its idle time, not at a date',
    when: ({ label }) => label.endsWith('expires option'),
    ours: ['_myapp_session=…; path=/; httponly; samesite=lax'],
  },
]

/** A request at a vector's time and URL, without a socket: the Set-Cookie lines, or what was thrown. */
async function linesOf(vector: Sent): Promise<string[] | string> {
  const url = new URL(vector.url)
  const forwarded = { scheme: url.protocol.slice(0, -1) as 'http', host: url.host, address: '192.0.2.1' }
  const headers = { host: url.host, ...(vector.cookie_header !== undefined && { cookie: vector.cookie_header }) }
  const req = Object.assign(new IncomingMessage(new Socket()), { url: '/', method: 'GET', headers, forwarded })
  try {
    const [, sent] = await appOf(vector)(req)
    return (sent['set-cookie'] ?? []) as string[]
  } catch (error) {
    return String(error)
  }
}

function appOf(vector: Sent): App {
  const jar = cookies({
    secret: SECRET,
    sameSite: vector.same_site_default,
    clock: () => Date.parse(vector.now ?? ''),
  })
  if (vector.calls !== null) {
    const call = callOf(vector)
    return jar((req) => {
      call(req.cookies)
      return [200, {}, '']
    })
  }
  return new Builder()
    .use(jar)
    .use(session<{ user_id: number }>(sessionOptions(vector)))
    .run(async (req) => {
      ;(await req.session).user_id = 1
      return [200, {}, '']
    })
}

/** Rails' options of a session as they are here, where its cookie lasts as long as the session. */
function sessionOptions(vector: Sent): SessionOptions<{ user_id: number }> {
  const given = Object.entries(vector.session_options ?? {}).map(([name, value]) => rename(name, value))
  const { expires: _, maxAge, ...options } = Object.assign({}, ...given) as Record<string, unknown>
  // Rails sends a session over plain http to any host
  return { key: '_myapp_session', secure: false, expireAfter: maxAge as number, ...options }
}

/** A line in the form in which two of them can be compared: the value decoded, and one moment of expiry. */
function comparable(line: string, now: number): Record<string, unknown> {
  const { 'max-age': age, expires, domain, ...rest } = attributesOf(line.toLowerCase())
  const [name, raw = ''] = (line.split(';')[0] as string).split('=')
  const until = age === undefined ? Date.parse(String(expires)) : Number(age) === 0 ? 0 : now + Number(age) * 1000
  return {
    name,
    // Rails writes a space as +, and a + as %2B
    value: name === '_myapp_session' ? '…' : decodeURIComponent(raw.replaceAll('+', ' ')),
    until: Number.isNaN(until) ? undefined : until,
    // which browsers ignore, and which Rails 6.1 puts before a domain that it finds
    domain: typeof domain === 'string' ? domain.replace(/^\./, '') : undefined,
    ...rest,
  }
}

test('Set-Cookie lines say what those of Rails say', async (t) => {
  const files = vectorFiles(['set-cookie'])
  t.ok(files.length > 0)
  const used = new Set<string>()
  for (const { version, vectors } of files) {
    for (const vector of vectors as Sent[]) {
      const now = Date.parse(vector.now ?? '')
      const ours = await linesOf(vector)
      const excepted = exceptions.find(({ when }) => when(vector))
      if (excepted) used.add(excepted.reason)
      const expected = excepted?.ours ?? vector.set_cookies
      const about = `Rails ${version}: ${vector.label}${excepted ? ` (${excepted.reason})` : ''}`
      if (expected instanceof RegExp || typeof ours === 'string') t.match(ours, expected, about)
      else
        t.same(
          ours.map((line) => comparable(line, now)),
          expected.map((line) => comparable(line, now)),
          about,
        )
    }
  }
  t.ok(used.size >= 5, 'the exceptions are met')
})
