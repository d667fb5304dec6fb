/** What tells how something failed, and not what it was asked: by Node, Redis, PostgreSQL and the like. */
const KEPT = new Set(['name', 'message', 'stack', 'code', 'errno', 'syscall', 'address', 'port', 'status', 'severity'])

/** Properties that hold errors, in ioredis too. */
const CAUSES = ['cause', 'errors', 'lastNodeError', 'previousErrors']

/** Redis repeats what it does not know, and a query builder the values of its query; a session has this key there. */
const QUOTES = /, with args beginning with: |originalMaxAge/

/**
 * Takes from an error of a client, as it is, what it was asked to write: ioredis hangs the command on it, others the
 * query and its parameters, and so the session's data. Nothing for a log.
 */
export function redactError(error: unknown, seen: Set<unknown> = new Set()): unknown {
  if (typeof error !== 'object' || error === null || seen.has(error)) return error
  seen.add(error)
  if (Array.isArray(error)) for (const one of error as unknown[]) redactError(one, seen)
  else {
    for (const key of Reflect.ownKeys(error)) {
      if (CAUSES.includes(key as string)) redactError((error as Record<string, unknown>)[key as string], seen)
      else if (!KEPT.has(key as string)) Reflect.deleteProperty(error, key)
    }
    if (error instanceof Error) withoutQuotes(error)
  }
  return error
}

function withoutQuotes(error: Error): void {
  const { message, stack = '' } = error
  const quote = QUOTES.exec(message)
  if (!quote) return
  // what stands before Redis' quote says which command it was
  const [text] = quote
  const kept = text.startsWith(',') ? message.slice(0, quote.index) : 'The message is left out, since it quotes data.'
  const [frames = ''] = /\n {4}at [\s\S]*/.exec(stack) ?? []
  // which one that is frozen refuses
  Reflect.set(error, 'message', kept)
  Reflect.set(error, 'stack', `${error.name}: ${kept}${frames}`)
}
