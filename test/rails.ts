import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Owner } from './server.ts'
import { SECRET } from './session-app.ts'

/** What an application sets, under Rails' own names. */
export interface RailsSettings {
  /** Default: the secret of the tests. */
  secret_key_base?: string
  /** Secrets that `cookies_rotations` still opens. Default: none. */
  retired_secret_key_bases?: readonly string[]
  /** Default `'SHA1'`, as Rails until 6.1; from 7.0 on it is `'SHA256'`. */
  key_generator_hash_digest_class?: 'SHA1' | 'SHA256'
  /** `false` is AES-CBC with an HMAC, as Rails until 5.1. Default `true`. */
  use_authenticated_cookie_encryption?: boolean
  /** The name of the session's cookie. */
  key?: string
  /** Seconds that the session's cookie lasts. Default: the browser's session. */
  expire_after?: number
}

export interface Rails<Name extends string> {
  /** Why there is no Rails here; then there are no ports. */
  readonly missing: string | undefined
  readonly ports: Readonly<Record<Name, number>>
}

export const SESSION_KEY = '_app_session'

const DEFAULTS: RailsSettings = {
  secret_key_base: SECRET,
  key_generator_hash_digest_class: 'SHA1',
  key: SESSION_KEY,
}

/** Applications of real Rails (`test/rails`) with these settings, each on a port of its own. They end with the test. */
export async function startRails<Name extends string>(
  t: Owner,
  applications: Readonly<Record<Name, RailsSettings>>,
): Promise<Rails<Name>> {
  const settings = Object.entries<RailsSettings>(applications).map(([name, one]) => [name, { ...DEFAULTS, ...one }])
  // it ends with its standard input, so that it does not outlive a test that is killed
  const server = spawn('ruby', ['test/rails/server.rb', JSON.stringify(Object.fromEntries(settings))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => server.on('close', () => resolve()))
  t.teardown(() => {
    server.stdin.end()
    return ended
  })
  const answer = await new Promise<string>((resolve, reject) => {
    server.on('error', () => resolve('{"missing":"ruby cannot be run"}'))
    server.on('close', (code) => reject(new Error(`test/rails/server.rb ended with ${code}`)))
    createInterface({ input: server.stdout }).on('line', resolve)
  })
  const { missing, ports } = JSON.parse(answer) as { missing?: string; ports?: Record<Name, number> }
  const reason = `Ruby on Rails is not here: ${missing}. On Debian and Ubuntu: sudo apt-get install ruby-actionpack puma`
  return missing === undefined && ports !== undefined
    ? { missing: undefined, ports }
    : { missing: reason, ports: {} as Record<Name, number> }
}
