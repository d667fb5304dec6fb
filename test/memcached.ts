import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './examples/program.ts'
import type { Owner } from './server.ts'

const run = promisify(execFile)

const tick = (): Promise<void> => sleep(2)

const LAST_LINE = /^(?:END|EN|HD.*|OK|STORED|DELETED|NOT_FOUND|VERSION .*|BUSY .*|[A-Z_]*ERROR.*)\r\n$/m

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
        await tick()
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
  async pause(): Promise<void> {
    this.#process?.kill('SIGSTOP')
    // the signal is on its way, and what was asked before may still be answered
    while (!(await this.#state()).startsWith('T')) await tick()
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  async #state(): Promise<string> {
    const { stdout } = await run('ps', ['-o', 'state=', '-p', String(this.#process?.pid)])
    return stdout
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

  /** Every key that it holds. */
  async keys(): Promise<string[]> {
    for (;;) {
      const dump = await this.say('lru_crawler metadump all')
      // it crawls by itself at times
      if (!dump.startsWith('BUSY'))
        return [...dump.matchAll(/^key=(\S+)/gm)].map(([, key = '']) => decodeURIComponent(key))
      await tick()
    }
  }

  /** Seconds that a key has left; `undefined` where there is none such, or it never ends. */
  async secondsLeft(key: string): Promise<number | undefined> {
    const seconds = /^HD t(\d+)/.exec(await this.say(`mg ${key} t`))?.[1]
    return seconds === undefined ? undefined : Number(seconds)
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
