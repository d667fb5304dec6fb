import { test } from 'tap'
import { ask } from '../server.ts'
import { fail, freePort, start } from './program.ts'

test('npm run example starts an example with its provider, and says where and how to sign in', async (t) => {
  const program = await start(t, 'run', { args: ['spa/plain'], env: { PORT: await freePort() } })
  t.match(program.output(), `spa/plain is at ${program.url} (Ctrl+C ends it)\n`)
  await t.resolves(
    sees(
      program.output,
      /^Sign in as ada \/ lovelace or as grace \/ hopper or as charles \/ babbage\. The provider is at .+\n/m,
    ),
  )
  const [, port] = /The provider is at http:\/\/127\.0\.0\.1:(\d+)$/m.exec(program.output()) ?? []
  t.equal((await ask(program.port, '/')).status, 200)
  t.equal((await ask(Number(port), '/.well-known/openid-configuration')).status, 200)

  const second = await fail('run', { args: ['spa/server-session', '--port', String(program.port)] })
  t.equal(second.code, 1)
  t.match(second.output, `Port ${program.port} is taken. Choose another one, for example: npm run example spa/server`)
  t.equal(await program.end('SIGINT'), 0, 'both end')
})

test('npm run example without an example, or with one that there is not, lists them', async (t) => {
  for (const args of [[], ['spa/angular'], ['toString']]) {
    const { code, output } = await fail('run', { args })
    t.equal(code, 1)
    t.match(output, /There is no example "\w*(\/\w+)?". Choose one of: auth, spa\/plain, .*spa\/server-session\n/)
  }
  t.match((await fail('run', { args: ['spa/plain', '--port', '0'] })).output, 'There is no port 0. Choose one')
})

/** Waits until a program has printed something. */
async function sees(output: () => string, pattern: RegExp): Promise<void> {
  while (!pattern.test(output())) await new Promise((resolve) => setImmediate(resolve))
}
