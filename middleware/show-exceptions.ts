import { STATUS_CODES, type IncomingMessage } from 'node:http'
import { describe, isPromise, type Awaitable, type Middleware, type RackResponse } from '../lib/app.ts'
import { takeResponse } from '../lib/body.ts'
import { errorResponse, statusOf } from '../lib/error-response.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { getHeaderLines, withHeader } from '../lib/headers.ts'

export interface ShowExceptionsOptions {
  /**
   * Makes a page of your own; `status` is the error's, from 400 to 500. Where it throws itself, or returns no
   * response, the plain page is sent. Default: a plain page that says nothing of the error but its status.
   */
  render?: ((error: unknown, req: IncomingMessage, status: number) => Awaitable<RackResponse>) | undefined
  /**
   * Whether to show the error instead, for whoever develops: its class, code, message, stack and causes, and nothing
   * of the request. As in Rails this goes before the pages of your own. Default: only where `NODE_ENV` is
   * `'development'` when the stack is built.
   */
  details?: boolean | undefined
  /**
   * Hears of errors that are the application's fault, those of status 500, and of every error of `render`. Errors of
   * status 4xx are the client's fault and are not reported. Default: `console.error`.
   */
  onError?: ((error: unknown, req: IncomingMessage) => void) | undefined
}

type Render = NonNullable<ShowExceptionsOptions['render']>

/**
 * Answers with a page when an app below throws (Rails' ShowExceptions and DebugExceptions, Rack::ShowExceptions).
 * The status is the error's own `status` or `statusCode` if that is from 400 to 499, else 500. The page is sent with
 * `cache-control: no-store`, unless a page of your own says otherwise.
 *
 * It is the topmost layer, or stands right below `requestId()`, whose header is then on these pages too. A body that
 * fails after the head was sent is not seen here: the listener ends the connection, and its own `onError` hears of it.
 *
 * @throws {InvalidOptionError} an option of another type
 */
export function showExceptions(options: ShowExceptionsOptions = {}): Middleware {
  const { render = errorResponse, details = process.env['NODE_ENV'] === 'development' } = options
  const { onError = (error: unknown): void => console.error(error) } = options
  if (typeof render !== 'function') {
    throw new InvalidOptionError('showExceptions({ render }) takes a function that returns a response.')
  }
  if (typeof details !== 'boolean') {
    throw new InvalidOptionError('showExceptions({ details }) takes true or false.')
  }
  if (typeof onError !== 'function') {
    throw new InvalidOptionError('showExceptions({ onError }) takes a function that hears of errors.')
  }

  const page: Render = details ? detailsPage : render
  const report = (failure: unknown, req: IncomingMessage): void => {
    try {
      const heard: unknown = onError(failure, req)
      if (isPromise(heard)) heard.then(undefined, (second: unknown) => console.error(second))
    } catch (second) {
      console.error(second)
    }
  }

  return describe('showExceptions', {}, (app) => (req) => {
    const fail = async (error: unknown): Promise<RackResponse> => {
      const status = statusOf(error)
      if (status >= 500) report(error, req)
      try {
        return withoutStoring(takeResponse(await page(error, req, status)))
      } catch (second) {
        report(second, req)
        return withoutStoring(errorResponse(error))
      }
    }
    try {
      const response = app(req)
      return isPromise(response) ? response.then(undefined, fail) : response
    } catch (error) {
      return fail(error)
    }
  })
}

function withoutStoring(response: RackResponse): RackResponse {
  const [status, headers, body] = response
  if (getHeaderLines(headers, 'cache-control').length > 0) return response
  return [status, withHeader(headers, 'cache-control', 'no-store'), body]
}

/** Causes of causes that are shown; they may go in a circle. */
const MOST_CAUSES = 10

function detailsPage(error: unknown, req: IncomingMessage, status: number): RackResponse {
  const parts = [detailOf(error)]
  for (let at = causeOf(error); at !== undefined && parts.length <= MOST_CAUSES; at = causeOf(at)) {
    parts.push(`Caused by: ${detailOf(at)}`)
  }
  const text = `${parts.join('\n\n')}\n`
  if (!acceptsHtml(req)) return [status, { 'content-type': 'text/plain; charset=utf-8' }, text]
  const title = escapeHtml(`${status} ${STATUS_CODES[status] ?? 'Error'}`)
  const html =
    `<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>${title}</title>\n` +
    `<h1>${title}</h1>\n<pre>${escapeHtml(text)}</pre>\n</html>\n`
  return [status, { 'content-type': 'text/html; charset=utf-8' }, html]
}

/**
 * The class, code, message and stack of an error, of which `util.inspect` would also show what libraries hang on
 * it, such as the headers of a request.
 */
function detailOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return `${typeof error}: ${String(error)}`
  const { constructor, name, code, message, stack } = error as Partial<Error> & { code?: unknown }
  const title = constructor?.name || (typeof name === 'string' && name) || 'object'
  const mark = typeof code === 'string' || typeof code === 'number' ? ` [${code}]` : ''
  const [frames = ''] = /^ {4}at .*/ms.exec(typeof stack === 'string' ? stack : '') ?? []
  return `${title}${mark}: ${typeof message === 'string' ? message : ''}${frames && `\n${frames}`}`
}

function causeOf(error: unknown): unknown {
  return (error as { cause?: unknown } | null | undefined)?.cause ?? undefined
}

/** A browser asks for HTML by name; curl, which takes anything, reads text better. */
function acceptsHtml(req: IncomingMessage): boolean {
  const ranges = (req.headers.accept ?? '').toLowerCase().split(',')
  return ranges.some((range) => /^\s*text\/html\s*(;|$)/.test(range) && !/;\s*q=0(\.0*)?\s*(;|$)/.test(range))
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (one) => ENTITIES[one] as string)
}
