// Where peers keep their sessions: a Redis and a memcached of the run's own, and a folder for SQLite's files.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memcached } from '../build/test/memcached.js'
import { startRedis } from '../build/test/redis.js'

/** @typedef {{ redis?: string, memcached?: string, file?: string }} Settings what a server is told of them */
/** @typedef {'redis' | 'memcached'} Kind */
/**
 * `ports`: of what runs. `missing`: why something does not. `settings`: for a server of this name, a file of its own
 * with it, and with other ports where its traffic is counted.
 *
 * @typedef {{
 *   ports: Partial<Record<Kind, number>>, versions: Record<string, string>, missing: Record<string, string>,
 *   settings: (name: string, ports?: Partial<Record<Kind, number>>) => Settings, close: () => Promise<void>,
 * }} Backends
 */

/** More memory than memcached's own 64 MB, so that it throws no session away. */
const MEGABYTES = '1024'

/** @type {Record<Kind, (owner: import('../build/test/server.js').Owner) => Promise<{ port: number, version: string }>>} */
const starters = {
  async redis(owner) {
    const { port } = await startRedis(owner)
    return { port, version: versionOf('redis-server', '--version', /v=(\S+)/) }
  },
  async memcached(owner) {
    const { port } = await memcached(owner, '-m', MEGABYTES)
    return { port, version: versionOf('memcached', '-V', /(\d\S+)/) }
  },
}

/** @param {string} command @param {string} flag @param {RegExp} pattern */
function versionOf(command, flag, pattern) {
  return pattern.exec(execFileSync(command, [flag], { encoding: 'utf8' }))?.[1] ?? 'of an unknown version'
}

/** @param {ReadonlySet<string>} needed @returns {Promise<Backends>} */
export async function startBackends(needed) {
  /** @type {(() => unknown)[]} */
  const ends = []
  const owner = { teardown: (/** @type {() => unknown} */ end) => ends.push(end) }
  const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-bench-'))
  ends.push(() => rmSync(folder, { recursive: true, force: true }))

  /** @type {Backends} */
  const backends = {
    ports: {},
    versions: {},
    missing: {},
    settings: (name, ports = backends.ports) => ({
      ...(ports.redis && { redis: `redis://127.0.0.1:${ports.redis}` }),
      ...(ports.memcached && { memcached: `127.0.0.1:${ports.memcached}` }),
      file: join(folder, `${name}.sqlite`),
    }),
    async close() {
      // the last that was begun is the first to end
      for (const end of ends.toReversed()) await end()
    },
  }
  for (const kind of /** @type {Kind[]} */ (Object.keys(starters))) {
    if (!needed.has(kind)) continue
    try {
      const { port, version } = await starters[kind](owner)
      backends.ports[kind] = port
      backends.versions[kind] = version
    } catch (error) {
      backends.missing[kind] = error instanceof Error ? error.message : String(error)
    }
  }
  return backends
}
