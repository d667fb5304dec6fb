import { spawn, type ChildProcess } from 'node:child_process'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { freePort } from './examples/program.ts'
import type { Owner } from './server.ts'

const LAST_LINE = /^(?:END|OK|STORED|DELETED|NOT_FOUND|VERSION .*|BUSY .*|[A-Z_]*ERROR.*)\r\n$/m

/** A memcached of a test's own. */
export class Memcached {
  readonly port: number
  readonly server: string
  readonly #args: readonly string[]
  #process: ChildProcess | undefined

  constructor(port: number, args: readonly string[]) {
    this.port = port
    this.server = `127.0.0.1:${port}`
    this.#args = args
  }

  /** Starts it, and waits until it answers. */
  async start(): Promise<void> {
    const args = ['-l', '127.0.0.1', '-p', String(this.port), '-U', '0', '-u', userInfo().username, ...this.#args]
    const server = spawn('memcached', args, { stdio: 'ignore' })
    this.#process = server
    const failed = new Promise<never>((_resolve, reject) => {
      server.on('error', () => {
        reject(new Error('The tests need memcached. On Debian and Ubuntu: sudo apt-get install memcached'))
      })
      server.on('exit', (code) => reject(new Error(`memcached ended with ${code}`)))
    })
    failed.catch(() => {}) // that it ends later is what some tests are about
    const answers = async (): Promise<void> => {
      while ((await this.say('version').catch(() => '')) === '') {
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
    }
    await Promise.race([answers(), failed])
  }

  /** Ends it at once, with all that it holds. */
  async kill(): Promise<void> {
    const server = this.#process
    this.#process = undefined
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const ended = new Promise((resolve) => server.once('exit', resolve))
    server.kill('SIGKILL')
    await ended
  }

  /** Connections stay open, and nobody answers. */
  pause(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Says something in the text protocol, and gives what it answers. */
  say(command: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, '127.0.0.1', () => socket.write(`${command}\r\n`))
      let answer = ''
      socket.setEncoding('latin1').on('data', (chunk: string) => {
        answer += chunk
        if (!LAST_LINE.test(answer)) return
        socket.destroy()
        resolve(answer)
      })
      socket.on('error', reject)
    })
  }

  /** Every key that it holds, and until when: a unix time in seconds, -1 for ever. */
  async items(): Promise<Map<string, number>> {
    const dump = await this.say('lru_crawler metadump all')
    const items = new Map<string, number>()
    for (const [, key = '', expiry] of dump.matchAll(/^key=(\S+) exp=(-?\d+)/gm)) {
      items.set(decodeURIComponent(key), Number(expiry))
    }
    return items
  }

  /** What stands under a key, as it is. */
  async value(key: string): Promise<string | undefined> {
    return /^VALUE .*\r\n(.*)\r\nEND/.exec(await this.say(`get ${key}`))?.[1]
  }
}

/** Starts a memcached that ends with the test. */
export async function memcached(t: Owner, ...args: string[]): Promise<Memcached> {
  const server = new Memcached(Number(await freePort()), args)
  t.teardown(() => server.kill())
  await server.start()
  return server
}
