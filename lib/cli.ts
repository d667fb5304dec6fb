#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { CommandError, UsageError, type Command } from './cli-command.ts'
import { inspect } from './cli-inspect.ts'
import { json, print, visible } from './cli-output.ts'
import { secret } from './cli-secret.ts'
import { sessions } from './cli-sessions.ts'
import { RackError } from './errors.ts'

const HELP = `Usage: luggage-rack <command> [options]

  secret                      prints a new secret
  inspect <cookie>            prints what a session's cookie, or another sealed one, holds
  sessions list|trim|delete   looks after the sessions of a store

Options:
  --json      one JSON document instead of text; of an error too: { "error": { "code", "message" } }, where errors go
  --help      this text; luggage-rack inspect --help: that of a command
  --version

It ends with 0 when it is done, with 1 when it did not work, and with 2 when it was called wrongly.
`

const COMMANDS = new Map<string, Command>([
  ['secret', secret],
  ['inspect', inspect],
  ['sessions', sessions],
])

async function run(args: readonly string[]): Promise<void> {
  const [first = '', ...rest] = args
  const command = COMMANDS.get(first)
  if (command) return command(rest)
  if (!first.startsWith('-')) {
    throw new UsageError(`Say what to do: ${[...COMMANDS.keys()].join(', ')}.`)
  }
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      version: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  })
  if (values.help) return print(HELP)
  if (!values.version) throw new UsageError(`Say what to do: ${[...COMMANDS.keys()].join(', ')}.`)
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(manifest) as { version: string }
  return print(values.json ? json({ version }) : `${version}\n`)
}

/** Says on the error stream what went wrong, and gives the exit code. */
function report(error: unknown, args: readonly string[]): number {
  const told = error instanceof RackError ? error : (usageErrorOf(error) ?? unexpected(error))
  const wrongly = told instanceof UsageError
  const command = COMMANDS.has(args[0] ?? '') ? `luggage-rack ${args[0]}` : 'luggage-rack'
  const text = args.includes('--json')
    ? json({ error: { code: told.code, message: told.message } })
    : `${command}: ${told.message}${wrongly ? ` See ${command} --help.` : ''}\n`
  process.stderr.write(visible(text))
  return wrongly ? 2 : 1
}

/** What parseArgs found wrong, without what it quotes: a cookie that is given in the wrong place, for example. */
function usageErrorOf(error: unknown): UsageError | undefined {
  const { code, message = '' } = (error ?? {}) as { code?: unknown; message?: string }
  switch (code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION': {
      const [, name] = /^Unknown option '(--[a-z]{1,12}(?:-[a-z]{1,12})?)'/.exec(message) ?? []
      return new UsageError(name === undefined ? 'There is no such option.' : `There is no option ${name}.`)
    }
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL':
      return new UsageError('There is a word too many.')
    case 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE': {
      const [, name] = /^Option '(?:-\w, )?(--[a-z-]+)/.exec(message) ?? []
      return new UsageError(`${name ?? 'An option'} has no value where it takes one, or one where it takes none.`)
    }
    default:
      return undefined
  }
}

/** A fault of this program, of which nobody knows what its message quotes. */
function unexpected(error: unknown): RackError {
  const { code } = (error ?? {}) as { code?: unknown }
  const what = `${error instanceof Error ? error.name : typeof error}${typeof code === 'string' ? ` ${code}` : ''}`
  return new RackError('ERR_UNEXPECTED', `It failed for a reason that was not foreseen (${what}).`)
}

const args = process.argv.slice(2)

process.stdout.on('error', ({ code = '' }: NodeJS.ErrnoException) => {
  // nobody reads on, as with "| head -1"
  if (code === 'EPIPE') process.exit()
  process.exit(report(new CommandError('ERR_OUTPUT', `What it has to print could not be written (${code}).`), args))
})
process.stderr.on('error', () => process.exit())

process.on('uncaughtException', (error) => process.exit(report(error, args)))

try {
  await run(args)
} catch (error) {
  process.exitCode = report(error, args)
}
