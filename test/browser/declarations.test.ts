import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'

/** Compiles a program of a page against what was built, and gives back what the compiler says: nothing if it is content. */
function compile(t: Test, program: string, lib: readonly string[]): Promise<string> {
  const root = process.cwd()
  const folder = t.testdir({
    'program.ts': program,
    'package.json': '{ "type": "module" }',
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        target: 'es2022',
        module: 'nodenext',
        lib,
        types: [],
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        // the declarations themselves are checked
        skipLibCheck: false,
        noEmit: true,
        paths: { 'luggage-rack/browser': [join(root, 'build', 'browser', 'index.d.ts')] },
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

const everything = `
  import {
    AuthError, AuthService, getTokenExpirationDate, isTokenExpired, lockrStorage, memoryStorage,
    type AuthEvent, type AuthFailure, type AuthServiceOptions, type Claims, type Lockr, type Page, type TokenStorage,
  } from 'luggage-rack/browser'

  export function all(page: Page, lockr: Lockr, event: AuthEvent, options: AuthServiceOptions): void {
    const storages: TokenStorage[] = [memoryStorage(), lockrStorage(lockr), page.localStorage]
    for (const storage of storages) new AuthService({ ...options, page, storage, redirectUri: undefined })
    const auth = new AuthService(options)
    const off: () => void = auth.on(event, () => {})
    const token: string | null = auth.getToken()
    const date: Date | null = getTokenExpirationDate(token ?? '')
    const expired: boolean = isTokenExpired(token ?? '') || isTokenExpired(token ?? '', 60)
    const profile: Claims | null = auth.getProfile()
    const name: string | undefined = profile?.name
    const own: unknown = profile?.['https://app.example/roles']
    auth.handleCallback().then(
      (back) => { const path: string | undefined = back?.returnTo; return path },
      (error: unknown) => {
        if (!(error instanceof AuthError)) throw error
        const reason: AuthFailure = error.reason
        if (reason === 'access_denied') return
      },
    )
    off()
    auth.close()
    export_(date, expired, name, own)
  }
  declare function export_(...values: readonly unknown[]): void
`

test('the declarations need neither the types of the DOM nor those of Node', async (t) => {
  t.equal(await compile(t, everything, ['es2022']), '')
})

test('with the types of the DOM they stay the same', async (t) => {
  t.equal(await compile(t, everything, ['es2022', 'dom']), '')
})

test('what browsers have fits without a cast', async (t) => {
  const program = `
    import { AuthService, type Page, type TokenStorage } from 'luggage-rack/browser'
    export const pages: Page[] = [window, self, globalThis.window]
    export const storages: TokenStorage[] = [localStorage, sessionStorage, window.localStorage]
    new AuthService({ issuer: 'https://id.example', clientId: 'app', storage: sessionStorage, page: window })
  `
  t.equal(await compile(t, program, ['es2022', 'dom']), '')
})

test('what does not fit is an error of the compiler', async (t) => {
  const program = `
    import { AuthService } from 'luggage-rack/browser'
    new AuthService({ clientId: 'app' })
    const auth = new AuthService({ issuer: 'https://id.example', clientId: 'app', storage: 'localStorage' })
    auth.on('signedIn', () => {})
    auth.getToken().length
    auth.login({ returnTo: 7 })
    auth.getProfile()?.roles.length
    auth.setToken(null)
    new AuthService({ issuer: 'https://id.example', clientId: 'app', clientSecret: 'a' })
  `
  const said = await compile(t, program, ['es2022'])
  t.strictSame(
    [...said.matchAll(/^program\.ts\((\d+)/gm)].map(([, line]) => Number(line)),
    [3, 4, 5, 6, 7, 8, 9, 10],
    said,
  )
})

test('a page loads the modules of the folder, and jwt-decode beside them', (t) => {
  const folder = join('build', 'browser')
  const files = readdirSync(folder).filter((name) => name.endsWith('.js'))
  t.ok(files.includes('index.js'))
  const imported = files.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(/\bfrom '([^']+)'/g)].map(([, from = '']) => from),
  )
  t.strictSame(
    imported.filter((from) => !files.includes(from.replace('./', ''))),
    ['jwt-decode'],
  )
  t.end()
})
