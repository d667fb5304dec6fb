import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { UsageError } from './cli-command.ts'
import { json, print } from './cli-output.ts'

const HELP = `Usage: luggage-rack secret [options]

Prints a new secret for cookies({ secret }), as "bin/rails secret" does.

Options:
  --bytes <number>  how many random bytes, 16 to 1024; each is two digits (64)
  --json            { "secret": "…", "bytes": 64 }
  --help
`

/** `luggage-rack secret`: random bytes in hexadecimal. */
export async function secret(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bytes: { type: 'string', default: '64' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return print(HELP)
  const bytes = /^\d{2,4}$/.test(values.bytes) ? Number(values.bytes) : 0
  // cookies() wants 32 characters
  if (bytes < 16 || bytes > 1024) throw new UsageError('--bytes takes a whole number from 16 to 1024.')
  const text = randomBytes(bytes).toString('hex')
  return print(values.json ? json({ secret: text, bytes }) : `${text}\n`)
}
