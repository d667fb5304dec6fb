import { createServer, request, type IncomingHttpHeaders } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { parseSetCookie } from 'cookie'
import { toListener, type App, type ListenerOptions } from '../lib/index.ts'

/** Whatever can end what a test began: a tap test. */
export interface Owner {
  teardown(end: () => Promise<void> | void): unknown
}

/** Serves an app on a port of its own until the test ends. Errors are collected, not printed. */
export async function serve(
  t: Owner,
  app: App,
  options: ListenerOptions = {},
): Promise<{ port: number; url: string; errors: unknown[] }> {
  const errors: unknown[] = []
  const server = createServer(toListener(app, { onError: (error) => errors.push(error), ...options }))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  const { port } = server.address() as AddressInfo
  return { port, url: `http://127.0.0.1:${port}`, errors }
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  /** The Set-Cookie lines. */
  cookies: string[]
  body: string
}

export interface Ask {
  method?: string
  headers?: Record<string, string | string[]>
  body?: string
}

/** One request, with exactly the headers given. */
export function ask(port: number, path: string, { method = 'GET', headers = {}, body }: Ask = {}): Promise<Answer> {
  // which node:http leaves out for DELETE and OPTIONS
  const length = body === undefined ? undefined : { 'content-length': String(Buffer.byteLength(body)) }
  const head = 'transfer-encoding' in headers ? headers : { ...length, ...headers }
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, path, method, headers: head, agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.on('error', reject)
      res.on('end', () =>
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          cookies: res.headers['set-cookie'] ?? [],
          body: Buffer.concat(chunks).toString(),
        }),
      )
    })
    req.on('error', reject)
    req.end(body)
  })
}

/** Writes bytes to a socket and gives back all that comes until the server ends the connection. */
export function askRaw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.end(text))
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
  })
}

/** Puts what Set-Cookie lines say into a jar of names and values, as they stand in a Cookie header. */
export function keepCookies(jar: Map<string, string>, lines: readonly string[]): void {
  for (const line of lines) {
    const { name, value = '', maxAge, expires } = parseSetCookie(line, { decode: (raw) => raw })
    const ended = maxAge === undefined ? expires !== undefined && expires.getTime() <= Date.now() : maxAge <= 0
    if (ended) jar.delete(name)
    else jar.set(name, value)
  }
}

/** A browser, as far as cookies of one host go. */
export class Client {
  readonly port: number
  /** What the browser holds: name and value as they stand in a Cookie header. */
  readonly jar: Map<string, string> = new Map()

  constructor(port: number) {
    this.port = port
  }

  get cookie(): string {
    return [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async get(path: string, options: Ask = {}): Promise<Answer> {
    const headers = this.jar.size > 0 ? { cookie: this.cookie, ...options.headers } : options.headers
    const answer = await ask(this.port, path, { ...options, ...(headers ? { headers } : undefined) })
    keepCookies(this.jar, answer.cookies)
    return answer
  }

  /** Another browser that was given the same cookies. */
  clone(): Client {
    const other = new Client(this.port)
    for (const [name, value] of this.jar) other.jar.set(name, value)
    return other
  }
}

/** The attributes of a Set-Cookie line, names in lower case. */
export function attributesOf(line: string): Record<string, string | true> {
  return Object.fromEntries(
    line
      .split(';')
      .slice(1)
      .map((attribute) => {
        const [name = '', value] = attribute.trim().split('=')
        return [name.toLowerCase(), value ?? true]
      }),
  )
}
