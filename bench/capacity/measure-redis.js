// What a session costs a Redis: CPU of its process a command, memory, and bytes to a replica. The master of a cluster of
// its own has all slots and one replica; redis-benchmark asks for 10,000 sessions at random, 50 connections, not pipelined.
import { execFile } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { RedisStore } from '../../build/stores/redis-store.js'
import { SessionId } from '../../build/lib/index.js'
import { clientOf, startRedis } from '../../build/test/redis.js'
import { fill, idCookies, KEY } from '../growth/fill.js'

/** @typedef {import('ioredis').Redis} Redis */

const run = promisify(execFile)

/** Sessions by which the memory of one is known. */
const SESSIONS = 20_000

/** Sessions that are asked for. */
const ASKED = 10_000

const COMMANDS = 200_000

/** The first of what is measured only warms up. */
const ROUNDS = 2

/** @param {Redis} client @param {string} section @param {string} field */
async function info(client, section, field) {
  const text = await client.info(section)
  return Number(new RegExp(`^${field}:([\\d.]+)`, 'm').exec(text)?.[1])
}

/** Seconds of its process. @param {Redis} client */
const cpuOf = async (client) =>
  (await info(client, 'cpu', 'used_cpu_user')) + (await info(client, 'cpu', 'used_cpu_sys'))

/** @param {() => Promise<boolean>} isSo */
async function until(isSo) {
  for (let i = 0; i < 500; i++) {
    if (await isSo()) return
    await pause(20)
  }
  throw new Error('the cluster did not come up within 10 s')
}

/** @param {(() => unknown)[]} ends @returns {Promise<Redis>} a client of the master */
async function master(ends) {
  const owner = { teardown: (/** @type {() => unknown} */ end) => ends.push(end) }
  const [first, second] = [
    await startRedis(owner, '--cluster-enabled', 'yes'),
    await startRedis(owner, '--cluster-enabled', 'yes'),
  ]
  const [client, replica] = [clientOf(owner, first), clientOf(owner, second)]
  await client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  const id = String(await client.call('CLUSTER', 'MYID'))
  await replica.call('CLUSTER', 'MEET', '127.0.0.1', String(first.port))
  await until(async () => String(await replica.call('CLUSTER', 'NODES')).includes(id))
  await until(async () => /cluster_state:ok/.test(String(await client.call('CLUSTER', 'INFO'))))
  await replica.call('CLUSTER', 'REPLICATE', id)
  await until(async () => /state=online/.test(await client.info('replication')))
  return client
}

/** @returns {Promise<Record<string, number>>} by the names of the assumptions, and what else was seen */
export async function measureRedis() {
  /** @type {(() => unknown)[]} */
  const ends = []
  try {
    const client = await master(ends)
    /** @type {string[]} what the store last sent */
    let script = []
    const evalsha = client.evalsha.bind(client)
    client.evalsha = /** @type {typeof client.evalsha} */ (
      (/** @type {any[]} */ ...args) => {
        script = args.map(String)
        return /** @type {any} */ (evalsha)(...args)
      }
    )
    const store = new RedisStore({ client })
    const filling = { sessions: SESSIONS, visitors: 1 }
    const empty = await info(client, 'memory', 'used_memory')
    await fill(store, filling)
    const sessionBytes = ((await info(client, 'memory', 'used_memory')) - empty) / SESSIONS

    const sid = new SessionId((idCookies(filling)[0] ?? '').slice(KEY.length + 1))
    const key = `session:${sid.privateId}`
    const memoryUsage = Number(await client.memory('USAGE', key))
    const fields = await client.hgetall(key)
    const expiresAt = Number(fields['expires'])
    const req = /** @type {import('node:http').IncomingMessage} */ ({})
    const session = { visits: 1_000_001 }
    const update = { create: false, createdAt: expiresAt, expiresAt, extend: false, owner: undefined }
    if (!(await store.writeSession(req, sid, session, { ...update, changes: { set: session, delete: [] } }))) {
      throw new Error('the session was not updated')
    }
    const [sha = '', , , ...args] = script

    // keys of the same length that redis-benchmark can make up
    const head = key.slice(0, -12)
    for (let from = 0; from < ASKED; from += 500) {
      const pipeline = client.pipeline()
      for (let i = from; i < from + 500; i++) {
        const copy = head + String(i).padStart(12, '0')
        pipeline.hset(copy, fields).pexpireat(copy, expiresAt)
      }
      await pipeline.exec()
    }

    /** Microseconds of CPU, commands a second, and bytes to the replica. @param {string[]} command */
    const benchmark = async (...command) => {
      let figures = { cpu: 0, rate: 0, replicated: 0 }
      for (let round = 0; round < ROUNDS; round++) {
        const count = round === 0 ? COMMANDS / 10 : COMMANDS
        const [cpu, offset] = [await cpuOf(client), await info(client, 'replication', 'master_repl_offset')]
        const from = performance.now()
        const options = ['-p', String(client.options.port), '-n', String(count), '-c', '50', '-r', String(ASKED), '-q']
        const { stdout } = await run('redis-benchmark', [...options, ...command])
        if (/error|ERR/.test(stdout)) throw new Error(stdout.slice(0, 200))
        const seconds = (performance.now() - from) / 1000
        figures = {
          cpu: (((await cpuOf(client)) - cpu) / count) * 1e6,
          rate: count / seconds,
          replicated: ((await info(client, 'replication', 'master_repl_offset')) - offset) / count,
        }
      }
      return figures
    }
    const name = `${head}__rand_int__`
    const read = await benchmark('HGETALL', name)
    const write = await benchmark('EVALSHA', sha, '1', name, ...args)
    // an expiry of its own each time: 13 digits, as now
    const [now = '', , ...others] = args
    const moved = `${now.slice(0, 1) === '1' ? '2' : '3'}__rand_int__`
    const refresh = await benchmark('EVALSHA', sha, '1', name, now, moved, ...others.slice(0, 4))
    return {
      'store-read': round(read.cpu),
      'store-write': round(write.cpu),
      'store-refresh': round(refresh.cpu),
      'session-bytes': Math.round(sessionBytes),
      'replicated-bytes': Math.round(write.replicated),
      memoryUsage,
      readsPerSecond: Math.round(read.rate),
      writesPerSecond: Math.round(write.rate),
      refreshesPerSecond: Math.round(refresh.rate),
      replicatedByRefresh: Math.round(refresh.replicated),
    }
  } finally {
    for (const end of ends.toReversed()) await end()
  }
}

/** @param {number} value */
const round = (value) => Number(value.toPrecision(3))
