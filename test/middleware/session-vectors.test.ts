import { createDecipheriv } from 'node:crypto'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { parseSetCookie } from 'cookie'
import { test } from 'tap'
import { Builder, cookies, session, SessionId, type App, type RackHeaders, type Session } from '../../lib/index.ts'
import { configOf, railsOptions, vectorFiles, type Vector, type VectorConfig } from '../vectors.ts'

type Data = Record<string, unknown>

/** What the controller of the current request does with the session's hash. */
let act: (hash: Session<Data>) => unknown = () => undefined
let now = 0

/** Some of Rails' cookies have names that only https may set. */
const https = { scheme: 'https', host: 'localhost', address: '127.0.0.1' }

/** Deriving keys takes milliseconds, and there are thousands of vectors. */
const apps = new Map<string, App>()

function appOf(config: VectorConfig, key: string, requirePurpose: boolean): App {
  const name = JSON.stringify([config, key, requirePurpose])
  const known = apps.get(name)
  if (known) return known
  const app = new Builder()
    .use(
      cookies({
        ...railsOptions(config),
        clock: () => now,
        ...(requirePurpose ? {} : { requirePurpose }),
      }),
    )
    .use(session<Data>({ key }))
    .run(async (req) => {
      const hash = await req.session
      act(hash)
      return [200, { 'x-id': req.session.id }, JSON.stringify(hash)]
    })
  apps.set(name, app)
  return app
}

/** One request through cookies and session; without a socket, since there are thousands. */
async function ask(
  app: App,
  at: string | undefined,
  cookie?: string,
): Promise<[status: number, headers: RackHeaders, body: string]> {
  now = Date.parse(at ?? '')
  const headers = { host: 'localhost', ...(cookie === undefined ? {} : { cookie }) }
  const req = Object.assign(new IncomingMessage(new Socket()), { url: '/', method: 'GET', headers, forwarded: https })
  try {
    const [status, sent, body] = await app(req)
    return [status, sent, body as string]
  } catch (error) {
    return [500, {}, JSON.stringify(String(error))]
  }
}

function setCookie(headers: RackHeaders): { name: string; value: string | undefined } | undefined {
  const line = headers['set-cookie']
  return line === undefined ? undefined : parseSetCookie(String(line))
}

/** The session that Rails read, without what stands beside the data. */
function dataOf(json: string | null | undefined): Data {
  const data = JSON.parse(json ?? '{}') as Data
  delete data['session_id']
  return data
}

const about = ({ id, label }: Vector): string => `${id} ${label}`

// Where we do not do as Rails did. Nothing else may differ.
const exceptions: { reason: string; labels: RegExp; rails?: RegExp }[] = [
  {
    reason: 'Ruby reads comments, and unknown escapes such as \\q; JSON has neither',
    labels: /: inner (with (a )?comments?( inside)?|invalid escape)$/,
  },
  {
    reason:
      'newer versions of Ruby’s parser turn down a key that stands twice; JSON.parse takes the last, as older ones do',
    labels: /: inner duplicate (keys|session_id)$/,
  },
  { reason: 'a number beyond what a double holds, which Rails reads as Infinity', labels: /: inner number 1e400$/ },
  { reason: "Marshal, Ruby's own format, is turned down", labels: /^Marshal cookie, hybrid reader$/ },
  {
    reason: 'Rails 6.1 takes any object with the key _rails for an envelope, 7.1 and later what begins as one',
    labels:
      /: (envelope (keys in order|with a space|and a further key before)|session whose user data has a _rails key$|rails-key$|new envelope with)/,
    rails: /^6\.1/,
  },
  {
    reason: 'Rails 6.1 takes an expiry of false for one that is over',
    labels: /: envelope exp false$/,
    rails: /^6\.1/,
  },
  {
    reason: 'Rails 6.1 ignores what follows after the last part of a message',
    labels: /: parts: (separator at the end|one more at the end|twice the whole|a copy of the tag at the end)$/,
    rails: /^6\.1/,
  },
]

function excepted({ label, rails }: Vector): (typeof exceptions)[number] | undefined {
  return exceptions.find((one) => one.labels.test(label) && (one.rails === undefined || one.rails.test(rails)))
}

