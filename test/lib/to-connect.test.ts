import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { PassThrough, Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { Builder, cookies, CookieStore, flash, MemoryStore, session, sessionFor, toConnect } from '../../lib/index.ts'
import { ask, askRaw, Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { count, GatedStore, listen, mount, stackOn, text, type Req } from './to-connect-app.ts'

interface Way {
  answer: (res: ServerResponse) => unknown
  method?: string
  status?: number
  body?: string
  headers?: Record<string, string | string[]>
}

const ways: Record<string, Way> = {
  end: { answer: (res) => res.end('hello'), headers: { 'content-length': '5' } },
  'end of bytes': { answer: (res) => res.end(Buffer.from('hello')), headers: { 'content-length': '5' } },
  'end in latin1': { answer: (res) => res.end('h\u00e9llo', 'latin1'), body: 'h\ufffdllo' },
  'end with nothing': { answer: (res) => res.end(), body: '', headers: { 'content-length': '0' } },
  'write and end': { answer: (res) => (res.write('hel'), res.end('lo')), headers: { 'transfer-encoding': 'chunked' } },
  'write in hex': { answer: (res) => (res.write('68656c6c6f', 'hex'), res.end()) },
  'setHeader and statusCode': {
    answer: (res) => {
      res.statusCode = 201
      res.setHeader('X-Thing', 'tea')
      res.end('hello')
    },
    status: 201,
    headers: { 'x-thing': 'tea' },
  },
  'writeHead with an object': {
    answer: (res) => res.writeHead(202, { 'Content-Type': 'text/plain', 'X-List': ['a', 'b'] }).end('hello'),
    status: 202,
    headers: { 'content-type': 'text/plain', 'x-list': 'a, b' },
  },
  'writeHead with a flat list': {
    answer: (res) => res.writeHead(202, ['X-Thing', 'tea', 'Set-Cookie', 'a=1', 'set-cookie', 'b=2']).end('hello'),
    status: 202,
    headers: { 'x-thing': 'tea' },
  },
  'writeHead with a list of pairs': {
    answer: (res) =>
      res
        .writeHead(202, [
          ['X-Thing', 'tea'],
          ['X-Other', 'map'],
        ] as never)
        .end('hello'),
    status: 202,
    headers: { 'x-thing': 'tea', 'x-other': 'map' },
  },
  'writeHead over setHeader': {
    answer: (res) => {
      res.setHeader('x-thing', 'map')
      res.writeHead(202, { 'X-Thing': 'tea' }).end('hello')
    },
    status: 202,
    headers: { 'x-thing': 'tea' },
  },
  'writeHead, write and end': {
    answer: (res) => {
      res.writeHead(200, { 'content-length': 5 })
      res.write('hel')
      res.end('lo')
    },
    headers: { 'content-length': '5' },
  },
  'pipe of a file': {
    answer: (res) => createReadStream('LICENSE').pipe(res),
    body: await text(createReadStream('LICENSE')),
  },
  'pipe of more than any buffer': {
    answer: (res) => Readable.from(Array.from({ length: 40 }, (_, i) => String(i % 10).repeat(50_000))).pipe(res),
    body: Array.from({ length: 40 }, (_, i) => String(i % 10).repeat(50_000)).join(''),
  },
  pipeline: {
    answer: (res) => pipeline(Readable.from(['he', 'l', 'lo']), res),
  },
  'pipeline of a generator': {
    answer: (res) =>
      pipeline(async function* () {
        yield 'hel'
        yield await Promise.resolve('lo')
      }, res),
  },
  'writes that wait for drain': {
    answer: async (res) => {
      for (const chunk of ['h', 'e', 'l', 'l', 'o']) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        if (!res.write(chunk)) await once(res, 'drain')
      }
      res.end()
    },
  },
  'flushHeaders and a later write': {
    answer: async (res) => {
      res.flushHeaders()
      await new Promise((resolve) => res.write('hel', resolve))
      res.end('lo')
    },
  },
  'web stream': {
    answer: (res) => Readable.toWeb(Readable.from([Buffer.from('hello')])).pipeTo(Writable.toWeb(res)),
  },
  redirect: { answer: (res) => res.writeHead(303, { location: '/next' }).end(), status: 303, body: '' },
  'not modified': { answer: (res) => res.writeHead(304, { etag: '"x"' }).end(), status: 304, body: '' },
  'no content': { answer: (res) => res.writeHead(204).end(), status: 204, body: '' },
  HEAD: {
    answer: (res) => (res.setHeader('content-length', 5), res.end('hello')),
    method: 'HEAD',
    body: '',
    headers: { 'content-length': '5' },
  },
  trailers: {
    answer: (res) => {
      res.writeHead(200, { trailer: 'x-sum' })
      res.write('hello')
      res.addTrailers({ 'x-sum': '5' })
      res.end()
    },
  },
}

for (const [name, { answer, method = 'GET', status = 200, body = 'hello', headers = {} }] of Object.entries(ways)) {
  test(`answered by ${name}, the save is awaited before the first byte goes out`, async (t) => {
    const store = new GatedStore()
    let sent: (() => number) | undefined
    const { port, nexts, errors } = await mount(t, stackOn(store), async (req, res) => {
      const socket = req.socket
      sent = () => socket.bytesWritten
      await count(req)
      await answer(res)
    })
    const client = new Client(port)
    const answered = client.get('/', { method })
    const save = await store.saving()
    t.equal((await ask(port, '/beside')).body, 'beside', 'others are answered meanwhile')
    t.equal(sent?.(), 0, 'and nothing of this one')
    save.finish()
    const got = await answered
    t.equal(got.status, status)
    t.equal(got.body, body)
    t.match(got.headers, headers)
    t.match(client.jar.get('_session_id'), /^[\da-f]{32}$/)
    t.strictSame(nexts, [undefined], 'next was called once')
    t.strictSame(errors, [])
    t.equal(store.memory.size, 1)
  })

  test(`answered by ${name}, a session that nobody touched changes nothing`, async (t) => {
    const { port } = await mount(t, stackOn(), (_req, res) => answer(res))
    const plain = await listen(t, (_req, res) => void answer(res))
    const [got, wanted] = [await ask(port, '/', { method }), await ask(plain, '/', { method })]
    const { date: _, ...rest } = wanted.headers
    t.equal(got.status, wanted.status)
    t.equal(got.body, wanted.body)
    t.match(got.headers, rest)
    t.equal(Object.keys(got.headers).length, Object.keys(wanted.headers).length)
  })

  test(`answered by ${name}, a save that fails is an error page with nothing of what was held`, async (t) => {
    const store = new GatedStore()
    const { port, nexts } = await mount(t, stackOn(store), async (req, res) => {
      res.setHeader('x-handler', 'yes')
      await count(req)
      await answer(res)
    })
    const answered = ask(port, '/', { method })
    ;(await store.saving()).fail(new Error('the store is down'))
    const { status, headers, body, cookies } = await answered
    t.equal(status, 500)
    t.equal(body, method === 'HEAD' ? '' : 'failed: the store is down')
    t.strictSame(cookies, [])
    for (const header of ['x-handler', 'x-thing', 'location', 'etag', 'trailer', 'vary', 'cache-control']) {
      t.notOk(header in headers, header)
    }
    t.match(nexts, [undefined, { message: 'the store is down' }])
    t.equal(nexts.length, 2)
    t.equal((await ask(port, '/beside')).body, 'beside')
  })
}

test('while the save is pending, res reads as node has it after an answer', async (t) => {
  const store = new GatedStore()
  let read: unknown
  let late: ServerResponse | undefined
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    late = res
    await count(req)
    t.equal(res.headersSent, false)
    t.equal(res.write('hel'), false)
    t.equal(res.headersSent, true)
    t.equal(res.writableEnded, false)
    t.equal(res.end('lo'), res)
    read = [res.headersSent, res.writableEnded, res.writableFinished, res.statusCode]
    t.throws(() => res.setHeader('x-late', '1'), { code: 'ERR_HTTP_HEADERS_SENT' })
    t.throws(() => res.removeHeader('x-late'), { code: 'ERR_HTTP_HEADERS_SENT' })
    t.throws(() => res.appendHeader('x-late', '1'), { code: 'ERR_HTTP_HEADERS_SENT' })
    t.throws(() => res.writeHead(404), { code: 'ERR_HTTP_HEADERS_SENT' })
    res.statusCode = 404
  })
  const answered = ask(port, '/')
  const save = await store.saving()
  t.strictSame(read, [true, true, false, 200])
  save.finish()
  const { status, body, headers } = await answered
  t.equal(status, 200)
  t.equal(body, 'hello')
  t.notOk('x-late' in headers)
  t.strictSame([late?.headersSent, late?.writableEnded], [true, true])
})

