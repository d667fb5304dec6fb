import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test, type Test } from 'tap'
import { start } from './program.ts'

interface Reply {
  status: number
  /** Name and value of each header line, names in lower case. */
  headers: Map<string, string>
  body: string
}

const run = promisify(execFile)

/** The site, and curl with a cookie jar in front of it. */
async function curling(t: Test) {
  const directory = t.testdir()
  const site = await start(t, 'site/server', { cwd: directory, env: { PORT: '0' } })
  const jar = join(directory, 'jar')
  const curl = async (path: string, ...options: string[]): Promise<Reply> => {
    const { stdout } = await run('curl', ['-qsSi', '--noproxy', '*', '-b', jar, '-c', jar, ...options, site.url + path])
    const end = stdout.indexOf('\r\n\r\n')
    const [first = '', ...lines] = stdout.slice(0, end).split('\r\n')
    const headers = new Map(
      lines.map((line) => [line.split(':', 1)[0]?.toLowerCase() ?? '', line.replace(/^.*?: */, '')]),
    )
    return { status: Number(first.split(' ')[1]), headers, body: stdout.slice(end + 4) }
  }
  return { site, curl, jar, cookies: () => readFileSync(jar, 'utf8').match(/^.*_site_session.*$/gm) ?? [] }
}

test('sign-in, dashboard, sign-out, as curl sees them', async (t) => {
  const { curl, cookies } = await curling(t)
  const form = await curl('/')
  t.equal(form.status, 200)
  t.match(form.body, /<form method="post" action="\/sign-in"/)
  t.equal(form.headers.get('set-cookie'), undefined, 'who only looks gets no session')

  const signIn = await curl('/sign-in', '-d', 'name=Ada')
  t.equal(signIn.status, 303)
  t.equal(signIn.headers.get('location'), '/')
  t.match(signIn.headers.get('set-cookie'), /^_site_session=[\w%.-]+; Path=\/; HttpOnly; SameSite=Lax$/)

  const dashboard = await curl('/')
  t.match(dashboard.body, /Good day, Ada!/)
  t.match(dashboard.body, /<dd>1<\/dd>/)
  t.equal(dashboard.headers.get('cache-control'), 'no-store, private')
  t.equal(dashboard.headers.get('vary'), 'Sec-Fetch-Site, cookie')

  t.equal(cookies().length, 1)
  const signOut = await curl('/sign-out', '-X', 'POST')
  t.equal(signOut.status, 303)
  t.match(signOut.headers.get('set-cookie'), /^_site_session=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970/)
  t.strictSame(cookies(), [])

  const after = await curl('/')
  t.match(after.body, /action="\/sign-in"/)
  t.equal(after.headers.get('set-cookie'), undefined)
})

test('over 100 requests the cookie is sent exactly when the content of the session changed', async (t) => {
  const { curl } = await curling(t)
  await curl('/sign-in', '-d', 'name=Ada')

  const round: [changes: boolean, path: string, ...options: string[]][] = [
    [false, '/cart'],
    [true, '/'], // the visits
    [true, '/cart/add', '-d', 'item=Umbrella'],
    [true, '/cart'], // its message was shown, and goes
    [false, '/no-such-page'],
    [true, '/cart/quantity', '-d', 'item=Umbrella&quantity=5'],
    [false, '/cart/quantity', '-d', 'item=Umbrella&quantity=5'], // an equal value
    [false, '/cart/add', '-d', 'item=Unicorn'], // not on offer
    [true, '/cart/remove', '-d', 'item=Umbrella'],
    [true, '/cart', '-I'], // as above
  ]
  const sent: boolean[] = []
  const values = new Set<string>()
  for (let i = 0; i < 10; i++) {
    for (const [, path, ...options] of round) {
      const { headers } = await curl(path, ...options)
      const cookie = headers.get('set-cookie')
      sent.push(cookie !== undefined)
      if (cookie !== undefined) values.add(cookie)
    }
  }
  t.equal(sent.length, 100)
  t.strictSame(sent, Array.from({ length: 10 }, () => round.map(([changes]) => changes)).flat())
  t.equal(values.size, 60, 'each with a value of its own')
  t.match((await curl('/')).body, /<dd>11<\/dd>/, 'and every change was kept')
})

test('a cookie that was tampered with is nobody, and no error', async (t) => {
  const { site, curl, jar } = await curling(t)
  await curl('/sign-in', '-d', 'name=Ada')
  t.match((await curl('/')).body, /Good day, Ada!/)
  const held = readFileSync(jar, 'utf8')
  const tampered = held.replace(/(_site_session\t)(.)/, (_, name: string, first) => name + (first === 'A' ? 'B' : 'A'))
  t.not(tampered, held)
  writeFileSync(jar, tampered)
  const reply = await curl('/')
  t.equal(reply.status, 200)
  t.match(reply.body, /action="\/sign-in"/)
  t.notMatch(site.output(), /error/i)
})

test('whoever is not signed in has no cart', async (t) => {
  const { curl } = await curling(t)
  for (const { status, headers } of [await curl('/cart'), await curl('/cart/add', '-d', 'item=Umbrella')]) {
    t.equal(status, 303)
    t.equal(headers.get('location'), '/')
    t.equal(headers.get('set-cookie'), undefined)
  }
})

test('forms that are too large, or of another origin, are refused', async (t) => {
  const { curl } = await curling(t)
  const status = async (...options: string[]): Promise<number> => (await curl('/sign-in', ...options)).status
  const large = `name=${'a'.repeat(10_000)}`
  t.equal(await status('-d', large), 413)
  t.equal(await status('-d', large, '-H', 'Transfer-Encoding: chunked'), 413)
  t.equal(await status('-d', 'name='), 422)
  t.equal(await status('-d', 'name=Ada', '-H', 'Origin: http://evil.example'), 403)
  t.equal(await status('-d', 'name=Ada', '-H', 'Sec-Fetch-Site: same-site'), 403)
  t.equal(await status('-d', 'name=Ada', '-H', 'Sec-Fetch-Site: same-origin'), 303)
})

test('an unknown page is a 404 that does not touch the session', async (t) => {
  const { curl } = await curling(t)
  const { status, headers } = await curl('/favicon.ico')
  t.equal(status, 404)
  t.equal(headers.get('vary'), 'Sec-Fetch-Site')
})