test('the sessions of Rails are read as Rails reads them, and what it turns down is an empty session', async (t) => {
  for (const { version, category, configs, vectors } of vectorFiles([
    'read-valid',
    'tampered',
    'cross',
    'crafted',
    'expiry',
  ])) {
    const reads = vectors.filter(({ kind }) => kind === 'session-read')
    const wrong = []
    act = () => undefined
    for (const vector of reads) {
      const app = appOf(configOf(configs, vector), vector.cookie_name ?? '', false)
      const [status, , body] = await ask(app, vector.now, vector.cookie_header)
      const { accepted, error, session_json } = vector.expect ?? {}
      const expected = accepted === true && error === null ? dataOf(session_json) : {}
      const answer = JSON.parse(body) as unknown
      // as JSON, which writes -0 as 0
      const same = status === 200 && isDeepStrictEqual(answer, JSON.parse(JSON.stringify(expected)))
      if (same || (status === 200 && excepted(vector))) continue
      wrong.push(`${about(vector)}: ${status} ${body.slice(0, 150)}`)
    }
    t.same(wrong, [], `Rails ${version}, ${category}: ${reads.length}`)
  }
})

test('by default a cookie without an envelope, or without a purpose, is refused', async (t) => {
  let refused = 0
  for (const { version, category, configs, vectors } of vectorFiles(['read-valid', 'cross', 'crafted', 'expiry'])) {
    const wrong = []
    for (const vector of vectors.filter(({ kind }) => kind === 'session-read')) {
      const config = configOf(configs, vector)
      const key = vector.cookie_name ?? ''
      const [, , lenient] = await ask(appOf(config, key, false), vector.now, vector.cookie_header)
      const answer = await ask(appOf(config, key, true), vector.now, vector.cookie_header)
      const bare = vector['plaintext'] === undefined ? undefined : purposeIn(vector['plaintext'])
      if (answer[2] === '{}' && lenient !== '{}') refused++
      // what is read at all is read the same, and only if it says that it is for this very cookie
      const right = answer[2] === '{}' || (answer[2] === lenient && (bare === undefined || bare === `cookie.${key}`))
      if (answer[0] !== 200 || !right) wrong.push(`${about(vector)}: ${answer[2]}`)
    }
    t.same(wrong, [], `Rails ${version}, ${category}`)
  }
  t.ok(refused > 10, `${refused} that Rails reads are refused`)
})

// Where we read a session in a header in which Rails finds none; never the other way round.
const lenient: { reason: string; labels: RegExp }[] = [
  {
    reason: 'of several session cookies the first that opens counts, since a subdomain can toss one before ours',
    labels: /: twice, (bad|empty) first$/,
  },
  {
    reason: 'white space around names and values is not part of them (RFC 6265bis, section 5.6)',
    labels: /: (a )?(space|tab) (before|after|at|between) (the )?(name|equals sign|end|semicolon|cookies)$/,
  },
  {
    reason: 'a + in a cookie is a +; Rails reads it as a space, as in a form',
    labels: /: (not escaped at all|only slashes and equals signs escaped)$/,
  },
]

test('a Cookie header is read as Rails reads it, or with more patience', async (t) => {
  const files = vectorFiles(['cookie-header-in'])
  t.ok(files.length > 0)
  for (const { version, configs, vectors } of files) {
    const wrong = []
    let more = 0
    act = () => undefined
    // all headers carry one of these
    const sessions = new Set(vectors.map(({ expect }) => JSON.stringify(dataOf(expect?.session_json))))
    for (const vector of vectors) {
      const app = appOf(configOf(configs, vector), vector.cookie_name ?? '', false)
      const [status, , body] = await ask(app, vector.now, vector.cookie_header)
      const expected = JSON.stringify(dataOf(vector.expect?.session_json))
      const excepted = lenient.some(({ labels }) => labels.test(vector.label)) && expected === '{}'
      if (excepted) more++
      const right = excepted ? body !== '{}' && sessions.has(body) : body === expected
      if (status !== 200 || !right) wrong.push(`${about(vector)}: ${status} ${body.slice(0, 150)}`)
    }
    t.same(wrong, [], `Rails ${version}: ${vectors.length} headers, ${more} read though Rails does not`)
  }
})

