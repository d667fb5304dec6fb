// The processes of a run: the servers and the load generator. They are asked over IPC.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/** @typedef {{ rss: number, heapUsed?: number }} Memory bytes */
/** @typedef {{ cpu: number, requests?: number, memory: Memory }} Usage `cpu` in microseconds, of all threads */
/** @typedef {{ child: ChildProcess, port: number, pid: number, name: string }} Server */
/** @typedef {{ file: string, name: string, production?: boolean }} Program */

/** Ticks of the kernel's clock a second, in which /proc counts CPU time: 100 on every Linux that Node runs on. */
const TICKS = 100

/** @type {Set<ChildProcess>} */
const running = new Set()

/** @param {string} file @param {string[]} args @param {string[]} execArgv @param {NodeJS.ProcessEnv} env */
export function start(file, args = [], execArgv = [], env = {}) {
  const own = { ...process.env, ...env }
  // a session is sent over plain http to a loopback host outside of production alone
  if (env['NODE_ENV'] === undefined) delete own['NODE_ENV']
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), args, { env: own, execArgv })
  running.add(child)
  child.on('exit', () => running.delete(child))
  return child
}

/**
 * The next message of a process.
 *
 * @param {ChildProcess} child @param {string} name
 * @throws {Error} it ended instead
 */
async function heard(child, name) {
  const stop = new AbortController()
  try {
    const ended = once(child, 'exit', stop).then(([code, signal]) => {
      throw new Error(`${name} ended with ${code ?? signal}`)
    })
    const [message] = await Promise.race([once(child, 'message', stop), ended])
    return message
  } finally {
    stop.abort()
  }
}

/** @param {ChildProcess} child @param {string | object} question @param {string} name */
export function ask(child, question, name) {
  const answer = heard(child, name)
  child.send(question)
  return answer
}

/**
 * A fresh server that answers.
 *
 * @param {Program} program @param {object} settings @param {string[]} [execArgv]
 * @returns {Promise<Server>}
 */
export async function serve({ file, name, production = false }, settings, execArgv = []) {
  const env = production ? { NODE_ENV: 'production' } : {}
  const child = start(file, [JSON.stringify(settings)], ['--expose-gc', ...execArgv], env)
  const { port, pid } = await heard(child, name)
  return { child, port, pid, name }
}

/** @param {Server} server */
export async function stop({ child }) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  // an end in order, so that a profile is written
  child.disconnect()
  await ended
}

/** Ends what still runs. */
export function stopAll() {
  for (const child of running) child.kill('SIGKILL')
}

/**
 * What a server used so far, with a full collection before it where that is asked for.
 *
 * @param {Server} server @param {'usage' | 'gc'} question
 * @returns {Promise<Usage>}
 */
export async function usage(server, question = 'usage') {
  // a server that is no Node tells nothing: the kernel does
  if (server.pid !== server.child.pid) return usageOf(server.pid)
  const { cpu, requests, memory } = await ask(server.child, question, server.name)
  return { cpu: cpu.user + cpu.system, requests, memory: { rss: memory.rss, heapUsed: memory.heapUsed } }
}

/** @param {number} pid @returns {Usage} */
function usageOf(pid) {
  // the name, in brackets, may hold spaces; the fields after it do not: proc_pid_stat(5), fields 14 and 15
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [, kilobytes = '0'] = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  const cpu = ((Number(fields[11]) + Number(fields[12])) / TICKS) * 1e6
  return { cpu, memory: { rss: Number(kilobytes) * 1024 } }
}
