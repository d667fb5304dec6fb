// Sees that the programs are here which the tests run for real, and installs them where that is possible.
import { execFileSync, spawnSync } from 'node:child_process'

/** A program that the tests need, and the Debian package that has it. */
const programs: readonly { command: string; package: string }[] = [
  { command: 'curl', package: 'curl' },
  { command: 'redis-server', package: 'redis-server' },
  { command: 'redis-cli', package: 'redis-tools' },
  { command: 'memcached', package: 'memcached' },
  { command: 'ps', package: 'procps' },
  { command: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium', package: 'chromium' },
]

/** Ruby on Rails, without which its tests are skipped. */
const rails: readonly string[] = ['ruby-railties', 'puma']

const has = (command: string): boolean => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined

function install(packages: readonly string[]): void {
  const run = (...args: string[]): void => {
    execFileSync('apt-get', args, { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
  }
  run('update', '-qq')
  run('install', '-y', '-qq', '--no-install-recommends', ...packages)
}

const hasRails = (): boolean =>
  spawnSync('ruby', ['-e', "require 'action_controller/railtie'; require 'puma'"], { stdio: 'ignore' }).status === 0

const mayInstall = process.getuid?.() === 0 && has('apt-get')

const missing = programs.filter(({ command }) => !has(command)).map((program) => program.package)
if (missing.length > 0) {
  if (!mayInstall) {
    console.error(
      `The tests need ${missing.join(', ')}. On Debian and Ubuntu: sudo apt-get install ${missing.join(' ')}\n` +
        'Elsewhere install them and set CHROMIUM_PATH to the browser.',
    )
    process.exit(1)
  }
  console.error(`Installing what the tests need: ${missing.join(', ')}`)
  install(missing)
}

if (!hasRails()) {
  const skipped = `The tests with Ruby on Rails are skipped. On Debian and Ubuntu: sudo apt-get install ${rails.join(' ')}`
  try {
    if (mayInstall) install(rails)
    if (!hasRails()) console.error(skipped)
  } catch {
    console.error(skipped)
  }
}
