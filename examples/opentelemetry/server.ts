// A server whose requests become spans of OpenTelemetry. They are printed here; another exporter sends them to wherever
// traces are looked at.
import { createServer } from 'node:http'
import { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { Builder, cookies, MemoryStore, session, toListener } from 'luggage-rack'
import { makeSpans } from './spans.ts'

const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] })
makeSpans(provider.getTracer('luggage-rack'))

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
