// The same bytes from node:http and nothing else, in the fewest lines that send them.
import { createServer } from 'node:http'
import { FIRST_VISIT, page, serve, settings } from './serve.js'

/** @type {import('./serve.js').Answer} */
const usual = { status: 200, headers: [['content-type', 'text/plain']], length: page().length }
const { status, headers, length, plain } = settings().answer ?? usual

/** Lines of one name, as those of two cookies, are a list. @type {Record<string, string | string[]>} */
const head = {}
for (const [name, value] of headers) {
  const before = head[name]
  head[name] = before === undefined ? value : [before, value].flat()
}
if (head['transfer-encoding'] === undefined) head['content-length'] = String(length)

let visits = FIRST_VISIT

/** Made for each request, as all others make it. */
const body = length === page().length ? () => page(10_000, visits++) : () => 'x'.repeat(length)

/** @type {import('node:http').RequestListener} */
const listener = (_req, res) => {
  res.writeHead(status, head)
  res.end(body())
}

await serve(
  createServer(
    plain
      ? (req, res) => {
          res.sendDate = false
          res.removeHeader('connection')
          listener(req, res)
        }
      : listener,
  ),
)