test('the reason that writeHead was given is sent', async (t) => {
  const { port } = await mount(t, stackOn(), async (req, res) => {
    await count(req)
    res.writeHead(404, 'No Such Thing', { 'x-thing': 'tea' }).end()
  })
  const raw = await askRaw(port, 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  t.match(raw, /^HTTP\/1\.1 404 No Such Thing\r\n/)
  t.match(raw, /\r\nx-thing: tea\r\n/)
})

test('the names of headers go out as the handler wrote them, and trailers too', async (t) => {
  const { port } = await mount(t, stackOn(), async (req, res) => {
    await count(req)
    res.setHeader('X-Some-Thing', 'tea')
    res.writeHead(200, { 'X-Other-Thing': 'map', Trailer: 'X-Sum' })
    res.write('hello')
    res.addTrailers({ 'X-Sum': '5' })
    res.end()
  })
  const raw = await askRaw(port, 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  t.match(raw, /\r\nX-Some-Thing: tea\r\nX-Other-Thing: map\r\n/)
  t.match(raw, /\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n$/)
})

test('what announces another response goes out at once', async (t) => {
  const store = new GatedStore()
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.writeProcessing()
    res.writeEarlyHints({ link: '</a.css>; rel=preload; as=style' })
    res.end('hello')
  })
  const req = get({ port, host: '127.0.0.1', agent: false })
  const hints = new Promise((resolve) => {
    req.on('information', ({ statusCode }: { statusCode: number }) => statusCode === 103 && resolve(statusCode))
  })
  const save = await store.saving()
  t.equal(await hints, 103)
  save.finish()
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  t.equal(await text(res), 'hello')
})

