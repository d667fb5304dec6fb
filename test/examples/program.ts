import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { freePort as anyFreePort } from '../free-port.ts'
import type { Owner } from '../server.ts'

export interface Program {
  readonly url: string
  readonly port: number
  /** What it printed until now, errors included. */
  readonly output: () => string
  /** Sends a signal and gives what the program ended with: its exit code, or the signal where it did not catch it. */
  readonly end: (signal?: NodeJS.Signals) => Promise<number | string | null>
}

export interface Launch {
  env?: NodeJS.ProcessEnv
  args?: readonly string[]
  /** Where it runs. Default: the root of the repository. */
  cwd?: string
}

/** Starts a built program, for example `site/server`, and waits until it prints its address. It ends with the test. */
export async function start(t: Owner, name: string, launch: Launch = {}): Promise<Program> {
  const { ended, output, child } = launched(name, launch)
  const end: Program['end'] = (signal = 'SIGTERM') => {
    child.kill(signal)
    return ended
  }
  t.teardown(() => end('SIGKILL').then(() => undefined))
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.on('data', () => {
      const [, found] = /http:\/\/localhost:(\d+)/.exec(output()) ?? []
      if (found !== undefined) resolve(Number(found))
    })
    void ended.then((code) => reject(new Error(`${name} ended with ${code}:\n${output()}`)))
  })
  return { url: `http://localhost:${port}`, port, output, end }
}

/** Runs a built program that is to end by itself. */
export async function fail(
  name: string,
  launch: Launch = {},
): Promise<{ code: number | string | null; output: string }> {
  const { ended, output } = launched(name, launch)
  return { code: await ended, output: output() }
}

function launched(name: string, { env, args = [], cwd }: Launch) {
  const script = join(process.cwd(), 'build/examples', `${name}.js`)
  const child = spawn(process.execPath, [script, ...args], {
    cwd,
    env: { ...process.env, NODE_ENV: 'test', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  const ended = new Promise<number | string | null>((resolve) => {
    child.on('close', (code, signal) => resolve(code ?? signal))
  })
  return { child, ended, output: () => text }
}

/** A port that nobody listens on, as a variable of the environment has it. */
export async function freePort(): Promise<string> {
  return String(await anyFreePort())
}
