import { test } from 'tap'
import { cookies, type App } from '../../lib/index.ts'
import { ask, serve, type Owner } from '../server.ts'
import { vectorFiles, type Vector, type VectorConfig, type VectorFile } from '../vectors.ts'

type Kind = 'signed' | 'encrypted'

// Where we do not as Rails did, by the end of the label. Nothing else may differ.
const exceptions: { reason: string; labels: RegExp; versions?: RegExp }[] = [
  { reason: "Ruby's JSON reader takes comments", labels: /inner with (comments|a comment inside)$/ },
  { reason: "Ruby's JSON reader knows escapes that are none", labels: /inner invalid escape$/ },
  { reason: 'from version 3 on it turns down duplicate keys', labels: /inner duplicate (keys|session_id)$/ },
  { reason: 'Rails 8.2 reads MessagePack as well', labels: /inner MessagePack-like bytes$/, versions: /^8/ },
  {
    reason: 'Rails 8.2 reads base64 in any form inside an envelope; ours has one spelling',
    labels: /envelope message (unpadded|url-safe) base64$/,
    versions: /^8/,
  },
  {
    reason: 'Rails 6.1 takes an object for an envelope wherever the key _rails stands in it',
    labels:
      /crafted: (_rails \w+( object)?|new envelope .*|envelope (keys in order|with a space|and a further|without message).*|session whose user data .*)$/,
    versions: /^6/,
  },
  {
    reason: 'Rails 6.1 takes an expiry of false for one that is over',
    labels: /envelope exp false$/,
    versions: /^6/,
  },
  {
    reason: 'Rails 6.1 ignores what follows after the last part',
    labels:
      /tampered.*: parts: (separator at the end|one more at the end|twice the whole|a copy of the tag at the end)$/,
    versions: /^6/,
  },
  { reason: 'node:http answers 431 to a header of over 16 KB', labels: /tampered: very long$/ },
]

function isExcepted({ label, rails, expect }: Vector): boolean {
  // what recorded this could not print what Rails read: Infinity, bytes that are no text
  if (expect?.accepted === true && typeof expect.value_json !== 'string') return true
  return exceptions.some(({ labels, versions = /./ }) => labels.test(label) && versions.test(rails))
}

/** Serves a stack for each of Rails' settings, and gives a function that sends a vector's cookie and reads the jar. */
async function railsJar(
  t: Owner,
  kind: Kind,
  files: VectorFile[],
): Promise<(file: VectorFile, vector: Vector) => Promise<string>> {
  let now = 0
  const stacks = new Map<string, App>()
  for (const { version, configs } of files) {
    for (const [name, config] of Object.entries(configs)) {
      if (isUsable(config))
        stacks.set(
          `${version} ${name}`,
          stackOf(kind, config, () => now),
        )
    }
  }
  const { port } = await serve(t, (req) => stacks.get(String(req.headers['x-stack']))?.(req) ?? [404, {}, ''])

  return async ({ version }, vector) => {
    now = Date.parse(vector.now ?? vector.generated_at ?? '')
    const name = vector.cookie_name ?? ''
    const cookie = vector.cookie_header ?? `${name}=${String(vector['cookie_value_escaped'])}`
    const headers = { cookie, 'x-stack': `${version} ${vector.config}`, 'x-name': name }
    const { status, body } = await ask(port, '/', { headers })
    return status === 200 ? body : `status ${status}`
  }
}

function stackOf(kind: Kind, config: VectorConfig, clock: () => number): App {
  const jar = cookies({
    secret: config.secret_key_base,
    keyDigest: config.key_digest,
    keyIterations: config.key_iterations,
    signedDigest: config.signed_cookie_digest ?? 'SHA1',
    salts: {
      signed: config.signed_cookie_salt,
      encrypted: config.authenticated_encrypted_cookie_salt,
      legacyEncrypted: config.encrypted_cookie_salt,
      legacySigned: config.encrypted_signed_cookie_salt,
    },
    requirePurpose: false,
    legacy: true,
    clock,
  })
  // what Rails refuses and what it reads as nil are both null in the vectors
  return jar((req) => [200, {}, JSON.stringify(req.cookies[kind].get(String(req.headers['x-name'])) ?? null)])
}

// Our jar takes no secret that can be guessed, and no other cipher.
function isUsable({ secret_key_base, effective_cipher }: VectorConfig): boolean {
  return secret_key_base.length >= 32 && effective_cipher !== 'aes-128-gcm'
}

// As text, in the way that JavaScript writes numbers.
function rewrite(json: string): string {
  return JSON.stringify(JSON.parse(json))
}

for (const kind of ['signed', 'encrypted'] as const) {
  test(`cookies.${kind} reads what Rails reads, and nothing else`, async (t) => {
    const files = vectorFiles([`${kind}-read`])
    t.ok(files.length > 0)
    const read = await railsJar(t, kind, files)
    for (const file of files) {
      const wrong: string[] = []
      for (const vector of file.vectors.filter((one) => !isExcepted(one))) {
        const body = await read(file, vector)
        const { accepted, value_json } = vector.expect ?? {}
        if (body !== (accepted === true ? rewrite(value_json ?? '') : 'null')) wrong.push(`${vector.label}: ${body}`)
      }
      t.same(wrong, [], `Rails ${file.version}, ${file.vectors.length} cookies`)
    }
  })

  test(`cookies.${kind} reads what Rails writes`, async (t) => {
    const files = vectorFiles([kind])
    t.ok(files.length > 0)
    const read = await railsJar(t, kind, files)
    for (const file of files) {
      const wrong: string[] = []
      for (const vector of file.vectors) {
        const config = file.configs[vector.config ?? ''] as VectorConfig
        if (!isUsable(config)) continue
        // Marshal, Ruby's own format, is turned down: to read it is to run code
        const expected = config.cookies_serializer === 'marshal' ? 'null' : rewrite(vector.value_json ?? 'null')
        const body = await read(file, vector)
        if (body !== expected) wrong.push(`${vector.label}: ${body}`)
      }
      t.same(wrong, [], `Rails ${file.version}, ${file.vectors.length} cookies`)
    }
  })
}
