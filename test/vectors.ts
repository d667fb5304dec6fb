import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { CookiesOptions } from '../lib/index.ts'

/** Rails' settings behind a vector, under Rails' own names. */
export interface VectorConfig {
  secret_key_base: string
  key_digest: 'SHA1' | 'SHA256'
  key_iterations: number
  signed_cookie_salt: string
  encrypted_cookie_salt: string
  encrypted_signed_cookie_salt: string
  authenticated_encrypted_cookie_salt: string
  use_authenticated_cookie_encryption: boolean
  use_cookies_with_metadata: boolean
  signed_cookie_digest: 'SHA1' | 'SHA256' | 'SHA384' | 'SHA512' | null
  cookies_serializer: 'json' | 'hybrid' | 'marshal'
  escape_html_entities_in_json: boolean
  escape_js_separators_in_json: boolean
  same_site: string | null
  cookie_name: string
  effective_cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'aes-256-cbc'
  /** Salt → the key that Rails derived. */
  derived_keys_hex: Record<string, string>
}

/** What Rails made of a cookie. Without `accepted`, and without an error, it went on with an empty session. */
export interface VectorExpectation {
  accepted: boolean
  session_json?: string | null
  session?: Record<string, unknown> | null
  value_json?: string | null
  error: string | null
  sends_cookie_back?: boolean
}

/** A vector has the fields of its kind. `value_json` and the like are exact text, `value` a parsed copy. */
export interface Vector {
  id: string
  rails: string
  kind: string
  label: string
  config?: string
  written_with?: string
  cookie_name?: string
  /** ISO 8601. */
  now?: string
  generated_at?: string
  clock_frozen?: boolean
  cookie_header?: string
  cookie_value?: string
  set_cookie?: string | null
  set_cookies?: string[]
  purpose?: string | null
  plaintext?: string
  session_options?: { expire_after?: number }
  session_json?: string | null
  session?: Record<string, unknown> | null
  value?: unknown
  value_json?: string | null
  digest?: 'SHA1' | 'SHA256' | 'SHA384' | 'SHA512'
  expect?: VectorExpectation
  all_versions_agree?: boolean
  [field: string]: unknown
}

export interface VectorFile {
  version: string
  category: string
  /** What a whole application's settings came to. */
  env_config: Record<string, unknown>
  configs: Record<string, VectorConfig>
  vectors: Vector[]
}

/** The settings that a vector was made with. */
export function configOf(configs: Record<string, VectorConfig>, { id, config }: Vector): VectorConfig {
  const found = configs[config ?? '']
  if (found === undefined) throw new Error(`${id} names a config that is not there`)
  return found
}

/** Rails' settings as options of `cookies()`. */
export function railsOptions(config: VectorConfig): CookiesOptions {
  return {
    secret: config.secret_key_base,
    keyDigest: config.key_digest,
    keyIterations: config.key_iterations,
    salts: {
      encrypted: config.authenticated_encrypted_cookie_salt,
      signed: config.signed_cookie_salt,
      ...(config.encrypted_signed_cookie_salt !== null && {
        legacyEncrypted: config.encrypted_cookie_salt,
        legacySigned: config.encrypted_signed_cookie_salt,
      }),
    },
    // without these salts Rails does not read the retired format
    legacy: config.encrypted_signed_cookie_salt !== null,
  }
}

const folder = process.env['LUGGAGE_RACK_VECTORS'] || join(packageRoot(import.meta.dirname), 'test', 'vectors')

/** The files of these categories, or of all, of every version of Rails that is there. */
export function vectorFiles(categories?: string[]): VectorFile[] {
  const files: VectorFile[] = []
  for (const name of readdirSync(folder).toSorted()) {
    const [, version, category] = /^rails-([\d.]+)-(.+)\.json$/.exec(name) ?? []
    if (version === undefined || category === undefined || categories?.includes(category) === false) continue
    const { env_config, configs, vectors } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as VectorFile
    files.push({ version, category, env_config, configs, vectors })
  }
  return files
}

// Tests run compiled, from a folder below the one that holds the sources and the vectors.
function packageRoot(from: string): string {
  for (let at = from; at !== dirname(at); at = dirname(at)) {
    if (readdirSync(at).includes('package.json')) return at
  }
  throw new Error(`no package.json above ${from}`)
}
