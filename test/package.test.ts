import { execFile } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'tap'
import { compile } from './compile.ts'

const run = promisify(execFile)

const program = `
import { Builder, cookies, session, MemoryStore, type RequestOf } from 'luggage-rack'
import { testStore } from 'luggage-rack/testing'

const stack = new Builder().use(cookies({ secret: 'x'.repeat(32) })).use(session<{ visits: number }>({ store: new MemoryStore() }))
const controller = async (req: RequestOf<typeof stack>): Promise<readonly [number, {}, string]> => {
  const visits: number | undefined = (await req.session).visits
  return [200, {}, String(visits)]
}
console.log(typeof stack.run(controller), typeof testStore)
`

test('the packed package installs in an empty project and works from JavaScript and from TypeScript', async (t) => {
  const root = process.cwd()
  const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-'))
  const packed = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder])
  const report = JSON.parse(packed.stdout) as
    { filename: string; files: { path: string }[] }[] | Record<string, { filename: string; files: { path: string }[] }>
  const [pack] = Object.values(report)
  t.ok(pack)
  const paths = pack?.files.map((file) => file.path) ?? []
  t.notOk(
    paths.some((path) => /(^|\/)(test|bench|examples|node_modules)\//.test(path)),
    'no tests are packed',
  )
  for (const path of [
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'SECURITY.md',
    'build/lib/index.js',
    'build/lib/index.d.ts',
    'docs/from-rails.md',
  ]) {
    t.ok(paths.includes(path), path)
  }

  writeFileSync(join(folder, 'package.json'), '{ "type": "module", "private": true }')
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', `./${pack?.filename}`], { cwd: folder })
  const { stdout: secret } = await run(join(folder, 'node_modules', '.bin', 'luggage-rack'), ['secret'])
  t.match(secret, /^[\da-f]{128}\n$/, 'the command is there')
  writeFileSync(join(folder, 'program.ts'), program)
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2022',
        strict: true,
        exactOptionalPropertyTypes: true,
        types: ['node'],
        typeRoots: [resolve(root, 'node_modules/@types')],
      },
      include: ['program.ts'],
    }),
  )
  t.equal(await compile(folder), '', 'it compiles with every declaration checked')
  const { stdout } = await run(process.execPath, ['program.js'], { cwd: folder })
  t.equal(stdout, 'function function\n')
})
