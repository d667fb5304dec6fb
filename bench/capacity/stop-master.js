// What requests see of a real failover: three masters and three replicas on this machine, `cluster-node-timeout` 1000, reads
// through RedisStore and a Cluster client of ioredis, and one master that is killed, or stands still for good.
import { Cluster, Redis } from 'ioredis'
import { setTimeout as pause } from 'node:timers/promises'
import { RedisStore } from '../../build/stores/redis-store.js'
import { SessionId } from '../../build/lib/index.js'
import { startCluster } from '../../build/test/redis.js'

const SESSIONS = 300

/** Milliseconds between two requests. */
const EVERY = 5

/** Seconds of load before it stops, and after. */
const BEFORE = 1
export const AFTER = 10

/** Milliseconds that nobody waits usually. */
export const LATE = 100

/** Slots of the first of three masters, as redis-cli deals them out. */
const FIRST_SLOTS = 5461

/** @typedef {{ at: number, isThere: boolean, waited: number, failure: string | undefined }} Answer */

/** `setting`: of all nodes. @typedef {{ title: string, signal: 'SIGKILL' | 'SIGSTOP', options?: { slotsRefreshInterval: number }, setting?: [string, string] }} Case */

/** Masters go on while one is away. @type {[string, string]} */
const PARTIAL = ['cluster-require-full-coverage', 'no']

/** @type {Case[]} */
const cases = [
  { title: 'killed; settings as they are', signal: 'SIGKILL' },
  { title: 'killed; no full coverage', signal: 'SIGKILL', setting: PARTIAL },
  { title: 'stands still; settings as they are', signal: 'SIGSTOP' },
  { title: 'stands still; no full coverage', signal: 'SIGSTOP', setting: PARTIAL },
  {
    title: 'the same, `slotsRefreshInterval: 1000`',
    signal: 'SIGSTOP',
    setting: PARTIAL,
    options: { slotsRefreshInterval: 1000 },
  },
]

/** @param {Case} stop */
async function stopMaster({ signal, options, setting }) {
  /** @type {(() => unknown)[]} */
  const ends = []
  try {
    const { servers } = await startCluster({ teardown: (end) => ends.push(end) })
    const nodes = servers.map(({ port }) => ({ host: '127.0.0.1', port }))
    const client = new Cluster(nodes, options ?? {})
    client.on('error', () => {})
    ends.push(() => client.disconnect())
    const store = new RedisStore({ client })
    if (setting) {
      for (const { port } of servers) {
        const node = new Redis({ port, host: '127.0.0.1' })
        await node.config('SET', ...setting)
        node.disconnect()
      }
    }
    const req = /** @type {import('node:http').IncomingMessage} */ ({})
    const now = Date.now()
    const lasting = { createdAt: now, expiresAt: now + 3600e3, extend: false, owner: undefined }
    /** @type {{ sid: SessionId, isThere: boolean }[]} */
    const sessions = []
    for (let i = 0; i < SESSIONS; i++) {
      const sid = SessionId.generate()
      const data = { visits: 0 }
      await store.writeSession(req, sid, data, { ...lasting, create: true, changes: { set: data, delete: [] } })
      const slot = Number(await client.call('CLUSTER', 'KEYSLOT', `session:${sid.privateId}`))
      sessions.push({ sid, isThere: slot < FIRST_SLOTS })
    }
    /** @type {Answer[]} */
    const answers = []
    const underWay = new Set()
    const from = performance.now()
    let stopped = Infinity
    for (let i = 0; performance.now() - from < (BEFORE + AFTER) * 1000; i++) {
      if (stopped === Infinity && performance.now() - from > BEFORE * 1000) {
        stopped = performance.now()
        servers[0]?.signal(signal)
      }
      const { sid, isThere } = /** @type {{ sid: SessionId, isThere: boolean }} */ (sessions[(i * 7) % SESSIONS])
      const at = performance.now()
      const answer = (/** @type {string | undefined} */ failure) => {
        answers.push({ at: at - stopped, isThere, waited: performance.now() - at, failure })
        underWay.delete(asked)
      }
      const asked = store.findSession(req, sid).then(
        (found) => answer(found ? undefined : 'absent'),
        (error) => answer(error.code ?? error.message.split('.')[0]),
      )
      underWay.add(asked)
      await pause(EVERY)
    }
    await Promise.all(underWay)
    return answers.filter(({ at }) => at >= 0)
  } finally {
    for (const end of ends.toReversed()) await end()
  }
}

/** @typedef {Awaited<ReturnType<typeof stopMasters>>[number]} Stopped */

/** Each case, and of each what became of the sessions on the master that stopped, and of the others. */
export async function stopMasters() {
  const found = []
  for (const one of cases) {
    const { title } = one
    const answers = await stopMaster(one)
    for (const isThere of [true, false]) {
      const those = answers.filter((answer) => answer.isThere === isThere)
      const failed = those.filter(({ failure }) => failure !== undefined)
      const last = failed.length === 0 ? undefined : Math.max(...failed.map(({ at }) => at)) / 1000
      /** @type {Record<string, number>} */
      const failures = {}
      for (const { failure = '' } of failed) failures[failure] = (failures[failure] ?? 0) + 1
      found.push({
        title,
        isThere,
        reads: those.length,
        failed: failed.length,
        // seconds after it; nothing where they fail to the end
        until: last !== undefined && last > AFTER - 1 ? undefined : (last ?? 0),
        longest: Math.round(Math.max(0, ...those.map(({ waited }) => waited))),
        late: those.filter(({ failure, waited }) => failure === undefined && waited > LATE).length,
        failures,
      })
    }
  }
  return found
}
