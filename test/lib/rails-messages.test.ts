import { isDeepStrictEqual } from 'node:util'
import { test } from 'tap'

import { KeyGenerator } from '../../lib/key-generator.ts'
import { MessageEncryptor } from '../../lib/message-encryptor.ts'
import { wrap } from '../../lib/message-metadata.ts'
import { MessageVerifier } from '../../lib/message-verifier.ts'
import type { Digest } from '../../lib/message-verifier.ts'
import { railsJson } from '../../lib/rails-json.ts'
import { type Vector, type VectorConfig, vectorFiles } from '../vectors.ts'

// Where we cannot or will not do as Rails did. Nothing else may differ.
const exceptions: {
  about: 'read' | 'write'
  reason: string
  when: (vector: Vector, config?: VectorConfig) => boolean
}[] = [
  {
    about: 'read',
    reason: 'verified() of Rails 6.1 gives nil for a value of false',
    when: ({ rails, kind, value_json }) =>
      rails.startsWith('6.1') && kind === 'message-signed' && /^(\\?")?false/.test(JSON.parse(value_json ?? '') + ''),
  },
  {
    about: 'read',
    reason: 'Rails 6.1 takes an object for an envelope wherever the key _rails stands in it',
    when: ({ rails, label }) => rails.startsWith('6.1') && label.endsWith('-nometa-key-b: rails-key'),
  },
  {
    about: 'write',
    reason: "JavaScript's numbers: 3.0 is 3, and integers beyond 2^53 are rounded",
    when: ({ label }) => /: (integral float|big integer)$/.test(label),
  },
  {
    about: 'write',
    reason: 'Rails was told not to escape HTML in JSON, or its serializer was plain Ruby JSON',
    when: ({ label, serializer }, config) =>
      (serializer === 'JSON' || config?.escape_html_entities_in_json === false) && /html|: hash$/.test(label),
  },
  {
    about: 'write',
    reason: 'Rails writes a value that begins like an envelope bare, and cannot read it back; ours gets an envelope',
    when: ({ label }) => label.endsWith('-nometa: rails key'),
  },
]

function excepted(about: 'read' | 'write', vector: Vector, config?: VectorConfig): boolean {
  return exceptions.some((exception) => exception.about === about && exception.when(vector, config))
}

// A salt's key takes a millisecond and there are thousands of vectors.
const generators = new Map<string, KeyGenerator>()

function keyGenerator(secret: string, iterations: number, digest: Digest): KeyGenerator {
  const name = `${iterations} ${digest} ${secret}`
  const known = generators.get(name) ?? new KeyGenerator(secret, { iterations, digest })
  generators.set(name, known)
  return known
}

function keysOf({ secret_key_base, key_iterations, key_digest }: VectorConfig): KeyGenerator {
  return keyGenerator(secret_key_base, key_iterations, key_digest)
}

function cookieEncryptor(config: VectorConfig, requirePurpose: boolean): MessageEncryptor {
  const keys = keysOf(config)
  const length = config.effective_cipher === 'aes-128-gcm' ? 16 : 32
  const key = keys.generateKey(config.encrypted_cookie_salt, 32)
  const signKey = keys.generateKey(config.encrypted_signed_cookie_salt)
  return new MessageEncryptor(keys.generateKey(config.authenticated_encrypted_cookie_salt, length), {
    requirePurpose,
    legacy: [{ key, signKey }],
  })
}

function cookieVerifier(config: VectorConfig, requirePurpose: boolean): MessageVerifier {
  const digest = config.signed_cookie_digest ?? undefined
  return new MessageVerifier(keysOf(config).generateKey(config.signed_cookie_salt), { digest, requirePurpose })
}

function configOf(configs: Record<string, VectorConfig>, vector: Vector): VectorConfig {
  const config = configs[vector.config ?? '']
  if (config === undefined) throw new Error(`${vector.id} names a config that is not there`)
  return config
}

// What was sealed, taken apart: the value's JSON and the expiry beside it.
function insideOf(plaintext: string): { json: string; expiresAt: number | undefined } {
  if (!plaintext.startsWith('{"_rails":{"message":"')) return { json: plaintext, expiresAt: undefined }
  const { message, exp } = (JSON.parse(plaintext) as { _rails: { message: string; exp: string | null } })._rails
  return { json: Buffer.from(message, 'base64').toString(), expiresAt: exp === null ? undefined : Date.parse(exp) }
}

function time(text: string | undefined): number {
  return Date.parse(text ?? '')
}

test('derives the keys that Rails derives', async (t) => {
  for (const { version, vectors } of vectorFiles(['keys'])) {
    const wrong = vectors.filter((vector) => {
      const keys = keyGenerator(vector['secret'] as string, vector['iterations'] as number, vector.digest ?? 'SHA1')
      const length = (vector['length_asked'] as number | null) ?? undefined
      return keys.generateKey(vector['salt'] as string, length).toString('hex') !== vector['key_hex']
    })
    t.same(
      wrong.map(({ id }) => id),
      [],
      `Rails ${version}, ${vectors.length} keys`,
    )
  }

  for (const { version, category, configs } of vectorFiles(['session', 'session-cbc', 'encrypted', 'signed'])) {
    const wrong = Object.values(configs).flatMap((config) =>
      Object.entries(config.derived_keys_hex).filter(
        ([salt, hex]) =>
          keysOf(config)
            .generateKey(salt, hex.length / 2)
            .toString('hex') !== hex,
      ),
    )
    t.same(wrong, [], `Rails ${version}, settings of ${category}`)
  }
})

test('opens the encrypted cookies of Rails, and seals the same text', async (t) => {
  for (const { version, category, configs, vectors } of vectorFiles(['session', 'session-cbc', 'encrypted'])) {
    const written = vectors.filter(
      ({ cookie_value, plaintext }) => cookie_value !== undefined && plaintext !== undefined,
    )
    const wrong = written.filter((vector) => {
      const config = configOf(configs, vector)
      const cookie = vector.cookie_value ?? ''
      const now = time(vector.generated_at)
      const purpose = vector.purpose ?? undefined
      const opened = cookieEncryptor(config, true).open(cookie, { purpose, now })
      const underName = cookieEncryptor(config, false).open(cookie, { purpose: `cookie.${vector.cookie_name}`, now })
      const otherwise = cookieEncryptor(config, purpose !== undefined).open(cookie, { purpose: 'cookie.x', now })

      if (excepted('read', vector)) return false
      const expected = vector.session_json ?? vector.value_json ?? undefined
      if (config.cookies_serializer === 'marshal' || expected === undefined) {
        return opened !== undefined || underName !== undefined
      }
      if (!isDeepStrictEqual(opened?.value, JSON.parse(expected))) return true
      if (!isDeepStrictEqual(opened, underName)) return true
      if ((otherwise === undefined) !== (purpose !== undefined)) return true
      if ((opened?.keyIndex === 1) !== (config.effective_cipher === 'aes-256-cbc')) return true

      const encryptor = cookieEncryptor(config, true)
      const { json, expiresAt } = insideOf(vector.plaintext ?? '')
      if (opened?.expiresAt !== expiresAt) return true
      const again = encryptor.encryptAndSign(opened?.value, { purpose, expiresAt })
      // As text, since JSON.stringify writes -0 as 0.
      const reopened = encryptor.open(again, { purpose, now })
      if (JSON.stringify(reopened) !== JSON.stringify({ ...opened, keyIndex: 0 })) return true

      // The bytes can only be the same where JavaScript writes this JSON as Ruby does: numbers, order of keys.
      return (
        json === railsJson(opened?.value) && wrap(opened?.value, 'message', purpose, expiresAt) !== vector.plaintext
      )
    })
    t.same(
      wrong.map(({ id, label }) => `${id} ${label}`),
      [],
      `Rails ${version}, ${category}: ${written.length}`,
    )
  }
})

test('verifies the signed cookies of Rails, and signs the same bytes', async (t) => {
  for (const { version, configs, vectors } of vectorFiles(['signed'])) {
    const written = vectors.filter(({ cookie_value }) => cookie_value !== undefined)
    const wrong = written.filter((vector) => {
      const config = configOf(configs, vector)
      const cookie = vector.cookie_value ?? ''
      const now = time(vector.generated_at)
      const purpose = vector.purpose ?? undefined
      const opened = cookieVerifier(config, true).open(cookie, { purpose, now })
      const underName = cookieVerifier(config, false).open(cookie, { purpose: `cookie.${vector.cookie_name}`, now })

      const expected = vector.value_json ?? undefined
      if (expected === undefined ? opened !== undefined : !isDeepStrictEqual(opened?.value, JSON.parse(expected)))
        return true
      if (!isDeepStrictEqual(opened, underName)) return true

      if (excepted('write', vector, config)) return false
      const { json, expiresAt } = insideOf(vector.plaintext ?? '')
      return cookieVerifier(config, true).generate(JSON.parse(json), { purpose, expiresAt }) !== cookie
    })
    t.same(
      wrong.map(({ id, label }) => `${id} ${label}`),
      [],
      `Rails ${version}: ${written.length}`,
    )
  }
})

interface MessageVector extends Vector {
  key_hex: string
  sign_key_hex: string
  message: string
  serializer: string
  url_safe: boolean
  use_message_serializer_for_metadata: boolean | null
  force_legacy_metadata_serializer: boolean
  metadata: { purpose?: string; expires_at?: string; expires_in?: number }
  /** Without `value_json` Rails accepted the message, and what recorded this could not print its bytes. */
  checks: { purpose: string | null; now: string; value_json?: string }[]
}

test('messages outside cookies are as those of Rails', async (t) => {
  for (const { version, vectors } of vectorFiles(['message'])) {
    const wrong = (vectors as MessageVector[]).filter((vector) => {
      const raw = vector.serializer === 'NullSerializer'
      const options = {
        urlSafe: vector.url_safe,
        envelope: formOf(vector),
        digest: vector.digest,
        clock: () => time(vector.generated_at),
      }
      const key = Buffer.from(vector.key_hex, 'hex')
      const signKey = Buffer.from(vector.sign_key_hex ?? '', 'hex')
      const codec =
        vector.kind === 'message-signed'
          ? new MessageVerifier(key, options)
          : new MessageEncryptor(
              key,
              vector['cipher'] === 'aes-256-cbc' ? { ...options, legacy: [{ key, signKey }] } : options,
            )

      // A raw serializer's value is the JSON text that ours has for its own. "null" stands for a refusal as well.
      const valueOf = (json: string) => (raw ? (JSON.parse(json) as string | null) : json)
      for (const check of vector.checks) {
        const opened = codec.open(vector.message, { purpose: check.purpose ?? undefined, now: time(check.now) })
        const expected = valueOf(check.value_json ?? vector.value_json ?? '')
        const same =
          expected === null || expected === 'null'
            ? opened === undefined || (opened.value === null && valueOf(vector.value_json ?? '') === 'null')
            : isDeepStrictEqual(opened?.value, JSON.parse(expected))
        if (!same && !excepted('read', vector)) return true
      }

      const value = JSON.parse(valueOf(vector.value_json ?? '') ?? '') as unknown
      const { purpose, expires_at, expires_in } = vector.metadata
      const metadata = {
        purpose,
        expiresAt: expires_at === undefined ? undefined : new Date(expires_at),
        expiresIn: expires_in,
      }
      if (excepted('write', vector)) return false
      if (codec instanceof MessageVerifier) return codec.generate(value, metadata) !== vector.message
      const now = time(vector.generated_at)
      const again = codec.open(codec.encryptAndSign(value, metadata), { purpose, now })
      const original = codec.open(vector.message, { purpose, now })
      return !isDeepStrictEqual(again, original && { ...original, keyIndex: 0 })
    })
    t.same(
      wrong.map(({ id, label }) => `${id} ${label}`),
      [],
      `Rails ${version}: ${vectors.length}`,
    )
  }
})

function formOf(vector: MessageVector): 'message' | 'data' {
  const { serializer, use_message_serializer_for_metadata: wanted, force_legacy_metadata_serializer: never } = vector
  return wanted && !never && serializer !== 'NullSerializer' ? 'data' : 'message'
}
