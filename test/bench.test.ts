import { existsSync, readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test, type Test } from 'tap'

interface Results {
  readonly date: string
  readonly node: string
  readonly machine: { readonly cpu: string; readonly cores: number }
  readonly versions: Readonly<Record<string, string>>
  readonly commit: string
  readonly peers: readonly { readonly name: string; readonly title: string }[]
  readonly rows: readonly Cell[]
}

interface Cell {
  readonly peer: string
  readonly row: string
  readonly visitors: number
  readonly ratio: { readonly median: number; readonly min: number; readonly max: number }
  readonly rounds: readonly { readonly ratio: number; readonly cpu: number; readonly bareCpu: number }[]
}

const folder = join('bench', 'results')
const results = JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8')) as Results
const readme = readFileSync('README.md', 'utf8')

/** What renders the results: JavaScript that imports nothing but itself, so that no package of the peers is needed. */
async function load<Module>(name: string): Promise<Module> {
  return (await import(pathToFileURL(resolve('bench', name)).href)) as Module
}

const { charts } = await load<{ charts: (of: unknown) => Record<string, string> }>('report/charts.js')
const { resultsPage, withSection, MARKS } = await load<{
  resultsPage: (of: unknown) => string
  withSection: (text: string, of: unknown) => string
  MARKS: readonly [string, string]
}>('report/report.js')

const section = readme.slice(readme.indexOf(MARKS[0]), readme.indexOf(MARKS[1]))

test('the tables of the README are what the results of the benchmark give', (t) => {
  t.equal(withSection(readme, results), readme, 'node bench/run.js --readme writes them')
  t.end()
})

test('the date, the machine, the commit and every version stand beside the figures', (t) => {
  const { date, node, machine, commit, versions } = results
  for (const text of [date.slice(0, 10), node, machine.cpu, `${machine.cores} cores`, commit])
    t.ok(section.includes(text), text)
  t.ok(Object.keys(versions).length > 0)
  for (const [name, version] of Object.entries(versions)) t.ok(section.includes(`${name} ${version}`), name)
  t.end()
})

test('the charts and the page beside them are what the results give', (t) => {
  const page = readFileSync(join(folder, 'README.md'), 'utf8')
  t.equal(page, resultsPage(results), 'node bench/run.js --readme writes it')
  const drawn = charts(results)
  t.ok(Object.keys(drawn).length > 0)
  for (const [name, text] of Object.entries(drawn)) {
    t.equal(readFileSync(join(folder, name), 'utf8'), text, `node bench/run.js --readme writes ${name}`)
    t.ok(page.includes(`](${name})`), name)
  }
  t.end()
})

test('a chart says in words what it shows, and names every peer in it', (t) => {
  for (const [name, text] of Object.entries(charts(results))) {
    t.match(text, /^<svg [^>]*role="img" aria-labelledby="title desc"/, name)
    t.match(text, /<title id="title">[^<]+<\/title>\s*<desc id="desc">[^<]+<\/desc>/, name)
    const [, description = ''] = /<desc id="desc">([^<]*)</.exec(text) ?? []
    for (const [, label = ''] of text.matchAll(/<text(?: class="name")? x="28"[^>]*>([^<]*)</g)) {
      t.ok(description.includes(label), `${name}: ${label}`)
    }
    t.notMatch(text, /NaN|undefined|Infinity/, name)
  }
  t.end()
})

test('a ratio is the median and the range of its rounds, and each round is of its own two figures', (t) => {
  for (const { peer, row, visitors, ratio, rounds } of results.rows) {
    const title = `${peer} ${row} ${visitors}`
    const sorted = rounds.map((round) => round.ratio).toSorted((a, b) => a - b)
    const half = (sorted.length - 1) / 2
    const middle = ((sorted[Math.floor(half)] ?? NaN) + (sorted[Math.ceil(half)] ?? NaN)) / 2
    t.ok(Math.abs(ratio.median / middle - 1) < 0.001, title)
    t.same([ratio.min, ratio.max], [sorted[0], sorted.at(-1)], title)
    for (const one of rounds) t.ok(Math.abs(one.cpu / one.bareCpu / one.ratio - 1) < 0.001, title)
  }
  t.end()
})

