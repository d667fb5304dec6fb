import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import busboy from 'busboy'
import multer from 'multer'
import { test } from 'tap'
import {
  Builder,
  cookies,
  fromConnect,
  lint,
  MemoryStore,
  session,
  type App,
  type ConnectMiddleware,
} from '../../lib/index.ts'
import { ask, Client, serve, type Ask } from '../server.ts'
import { SECRET } from '../session-app.ts'

type Next = (error?: unknown) => void

interface Uploaded {
  readonly body: Readonly<Record<string, string>>
  readonly file: { readonly originalname: string; readonly size: number }
}

/** A form with a title and a photo, as a browser sends it. */
async function formOf(photo: string): Promise<Ask & { headers: Record<string, string>; body: string }> {
  const form = new FormData()
  form.set('title', 'On a train')
  form.set('photo', new Blob([photo], { type: 'image/png' }), 'train.png')
  const request = new Request('http://localhost/', { method: 'POST', body: form })
  const type = String(request.headers.get('content-type'))
  return { method: 'POST', headers: { host: 'localhost', 'content-type': type }, body: await request.text() }
}

/** Sessions around an upload; the controller keeps in the session what came. */
function uploads(mw: ConnectMiddleware, store = new MemoryStore()): App {
  return new Builder()
    .use(lint())
    .use(cookies({ secret: SECRET }))
    .use(session<{ titles: string[] }>({ store }))
    .use(lint())
    .use(fromConnect<Partial<Uploaded>>(mw))
    .use(lint())
    .run(async (req) => {
      const session = await req.session
      if (req.file) (session.titles ??= []).push(`${req.body?.['title']}: ${req.file.originalname}, ${req.file.size}`)
      return [200, { 'content-type': 'application/json' }, JSON.stringify(session.titles ?? [])]
    })
}

/** A middleware of one's own around busboy, as its documentation has it, and with a status for its errors. */
function busboyMiddleware(req: IncomingMessage & Partial<Uploaded>, _res: unknown, next: Next): void {
  if (!req.headers['content-type']?.startsWith('multipart/')) return next()
  const fail = (error: unknown): void => next(Object.assign(error as Error, { status: 400 }))
  const body: Record<string, string> = {}
  let file: Uploaded['file'] | undefined
  try {
    const form = busboy({ headers: req.headers, limits: { fileSize: 1_000_000 } })
    form.on('field', (name, value) => (body[name] = value))
    form.on('file', (_name, stream, { filename }) => {
      let size = 0
      stream.on('data', (chunk: Buffer) => (size += chunk.length))
      stream.on('end', () => (file = { originalname: filename ?? '', size }))
      stream.on('error', () => {})
    })
    form.on('error', fail)
    form.on('close', () => {
      Object.assign(req, { body, file })
      next()
    })
    req.pipe(form)
  } catch (error) {
    fail(error)
  }
}

/** multer's, with a status for its errors. */
function multerMiddleware(options: multer.Options = {}): ConnectMiddleware {
  const single = multer(options).single('photo')
  const withStatus: typeof single = (req, res, next) =>
    single(req, res, (error?: unknown) => next(error && Object.assign(error, { status: 400 })))
  return withStatus
}

for (const [name, mw] of Object.entries({ busboy: busboyMiddleware, multer: multerMiddleware() })) {
  test(`${name}: the fields and the file of a form arrive, and the session is saved beside them`, async (t) => {
    const { port, errors } = await serve(t, uploads(mw))
    const client = new Client(port)
    const send = async (photo: string) => {
      const { headers, ...form } = await formOf(photo)
      const cookie = client.jar.size > 0 ? { cookie: client.cookie } : undefined
      return client.get('/', { ...form, headers: { ...headers, ...cookie } })
    }
    t.equal((await client.get('/', { headers: { host: 'localhost' } })).body, '[]', 'a request without a form')
    t.equal((await send('x'.repeat(100_000))).body, '["On a train: train.png, 100000"]')
    t.equal((await send('y')).body, '["On a train: train.png, 100000","On a train: train.png, 1"]')
    t.same(errors, [])
  })

  test(`${name}: a broken form is refused with the status that its errors are given, and saves nothing`, async (t) => {
    const store = new MemoryStore()
    const { port, errors } = await serve(t, uploads(mw, store))
    const { headers, body } = await formOf('x'.repeat(1000))
    const broken: Record<string, [headers: Record<string, string>, body: string]> = {
      'that breaks off': [headers, body.slice(0, 700)],
      'without a boundary': [{ ...headers, 'content-type': 'multipart/form-data' }, body],
      'with another boundary': [{ ...headers, 'content-type': 'multipart/form-data; boundary=other' }, body],
      'with a malformed header': [headers, body.replace('Content-Type: ', 'Content-Type\0 ')],
    }
    for (const [how, [asked, text]] of Object.entries(broken)) {
      const answer = await ask(port, '/', { method: 'POST', headers: asked, body: text })
      t.match(answer, { status: 400, body: 'Bad Request\n', cookies: [] }, how)
    }
    t.equal(errors.length, 4)
  })
}

test('multer: without a status of our own, its errors are a 500', async (t) => {
  const { port, errors } = await serve(t, uploads(multer({ limits: { fileSize: 10 } }).single('photo')))
  t.equal((await ask(port, '/', await formOf('x'.repeat(11)))).status, 500)
  t.match(errors, [{ code: 'LIMIT_FILE_SIZE' }])
})

test('multer: a client that goes away in the middle leaves no file behind', async (t) => {
  const dest = t.testdir({})
  const { port, errors } = await serve(t, uploads(multerMiddleware({ dest })))
  const { headers, body } = await formOf('x'.repeat(500_000))
  const client = connect(port, '127.0.0.1')
  const lines = Object.entries({ ...headers, 'content-length': body.length }).map(
    ([name, value]) => `${name}: ${value}`,
  )
  client.write(`POST / HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body.slice(0, 300_000)}`)
  await once(client, 'connect')
  while (readdirSync(dest).length === 0) await turn()
  client.destroy()
  while (errors.length === 0 || readdirSync(dest).length > 0) await turn()
  t.match(errors, [{ status: 400 }])
})

test('multer: on a disk, the file is there when the app is called', async (t) => {
  const dest = t.testdir({})
  const app = new Builder()
    .use(fromConnect<{ file?: Express.Multer.File }>(multer({ dest }).single('photo')))
    .run((req) => [200, {}, req.file ? readFileSync(req.file.path) : null])
  const { port } = await serve(t, app)
  t.equal((await ask(port, '/', await formOf('a photo'))).body, 'a photo')
})
