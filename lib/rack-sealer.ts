import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto'
import { inflateSync } from 'node:zlib'
import { InvalidOptionError, SecretTooShortError } from './errors.ts'
import type { Secret } from './keyring.ts'
import { decodeBase64 } from './message-metadata.ts'
import { checkDigest, signedData, type Digest } from './message-verifier.ts'
import { parseRailsJson } from './rails-json.ts'
import { randomBytes } from './random-pool.ts'
import type { SessionData } from './session-hash.ts'
import type { OpenedSeal, Sealer } from './session-store.ts'

/** Under the names of `Rack::Session::Encryptor`'s own options. */
export interface RackSealerOptions {
  /**
   * `Rack::Session::Cookie`'s `secrets`: random, at least 64 bytes, or 32 with `mode: 'v2'`. Of a list the first seals
   * and all open.
   */
  secret: Secret
  /**
   * `'v1'` is what rack-session 2.0 and 2.1.1 know, `'v2'` came after it. Default: both are read and v2 is written, as
   * rack-session does.
   */
  mode?: 'v1' | 'v2' | undefined
  /**
   * What the cookie is sealed for; `null` for nothing. Default: the cookie's name, which is what `Rack::Session::Cookie`
   * does with its `key`; and nothing for a cookie that is called `rack.session`, which is its name where no `key` was set.
   */
  purpose?: string | null | undefined
  /** Hides the length: the content is filled up to a multiple of this many bytes, 2 to 4096, or `null` not to. Default 32. */
  padSize?: number | null | undefined
  /** Also read the cookies of Rack 2, which are signed and not encrypted. They are never written. Default: none. */
  legacy?: RackLegacyOptions | undefined
}

/** How `Rack::Session::Cookie` of Rack 2 signed, or later reads with `legacy_hmac_secret`. */
export interface RackLegacyOptions {
  /** Its `secret`, and `old_secret`: at least 32 bytes. */
  secret: Secret
  /** Its `hmac`. Default `'SHA1'`. */
  digest?: Digest | undefined
  /** Whether its `coder` was `Base64::ZipJSON`, and not `Base64::JSON`. Default `false`. */
  zip?: boolean | undefined
}

/** One version of the format, with the keys of one secret. */
interface Encryptor {
  encrypt(content: Buffer, purpose: string): string
  /** The content, once it is authenticated. */
  decrypt(bytes: Buffer, purpose: string): Buffer | undefined
}

/** Marks our end of a session among the bytes that fill up; Rack's own are random. */
const END_MARK = Buffer.from('expires:')
const END_SIZE = END_MARK.length + 6
const LAST_MOMENT = 2 ** 48 - 1

/** A cookie holds 3 KB of it. */
const MAX_INFLATED = 64 * 1024

/**
 * The encrypted cookies of `Rack::Session::Cookie` (rack-session 2, with `serialize_json: true`), read and written, for
 * `CookieStore({ sealer })`. Marshal is turned down.
 *
 * Rack's format has no end. Ours stands in the bytes that fill up, which Rack skips; when Rack itself writes the
 * session, it has none again. The time of creation is a key of the session, `_created_at`, that Rack carries along.
 *
 * @throws {SecretTooShortError}, {InvalidOptionError}
 */
