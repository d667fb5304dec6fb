// npm run example NAME: one of the examples that people sign in to, and the provider that they sign in at.
import { parseArgs } from 'node:util'
import type { Start } from './example.ts'
import { PEOPLE } from './openid-provider/people.ts'
import { startProvider } from './openid-provider/provider.ts'

const examples: Readonly<Record<string, () => Promise<Start>>> = {
  auth: async () => (await import('./auth/server.ts')).start,
  'spa/plain': async () => (await import('./spa/server.ts')).startPage('plain'),
  'spa/jquery': async () => (await import('./spa/server.ts')).startPage('jquery'),
  'spa/jquery-lockr': async () => (await import('./spa/server.ts')).startPage('jquery-lockr'),
  'spa/react': async () => (await import('./spa/server.ts')).startPage('react'),
  'spa/server-session': async () => (await import('./spa/server-session/server.ts')).start,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { port: { type: 'string', default: process.env.PORT || '3000' } },
})
const [name = ''] = positionals
const port = Number(values.port)
const load = Object.hasOwn(examples, name) ? examples[name] : undefined

if (load === undefined) {
  fail(`There is no example ${JSON.stringify(name)}. Choose one of: ${Object.keys(examples).join(', ')}`)
} else if (!(Number.isInteger(port) && port > 0 && port < 65_536)) {
  fail(`There is no port ${values.port}. Choose one, for example: npm run example ${name} -- --port 3001`)
} else {
  await run(await load())
}

async function run(start: Start): Promise<void> {
  try {
    const example = await start({ port, startProvider })
    const people = PEOPLE.map(({ login, password }) => `${login} / ${password}`)
    console.log(`${name} is at ${example.url} (Ctrl+C ends it)`)
    console.log(`Sign in as ${people.join(' or as ')}. The provider is at ${example.issuer}`)
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void example.close())
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    fail(`Port ${port} is taken. Choose another one, for example: npm run example ${name} -- --port ${port + 1}`)
  }
}

function fail(why: string): void {
  console.error(why)
  process.exitCode = 1
}
