import type { IncomingMessage } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { test } from 'tap'
import { Builder, type App, type Mapped, type RackResponse } from '../../lib/index.ts'
import { fuzzing } from '../fuzz.ts'
import { askRaw, serve } from '../server.ts'

const { RUNS, SEED } = fuzzing()

type Req = IncomingMessage & Partial<Mapped>

/** How an app ends. */
type End = 'value' | 'promise' | 'throw' | 'reject'

/** A stack: its maps, in the order in which they are written down, and the controller at its end. */
interface Stack {
  maps: { location: string; stack: Stack }[]
  end: End
}

/** Where a request came out. */
interface Place {
  /** The locations of the maps that it went through. */
  way: readonly string[]
  url: string
  scriptName: string | undefined
}

// ---- the model

interface Location {
  host: string | undefined
  /** As it is written, without slashes at its end. */
  prefix: string
  way: string
  stack: Stack
}

function locationsOf({ maps }: Stack): Location[] {
  return maps.map(({ location, stack }) => {
    const [, host, path = ''] = /^(?:https?:\/\/([^/]+))?(.*)$/s.exec(location) ?? []
    return { host: host?.toLowerCase(), prefix: path.replace(/\/*$/, ''), way: location, stack }
  })
}

/** What is left of a path behind a prefix, however many slashes stand where one is. */
function behind(path: string, prefix: string): string | undefined {
  let rest = path
  for (const segment of prefix.split('/').filter((one) => one !== '')) {
    const bare = rest.replace(/^\/+/, '')
    if (bare === rest || !bare.startsWith(segment)) return undefined
    rest = bare.slice(segment.length)
    if (rest !== '' && !rest.startsWith('/')) return undefined
  }
  return rest
}

function goThrough(stack: Stack, host: string, { way, url, scriptName }: Place): Place & { end: End } {
  // the absolute form of a target has its scheme and host in front, in any letter case (RFC 9112, section 3.2.2)
  const target = url.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '')
  const query = target.includes('?') ? target.slice(target.indexOf('?')) : ''
  const path = target.slice(0, target.length - query.length)

  const found = locationsOf(stack)
    // of two that are equal, the last one counts
    .toReversed()
    .filter((one) => one.host === undefined || one.host === host)
    .filter(({ prefix }) => behind(path, prefix) !== undefined)
    .toSorted((a, b) => (b.host?.length ?? 0) - (a.host?.length ?? 0) || b.prefix.length - a.prefix.length)[0]
  if (found === undefined) return { way, url, scriptName, end: stack.end }

  const rest = behind(path, found.prefix) as string
  const isRoot = found.prefix === '' && rest === '' && (scriptName ?? '') === ''
  return goThrough(found.stack, host, {
    way: [...way, found.way],
    url: `${isRoot ? '/' : ''}${rest}${query}`,
    scriptName: (scriptName ?? '') + found.prefix,
  })
}

// ---- the real one

class Ended extends Error {}

/** Where the request that is under way came out, and what it was like to those it left again. */
let came: Place | undefined
let left: unknown[] = []

function build(stack: Stack, way: readonly string[] = []): Builder {
  const builder = new Builder().use((app: App) => (req: Req) => {
    const before = [req.url, req.scriptName]
    const after = (): void => {
      if (!isDeepStrictEqual([req.url, req.scriptName], before)) left.push([before, [req.url, req.scriptName]])
    }
    try {
      const response = app(req)
      if (!(response instanceof Promise)) {
        after()
        return response
      }
      return response.finally(after)
    } catch (error) {
      after()
      throw error
    }
  })
  for (const { location, stack: inner } of stack.maps) builder.map(location, () => build(inner, [...way, location]))
  const answer: RackResponse = [200, {}, '']
  builder.run((req: Req) => {
    came = { way, url: req.url as string, scriptName: req.scriptName }
    if (stack.end === 'throw') throw new Ended()
    if (stack.end === 'reject') return Promise.reject(new Ended())
    return stack.end === 'promise' ? Promise.resolve(answer) : answer
  })
  return builder
}

async function outcomeOf(app: App, req: IncomingMessage): Promise<End> {
  let response: ReturnType<App>
  try {
    response = app(req)
  } catch (error) {
    if (error instanceof Ended) return 'throw'
    throw error
  }
  if (!(response instanceof Promise)) return 'value'
  try {
    await response
    return 'promise'
  } catch (error) {
    if (error instanceof Ended) return 'reject'
    throw error
  }
}

function requestOf(url: string, host: string, scriptName: string | undefined): Req {
  const inner = scriptName === undefined ? undefined : { scriptName }
  return { url, method: 'GET', headers: { host }, socket: {}, ...inner } as unknown as Req
}

function agree(what: string, real: unknown, wanted: unknown): void {
  if (isDeepStrictEqual(real, wanted)) return
  throw new Error(`${what}: ${JSON.stringify(real)}, and in the model ${JSON.stringify(wanted)}`)
}

// ---- what is made up

const segment = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'ab', 'a.b', 'A') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '.',
      '..',
      'a+',
      '(a)',
      '[a]',
      '\\a',
      'a|b',
      '^',
      '$',
      '{1}',
      '*',
      '%61',
      '%2F',
      'é',
      '\u{1F600}',
      '@',
      'http:',
      ';a=b',
      ' ',
      'a&b',
      '-',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 4 }).map((text) => text.replaceAll(/[/?#]/g, '-')),
  },
)
const slashes = fc.oneof(
  { weight: 9, arbitrary: fc.constant('/') },
  { weight: 1, arbitrary: fc.constantFrom('//', '///') },
)
const path = fc
  .tuple(
    fc.array(fc.tuple(slashes, segment), { maxLength: 4 }).map((parts) => parts.flat().join('')),
    fc.constantFrom('', '', '', '/', '//'),
  )
  .map((parts) => parts.join(''))

const location = fc.oneof(
  { weight: 8, arbitrary: path.map((text) => text || '/') },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom('http://a.org', 'https://A.org', 'http://b.a.org', 'http://[::1]'), path)
      .map((parts) => parts.join('')),
  },
)
const end = fc.constantFrom<End>('value', 'promise', 'throw', 'reject')