export function rackSealer({ secret, mode, purpose, padSize = 32, legacy }: RackSealerOptions): Sealer {
  if (mode !== undefined && mode !== 'v1' && mode !== 'v2') {
    throw new InvalidOptionError("rackSealer({ mode }) takes 'v1' or 'v2', or nothing to read both.")
  }
  if (purpose !== undefined && purpose !== null && typeof purpose !== 'string') {
    throw new InvalidOptionError('rackSealer({ purpose }) takes a string, or null for no purpose.')
  }
  if (padSize !== null && !(Number.isInteger(padSize) && padSize >= 2 && padSize <= 4096)) {
    throw new InvalidOptionError('rackSealer({ padSize }) takes a whole number from 2 to 4096, or null not to fill up.')
  }
  const secrets = secretsOf(secret, mode === 'v2' ? 32 : 64)
  const v1 = mode === 'v2' ? [] : secrets.map(version1)
  const v2 = mode === 'v1' ? [] : secrets.map(version2)
  const newest = (mode === 'v1' ? v1[0] : v2[0]) as Encryptor
  const readLegacy = legacy && legacyReader(legacy)
  const purposeOf = (name: string): string =>
    purpose === undefined ? (name === 'rack.session' ? '' : name) : (purpose ?? '')

  return {
    seal(payload, name, expiresAt) {
      return newest.encrypt(filledUp(Buffer.from(JSON.stringify(payload)), padSize, expiresAt), purposeOf(name))
    },
    open(text, name, now) {
      const bytes = decodeEither(text)
      if (bytes !== undefined) {
        for (const [index, encryptor] of (bytes[0] === 2 ? v2 : v1).entries()) {
          const content = encryptor.decrypt(bytes, purposeOf(name))
          if (content !== undefined) return unfilled(content, now, index > 0)
        }
      }
      return readLegacy?.(text)
    },
  }
}

//     base64url( 1 | random data, 32 bytes | iv, 16 bytes | encrypted | HMAC-SHA-256, 32 bytes, of all that and the purpose )
//
// by AES-256-CTR, under a key that is the HMAC-SHA-256 of the random data.
function version1(secret: Buffer): Encryptor {
  const cipherSecret = secret.subarray(0, 32)
  const signSecret = secret.subarray(32)
  const sign = (data: Buffer, purpose: string): Buffer =>
    createHmac('sha256', signSecret).update(data).update(purpose).digest()

  return {
    encrypt(content, purpose) {
      const random = randomBytes(32)
      const iv = randomBytes(16)
      const cipher = createCipheriv('aes-256-ctr', hmac(cipherSecret, random), iv)
      const data = Buffer.concat([Buffer.of(1), random, iv, cipher.update(content), cipher.final()])
      // Rack writes this alphabet with padding, which node leaves away
      return asUrl(Buffer.concat([data, sign(data, purpose)]).toString('base64'))
    },
    decrypt(bytes, purpose) {
      const end = bytes.length - 32
      if (end < 49 || bytes[0] !== 1) return undefined
      if (!timingSafeEqual(sign(bytes.subarray(0, end), purpose), bytes.subarray(end))) return undefined
      const key = hmac(cipherSecret, bytes.subarray(1, 33))
      return createDecipheriv('aes-256-ctr', key, bytes.subarray(33, 49)).update(bytes.subarray(49, end))
    },
  }
}

//     base64( 2 | salt, 32 bytes | iv, 12 bytes | tag, 16 bytes | encrypted )
//
// by AES-256-GCM, under a key that is the HMAC-SHA-256 of the salt; authenticated with it are the version, the salt
// and the purpose. Later versions of rack-session write the alphabet for URLs, and read both; the first reads this one.
function version2(secret: Buffer): Encryptor {
  const cipherSecret = secret.subarray(0, 32)
  const authTagLength = 16

  return {
    encrypt(content, purpose) {
      const head = Buffer.concat([Buffer.of(2), randomBytes(32)])
      const iv = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', hmac(cipherSecret, head.subarray(1)), iv, { authTagLength })
      cipher.setAAD(Buffer.concat([head, Buffer.from(purpose)]))
      const encrypted = cipher.update(content)
      cipher.final()
      return Buffer.concat([head, iv, cipher.getAuthTag(), encrypted]).toString('base64')
    },
    decrypt(bytes, purpose) {
      if (bytes.length <= 61) return undefined
      try {
        const key = hmac(cipherSecret, bytes.subarray(1, 33))
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(33, 45), { authTagLength })
        decipher.setAAD(Buffer.concat([bytes.subarray(0, 33), Buffer.from(purpose)]))
        decipher.setAuthTag(bytes.subarray(45, 61))
        const content = decipher.update(bytes.subarray(61))
        decipher.final()
        return content
      } catch {
        return undefined
      }
    },
  }
}

