import { createHmac, timingSafeEqual } from 'node:crypto'

import { InvalidOptionError } from './errors.ts'
import { type CodecOptions, copyKeys, MessageCodec } from './message-codec.ts'
import type { OpenedMessage, OpenOptions, SealOptions } from './message-codec.ts'

export type Digest = 'SHA1' | 'SHA256' | 'SHA384' | 'SHA512'

export interface MessageVerifierOptions extends CodecOptions {
  /** The HMAC's hash; default 'SHA1', which is what Rails signs cookies with, and no weakness in an HMAC. */
  digest?: Digest | undefined
}

/**
 * ActiveSupport::MessageVerifier: values that anyone can read and nobody can change.
 *
 *     base64(JSON of the value, or its envelope) -- hexadecimal HMAC of that base64
 */
export class MessageVerifier extends MessageCodec {
  readonly #keys: readonly Buffer[]
  readonly #digest: Digest

  /**
   * @param keys one, or several of which the first signs and all verify
   * @throws InvalidOptionError for an empty key or list, or a digest that is not in the list
   */
  constructor(keys: Uint8Array | readonly Uint8Array[], options: MessageVerifierOptions = {}) {
    super(options)
    this.#keys = copyKeys(keys)
    this.#digest = checkDigest(options.digest)
  }

  /** @throws TypeError for a value that has no JSON form, InvalidOptionError for an expiry beyond 9999 */
  generate(value: unknown, options: SealOptions = {}): string {
    const data = Buffer.from(this.serialize(value, options)).toString(this.base64)
    return `${data}--${sign(data, this.#keys[0] as Buffer, this.#digest)}`
  }

  /** The value, or undefined if the message is not to be believed for whatever reason. JSON's null is a value. */
  verified(message: string, options: OpenOptions = {}): unknown {
    return this.open(message, options)?.value
  }

  override open(message: string, options: OpenOptions = {}): OpenedMessage | undefined {
    if (typeof message !== 'string') return undefined
    for (let keyIndex = 0; keyIndex < this.#keys.length; keyIndex++) {
      const data = signedData(message, this.#keys[keyIndex] as Buffer, this.#digest)
      if (data === undefined) continue
      const bytes = this.decode(data)
      return bytes && this.deserialize(bytes, keyIndex, options)
    }
    return undefined
  }
}

const hexLength: Readonly<Record<Digest, number>> = { SHA1: 40, SHA256: 64, SHA384: 96, SHA512: 128 }

/** The digest, or Rails' default. @throws InvalidOptionError for any but the four */
export function checkDigest(digest: Digest = 'SHA1'): Digest {
  if (Object.hasOwn(hexLength, digest)) return digest
  throw new InvalidOptionError(`digest: one of ${Object.keys(hexLength).join(', ')}`)
}

function sign(data: string, key: Buffer, digest: Digest): string {
  return createHmac(digest, key).update(data).digest('hex')
}

/** The text that stands before `--` and its signature, or undefined if the signature is not of this key. */
export function signedData(message: string, key: Buffer, digest: Digest): string | undefined {
  // From the end, as in Rails: the data may hold two dashes itself, in the alphabet for URLs.
  const length = message.length - hexLength[digest] - 2
  if (length < 0 || !message.startsWith('--', length)) return undefined

  const data = message.slice(0, length)
  const expected = Buffer.from(sign(data, key, digest))
  const given = Buffer.from(message.slice(length + 2))
  return given.length === expected.length && timingSafeEqual(given, expected) ? data : undefined
}
