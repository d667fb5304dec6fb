import { InvalidOptionError } from '../lib/errors.ts'

/** Milliseconds beyond which a timer of Node would not wait at all: 25 days. */
const LONGEST = 2 ** 31 - 1

/** @throws {InvalidOptionError} */
export function checkDeadline(deadline: number): number {
  if (deadline > 0 && deadline <= LONGEST) return deadline
  throw new InvalidOptionError('deadline must be a number of milliseconds above 0, and at most 25 days.')
}

/**
 * Calls `late` when a store has not answered in time, unless it is stopped before: one turn of the event loop later,
 * since where it was this process that was held up, the answer has come in meanwhile.
 *
 * @returns stops it
 */
export function startDeadline(milliseconds: number, late: () => void): () => void {
  let last: NodeJS.Immediate | undefined
  const timer = setTimeout(() => (last = setImmediate(late)), milliseconds)
  return () => {
    clearTimeout(timer)
    clearImmediate(last)
  }
}
