import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test, type Test } from 'tap'

/** Compiles programs that import the package, and gives back what the compiler says: nothing if it is content. */
async function compile(t: Test, files: Record<string, string>): Promise<string> {
  const root = process.cwd()
  const folder = t.testdir({
    ...files,
    'package.json': '{ "type": "module" }',
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        target: 'es2023',
        module: 'nodenext',
        strict: true,
        noEmit: true,
        allowImportingTsExtensions: true,
        noErrorTruncation: true,
        skipLibCheck: true,
        types: ['node'],
        typeRoots: [join(root, 'node_modules', '@types')],
        paths: { 'luggage-rack': [join(root, 'lib', 'index.ts')] },
      },
      include: ['*.ts'],
    }),
  })
  const tsc = join(root, 'node_modules', 'typescript', 'lib', 'tsc.js')
  return new Promise((resolve) => {
    execFile(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], { cwd: folder }, (_error, stdout, stderr) =>
      resolve(stdout + stderr),
    )
  })
}

test('the error for a session without cookies above it names what is missing', async (t) => {
  const said = await compile(t, {
    'a.ts': `
      import { Builder, session } from 'luggage-rack'
      new Builder().use(session())
    `,
  })
  t.match(said, /^a\.ts\(3,25\): error TS2345: .*"needs, above it, the layer that adds req\.cookies"/m)
  t.equal(said.match(/error TS/g)?.length, 1, said)
})

test('the error names each of several properties, and one that is there as something else', async (t) => {
  const said = await compile(t, {
    'a.ts': `
      import { Builder, cookies, type Middleware } from 'luggage-rack'
      declare const both: Middleware<unknown, { user: string; tenant: string }>
      new Builder().use(both)
    `,
    'b.ts': `
      import { Builder, cookies, type Middleware } from 'luggage-rack'
      declare const other: Middleware<unknown, { cookies: number }>
      new Builder().use(cookies()).use(other)
    `,
  })
  t.match(said, /^a\.ts.*the layer that adds req\.user"/m)
  t.match(said, /^a\.ts.*the layer that adds req\.tenant"/m)
  t.match(said, /^b\.ts.*the layer that adds req\.cookies"/m)
})

test('a controller in another file is typed by RequestOf, without annotations in the stack', async (t) => {
  const stack = `
    import { Builder, cookies, session } from 'luggage-rack'
    export const stack = new Builder().use(cookies()).use(session<{ visits: number }>())
  `
  const controller = `
    import type { RackResponse, RequestOf } from 'luggage-rack'
    import type { stack } from './stack.ts'
    export async function home(req: RequestOf<typeof stack>): Promise<RackResponse> {
      const session = await req.session
      const visits: number | undefined = session.visits
      return [200, {}, \`visit \${visits}\`]
    }
  `
  const server = `
    import { createServer } from 'node:http'
    import { toListener } from 'luggage-rack'
    import { stack } from './stack.ts'
    import { home } from './controller.ts'
    createServer(toListener(stack.run(home)))
  `
  t.equal(await compile(t, { 'stack.ts': stack, 'controller.ts': controller, 'server.ts': server }), '')
})
