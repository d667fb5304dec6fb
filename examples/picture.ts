// Draws what happens to a request as SVG: a column for the browser, each layer and the controller, and a line for each
// step, from a real trace. npm run picture draws docs/what-happens-to-a-request.svg with it.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Builder, cookies, session, toListener } from 'luggage-rack'
import { watchRequests, type RequestTrace } from 'luggage-rack/lifecycle'

const app = new Builder()
  .use(cookies({ secret: 'a secret of the picture, of 32 characters and more' }))
  .use(session<{ cart: string[] }>({ key: '_app_session' }))
  .run(async (req) => {
    const session = await req.session
    const cart = (session.cart ??= [])
    cart.push('map')
    return [200, { 'content-type': 'text/plain' }, `your cart holds ${cart.join(', ')}\n`]
  })

/** Sends a request, and gives its cookie for the next one. */
async function visit(port: number, cookie: string): Promise<string> {
  const [res] = await once(get({ port, path: '/cart', headers: { cookie } }), 'response')
  for await (const _ of res) continue
  const [line = ''] = (res.headers['set-cookie'] as string[] | undefined) ?? []
  return line.split(';')[0] ?? ''
}

/** The trace of a second visit, in which a value changes in place. */
async function secondVisit(): Promise<RequestTrace> {
  const server = createServer(toListener(app)).listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  let cookie = ''
  // so often that the times are those of a server which has been up for a while
  for (let i = 0; i < 500; i++) cookie = await visit(port, i % 5 === 4 ? '' : cookie)
  const traced = new Promise<RequestTrace>((resolve) => {
    const stop = watchRequests((trace) => (stop(), resolve(trace)))
  })
  await visit(port, cookie)
  const trace = await traced
  server.close()
  return trace
}

const COLUMN = 150
const LEFT = 190
const LINE = 30
const TOP = 60

const STYLE = `
    .page { fill: #fff } text { fill: #1f2328; font: 13px system-ui, sans-serif } .name { font-weight: 600; text-anchor: middle }
    .soft { fill: #59636e } .life { stroke: #d1d9e0 } .way { stroke: #0969da; stroke-width: 2; fill: none } .dot { fill: #0969da }
    .why { font-weight: 600 } .time { text-anchor: end }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } text { fill: #f0f6fc } .soft { fill: #9198a1 } .life { stroke: #3d444d }
      .way { stroke: #4493f8 } .dot { fill: #4493f8 }
    }`

function draw({ stack, steps, decision, ms }: RequestTrace): string {
  const columns = ['browser and node', ...stack]
  const x = (nth: number): number => LEFT + nth * COLUMN
  const width = x(columns.length - 1) + 290
  const height = TOP + steps.length * LINE + 60
  const bottom = TOP + steps.length * LINE
  const lives = columns.map(
    (name, i) =>
      `<text class="name" x="${x(i)}" y="34">${escape(name)}</text><path class="life" d="M${x(i)} 46V${bottom}"/>`,
  )
  const lines = steps.map(({ ms: at, kind, title, depth }, i) => {
    const y = TOP + i * LINE + 10
    const time = `<text class="soft time" x="${LEFT - 80}" y="${y + 4}">${at.toFixed(3)} ms</text>`
    const [from, to] = kind === 'enter' ? [depth - 1, depth] : kind === 'leave' ? [depth, depth - 1] : [depth, depth]
    if (from === to) {
      const label = `<text x="${x(depth) + 14}" y="${y + 4}">${escape(title)}</text>`
      return `${time}<circle class="dot" cx="${x(depth)}" cy="${y}" r="4"/>${label}`
    }
    const tip = to > from ? x(to) - 9 : x(to) + 9
    const line = `<path class="way" marker-end="url(#tip)" d="M${x(from)} ${y}H${tip}"/>`
    return `${time}${line}<text class="soft" x="${Math.max(x(from), x(to)) + 14}" y="${y + 4}">${escape(title)}</text>`
  })
  const all = steps.map(({ title }) => title).join('; ')
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title what">
  <title id="title">What happens to a request that changes its session</title>
  <desc id="what">${escape(`${all}. ${decision.text}`)}</desc>
  <style>${STYLE}
  </style>
  <defs><marker id="tip" markerWidth="6" markerHeight="6" refX="3" refY="3" orient="auto"><path class="dot" d="M0 0L6 3L0 6z"/></marker></defs>
  <rect class="page" width="${width}" height="${height}"/>
  ${lives.join('\n  ')}
  ${lines.join('\n  ')}
  <text class="why" x="20" y="${bottom + 34}">${escape(decision.text)} ${ms.toFixed(2)} ms in all, watched.</text>
</svg>
`
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

const svg = draw(await secondVisit())
const [file] = process.argv.slice(2)
if (file === undefined) console.log(svg)
else writeFileSync(file, svg)
