import { STATUS_CODES } from 'node:http'
import type { RackResponse } from './app.ts'

/**
 * The status that an error is answered with: its own, where it says that the request was at fault (`status` or
 * `statusCode` from 400 to 499, as the packages of Connect and Express have it), else 500.
 */
export function statusOf(error: unknown): number {
  const { status, statusCode } = (error ?? {}) as { status?: unknown; statusCode?: unknown }
  const said = Number.isInteger(status) ? status : statusCode
  return Number.isInteger(said) && (said as number) >= 400 && (said as number) < 500 ? (said as number) : 500
}

/**
 * A plain page that says nothing of the error but its status. No cache is to keep it: it may be one visitor's alone, and
 * of a 404 or 410 some caches keep what names no time.
 */
export function errorResponse(error: unknown): RackResponse {
  const status = statusOf(error)
  const text = `${STATUS_CODES[status] ?? 'Error'}\n`
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }
  return [status, { ...headers, 'content-length': text.length }, text]
}
