import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join, resolve as absolute } from 'node:path'
import { promisify } from 'node:util'
import { test, type Test } from 'tap'
import { compile } from './compile.ts'
import { freePort } from './free-port.ts'

const run = promisify(execFile)

interface Block {
  readonly language: string
  readonly text: string
  /** What follows it. */
  readonly next: Block | undefined
  /** Where its program is compiled to. */
  readonly file: string
}

/** What is for readers, and says what programs do. */
const documents = [
  'README.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]

const folder = join('build', 'readme')

const env = { ...process.env, SECRET_KEY_BASE: 'a secret of the README, which is 32 characters long or longer' }

function blocksOf(document: string): Block[] {
  let next: Block | undefined
  return [...readFileSync(document, 'utf8').matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .map(([, language = '', text = ''], i) => ({
      language,
      text,
      file: `${basename(document, '.md').toLowerCase()}-${i}`,
    }))
    .toReversed()
    .map((block) => (next = { ...block, next }))
    .toReversed()
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, 'localhost', () => {
      resolve(true)
      socket.destroy()
    })
    socket.on('error', () => resolve(false))
  })
}

/** Runs the commands of a transcript and compares what they print; `…` stands for anything. */
async function replay(t: Test, transcript: string, port: number, cwd: string): Promise<void> {
  // npx would ask the registry
  const cli = `${process.execPath} ${absolute('build/lib/cli.js')}`
  for (const part of transcript.split(/^\$ /m).slice(1)) {
    const [command = '', ...expected] = part.split('\n')
    const real = command.replaceAll('3000', String(port)).replaceAll('npx luggage-rack', cli)
    // a command may end with a status of its own, as grep does
    const { stdout } = await run('sh', ['-c', `${real}; true`], { cwd, env })
    const pattern = expected
      .join('\n')
      .replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll('…', '[^\\n]*')
    t.match(stdout.replaceAll('\r', ''), new RegExp(`^${pattern}$`), command)
  }
}

/** Why programs in Ruby cannot run here, if they cannot. */
const noRails =
  spawnSync('ruby', ['-e', "require 'action_controller/railtie'; require 'puma'"]).status === 0
    ? false
    : 'Ruby on Rails is not installed: apt-get install ruby-railties puma'

/** Runs one program in the folder of its document, and what its transcript says. */
async function runs(t: Test, { language, text, file, next }: Block, cwd: string): Promise<void> {
  const isRuby = language === 'ruby'
  const script = isRuby ? join(cwd, `${file}.rb`) : absolute(folder, 'out', `${file}.js`)
  const listening = isRuby ? 'Port: 3000' : '.listen(3000)'
  if (isRuby) writeFileSync(script, text)
  if (!text.includes(listening)) {
    const { stdout } = await run(process.execPath, [script], { env, cwd })
    if (next?.language === 'text') t.equal(stdout, next.text)
    else t.notMatch(stdout, /^not ok/m)
    return
  }
  const port = await freePort()
  const placed = listening.replace('3000', String(port))
  writeFileSync(script, readFileSync(script, 'utf8').replace(listening, placed))
  const command = isRuby ? 'ruby' : process.execPath
  const child = spawn(command, [script], { env, cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  while (child.exitCode === null && !(await accepts(port)));
  t.equal(child.exitCode, null, 'it runs')
  if (next?.language === 'console') await replay(t, next.text, port, cwd)
  else t.ok((await fetch(`http://localhost:${port}/`)).ok)
  child.kill()
  await ended
}

const programs = new Map(
  documents.map((name) => [name, blocksOf(name).filter(({ language }) => language === 'ts' || language === 'ruby')]),
)

test('every program of the README and the guides compiles', async (t) => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const { file, text, language } of [...programs.values()].flat())
    if (language === 'ts') writeFileSync(join(folder, `${file}.ts`), text)
  const options = {
    rootDir: '.',
    outDir: 'out',
    declaration: false,
    declarationMap: false,
    isolatedDeclarations: false,
  }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: options, include: ['*.ts'], exclude: [] }),
  )
  t.equal(await compile(folder), '')
})

for (const [document, blocks] of programs) {
  // the programs of a guide follow each other: what one leaves, cookies and files, the next one finds
  const cwd = mkdtempSync(join(tmpdir(), 'readme-'))
  for (const [i, program] of blocks.entries()) {
    const skip = program.language === 'ruby' && noRails
    test(`program ${i + 1} of ${document} runs, and answers as its transcript says`, { skip }, (t) =>
      runs(t, program, document === 'README.md' ? mkdtempSync(join(tmpdir(), 'readme-')) : cwd),
    )
  }
}
