// Which steps of a request a commit makes slower, and which faster:
//
//   node compare.js main HEAD [--only seal,cookie-read] [--fail-over 10]
//
// Both commits are checked out into temporary git worktrees and built, with the packages of this checkout. steps.js of
// this checkout then measures both builds, in turns, each time in a fresh process. A step that a commit does not have
// is absent. A difference counts where the ranges of the rounds do not overlap: by chance alone that is so in 1 of 126
// steps with five rounds, and in 1 of 10 with three. The step `header` runs nothing of a build, and shows the noise.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { cp, mkdtemp, rm, symlink, access } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { load, machine } from './machine.js'

/** @typedef {{ rev: string, commit: string, folder: string }} Side */
/** @typedef {{ median: number, min: number, max: number, rounds: number[] }} Spread */
/** @typedef {{ step: string, before: Spread | null, after: Spread | null, percent: number | null, overlap: boolean | null }} Compared */

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.3' },
    'fail-over': { type: 'string' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (flags.help) {
  console.log(`node compare.js REV1 REV2 [options]

  REV1 REV2      what git calls a commit; . is the build of this checkout as it is, committed or not
  --only a,b     steps, or the first words of their names (node steps.js --help names them)
  --rounds n     processes for each of the two, in turns (${flags.rounds})
  --seconds n    CPU time for each step in a process (${flags.seconds})
  --fail-over n  exit code 1 where a step became more than n % slower and the ranges do not overlap
  --json file    writes what was measured; - is standard output, and the table goes to standard error`)
  process.exit()
}

const [first, second] = positionals
const rounds = Number(flags.rounds)
const limit = flags['fail-over'] === undefined ? Infinity : Number(flags['fail-over'])
if (first === undefined || second === undefined || positionals.length > 2) fail('Two commits are compared: see --help.')
if (!(Number.isInteger(rounds) && rounds > 0)) fail(`--rounds takes a whole number from 1 on, and not ${flags.rounds}`)
if (!(limit >= 0)) fail(`--fail-over takes a percentage, and not ${flags['fail-over']}`)

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message)
  process.exit(2)
}

const root = fileURLToPath(new URL('..', import.meta.url))
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interrupted.abort(new Error(signal)))

/**
 * What a program prints.
 *
 * @param {string} command @param {string[]} args @param {{ cwd?: string, mayFail?: boolean, always?: boolean }} [how] `always`: also after an interruption
 * @throws {Error} it failed, or the user wants no more
 */
async function run(command, args, { cwd = root, mayFail = false, always = false } = {}) {
  if (!always) interrupted.signal.throwIfAborted()
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const end = () => child.kill()
  if (!always) interrupted.signal.addEventListener('abort', end)
  let [out, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk) => (out += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk) => (errors += chunk))
  const [code] = await once(child, 'close')
  interrupted.signal.removeEventListener('abort', end)
  if (!always) interrupted.signal.throwIfAborted()
  if (code !== 0 && !mayFail) throw new Error(`${command} ${args.join(' ')} ended with ${code}\n${errors}${out}`)
  return out
}

/**
 * A build of a commit.
 *
 * @param {string} rev @param {string} folder that is to be made
 * @returns {Promise<Side>}
 */
async function build(rev, folder) {
  if (rev === '.') {
    // a copy, so that one may go on working
    await cp(join(root, 'build'), join(folder, 'build'), { recursive: true }).catch((/** @type {Error} */ error) => {
      throw new Error(`This checkout is not built (npm run build): ${error.message}`)
    })
    await cp(join(root, 'package.json'), join(folder, 'package.json'))
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
    return { rev, commit: 'this checkout', folder }
  }
  const commit = (await run('git', ['rev-parse', '--verify', '--end-of-options', `${rev}^{commit}`])).trim()
  await run('git', ['worktree', 'add', '--detach', folder, commit])
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  // it writes what it can: an old commit may not agree with the packages of today
  const said = await run(process.execPath, [join(root, 'node_modules/typescript/lib/tsc.js'), '-p', '.'], {
    cwd: folder,
    mayFail: true,
  })
  await access(join(folder, 'build/lib/index.js')).catch(() => {
    throw new Error(`${rev} cannot be built:\n${said}`)
  })
  return { rev, commit: commit.slice(0, 7), folder }
}