test('a failed save drops the reason that the handler gave, too', async (t) => {
  const store = new GatedStore()
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.writeHead(404, 'No Such Thing').end()
  })
  const raw = askRaw(port, 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  ;(await store.saving()).fail(new Error('down'))
  t.match(await raw, /^HTTP\/1\.1 500 Internal Server Error\r\n/)
})

test('a client that expects 100-continue gets it, and its answer after the save', async (t) => {
  const store = new GatedStore()
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.end(await text(req))
  })
  const answered = ask(port, '/', { method: 'POST', headers: { expect: '100-continue' }, body: 'tea' })
  ;(await store.saving()).finish()
  t.equal((await answered).body, 'tea')
})

test('lines of set-cookie from before, of the handler and of the stack are all sent', async (t) => {
  const { port } = await mount(
    t,
    stackOn(),
    async (req, res) => {
      await count(req)
      res.appendHeader('set-cookie', 'handler=1')
      req.cookies.set('jar', '1')
      res.writeHead(200).end()
    },
    (_req, res, next) => {
      res.setHeader('Set-Cookie', 'before=1')
      next()
    },
  )
  const { cookies: lines } = await ask(port, '/')
  t.match(lines, [/^before=1$/, /^handler=1$/, /^jar=1;/, /^_session_id=/])
  t.equal(lines.length, 4)
})

test('after a failed save the lines of set-cookie are those from before', async (t) => {
  const store = new GatedStore()
  const { port } = await mount(
    t,
    stackOn(store),
    async (req, res) => {
      await count(req)
      // node appends to the very list that is there
      res.appendHeader('set-cookie', 'handler=1')
      res.removeHeader('x-before')
      res.statusMessage = 'Fine'
      res.end('held')
    },
    (_req, res, next) => {
      res.setHeader('set-cookie', ['before=1'])
      res.setHeader('X-Before', 'yes')
      next()
    },
  )
  const answered = ask(port, '/')
  ;(await store.saving()).fail(new Error('down'))
  const { status, cookies: lines, headers } = await answered
  t.equal(status, 500)
  t.strictSame(lines, ['before=1'])
  t.equal(headers['x-before'], 'yes')
})

