import type { IncomingMessage } from 'node:http'
import { parseSetCookie, type SetCookie } from 'cookie'
import {
  describe,
  isPromise,
  type Awaitable,
  type Middleware,
  type RackBody,
  type RackHeaders,
  type RackResponse,
} from '../lib/app.ts'
import { closeBody, NOT_TEXT, type Chunks } from '../lib/body.ts'
import { checkAttributes, type SameSite } from '../lib/cookie-options.ts'
import { InvalidOptionError, InvalidResponseError, LintError } from '../lib/errors.ts'
import { getHeaderLines } from '../lib/headers.ts'

/**
 * Rack::Lint: looks at every request on its way in, at every response on its way out and at every piece of a body
 * when it is read, and throws where the layer above or the app below breaks a rule. For tests and development: put
 * one above and one below a layer of your own.
 *
 * Triples, headers and their lists are frozen, so that whoever changes what it was given, or has given, throws. A
 * good response is passed on as it is; but a body that is no text, bytes, `null` or array stands behind an iterable
 * that watches it, and has of a stream's methods only those that close it.
 *
 * Rules that are stricter than `toListener()`'s: names of headers are in lower case, as Rack has it since 3.0, and
 * 204 and 304 come without `content-type` and `content-length`.
 *
 * The app throws {LintError} from it, and so does reading a body. The message names the rule, and the header,
 * never a value.
 */
export function lint(): Middleware {
  return describe('lint', { readsBody: true }, (app) => (req) => {
    checkRequest(req)
    // a layer may change it, on the way in or on the way out
    const isHead = req.method === 'HEAD'
    let response: Awaitable<RackResponse>
    try {
      response = app(req)
    } catch (error) {
      return fail(error)
    }
    return isPromise(response)
      ? response.then((value) => passOn(req, value, isHead), fail)
      : passOn(req, response, isHead)
  })
}

/** The Builder looks at what a controller returns before lint can: the same rules, and here the same error. */
function fail(error: unknown): never {
  throw error instanceof InvalidResponseError ? new LintError(error.message) : error
}

// ---- the request

