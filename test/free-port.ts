import { createServer } from 'node:net'

/** Ports of this process: below those that systems hand out for port 0, which other tests get at the same time. */
const FIRST = 20_000 + (process.pid % 500) * 20

let tried = 0

/** A port that nobody listens on, for a program that is told its port. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + (tried++ % 20)
    // oxlint-disable-next-line no-await-in-loop -- the next only if this one is taken
    if (await isFree(port)) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen(port, () => server.close(() => resolve(true)))
  })
}
