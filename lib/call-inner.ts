import { isPromise, type App, type Awaitable, type RackResponse } from './app.ts'

/** What a layer does when the app below it has answered. */
export interface Leaving {
  /** Makes the layer's response of the inner one. Default: that is it. */
  readonly commit?: ((response: RackResponse) => Awaitable<RackResponse>) | undefined
  /** Hears of an error, which goes on. */
  readonly close?: (() => void) | undefined
}

/**
 * Calls the app below a layer with what the layer adds to the request. A stack inside `map` may have a layer of the
 * same kind; the layers above it then get theirs back.
 */
export function callInner<Req extends object, Added extends object>(
  app: App<Req & Added>,
  req: Req,
  added: Added,
  layer: Leaving = {},
): Awaitable<RackResponse> {
  let outer: Record<string, unknown> | undefined
  for (const name in added) {
    const there = (req as Record<string, unknown>)[name]
    if (there !== undefined) (outer ??= {})[name] = there
  }
  return callEntered(app, Object.assign(req, added), outer, layer)
}

/**
 * The same for a layer that has put on the request what it adds; to look for a property by a name that is not written
 * out costs more than the rest.
 *
 * @param outer what stood there before, if anything did
 */
export function callEntered<Req extends object>(
  app: App<Req>,
  req: Req,
  outer: object | undefined,
  layer: Leaving,
): Awaitable<RackResponse> {
  let response: Awaitable<RackResponse>
  try {
    response = app(req)
  } catch (error) {
    return fail(req, outer, layer, error)
  }
  if (!isPromise(response)) return leave(req, outer, layer, response)
  return response.then(
    (value) => leave(req, outer, layer, value),
    (error: unknown) => fail(req, outer, layer, error),
  )
}

function leave(
  req: object,
  outer: object | undefined,
  layer: Leaving,
  response: RackResponse,
): Awaitable<RackResponse> {
  if (outer !== undefined) Object.assign(req, outer)
  return layer.commit === undefined ? response : layer.commit(response)
}

function fail(req: object, outer: object | undefined, layer: Leaving, error: unknown): never {
  if (outer !== undefined) Object.assign(req, outer)
  layer.close?.()
  throw error
}
