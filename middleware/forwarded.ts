import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyaddr from 'proxy-addr'
import { describe, type Middleware } from '../lib/app.ts'
import { callInner } from '../lib/call-inner.ts'
import { InvalidOptionError } from '../lib/errors.ts'
import { authorityOf, isEncrypted, type Forwarded } from '../lib/request.ts'

export interface ForwardedOptions {
  /**
   * The proxies to believe. Default: none.
   *
   * - an address, a range (`'10.0.0.0/8'`), `'loopback'`, `'linklocal'` or `'uniquelocal'`, or a list of them;
   * - how many proxies a request comes through, the last one being connected to this server: for platforms that
   *   tell no addresses, and only where nobody can reach this server around them;
   * - a function of an address and its hop, 0 for the connection itself, which may only answer `true` or `false`.
   *
   * A proxy that connects by a Unix socket has no address: `1`, or a function, which is then given `''`.
   */
  trust?: string | readonly string[] | number | ((address: string, hop: number) => boolean) | undefined
}

type Trust = (address: string, hop: number) => boolean

const RANGES = ['loopback', 'linklocal', 'uniquelocal']

/** A name or an address, and perhaps a port. */
const HOST = /^(?:[\w.-]{1,253}|\[[\d.:A-Fa-f]{2,45}\])(?::\d{1,5})?$/

/**
 * How the browser's request looked to the outermost proxy: adds `req.forwarded`, `{ scheme, host, address }`, frozen.
 * With it above `cookies()`, a session's `secure: 'auto'` knows of the proxy's TLS.
 *
 * It is made of `x-forwarded-proto`, `-host` and `-for`, which anybody can send, so only of what trusted proxies
 * wrote. Each of them has to add to these headers or to replace them. What is absent or cannot be one is as the
 * connection has it: its TLS, the Host header (`:authority` in HTTP/2), and the address of the last proxy that is
 * known (`''` for a Unix socket).
 *
 * @throws {InvalidOptionError} `trust` is none of what it may be
 */
export function forwarded(options: ForwardedOptions = {}): Middleware<{ readonly forwarded: Forwarded }> {
  const trust = trustOf(options.trust)
  return describe('forwarded', { adds: ['forwarded'] }, (app) => (req) => {
    const added = { forwarded: Object.freeze(forwardedOf(req, trust)) }
    return callInner(app, req, added)
  })
}

function trustOf(trust: ForwardedOptions['trust']): Trust {
  if (trust === undefined) return () => false
  // an async function would trust everybody, as promises are true
  if (typeof trust === 'function') return (address, hop) => (trust(address, hop) as unknown) === true
  if (typeof trust === 'number' && Number.isInteger(trust) && trust >= 0) return (_, hop) => hop < trust
  const list: readonly unknown[] = Array.isArray(trust) ? trust : [trust]
  // proxy-addr takes '1' for 0.0.0.1
  const known = (one: unknown): one is string =>
    typeof one === 'string' && (RANGES.includes(one) || isIP(one.split('/', 1)[0] as string) !== 0)
  try {
    if (list.every(known)) return proxyaddr.compile(list.slice())
  } catch {
    // a range that is none
  }
  throw new InvalidOptionError(
    "forwarded({ trust }) takes an address, a range such as '10.0.0.0/8', 'loopback', 'linklocal' or 'uniquelocal', " +
      'a list of these, a number of proxies, or a function of an address.',
  )
}

function forwardedOf(req: IncomingMessage, trust: Trust): Forwarded {
  const peer = req.socket.remoteAddress ?? ''
  const scheme = isEncrypted(req) ? 'https' : 'http'
  const host = authorityOf(req)
  if (!trust(peer, 0)) return { scheme, host, address: peer }

  const addresses = proxyaddr.all(req).map(withoutPort)
  let hops = 1
  while (hops < addresses.length && trust(addresses[hops] as string, hops)) hops++
  const saidScheme = valueOf(req, 'x-forwarded-proto', hops).toLowerCase()
  const saidHost = valueOf(req, 'x-forwarded-host', hops)
  return {
    scheme: saidScheme === 'http' || saidScheme === 'https' ? saidScheme : scheme,
    host: HOST.test(saidHost) ? saidHost : host,
    address: addresses.slice(1, hops + 1).findLast((address) => isIP(address) !== 0) ?? peer,
  }
}

/**
 * What the outermost of the trusted proxies wrote. A client may have sent the header itself, and proxies may have
 * added theirs at its end: then as many values are theirs as there are proxies. Empty values count too: a proxy may
 * have written one, and without it the client's own would be taken for the proxy's.
 */
function valueOf(req: IncomingMessage, name: string, hops: number): string {
  const header = req.headers[name]
  if (typeof header !== 'string') return ''
  const values = header.split(',')
  return (values[Math.max(0, values.length - hops)] as string).trim()
}

/** Some proxies write the client's port behind its address. */
function withoutPort(address: string): string {
  return /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(address)?.[1] ?? /^\[(.+)\](?::\d+)?$/.exec(address)?.[1] ?? address
}
