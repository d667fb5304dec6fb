import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { IncomingMessage, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { connect, Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import compression from 'compression'
import morgan from 'morgan'
import serveStatic from 'serve-static'
import { test, type Test } from 'tap'
import { Builder, cookies, fromConnect, lint, session, type App } from '../../lib/index.ts'
import { ask, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

const LARGE = 16 * 1024 * 1024

/** A folder of files, one of them large. */
function folderOf(t: Test): string {
  const folder = t.testdir({ 'a.txt': 'a file\n', 'b.html': '<p>b</p>\n', dir: { 'index.html': '<p>index</p>\n' } })
  writeFileSync(join(folder, 'large.bin'), Buffer.alloc(LARGE, 'what a large file is made of, '))
  return folder
}

const rest: App = (req) => [200, { 'content-type': 'text/plain' }, `rest ${req.url}\n`]

/** The files, between layers that check every rule, and below a session that nobody uses. */
function files(folder: string, options?: serveStatic.ServeStaticOptions, app: App = rest): App {
  return new Builder()
    .use(cookies({ secret: SECRET }))
    .use(session())
    .use(lint())
    .use(fromConnect(serveStatic(folder, options)))
    .use(lint())
    .run(app)
}

/** The files below a folder that this process has open. */
function filesOpen(folder: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(join('/proc/self/fd', fd)).startsWith(folder)
    } catch {
      return false
    }
  }).length
}

async function allClosed(folder: string): Promise<void> {
  while (filesOpen(folder) > 0) await turn()
}

test('serve-static: a file is sent with all that is known of it; what is none goes to the app', async (t) => {
  const { port, errors } = await serve(t, files(folderOf(t)))
  const { headers, ...answer } = await ask(port, '/a.txt')
  t.match(answer, { status: 200, body: 'a file\n', cookies: [] })
  t.match(headers, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': '7',
    'accept-ranges': 'bytes',
    'cache-control': 'public, max-age=0',
    etag: /^W\/"/,
    'last-modified': / GMT$/,
  })
  t.equal((await ask(port, '/none?a')).body, 'rest /none?a\n')
  t.equal((await ask(port, '/a.txt', { method: 'POST' })).body, 'rest /a.txt\n')
  t.equal((await ask(port, '/dir/')).body, '<p>index</p>\n')
  t.equal((await ask(port, '/%2e%2e/package.json')).body, 'rest /%2e%2e/package.json\n')
  t.same(errors, [])
})

test('serve-static: HEAD and conditional requests are answered without opening the file', async (t) => {
  const folder = folderOf(t)
  const { port, errors } = await serve(t, files(folder))
  const head = await ask(port, '/large.bin', { method: 'HEAD' })
  t.match(head, { status: 200, headers: { 'content-length': String(LARGE) }, body: '' })
  const conditions: IncomingHttpHeaders[] = [
    { 'if-none-match': head.headers.etag },
    { 'if-modified-since': head.headers['last-modified'] },
  ]
  for (const headers of conditions) {
    const answer = await ask(port, '/large.bin', { headers: headers as Record<string, string> })
    t.match(answer, { status: 304, headers: { etag: head.headers.etag }, body: '' })
    t.notOk('content-length' in answer.headers || 'content-type' in answer.headers)
  }
  t.equal((await ask(port, '/a.txt', { headers: { 'if-match': '"other"' } })).status, 412)
  t.equal(filesOpen(folder), 0)
  t.match(errors, [{ status: 412 }])
})

test('serve-static: a part of a file', async (t) => {
  const { port } = await serve(t, files(folderOf(t)))
  const part = await ask(port, '/a.txt', { headers: { range: 'bytes=2-5' } })
  t.match(part, { status: 206, headers: { 'content-range': 'bytes 2-5/7', 'content-length': '4' }, body: 'file' })
  const end = await ask(port, '/large.bin', { headers: { range: 'bytes=-10' } })
  t.match(end, { status: 206, headers: { 'content-length': '10' } })
  t.equal((await ask(port, '/a.txt', { headers: { range: 'bytes=9-' } })).status, 416)
})

test('serve-static: a large file arrives as it is', async (t) => {
  const folder = folderOf(t)
  const { port, url, errors } = await serve(t, files(folder))
  const expected = createHash('sha256').update(Buffer.alloc(LARGE, 'what a large file is made of, ')).digest('hex')
  const hash = createHash('sha256')
  const response = await fetch(`${url}/large.bin`)
  for await (const chunk of response.body ?? []) hash.update(chunk as Uint8Array)
  t.equal(hash.digest('hex'), expected)
  t.equal((await ask(port, '/a.txt')).status, 200)
  await allClosed(folder)
  t.same(errors, [])
})

test('serve-static: the file is read no faster than the client takes it', async (t) => {
  const folder = folderOf(t)
  const streams: { bytesRead: number }[] = []
  const watched = (req: IncomingMessage, res: ServerResponse, next: () => void): void => {
    res.on('pipe', (stream: { bytesRead: number }) => streams.push(stream))
    serveStatic(folder)(req, res, next)
  }
  const req = Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url: '/large.bin', headers: {} })
  const [, , body] = await fromConnect(watched)(rest)(req)
  const reader = body as AsyncIterableIterator<Uint8Array>
  let read = 0
  for (let i = 0; i < 50; i++) {
    read += ((await reader.next()).value as Uint8Array).length
    for (let j = 0; j < 5; j++) await turn()
    const ahead = (streams[0]?.bytesRead ?? Infinity) - read
    t.ok(ahead <= 512 * 1024, `${ahead} bytes ahead`)
  }
  await reader.return?.()
  await allClosed(folder)
})

