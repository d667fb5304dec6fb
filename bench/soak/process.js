// A server process of the soak, and the next one in its place.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent } from 'node:http'
import { fileURLToPath } from 'node:url'

/** @typedef {import('./server.js').Measure} Measure */
/** @typedef {import('./server.js').Report} Report */
/** @typedef {{ args: () => string[], fault: (what: string, text: string) => void, hear: (report: Report) => void }} Watcher */

/** Connections of the clients to one server at most. */
export const CONNECTIONS = 24

/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set()

/** Ends them all at once. */
export function endServers() {
  for (const child of children) child.kill('SIGKILL')
}

export class Server {
  port = 0
  up = false
  restarts = 0
  agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, timeout: 30_000 })
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child
  #expected = false
  /** When it was or may have been away. @type {{ from: number, to: number }[]} */
  away = []
  /** CPU of the processes before. Milliseconds. */
  #spent = 0
  #cpu = 0
  /** @type {Watcher} */
  #watcher

  /** @param {Watcher} watcher */
  constructor(watcher) {
    this.#watcher = watcher
  }

  async start() {
    const watcher = this.#watcher
    const env = { ...process.env }
    // a session is sent over plain http to a loopback host outside of production alone
    delete env['NODE_ENV']
    const child = fork(fileURLToPath(new URL('server.js', import.meta.url)), watcher.args(), {
      env,
      // warnings come by IPC
      execArgv: ['--expose-gc', '--unhandled-rejections=strict', '--no-warnings'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child = child
    this.#expected = false
    children.add(child)
    child.stderr?.setEncoding('utf8').on('data', (text) => watcher.fault('process', `printed: ${text.slice(0, 1000)}`))
    child.on('exit', (code, signal) => {
      children.delete(child)
      if (!this.#expected) watcher.fault('process', `ended by itself, with ${code ?? signal}`)
    })
    child.on('error', (error) => watcher.fault('process', error.message))
    child.on('message', (/** @type {Report} */ message) => watcher.hear(message))
    this.port = (await this.#answer(child, 'port')).port
    this.up = true
  }

  /** @returns {Promise<Measure>} */
  async measure() {
    const child = /** @type {import('node:child_process').ChildProcess} */ (this.#child)
    if (!child.connected) throw new Error('a server of the soak ended')
    const answer = this.#answer(child, 'measure')
    child.send('measure')
    const { measure } = await answer
    this.#cpu = measure.cpu
    return measure
  }

  get cpu() {
    return this.#spent + this.#cpu
  }

  /** @param {import('node:child_process').ChildProcess} child @param {string} kind @returns {Promise<any>} */
  #answer(child, kind) {
    return new Promise((resolve, reject) => {
      const hear = (/** @type {{ kind: string }} */ message) => {
        if (message.kind !== kind) return
        child.off('message', hear)
        child.off('exit', end)
        resolve(message)
      }
      const end = () => reject(new Error('a server of the soak ended'))
      child.on('message', hear)
      child.on('exit', end)
    })
  }

  /** In order, and by itself; or at once. @param {'SIGTERM' | 'SIGKILL'} signal */
  async stop(signal) {
    const child = /** @type {import('node:child_process').ChildProcess} */ (this.#child)
    if (child.exitCode !== null || child.signalCode !== null) return
    await this.measure().catch(() => {})
    this.up = false
    this.#expected = true
    const exit = once(child, 'exit')
    child.kill(signal)
    const timer = setTimeout(() => {
      this.#watcher.fault('process', 'did not end within 20 s of SIGTERM: something holds it')
      child.kill('SIGKILL')
    }, 20_000)
    const [code] = await exit
    clearTimeout(timer)
    if (signal === 'SIGTERM' && code !== 0) this.#watcher.fault('process', `ended with ${code} on SIGTERM`)
    this.#spent += this.#cpu
    this.#cpu = 0
  }

  /** @param {'SIGTERM' | 'SIGKILL'} signal */
  async restart(signal) {
    const window = { from: performance.now(), to: Infinity }
    this.away.push(window)
    await this.stop(signal)
    this.agent.destroy()
    this.agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, timeout: 30_000 })
    await this.start()
    this.restarts++
    window.to = performance.now() + 1000
  }
}
