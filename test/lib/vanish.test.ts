import { createReadStream, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import compression from 'compression'
import serveStatic from 'serve-static'
import { test, type Test } from 'tap'
import { Builder, cookies, fromConnect, session, type RackBody } from '../../lib/index.ts'
import { serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

const CLIENTS = 1000
const AT_ONCE = 50

const folder = mkdtempSync(join(tmpdir(), 'vanish-'))
const FILE = 'large.txt'
writeFileSync(join(folder, FILE), Buffer.alloc(8 * 1024 * 1024, 'a line of text, and another\n'))
process.on('exit', () => rmSync(folder, { recursive: true }))

/** What is open: generators that were started and not ended. */
let open = 0

async function* ticks(req: IncomingMessage): AsyncGenerator<string> {
  open++
  const left = new AbortController()
  // a generator that waits can only be stopped by what it waits for
  req.once('close', () => left.abort())
  try {
    for (;;) {
      yield `data: ${'x'.repeat(64 * 1024)}\n\n`
      // an hour, of which nobody is to wait for the end
      await wait(3_600_000, undefined, { signal: left.signal }).catch(() => {})
    }
  } finally {
    open--
  }
}

function* numbers(): Generator<string> {
  open++
  try {
    for (let i = 0; ; i++) yield `${i} ${'x'.repeat(64 * 1024)}\n`
  } finally {
    open--
  }
}

/** Events whose timer ends with the iterator, also while it waits. */
function events(): AsyncIterable<string> {
  return {
    [Symbol.asyncIterator]() {
      open++
      let timer: NodeJS.Timeout | undefined
      let first = true
      let end: (() => void) | undefined
      return {
        next: () => {
          if (first) {
            first = false
            return Promise.resolve({ done: false as const, value: ': hello\n\n' })
          }
          return new Promise((resolve) => {
            end = () => resolve({ done: true, value: undefined })
            timer = setTimeout(end, 3_600_000)
          })
        },
        return: () => {
          clearTimeout(timer)
          end?.()
          open--
          return Promise.resolve({ done: true as const, value: undefined })
        },
      }
    },
  }
}

function chunks(): ReadableStream<Uint8Array> {
  open++
  return new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024)),
    cancel: () => {
      open--
    },
  })
}

const bodies: Record<string, (req: IncomingMessage) => RackBody> = {
  'a generator': numbers,
  'an async generator that waits': ticks,
  'events with a timer': events,
  'a web stream': chunks,
  'a file': () => createReadStream(join(folder, FILE)),
}

/** A client that goes away when the first bytes of the body have come. */
function vanish(port: number, path: string, cookie: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nCookie: ${cookie}\r\n\r\n`)
    })
    let seen = ''
    socket.on('data', (bytes) => {
      seen += bytes.toString('latin1')
      if (seen.indexOf('\r\n\r\n') + 4 < seen.length) socket.resetAndDestroy()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve())
  })
}

const files = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(join('/proc/self/fd', fd)).startsWith(folder)
    } catch {
      return false
    }
  }).length

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

async function crowd(t: Test, port: number, path: string, before: number): Promise<void> {
  const [cookie = ''] = (await fetch(`http://127.0.0.1:${port}/sign-in`)).headers.getSetCookie()
  for (let gone = 0; gone < CLIENTS; gone += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => vanish(port, path, cookie.split(';')[0] as string)))
  }
  // the server hears of the last ones a little later than the clients; a leak would make this wait for ever
  const isClean = (): boolean => open === 0 && files() === 0 && timers() <= before
  while (!isClean()) await new Promise((resolve) => setImmediate(resolve))
  t.same([open, files(), timers() > before], [0, 0, false], 'no iterator, no file and no timer is left')
}

for (const [name, body] of Object.entries(bodies)) {
  for (const inside of ['', ', through compression']) {
    test(`1,000 clients that vanish while they are sent ${name}${inside} leave nothing behind`, async (t) => {
      const before = timers()
      const stack = new Builder().use(cookies({ secret: SECRET })).use(session<{ user: string }>())
      if (inside) stack.use(fromConnect(compression({ threshold: 0 })))
      const app = stack.run(async (req) => {
        const session = await req.session
        if (req.url === '/sign-in') session.user = 'ada'
        return req.url === '/sign-in' ? [204, {}, null] : [200, { 'content-type': 'text/event-stream' }, body(req)]
      })
      const { port, errors } = await serve(t, app)
      await crowd(t, port, '/', before)
      t.same(errors, [])
    })
  }
}

test('1,000 clients that vanish while serve-static sends them a file leave nothing behind', async (t) => {
  const before = timers()
  const app = new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(fromConnect(serveStatic(folder)))
    .run(() => [204, {}, null])
  const { port, errors } = await serve(t, app)
  await crowd(t, port, `/${FILE}`, before)
  t.same(errors, [])
})
