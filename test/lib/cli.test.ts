import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'tap'
import { cookies } from '../../lib/index.ts'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { newFile } from '../stores/sqlite-file.ts'
import { errorIn, luggageRack, PROGRAM, shown } from './cli-program.ts'

const MARKER = 'Marker4711'

test('help of the whole and of each command goes to standard output, and the command is done', async (t) => {
  const whole = await luggageRack(['--help'])
  t.match(whole.stdout, /^Usage: luggage-rack <command>/)
  for (const name of ['secret', 'inspect', 'sessions']) t.match(whole.stdout, new RegExp(`^ {2}${name} `, 'm'))
  const expected = [
    [['secret'], ['--bytes', '--json']],
    [['inspect'], ['SECRET_KEY_BASE', 'IRON_PASSWORD', '--name', '--signed', '--digest', '--legacy', '--json']],
    [['sessions'], ['list', 'trim', 'delete', '--store', '--owner', '--limit', '--all', '--yes', '--json']],
    [['sessions', 'list'], ['--limit']],
    [['sessions', 'trim'], ['--table']],
    [['sessions', 'delete'], ['--id']],
  ] as const
  const runs = await Promise.all(expected.map(([args]) => luggageRack([...args, '--help'])))
  for (const [i, ran] of [whole, ...runs].entries()) {
    const [args, words] = i === 0 ? [['--help'], ['--version']] : expected[i - 1]!
    t.same([ran.code, ran.stderr], [0, ''], args.join(' '))
    for (const word of words) t.ok(ran.stdout.includes(word), `${args.join(' ')}: ${word}`)
    t.ok(
      ran.stdout.split('\n').every((line) => line.length <= 120),
      'no line is longer than a terminal',
    )
  }
})

test('--version is the version of the package', async (t) => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string }
  t.same(await luggageRack(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
  t.same(JSON.parse((await luggageRack(['--version', '--json'])).stdout), { version })
})

test('a wrong call ends with 2, points to the help, and repeats nothing that was given', async (t) => {
  const wrong = [
    [],
    [MARKER],
    [`--${MARKER}`],
    ['secret', MARKER],
    ['secret', `--secret=${MARKER}`],
    ['secret', '--bytes', MARKER],
    ['secret', '--bytes', '15'],
    ['secret', '--bytes', '1025'],
    ['secret', '--bytes'],
    ['secret', `--json=${MARKER}`],
    ['inspect'],
    ['inspect', MARKER, MARKER],
    ['inspect', `-${MARKER}`],
    ['inspect', MARKER, '--digest', MARKER],
    ['inspect', MARKER, '--signed', '--encrypted'],
    ['inspect', MARKER, '--format', 'iron', '--legacy'],
    ['inspect', MARKER, '--name', `-${MARKER}`],
    ['sessions'],
    ['sessions', MARKER],
    ['sessions', 'list'],
    ['sessions', 'list', MARKER],
    ['sessions', 'list', '--store', `postgres://user:${MARKER}@localhost`],
    ['sessions', 'list', '--store', `${MARKER}.txt`],
    ['sessions', 'list', '--store', `${MARKER}.db`, '--prefix', MARKER],
    ['sessions', 'list', '--store', `redis://:${MARKER}@localhost`, '--table', MARKER],
    ['sessions', 'list', '--store', `${MARKER}.db`, '--limit', '0'],
    ['sessions', 'list', '--store', `${MARKER}.db`, '--limit', MARKER],
    ['sessions', 'delete', '--store', `${MARKER}.db`],
    ['sessions', 'delete', '--store', `${MARKER}.db`, '--owner', MARKER, '--all', '--yes'],
    ['sessions', 'delete', '--store', `${MARKER}.db`, '--all'],
    ['sessions', 'delete', '--store', `${MARKER}.db`, '--id', MARKER],
    // a public id opens a session
    ['sessions', 'delete', '--store', `${MARKER}.db`, '--id', '0123456789abcdef0123456789abcdef'],
  ]
  const env = { SECRET_KEY_BASE: `${MARKER}${'x'.repeat(32)}` }
  for (const args of wrong) {
    const [text, inJson] = await Promise.all([luggageRack(args, { env }), luggageRack([...args, '--json'], { env })])
    const name = args.join(' ')
    t.same([text.code, text.stdout], [2, ''], name)
    t.match(text.stderr, /^luggage-rack.*: .+ See luggage-rack.* --help\.\n$/, name)
    t.same(shown(text, [MARKER, '0123456789abcdef']), [], name)
    if (args.at(-1) === '--bytes') continue // takes --json for its value
    t.same([inJson.code, inJson.stdout, errorIn(inJson).code], [2, '', 'ERR_USAGE'], `${name}, in JSON`)
    t.same(shown(inJson, [MARKER, '0123456789abcdef']), [], `${name}, in JSON`)
  }
})

