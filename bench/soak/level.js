// Whether what a process holds stays level: a rule that can fail.

/** @typedef {{ seconds: number } & Record<Figure, number>} Sample */
/** @typedef {'heap' | 'rss' | 'external' | 'handles' | 'fds'} Figure */
/** @typedef {{ figure: Figure, second: number, last: number, limit: number, level: boolean }} Level */

const MB = 1024 * 1024

/** The median of the last third may be above that of the second by so much: the greater of a part, and an amount. */
export const RULES = {
  heap: { part: 0.05, amount: 2 * MB },
  rss: { part: 0.15, amount: 16 * MB },
  external: { part: 0.1, amount: 4 * MB },
  handles: { part: 0, amount: 5 },
  fds: { part: 0, amount: 5 },
}

/** Seconds of a third below which nothing is said: caches fill, and code is compiled. */
export const LEAST = 240

/** Of what is there when the load has drained, how many more than before the load. */
export const DRAINED = 3

/** @param {Sample[]} samples @param {number} seconds of the whole run @returns {Level[]} */
export function levels(samples, seconds) {
  const third = seconds / 3
  const second = samples.filter((one) => one.seconds >= third && one.seconds < 2 * third)
  const last = samples.filter((one) => one.seconds >= 2 * third)
  return Object.entries(RULES).map(([name, { part, amount }]) => {
    const figure = /** @type {Figure} */ (name)
    const [before, after] = [median(second.map((one) => one[figure])), median(last.map((one) => one[figure]))]
    const limit = before + Math.max(before * part, amount)
    return { figure, second: before, last: after, limit, level: after <= limit }
  })
}

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}
