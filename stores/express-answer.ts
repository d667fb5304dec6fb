import { isPromise } from '../lib/app.ts'
import { InvalidOptionError, StoreFailedError, StoreTimeoutError } from '../lib/errors.ts'

/** Longest that a timer of Node can wait. */
const MAX_DEADLINE = 2 ** 31 - 1

/** @throws {InvalidOptionError} for what is no store of express-session's, or no time to wait for it */
export function checkExpressStore(name: string, store: object, deadline: number): void {
  for (const method of ['get', 'set', 'destroy']) {
    if (typeof (store as Record<string, unknown> | undefined)?.[method] !== 'function') {
      throw new InvalidOptionError(`${name} takes a store for express-session, and this has no ${method}().`)
    }
  }
  if (!(deadline > 0 && deadline <= MAX_DEADLINE)) {
    throw new InvalidOptionError('deadline must be a number of milliseconds above 0.')
  }
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
    const timer = setTimeout(() => {
      reject(new StoreTimeoutError('The express-session store', deadline))
    }, deadline)
    const fail = (error: unknown): void => {
      clearTimeout(timer)
      reject(
        error instanceof Error
          ? error
          : new StoreFailedError('The express-session store failed. See the cause.', error),
      )
    }
    const settle = (error: unknown, answer: unknown): void => {
      if (error) return fail(error)
      clearTimeout(timer)
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