const stack = fc.letrec<{ stack: Stack; leaf: Stack }>((tie) => ({
  leaf: fc.record({ maps: fc.constant([]), end }),
  stack: fc.record({
    maps: fc.array(
      fc.record({
        location,
        stack: fc.oneof({ depthSize: 'small', withCrossShrink: true }, tie('leaf'), tie('stack')),
      }),
      { maxLength: 6 },
    ),
    end,
  }),
})).stack

const query = fc.constantFrom('', '', '?', '?a=/b', '?/a/b', '??', '?a=http://a.org/b', '?#')
const target = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(path, query).map(([text, search]) => `${text || '/'}${search}`) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom('http://a.org', 'https://a.org:443', 'http://', 'http://u:p@b', 'http://[::1]', 'HTTP://a.org'),
        path,
        query,
      )
      .map((parts) => parts.join('')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '*',
      '',
      '?',
      'a',
      'a/b',
      '#',
      '/#',
      '/a#/b',
      'a.org:443',
      '/http://a.org/a',
      'ftp://a.org/a',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(path, fc.nat({ max: 20_000 })).map(([text, length]) => `${'/'.repeat(length)}${text}`),
  },
)
const host = fc.constantFrom('a.org', 'A.org:8080', 'b.a.org', 'c.org', '', '[::1]:3000', 'a.org.', 'xa.org')
const hostOf = (header: string): string => header.toLowerCase().replace(/:\d*$/, '')

test('a request comes out where the longest prefix on a boundary leads, and finds its way back', async (t) => {
  const deep = { 0: 0, 1: 0, 2: 0 }
  const outer = fc.constantFrom(undefined, undefined, '', '/outer')
  const several = fc.array(fc.tuple(target, host, outer), { minLength: 1, maxLength: 8 })
  const run = fc.asyncProperty(stack, several, async (made, list) => {
    const app = build(made).run()
    for (const [url, header, scriptName] of list) {
      came = undefined
      left = []
      const req = requestOf(url, header, scriptName)
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const outcome = await outcomeOf(app, req)
      const { end: wantedEnd, ...wanted } = goThrough(made, hostOf(header), { way: [], url, scriptName })
      agree(`${url} of ${header}`, came, wanted)
      agree('how it ended', outcome, wantedEnd)
      agree('what was not restored', left, [])
      agree('afterwards', [req.url, req.scriptName], [url, scriptName])
      deep[Math.min(wanted.way.length, 2) as 0 | 1 | 2]++
    }
  })
  await fc.assert(run, { numRuns: 2 * RUNS, ...SEED })
  t.ok(deep[0] > RUNS / 10 && deep[1] > RUNS / 10 && deep[2] > RUNS / 40, JSON.stringify(deep))
})

