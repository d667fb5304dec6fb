import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Listening {
  readonly port: number
  close(): Promise<void>
}

/** Listens on this machine alone. Port 0 takes any. @throws EADDRINUSE */
export async function listen(server: Server, port: number): Promise<Listening> {
  server.listen(port, '127.0.0.1')
  // an error event rejects it
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, 'close')
      server.close()
      // browsers hold connections open, some of them ahead of need
      server.closeAllConnections()
      await closed
    },
  }
}
