import type { IncomingMessage } from 'node:http'
import { isLayer, isPromise, type App, type LayerDescription, type Middleware, type RackResponse } from './app.ts'
import { takeResponse } from './body.ts'
import { layerSteps, type LayerMessage } from './channels.ts'
import { InvalidOptionError, SecretMissingError, StackOrderError } from './errors.ts'
import { isWatched, trace } from './trace.ts'
import { locationOf, urlMap, type Mapped } from './url-map.ts'

/** The properties that `Needs` has and `Has` lacks; if there is none, those that may be something else. */
type Missing<Needs, Has> = [Exclude<keyof Needs, keyof Has>] extends [never]
  ? Exclude<keyof Needs, keyof IncomingMessage>
  : Exclude<keyof Needs, keyof Has>

/** `unknown` where `Has` holds all of `Needs`, else a text that names what is missing. */
export type Met<Needs, Has> = [Has] extends [Needs]
  ? unknown
  : `needs, above it, the layer that adds req.${Missing<Needs, Has> & string}`

/** The request that the controller of a `Builder` gets, to type a controller in another file. */
export type RequestOf<B> = B extends Builder<infer Req> ? Req : never

type AnyMiddleware = Middleware & LayerDescription

type Step =
  | { readonly kind: 'use'; readonly layer: AnyMiddleware }
  | { readonly kind: 'map'; readonly location: string; readonly app: App }

const notFound: App = () => [404, { 'content-type': 'text/plain; charset=utf-8' }, 'Not Found\n']

/** The Builder that an app is of. */
const stacks = new WeakMap<App<never>, Builder>()

/** The stack of an app, or the stack itself; `undefined` for an app that no Builder made. */
export function stackOf(app: App | Builder): Builder | undefined {
  return app instanceof Builder ? app : stacks.get(app)
}

/**
 * A stack of middleware around a controller, as Rack's Builder:
 *
 * ```ts
 * const app = new Builder().use(cookies({ secret })).use(session()).run(controller)
 * ```
 *
 * The request goes through the layers from the first to the last, the response back from the last to the
 * first. Layers are built once, by `run`. The type of the request grows with what each layer adds.
 */
export class Builder<Req extends IncomingMessage = IncomingMessage> {
  readonly #steps: Step[] = []
  readonly #added: Set<string> = new Set()
  #controller: App<never> | undefined

  declare protected readonly request: Req

