import { validateHeaderName, validateHeaderValue, type ServerResponse } from 'node:http'
import type { Http2ServerResponse } from 'node:http2'
import type { RackHeaders } from './app.ts'
import { isHttp2 } from './request.ts'

/** What a node response says before its body. */
export interface Head {
  readonly status: number
  readonly message: string | undefined
  readonly headers: RackHeaders
}

export function isClosed(res: ServerResponse): boolean {
  return isHttp2(res.req) ? (res as unknown as Http2ServerResponse).stream.closed : res.closed
}

export function headOf(res: ServerResponse): Head {
  // of HTTP/2, which has no such thing, node warns
  const message = isHttp2(res.req) ? undefined : res.statusMessage
  return { status: res.statusCode, message, headers: headersOf(res) }
}

/** A copy of the headers, names in lower case. */
export function headersOf(res: Pick<ServerResponse, 'getHeaders'>): RackHeaders {
  const headers = res.getHeaders()
  for (const name in headers) {
    const value = headers[name]
    // res.appendHeader() changes it
    if (typeof value === 'object') headers[name] = [...value]
  }
  return headers
}

/** Makes headers of `res`, which has some already, those that are wanted. */
export function changeHeaders(res: ServerResponse, from: RackHeaders, to: RackHeaders): void {
  const wanted = new Map<string, [name: string, value: string | number | readonly string[]]>()
  for (const name in to) {
    const value = to[name]
    if (value === undefined) continue
    const known = wanted.get(name.toLowerCase())
    if (known) known[1] = [known[1], value].flat().map(String)
    else wanted.set(name.toLowerCase(), [name, value])
  }
  for (const name in from) if (!wanted.has(name)) res.removeHeader(name)
  for (const [lower, [name, value]] of wanted) {
    if (value === from[lower]) continue
    if (isHttp2(res.req)) {
      // node:http refuses control characters by itself
      validateHeaderName(name)
      validateHeaderValue(name, String(value))
    }
    res.setHeader(name, value)
  }
}

/** Sets what `writeHead` was given: an object, a flat list of names and values, or a list of pairs. */
export function setHeaders(res: ServerResponse, headers: unknown): void {
  if (typeof headers !== 'object' || headers === null) return
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers)) if (name) res.setHeader(name, value as string)
    return
  }
  const flat: unknown[] = Array.isArray(headers[0]) ? headers.flatMap((pair: unknown[]) => pair.slice(0, 2)) : headers
  if (flat.length % 2 !== 0) {
    throw nodeError(TypeError, 'ERR_INVALID_ARG_VALUE', 'Headers in a list must be names and values by turns.')
  }
  const lines = new Map<string, [name: string, value: string | string[]]>()
  for (let i = 0; i < flat.length; i += 2) {
    const [name, value] = [String(flat[i]), flat[i + 1] as string]
    const known = lines.get(name.toLowerCase())
    if (known) known[1] = [known[1], value].flat()
    else lines.set(name.toLowerCase(), [name, value])
  }
  for (const [name, value] of lines.values()) res.setHeader(name, value)
}

/** Never sent; should anything send it nevertheless, it is an error and no half response. */
const MASK = 'HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'

/** Makes a response look as if its head was sent. Gives back what ends that. */
export function mask(res: ServerResponse): () => void {
  if (!isHttp2(res.req)) {
    // node's own getters and setters go by this
    Object.assign(res, { _header: MASK })
    return () => {
      Object.assign(res, { _header: null })
      Reflect.deleteProperty(res, 'writableEnded')
    }
  }
  const setters = ['setHeader', 'appendHeader', 'removeHeader'] as const
  const before = setters.map((name) => Object.getOwnPropertyDescriptor(res, name))
  const refuse = (): never => {
    throw headersSent()
  }
  for (const name of setters) Object.defineProperty(res, name, { value: refuse, configurable: true })
  Object.defineProperty(res, 'headersSent', { value: true, configurable: true })
  return () => {
    for (const [i, name] of setters.entries()) {
      Reflect.deleteProperty(res, name)
      const own = before[i]
      if (own) Object.defineProperty(res, name, own)
    }
    Reflect.deleteProperty(res, 'headersSent')
    Reflect.deleteProperty(res, 'writableEnded')
  }
}

// ---- errors, as node throws them

function nodeError(type: typeof Error, code: string, message: string): Error {
  return Object.assign(new type(message), { code })
}

export function headersSent(): Error {
  return nodeError(Error, 'ERR_HTTP_HEADERS_SENT', 'Cannot change headers after they are sent to the client')
}

export function invalidChunk(chunk: unknown): Error {
  if (chunk === null) return nodeError(TypeError, 'ERR_STREAM_NULL_VALUES', 'May not write null values to stream')
  const what = `The "chunk" argument must be a string or an instance of Uint8Array, and not a ${typeof chunk}.`
  return nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', what)
}

export function checkStatus(status: number): number {
  const code = status | 0
  if (code >= 100 && code <= 999) return code
  throw nodeError(RangeError, 'ERR_HTTP_INVALID_STATUS_CODE', `Invalid status code: ${String(status)}`)
}
