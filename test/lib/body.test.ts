import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { test } from 'tap'
import { closeBody, guardBody, takeResponse } from '../../lib/body.ts'
import type { RackBody, RackResponse } from '../../lib/index.ts'

test('closing a stream destroys it', async (t) => {
  const stream = Readable.from(['a'])
  closeBody(stream)
  t.ok(stream.destroyed)
})

test('closing a file that cannot be opened is no error', async (t) => {
  const stream = createReadStream('no such file')
  closeBody(stream)
  await once(stream, 'close').catch(() => {})
  t.ok(stream.destroyed)
})

test('closing a generator that was begun runs its finally', async (t) => {
  const ran: string[] = []
  function* now(): Generator<string> {
    try {
      yield 'a'
    } finally {
      ran.push('now')
    }
  }
  async function* later(): AsyncGenerator<string> {
    try {
      yield 'a'
    } finally {
      ran.push('later')
    }
  }
  const [first, second] = [now(), later()]
  first.next()
  await second.next()
  closeBody(first)
  closeBody(second)
  await second.next()
  t.same(ran, ['now', 'later'])
})

test('closing a web stream cancels it', async (t) => {
  let cancelled = false
  closeBody(new ReadableStream<string>({ cancel: () => void (cancelled = true) }))
  t.ok(cancelled)
})

test('what cannot be closed is left alone', async (t) => {
  for (const body of [null, '', 'a', new Uint8Array(1), ['a'], new Set(['a'])]) closeBody(body)
  t.pass()
})

test('a failure to close throws nothing', async (t) => {
  const locked = new Blob(['a']).stream()
  locked.getReader()
  const no = (): never => {
    throw new Error('no')
  }
  const bodies = [
    locked,
    Object.assign(['a'], { destroy: no }),
    Object.assign(['a'], { return: no }),
    Object.assign(['a'], { return: () => Promise.reject(new Error('no')) }),
  ]
  for (const body of bodies) t.doesNotThrow(() => closeBody(body))
})

test('a guarded stream that fails ends no process, and its reader still hears of it', async (t) => {
  const stream = createReadStream('no such file')
  const response: RackResponse = [200, {}, stream]
  t.equal(guardBody(response), response)
  await new Promise<void>((resolve) => stream.on('close', () => resolve()))
  await t.rejects(
    async () => {
      for await (const chunk of stream) t.fail(String(chunk))
    },
    { code: 'ENOENT' },
  )
})

test('a response that is one is taken as it is', async (t) => {
  for (const body of [null, '', new Uint8Array(1), [], new Set(['a']), Readable.from(['a'])] satisfies RackBody[]) {
    const response: RackResponse = Object.freeze([200, Object.freeze({}), body])
    t.equal(takeResponse(response), response)
  }
})

test('the body of what is no response is closed', async (t) => {
  for (const wrong of [
    ['200', {}],
    [200, null],
    [200, []],
  ]) {
    const stream = Readable.from(['a'])
    t.throws(() => takeResponse([...wrong, stream] as unknown as RackResponse), { code: 'ERR_INVALID_RESPONSE' })
    t.ok(stream.destroyed)
  }
  const stream = Readable.from(['a'])
  t.throws(() => takeResponse([200, {}, stream, ''] as unknown as RackResponse), { code: 'ERR_INVALID_RESPONSE' })
  t.ok(stream.destroyed)
})