  /**
   * Adds a layer below the ones that are there.
   *
   * @throws {InvalidOptionError} what is given is no function
   * @throws {StackOrderError} a layer needs what no layer above it adds. A layer of your own that adds a
   *   property which another one names in its `needs` says so: `Object.assign(layer, { adds: ['user'] })`
   * @throws {SecretMissingError} a layer seals cookies, and `cookies()` above it has no secret
   */
  use<Inner = Req, Outer = Req>(middleware: ((app: App<Inner>) => App<Outer>) & Met<Outer, Req>): Builder<Req & Inner> {
    const layer = middleware as unknown as AnyMiddleware
    if (typeof layer !== 'function') {
      throw new InvalidOptionError('use() takes a middleware: a function from an app to an app.')
    }
    for (const need of layer.needs ?? []) {
      if (this.#added.has(need)) continue
      if (need === 'cookies.secret' && this.#added.has('cookies')) throw new SecretMissingError()
      throw new StackOrderError(
        `${layer.name || 'This layer'} needs, above it, the layer that adds req.${need.split('.')[0]}` +
          `${need.startsWith('cookies') ? ': use(cookies({ secret })) first' : ''}.`,
      )
    }
    for (const added of layer.adds ?? []) this.#added.add(added)
    this.#steps.push({ kind: 'use', layer })
    return this as unknown as Builder<Req & Inner>
  }

  /**
   * Gives the paths below a prefix to an app of their own, as Rack's URLMap: the longest prefix on a segment
   * boundary wins. Inside, `req.url` is the rest and `req.scriptName` the prefix. Layers that `build` uses
   * concern these paths alone; layers that are used after `map` do not.
   *
   * @param location `'/admin'`, or with a host `'http://example.org/admin'`
   * @param build uses and runs what belongs there, and returns it
   * @throws {InvalidOptionError} the location is none, or `build` returned no app
   */
  map(location: string, build: (builder: Builder<Req & Mapped>) => App<Req & Mapped> | Builder): Builder<Req> {
    locationOf(location)
    const inner = new Builder<Req & Mapped>()
    for (const added of this.#added) inner.#added.add(added)
    const built = build(inner)
    const app = built instanceof Builder ? built.run() : (built as unknown as App)
    if (typeof app !== 'function') {
      throw new InvalidOptionError(`map('${location}') takes a function that returns an app, as builder.run(…) does.`)
    }
    this.#steps.push({ kind: 'map', location, app })
    return this
  }

  /**
   * Ends the stack with the controller and builds it.
   *
   * @param app the controller; without one, what no `map` took is a 404
   * @throws {InvalidOptionError} the controller, or what a layer made, is no function
   */
  run(app?: App<Req>, ...others: never[]): App {
    const controller = app ?? this.#controller
    if (others.length > 0) throw new InvalidOptionError('run() takes one app.')
    if (controller !== undefined && typeof controller !== 'function') {
      throw new InvalidOptionError('run() takes an app: a function from a request to a response.')
    }
    this.#controller = controller
    const built = this.#build(this.#steps, checked((controller ?? notFound) as unknown as App))
    stacks.set(built, this)
    return built
  }

  /**
   * The app of all layers with another controller, which the stack does not keep as its own.
   *
   * @internal for `toConnect`, where the framework's handlers stand in the controller's place
   */
  around(controller: App<never>): App {
    return this.#build(this.#steps, checked(controller as unknown as App))
  }

  /**
   * Another app of the same layers, down to the one that adds a property to the request, in each `map` too, and with
   * another controller right below it; `undefined` where no layer adds it. A path that has none of its own gets that
   * of the stack around it, or the controller without; but where one map alone has it, every path does. It shares what
   * the layers share: the stores and the keys.
   *
   * @internal for `sessionFor` and `MockRequest`, which want the session and nothing of what is below
   */
  cut(property: string, controller: App<never>): App | undefined {
    const other = checked(controller as unknown as App)
    const kept: Step[] = []
    const [location, ...locations] = this.locationsOf(property)
    const isOnlyThere = location !== '/' && locations.length === 0
    let isAdded = false
    let isMapped = false
    for (const step of this.#steps) {
      if (step.kind === 'use') {
        if (isAdded) continue
        kept.push(step)
        isAdded = step.layer.adds?.includes(property) === true
        continue
      }
      const inner = stacks.get(step.app)?.cut(property, controller)
      if (inner && isOnlyThere) {
        const layers = kept.filter(({ kind }) => kind === 'use')
        return this.#build(layers, inner)
      }
      if (inner) isMapped = true
      if (inner || !isAdded) kept.push({ ...step, app: inner ?? other })
    }
    return isAdded || isMapped ? this.#build(kept, other) : undefined
  }

  /**
   * Where the property is there: `'/'`, or the locations of maps.
   *
   * @internal for `MockRequest`
   */
  locationsOf(property: string): string[] {
    const locations: string[] = []
    for (const step of this.#steps) {
      if (step.kind === 'use') {
        if (step.layer.adds?.includes(property)) return ['/']
        continue
      }
      const inner = stacks.get(step.app)?.locationsOf(property) ?? []
      locations.push(...inner.map((location) => step.location.replace(/\/$/, '') + location))
    }
    return locations
  }

  /** @internal the name of a layer that cannot do without the body, if there is one */
  get readerOfBodies(): string | undefined {
    const step = this.#steps.find((one) => one.kind === 'use' && one.layer.readsBody === true)
    return step?.kind === 'use' ? nameOf(step.layer) : undefined
  }

  #build(steps: readonly Step[], app: App): App {
    let built = app
    for (let i = steps.length - 1; i >= 0; i--) {
      const step = steps[i] as Step
      if (step.kind === 'use') {
        built = step.layer(built)
        if (isLayer(built)) {
          throw new InvalidOptionError(
            `use(${nameOf(step.layer)}) was given what makes a layer: write use(${nameOf(step.layer)}()).`,
          )
        }
        if (typeof built !== 'function') {
          throw new InvalidOptionError(
            `The layer ${nameOf(step.layer)} made no app: a middleware is a function from an app to an app.`,
          )
        }
        built = watched('layer', step.layer.name, built)
        continue
      }
      // maps side by side are one table, so that the longest prefix wins whatever their order; of two equal ones,
      // as in Rack, the last
      const table = [step]
      for (let above = steps[i - 1]; above?.kind === 'map'; above = steps[i - 1]) {
        table.push(above)
        i--
      }
      built = urlMap(table, built)
    }
    return built
  }

  /** The stack, one layer a line, in the order in which a request goes through it. */
  toString(): string {
    const lines = this.#steps.map((step) => {
      if (step.kind === 'use') return `use ${nameOf(step.layer)}`
      const inner = stacks.get(step.app)?.toString() ?? `run ${nameOf(step.app)}`
      return `map ${step.location}\n${inner.replace(/^/gm, '  ')}`
    })
    if (this.#controller) lines.push(`run ${nameOf(this.#controller)}`)
    return lines.join('\n')
  }
}

/** The controller, with its responses looked at before a layer sees them: a session is not saved for what is none. */
function checked(app: App): App {
  return watched('controller', app.name, (req) => {
    const response = app(req)
    return isPromise(response) ? response.then(takeResponse) : takeResponse(response)
  })
}

/** An app of which the channels tell, where anybody listens. */
function watched(kind: LayerMessage['kind'], name: string, app: App): App {
  return (req) =>
    isWatched(layerSteps) ? trace(layerSteps, { req, name, kind }, () => app(req), noteStatus) : app(req)
}

function noteStatus(message: LayerMessage, response: RackResponse): void {
  // what is no response is refused further up
  if (Array.isArray(response)) message.status = response[0]
}

function nameOf(layer: { readonly name: string }): string {
  return layer.name || '(anonymous)'
}
