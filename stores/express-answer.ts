import { isPromise } from '../lib/app.ts'
import { InvalidOptionError, StoreCorruptError, StoreFailedError, StoreTimeoutError } from '../lib/errors.ts'
import { checkDeadline, startDeadline } from './deadline.ts'
import type { ExpressSessionStore } from './express-store.ts'
import { redactError } from './redact-error.ts'

/** @throws {InvalidOptionError} for what is no store of express-session's, or no time to wait for it */
export function checkExpressStore(name: string, store: object, deadline: number): void {
  for (const method of ['get', 'set', 'destroy']) {
    if (typeof (store as Record<string, unknown> | undefined)?.[method] !== 'function') {
      throw new InvalidOptionError(`${name} takes a store for express-session, and this has no ${method}().`)
    }
  }
  checkDeadline(deadline)
}

/**
 * What a store for express-session answers, whichever comes first: what it calls back with, or what its promise
 * gives. A promise of nothing does not count where the method takes a callback, since it may be done before the work is.
 *
 * @param deadline milliseconds
 * @param callsBack whether the method takes a callback
 */
export function askExpressStore(
  deadline: number,
  callsBack: boolean,
  ask: (callback: (error?: unknown, answer?: unknown) => void) => unknown,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const stop = startDeadline(deadline, () => reject(new StoreTimeoutError('The express-session store', deadline)))
    const fail = (failure: unknown): void => {
      stop()
      // what is no error may be anything, data too
      const isError = failure instanceof Error
      reject(
        isError
          ? redactError(failure)
          : new StoreFailedError(`The express-session store failed with ${nameOf(failure)}.`),
      )
    }
    const settle = (error: unknown, answer: unknown): void => {
      if (error) return fail(error)
      stop()
      resolve(answer)
    }
    try {
      const returned = ask(settle)
      if (!isPromise(returned)) return
      returned.then((answer) => (answer === undefined && callsBack ? undefined : settle(null, answer)), fail)
    } catch (error) {
      fail(error)
    }
  })
}

function nameOf(failure: unknown): string {
  return typeof failure === 'object' ? 'an object that is no error' : `a ${typeof failure}`
}

/** What the store has under an id, if anything. @throws {StoreCorruptError} and whatever the store calls back with */
export async function findInExpressStore(store: ExpressSessionStore, id: string, deadline: number): Promise<unknown> {
  try {
    return await askExpressStore(deadline, store.get.length >= 2, (callback) => store.get(id, callback))
  } catch (error) {
    // what the parser of JSON says quotes the data
    if (error instanceof SyntaxError) throw corruptExpressSession()
    // express-session's own rule, for stores that keep files; but a socket that is not there is a server that is down
    const { code, syscall } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' || syscall === 'connect') throw error
    return undefined
  }
}

export function corruptExpressSession(): StoreCorruptError {
  return new StoreCorruptError(
    'What the express-session store gave is no session of ours. It was left as it is. See that nothing else ' +
      'writes to the store under the same ids, and that the store gives back what it was given.',
  )
}
