// What an example that people sign in to is started with, and how it is served.
import { createServer } from 'node:http'
import { toListener, type App } from 'luggage-rack'
import { listen } from './listen.ts'
import type { Provider, ProviderOptions } from './openid-provider/provider.ts'

export interface StartOptions {
  /** The application's port on `localhost`. It is in the addresses that the provider is told, so it cannot be 0. */
  readonly port: number
  /** Starts the provider that people sign in at. */
  readonly startProvider: (options: ProviderOptions) => Promise<Provider>
  /** The time in milliseconds since 1970, for sessions on the server. Default: `Date.now()`. */
  readonly clock?: (() => number) | undefined
}

export interface Example {
  /** Its origin: `http://localhost:3000`. */
  readonly url: string
  /** The provider's address. */
  readonly issuer: string
  /** Ends the application and its provider. */
  close(): Promise<void>
}

export type Start = (options: StartOptions) => Promise<Example>

/** Serves an app on localhost. The provider ends with it. @throws EADDRINUSE */
export async function serve(app: App, port: number, provider: Provider): Promise<Example> {
  try {
    const application = await listen(createServer(toListener(app)), port)
    return {
      url: `http://localhost:${port}`,
      issuer: provider.issuer,
      async close() {
        await Promise.all([application.close(), provider.close()])
      },
    }
  } catch (error) {
    await provider.close()
    throw error
  }
}
