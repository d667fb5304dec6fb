import type { IncomingMessage } from 'node:http'
import etag from 'etag'
import fresh from 'fresh'
import { describe, isPromise, type Middleware, type RackBody, type RackHeaders, type RackResponse } from '../lib/app.ts'
import { closeBody, joinChunks } from '../lib/body.ts'
import { getHeaderLines, withHeader } from '../lib/headers.ts'

/** Rack's and Rails' default: kept by the browser alone, which asks each time. */
const REVALIDATE = 'max-age=0, private, must-revalidate'

/**
 * Spares a browser what it has already: Rack's ETag and ConditionalGet in one layer. The app still does all of its
 * work; what is saved is the sending.
 *
 * A response of status 200 or 201 with neither `etag` nor `last-modified`, whose body is whole (text, bytes or an
 * array of them) and not empty, gets a weak ETag of its bytes, and where it has no `cache-control`,
 * `max-age=0, private, must-revalidate`. Streams are not read for it.
 *
 * A GET or HEAD that would be answered 200, by a response whose ETag or date the browser has, is answered 304, without
 * body, `content-type` and `content-length`; all other headers stay, `set-cookie` too (RFC 9110, section 13.2.2). A
 * date that is no HTTP-date is as none.
 */
export function conditionalGet(): Middleware {
  return describe('conditionalGet', {}, (app) => (req) => {
    const response = app(req)
    return isPromise(response)
      ? response.then((value) => condition(req, withETag(value)))
      : condition(req, withETag(response))
  })
}

function withETag(response: RackResponse): RackResponse {
  const [status, headers, body] = response
  if (status !== 200 && status !== 201) return response
  if (getHeaderLines(headers, 'etag').length > 0 || getHeaderLines(headers, 'last-modified').length > 0) return response
  const whole = wholeOf(body)
  if (whole === undefined || whole.length === 0) return response
  const tagged = withHeader(headers, 'etag', etag(whole, { weak: true }))
  const isSaid = getHeaderLines(headers, 'cache-control').length > 0
  return [status, isSaid ? tagged : withHeader(tagged, 'cache-control', REVALIDATE), body]
}

/** A body that is here in full, in one piece; what no body may be is the listener's to refuse. */
function wholeOf(body: RackBody): string | Buffer | undefined {
  if (typeof body === 'string') return body
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (!Array.isArray(body)) return undefined
  const chunks = body as readonly unknown[]
  const isText = chunks.every((chunk) => typeof chunk === 'string' || chunk instanceof Uint8Array)
  return isText ? joinChunks(chunks) : undefined
}

function condition(req: IncomingMessage, response: RackResponse): RackResponse {
  const [status, headers, body] = response
  if (status !== 200 || (req.method !== 'GET' && req.method !== 'HEAD') || !isFresh(req, headers)) return response
  closeBody(body)
  return [304, withHeader(withHeader(headers, 'content-type', undefined), 'content-length', undefined), null]
}

function isFresh(req: IncomingMessage, headers: RackHeaders): boolean {
  const { 'if-none-match': noneMatch, 'if-modified-since': since, 'cache-control': control } = req.headers
  if (noneMatch === undefined && since === undefined) return false
  return fresh(
    { 'if-none-match': noneMatch, 'if-modified-since': httpDate(since), 'cache-control': control },
    {
      etag: getHeaderLines(headers, 'etag')[0],
      'last-modified': httpDate(getHeaderLines(headers, 'last-modified')[0]),
    },
  )
}

const RFC_850 =
  /^(?<day>Sun|Mon|Tues|Wednes|Thurs|Fri|Satur)day, (?<date>\d\d)-(?<month>\w{3})-(?<year>\d\d) (?<time>[\d:]{8}) GMT$/
const ASCTIME = /^(?<day>\w{3}) (?<month>\w{3}) (?<date>[ \d]\d) (?<time>[\d:]{8}) (?<year>\d{4})$/

/**
 * An HTTP-date (RFC 9110, section 5.6.7), its two obsolete forms in today's; `undefined` for any other text. Date.parse,
 * which `fresh` goes by, takes much for a date that is none, and asctime's for local time.
 */
function httpDate(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const { day = '', date = '', month, year, time } = (RFC_850.exec(text) ?? ASCTIME.exec(text))?.groups ?? {}
  const written = `${day.slice(0, 3)}, ${date.replace(' ', '0')} ${month}`
  // of two centuries, the one in which the date is on that day of the week
  const dates = day === '' ? [text] : ['', '20', '19'].map((century) => `${written} ${century}${year} ${time} GMT`)
  return dates.find((one) => one.length === 29 && new Date(one).toUTCString() === one)
}
