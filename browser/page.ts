import type { TokenStorage } from './token-storage.ts'

/**
 * What of a browser's `window` is used here: `window` is one, and so is an object that a test makes. It is spelled out
 * so that neither this code nor what is compiled with it needs the DOM's types.
 */
export interface Page {
  readonly isSecureContext: boolean
  readonly location: { readonly href: string; assign(url: string): void }
  readonly document: { readonly visibilityState: string }
  readonly history: { replaceState(data: unknown, unused: string, url: string): void }
  readonly localStorage: TokenStorage
  readonly sessionStorage: TokenStorage
  readonly crypto: {
    randomUUID(): string
    readonly subtle: { digest(algorithm: string, data: ArrayBuffer): Promise<ArrayBuffer> }
  }
  fetch(url: string, init: object): Promise<{ readonly status: number; json(): Promise<unknown> }>
  setTimeout(callback: () => void, milliseconds: number): unknown
  clearTimeout(timer: unknown): void
  addEventListener(type: string, listener: () => void, options: object): void
}
