/** What tells how something failed, and not what it was asked: by Node, Redis, PostgreSQL and the like. */
const KEPT = new Set(['name', 'message', 'stack', 'code', 'errno', 'syscall', 'address', 'port', 'status', 'severity'])

/** Properties that hold errors, in ioredis too. */
const CAUSES = new Set<PropertyKey>(['cause', 'errors', 'lastNodeError', 'previousErrors'])

/** Redis repeats what it does not know, and a query builder the values of its query; a session has this key there. */
const QUOTES = /, with args beginning with: |originalMaxAge/

const UNREADABLE = 'A store failed with an error that cannot be shown, since what it was asked cannot be taken from it.'

/**
 * Takes from an error of a client, as it is, what it was asked to write: ioredis hangs the command on it, others the
 * query and its parameters, and so the session's data. Nothing for a log. What does not let itself be changed, a frozen
 * error for example, is replaced.
 */
export function redactError(error: unknown): unknown {
  try {
    return redact(error, new Set()) ? error : new Error(UNREADABLE)
  } catch {
    return new Error(UNREADABLE)
  }
}

/** @returns whether nothing is left on it that must not be */
function redact(error: unknown, seen: Set<unknown>): boolean {
  if (typeof error !== 'object' || error === null || seen.has(error)) return true
  seen.add(error)
  if (Array.isArray(error)) return (error as unknown[]).every((one) => typeof one === 'object' && redact(one, seen))
  let done = true
  for (const key of Reflect.ownKeys(error)) {
    const value = (error as Record<PropertyKey, unknown>)[key]
    const isObject = typeof value === 'object' && value !== null
    const stays = isObject ? CAUSES.has(key) && isOfErrors(value) : KEPT.has(key as string)
    if (stays && isObject) done = redact(value, seen) && done
    else if (!stays && !Reflect.deleteProperty(error, key)) done = false
  }
  return error instanceof Error ? withoutQuotes(error) && done : done
}

/** A Map or the like holds more than its properties. */
function isOfErrors(value: object): boolean {
  return Array.isArray(value) || value instanceof Error || Object.getPrototypeOf(value) === Object.prototype
}

/** @returns whether it could be done */
function withoutQuotes(error: Error): boolean {
  const { message, stack } = error
  const kept = withoutQuote(message)
  // a stack begins with the message that there was when the error was made
  const [frames = ''] = /\n {4}at [\s\S]*/.exec(stack ?? '') ?? []
  const isMessage = kept === message || Reflect.set(error, 'message', kept)
  return isMessage && (stack === undefined || Reflect.set(error, 'stack', `${error.name}: ${kept}${frames}`))
}

function withoutQuote(message: string): string {
  const quote = QUOTES.exec(message)
  if (!quote) return message
  // what stands before Redis' quote says which command it was
  return quote[0].startsWith(',') ? message.slice(0, quote.index) : 'The message is left out, since it quotes data.'
}
