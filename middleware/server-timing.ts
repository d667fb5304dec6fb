import type { Channel } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import { describe, type Middleware } from '../lib/app.ts'
import { callInner } from '../lib/call-inner.ts'
import { layerSteps, storeSteps, type LayerMessage, type StoreMessage } from '../lib/channels.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { getHeaderLines, withHeader } from '../lib/headers.ts'
import { isDone } from '../lib/trace.ts'

export interface ServerTimingOptions {
  /**
   * For which requests. What takes long tells an attacker something: in production say who may know. Default: outside
   * of production (`NODE_ENV`) all, as Rails, and in production none.
   */
  when?: ((req: IncomingMessage) => boolean) | undefined
}

/** A layer that the request is inside of. */
interface Entered {
  readonly message: LayerMessage
  readonly from: number
  /** Milliseconds spent in the layers below. */
  below: number
}

/** What is known of one request. */
interface Timing {
  readonly from: number
  readonly entered: Entered[]
  readonly metrics: { readonly name: string; readonly ms: number; readonly of: string }[]
  readonly stores: Map<StoreMessage, number>
}

const timings = new WeakMap<IncomingMessage, Timing>()
let listens = false

/**
 * Says in a `server-timing` header, which browsers' developer tools show, how many milliseconds each layer below took
 * by itself, each call of a store, and all together.
 *
 * @throws {InvalidOptionError} `when` is no function
 */
export function serverTiming(options: ServerTimingOptions = {}): Middleware {
  const { when = (): boolean => process.env['NODE_ENV'] !== 'production' } = options
  if (typeof when !== 'function') {
    throw new InvalidOptionError('serverTiming({ when }) takes a function that says for which requests.')
  }
  return describe('serverTiming', {}, (app) => {
    listen()
    return (req) => {
      if (!when(req)) return app(req)
      const outer = timings.get(req)
      const timing: Timing = { from: performance.now(), entered: [], metrics: [], stores: new Map() }
      timings.set(req, timing)
      const close = (): void => {
        if (outer) timings.set(req, outer)
        else timings.delete(req)
      }
      return callInner(
        app,
        req,
        {},
        {
          commit([status, headers, body]) {
            close()
            const lines = getHeaderLines(headers, 'server-timing')
            return [status, withHeader(headers, 'server-timing', [...lines, headerOf(timing)].join(', ')), body]
          },
          close,
        },
      )
    }
  })
}

/** Once, for all stacks of this process. */
function listen(): void {
  if (listens) return
  listens = true
  const on = <Message extends LayerMessage | StoreMessage>(
    channel: Channel<unknown, Message>,
    hear: (timing: Timing, message: Message) => void,
  ): void =>
    channel.subscribe((told) => {
      const message = told as Message
      const timing = timings.get(message.req)
      if (timing) hear(timing, message)
    })

  on<LayerMessage>(layerSteps.start, ({ entered }, message) => {
    entered.push({ message, from: performance.now(), below: 0 })
  })
  on<LayerMessage>(layerSteps.end, (timing, message) => {
    if (isDone(message)) left(timing, message)
  })
  on<LayerMessage>(layerSteps.asyncEnd, left)
  on<StoreMessage>(storeSteps.start, ({ stores }, message) => stores.set(message, performance.now()))
  on<StoreMessage>(storeSteps.end, (timing, message) => {
    if (isDone(message)) answered(timing, message)
  })
  on<StoreMessage>(storeSteps.asyncEnd, answered)
}

function left({ entered, metrics }: Timing, message: LayerMessage): void {
  if (entered.at(-1)?.message !== message) return
  const { from, below } = entered.pop() as Entered
  const ms = performance.now() - from
  const outer = entered.at(-1)
  if (outer) outer.below += ms
  metrics.push({ name: message.kind === 'controller' ? 'controller' : message.name, ms: ms - below, of: '' })
}

function answered({ stores, metrics }: Timing, message: StoreMessage): void {
  const from = stores.get(message)
  if (from === undefined) return
  stores.delete(message)
  metrics.push({ name: `store-${message.call}`, ms: performance.now() - from, of: message.store })
}

/** W3C Server Timing, section 3: names are tokens. */
function headerOf({ metrics, from }: Timing): string {
  const all = [...metrics, { name: 'total', ms: performance.now() - from, of: '' }]
  return all
    .map(({ name, ms, of }) => {
      const token = name.replace(/[^\w-]/g, '') || 'layer'
      return `${token};dur=${ms.toFixed(3)}${of === '' ? '' : `;desc="${of.replace(/[^\w]/g, '')}"`}`
    })
    .join(', ')
}
