import type { IncomingMessage } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { InvalidOptionError } from './errors.ts'

/** What `forwarded()` makes of the `x-forwarded-*` headers of a trusted proxy. */
export interface Forwarded {
  readonly scheme: 'http' | 'https'
  readonly host: string
  readonly address: string
}

type WithForwarded = IncomingMessage & { readonly forwarded?: Forwarded }

/** Whether a request came through `node:http2`: a client of `node:http` may call itself HTTP/2, and node repeats it. */
export function isHttp2(req: IncomingMessage): boolean {
  return req.httpVersionMajor >= 2 && 'stream' in req
}

/** Whether the browser's connection is encrypted, a trusted proxy's word included. */
export function isSecure(req: IncomingMessage): boolean {
  const { forwarded } = req as WithForwarded
  return forwarded ? forwarded.scheme === 'https' : isEncrypted(req)
}

/** Whether the connection that the request came by is encrypted. */
export function isEncrypted(req: IncomingMessage): boolean {
  if ((req.socket as Partial<TLSSocket> | null)?.encrypted === true) return true
  const { stream } = req as { readonly stream?: ServerHttp2Stream }
  // one that its client has left no longer knows its connection; there the client's word is good enough, since nothing
  // is sent to it any more, while what its request did is still to be saved
  return stream !== undefined && stream.session === undefined && headerOf(req, ':scheme') === 'https'
}

/** The Host header, or what stands for it in HTTP/2, as it was sent; empty where there is none. */
export function authorityOf(req: IncomingMessage): string {
  return req.headers.host ?? headerOf(req, ':authority') ?? ''
}

/** The host that the browser asked for, in lower case and without its port; an IPv6 address keeps its brackets. */
export function hostOf(req: IncomingMessage): string {
  const host = (req as WithForwarded).forwarded?.host ?? authorityOf(req)
  return host.toLowerCase().replace(/:\d*$/, '')
}

/** The origin of our own pages, as a browser writes it: scheme, host and, unless it is the scheme's own, the port. */
export function originOf(req: IncomingMessage): string {
  const scheme = isSecure(req) ? 'https' : 'http'
  const host = (req as WithForwarded).forwarded?.host ?? authorityOf(req)
  return `${scheme}://${host.toLowerCase().replace(scheme === 'https' ? /:443$/ : /:80$/, '')}`
}

/**
 * Whether the browser asked a host of its own machine (RFC 6761, section 6.3, and RFC 8252, section 7.3), by the name
 * that it was asked for and not by the socket: a container sees the address of its bridge. Who writes another Host
 * header than a browser would is told nothing but what is his; and a page of another site that leads its own name here
 * (DNS rebinding) sends that name.
 */
export function isLoopback(req: IncomingMessage): boolean {
  return isLoopbackHost(hostOf(req))
}

/** The same of a host in lower case, without a port; an IPv6 address has its brackets, a name perhaps a dot at its end. */
export function isLoopbackHost(host: string): boolean {
  return /^(?:(?:.*\.)?localhost\.?|127(?:\.\d{1,3}){3}|\[::1\])$/.test(host)
}

function headerOf(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name]
  return typeof value === 'string' ? value : undefined
}

/**
 * The path of a request as the browser asked for it, without its query; with what `map`, or a framework that a stack
 * is mounted in, has cut off.
 */
export function pathOf(req: IncomingMessage & { readonly scriptName?: string; readonly originalUrl?: string }): string {
  const path = (req.originalUrl ?? (req.scriptName ?? '') + (req.url ?? '/')).split('?', 1)[0] as string
  return path.replace(/^[a-z][a-z\d+.-]*:\/\/[^/]*/i, '')
}

/**
 * Origins as browsers send them.
 *
 * @param name what they are called in an error
 * @throws {InvalidOptionError} one is no origin, which no request would ever match
 */
export function checkOrigins(origins: readonly string[], name: string): ReadonlySet<string> {
  if (Array.isArray(origins) && origins.every(isOrigin)) return new Set(origins)
  throw new InvalidOptionError(
    `${name} takes a list of origins such as 'https://accounts.example.org', without a path.`,
  )
}

/** Also of an app, `capacitor://localhost`, or an extension, which a URL knows no origin of. */
function isOrigin(text: unknown): boolean {
  if (typeof text !== 'string' || !/^[a-z][a-z\d+.-]*:\/\/[a-z\d._:[\]-]+$/.test(text)) return false
  return !/^https?:/.test(text) || (URL.canParse(text) && new URL(text).origin === text)
}