/** @param {Side} side @returns {Promise<import('./steps.js').Measured[]>} */
async function measure({ rev, folder }) {
  const only = flags.only === undefined ? [] : ['--only', flags.only]
  const args = ['--build', join(folder, 'build'), '--seconds', flags.seconds, '--json', '-', ...only]
  const steps = fileURLToPath(new URL('steps.js', import.meta.url))
  const out = await run(process.execPath, [steps, ...args]).catch((/** @type {Error} */ error) => {
    throw new Error(`${rev} cannot be measured: ${error.message}`)
  })
  return JSON.parse(out).steps
}

/** @param {(number | undefined)[]} values @returns {Spread | null} */
function spread(values) {
  const there = values.filter((one) => one !== undefined)
  if (there.length === 0) return null
  const sorted = there.toSorted((a, b) => a - b)
  const [low = 0, high = low] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return { median: (low + high) / 2, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0, rounds: there }
}

/** @param {Compared} compared */
const isSlower = ({ percent, overlap }) => percent !== null && percent > limit && overlap === false

/** @param {Spread | null} side */
const figures = (side) =>
  side === null ? 'absent | ' : `${side.median.toFixed(2)} | ${side.min.toFixed(2)} to ${side.max.toFixed(2)}`

/** @param {Compared} compared */
function verdict(compared) {
  const { before, after, percent, overlap } = compared
  if (percent === null) return before === after ? '' : after === null ? 'gone' : 'new'
  if (overlap) return 'no difference to speak of'
  return (percent > 0 ? 'slower' : 'faster') + (isSlower(compared) ? `, by more than ${limit} %` : '')
}

/** @param {[Side, Side]} sides @returns {Promise<Compared[]>} */
async function compare([before, after]) {
  /** @type {Map<string, { before: (number | undefined)[], after: (number | undefined)[] }>} */
  const steps = new Map()
  for (let round = 0; round < rounds; round++) {
    // a b, b a, a b, …: what drifts, drifts for both
    /** @type {('before' | 'after')[]} */
    const turns = round % 2 === 0 ? ['before', 'after'] : ['after', 'before']
    for (const turn of turns) {
      const side = turn === 'before' ? before : after
      process.stderr.write(`round ${round + 1} of ${rounds}  ${side.rev} (${side.commit})\n`)
      for (const { step, us } of await measure(side)) {
        const own = steps.get(step) ?? { before: [], after: [] }
        own[turn].push(us?.mean)
        steps.set(step, own)
      }
    }
  }
  return [...steps].map(([step, own]) => {
    const [left, right] = [spread(own.before), spread(own.after)]
    if (left === null || right === null) return { step, before: left, after: right, percent: null, overlap: null }
    const overlap = left.min <= right.max && right.min <= left.max
    return { step, before: left, after: right, percent: (right.median / left.median - 1) * 100, overlap }
  })
}

const folder = await mkdtemp(join(tmpdir(), 'luggage-rack-compare-'))
let code = 0
try {
  const about = { date: new Date().toISOString(), node: process.version, machine: machine(), load: load() }
  /** @type {[Side, Side]} */
  const sides = [await build(first, join(folder, 'before')), await build(second, join(folder, 'after'))]
  const compared = await compare(sides)
  const [before, after] = sides.map(({ rev, commit }) => (rev === '.' ? commit : `${rev} (${commit})`))
  const table = [
    `${before} and then ${after}; µs of CPU time, medians of ${rounds} processes; Node ${about.node}, ` +
      `${about.machine.cpu}; load ${about.load} before, ${load()} after`,
    '',
    '| step | before | range | after | range | % | |',
    '|---|---:|---:|---:|---:|---:|---|',
    ...compared.map((one) => {
      const percent = one.percent === null ? '' : `${one.percent > 0 ? '+' : ''}${one.percent.toFixed(1)}`
      return `| ${one.step} | ${figures(one.before)} | ${figures(one.after)} | ${percent} | ${verdict(one)} |`
    }),
  ].join('\n')
  const result = {
    ...about,
    before,
    after,
    options: { rounds, seconds: Number(flags.seconds), only: flags.only },
    steps: compared,
  }
  if (flags.json === '-') {
    console.error(table)
    console.log(JSON.stringify(result, null, 2))
  } else {
    console.log(table)
    if (flags.json) writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`)
  }
  if (compared.some(isSlower)) code = 1
} catch (error) {
  console.error(interrupted.signal.aborted ? 'interrupted' : error instanceof Error ? error.message : error)
  code = 2
} finally {
  for (const name of ['before', 'after']) {
    await run('git', ['worktree', 'remove', '--force', join(folder, name)], { mayFail: true, always: true })
  }
  await rm(folder, { recursive: true, force: true })
  await run('git', ['worktree', 'prune'], { mayFail: true, always: true })
}
process.exitCode = code
