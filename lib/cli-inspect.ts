import { parseArgs } from 'node:util'
import { CommandError, UsageError } from './cli-command.ts'
import { reportOf, reportOfId, textOf, type SealReport } from './cli-cookie-report.ts'
import { findCookie, type GivenCookie } from './cli-cookie-text.ts'
import { findOpening, isIron, openCookie, type OpenedCookie, type Opening, type Refusal } from './cli-open-cookie.ts'
import { inWords, isoTime, json, print } from './cli-output.ts'
import { secretsIn } from './cli-secrets.ts'
import { decodeSealed } from './cookie-value.ts'
import { SessionId } from './session-id.ts'

const HELP = `Usage: luggage-rack inspect <cookie> [options]

Prints what a cookie holds, when it was made, when it ends, and which secret opens it.

<cookie> is name=value, a Cookie or Set-Cookie header, or the bare value; or -, which reads one of these, or all
headers of a response, from standard input, so that it does not stand in the shell's history:

  curl -si http://localhost:3000/ | luggage-rack inspect -

Environment:
  SECRET_KEY_BASE  the application's secret; or several, the newest first, one a line, or between commas, which
                   separate only where each part has 32 characters or more
  IRON_PASSWORD    for cookies of iron-session and h3: the password, or several in the same way, or as iron-session
                   has them, {"1":"the old one","2":"the new one"}

Options:
  --name <name>           which cookie, where there are several; the name of a bare value (_session_id)
  --format <format>       rails; iron, for iron-session; or h3; by default whichever it looks like
  --encrypted             of Rails: as the session and cookies.encrypted seal; the default
  --signed                of Rails: as cookies.signed does
  --digest <hash>         of Rails: SHA256, or SHA1 for keys as they were derived until 6.1 (SHA256)
  --signed-digest <hash>  of Rails: SHA1, SHA256, SHA384, SHA512 (SHA1)
  --legacy                of Rails: also opens the AES-CBC cookies of 5.1
  --json                  one JSON document: { kind, name, seal, key, keys, retired, createdAt, expiresAt, expireAfter,
                          sessionId, size, limit, notes, data }; of an id { kind, name, privateId, size, limit }
  --help

A cookie that does not open ends the command with 1, and a reason, and nothing of it is printed.
`

/** Longest input: more than all headers that node accepts. */
const MAX_INPUT = 64 * 1024

/** `luggage-rack inspect`: what a cookie holds, for whoever has its key. */
export async function inspect(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      name: { type: 'string' },
      format: { type: 'string' },
      encrypted: { type: 'boolean', default: false },
      signed: { type: 'boolean', default: false },
      digest: { type: 'string' },
      'signed-digest': { type: 'string' },
      legacy: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return print(HELP)
  const [given] = positionals
  if (given === undefined || positionals.length > 1) {
    throw new UsageError('inspect takes one cookie, in quotes, or - for standard input.')
  }
  const { encrypted, signed, digest, 'signed-digest': signedDigest, legacy } = values
  const named = values.format === undefined ? undefined : oneOf(['rails', 'iron', 'h3'], values.format, '--format')
  if (encrypted && signed) throw new UsageError('Give --encrypted or --signed, and not both.')
  const hasRails = encrypted || signed || legacy || digest !== undefined || signedDigest !== undefined
  if (hasRails && named !== undefined && named !== 'rails') {
    throw new UsageError("These options are of Rails' format, and not of --format iron and h3.")
  }
  const rails = {
    format: signed ? 'signed' : 'encrypted',
    keyDigest: oneOf(['SHA256', 'SHA1'], digest ?? 'SHA256', '--digest'),
    signedDigest: oneOf(['SHA1', 'SHA256', 'SHA384', 'SHA512'], signedDigest ?? 'SHA1', '--signed-digest'),
    legacy,
  } as const

  const cookie = findCookie(given === '-' ? await readInput() : given, values.name)
  const [value = ''] = cookie.values
  const id = SessionId.parse(value)
  if (id) {
    const report = reportOfId(cookie.name, id)
    return print(values.json ? json(report) : textOf(report))
  }
  const format =
    named ?? (decodeSealed(value)?.startsWith('Fe26.2*') ? (cookie.name === 'h3' ? 'h3' : 'iron') : 'rails')
  const opening: Opening =
    format === 'rails'
      ? { ...rails, secrets: secretsIn('SECRET_KEY_BASE') }
      : { format: format === 'iron' ? 'iron-session' : 'h3', secrets: secretsIn('IRON_PASSWORD') }
  const report = await open(cookie, opening)
  return print(values.json ? json(report) : textOf(report))
}