// ---- as node has it

test('what node refuses is refused at once, and the handler can still answer', async (t) => {
  const refused: [RegExp | string, (res: ServerResponse) => unknown][] = [
    ['ERR_INVALID_ARG_TYPE', (res) => res.write(5)],
    ['ERR_INVALID_ARG_TYPE', (res) => res.end({} as never)],
    ['ERR_STREAM_NULL_VALUES', (res) => res.write(null)],
    ['ERR_HTTP_INVALID_STATUS_CODE', (res) => res.writeHead(99)],
    ['ERR_HTTP_INVALID_STATUS_CODE', (res) => res.writeHead('fine' as never)],
    ['ERR_INVALID_CHAR', (res) => res.writeHead(200, { 'x-a': 'a\nb' })],
    ['ERR_INVALID_CHAR', (res) => res.writeHead(200, 'a\nb')],
    ['ERR_HTTP_INVALID_HEADER_VALUE', (res) => res.writeHead(200, { 'x-a': undefined })],
    ['ERR_INVALID_HTTP_TOKEN', (res) => res.writeHead(200, { 'x a': '1' })],
    ['ERR_INVALID_ARG_VALUE', (res) => res.writeHead(200, ['x-a'])],
    [
      'ERR_HTTP_INVALID_STATUS_CODE',
      (res) => {
        res.statusCode = 1000
        res.end('x')
      },
    ],
  ]
  const codes: unknown[] = []
  const { port } = await mount(t, stackOn(), async (req, res) => {
    await count(req)
    for (const [, answer] of refused) {
      try {
        answer(res)
      } catch (error) {
        codes.push((error as { code: string }).code)
      }
      t.equal(res.headersSent, false)
    }
    res.statusMessage = ''
    res.writeHead(200).end('fine')
  })
  t.match(await ask(port, '/'), { status: 200, body: 'fine', cookies: [/^_session_id=/] })
  t.strictSame(
    codes,
    refused.map(([code]) => code),
  )
})

test('a status that is text of a number counts as that number', async (t) => {
  const { port } = await mount(t, stackOn(), (_req, res) => {
    res.statusCode = '404' as never
    res.end()
  })
  t.equal((await ask(port, '/')).status, 404)
})

test('callbacks of write and end are called after the save, in order', async (t) => {
  const store = new GatedStore()
  const calls: string[] = []
  let ended: Promise<void> | undefined
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.write('a', () => calls.push('a'))
    res.write('b', 'utf8', (error) => calls.push(`b ${String(error)}`))
    ended = new Promise((resolve) => res.end(resolve))
  })
  const answered = ask(port, '/')
  const save = await store.saving()
  await ask(port, '/beside')
  t.strictSame(calls, [])
  save.finish()
  t.equal((await answered).body, 'ab')
  await ended
  t.match(calls, ['a', /^b (null|undefined)$/])
})

test("'drain' comes once for what was held, from node where node has to wait", async (t) => {
  for (const size of [10, 1_000_000]) {
    let drains = 0
    const { port } = await mount(t, stackOn(), async (req, res) => {
      await count(req)
      res.on('drain', () => drains++)
      t.equal(res.write('x'.repeat(size)), false)
      await once(res, 'drain')
      await new Promise((resolve) => res.write('y', resolve))
      res.end()
    })
    t.equal((await ask(port, '/')).body.length, size + 1)
    t.equal(drains, 1)
  }
})

test('when the save fails, callbacks hear of it once the error page is out', async (t) => {
  const store = new GatedStore()
  const heard: unknown[] = []
  let over: Promise<unknown> | undefined
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    over = new Promise((resolve) => {
      res.write('a', (error) => heard.push(error))
      res.end('b', () => resolve(heard.push('end')))
    })
  })
  const answered = ask(port, '/')
  ;(await store.saving()).fail(new Error('down'))
  t.equal((await answered).status, 500)
  await over
  t.match(heard, [{ message: 'down' }, 'end'])
})

