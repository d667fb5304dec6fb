// Responses that take their time: server-sent events, and a long download. The session is read, and written, before
// the response begins: its cookie goes out with the head.
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { Builder, cookies, session, SessionCommittedError, toListener, type Session } from 'luggage-rack'

interface Visitor {
  name: string
  downloads: number
}

/** Events, until the browser goes away; then, within a second, `finally`. */
async function* ticks(name: string): AsyncGenerator<string> {
  try {
    for (let tick = 1; ; tick++) {
      yield `data: tick ${tick} for ${name}\n\n`
      await wait(1000)
    }
  } finally {
    console.log(`${name} left`) // the place to give back what the stream holds
  }
}

/** Many lines, made no faster than the client reads them. */
function* report(visitor: Session<Visitor>): Generator<string> {
  for (let line = 1; line <= 100_000; line++) yield `line ${line} for ${visitor.name}\n`
  try {
    visitor.downloads = 0 // too late: no change can reach the browser any more
  } catch (error) {
    if (!(error instanceof SessionCommittedError)) throw error
    yield `download ${visitor.downloads}, not counted at its end: ${error.code}\n`
  }
}

const page = `<!doctype html>
<title>Ticks</title>
<p>…</p>
<a href="/report" download>Download</a>
<script>
  new EventSource('/ticks').onmessage = ({ data }) => (document.querySelector('p').textContent = data)
</script>
`

const app = new Builder()
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<Visitor>({ key: '_ticks_session' }))
  .run(async (req) => {
    const session = await req.session
    const name = (session.name ??= randomUUID().slice(0, 8))
    switch (req.url) {
      case '/ticks':
        return [200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }, ticks(name)]
      case '/report':
        session.downloads = (session.downloads ?? 0) + 1
        return [200, { 'content-type': 'text/plain' }, report(session)]
      default:
        return [200, { 'content-type': 'text/html; charset=utf-8' }, page]
    }
  })

const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