/** What a plaintext is for; null where it does not say. */
function purposeIn(plaintext: string): unknown {
  try {
    const { _rails } = JSON.parse(plaintext) as { _rails?: { pur?: unknown } }
    return _rails?.pur ?? null
  } catch {
    return null
  }
}

/** Opens an encrypted cookie without our own code: AES-256-GCM with the key that Rails derived. */
function decrypt(value: string, config: VectorConfig): string {
  const key = Buffer.from(config.derived_keys_hex[config.authenticated_encrypted_cookie_salt] ?? '', 'hex')
  const [data, iv, tag] = decodeURIComponent(value)
    .split('--')
    .map((part) => Buffer.from(part, 'base64'))
  if (!data || !iv || !tag) throw new Error('not three parts')
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: 16 })
  decipher.setAuthTag(tag)
  return Buffer.concat([decipher.update(data), decipher.final()]).toString()
}

/** Sessions that a JavaScript program cannot write as Ruby does. */
const notOurs = [
  {
    reason: 'Rails was told not to escape HTML or line separators in JSON',
    when: (config: VectorConfig) => !config.escape_html_entities_in_json || !config.escape_js_separators_in_json,
  },
  {
    reason: 'AES-128 is read nowhere and written nowhere',
    when: (config: VectorConfig) => config.effective_cipher === 'aes-128-gcm',
  },
  { reason: "Marshal is Ruby's own", when: (config: VectorConfig) => config.cookies_serializer === 'marshal' },
  {
    reason: 'a secret that can be guessed is refused',
    when: (config: VectorConfig) => config.secret_key_base.length < 32,
  },
]