test('every peer that was measured has a server, and every figure is of a peer', (t) => {
  const names = results.peers.map(({ name }) => name)
  for (const name of names) t.ok(existsSync(join('bench', 'servers', `${name}.js`)), name)
  for (const { peer } of results.rows) t.ok(names.includes(peer), peer)
  t.ok(results.rows.length > 0)
  t.end()
})

type Fault = 'mixes' | 'forgets' | 'trusts' | 'sends' | 'marks' | 'refuses' | 'hands'

/** Sessions in memory, with an id of ten digits in a cookie, and at most one fault. */
function pages(fault?: Fault): RequestListener {
  const sessions = new Map<string, { userId: number; visits: number }>()
  let ids = 1_000_000_000
  return ({ url = '', headers }, res) => {
    const sent = headers.cookie?.slice('id='.length) ?? ''
    const known = [...sessions.keys()].find(
      (id) => id === sent || (fault === 'trusts' && sent.slice(6) === id.slice(6)),
    )
    const id = known ?? String(ids++)
    const { userId, visits } = sessions.get(id) ?? { userId: 10_000, visits: 1_000_000 }
    const signsIn = url.startsWith('/sign-in/')
    const count = url === '/written' ? visits + 1 : visits
    const isFirst = known === undefined && url === '/written'
    if (signsIn || isFirst || (url === '/written' && fault !== 'forgets')) {
      sessions.set(id, { userId: signsIn ? Number(url.slice('/sign-in/'.length)) : userId, visits: count })
    }
    const isDue = (signsIn && fault !== 'hands') || isFirst || (fault === 'sends' && url === '/read')
    if (isDue || (fault === 'marks' && url === '/untouched')) res.setHeader('set-cookie', `id=${id}; Path=/`)
    res.statusCode = fault === 'refuses' && sent === '' && url === '/read' ? 500 : 200
    const shown = fault === 'mixes' ? 10_007 : userId
    if (signsIn) res.end('signed in\n')
    else if (url === '/untouched') res.end('visitor 10000, visit 1000000\n')
    else res.end(`visitor ${shown}, visit ${count}\n`)
  }
}

async function portOf(t: Test, listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const peer = { inCookie: false, resealsOnRead: false, rows: ['untouched', 'read', 'written'] }

test('whoever does not do the work is left out of the figures', async (t) => {
  const { check } = await load<{ check: (port: number, of: typeof peer) => Promise<void> }>('check.js')
  await t.resolves(check(await portOf(t, pages()), peer), 'one that does it is not')
  const faults: Record<Fault, RegExp> = {
    mixes: /visitor 10007, .* in place of/,
    forgets: /read after .written/,
    trusts: /tampered/,
    sends: /.read sends 1 Set-Cookie/,
    marks: /.untouched sends 1 Set-Cookie/,
    refuses: /.read of a stranger: status 500/,
    hands: /signing in: status 200, 0 cookies/,
  }
  for (const [fault, message] of Object.entries(faults)) {
    const port = await portOf(t, pages(fault as Fault))
    await t.rejects(check(port, peer), { message }, fault)
  }
  await t.rejects(
    check(await portOf(t, pages()), { ...peer, inCookie: true }),
    { message: /.written sends 0 Set-Cookie, where one is due/ },
    'a change that is kept in the cookie is sent',
  )
})

test('commands that go to a store together are one round trip', async (t) => {
  interface Proxy {
    readonly port: number
    traffic(): { roundTrips: number; bytesOut: number; bytesIn: number }
    close(): Promise<void>
  }
  const { countingProxy } = await load<{ countingProxy: (target: number) => Promise<Proxy> }>('load/counting-proxy.js')
  const proxy = await countingProxy(await portOf(t, (_req, res) => res.end('x')))
  const socket = connect(proxy.port, '127.0.0.1')
  const answered = (count: number): Promise<void> =>
    new Promise((resolve) => {
      let seen = ''
      socket.on('data', function more(chunk) {
        seen += String(chunk)
        if (seen.split('\r\n\r\n').length <= count) return
        socket.off('data', more)
        resolve()
      })
    })
  const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
  for (const [together, trips] of [
    [1, 1],
    [2, 2],
    [1, 3],
  ] as const) {
    const all = answered(together)
    socket.write(request.repeat(together))
    await all
    t.equal(proxy.traffic().roundTrips, trips)
  }
  t.equal(proxy.traffic().bytesOut, 4 * request.length)
  socket.destroy()
  await proxy.close()
})
