import { CommandError } from './cli-command.ts'

/**
 * The secrets in a variable of the environment, the newest first.
 *
 * @throws {CommandError} there is none, or one that is too short
 */
export function secretsIn(variable: 'SECRET_KEY_BASE' | 'IRON_PASSWORD'): string[] {
  const text = (process.env[variable] ?? '').trim()
  const secrets = variable === 'IRON_PASSWORD' && text.startsWith('{') ? passwordsIn(text) : listIn(text)
  if (secrets.length === 0) {
    throw new CommandError(
      'ERR_SECRET_MISSING',
      `A cookie is only opened with its key: set ${variable} to what the application has for ` +
        `${variable === 'IRON_PASSWORD' ? 'a password' : 'cookies({ secret })'}.`,
    )
  }
  for (const { length } of secrets) {
    if (length < 32) {
      throw new CommandError(
        'ERR_SECRET_TOO_SHORT',
        `${variable} holds a secret of ${length} characters, and the least that any is sealed with is 32.`,
      )
    }
  }
  return secrets
}

function listIn(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim())
  return lines.filter(Boolean).flatMap((line) => {
    const parts = line.split(',').map((part) => part.trim())
    return parts.every((part) => part.length >= 32) ? parts : [line]
  })
}

/** Of iron-session's map of passwords the highest number is the newest. */
function passwordsIn(text: string): string[] {
  try {
    const entries = Object.entries(JSON.parse(text) as Record<string, unknown>)
    if (entries.every(([id, password]) => /^\d{1,15}$/.test(id) && typeof password === 'string')) {
      return entries.toSorted(([a], [b]) => Number(b) - Number(a)).map(([, password]) => password as string)
    }
  } catch {
    // the parser's message would quote a password
  }
  throw new CommandError('ERR_SECRET_MISSING', 'IRON_PASSWORD begins as JSON, and is no object of strings by numbers.')
}