const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/
const ABSOLUTE = /^[a-z][a-z\d+.-]*:\/\/[^/?#]/i
const AUTHORITY = /^[^/?#@\s]+:\d+$/
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const LINE_BREAK = /[\0\r\n]/

function checkRequest(req: IncomingMessage & { readonly scriptName?: unknown }): void {
  if (typeof req !== 'object' || req === null) refuse(`An app must be called with a request, and not ${kindOf(req)}.`)
  if (!Object.isExtensible(req)) refuse('The request is frozen or sealed, and layers must be able to add to it.')
  const { method, url, headers, scriptName } = req
  if (typeof method !== 'string' || !TOKEN.test(method)) {
    refuse("The request's method must be a token, such as GET.")
  }
  if (scriptName !== undefined && !(typeof scriptName === 'string' && /^(|\/.*[^/])$/s.test(scriptName))) {
    refuse('The request\'s scriptName must be empty, or begin with "/" and not end with one.')
  }
  if (!isTarget(url, method, scriptName !== undefined && scriptName !== '')) {
    refuse(
      'The request\'s url must begin with "/", or be absolute, "*" for OPTIONS, a host and port for CONNECT, or, ' +
        'below a scriptName, empty or a query.',
    )
  }
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    refuse(`The request's headers must be an object, and not ${kindOf(headers)}.`)
  }
  // keys that are symbols, and names that begin with a colon, are those of node:http2
  for (const [name, value] of Object.entries(headers)) {
    if (!TOKEN.test(name.replace(/^:/, '')) || name !== name.toLowerCase()) {
      refuse(`The name of the request's header ${shown(name)} must be a token in lower case.`)
    }
    for (const line of Array.isArray(value) ? value : [value ?? '']) {
      if (typeof line !== 'string' || LINE_BREAK.test(line)) {
        refuse(`The request's header ${shown(name)} must be a string, or a list of them, of one line each.`)
      }
    }
  }
  const length = headers['content-length']
  if (length !== undefined && !/^\d+$/.test(length)) {
    refuse("The request's header content-length must be a number of bytes.")
  }
}

/** RFC 9112, section 3.2; and what `map` leaves of it. */
function isTarget(url: unknown, method: string, mapped: boolean): boolean {
  if (typeof url !== 'string') return false
  if (url.startsWith('/') || ABSOLUTE.test(url)) return true
  if (url === '*') return method === 'OPTIONS'
  if (method === 'CONNECT') return AUTHORITY.test(url)
  return mapped && (url === '' || url.startsWith('?'))
}

// ---- the response

/** The body of a request's response that the last lint handed up, for the next one above to ask what became of it. */
const handedOn = new WeakMap<IncomingMessage, Watched>()

function passOn(req: IncomingMessage, response: RackResponse, isHead: boolean): RackResponse {
  const below = handedOn.get(req)
  handedOn.delete(req)
  try {
    checkTriple(response)
    const [status, headers, body] = response
    checkStatus(status)
    checkHeaders(headers)
    checkEntity(status, headers)
    const promised = promisedLength(headers)
    const pieces = checkBody(body)

    Object.freeze(response)
    Object.freeze(headers)
    for (const value of Object.values(headers)) if (Array.isArray(value)) Object.freeze(value)

    if (pieces) {
      const watched = watch(pieces, isHead ? undefined : promised, below)
      handedOn.set(req, watched)
      return Object.freeze([status, headers, watched.body] as const)
    }
    const given = lengthOf(body as Whole)
    if (promised !== undefined && given !== promised && !(isHead && given === 0)) refuse(WRONG_LENGTH)
    if (below && !below.over) refuse(LEFT_OPEN)
    return response
  } catch (error) {
    if (below) closeBody(below.body)
    if (Array.isArray(response)) closeBody((response as RackResponse)[2])
    throw error
  }
}

function checkTriple(response: unknown): void {
  if (Array.isArray(response) && response.length === 3) return
  const what = Array.isArray(response) ? `one of ${response.length}` : kindOf(response)
  refuse(`A response must be an array of three, [status, headers, body], and not ${what}.`)
}

function checkStatus(status: unknown): void {
  if (!Number.isInteger(status)) {
    refuse(`The status must be an integer, and not ${typeof status === 'number' ? 'a fraction' : kindOf(status)}.`)
  }
  const code = status as number
  if (code >= 100 && code < 200) refuse('The status must be a final one: 1xx announces another response.')
  if (code < 200 || code > 999) refuse('The status must be from 200 to 999.')
}

// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\0-\x1F\x7F]/

function checkHeaders(headers: unknown): asserts headers is RackHeaders {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers) || !isPlain(headers)) {
    refuse(`The headers must be a plain object, and not ${kindOf(headers)}.`)
  }
  for (const name of Reflect.ownKeys(headers)) {
    if (typeof name !== 'string') refuse(`The name of the header ${shown(name)} must be a string.`)
    if (!TOKEN.test(name)) {
      refuse(`The name of the header ${shown(name)} must be a token: no space, colon or control character.`)
    }
    if (name !== name.toLowerCase()) refuse(`The name of the header ${shown(name)} must be in lower case.`)
    if (name === 'status') refuse('The header "status" must not be there: the status is the first of the three.')
    checkValue(name, (headers as Record<string, unknown>)[name])
  }
}

function checkValue(name: string, value: unknown): void {
  if (value === undefined) return
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) refuse(`The header ${shown(name)} must be a finite number.`)
    return
  }
  const lines: unknown[] = Array.isArray(value) ? value : [value]
  for (const line of lines) {
    if (typeof line !== 'string') {
      refuse(`The header ${shown(name)} must be a string, a number or a list of strings, and not ${kindOf(value)}.`)
    }
    if (CONTROL.test(line)) refuse(`The header ${shown(name)} has a line break or another control character.`)
    if (/[^\0-\xFF]/.test(line)) {
      refuse(`The header ${shown(name)} has a character beyond latin1, which cannot be sent: encode it.`)
    }
    if (name === 'set-cookie') checkSetCookie(line)
  }
}

