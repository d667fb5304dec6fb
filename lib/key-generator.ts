import { pbkdf2Sync } from 'node:crypto'

import type { Digest } from './message-verifier.ts'

export interface KeyGeneratorOptions {
  /** Rounds of PBKDF2; default 1000, which is enough for a random secret and what Rails uses for cookies. */
  iterations?: number | undefined
  /** Default 'SHA256', as Rails 7.0 and later; 'SHA1' is Rails up to 6.1. */
  digest?: Digest | undefined
}

/**
 * ActiveSupport::KeyGenerator: any number of independent keys out of one secret, by PBKDF2-HMAC.
 *
 * A key takes about a millisecond to derive, so each is derived once and kept. The secret must be random
 * (`secret_key_base` is): a thousand rounds do not make a password safe.
 */
export class KeyGenerator {
  readonly #secret: string | Buffer
  readonly #iterations: number
  readonly #digest: Digest
  readonly #keys = new Map<string, Buffer>()

  constructor(secret: string | Uint8Array, { iterations = 1000, digest = 'SHA256' }: KeyGeneratorOptions = {}) {
    // A copy, since the caller may wipe or reuse his bytes.
    this.#secret = typeof secret === 'string' ? secret : Buffer.from(secret)
    this.#iterations = iterations
    this.#digest = digest
  }

  /**
   * The key that belongs to a salt, the caller's to keep or wipe.
   *
   * @param salt names what the key is for, e.g. 'authenticated encrypted cookie'; it is no secret
   * @param length in bytes; default 64
   * @throws RangeError or TypeError, from node:crypto, for a length, rounds or digest that it does not accept
   */
  generateKey(salt: string, length: number = 64): Buffer {
    const name = `${length} ${salt}`
    let key = this.#keys.get(name)
    if (key === undefined) {
      key = pbkdf2Sync(this.#secret, salt, this.#iterations, length, this.#digest)
      this.#keys.set(name, key)
    }
    return Buffer.from(key)
  }
}
