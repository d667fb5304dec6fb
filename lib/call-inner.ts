import { isPromise, type App, type Awaitable, type RackResponse } from './app.ts'

/**
 * Calls the app below a layer with what the layer adds to the request, and `leave` or `fail` when it has answered.
 * A stack inside `map` may have a layer of the same kind; the layers above it then get theirs back.
 *
 * @param leave makes the layer's response of the inner one. Default: that is it
 * @param fail hears of an error, which goes on
 */
export function callInner<Req extends object, Added extends object>(
  app: App<Req & Added>,
  req: Req,
  added: Added,
  leave?: (response: RackResponse) => Awaitable<RackResponse>,
  fail?: () => void,
): Awaitable<RackResponse> {
  let outer: Record<string, unknown> | undefined
  for (const name in added) {
    const there = (req as Record<string, unknown>)[name]
    if (there !== undefined) (outer ??= {})[name] = there
  }
  const restored = (response: RackResponse): Awaitable<RackResponse> => {
    if (outer) Object.assign(req, outer)
    return leave ? leave(response) : response
  }
  const failed = (error: unknown): never => {
    if (outer) Object.assign(req, outer)
    fail?.()
    throw error
  }
  let response: Awaitable<RackResponse>
  try {
    response = app(Object.assign(req, added))
  } catch (error) {
    return failed(error)
  }
  return isPromise(response) ? response.then(restored, failed) : restored(response)
}
