// What a run was made on: its date, machine, versions and commit.
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'

/** @typedef {{ cpu: string, cores: number, memory: string, os: string }} Machine */

/** @returns {Machine} */
export const machine = () => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
  os: `${type()} ${release()}`,
})

/** Of the last minute: what else is at work makes figures worse. */
export const load = () => Math.round((loadavg()[0] ?? 0) * 10) / 10

/** Of what is checked out, and whether there is more than that. */
export function commit() {
  try {
    const git = (/** @type {string[]} */ ...args) =>
      execFileSync('git', args, {
        cwd: new URL('..', import.meta.url),
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim()
    const changed = git('status', '--porcelain', '--', 'lib', 'middleware', 'stores') === '' ? '' : ' and changes'
    return git('rev-parse', '--short', 'HEAD') + changed
  } catch {
    return 'unknown'
  }
}

/**
 * What peers were measured in which versions. Ours have their packages from the repository, the others from here.
 *
 * @param {readonly import('./peers.js').Peer[]} peers
 */
export function versionsOf(peers) {
  /** @type {Record<string, string>} */
  const versions = {}
  for (const { packages, ours } of peers) {
    for (const name of packages) {
      const version = rubyVersions()[name] ?? installed(name, ours ? '../' : './')
      const known = versions[name]
      versions[name] = known === undefined || known === version ? version : `${known} and ${version}`
    }
  }
  return versions
}

/** @param {string} name @param {string} folder */
function installed(name, folder) {
  const path = name === 'luggage-rack' ? '../package.json' : `${folder}node_modules/${name}/package.json`
  const manifest = readFileSync(new URL(path, import.meta.url), 'utf8')
  return String(JSON.parse(manifest).version)
}

/** @type {Record<string, string> | undefined} */
let found

/** What there is of Ruby: nothing where Rails or Puma is missing. */
export function rubyVersions() {
  if (found) return found
  const script = 'puts Rails.version, Puma::Const::VERSION, RUBY_VERSION'
  const args = ['-rlogger', '-raction_controller/railtie', '-rpuma', '-rpuma/server', '-e', script]
  const { status, stdout } = spawnSync('ruby', args, { encoding: 'utf8' })
  const [rails = '', puma = '', ruby = ''] = stdout?.trim().split('\n') ?? []
  found = status === 0 ? { rails, puma, ruby } : {}
  return found
}