test('requests under way at the same time do not disturb one another', async (t) => {
  const waiting: (() => void)[] = []
  const places = new Map<IncomingMessage, string>()
  const asked = fc.array(fc.tuple(target, fc.nat()), { minLength: 2, maxLength: 6 })
  const run = fc.asyncProperty(stack, asked, async (made, list) => {
    const slow = (one: Stack): Builder => {
      const builder = new Builder()
      for (const { location: at, stack: inner } of one.maps) builder.map(at, () => slow(inner))
      builder.run(async (req: Req) => {
        await new Promise<void>((resolve) => waiting.push(resolve))
        places.set(req, `${req.scriptName} ${req.url}`)
        return [200, {}, '']
      })
      return builder
    }
    const app = slow(made).run()
    const reqs = list.map(([url]) => requestOf(url, 'a.org', undefined))
    const answers = reqs.map(async (req) => app(req))
    // they come back in another order than they went
    const order = waiting.splice(0).map((resolve, i) => [list[i]?.[1] ?? 0, resolve] as const)
    for (const [, resolve] of order.toSorted(([a], [b]) => a - b)) resolve()
    await Promise.all(answers)
    for (const [i, req] of reqs.entries()) {
      const [url] = list[i] as [string, number]
      const wanted = goThrough(made, 'a.org', { way: [], url, scriptName: undefined })
      agree('inside', places.get(req), `${wanted.scriptName} ${wanted.url}`)
      agree('afterwards', [req.url, req.scriptName], [url, undefined])
    }
    places.clear()
  })
  await fc.assert(run, { numRuns: RUNS, ...SEED })
  t.pass()
})

test('any text is a location, or an error that says what one is', (t) => {
  let good = 0
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.string({
      unit: fc.constantFrom('/', 'a', '?', '#', ':', '1', 'http://', 'https://', '*', '(', '\n', '\\'),
      maxLength: 12,
    }),
    fc.tuple(location, fc.constantFrom('?', '#', ':80', '\n', '\0', ' ')).map((parts) => parts.join('')),
  )
  const run = fc.property(text, target, host, (at, url, header) => {
    let app: App
    try {
      app = new Builder().map(at, (inner) => inner.run((req) => [200, {}, `in ${req.url}`])).run(() => [200, {}, 'out'])
    } catch (error) {
      agree('the error', (error as { code?: string }).code, 'ERR_INVALID_OPTION')
      return
    }
    good++
    const [, , body] = app(requestOf(url, header, undefined)) as RackResponse
    const made: Stack = { maps: [{ location: at, stack: { maps: [], end: 'value' } }], end: 'value' }
    const wanted = goThrough(made, hostOf(header), { way: [], url, scriptName: undefined })
    agree('where it came out', body, wanted.way.length === 0 ? 'out' : `in ${wanted.url}`)
  })
  fc.assert(run, { numRuns: 2 * RUNS, ...SEED })
  t.ok(good > RUNS / 10, `${good} were locations`)
  t.end()
})

test('over a socket a target comes out where the model says, or is refused by node', async (t) => {
  const made: Stack = {
    maps: ['/a', '/a/b', '/b', '/a.b', 'http://a.org/b', '/%61', '/..'].map((at) => ({
      location: at,
      stack: { maps: [{ location: '/b', stack: { maps: [], end: 'value' } }], end: 'value' },
    })),
    end: 'value',
  }
  const { port, errors } = await serve(t, build(made).run())
  let reached = 0
  const sendable = target.filter((text) => /^[!-\u{FF}]+$/u.test(text) && text.length < 8000)
  const run = fc.asyncProperty(sendable, host, async (url, header) => {
    came = undefined
    const answer = await askRaw(port, `GET ${url} HTTP/1.1\r\nHost: ${header}\r\nConnection: close\r\n\r\n`)
    if (answer.startsWith('HTTP/1.1 400 ')) return agree('refused', came, undefined)
    if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(answer)
    reached++
    // node reads each byte of a target as a character, and UTF-8 is what was sent
    const bytes = Buffer.from(url).toString('latin1')
    const { end: _, ...wanted } = goThrough(made, hostOf(header), { way: [], url: bytes, scriptName: undefined })
    agree(url, came, wanted)
  })
  await fc.assert(run, { numRuns: Math.ceil(RUNS / 2), ...SEED })
  t.ok(reached > RUNS / 8, `${reached} reached the app`)
  t.same(errors, [])
})
