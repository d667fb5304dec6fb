import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const PROGRAM: string = fileURLToPath(new URL('../../lib/cli.js', import.meta.url))

export interface Ran {
  code: number | string | null
  stdout: string
  stderr: string
}

export interface Run {
  env?: Record<string, string>
  /** What standard input gives; without it, it is empty. */
  input?: string
  /** Another copy of the program. */
  program?: string
}

/** Runs the command `luggage-rack` until it ends. Of the environment it has no secret and no store but those given. */
export function luggageRack(args: readonly string[], { env, input = '', program = PROGRAM }: Run = {}): Promise<Ran> {
  // tap loads into every node that it sees started what measures coverage, which takes three times as long as the command
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, program, ...args], {
    env: { ...process.env, SECRET_KEY_BASE: '', IRON_PASSWORD: '', LUGGAGE_RACK_STORE: '', ...env },
    stdio: 'pipe',
  })
  const ran: Ran = { code: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (ran.stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (ran.stderr += chunk))
  // it need not read its input
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ ...ran, code: code ?? signal }))
  })
}

/** Those of some texts that stand in what a program printed, on either stream. */
export function shown({ stdout, stderr }: Ran, texts: readonly string[]): string[] {
  return texts.filter((text) => (stdout + stderr).includes(text))
}

/** The error that `--json` prints. */
export function errorIn({ stderr }: Ran): { code: string; message: string } {
  return (JSON.parse(stderr) as { error: { code: string; message: string } }).error
}
