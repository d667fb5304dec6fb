import type { IncomingMessage } from 'node:http'

/** A value, or a promise of it. */
export type Awaitable<T> = T | PromiseLike<T>

/** Header names in any letter case; a list is sent as one line each; `undefined` is not sent. */
export type RackHeaders = Readonly<Record<string, string | number | readonly string[] | undefined>>

/** What may be sent as a body. A `Readable` is an `AsyncIterable`; `null` is no body. */
export type RackBody = string | Uint8Array | null | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>

/** A response is a value: Rack's triple. */
export type RackResponse = readonly [status: number, headers: RackHeaders, body: RackBody]

/** A function from a request to a response. */
export type App<Req = IncomingMessage> = (req: Req) => Awaitable<RackResponse>

/**
 * A function from an app to an app. `Adds` is what it puts on the request before it calls the inner app,
 * `Needs` what a layer above must have put there.
 *
 * ```ts
 * const timed: Middleware<{ start: number }> = (app) => (req) => app(Object.assign(req, { start: Date.now() }))
 * ```
 */
export type Middleware<Adds = unknown, Needs = unknown> = (
  app: App<IncomingMessage & Needs & Adds>,
) => App<IncomingMessage & Needs>

/**
 * What a middleware may carry besides itself, so that the `Builder` can check a stack when it is built:
 * the properties of the request that it adds and needs. Its name is the function's own `name`.
 */
export interface LayerDescription {
  readonly adds?: readonly string[]
  readonly needs?: readonly string[]
  /** It cannot do without the response's body, and so not in a stack for `toConnect`. */
  readonly readsBody?: boolean
}

const layers = new WeakSet<object>()

/** Gives a middleware its name and description. */
export function describe<Layer extends (...args: never[]) => unknown>(
  name: string,
  description: LayerDescription,
  layer: Layer,
): Layer & LayerDescription {
  Object.defineProperty(layer, 'name', { value: name, configurable: true })
  layers.add(layer)
  return Object.assign(layer, description)
}

/** Whether a function is a layer that was described, and so no app. */
export function isLayer(layer: object): boolean {
  return layers.has(layer)
}

/** Whether an app answered with a promise. */
export function isPromise<T>(value: Awaitable<T>): value is PromiseLike<T> {
  return typeof (value as Partial<PromiseLike<T>> | null)?.then === 'function'
}
