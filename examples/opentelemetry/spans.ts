// Spans of OpenTelemetry for a request, its layers and its stores, made of what a stack publishes on its channels.
// It holds for every stack of the process, and a stack does not know of it.
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel, tracingChannel } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import { ROOT_CONTEXT, SpanStatusCode, trace, type Context, type Span, type Tracer } from '@opentelemetry/api'
import type { CommitMessage, LayerMessage, RequestMessage, StoreMessage } from 'luggage-rack'

/** Begins a span with each request, and one inside of it with each step. */
export function makeSpans(tracer: Tracer): void {
  const requests = new WeakMap<IncomingMessage, Span>()
  const spans = new WeakMap<object, Span>()
  /** The span that what is going on is inside of, also after an await. */
  const current = new AsyncLocalStorage<Context>()

  channel('luggage-rack:request:start').subscribe((message) => {
    const { req } = message as RequestMessage
    const [path = '/'] = (req.url ?? '/').split('?')
    const attributes = { 'http.request.method': req.method ?? 'GET', 'url.path': path }
    requests.set(req, tracer.startSpan('request', { attributes }, ROOT_CONTEXT))
  })

  channel('luggage-rack:request:end').subscribe((message) => {
    const { req, status } = message as RequestMessage
    const span = requests.get(req)
    if (status !== undefined) span?.setAttribute('http.response.status_code', status)
    span?.end()
  })

  channel('luggage-rack:session:commit').subscribe((message) => {
    const { req, outcome, cookie } = message as CommitMessage
    requests.get(req)?.addEvent('session committed', { outcome, cookie })
  })

  function follow(name: string, titleOf: (message: never) => string): void {
    const steps = tracingChannel<Context, LayerMessage | StoreMessage>({
      start: channel(`${name}:start`),
      end: channel(`${name}:end`),
      asyncStart: channel(`${name}:asyncStart`),
      asyncEnd: channel(`${name}:asyncEnd`),
      error: channel(`${name}:error`),
    } as never)
    steps.start.bindStore(current, (message) => {
      const request = requests.get(message.req)
      const around = current.getStore() ?? (request ? trace.setSpan(ROOT_CONTEXT, request) : ROOT_CONTEXT)
      const span = tracer.startSpan(titleOf(message as never), {}, around)
      spans.set(message, span)
      return trace.setSpan(around, span)
    })
    const end = (message: LayerMessage | StoreMessage): void => {
      const span = spans.get(message)
      if ('status' in message && message.status !== undefined) span?.setAttribute('status', message.status)
      span?.end()
    }
    steps.subscribe({
      start: () => {},
      end: (message) => {
        // of a step that is still under way nothing is known yet
        const isDone = 'store' in message ? message.found !== undefined : message.status !== undefined
        if (isDone || message.error !== undefined) end(message)
      },
      asyncStart: () => {},
      asyncEnd: end,
      error: (message) => spans.get(message)?.setStatus({ code: SpanStatusCode.ERROR }),
    })
  }

  follow('luggage-rack:layer', ({ kind, name }: LayerMessage) => (kind === 'controller' ? 'controller' : name))
  follow('luggage-rack:store', ({ store, call }: StoreMessage) => `${store} ${call}`)
}
