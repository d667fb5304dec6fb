// Spans of OpenTelemetry for a request, its layers and its store, made of what the stack publishes.
// They are printed here; an exporter of your own sends them to wherever traces are looked at.
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel, tracingChannel } from 'node:diagnostics_channel'
import { createServer, type IncomingMessage } from 'node:http'
import { context as contexts, ROOT_CONTEXT, SpanStatusCode, trace, type Context, type Span } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import {
  Builder,
  cookies,
  MemoryStore,
  session,
  toListener,
  type CommitMessage,
  type LayerMessage,
  type RequestMessage,
  type StoreMessage,
} from 'luggage-rack'

const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] })
trace.setGlobalTracerProvider(provider)
contexts.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
const tracer = trace.getTracer('luggage-rack')

/** The span of each request, and where its layers and stores are inside of one another. */
const requests = new WeakMap<IncomingMessage, Span>()
const current = new AsyncLocalStorage<Context>()
const spans = new WeakMap<object, Span>()

channel('luggage-rack:request:start').subscribe((message) => {
  const { req } = message as RequestMessage
  const attributes = {
    'http.request.method': req.method ?? 'GET',
    'url.path': (req.url ?? '/').split('?')[0] as string,
  }
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

/** A span for each step of a kind, inside of that in which it happens. */
function spansOf<Message extends LayerMessage | StoreMessage>(
  name: string,
  titleOf: (message: Message) => string,
): void {
  const steps = tracingChannel<Context, Message>({
    start: channel(`${name}:start`),
    end: channel(`${name}:end`),
    asyncStart: channel(`${name}:asyncStart`),
    asyncEnd: channel(`${name}:asyncEnd`),
    error: channel(`${name}:error`),
  } as never)
  // what runs inside of the step finds its context, also after an await
  steps.start.bindStore(current, (message) => {
    const request = requests.get(message.req)
    const around = current.getStore() ?? (request ? trace.setSpan(ROOT_CONTEXT, request) : ROOT_CONTEXT)
    const span = tracer.startSpan(titleOf(message), {}, around)
    spans.set(message, span)
    return trace.setSpan(around, span)
  })
  const end = (message: Message): void => {
    const span = spans.get(message)
    if ('status' in message && message.status !== undefined) span?.setAttribute('status', message.status)
    span?.end()
  }
  steps.subscribe({
    start: () => {},
    // of a step that is still under way nothing is known yet
    end: (message) => {
      const isDone = 'store' in message ? message.found !== undefined : message.status !== undefined
      if (isDone || message.error !== undefined) end(message)
    },
    asyncStart: () => {},
    asyncEnd: end,
    error: (message) => spans.get(message)?.setStatus({ code: SpanStatusCode.ERROR }),
  })
}

spansOf<LayerMessage>('luggage-rack:layer', ({ kind, name }) => (kind === 'controller' ? 'controller' : name))
spansOf<StoreMessage>('luggage-rack:store', ({ store, call }) => `${store} ${call}`)

const app = new Builder()
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ visits: number }>({ store: new MemoryStore(), key: '_app_session' }))
  .run(async (req) => {
    const session = await req.session
    session.visits = (session.visits ?? 0) + 1
    return [200, { 'content-type': 'text/plain' }, `visit ${session.visits}\n`]
  })

const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
