import type { IncomingMessage } from 'node:http'
import { describe, type Middleware } from '../lib/app.ts'
import { callInner } from '../lib/call-inner.ts'
import { FormUnsupportedError, InvalidOptionError } from '../lib/errors.ts'

export interface MethodOverrideOptions {
  /** Hears of a form that cannot be read for its encoding, and whose method so stays POST. Default: `console.error`. */
  onError?: ((error: unknown, req: IncomingMessage) => void) | undefined
}

/**
 * What a POST may become: Rack's list without LINK and UNLINK, which nobody sends, and without GET, HEAD and OPTIONS.
 * Those promise to change nothing, so checks such as `csrf()` let them pass, and a POST must not take their name.
 */
const METHODS = new Set(['PUT', 'PATCH', 'DELETE'])

/**
 * Lets HTML forms, which know only GET and POST, send PUT, PATCH and DELETE, as Rack::MethodOverride does: a POST
 * whose form has the field `_method`, or else that has the header `x-http-method-override`, is given to the app with
 * that as its `req.method`, in any letter case. Anything else stays as it is.
 *
 * Adds `req.originalMethod`, the method as it was sent, whether it was changed or not. `req.method` is restored when
 * the app has answered.
 *
 * What `req.form()` rejects with goes on, {FormTooLargeError} (413) for example; but a form in an encoding that
 * `form()` does not read stays a POST, since the app may read it.
 *
 * @throws {InvalidOptionError} `onError` is no function
 */
export function methodOverride(
  options: MethodOverrideOptions = {},
): Middleware<{ readonly originalMethod: string }, { readonly form: () => Promise<URLSearchParams> }> {
  const { onError = (error: unknown): void => console.error(error) } = options
  if (typeof onError !== 'function') {
    throw new InvalidOptionError('methodOverride({ onError }) takes a function of an error and a request.')
  }

  return describe('methodOverride', { adds: ['originalMethod'], needs: ['form'] }, (app) => (req) => {
    const sent = (req as { originalMethod?: string }).originalMethod ?? req.method ?? 'GET'
    const call = (method: string | undefined): ReturnType<typeof app> => {
      const wanted = method?.toUpperCase() ?? ''
      const added = { originalMethod: sent, ...(METHODS.has(wanted) ? { method: wanted } : undefined) }
      return callInner(app, req, added)
    }
    if (req.method !== 'POST') return call(undefined)
    const header = req.headers['x-http-method-override'] as string | undefined
    return req.form().then(
      // as in Rack, the last of several counts
      (form) => call(form.getAll('_method').at(-1) ?? header),
      (error: unknown) => {
        if (!(error instanceof FormUnsupportedError)) throw error
        onError(error, req)
        return call(header)
      },
    )
  })
}