test('a stream that was piped into a failed response is destroyed, and the error page is whole', async (t) => {
  for (const way of ['pipe', 'pipeline'] as const) {
    const store = new GatedStore()
    const source = new PassThrough()
    source.write('held')
    const { port, errors } = await mount(t, stackOn(store), async (req, res) => {
      await count(req)
      if (way === 'pipe') source.pipe(res)
      else await pipeline(source, res)
    })
    const closed = new Promise((resolve) => source.on('close', resolve))
    const answered = ask(port, '/')
    ;(await store.saving()).fail(new Error('down'))
    source.write('more')
    t.match(await answered, { status: 500, body: 'failed: down' })
    await closed
    if (way === 'pipeline') t.match(errors, [{ code: /PREMATURE_CLOSE/ }])
  }
})

test('a stream that was piped elsewhere before the save failed is left alone', async (t) => {
  const store = new GatedStore()
  const source = new PassThrough()
  const elsewhere = new PassThrough()
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    source.pipe(res)
    source.unpipe(res)
    source.pipe(elsewhere)
    res.end('held')
  })
  const answered = ask(port, '/')
  ;(await store.saving()).fail(new Error('down'))
  t.equal((await answered).status, 500)
  t.notOk(source.destroyed)
  source.end('hello')
  t.equal(await text(elsewhere), 'hello')
})

test('a handler that goes on writing after a failed save neither ends the process nor spoils the page', async (t) => {
  const page = 'page '.repeat(500_000)
  const store = new GatedStore()
  const middleware = toConnect(stackOn(store))
  let goOn: ((value: unknown) => void) | undefined
  const wait = async (req: Req, res: ServerResponse): Promise<void> => {
    await count(req)
    res.write('held')
    if (req.url === '/drain') await once(res, 'drain')
    else await new Promise((resolve) => (goOn = resolve))
    res.write('more')
    res.end('end')
  }
  const port = await listen(t, (req, res) => {
    if (req.url === '/beside') return res.end('beside')
    return middleware(req, res, (error) => {
      if (!error) return void wait(req as Req, res)
      if (req.url === '/drain') {
        t.equal(res.write(page), false)
        res.once('drain', () => setImmediate(() => res.end(page)))
      } else {
        res.end(page + page)
        goOn?.(undefined)
      }
      return undefined
    })
  })
  for (const path of ['/drain', '/']) {
    const answered = ask(port, path)
    ;(await store.saving()).fail(new Error('down'))
    t.ok((await answered).body === page + page, 'the page alone')
  }
  t.equal((await ask(port, '/beside')).body, 'beside')
})

test('a second end is ignored, and a write after the end is an error of res', async (t) => {
  const store = new GatedStore()
  const codes: unknown[] = []
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code))
    res.end('first')
    res.end()
    res.write('second', (error) => codes.push((error as NodeJS.ErrnoException).code))
  })
  const answered = ask(port, '/')
  ;(await store.saving()).finish()
  t.match(await answered, { status: 200, body: 'first' })
  t.strictSame(codes, ['ERR_STREAM_WRITE_AFTER_END', 'ERR_STREAM_WRITE_AFTER_END'])
})

test('a response that is destroyed while it is held gets nowhere, and the session is saved', async (t) => {
  const store = new GatedStore()
  const { port, nexts } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.write('held')
    res.destroy()
    res.end()
  })
  const answered = ask(port, '/')
  answered.catch(() => {})
  const save = await store.saving()
  await t.rejects(answered, { code: 'ECONNRESET' })
  save.finish()
  t.equal((await ask(port, '/beside')).body, 'beside')
  t.equal(store.memory.size, 1)
  t.strictSame(nexts, [undefined])
})

// ---- clients that go away

test('a client that goes away before the handler answers leaves its session saved', async (t) => {
  const store = new GatedStore()
  let goOn: (() => void) | undefined
  let begun: (() => void) | undefined
  const began = new Promise<void>((resolve) => (begun = resolve))
  const wrote: unknown[] = []
  const { port, nexts } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    const closed = once(res, 'close')
    begun?.()
    await new Promise<void>((resolve) => (goOn = resolve))
    await closed
    res.write('late', (error) => wrote.push((error as NodeJS.ErrnoException).code))
    res.end()
  })
  const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'))
  await began
  socket.destroy()
  goOn?.()
  ;(await store.saving()).finish()
  t.equal((await ask(port, '/beside')).body, 'beside')
  t.equal(store.memory.size, 1)
  t.strictSame(nexts, [undefined])
  t.strictSame(wrote, ['ERR_STREAM_DESTROYED'])
})

