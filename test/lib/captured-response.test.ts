import { once } from 'node:events'
import { createReadStream, readdirSync, readlinkSync } from 'node:fs'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { closeBody } from '../../lib/body.ts'
import { CapturedResponse } from '../../lib/captured-response.ts'

type Body = AsyncIterableIterator<string | Uint8Array>

/** A response to a request whose socket leads nowhere. */
function capture(): CapturedResponse {
  return new CapturedResponse(new IncomingMessage(new Socket()))
}

/** The body of a response that is not whole. */
async function bodyOf(res: CapturedResponse): Promise<Body> {
  return (await res.response)[2] as Body
}

async function read(body: Body): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk))
  return Buffer.concat(chunks).toString()
}

/** The names of the events that tell of the end, in the order in which they come. */
function endsOf(res: CapturedResponse): string[] {
  const ends: string[] = []
  for (const name of ['finish', 'close']) res.on(name, () => ends.push(name))
  return ends
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

test('what is ended in the same turn is a whole body', async (t) => {
  const written: Record<string, (res: CapturedResponse) => void> = {
    end: (res) => res.end('aé'),
    'write and end': (res) => res.write('aé') && res.end(),
    'head and end': (res) => res.writeHead(200).end('aé'),
  }
  for (const [how, write] of Object.entries(written)) {
    const res = capture()
    write(res)
    t.same(await res.response, [200, {}, 'aé'], how)
  }
  const pieces = capture()
  pieces.write('a')
  pieces.write(Buffer.from('é'))
  pieces.end('b')
  t.same(await pieces.response, [200, {}, Buffer.from('aéb')])
})

test('where nothing was written there is no body', async (t) => {
  for (const nothing of [[], [''], [null]]) {
    const res = capture()
    res.statusCode = 302
    res.setHeader('Location', '/')
    res.end(...nothing)
    t.same(await res.response, [302, { location: '/' }, null])
  }
})

test('text in another encoding becomes bytes', async (t) => {
  const res = capture()
  res.write('YQ==', 'base64')
  res.end('62', 'hex')
  t.same((await res.response)[2], Buffer.from('ab'))
})

test('the head may be written in all of the ways that node knows', async (t) => {
  const heads: [...Parameters<CapturedResponse['writeHead']>][] = [
    [404, { 'X-A': '1', 'set-cookie': ['a=1', 'b=2'] }],
    [404, 'Not here', { 'X-A': '1', 'set-cookie': ['a=1', 'b=2'], 'x-none': undefined }],
    [404, ['X-A', '1', 'Set-Cookie', 'a=1', 'set-cookie', 'b=2']],
    [404, 'Not here', [['X-A', '1'] as never, ['Set-Cookie', ['a=1', 'b=2']] as never]],
    ['404' as unknown as number, undefined, { 'X-A': '1', 'set-cookie': ['a=1', 'b=2'] }],
  ]
  for (const head of heads) {
    const res = capture()
    res.setHeader('x-a', 'replaced')
    res.setHeader('x-b', 2)
    res.writeHead(...head)
    res.end()
    t.same(await res.response, [404, { 'x-a': '1', 'x-b': 2, 'set-cookie': ['a=1', 'b=2'] }, null])
  }
})

test('the head is that of the moment when it was written', async (t) => {
  const res = capture()
  t.equal(res.headersSent, false)
  res.writeHead(201, { 'x-a': '1' })
  res.statusCode = 500
  t.equal(res.headersSent, true)
  t.throws(() => res.setHeader('x-b', '2'), { code: 'ERR_HTTP_HEADERS_SENT' })
  t.throws(() => res.writeHead(200), { code: 'ERR_HTTP_HEADERS_SENT' })
  res.end()
  t.same(await res.response, [201, { 'x-a': '1' }, null])
})

test('a head that cannot be sent is an error of whoever writes it', async (t) => {
  const res = capture()
  for (const status of [0, 99, 1000, Number.NaN]) {
    t.throws(() => res.writeHead(status), { code: 'ERR_HTTP_INVALID_STATUS_CODE' })
  }
  t.throws(() => res.writeHead(200, { 'x-a': 'a\r\nb: c' }), { code: 'ERR_INVALID_CHAR' })
  t.throws(() => res.write(1), { code: 'ERR_INVALID_ARG_TYPE' })
  t.equal(res.headersSent, false)
})

test('a body that goes on is read as it is written', async (t) => {
  const res = capture()
  const ends = endsOf(res)
  res.writeHead(200)
  const body = await bodyOf(res)
  const reading = body.next()
  res.write('a')
  t.same(await reading, { done: false, value: 'a' })
  res.end('b')
  t.same([res.writableEnded, res.writableFinished], [true, false])
  t.same(await body.next(), { done: false, value: 'b' })
  t.same(ends, [], 'it is not over before it was read')
  t.same(await body.next(), { done: true, value: undefined })
  await turn()
  t.same(ends, ['finish', 'close'])
  t.same([res.writableFinished, res.closed, res.destroyed], [true, true, true])
})

test('several readers of one body each get an answer', async (t) => {
  const res = capture()
  res.flushHeaders()
  const body = await bodyOf(res)
  await body.next()
  const both = [body.next(), body.next()]
  res.end('a')
  t.same(await Promise.all(both), [
    { done: false, value: 'a' },
    { done: true, value: undefined },
  ])
})

test('write says when to hold on, and "drain" when to go on', async (t) => {
  const res = capture()
  res.flushHeaders()
  const body = await bodyOf(res)
  await body.next()
  const piece = 'x'.repeat(16 * 1024)
  let pieces = 0
  while (res.write(piece)) pieces++
  t.equal(pieces, 3, '64 KB')
  t.same([res.writableNeedDrain, res.writableLength], [true, 4 * piece.length])
  let isDrained = false
  res.on('drain', () => (isDrained = true))
  for (let i = 0; i < 3; i++) await body.next()
  await turn()
  t.notOk(isDrained)
  await body.next()
  await turn()
  t.ok(isDrained)
  t.same([res.writableNeedDrain, res.writableLength], [false, 0])
})

test('callbacks are called once, when their piece was taken', async (t) => {
  const called: string[] = []
  const whole = capture()
  whole.write('a', () => called.push('a'))
  whole.write('b', 'utf8', () => called.push('b'))
  whole.end('c', () => called.push('end'))
  await whole.response
  await turn()
  t.same(called.splice(0), ['a', 'b', 'end'])

  const res = capture()
  res.write('a', () => called.push('a'))
  const body = await bodyOf(res)
  res.end(() => called.push('end'))
  await turn()
  t.same(called, [])
  t.equal(await read(body), 'a')
  await turn()
  t.same(called, ['a', 'end'])
})

test('a body that is dropped is over: its writers hear of it, and what was piped is given back', async (t) => {
  const res = capture()
  const ends = endsOf(res)
  const source = new Readable({ read: () => {} })
  source.pipe(res)
  source.push('a')
  const body = await bodyOf(res)
  const errors: unknown[] = []
  res.write('b', (error: unknown) => errors.push(error))
  closeBody(body)
  t.equal(
    res.write('c', (error: unknown) => errors.push(error)),
    false,
  )
  res.end('d')
  await turn()
  t.ok(source.destroyed)
  t.match(errors, [{ code: 'ERR_STREAM_WRITE_AFTER_END' }, { code: 'ERR_STREAM_WRITE_AFTER_END' }])
  t.same(ends, ['finish', 'close'])
  t.same(await body.next(), { done: true, value: undefined })
})

test('a reader that waits is let go when the body is dropped', async (t) => {
  const res = capture()
  res.flushHeaders()
  const body = await bodyOf(res)
  await body.next()
  const waiting = body.next()
  await body.return?.()
  t.same(await waiting, { done: true, value: undefined })
})

test("the request's own body, piped back, is not destroyed with it", async (t) => {
  const req = new IncomingMessage(new Socket())
  const res = new CapturedResponse(req)
  req.pipe(res)
  req.push('a')
  closeBody(await bodyOf(res))
  await turn()
  t.notOk(req.destroyed)
})

test("node's own pipeline writes a file, and closes it where the body is dropped", async (t) => {
  const folder = t.testdir({ large: 'x'.repeat(1024 * 1024) })
  const file = join(folder, 'large')
  const res = capture()
  const written = pipeline(createReadStream(file), res)
  t.equal((await read(await bodyOf(res))).length, 1024 * 1024)
  await written

  const dropped = capture()
  const source = createReadStream(file)
  const broken = pipeline(source, dropped)
  const body = await bodyOf(dropped)
  await body.next()
  await Promise.all([t.rejects(broken, { code: 'ERR_STREAM_PREMATURE_CLOSE' }), body.return?.()])
  if (!source.closed) await once(source, 'close')
  t.equal(filesOpen(folder), 0)
})

test('a client that goes away closes the response, whose triple is still made', async (t) => {
  const req = new IncomingMessage(new Socket())
  const res = new CapturedResponse(req)
  const ends = endsOf(res)
  req.socket.destroy()
  await once(res, 'close')
  t.same([res.destroyed, res.writableEnded], [true, false])
  res.writeHead(200, { 'x-a': '1' })
  const source = new Readable({ read: () => {} })
  source.pipe(res)
  source.push('a')
  const [status, headers, body] = await res.response
  t.same([status, headers], [200, { 'x-a': '1' }])
  closeBody(body)
  await turn()
  t.ok(source.destroyed)
  t.same(ends, ['close'], 'nothing was finished')
  t.equal(res.writableFinished, false)
})

test('a connection has one listener, however many responses there are', async (t) => {
  const req = new IncomingMessage(new Socket())
  const before = req.socket.listenerCount('close')
  const responses = Array.from({ length: 20 }, () => new CapturedResponse(req))
  t.equal(req.socket.listenerCount('close'), before + 1)
  const closed = Promise.all(responses.map((res) => once(res, 'close')))
  req.socket.destroy()
  t.equal((await closed).length, 20)
})

test('a response that fails before its head has no triple', async (t) => {
  const refused = Object.assign(new Error('no'), { status: 403 })
  const failures: [error: unknown, status: number][] = [
    [new Error('no'), 500],
    [refused, 403],
    ['no', 500],
    [undefined, 500],
  ]
  for (const [error, status] of failures) {
    const res = capture()
    const ends = endsOf(res)
    res.fail(error)
    const failure = await res.response.then(
      () => t.fail('there is one'),
      (reason: unknown) => reason,
    )
    t.equal(failure, error, 'the error is what it was')
    t.same([res.headersSent, res.statusCode], [true, status], 'loggers see the answer that it will get')
    t.throws(() => res.writeHead(200), { code: 'ERR_HTTP_HEADERS_SENT' })
    await turn()
    t.same(ends, ['finish', 'close'])
  }
})

test('a body that fails breaks off behind what was written before', async (t) => {
  const error = new Error('no')
  const res = capture()
  const ends = endsOf(res)
  res.write('a')
  const body = await bodyOf(res)
  t.equal((await body.next()).value, 'a')
  res.write('b')
  res.fail(error)
  res.fail(new Error('another'))
  t.equal((await body.next()).value, 'b')
  await t.rejects(body.next(), error)
  await t.rejects(body.next(), error)
  await turn()
  t.same(ends, ['close'], 'nothing was finished')
})

test('a body that fails before anything of it was read gives the error first', async (t) => {
  const error = new Error('no')
  const res = capture()
  res.write('a')
  const body = await bodyOf(res)
  res.fail(error)
  await t.rejects(body.next(), error)
  t.equal(res.statusCode, 500)
})

test('destroy breaks it off, with or without an error', async (t) => {
  const error = new Error('no')
  await t.rejects(capture().destroy(error).response, error)
  await t.rejects(capture().destroy().response, { message: 'The response was destroyed before its end.' })
  const res = capture()
  res.end('a')
  await res.response
  await turn()
  t.doesNotThrow(() => res.destroy(error), 'or does nothing after the end')
})

test('methods that are replaced are called, and call these, once each', async (t) => {
  const calls: string[] = []
  const patched = (): CapturedResponse => {
    const res = capture()
    const [writeHead, write, end] = [res.writeHead.bind(res), res.write.bind(res), res.end.bind(res)]
    res.writeHead = (...args) => {
      calls.push('writeHead')
      res.setHeader('x-late', '1')
      return writeHead(...args)
    }
    res.write = (...args: unknown[]) => {
      calls.push('write')
      return write(...(args as [unknown]))
    }
    res.end = (...args: unknown[]) => {
      calls.push('end')
      return end(...(args as [unknown]))
    }
    return res
  }
  const whole = patched()
  whole.end('a')
  t.same(calls.splice(0), ['end', 'writeHead'])
  t.same(await whole.response, [200, { 'x-late': '1' }, 'a'])

  const flushed = patched()
  flushed.flushHeaders()
  flushed.flushHeaders()
  t.same(calls.splice(0), ['writeHead'])
  t.equal((await (await bodyOf(flushed)).next()).value, '', 'a piece by which the listener sends the head')

  const implicit = patched()
  ;(implicit as unknown as { _implicitHeader: () => void })._implicitHeader()
  implicit.end()
  t.same(calls.splice(0), ['writeHead', 'end'])
  t.same(await implicit.response, [200, { 'x-late': '1' }, null])
})

test('a response that is given another prototype, as Express does, goes on', async (t) => {
  const res = capture()
  Object.setPrototypeOf(res, Object.create(ServerResponse.prototype, { locals: { value: 1 } }) as object)
  res.writeHead(200, { 'x-a': '1' })
  res.end('a')
  t.same(await res.response, [200, { 'x-a': '1' }, 'a'])
  t.ok(res instanceof ServerResponse)
  t.notOk(res instanceof CapturedResponse)
})

test('a body that is fed is begun when it is first read, and stopped when the response is over', async (t) => {
  const calls: string[] = []
  const feed = (res: CapturedResponse): void => {
    res.feed(
      () => calls.push('start'),
      () => calls.push('stop'),
    )
  }
  const res = capture()
  res.writeHead(200)
  feed(res)
  const body = await bodyOf(res)
  await turn()
  t.same(calls, [])
  const reading = body.next()
  t.same(calls.splice(0), ['start'])
  res.end()
  await reading
  t.same(calls.splice(0), ['stop'])

  const unread = capture()
  unread.writeHead(200)
  feed(unread)
  closeBody(await bodyOf(unread))
  t.same(calls.splice(0), ['stop'])

  feed(unread)
  t.same(calls.splice(0), ['stop'], 'at once, where it is over')

  feed(capture())
  t.same(calls.splice(0), ['start'], 'at once, where the head does not come without a body')
})

test("the request's socket is left alone", async (t) => {
  const req = new IncomingMessage(new Socket())
  const res = new CapturedResponse(req)
  res.cork()
  t.equal(req.socket.writableCorked, 0)
  res.uncork()
  res.write('a')
  res.writeContinue()
  res.writeProcessing()
  const hinted = new Promise<void>((resolve) => res.writeEarlyHints({ link: '</a>' }, resolve))
  res.end()
  await hinted
  await res.response
  t.equal(req.socket.writableLength + req.socket.bytesWritten, 0)
})

test('a request without a socket has a response all the same', async (t) => {
  const res = new CapturedResponse(new IncomingMessage(undefined as unknown as Socket))
  res.end('a')
  t.same(await res.response, [200, {}, 'a'])
  t.equal(res.socket, null)
})

test('headers of the response are no headers of the prototype', async (t) => {
  const res = capture()
  res.setHeader('__proto__', 'a')
  res.writeHead(200, { constructor: 'b' })
  res.end()
  const [, headers] = await res.response
  t.same(Object.entries(headers), [
    ['__proto__', 'a'],
    ['constructor', 'b'],
  ])
})
