// Where the stores of the soak keep their sessions, and what is done to those places.
import Database from 'better-sqlite3'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { memcached } from '../../build/test/memcached.js'
import { startRedis } from '../../build/test/redis.js'

const run = promisify(execFile)

/** @typedef {import('../../build/test/server.js').Owner} Owner */
/**
 * What is done to a place. `strict`: it is over before any deadline, so that no request may fail. `margin`: seconds
 * after it in which one may.
 *
 * @typedef {{ what: string, strict: boolean, margin: number, act: () => Promise<void> }} Disturbance
 */
/** @typedef {{ where: object, disturbances: Disturbance[], version: string, check?: () => Promise<string | undefined> }} Place */

/** @type {() => Promise<Place>} */
const nowhere = async () => ({ where: {}, disturbances: [], version: '' })

/** @type {Record<string, (owner: Owner) => Promise<Place>>} */
export const places = {
  cookie: nowhere,
  memory: nowhere,
  redis,
  memcached: inMemcached,
  sqlite,
  activerecord: sqlite,
  express: redis,
}

/** @param {Owner} owner @returns {Promise<Place>} */
async function redis(owner) {
  // so that what it acknowledged is there when it comes back
  const server = await startRedis(owner, '--appendonly', 'yes', '--appendfsync', 'always')
  const say = async (/** @type {string[]} */ ...words) =>
    (await run('redis-cli', ['-p', `${server.port}`, ...words])).stdout
  /** @param {number} milliseconds */
  const stop = async (milliseconds) => {
    server.signal('SIGSTOP')
    await pause(milliseconds)
    server.signal('SIGCONT')
  }
  const [, version = ''] = /redis_version:(\S+)/.exec(await say('info', 'server')) ?? []
  return {
    where: { url: server.url },
    version: `Redis ${version}`,
    disturbances: [
      {
        what: 'CLIENT PAUSE for 3 s',
        strict: false,
        margin: 4,
        async act() {
          await say('client', 'pause', '3000')
          await pause(3000)
        },
      },
      { what: 'SIGSTOP for 3 s', strict: false, margin: 4, act: () => stop(3000) },
      { what: 'SIGSTOP for 0.3 s', strict: true, margin: 2, act: () => stop(300) },
      {
        what: 'SIGKILL, started anew after 1 s',
        strict: false,
        margin: 6,
        async act() {
          await server.kill()
          await pause(1000)
          await server.start()
        },
      },
    ],
  }
}

/** @param {Owner} owner @returns {Promise<Place>} */
async function inMemcached(owner) {
  const server = await memcached(owner, '-m', '512')
  const stop = async (/** @type {number} */ milliseconds) => {
    await server.pause()
    await pause(milliseconds)
    server.resume()
  }
  const [, version = ''] = /VERSION (\S+)/.exec(await server.say('version')) ?? []
  return {
    where: { server: server.server },
    version: `memcached ${version}`,
    disturbances: [
      { what: 'SIGSTOP for 3 s', strict: false, margin: 4, act: () => stop(3000) },
      { what: 'SIGSTOP for 0.3 s', strict: true, margin: 2, act: () => stop(300) },
    ],
    async check() {
      const [, evictions] = /evictions (\d+)/.exec(await server.say('stats')) ?? []
      return evictions === '0' ? undefined : `memcached evicted ${evictions}`
    },
  }
}

/** @param {Owner} owner @returns {Promise<Place>} */
async function sqlite(owner) {
  const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-soak-'))
  const filename = join(folder, 'sessions.db')
  owner.teardown(() => rmSync(folder, { recursive: true, force: true }))
  /** @param {number} milliseconds */
  const lock = async (milliseconds) => {
    const database = new Database(filename, { timeout: 2000 })
    database.exec('BEGIN IMMEDIATE')
    await pause(milliseconds)
    database.exec('ROLLBACK')
    database.close()
  }
  const database = new Database(':memory:')
  const version = database.prepare('SELECT sqlite_version()').pluck().get()
  database.close()
  return {
    where: { filename },
    version: `SQLite ${String(version)}`,
    disturbances: [
      { what: 'locked for 3 s', strict: true, margin: 3, act: () => lock(3000) },
      { what: 'locked for 7 s', strict: false, margin: 4, act: () => lock(7000) },
    ],
    async check() {
      const database = new Database(filename, { readonly: true })
      const answer = database.pragma('integrity_check', { simple: true })
      database.close()
      return answer === 'ok' ? undefined : `integrity_check: ${String(answer)}`
    },
  }
}
