import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { test } from 'tap'
import { makeSpans } from '../../examples/opentelemetry/spans.ts'
import { MemoryStore } from '../../lib/index.ts'
import { ask, Client, serve } from '../server.ts'
import { SECRET, sessionApp } from '../session-app.ts'
import { freePort, start } from './program.ts'

test('a request, its layers and its store are spans inside of one another', async (t) => {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  makeSpans(provider.getTracer('test'))
  const { port } = await serve(t, sessionApp({ store: new MemoryStore() }))
  const client = new Client(port)
  await client.get('/write')
  await client.get('/read?a=secret')
  const finished = () => exporter.getFinishedSpans()
  const requests = () => finished().filter(({ name }) => name === 'request')
  // a request ends a moment after its answer was read
  while (requests().length < 2) await new Promise((resolve) => setImmediate(resolve))
  const read = requests()[1]
  t.match(read?.attributes, { 'http.request.method': 'GET', 'url.path': '/read', 'http.response.status_code': 200 })
  t.match(read?.events, [{ name: 'session committed', attributes: { outcome: 'unchanged', cookie: 'none' } }])
  const own = finished().filter((span) => span.spanContext().traceId === read?.spanContext().traceId)
  const parentOf = (name: string): string | undefined => {
    const id = own.find((span) => span.name === name)?.parentSpanContext?.spanId
    return own.find((span) => span.spanContext().spanId === id)?.name
  }
  t.strictSame(
    ['cookies', 'session', 'controller', 'MemoryStore load'].map((name) => [name, parentOf(name)]),
    [
      ['cookies', 'request'],
      ['session', 'cookies'],
      ['controller', 'session'],
      ['MemoryStore load', 'controller'],
    ],
  )
  const id = client.jar.get('_session_id') as string
  t.notOk(own.some((span) => JSON.stringify([span.name, span.attributes, span.events]).includes(id)))
  t.notOk(own.some((span) => JSON.stringify(span.attributes).includes('secret')))
})

test('the example prints them', async (t) => {
  const env = { PORT: await freePort(), SECRET_KEY_BASE: SECRET }
  const { port, output } = await start(t, 'opentelemetry/server', { env })
  t.equal((await ask(port, '/')).body, 'visit 1\n')
  while (!/name: 'request'/.test(output())) await new Promise((resolve) => setImmediate(resolve))
  t.match(output(), /name: 'MemoryStore save'/)
})