test('serve-static: inside map a folder without its slash is redirected to where it is', async (t) => {
  const folder = folderOf(t)
  const app = new Builder()
    .map('/files', (inner) => inner.use(fromConnect(serveStatic(folder))).run(rest))
    .map('/deep', (inner) =>
      inner.map('/er', (deeper) => deeper.use(fromConnect(serveStatic(join(folder, 'dir')))).run(rest)),
    )
  const { port } = await serve(t, app.run())
  t.match(await ask(port, '/files/dir'), { status: 301, headers: { location: '/files/dir/' } })
  t.match(await ask(port, '/files/dir?a=b'), { status: 301, headers: { location: '/files/dir/?a=b' } })
  t.match(await ask(port, '/deep/er'), { status: 301, headers: { location: '/deep/er/' } })
  t.equal((await ask(port, '/deep/er/')).body, '<p>index</p>\n')
  t.equal((await ask(port, '/files/a.txt')).body, 'a file\n')
  t.equal((await ask(port, '/files/none')).body, 'rest /none\n')
  t.match(await ask(port, '/files'), { status: 301, headers: { location: '/files/' } })
})

test('serve-static: without fall-through its errors are the answer, with their status', async (t) => {
  const { port, errors } = await serve(t, files(folderOf(t), { fallthrough: false, dotfiles: 'deny' }))
  t.equal((await ask(port, '/none')).status, 404)
  t.equal((await ask(port, '/.hidden')).status, 403)
  t.equal((await ask(port, '/%00')).status, 400)
  t.match(await ask(port, '/a.txt', { method: 'POST' }), { status: 405, headers: { allow: 'GET, HEAD' }, body: '' })
  t.match(errors, [{ status: 404 }, { status: 403 }, { status: 400 }])
})

test('serve-static: the headers that the application sets', async (t) => {
  const setHeaders = (res: ServerResponse): void => void res.setHeader('X-Kind', 'file')
  const { port } = await serve(t, files(folderOf(t), { setHeaders, maxAge: '1h', immutable: true }))
  const { headers } = await ask(port, '/a.txt')
  t.equal(headers['x-kind'], 'file')
  t.equal(headers['cache-control'], 'public, max-age=3600, immutable')
})

test('serve-static: below compression, text is compressed and what is not stays as it is', async (t) => {
  const folder = t.testdir({ 'a.txt': 'a file\n'.repeat(1000) })
  const app = new Builder()
    .use(lint())
    .use(fromConnect(compression()))
    .use(lint())
    .use(fromConnect(serveStatic(folder)))
    .run(rest)
  const { url, port } = await serve(t, app)
  const response = await fetch(`${url}/a.txt`, { headers: { 'accept-encoding': 'gzip' } })
  t.equal(response.headers.get('content-encoding'), 'gzip')
  t.equal(await response.text(), 'a file\n'.repeat(1000))
  t.equal((await ask(port, '/a.txt')).headers['content-length'], '7000')
  await allClosed(folder)
})

for (const how of ['reads nothing', 'reads a little'] as const) {
  test(`serve-static: a client that ${how} of a large file and goes away leaves no file open, and a line in the log`, async (t) => {
    const folder = folderOf(t)
    const lines: string[] = []
    const stream = { write: (line: string): unknown => lines.push(line.trimEnd()) }
    const app = new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session())
      .use(fromConnect(morgan(':method :url :status', { stream })))
      .use(lint())
      .use(fromConnect(serveStatic(folder)))
      .run(rest)
    const { port, errors } = await serve(t, app)
    const clients = Array.from({ length: 20 }, () => connect(port, '127.0.0.1'))
    for (const client of clients) {
      client.write('GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\n')
      if (how === 'reads nothing') await once(client, 'connect')
      else await once(client, 'data')
    }
    while (filesOpen(folder) < clients.length) await turn()
    for (const client of clients) client.destroy()
    while (lines.length < clients.length) await turn()
    await allClosed(folder)
    for (const line of lines)
      t.match(line, how === 'reads nothing' ? /^GET \/large\.bin (200|-)$/ : 'GET /large.bin 200')
    t.equal(lines.length, clients.length)
    t.same(errors, [])
  })
}

test('serve-static: a layer above that drops the body, and one that fails, leave no file open', async (t) => {
  const folder = folderOf(t)
  const drop: App = async (req) => {
    const [status, headers, body] = await files(folder)(req)
    const reader = (body as AsyncIterable<unknown>)[Symbol.asyncIterator]()
    if (req.url?.endsWith('read')) await reader.next()
    await reader.return?.()
    return [status, { etag: String(headers['etag']) }, 'instead\n']
  }
  const fail: App = async (req) => {
    const [status, headers, body] = await files(folder)(req)
    return [status, { ...headers, 'x-a': 'a\nb' }, body]
  }
  const { port } = await serve(t, (req) => (req.url === '/large.bin?fail' ? fail : drop)(req))
  t.equal((await ask(port, '/large.bin')).body, 'instead\n')
  t.equal((await ask(port, '/large.bin?read')).body, 'instead\n')
  t.equal((await ask(port, '/large.bin?fail')).status, 500)
  await allClosed(folder)
  t.equal(filesOpen(folder), 0)
})

test('serve-static: a client that asks for several files in one connection gets them in order', async (t) => {
  const { port } = await serve(t, files(folderOf(t)))
  const client = connect(port, '127.0.0.1')
  const asked = ['a.txt', 'b.html', 'none'].map((path) => `GET /${path} HTTP/1.1\r\nhost: x\r\n`)
  client.write(`${asked.join('\r\n')}connection: close\r\n\r\n`)
  const text = String(Buffer.concat((await client.toArray()) as Buffer[]))
  t.match(text.replaceAll(/^HTTP.*?\r\n\r\n/gms, ''), 'a file\n<p>b</p>\nrest /none\n')
})