test('a client that goes away while the save is pending does no harm, whether it succeeds or not', async (t) => {
  for (const outcome of ['finish', 'fail'] as const) {
    const store = new GatedStore()
    const source = new PassThrough()
    source.write('held')
    const heard: string[] = []
    let closed: Promise<unknown> | undefined
    const { port, nexts } = await mount(t, stackOn(store), async (req, res) => {
      await count(req)
      closed = once(res, 'close')
      res.write('held', (error) => heard.push((error as Error).message))
      pipeline(source, res).catch(() => {})
    })
    const gone = new Promise((resolve) => source.on('close', resolve))
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'))
    const save = await store.saving()
    socket.destroy()
    await closed
    await gone
    save[outcome](new Error('down'))
    t.equal((await ask(port, '/beside')).body, 'beside')
    t.equal(store.memory.size, outcome === 'finish' ? 1 : 0)
    t.match(nexts, outcome === 'finish' ? [undefined] : [undefined, { message: 'down' }])
    t.ok(source.destroyed)
    t.match(heard, [outcome === 'fail' ? 'down' : /destroyed/])
  }
})

// ---- connections

test('requests on one connection are answered in order, each after its own save', async (t) => {
  const store = new GatedStore()
  const { port } = await mount(t, stackOn(store), async (req, res) => {
    await count(req)
    res.end(`${req.url}\n`)
  })
  const text = ['/a', '/b', '/c'].map((path) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n`).join('\r\n')
  const answered = askRaw(port, `${text}Connection: close\r\n\r\n`)
  const saves = [await store.saving(), await store.saving(), await store.saving()]
  for (const save of saves.toReversed()) save.finish()
  const bodies = (await answered).match(/^\/\w$/gm)
  t.strictSame(bodies, ['/a', '/b', '/c'])
})

test('a server that is closed while a save is pending still answers', async (t) => {
  const store = new GatedStore()
  const middleware = toConnect(stackOn(store))
  const server = createServer((req, res) => {
    middleware(req, res, () => {
      void count(req as Req).then(() => res.end('hello'))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const answered = ask((server.address() as AddressInfo).port, '/')
  const save = await store.saving()
  const closed = new Promise((resolve) => server.close(resolve))
  save.finish()
  t.match(await answered, { status: 200, body: 'hello', cookies: [/^_session_id=/] })
  server.closeAllConnections()
  await closed
})

// ---- stacks

for (const [name, store] of Object.entries({ MemoryStore: new MemoryStore(), CookieStore: new CookieStore() })) {
  test(`sessions in ${name} are counted, kept apart, read and destroyed`, async (t) => {
    const stack = new Builder()
      .use(cookies({ secret: SECRET }))
      .use(session<{ n: number }>({ store }))
      .use(flash())
    const { port } = await mount(t, stack, async (req, res) => {
      if (req.url === '/destroy') req.session.destroy()
      else if (req.url === '/flash') (await req.flash)['notice'] = 'hello'
      else if (req.url === '/read') {
        const [hash, said] = [await req.session, await req.flash]
        return res.end(JSON.stringify({ n: hash.n, notice: said['notice'] }))
      } else return res.end(String(await count(req)))
      return res.end()
    })
    const [client, other] = [new Client(port), new Client(port)]
    t.equal((await client.get('/')).body, '1')
    t.equal((await client.get('/')).body, '2')
    t.equal((await other.get('/')).body, '1')
    t.strictSame((await client.get('/read')).cookies, [], 'a session that is only read sends nothing')
    await client.get('/flash')
    t.equal((await client.get('/read')).body, '{"n":2,"notice":"hello"}')
    t.equal((await client.get('/read')).body, '{"n":2}')
    await client.get('/destroy')
    t.equal(client.jar.size, 0)
    t.equal((await client.get('/read')).body, '{}')
    t.equal((await other.get('/')).body, '2')
  })
}

test('cookies alone, in an answer at once', async (t) => {
  const { port } = await mount(t, new Builder().use(cookies({ secret: SECRET })), (req, res) => {
    req.cookies.signed.set('a', (Number(req.cookies.signed.get('a')) || 0) + 1)
    res.end(JSON.stringify(req.cookies.signed.get('a')))
  })
  const client = new Client(port)
  t.equal((await client.get('/')).body, '1')
  t.equal((await client.get('/')).body, '2')
})

test('a cookie that is too large is an error of the page, also in an answer at once', async (t) => {
  const { port, nexts } = await mount(t, stackOn(new CookieStore()), async (req, res) => {
    Object.assign(await req.session, { text: 'x'.repeat(5000) })
    res.end('held')
  })
  t.match(await ask(port, '/'), { status: 500, body: /^failed: The cookie _session_id would take/, cookies: [] })
  t.match(nexts, [undefined, { code: 'ERR_COOKIE_OVERFLOW' }])
})

test('what a handler throws at once, where the framework lets it, is an error of the stack', async (t) => {
  const middleware = toConnect(stackOn())
  const nexts: unknown[] = []
  const port = await listen(t, (req, res) => {
    middleware(req, res, (error) => {
      nexts.push(error)
      if (error) return res.end('page')
      res.statusCode = 201
      res.write('held')
      throw new Error('thrown')
    })
  })
  t.match(await ask(port, '/'), { status: 200, body: 'page' })
  t.match(nexts, [undefined, { message: 'thrown' }])
})

test('where next throws, too, the answer is a plain page', async (t) => {
  const reported = t.capture(console, 'error', () => {})
  const middleware = toConnect(stackOn(new CookieStore()))
  const answer = async (req: Req, res: ServerResponse): Promise<void> => {
    Object.assign(await req.session, { text: 'x'.repeat(5000) })
    res.writeHead(200, { 'x-held': 'yes' }).end('held')
  }
  const port = await listen(t, (req, res) => {
    middleware(req, res, (error) => {
      if (error) throw new Error('and again')
      void answer(req as Req, res)
    })
  })
  const { status, body, headers } = await ask(port, '/')
  t.match({ status, body }, { status: 500, body: 'Internal Server Error\n' })
  t.notOk('x-held' in headers)
  t.match(reported.args(), [[{ code: 'ERR_COOKIE_OVERFLOW' }]])
})

test('where next throws after it has begun a page, the connection ends', async (t) => {
  const reported = t.capture(console, 'error', () => {})
  const failing = new Builder().use(() => async () => {
    throw new Error('down')
  })
  const middleware = toConnect(failing)
  const port = await listen(t, (req, res) => {
    middleware(req, res, (error) => {
      res.writeHead(200, { 'content-length': 10 }).write('half')
      throw error
    })
  })
  await t.rejects(ask(port, '/'), { code: 'ECONNRESET' })
  t.match(reported.args(), [[{ message: 'down' }]])
})

test('after the commit the session takes no more writes, as anywhere', async (t) => {
  const { port, errors } = await mount(t, stackOn(), async (req, res) => {
    const hash = await req.session
    res.end('hello')
    await new Promise((resolve) => res.on('close', resolve))
    hash.n = 5
  })
  t.equal((await ask(port, '/')).body, 'hello')
  await ask(port, '/beside')
  t.match(errors, [{ code: 'ERR_SESSION_COMMITTED' }])
})

test('a stack of toConnect is one for sessionFor, too', async (t) => {
  const stack = stackOn()
  const { port } = await mount(t, stack, async (req, res) => res.end(String(await count(req))))
  const client = new Client(port)
  await client.get('/')
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    res.end(JSON.stringify(await sessionFor(stack, req, { trustedOrigins: ['http://localhost'] })))
  }
  const other = await listen(t, (req, res) => void answer(req, res))
  const { body } = await ask(other, '/', { headers: { cookie: client.cookie, origin: 'http://localhost' } })
  t.equal(body, '{"n":1}')
})

test('anything but a Builder is refused, with what to give instead', (t) => {
  const app = stackOn().run(() => [200, {}, ''])
  for (const wrong of [app, undefined, null, {}, toConnect(stackOn()), cookies({ secret: SECRET })]) {
    t.throws(() => toConnect(wrong as never), { code: 'ERR_INVALID_OPTION', message: /a Builder that was not run/ })
  }
  t.end()
})