test('an option that does not exist is named, if it looks like one', async (t) => {
  t.match((await luggageRack(['secret', '--byte', '64'])).stderr, 'There is no option --byte.')
})

test('secret prints as many random bytes as it is told, and cookies() takes them', async (t) => {
  const [one, other, short, inJson] = await Promise.all([
    luggageRack(['secret']),
    luggageRack(['secret']),
    luggageRack(['secret', '--bytes', '16']),
    luggageRack(['secret', '--bytes', '32', '--json']),
  ])
  t.match(one.stdout, /^[0-9a-f]{128}\n$/)
  t.not(one.stdout, other.stdout)
  t.match(short.stdout, /^[0-9a-f]{32}\n$/)
  const { secret, bytes } = JSON.parse(inJson.stdout) as { secret: string; bytes: number }
  t.match([secret, bytes], [/^[0-9a-f]{64}$/, 32])
  for (const ran of [one, other, short, inJson]) t.same([ran.code, ran.stderr], [0, ''])
  t.doesNotThrow(() => cookies({ secret: short.stdout.trim() }))
})

test('whoever stops reading ends the command, without a word', async (t) => {
  const filename = newFile(t)
  new SqliteStore({ filename }).close()
  const database = new Database(filename)
  const insert = database.prepare("INSERT INTO sessions VALUES (?, '{}', NULL, 0, 0, ?, NULL)")
  // more than a pipe holds
  database.transaction(() => {
    for (let i = 0; i < 20_000; i++) insert.run(`2::${String(i).padStart(64, '0')}`, Date.now() + 3_600_000)
  })()
  database.close()

  const child = spawn(process.execPath, [PROGRAM, 'sessions', 'list', '--store', filename], { stdio: 'pipe' })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)))
  child.stdout.once('data', () => child.stdout.destroy())
  t.equal(await ended, 0)
  t.equal(errors, '')
})

test('what cannot be written is an error', { skip: !existsSync('/dev/full') }, async (t) => {
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [PROGRAM, 'secret'], { stdio: ['ignore', full, 'pipe'] })
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  t.equal(await new Promise((resolve) => child.on('close', resolve)), 1)
  t.equal(errors, 'luggage-rack secret: What it has to print could not be written (ENOSPC).\n')
  closeSync(full)
})

test('a package that a store needs and that is not installed is named', async (t) => {
  // as installed, with the packages that always come along, and none of the clients
  const modules = join(dirname(newFile(t)), 'node_modules')
  const home = join(modules, 'luggage-rack')
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as { dependencies: Record<string, string> }
  const build = dirname(dirname(PROGRAM))
  for (const folder of ['lib', 'stores'])
    await cp(join(build, folder), join(home, 'build', folder), { recursive: true })
  await cp('package.json', join(home, 'package.json'))
  for (const name of Object.keys(manifest.dependencies)) {
    await mkdir(dirname(join(modules, name)), { recursive: true })
    await symlink(join(process.cwd(), 'node_modules', name), join(modules, name))
  }
  const program = join(home, 'build', 'lib', 'cli.js')
  t.match((await luggageRack(['secret'], { program })).stdout, /^[0-9a-f]{128}\n$/)

  // folders that hold no package, lest one further up be found
  for (const name of ['better-sqlite3', 'ioredis', 'memjs']) {
    await mkdir(join(modules, name))
    await writeFile(join(modules, name, 'package.json'), name === 'memjs' ? '{ "exports": {} }' : '{}')
  }

  const password = `${MARKER}Password`
  const file = join(dirname(modules), 'sessions.db')
  await writeFile(file, '')
  const stores = [
    ['ioredis', `redis://:${password}@127.0.0.1:1`],
    ['better-sqlite3', file],
    ['memjs', `memcached://user:${password}@127.0.0.1:1`],
  ] as const
  for (const [name, where] of stores) {
    const ran = await luggageRack(['sessions', 'trim', '--store', where], { program })
    t.same([ran.code, ran.stdout], [1, ''], name)
    t.match(ran.stderr, `npm install ${name}`)
    t.same(shown(ran, [password]), [])
  }
})