//     how many bytes fill up, 2 bytes, the lower first | these bytes | JSON
function filledUp(json: Buffer, padSize: number | null, expiresAt: number): Buffer {
  const ends = Number.isFinite(expiresAt)
  const least = ends ? END_SIZE : 0
  const size = padSize === null ? least : least + padSize - ((2 + least + json.length) % padSize)
  const head = Buffer.alloc(2)
  head.writeUInt16LE(size)
  const filling = randomBytes(size)
  if (ends) {
    END_MARK.copy(filling)
    filling.writeUIntBE(Math.min(Math.max(Math.ceil(expiresAt), 0), LAST_MOMENT), END_MARK.length, 6)
  }
  return Buffer.concat([head, filling, json])
}

function unfilled(content: Buffer, now: number, retired: boolean): OpenedSeal | undefined {
  if (content.length < 2) return undefined
  const jsonAt = 2 + content.readUInt16LE(0)
  const filling = content.subarray(2, jsonAt)
  const ends = filling.length >= END_SIZE && filling.subarray(0, END_MARK.length).equals(END_MARK)
  const expiresAt = ends ? filling.readUIntBE(END_MARK.length, 6) : undefined
  if (expiresAt !== undefined && expiresAt <= now) return undefined
  const payload = payloadOf(content.subarray(jsonAt))
  return payload && { payload, expiresAt, retired }
}

//     base64( JSON ) -- hexadecimal HMAC of that base64
function legacyReader({ secret, digest, zip = false }: RackLegacyOptions): (text: string) => OpenedSeal | undefined {
  const secrets = secretsOf(secret, 32)
  const hash = checkDigest(digest)
  return (text) => {
    for (const key of secrets) {
      const signed = signedData(text, key, hash)
      if (signed === undefined) continue
      const bytes = decodeBase64(signed, 'base64')
      const json = bytes !== undefined && zip ? inflated(bytes) : bytes
      const payload = json && payloadOf(json)
      return payload && { payload, expiresAt: undefined, retired: true }
    }
    return undefined
  }
}

function inflated(bytes: Buffer): Buffer | undefined {
  try {
    return inflateSync(bytes, { maxOutputLength: MAX_INFLATED })
  } catch {
    return undefined
  }
}

/** What was authenticated, if it is a session in JSON. */
function payloadOf(json: Buffer): SessionData | undefined {
  try {
    const payload = parseRailsJson(json)
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return undefined
    // of a session without this time CookieStore takes the nulls away, as Rails does, and Rack does not
    return { _created_at: 0, ...payload }
  } catch {
    return undefined
  }
}

/** Base64 in one alphabet or the other, with its padding or without, and in no further spelling. */
function decodeEither(text: string): Buffer | undefined {
  const bare = text.replace(/={1,2}$/, '')
  if (bare !== text && text.length % 4 !== 0) return undefined
  const bytes = Buffer.from(bare, 'base64')
  const url = bytes.toString('base64url')
  return bare === url || (asUrl(bare) === url && !/[-_]/.test(bare)) ? bytes : undefined
}

function asUrl(base64: string): string {
  return base64.replaceAll('+', '-').replaceAll('/', '_')
}

function hmac(key: Buffer, data: Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest()
}

/** Copies, since the caller may wipe or reuse his bytes. */
function secretsOf(secret: Secret, least: number): Buffer[] {
  const list = (Array.isArray(secret) ? secret : [secret]) as readonly (string | Uint8Array)[]
  if (list.length === 0) throw new InvalidOptionError('secret is an empty list. Give it at least one secret.')
  return list.map((one) => {
    if (typeof one !== 'string' && !(one instanceof Uint8Array)) {
      throw new InvalidOptionError(`A secret must be a string or bytes, and not ${one === null ? 'null' : typeof one}.`)
    }
    const bytes = Buffer.from(one as string)
    if (bytes.length < 32) throw new SecretTooShortError(bytes.length)
    if (bytes.length < least) {
      throw new InvalidOptionError(
        `A secret of Rack must have at least ${least} bytes, and this one has ${bytes.length}; 32 are enough with mode: 'v2'.`,
      )
    }
    return bytes
  })
}