test('the sessions that Rails wrote are read, and those that we write have the form of Rails', async (t) => {
  for (const { version, category, configs, vectors } of vectorFiles(['session', 'session-cbc'])) {
    const wrong = []
    let read = 0
    let written = 0
    for (const vector of vectors.filter(({ kind }) => kind === 'session-write')) {
      const config = configOf(configs, vector)
      if (config.effective_cipher === 'aes-128-gcm' || config.secret_key_base.length < 32) continue
      const key = vector.cookie_name ?? ''
      const app = appOf(config, key, false)
      // Rails 6.1 and its Rack escape the name, too; that name is another cookie to everybody else
      const sent = `${key}=${vector['cookie_value_escaped'] as string}`
      act = () => undefined
      const [status, headers, body] = await ask(app, vector.generated_at, sent)
      const marshal = config.cookies_serializer === 'marshal'
      // what Rails read of it itself: where it wrote null, for NaN, it reads no such key
      const { session_json: readBack } = (vector['read_back'] ?? {}) as { session_json?: string }
      const data = marshal || vector.session_json === null ? {} : dataOf(readBack ?? vector.session_json)
      const { session_id: id } = (marshal ? {} : (vector.session ?? {})) as { session_id?: string }
      read++
      const same = status === 200 && isDeepStrictEqual(JSON.parse(body), JSON.parse(JSON.stringify(data)))
      if (excepted(vector) && status === 200) continue
      if (!same || headers['x-id'] !== id) {
        wrong.push(`${about(vector)} is read as ${status} ${body.slice(0, 150)}`)
        continue
      }

      // keys that are whole numbers come first in a JavaScript object, also before the id
      if (Object.keys(data).some((name) => /^\d+$/.test(name))) continue
      if (category !== 'session' || notOurs.some(({ when }) => when(config)) || Object.keys(data).length === 0) continue
      act = (hash) => Object.assign(hash, data)
      const answer = await ask(app, vector.generated_at)
      const cookie = setCookie(answer[1])
      const plaintext = decrypt(String(cookie?.value), config)
      // the order of the envelope's keys, no white space, and the purpose of this very cookie
      const envelope = /^\{"_rails":\{"message":"([A-Za-z0-9+/]+=*)","exp":"([^"]+)","pur":"([^"]*)"\}\}$/.exec(
        plaintext,
      )
      const [, message = '', exp = '', purpose] = envelope ?? []
      const inner = Buffer.from(message, 'base64').toString()
      const ours = /^\{"session_id":"([0-9a-f]{32})",(.*),"_created_at":(\d+)\}$/s.exec(inner)
      const theirs = (vector.session_json ?? '').replace(/^\{"session_id":"[^"]*",/, '').slice(0, -1)
      written++
      if (
        cookie?.name !== key ||
        purpose !== `cookie.${key}` ||
        !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(exp) ||
        ours?.[1] !== answer[1]['x-id'] ||
        ours?.[3] !== String(now) ||
        !isDeepStrictEqual(JSON.parse(`{${ours?.[2]}}`), JSON.parse(JSON.stringify(data))) ||
        // the bytes can only be the same where JavaScript writes numbers and orders keys as Ruby does
        (JSON.stringify(JSON.parse(`{${theirs}}`)) === `{${unescapeHtml(theirs)}}` && ours?.[2] !== theirs)
      ) {
        wrong.push(`${about(vector)} is written as ${plaintext.slice(0, 200)} ${inner.slice(0, 200)}`)
      }
    }
    t.same(wrong, [], `Rails ${version}, ${category}: ${read} read, ${written} written`)
    t.ok(read > 0 && written > 0 === (category === 'session'))
  }
})

/** What Rails escapes beyond what JSON asks for. */
function unescapeHtml(json: string): string {
  return json.replace(/\\u(003c|003e|0026|2028|2029)/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
}

test('a session is as large as one of Rails, and one that browsers would drop is refused', async (t) => {
  for (const { version, configs, vectors } of vectorFiles(['limits'])) {
    for (const vector of vectors.filter(({ kind }) => kind === 'size-limit')) {
      const config = configOf(configs, vector)
      if (config.effective_cipher !== 'aes-256-gcm') continue
      const key = vector.cookie_name ?? ''
      const app = appOf(config, key, false)
      const write = async (letters: number): ReturnType<typeof ask> => {
        act = (hash) => (hash['text'] = 'x'.repeat(letters))
        return ask(app, '2026-01-01T00:00:00Z')
      }
      const sizeOf = (answer: Awaited<ReturnType<typeof ask>>): number =>
        /^([^=]+)=([^;]*)/.exec(String(answer[1]['set-cookie']))?.[0].length ?? 0
      const largest = vector['largest_accepted_letters'] as number

      // Rails counts the value before it is escaped, so it may send what is longer; ours is what browsers keep
      const over = await write(largest + 100)
      t.equal(over[0], 500, `Rails ${version}, ${vector.label}`)
      t.match(over[2], /ERR_COOKIE_OVERFLOW|CookieOverflowError.*4096/)

      let [fits, tooLarge] = [0, largest + 100]
      while (tooLarge - fits > 1) {
        const middle = (fits + tooLarge) >> 1
        const answer = await write(middle)
        if (answer[0] === 200) {
          fits = middle
          t.ok(sizeOf(answer) <= 4097, `name and value, and the = between: ${sizeOf(answer)}`)
        } else tooLarge = middle
      }
      t.ok(fits > 1700, `${fits} letters fit`)
      t.ok(fits <= largest)
    }
  }
})

test('public and private ids are those of Rack', async (t) => {
  let ids = 0
  for (const { vectors } of vectorFiles(['session-id'])) {
    for (const vector of vectors) {
      if (vector.kind !== 'session-id' && vector.kind !== 'session-id-generated') continue
      ids++
      const publicId = vector['public_id'] as string
      t.equal(new SessionId(publicId).privateId, vector['private_id'], vector.id)
      // what Rack never generates reaches no store
      const known = SessionId.parse(publicId)
      if (/^[0-9a-f]{32}$/.test(publicId)) t.equal(known?.privateId, vector['private_id'])
      else t.equal(known, undefined, publicId)
      if (vector.kind === 'session-id-generated') t.equal(SessionId.generate().publicId.length, vector['length'])
    }
  }
  t.ok(ids > 0)
})
