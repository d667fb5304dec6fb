import tap from 'tap'

/** How far a file's properties are looked into. */
export interface Fuzzing {
  /** How many cases are made up. */
  readonly RUNS: number
  /** For `fc.assert`: where the cases begin. */
  readonly SEED: { readonly seed?: number }
}

/**
 * How many cases are made up: `FUZZ_RUNS=20000` looks for longer than usual, each time elsewhere. Else they are the
 * same each time: a new failure is not to meet whoever changed something else.
 *
 * @param usual how many, where nobody says
 * @param each milliseconds that one may take beyond tap's own half a minute
 */
export function fuzzing(usual = 400, each = 60, seed = 20261120): Fuzzing {
  const asked = process.env['FUZZ_RUNS']
  const RUNS = Number(asked ?? usual)
  tap.setTimeout(30_000 + RUNS * each)
  return { RUNS, SEED: asked === undefined ? { seed } : {} }
}
