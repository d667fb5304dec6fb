import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test, type Test } from 'tap'
import { compile } from './compile.ts'

const run = promisify(execFile)

interface Block {
  language: string
  text: string
}

const blocks: Block[] = [...readFileSync('README.md', 'utf8').matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(
  ([, language = '', text = '']) => ({ language, text }),
)
const programs = blocks.filter(({ language }) => language === 'ts')
const folder = join('build', 'readme')

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
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
async function replay(t: Test, transcript: string, port: number): Promise<void> {
  const cwd = mkdtempSync(join(tmpdir(), 'readme-'))
  for (const part of transcript.split(/^\$ /m).slice(1)) {
    const [command = '', ...expected] = part.split('\n')
    const { stdout } = await run('sh', ['-c', command.replaceAll('3000', String(port))], { cwd })
    const pattern = expected
      .join('\n')
      .replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll('…', '[^\\n]*')
    t.match(stdout.replaceAll('\r', ''), new RegExp(`^${pattern}$`), command)
  }
}

test('every program of the README compiles', async (t) => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [i, { text }] of programs.entries()) writeFileSync(join(folder, `${i}.ts`), text)
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

for (const [i, program] of programs.entries()) {
  test(`program ${i + 1} of the README runs, and answers as its transcript says`, async (t) => {
    const file = join(folder, 'out', `${i}.js`)
    const env = { ...process.env, SECRET_KEY_BASE: 'a secret of the README, which is 32 characters long or longer' }
    const next = blocks[blocks.indexOf(program) + 1]
    if (!program.text.includes('.listen(3000)')) {
      const { stdout } = await run(process.execPath, [file], { env })
      if (next?.language === 'text') t.equal(stdout, next.text)
      else t.notMatch(stdout, /^not ok/m)
      return
    }
    const port = await freePort()
    writeFileSync(file, readFileSync(file, 'utf8').replace('.listen(3000)', `.listen(${port})`))
    const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'ignore', 'inherit'] })
    t.teardown(() => child.kill())
    while (child.exitCode === null && !(await accepts(port)));
    t.equal(child.exitCode, null, 'it runs')
    if (next?.language === 'console') await replay(t, next.text, port)
    else t.ok((await fetch(`http://localhost:${port}/`)).ok)
  })
}
