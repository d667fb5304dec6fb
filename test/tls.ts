import { connect, createSecureServer, type ClientHttp2Stream } from 'node:http2'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { toListener, type App } from '../lib/index.ts'
import type { Answer, Ask, Owner } from './server.ts'

/** Of localhost, until 2126. Nobody trusts it, and it guards nothing. */
const CREDENTIALS = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWayTSG9ZBaDrZSg4
rggi5xkdWDOZTx65pN0W9IuStQihRANCAATXAejwad/If2Tjlp2HhGMTi3V/43Ex
Mc6881Q7swHDxYGKfxIWKG3eHtJygZYSZGHcuQ3mII/iyHRVy3MHPXX4
-----END PRIVATE KEY-----`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUPPpGS2HB7AbkLF1Miw4CfXYy5swwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMDIyMDUwOVoYDzIxMjYxMDI3
MjIwNTA5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATXAejwad/If2Tjlp2HhGMTi3V/43ExMc6881Q7swHDxYGKfxIWKG3e
HtJygZYSZGHcuQ3mII/iyHRVy3MHPXX4o28wbTAdBgNVHQ4EFgQUXfvTTHQ3dMON
2xIr4UNEdcZx1BQwHwYDVR0jBBgwFoAUXfvTTHQ3dMON2xIr4UNEdcZx1BQwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAMtNcgWncKeW5fTjVfEVtvaDK6zGHSR8vZtKA2vapS8HAiEA
lEfpoGhjvF8wEbrroyVCS1sLwOGRYZB1gBnvz/MabHo=
-----END CERTIFICATE-----`,
}

/** Serves an app over TLS until the test ends, to clients of HTTP/1.1 and HTTP/2. */
export async function serveTls(t: Owner, app: App): Promise<{ port: number; errors: unknown[] }> {
  const errors: unknown[] = []
  const listener = toListener(app, { onError: (error) => errors.push(error) })
  const server = createSecureServer({ ...CREDENTIALS, allowHTTP1: true }, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return { port: (server.address() as AddressInfo).port, errors }
}

/** One request over TLS, by HTTP/1.1. */
export function askTls(port: number, path: string, { headers = {} }: Ask = {}): Promise<Answer> {
  const options = {
    host: '127.0.0.1',
    servername: 'localhost',
    port,
    path,
    headers,
    agent: false,
    ca: CREDENTIALS.cert,
  }
  return new Promise((resolve, reject) => {
    const req = request(options, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (text: string) => (body += text))
      res.on('error', reject)
      res.on('end', () => {
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          cookies: res.headers['set-cookie'] ?? [],
          body,
        })
      })
    })
    req.on('error', reject)
    req.end()
  })
}

/** A connection of HTTP/2 over TLS, which ends with the test. */
export function connectTls(
  t: Owner,
  port: number,
): { ask(path: string, options?: Ask): Promise<Answer>; begin(path: string, options?: Ask): ClientHttp2Stream } {
  const session = connect(`https://127.0.0.1:${port}`, { ca: CREDENTIALS.cert })
  t.teardown(() => new Promise<void>((resolve) => session.close(resolve)))
  const begin = (path: string, { headers: { host, ...headers } = {} }: Ask = {}): ClientHttp2Stream =>
    session.request({ ...headers, ':path': path, ...(host === undefined ? {} : { ':authority': host }) })
  const ask = (path: string, options?: Ask): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const stream = begin(path, options)
      let body = ''
      let answer: Answer | undefined
      stream.setEncoding('utf8')
      stream.on('response', (headers) => {
        answer = { status: headers[':status'] ?? 0, headers, cookies: headers['set-cookie'] ?? [], body }
      })
      stream.on('data', (text: string) => (body += text))
      stream.on('error', reject)
      stream.on('end', () => (answer ? resolve({ ...answer, body }) : reject(new Error('There was no response.'))))
    })
  return { ask, begin }
}
