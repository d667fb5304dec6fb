// What is under way and how long it goes on: one line a step.
import { clearLine, cursorTo } from 'node:readline'

/** Seconds of steps that are believed to take as long as was guessed. */
const STEADY = 30

/** @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`
}

/**
 * @param {number} steps @param {number} expected seconds of all steps, as a guess
 * @param {NodeJS.WriteStream} [stream]
 */
export function progress(steps, expected, stream = process.stderr) {
  const from = performance.now()
  let [done, guessed, used] = [0, 0, 0]

  const now = () => (performance.now() - from) / 1000
  // the guess is corrected by how wrong it was so far, of which the first steps say little
  const left = () => ((expected - guessed) * (used + STEADY)) / (guessed + STEADY)
  const head = () =>
    `[${String(done).padStart(String(steps).length)}/${steps}  ${clock(now())}, ${clock(left())} to go]`

  return {
    /**
     * @param {string} title @param {number} guess seconds
     * @param {() => Promise<string>} work gives what is to be read of it
     */
    async step(title, guess, work) {
      const begun = performance.now()
      if (stream.isTTY) stream.write(`${head()}  ${title} …`)
      let said = ''
      try {
        said = await work()
      } finally {
        if (stream.isTTY) {
          clearLine(stream, 0)
          cursorTo(stream, 0)
        }
        done++
        guessed += guess
        used += (performance.now() - begun) / 1000
        if (said !== '') stream.write(`${head()}  ${title}  ${said}\n`)
      }
    },
    /** Leaves steps out that were planned. @param {number} count @param {number} guess seconds of all of them */
    drop(count, guess) {
      steps -= count
      expected -= guess
    },
  }
}