function oneOf<T extends string>(list: readonly T[], given: string, option: string): T {
  const found = list.find((one) => one.toLowerCase() === given.toLowerCase())
  if (found === undefined) throw new UsageError(`${option} takes one of ${list.join(', ')}.`)
  return found
}

async function readInput(): Promise<string> {
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const chunk of process.stdin) {
    text += chunk as string
    if (text.length > MAX_INPUT) {
      throw new CommandError(
        'ERR_COOKIE_MISSING',
        'Standard input is longer than any headers: give it the cookie alone.',
      )
    }
  }
  return text
}

/** @throws {CommandError} it does not open */
async function open({ name, values }: GivenCookie, opening: Opening): Promise<SealReport> {
  const now = Date.now()
  let first: [text: string | undefined, refusal: Refusal] | undefined
  for (const raw of values) {
    // undefined: escaped in two ways, and so tampered with
    const text = decodeSealed(raw)
    const opened: OpenedCookie | Refusal =
      // oxlint-disable-next-line no-await-in-loop -- the second only if the first does not open
      text === undefined ? { refused: 'key' } : await openCookie(text, name, opening, now)
    if (!('refused' in opened)) return reportOf(name, text as string, opened, opening.secrets.length, now)
    first ??= [text, opened]
  }
  const [text, refusal] = first as [string | undefined, Refusal]
  throw await errorOf(text, refusal, opening, now)
}

async function errorOf(
  text: string | undefined,
  { refused, endedAt = NaN }: Refusal,
  opening: Opening,
  now: number,
): Promise<CommandError> {
  switch (refused) {
    case 'ended': {
      const when = `${isoTime(endedAt) ?? 'a time that no calendar has'} (${inWords(endedAt, now)})`
      return new CommandError('ERR_COOKIE_ENDED', `The cookie is of this application, and ended at ${when}.`)
    }
    case 'purpose':
      return new CommandError(
        'ERR_COOKIE_PURPOSE',
        'The cookie is of this application, but was sealed for another name. Give its own: name=value, or --name.',
      )
    case 'content':
      return new CommandError(
        'ERR_COOKIE_CONTENT',
        'The cookie is of this application, but holds no JSON. Rails must write it with cookies_serializer = :json; ' +
          'Marshal is not read.',
      )
    default: {
      const variable = isIron(opening) ? 'IRON_PASSWORD' : 'SECRET_KEY_BASE'
      const which = opening.secrets.length > 1 ? `one of the ${opening.secrets.length} secrets` : 'the secret'
      const why = `The cookie does not open: it was not sealed with ${which} in ${variable}, or it was changed since.`
      return new CommandError('ERR_COOKIE_KEY', text === undefined ? why : why + (await hint(text, opening)))
    }
  }
}

/** With which options it would open. */
async function hint(text: string, opening: Opening): Promise<string> {
  const other = await findOpening(text, opening)
  return other === undefined ? '' : ` The secret is right, though, with ${optionsOf(other).join(' ')}.`
}

function optionsOf(opening: Opening): string[] {
  if (isIron(opening)) return ['--format', opening.format === 'h3' ? 'h3' : 'iron']
  const { format, keyDigest, signedDigest, legacy } = opening
  return [
    `--${format}`,
    ...(keyDigest === 'SHA1' ? ['--digest SHA1'] : []),
    ...(signedDigest === 'SHA1' ? [] : [`--signed-digest ${signedDigest}`]),
    ...(legacy ? ['--legacy'] : []),
  ]
}
