// Starts Rails on Puma, in a process of its own whose id it tells: what that one uses the run asks the kernel.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('rails.rb', import.meta.url))
// it ends with its standard input, and so with this process
const rails = spawn('ruby', [program], {
  // its compiler, where Ruby has one
  env: { ...process.env, RUBY_YJIT_ENABLE: '1' },
  stdio: ['pipe', 'pipe', 'inherit'],
})
rails.on('exit', (code) => process.exit(code ?? 1))
process.on('disconnect', () => rails.stdin.end())

const [line] = await once(createInterface({ input: rails.stdout }), 'line')
const { port, missing } = JSON.parse(line)
if (missing !== undefined) throw new Error(`Ruby on Rails is not here: ${missing}`)
if (process.send) process.send({ port, pid: rails.pid })
else console.log(`http://127.0.0.1:${port}`)
