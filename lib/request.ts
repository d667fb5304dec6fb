import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { InvalidOptionError } from './errors.ts'

/** What `forwarded()` makes of the `x-forwarded-*` headers of a trusted proxy. */
export interface Forwarded {
  readonly scheme: 'http' | 'https'
  readonly host: string
  readonly address: string
}

type WithForwarded = IncomingMessage & { readonly forwarded?: Forwarded }

/** Whether the browser's connection is encrypted, a trusted proxy's word included. */
export function isSecure(req: IncomingMessage): boolean {
  const { forwarded } = req as WithForwarded
  return forwarded ? forwarded.scheme === 'https' : isEncrypted(req)
}

/** Whether the connection that the request came by is encrypted. */
export function isEncrypted(req: IncomingMessage): boolean {
  return (req.socket as Partial<TLSSocket> | null)?.encrypted === true
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

/** Whether the browser asked a host of its own machine (RFC 6761, section 6.3, and RFC 8252, section 7.3). */
export function isLoopback(req: IncomingMessage): boolean {
  return isLoopbackHost(hostOf(req))
}

/** The same of a host in lower case, without a port; an IPv6 address has its brackets. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
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
  return path.replace(/^https?:\/\/[^/]*/i, '')
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
