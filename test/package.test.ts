import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, normalize, resolve } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'tap'
import { compile } from './compile.ts'

const run = promisify(execFile)

interface Pack {
  filename: string
  files: { path: string; size: number; mode: number }[]
}

/** What `npm pack --json` reports: a list, or an object by name in later versions of npm. */
function packOf(json: string): Pack | undefined {
  return Object.values(JSON.parse(json) as Pack[] | Record<string, Pack>)[0]
}

interface Manifest {
  bin: Record<string, string>
  exports: Record<string, string | { types: string; default: string }>
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  bundleDependencies?: unknown
  peerDependencies: Record<string, string>
  peerDependenciesMeta: Record<string, { optional?: boolean }>
  scripts: Record<string, string>
}

const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

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
  const pack = packOf(packed.stdout)
  t.ok(pack)

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

test('the packed package holds what it needs, and nothing else', async (t) => {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--ignore-scripts', '--json', '--offline'])
  const files = packOf(stdout)?.files ?? []
  const paths = files.map(({ path }) => path)
  const packed = new Set(paths)
  const source = /^(browser|lib|middleware|stores)\/[\w-]+\.ts$/
  const built = /^build\/((?:browser|lib|middleware|stores)\/[\w-]+)\.(?:js|d\.ts)(\.map)?$/

  t.same(
    paths
      .filter((path) => !source.test(path) && !built.test(path) && !/^docs\/[\w-]+\.(?:md|svg)$/.test(path))
      .toSorted(),
    [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'middleware/lifecycle/page.css',
      'middleware/lifecycle/page.html',
      'middleware/lifecycle/page.js',
      'package.json',
    ],
    'no tests, examples, benchmarks, secrets or files of a tool',
  )
  for (const path of paths) {
    const [, module, map] = built.exec(path) ?? []
    // what was built before it was removed or renamed would go along
    if (module !== undefined)
      t.ok(packed.has(`${module}.ts`), `${path} has its source, or is of an older build: rm -r build`)
    if (source.test(path)) {
      for (const end of ['.js', '.d.ts']) t.ok(packed.has(`build/${path.replace(/\.ts$/, end)}`), `${path} is built`)
    }
    const text = readFileSync(path, 'utf8')
    if (map !== undefined) {
      const { sources, sourceRoot = '' } = JSON.parse(text) as { sources: string[]; sourceRoot?: string }
      for (const one of sources) {
        const at = normalize(join(dirname(path), sourceRoot, one))
        t.ok(packed.has(at), `${path} points to ${at}`)
      }
    } else {
      const [, at] = /^\/\/# sourceMappingURL=(.+)$/m.exec(text) ?? []
      if (at !== undefined && module !== undefined) t.ok(packed.has(join(dirname(path), at)), `${path} has its map`)
    }
    if (module === undefined) continue
    for (const [, from = ''] of text.matchAll(/^(?:import|export) .*?from '(\.[^']+)'/gm)) {
      // a declaration names the source
      const at = normalize(join(dirname(path), from))
      t.ok(packed.has(path.endsWith('.d.ts') ? at.replace(/\.(?:ts|js)$/, '.d.ts') : at), `${path} finds ${from}`)
    }
  }

  const { exports: entries, bin } = manifestOf('.')
  const targets = Object.values(entries).flatMap((entry) =>
    typeof entry === 'string' ? [entry] : [entry.types, entry.default],
  )
  for (const target of [...targets, ...Object.values(bin)]) t.ok(packed.has(normalize(target)), target)
  for (const entry of Object.values(entries)) {
    if (typeof entry !== 'string') t.equal(entry.types.replace(/\.d\.ts$/, '.js'), entry.default)
  }
  for (const target of Object.values(bin)) t.match(readFileSync(target, 'utf8'), /^#!\/usr\/bin\/env node\n/)
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  t.ok(bytes < 4_000_000, `${bytes} bytes`)
})

test('what is installed at run time is what SECURITY.md says, and runs nothing when it is installed', (t) => {
  const { dependencies = {}, optionalDependencies, bundleDependencies, ...manifest } = manifestOf('.')
  t.equal(optionalDependencies, undefined)
  t.equal(bundleDependencies, undefined)
  for (const peer of Object.keys(manifest.peerDependencies)) {
    t.equal(manifest.peerDependenciesMeta[peer]?.optional, true, `${peer} is optional`)
  }
  for (const script of ['preinstall', 'install', 'postinstall']) t.notOk(script in manifest.scripts, script)

  interface Locked {
    version: string
    resolved?: string
    integrity?: string
    hasInstallScript?: boolean
    dependencies?: Record<string, string>
    optionalDependencies?: Record<string, string>
  }
  const lock = (JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Locked> }).packages
  const tree = new Map<string, Locked>()
  const walk = (names: readonly string[], from: string): void => {
    for (const name of names) {
      const inside = `${from}/node_modules/${name}`.replace(/^\//, '')
      const at = inside in lock ? inside : `node_modules/${name}`
      const locked = lock[at]
      t.ok(locked, `${name} is in the lock file`)
      if (locked === undefined || tree.has(at)) continue
      tree.set(at, locked)
      walk(Object.keys({ ...locked.dependencies, ...locked.optionalDependencies }), at)
    }
  }
  walk(Object.keys(dependencies), '')

  const section = /^## Dependencies\n([^]*)$/m.exec(readFileSync('SECURITY.md', 'utf8'))?.[1] ?? ''
  const rows = [...section.matchAll(/^\| `([^`]+)` +\| (.*?) +\|$/gm)]
  t.same(
    rows.map(([, name]) => name),
    Object.keys(dependencies),
  )
  const direct = rows.length
  t.match(section, `There are ${direct} at run time, which bring ${tree.size - direct} more.`)
  for (const [at, { integrity, resolved, hasInstallScript, version }] of tree) {
    const name = at.replace(/^.*node_modules\//, '')
    t.ok(section.includes(`\`${name}\``), `${name} is named`)
    t.notOk(hasInstallScript, `${name} has no install script`)
    t.match(integrity, /^sha512-/)
    t.ok(resolved === undefined || resolved.startsWith('https://registry.npmjs.org/'), `${name} is of the registry`)
    t.ok(existsSync(join(at, 'package.json')))
    const { scripts = {}, version: installed } = manifestOf(at) as Partial<Manifest> & { version: string }
    for (const script of ['preinstall', 'install', 'postinstall']) t.notOk(script in scripts, `${name}: ${script}`)
    t.notOk(existsSync(join(at, 'binding.gyp')), `${name} builds nothing`)
    t.equal(installed, version)
  }
  t.end()
})
