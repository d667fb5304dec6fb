import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'

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
  if (forwarded) return forwarded.scheme === 'https'
  return (req.socket as Partial<TLSSocket> | null)?.encrypted === true
}

/** The host that the browser asked for, in lower case and without its port; an IPv6 address keeps its brackets. */
export function hostOf(req: IncomingMessage): string {
  const host = (req as WithForwarded).forwarded?.host ?? req.headers.host ?? headerOf(req, ':authority') ?? ''
  return host.toLowerCase().replace(/:\d*$/, '')
}

/** Whether the browser asked a host of its own machine (RFC 6761, section 6.3, and RFC 8252, section 7.3). */
export function isLoopback(req: IncomingMessage): boolean {
  const host = hostOf(req)
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
}

function headerOf(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name]
  return typeof value === 'string' ? value : undefined
}
