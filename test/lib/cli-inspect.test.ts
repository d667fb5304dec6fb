import { sealData } from 'iron-session'
import { test } from 'tap'
import { CookieStore, ironSealer, KeyGenerator, MessageEncryptor, MessageVerifier, SessionId } from '../../lib/index.ts'
import { Keyring } from '../../lib/keyring.ts'
import { askRaw, Client, serve } from '../server.ts'
import { SECRET, sessionApp } from '../session-app.ts'
import { configOf, vectorFiles } from '../vectors.ts'
import { errorIn, luggageRack, shown, type Run } from './cli-program.ts'

const HOUR = 3_600_000
const OLD_SECRET = 'the secret before it was changed, which some cookies still have'
const DATA = 'DataMarker4711'

const withSecret: Run = { env: { SECRET_KEY_BASE: SECRET } }

interface Report {
  kind: string
  name: string
  seal: string
  key: number
  keys: number
  retired: boolean
  createdAt: string | null
  expiresAt: string | null
  expireAfter: number | null
  sessionId: string
  privateId: string
  size: number
  limit: number
  notes: string[]
  data: unknown
}

async function inspect(args: readonly string[], run: Run = withSecret): Promise<Report> {
  const ran = await luggageRack(['inspect', ...args, '--json'], run)
  if (ran.code !== 0) throw new Error(`${args.join(' ')}: ${ran.code} ${ran.stderr}`)
  return JSON.parse(ran.stdout) as Report
}

/** A session's cookie as this package seals it. */
function sealed(data: object, { name = '_session_id', secret = SECRET, age = 0, left = HOUR } = {}): string {
  const payload = { session_id: 'an id', ...data, _created_at: Date.now() - age }
  return `${name}=${encodeURIComponent(new Keyring({ secret }).seal(payload, name, Date.now() + left))}`
}

test('a session that the browser has is shown with its times, its key and its size', async (t) => {
  const { port } = await serve(t, sessionApp({ key: '_app_session', expireAfter: 3600 }))
  const client = new Client(port)
  const before = Date.now()
  const { cookies } = await client.get(`/write?v=${DATA}`)

  const report = await inspect([cookies[0] as string])
  const { createdAt, expiresAt, sessionId, ...rest } = report
  const value = client.jar.get('_app_session') as string
  t.same(rest, {
    kind: 'session',
    name: '_app_session',
    seal: 'encrypted',
    key: 1,
    keys: 1,
    retired: false,
    expireAfter: null,
    size: '_app_session'.length + value.length,
    limit: 4096,
    notes: [],
    data: { foo: DATA },
  })
  t.match(sessionId, /^[0-9a-f]{32}$/)
  const created = Date.parse(createdAt as string)
  t.ok(created >= before && created <= Date.now(), 'created now')
  t.equal(Date.parse(expiresAt as string) - created, HOUR, 'ends when its idle time is over')

  const text = await luggageRack(['inspect', client.cookie], withSecret)
  t.same([text.code, text.stderr], [0, ''])
  t.match(
    text.stdout,
    /^cookie {6}_app_session, encrypted in Rails' format\nkey {9}1 of 1\ncreated {5}20\S+Z \(\d+ second/,
  )
  t.match(text.stdout, /^expires {5}20\S+Z \(in 59 minutes\)$/m)
  t.match(text.stdout, new RegExp(`^size {8}${report.size} of 4096 bytes$`, 'm'))
  t.ok(text.stdout.endsWith(`\n\n{\n  "foo": "${DATA}"\n}\n`))
})