// What the cookie package writes: more than RFC 6265, section 4.1.1, allows of a name.
const COOKIE_PAIR = /^[!-:<>-~]+=[!-:<-~]*$/
const COOKIE_ATTRIBUTE = /^([\w-]+)(?:=(.*))?$/

/** Attributes that mean something to a browser only where their value is well formed. */
const COOKIE_VALUES: Readonly<Record<string, keyof SetCookie>> = {
  domain: 'domain',
  expires: 'expires',
  'max-age': 'maxAge',
  path: 'path',
  priority: 'priority',
  samesite: 'sameSite',
}

function checkSetCookie(line: string): void {
  const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
  if (!COOKIE_PAIR.test(pair)) refuse('The header "set-cookie" must begin with name=value, without spaces.')
  const cookie = parseSetCookie(line, { decode: (raw) => raw })
  const seen = new Set<string>()
  for (const attribute of attributes) {
    const [, name = '', value = ''] = COOKIE_ATTRIBUTE.exec(attribute) ?? []
    const key = name.toLowerCase()
    if (key === '') refuse('The header "set-cookie" has an attribute that is none.')
    if (seen.has(key)) refuse(`The header "set-cookie" has the attribute ${name} twice. Send a line for each cookie.`)
    seen.add(key)
    const known = Object.hasOwn(COOKIE_VALUES, key) ? COOKIE_VALUES[key] : undefined
    // another cookie after a comma would belong to the value
    if ((known !== undefined && cookie[known] === undefined) || (key !== 'expires' && /,\s/.test(value))) {
      refuse(`The header "set-cookie" has a value of the attribute ${name} that is none.`)
    }
  }
  try {
    checkAttributes(
      cookie.name,
      cookie as Parameters<typeof checkAttributes>[1],
      cookie.sameSite as SameSite | undefined,
    )
  } catch (error) {
    if (error instanceof InvalidOptionError) refuse(`The header "set-cookie": ${error.message}`)
    throw error
  }
}

/** As in Rack: what has no body says nothing of one. */
function checkEntity(status: number, headers: RackHeaders): void {
  if (status !== 204 && status !== 304) return
  for (const name of ['content-type', 'content-length']) {
    if (headers[name] !== undefined) refuse(`The header "${name}" must not be there with the status ${status}.`)
  }
}

function promisedLength(headers: RackHeaders): number | undefined {
  const lines = getHeaderLines(headers, 'content-length')
  const [line] = lines
  if (line === undefined) return undefined
  if (lines.length > 1 || !/^\d{1,15}$/.test(line)) {
    refuse('The header "content-length" must be one number of bytes: an integer that is not negative.')
  }
  return Number(line)
}

const WRONG_LENGTH = 'The header "content-length" must be the number of bytes of the body.'
const LEFT_OPEN = 'A layer replaced a body and neither read it to its end nor closed it.'

// ---- the body

type Whole = string | Uint8Array | null | readonly unknown[]

type Pieces = Iterable<unknown> | AsyncIterable<unknown>

/** The body, if it is read piece by piece. */
function checkBody(body: unknown): Pieces | undefined {
  if (typeof body === 'string' || body === null || body instanceof Uint8Array) return undefined
  if (Array.isArray(body)) {
    for (const chunk of body) sizeOf(chunk)
    return undefined
  }
  if (typeof body !== 'object' || !(Symbol.iterator in body || Symbol.asyncIterator in body)) {
    refuse(`${NOT_TEXT.slice(0, -1)}, and not ${kindOf(body)}.`)
  }
  return body as Pieces
}

function lengthOf(body: Whole): number {
  if (body === null) return 0
  return Array.isArray(body) ? body.reduce<number>((sum, chunk) => sum + sizeOf(chunk), 0) : sizeOf(body)
}

function sizeOf(chunk: unknown): number {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk)
  if (chunk instanceof Uint8Array) return chunk.byteLength
  throw new LintError(`A body must be of strings and bytes, and not of ${kindOf(chunk)}.`)
}

