import { createCipheriv, createDecipheriv } from 'node:crypto'

import { InvalidOptionError } from './errors.ts'
import { type CodecOptions, copyKeys, MessageCodec } from './message-codec.ts'
import type { OpenedMessage, OpenOptions, SealOptions } from './message-codec.ts'
import { checkDigest, type Digest, signedData } from './message-verifier.ts'
import { fillRandom } from './random-pool.ts'

/** The keys of a message in the retired format. */
export interface LegacyKeys {
  /** 32 bytes, for AES-256-CBC; in cookies: of the salt 'encrypted cookie'. */
  key: Uint8Array
  /** For the HMAC; in cookies: 64 bytes, of the salt 'signed encrypted cookie'. */
  signKey: Uint8Array
  /** The HMAC's hash; default 'SHA1'. */
  digest?: Digest | undefined
}

export interface MessageEncryptorOptions extends CodecOptions {
  /** Keys for messages of Rails 5.1 and earlier, AES-256-CBC with an HMAC, which are read and never written. */
  legacy?: readonly LegacyKeys[] | undefined
}

/** What was sealed, and by which key. */
export interface Authentic {
  readonly bytes: Buffer
  readonly keyIndex: number
}

type GcmKey = { cipher: 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm'; key: Buffer }
type CbcKey = { key: Buffer; signKey: Buffer; digest: Digest }

// Of the message that is being sealed: the cipher copies it, and so does the text.
const nonce = Buffer.alloc(12)

// Node would take a tag of four bytes, which can be guessed.
const gcmOptions = { authTagLength: 16 }

/**
 * ActiveSupport::MessageEncryptor: values that nobody else can read or change.
 *
 *     base64(ciphertext of the JSON, or its envelope) -- base64(nonce, 12 bytes) -- base64(tag, 16 bytes)
 *
 * by AES-GCM with a random nonce, which is good for some 2^32 messages under one key.
 */
export class MessageEncryptor extends MessageCodec {
  readonly #keys: readonly GcmKey[]
  readonly #legacy: readonly CbcKey[]

  /**
   * @param keys one, or several of which the first seals and all open; of 32 bytes, or 16 or 24 for AES-128 and -192
   * @throws InvalidOptionError for an empty list, or a key of another length
   */
  constructor(keys: Uint8Array | readonly Uint8Array[], options: MessageEncryptorOptions = {}) {
    super(options)
    this.#keys = copyKeys(keys).map(gcmKey)
    this.#legacy = (options.legacy ?? []).map(cbcKey)
  }

  /** @throws TypeError for a value that has no JSON form, InvalidOptionError for an expiry beyond 9999 */
  encryptAndSign(value: unknown, options: SealOptions = {}): string {
    const { cipher: name, key } = this.#keys[0] as GcmKey
    const text = this.serialize(value, options)
    fillRandom(nonce)
    const cipher = createCipheriv(name, key, nonce)
    const data = cipher.update(text, 'utf8')
    cipher.final()
    const tag = cipher.getAuthTag()
    return `${data.toString(this.base64)}--${nonce.toString(this.base64)}--${tag.toString(this.base64)}`
  }

  /** The value, or undefined if the message is not to be believed for whatever reason. JSON's null is a value. */
  decryptAndVerify(message: string, options: OpenOptions = {}): unknown {
    return this.open(message, options)?.value
  }

  override open(message: string, options: OpenOptions = {}): OpenedMessage | undefined {
    const authentic = this.authenticate(message)
    return authentic && this.deserialize(authentic.bytes, authentic.keyIndex, options)
  }

  /** What one of the keys has sealed, whatever it is for and whether or not it has ended. */
  authenticate(message: string): Authentic | undefined {
    if (typeof message !== 'string') return undefined
    return this.#decryptGcm(message) ?? (this.#legacy.length === 0 ? undefined : this.#decryptCbc(message))
  }

  #decryptGcm(message: string): Authentic | undefined {
    // Cut from the end, where the lengths are known: the data may hold two dashes itself, in the alphabet for URLs.
    const tagAt = message.length - (this.base64 === 'base64' ? 24 : 22)
    const ivAt = tagAt - 2 - 16
    const dataEnd = ivAt - 2
    if (dataEnd < 0 || !message.startsWith('--', dataEnd) || !message.startsWith('--', tagAt - 2)) return undefined

    const data = this.decode(message.slice(0, dataEnd))
    const iv = this.decode(message.slice(ivAt, ivAt + 16))
    const tag = this.decode(message.slice(tagAt))
    if (data === undefined || iv?.length !== 12 || tag?.length !== 16) return undefined

    for (let keyIndex = 0; keyIndex < this.#keys.length; keyIndex++) {
      const bytes = decryptGcm(this.#keys[keyIndex] as GcmKey, data, iv, tag)
      if (bytes !== undefined) return { bytes, keyIndex }
    }
    return undefined
  }

  // base64( base64(ciphertext) -- base64(iv, 16 bytes) ) -- hexadecimal HMAC of the outer base64
  #decryptCbc(message: string): Authentic | undefined {
    for (const [index, key] of this.#legacy.entries()) {
      // Nothing is decrypted before it is authenticated: CBC's padding would be an oracle.
      const signed = signedData(message, key.signKey, key.digest)
      if (signed === undefined) continue

      const encrypted = this.decode(signed)?.toString('latin1') ?? ''
      const ivAt = encrypted.length - (this.base64 === 'base64' ? 24 : 22)
      if (ivAt < 2 || !encrypted.startsWith('--', ivAt - 2)) return undefined
      const data = this.decode(encrypted.slice(0, ivAt - 2))
      const iv = this.decode(encrypted.slice(ivAt))
      if (data === undefined || iv?.length !== 16) return undefined

      const bytes = decryptCbc(key, data, iv)
      return bytes && { bytes, keyIndex: this.#keys.length + index }
    }
    return undefined
  }
}

function gcmKey(key: Buffer): GcmKey {
  const bits = key.length * 8
  if (bits !== 128 && bits !== 192 && bits !== 256) {
    throw new InvalidOptionError(`keys: a key has 32 bytes (or 16, or 24), not ${key.length}`)
  }
  return { cipher: `aes-${bits}-gcm`, key }
}

function cbcKey({ key, signKey, digest }: LegacyKeys): CbcKey {
  if (key.length !== 32) throw new InvalidOptionError(`legacy: a key has 32 bytes, not ${key.length}`)
  if (signKey.length === 0) throw new InvalidOptionError('legacy: signKey is empty, and anyone could sign')
  return { key: Buffer.from(key), signKey: Buffer.from(signKey), digest: checkDigest(digest) }
}

function decryptGcm({ cipher, key }: GcmKey, data: Buffer, iv: Buffer, tag: Buffer): Buffer | undefined {
  try {
    const decipher = createDecipheriv(cipher, key, iv, gcmOptions)
    decipher.setAuthTag(tag)
    const bytes = decipher.update(data)
    decipher.final()
    return bytes
  } catch {
    return undefined
  }
}

function decryptCbc({ key }: CbcKey, data: Buffer, iv: Buffer): Buffer | undefined {
  try {
    const decipher = createDecipheriv('aes-256-cbc', key, iv)
    return Buffer.concat([decipher.update(data), decipher.final()])
  } catch {
    return undefined
  }
}