test('a cookie is found in a header, in a whole response, and by its bare value, from standard input too', async (t) => {
  const { port } = await serve(t, sessionApp())
  const response = await askRaw(port, 'GET /write?v=bar HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  const [pair] = /_session_id=[^;]+/.exec(response) ?? []
  const value = (pair as string).slice('_session_id='.length)
  // of every length, so that base64 is filled up in every way
  const bare = ['', 'a', 'ab'].map((foo) => sealed({ foo }).slice('_session_id='.length))
  const other = sealed({ foo: 'bar' }, { name: 'sid' })
  const given: [args: string[], input?: string][] = [
    [[`${pair}`]],
    [[`Cookie: theme=dark; ${pair}; path=/not-an-attribute`]],
    [[`theme=dark; ${pair}`]],
    [[`Set-Cookie: ${pair}; Path=/; HttpOnly; SameSite=Lax`]],
    [[`${pair}; path=/; httponly`]],
    [[value]],
    [[decodeURIComponent(value)]],
    [['-'], `${pair}\n`],
    [['-'], `${value}\r\n`],
    [['-'], response],
    [[other]],
    [[`theme=dark; ${other}`, '--name', 'sid']],
    [[other.slice('sid='.length), '--name', 'sid']],
    // as Rack 2 escapes names
    [[sealed({ foo: 'bar' }, { name: '_my~session' }).replace('~', '%7E')]],
    // a subdomain can toss one before it
    [[`_session_id=tossed; ${pair}`]],
  ]
  for (const [args, input] of given) {
    const { kind, data } = await inspect(args, { ...withSecret, ...(input === undefined ? {} : { input }) })
    t.same([kind, data], ['session', { foo: 'bar' }], `${args.join(' ')} ${input ?? ''}`)
  }
  for (const one of bare) t.equal((await inspect([decodeURIComponent(one)])).kind, 'session', 'a bare value')
})

test('what holds no cookie, or none of this name, or several, is said without repeating it', async (t) => {
  const given: [args: string[], input?: string][] = [
    [['']],
    [[`${DATA}; ${DATA}`]],
    [[`${DATA}=${DATA}; b${DATA}=${DATA}`]],
    [[`a=${DATA}`, '--name', 'b']],
    [['-']],
    [['-'], `${DATA}\n`.repeat(10_000)],
  ]
  for (const [args, input] of given) {
    const run = { ...withSecret, ...(input === undefined ? {} : { input }) }
    const ran = await luggageRack(['inspect', ...args, '--json'], run)
    t.same([ran.code, ran.stdout, errorIn(ran).code], [1, '', 'ERR_COOKIE_MISSING'])
    t.same(shown(ran, [DATA, SECRET]), [])
  }
})

test('of several secrets it is told which one opened the cookie', async (t) => {
  const cookie = sealed({ foo: 'bar' }, { secret: OLD_SECRET })
  // the first has a comma in itself
  for (const secrets of [`${SECRET}\n${OLD_SECRET}`, `  ${SECRET} \r\n\n${OLD_SECRET}\n`]) {
    const { key, keys, retired } = await inspect([cookie], { env: { SECRET_KEY_BASE: secrets } })
    t.same([key, keys, retired], [2, 2, true])
  }
  const hex = ['a', 'b', 'c'].map((digit) => digit.repeat(128))
  const third = sealed({ foo: 'bar' }, { secret: hex[2] as string })
  const { key, keys } = await inspect([third], { env: { SECRET_KEY_BASE: hex.join(', ') } })
  t.same([key, keys], [3, 3])
  const { stdout } = await luggageRack(['inspect', third], { env: { SECRET_KEY_BASE: hex.join(',') } })
  t.match(stdout, /^key {9}3 of 3: retired/m)
})

test('without the key nothing is printed, and it is said what to set', async (t) => {
  const signed = encodeURIComponent(
    new MessageVerifier(new KeyGenerator(SECRET).generateKey('signed cookie')).generate(DATA, { purpose: 'cookie.a' }),
  )
  const iron = await ironSealer({ password: SECRET }).seal({ foo: DATA }, 'a', Date.now() + HOUR)
  const cookies = [
    [sealed({ foo: DATA }), 'SECRET_KEY_BASE'],
    [`a=${signed}`, 'SECRET_KEY_BASE', '--signed'],
    [`a=${iron}`, 'IRON_PASSWORD'],
  ] as const
  for (const [cookie, variable, ...options] of cookies) {
    for (const value of ['', ' \n', '\n\n']) {
      const ran = await luggageRack(['inspect', cookie, ...options], { env: { [variable]: value } })
      t.same([ran.code, ran.stdout], [1, ''])
      t.match(ran.stderr, `set ${variable} to`)
      t.same(shown(ran, [DATA, Buffer.from(DATA).toString('base64').slice(0, 12), cookie.slice(3, 20)]), [])
    }
    const short = await luggageRack(['inspect', cookie, ...options, '--json'], { env: { [variable]: 'shortMarker' } })
    t.same([short.code, short.stdout, errorIn(short).code], [1, '', 'ERR_SECRET_TOO_SHORT'])
    t.same(shown(short, ['shortMarker', cookie.slice(3, 20)]), [])
  }
  const broken = await luggageRack(['inspect', `a=${iron}`], { env: { IRON_PASSWORD: `{"1":"${SECRET}` } })
  t.equal(broken.code, 1)
  t.same(shown(broken, [SECRET, SECRET.slice(0, 12)]), [], 'the parser of JSON would quote it')
})

test('a cookie that does not open: which check failed, and nothing of what it holds', async (t) => {
  const cookie = sealed({ foo: DATA })
  const value = cookie.slice('_session_id='.length)
  const changed = `${value.slice(0, 20)}${value[20] === 'A' ? 'B' : 'A'}${value.slice(21)}`
  const keys = new KeyGenerator(SECRET)
  const encryptor = new MessageEncryptor(keys.generateKey('authenticated encrypted cookie', 32))
  const marshal = (content: Buffer): string => {
    // as Rails seals what Marshal wrote: in the same envelope, and no JSON inside
    const codec = new (class extends MessageEncryptor {
      protected override serialize(): string {
        return `{"_rails":{"message":"${content.toString('base64')}","exp":null,"pur":"cookie._session_id"}}`
      }
    })(keys.generateKey('authenticated encrypted cookie', 32))
    return codec.encryptAndSign(null)
  }
  const iron = await ironSealer({ password: SECRET }).seal({ foo: DATA }, 'a', Date.now() - HOUR)
  const cases: [name: string, code: string, message: RegExp, args: string[], secret?: string][] = [
    ['changed', 'ERR_COOKIE_KEY', /not sealed with the secret .* or it was changed/, [changed]],
    ['cut', 'ERR_COOKIE_KEY', /changed/, [value.slice(0, -10)]],
    ['escaped in two ways', 'ERR_COOKIE_KEY', /changed/, [`_session_id=${value}%2b%2B`]],
    ['no cookie', 'ERR_COOKIE_KEY', /changed/, [DATA]],
    ['of another secret', 'ERR_COOKIE_KEY', /not sealed with the secret in SECRET_KEY_BASE/, [cookie], OLD_SECRET],
    ['of none', 'ERR_COOKIE_KEY', /one of the 2 secrets/, [cookie], `${'x'.repeat(40)}\n${'y'.repeat(40)}`],
    ['another name', 'ERR_COOKIE_PURPOSE', /another name/, [value, '--name', 'other']],
    ['another purpose', 'ERR_COOKIE_PURPOSE', /name/, [encryptor.encryptAndSign({ foo: DATA }, { purpose: 'login' })]],
    ['Marshal', 'ERR_COOKIE_CONTENT', /cookies_serializer/, [marshal(Buffer.from(`\x04\b"${DATA}`, 'latin1'))]],
    ['ended', 'ERR_COOKIE_ENDED', /ended at 20\S+Z \(1 hour ago\)/, [sealed({ foo: DATA }, { left: -HOUR - 9000 })]],
    ['ended, of iron-session', 'ERR_COOKIE_ENDED', /ended at 20\S+Z \(1 hour ago\)/, [`a=${iron}`]],
    ['of iron-session, changed', 'ERR_COOKIE_KEY', /IRON_PASSWORD/, [`a=${iron.replace('*', '*1')}`]],
  ]
  for (const [name, code, message, args, secret = SECRET] of cases) {
    const run = { env: { SECRET_KEY_BASE: secret, IRON_PASSWORD: secret } }
    const [text, inJson] = await Promise.all([
      luggageRack(['inspect', ...args], run),
      luggageRack(['inspect', ...args, '--json'], run),
    ])
    t.same([text.code, text.stdout], [1, ''], name)
    t.match(text.stderr, message, name)
    t.same([inJson.code, inJson.stdout, errorIn(inJson).code], [1, '', code], name)
    const given = args[0] as string
    const secrets = [DATA, ...secret.split('\n'), given, given.slice(-30), 'cookie.', 'login']
    for (const ran of [text, inJson]) t.same(shown(ran, secrets), [], name)
  }
})

test('where the secret is right and the format another one, it is said with which options the cookie opens', async (t) => {
  const generators = { SHA1: new KeyGenerator(SECRET, { digest: 'SHA1' }), SHA256: new KeyGenerator(SECRET) }
  const purpose = { purpose: 'cookie.a' }
  const password = { IRON_PASSWORD: SECRET }
  const encrypted = (generator: KeyGenerator): string =>
    new MessageEncryptor(generator.generateKey('authenticated encrypted cookie', 32)).encryptAndSign('value', purpose)
  const signed = (generator: KeyGenerator, digest: 'SHA1' | 'SHA512'): string =>
    new MessageVerifier(generator.generateKey('signed cookie'), { digest }).generate('value', purpose)
  const h3 = await ironSealer({ password: SECRET, form: 'h3' }).seal({ foo: 1 }, 'a', Date.now() + HOUR)
  const cases: [value: string, args: string[], expected: string][] = [
    [encrypted(generators.SHA1), [], '--encrypted --digest SHA1'],
    [encrypted(generators.SHA256), ['--signed'], '--encrypted'],
    [signed(generators.SHA256, 'SHA1'), [], '--signed'],
    [signed(generators.SHA1, 'SHA512'), ['--legacy'], '--signed --digest SHA1 --signed-digest SHA512'],
    [h3, [], '--format h3'],
  ]
  for (const [value, args, expected] of cases) {
    const run = { env: { SECRET_KEY_BASE: SECRET, ...password } }
    const cookie = `a=${encodeURIComponent(value)}`
    const { code, stderr } = await luggageRack(['inspect', cookie, ...args], run)
    const [, options = ''] = /The secret is right, though, with (.+)\.$/m.exec(stderr) ?? []
    t.same([code, options], [1, expected])
    t.equal((await inspect([cookie, ...options.split(' ')], run)).name, 'a', 'and so it does')
  }
})

test('notes: a cookie for no name, one that is too large, one that is older than sessions may be', async (t) => {
  const keys = new KeyGenerator(SECRET)
  const bare = new MessageEncryptor(keys.generateKey('authenticated encrypted cookie', 32)).encryptAndSign({ a: 1 })
  t.match((await inspect([bare])).notes, [/no name/])
  const large = await inspect([sealed({ foo: 'x'.repeat(4000) })])
  t.ok(large.size > 4096)
  t.match(large.notes, [/too large/])
  t.match((await inspect([sealed({}, { age: 31 * 24 * HOUR })])).notes, [/older than 30 days/])
})

test('a session with an idle time of its own, and one that Rails made, say so', async (t) => {
  const own = await inspect([sealed({ foo: 1, _expire_after: 600 })])
  t.same([own.expireAfter, own.data], [600, { foo: 1 }])
  const keys = new KeyGenerator(SECRET)
  const rails = new MessageEncryptor(keys.generateKey('authenticated encrypted cookie', 32)).encryptAndSign(
    { session_id: 'abc', user_id: 7 },
    { purpose: 'cookie._session_id' },
  )
  const report = await inspect([rails])
  t.same([report.createdAt, report.expiresAt, report.data], [null, null, { user_id: 7 }])
  const { stdout } = await luggageRack(['inspect', rails], withSecret)
  t.match(stdout, /^created {5}not known/m)
  t.match(stdout, /^expires {5}never by itself$/m)
})

test('the id of a session in a store is shown as the key that the store has, which opens nothing; no secret is asked for', async (t) => {
  const sid = SessionId.generate()
  const none: Run = {}
  const ran = await luggageRack(['inspect', `sid=${sid.publicId}`], none)
  t.same([ran.code, ran.stderr], [0, ''])
  t.ok(ran.stdout.includes(sid.privateId))
  t.same(shown(ran, [sid.publicId]), [], 'whoever has the id has the session')
  t.same(await inspect([`sid=${sid.publicId}`], none), {
    kind: 'id',
    name: 'sid',
    privateId: sid.privateId,
    size: 35,
    limit: 4096,
  })
})

test('a terminal obeys nothing of what a cookie or its name holds, and the JSON stays the same', async (t) => {
  const evil = '\u001b[2J\u001b]0;title\u0007\u009b31m\u202eabc\u2066\u200b\u{e0041}\u2028\r\n\u007f'
  const data = { [evil]: [evil], ['__proto__']: evil }
  const cookie = sealed(data)
  const text = await luggageRack(['inspect', cookie], withSecret)
  const inJson = await luggageRack(['inspect', cookie, '--json'], withSecret)
  const named = await luggageRack(['inspect', '0123456789abcdef0123456789abcdef', '--name', evil])
  for (const { code, stdout } of [text, inJson, named]) {
    t.equal(code, 0)
    t.notMatch(stdout, /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
  }
  t.equal(JSON.stringify((JSON.parse(inJson.stdout) as Report).data), JSON.stringify(data))
  t.equal(named.stdout.split('\n').length, 4, 'a line end in a name makes no line')
})

test('iron-session and h3: passwords by number, as their own packages seal', async (t) => {
  const passwords = { 1: OLD_SECRET, 2: SECRET }
  const env = { IRON_PASSWORD: JSON.stringify(passwords) }
  const theirs = await sealData({ foo: 'bar' }, { password: { 1: OLD_SECRET } })
  const report = await inspect([`iron=${theirs}`], { env })
  t.match(report, { kind: 'session', seal: 'iron-session', key: 2, keys: 2, createdAt: null, data: { foo: 'bar' } })

  const { port } = await serve(
    t,
    sessionApp({ key: 'h3', store: new CookieStore({ sealer: ironSealer({ password: SECRET }) }) }),
  )
  const client = new Client(port)
  await client.get('/write?v=bar')
  const h3 = await inspect([client.cookie], { env })
  t.match(h3, { seal: 'h3', key: 1, data: { foo: 'bar' } })
  t.ok(Date.parse(h3.createdAt as string) <= Date.now())
})

test('cookies that Rails made, of every kind and version', async (t) => {
  let count = 0
  for (const { version, category, configs, vectors } of vectorFiles([
    'session',
    'session-cbc',
    'encrypted',
    'signed',
  ])) {
    // one of each kind: every look is a process
    const seen = new Set<string>()
    for (const vector of vectors) {
      const config = configOf(configs, vector)
      const { key_digest, effective_cipher, use_cookies_with_metadata } = config
      const kind = [key_digest, effective_cipher, use_cookies_with_metadata, vector.digest].join()
      const { key_iterations, encrypted_cookie_salt, authenticated_encrypted_cookie_salt, signed_cookie_salt } = config
      const salts = [encrypted_cookie_salt, authenticated_encrypted_cookie_salt, signed_cookie_salt].join()
      const usual = 'encrypted cookie,authenticated encrypted cookie,signed cookie'
      const isPlain = key_iterations === 1000 && salts === usual
      // these Rails itself does not read back, or we do not take the secret
      const isOdd = vector.session === null || config.secret_key_base.length < 32
      const isJson = config.cookies_serializer === 'json' && config.effective_cipher !== 'aes-128-gcm'
      const expires = /"exp":"/.test(vector.plaintext ?? '') || vector.session_options?.expire_after !== undefined
      if (seen.has(kind) || expires || isOdd || !isPlain || !isJson || vector.cookie_value === undefined) continue
      seen.add(kind)
      const options = [
        ...(category === 'signed' ? ['--signed', '--signed-digest', vector.digest ?? 'SHA1'] : []),
        ...(config.effective_cipher === 'aes-256-cbc' ? ['--legacy'] : []),
        ...(config.key_digest === 'SHA1' ? ['--digest', 'SHA1'] : []),
      ]
      const cookie = (vector.set_cookie as string).split(';')[0] as string
      const report = await inspect([cookie, ...options], { env: { SECRET_KEY_BASE: config.secret_key_base } })
      const holds =
        report.kind === 'session' ? { session_id: report.sessionId, ...(report.data as object) } : report.data
      t.same(holds, category.startsWith('session') ? vector.session : vector.value, `${version} ${vector.id}`)
      count++
    }
  }
  t.ok(count >= 12, `${count} cookies`)
})