/** A body that was handed on. */
interface Watched {
  readonly body: RackBody
  /** Whether there is nothing left to do with it: it was read to its end, failed or was closed. */
  readonly over: boolean
}

/** What a body may have besides its iterators. */
type Closable = Partial<Record<'on' | 'destroy' | 'return' | 'cancel', (...args: unknown[]) => unknown>>

/**
 * A body that checks each piece when it is read, and that it is read once.
 *
 * @param promised the bytes that the head promises
 * @param below the body of the layer below, which must be over when this one, made of it or the same, is
 */
function watch(source: Pieces, promised: number | undefined, below: Watched | undefined): Watched {
  const { on } = source as Closable
  const closers = (['destroy', 'return', 'cancel'] as const).filter(
    (name) => typeof (source as Closable)[name] === 'function',
  )
  let taken = false
  let closed = false
  // what cannot be closed need not be
  let over = closers.length === 0
  let given = 0

  const see = (result: IteratorResult<unknown>): IteratorResult<unknown> => {
    if (result.done) {
      over = true
      if (promised !== undefined && given !== promised) refuse(WRONG_LENGTH)
      if (below && !below.over) refuse(LEFT_OPEN)
      return result
    }
    given += sizeOf(result.value)
    if (promised !== undefined && given > promised) refuse(WRONG_LENGTH)
    return result
  }

  const read = (open: () => Chunks): unknown => {
    if (taken) refuse('A body must be read only once.')
    if (closed) refuse('A body must not be read after it was closed.')
    taken = true
    const chunks = open()
    /** For its reader, an iterator that throws is over, and need not be closed. */
    const close = (error: unknown): never => {
      over = true
      closeBody(source as RackBody)
      closeBody(chunks as unknown as RackBody)
      throw error
    }
    const checked = {
      next(): Awaitable<IteratorResult<unknown>> {
        try {
          const result = chunks.next()
          return isPromise(result) ? result.then(see).then(undefined, close) : see(result)
        } catch (error) {
          return close(error)
        }
      },
      return(value?: unknown): unknown {
        over = true
        return chunks.return?.(value) ?? { done: true, value }
      },
      [Symbol.iterator]: () => checked,
      [Symbol.asyncIterator]: () => checked,
    }
    return checked
  }

  const body: Record<PropertyKey, unknown> = {}
  if ('getReader' in source) {
    // as the listener does: the iterator of a web stream cannot be stopped while it waits
    body[Symbol.asyncIterator] = () =>
      read(() => {
        const reader = (source as ReadableStream<unknown>).getReader()
        return { next: () => reader.read(), return: () => reader.cancel().then(() => ({ done: true })) }
      })
  } else {
    if (Symbol.asyncIterator in source) {
      body[Symbol.asyncIterator] = () => read(() => source[Symbol.asyncIterator]())
    }
    if (Symbol.iterator in source) body[Symbol.iterator] = () => read(() => source[Symbol.iterator]())
  }
  for (const name of closers) {
    body[name] = (...args: unknown[]) => {
      closed = true
      over = true
      return (source as Closable)[name]?.(...args)
    }
  }
  if (typeof on === 'function') {
    body['on'] = (...args: unknown[]) => {
      // whoever listens to more than errors may read it that way
      over ||= args[0] !== 'error'
      return on.apply(source, args)
    }
  }
  return {
    body: body as unknown as RackBody,
    get over() {
      return over
    },
  }
}

// ---- what messages say

function refuse(message: string): never {
  throw new LintError(message)
}

/** The name of a header, so that none of it is hidden. */
function shown(name: string | symbol): string {
  return typeof name === 'symbol' ? String(name) : JSON.stringify(name.length > 50 ? `${name.slice(0, 50)}…` : name)
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  if (typeof value !== 'object') return `a ${typeof value}`
  if (typeof (value as Partial<PromiseLike<unknown>>).then === 'function') return 'a promise: await it'
  return isPlain(value) ? 'an object' : `an instance of ${value.constructor?.name || 'a class'}`
}

/** Whether an object is no instance of a class, as a Map or Headers would be; of another realm too. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
