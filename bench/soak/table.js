// What came of the soak, as text.
import { LEAST, median } from './level.js'

/**
 * @typedef {{
 *   date: string, load: number, loadAfter: number, node: string, cpu: string | undefined, cores: number,
 *   minutes: number, rate: number, visitors: number, seconds: number, places: string[],
 *   cpuOfClients: number, cpuOfServers: number,
 * }} Machine
 */
/** @typedef {ReturnType<typeof resultOf>} Result */

const MB = 1024 * 1024
const megabytes = (/** @type {number} */ bytes) => (bytes / MB).toFixed(1)
const percent = (/** @type {number} */ part) => `${(part * 100).toFixed(0)} %`

/** @param {string[]} head @param {(string | number)[][]} rows */
function table(head, rows) {
  const lines = [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows]
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n')
}

/** @param {import('./store.js').Soak} soak */
export function resultOf({
  name,
  counts,
  samples,
  drained,
  faults,
  reported,
  loops,
  levels,
  final,
  windows,
  other,
  stalls,
}) {
  const loop = { p99: median(loops.map((one) => one.loop99)), max: Math.max(...loops.map((one) => one.loopMax)) }
  const { restarts } = other
  return { name, counts, restarts, final, reported, levels, drained, loop, faults, windows, stalls, samples, loops }
}

/** @param {Machine} machine @param {Result[]} results */
export function report(machine, results) {
  return [
    `${machine.date.slice(0, 10)}, Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, ` +
      `${machine.places.join(', ')}; ${machine.minutes} minutes, ${machine.rate} requests a second and store, ${machine.visitors} visitors each; ` +
      `CPU of the servers ${percent(machine.cpuOfServers)} of a core, of the clients ${percent(machine.cpuOfClients)}; ` +
      `load ${machine.load.toFixed(1)} before, ${machine.loadAfter.toFixed(1)} after`,
    '',
    table(
      'store,minutes,requests,answered,vanished,errors while disturbed,cut by a restart,errors otherwise,sessions checked,lost,revived,wrong,disturbances,restarts'.split(
        ',',
      ),
      results.map(({ name, counts: c, restarts }) => [
        name,
        machine.minutes,
        c.requests,
        c.answered,
        c.vanished,
        c.disturbed,
        c.away,
        c.errors,
        c.checked,
        c.lost,
        c.revived,
        c.wrong,
        c.disturbances,
        restarts,
      ]),
    ),
    '',
    table(
      [
        'store',
        ...['heap', 'rss', 'external'].map((one) => `${one}, MB: 2nd / last third`),
        'fds',
        'handles',
        'with no load: fds',
        'handles',
        'heap, MB',
        'loop p99 / max, ms',
        'level',
      ],
      results.map(({ name, levels, drained, loop, faults }) => {
        const [heap, rss, external, handles, fds] = levels
        const pair = (/** @type {typeof heap} */ one) => `${megabytes(one?.second ?? 0)} / ${megabytes(one?.last ?? 0)}`
        const plain = (/** @type {typeof heap} */ one) => `${one?.second} / ${one?.last}`
        const held = ['start', 'middle', 'end'].map((one) => drained[one])
        const judged = machine.minutes * 20 >= LEAST ? 'yes' : 'too short to say'
        return [
          name,
          pair(heap),
          pair(rss),
          pair(external),
          plain(fds),
          plain(handles),
          held.map((one) => one?.fds).join(' / '),
          held.map((one) => one?.handles.length).join(' / '),
          held.map((one) => megabytes(one?.heap ?? 0)).join(' / '),
          `${loop.p99.toFixed(0)} / ${loop.max.toFixed(0)}`,
          faults.some(({ what }) => what === 'level') ? 'no' : judged,
        ]
      }),
    ),
    '',
    ...results.map(({ name, reported, final, counts }) => {
      const codes = Object.entries(reported).map(([code, count]) => `${code} ${count}`)
      const forgotten = `; held up: ${counts.stalls} times, with ${counts.heldUp} errors; ended with their process: ${counts.forgotten}, not used for too long: ${counts.idle}`
      return `${name}: at the end ${final.sessions} sessions and ${final.graves} signed out were read${forgotten}; reported: ${codes.join(', ') || 'nothing'}`
    }),
    '',
    ...results.flatMap(({ name, faults }) =>
      faults.map(({ what, text, seconds }) => `${name} at ${seconds} s: ${what}: ${text}`),
    ),
    results.every(({ counts }) => counts.faults === 0) ? 'All checks hold.' : 'Checks failed.',
  ].join('\n')
}
