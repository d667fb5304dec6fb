// The server of the pages that keep their session in the browser. It gives files and knows nobody: the page signs in at
// the provider by itself, as a public client, which has no secret and is known by its registered address.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Builder, type Middleware, type RackHeaders } from 'luggage-rack'
import { serve, type Start } from '../example.ts'

/** The root of the repository, as seen from where this file is compiled to. */
const ROOT = new URL('../../../', import.meta.url)

const CLIENT_ID = 'spa'

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
}

export interface File {
  readonly type: string
  readonly text: string
}

/** The page of one of the folders. It is at `/`, which is its registered address. */
export function startPage(name: 'plain' | 'jquery' | 'jquery-lockr' | 'react'): Start {
  return async ({ port, startProvider }) => {
    const html = file(`examples/spa/${name}/page.html`)
    const script =
      name === 'react' ? await bundle(`examples/spa/${name}/page.jsx`) : file(`examples/spa/${name}/page.js`)
    const url = `http://localhost:${port}`
    const provider = await startProvider({
      clients: [
        {
          client_id: CLIENT_ID,
          token_endpoint_auth_method: 'none',
          redirect_uris: [`${url}/`],
          post_logout_redirect_uris: [`${url}/`],
        },
      ],
    })
    const settings = { issuer: provider.issuer, clientId: CLIENT_ID }
    const layer = files(
      {
        ...modules(),
        '/': html,
        '/page.js': script,
        '/page.css': file('examples/spa/page.css'),
        '/settings.js': { type: 'js', text: `export const { issuer, clientId } = ${JSON.stringify(settings)}\n` },
        '/jquery.js': file('node_modules/jquery/dist/jquery.min.js'),
        '/lockr.js': file('node_modules/lockr/lockr.min.js'),
      },
      // an import map is a script, though not one that can be loaded
      `script-src 'self' ${hashOfImportMap(html.text)}; connect-src ${provider.issuer}; form-action 'none'`,
    )
    return serve(new Builder().use(layer).run(notFound), port, provider)
  }
}

/** A layer that gives files by their paths. `policy`: what their pages may besides showing styles of this server. */
export function files(table: Readonly<Record<string, File>>, policy: string): Middleware {
  const headers: RackHeaders = {
    'content-security-policy': `default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; ${policy}`,
    'cache-control': 'no-cache',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  }
  return (app) => (req) => {
    const [path = ''] = (req.url ?? '').split('?')
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    const found = isRead && Object.hasOwn(table, path) ? table[path] : undefined
    return found === undefined ? app(req) : [200, { ...headers, 'content-type': TYPES[found.type] }, found.text]
  }
}

/** A file of this repository, by its path from the root. */
export function file(path: string): File {
  return { type: path.slice(path.lastIndexOf('.') + 1), text: readFileSync(new URL(path, ROOT), 'utf8') }
}

export const notFound = (): readonly [number, RackHeaders, string] => [
  404,
  { 'content-type': 'text/plain; charset=utf-8' },
  'There is no such page.\n',
]

/** luggage-rack/browser as it was built, and the one package that it imports. */
function modules(): Record<string, File> {
  const folder = 'build/browser/'
  const names = readdirSync(new URL(folder, ROOT)).filter((name) => name.endsWith('.js'))
  return {
    ...Object.fromEntries(names.map((name) => [`/luggage-rack/${name}`, file(folder + name)])),
    '/jwt-decode.js': file('node_modules/jwt-decode/build/esm/index.js'),
  }
}

/** React and the page in one file. What the server has anyway, or only it knows, stays outside. */
async function bundle(path: string): Promise<File> {
  const { build } = await import('esbuild')
  const { outputFiles } = await build({
    entryPoints: [path],
    absWorkingDir: fileURLToPath(ROOT),
    external: ['luggage-rack/browser', './settings.js'],
    define: { 'process.env.NODE_ENV': '"production"' },
    bundle: true,
    minify: true,
    format: 'esm',
    jsx: 'automatic',
    write: false,
  })
  return { type: 'js', text: outputFiles[0]?.text ?? '' }
}

function hashOfImportMap(html: string): string {
  const [, map = ''] = /<script type="importmap">([^]*?)<\/script>/.exec(html) ?? []
  return `'sha256-${createHash('sha256').update(map).digest('base64')}'`
}
