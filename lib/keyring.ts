import type { RefusalReason } from './channels.ts'
import { decodeSealed } from './cookie-value.ts'
import { InvalidOptionError, SecretMissingError, SecretTooShortError } from './errors.ts'
import { KeyGenerator } from './key-generator.ts'
import type { OpenedMessage, OpenOptions } from './message-codec.ts'
import { MessageEncryptor } from './message-encryptor.ts'
import { purposeIn } from './message-metadata.ts'
import { checkDigest, MessageVerifier } from './message-verifier.ts'
import { OpenedCookies } from './opened-cookies.ts'
import type { SessionData } from './session-hash.ts'
import type { OpenedSeal, Sealer } from './session-store.ts'

/** A secret, or several of which the first seals and all open. */
export type Secret = string | Uint8Array | readonly (string | Uint8Array)[]

/** How keys are made of secrets, and messages of keys. The defaults are Rails' from 7.1 on. */
export interface KeyringOptions {
  /**
   * Rails' `secret_key_base`: at least 32 characters (bytes). Of a list the first seals and all open, so that
   * a new secret can be put in front and the old one retired later.
   */
  secret?: Secret | undefined
  /** Hash of the key derivation: `'SHA256'` (default, Rails 7.0 and later) or `'SHA1'` (until 6.1). */
  keyDigest?: 'SHA256' | 'SHA1' | undefined
  /** Rounds of the key derivation (PBKDF2). Default 1000, as Rails. The secret is random, so more would not help. */
  keyIterations?: number | undefined
  /** HMAC of signed cookies: `'SHA1'` (default, Rails' own unless configured) or another. */
  signedDigest?: 'SHA1' | 'SHA256' | 'SHA384' | 'SHA512' | undefined
  /** Salts of the keys, for applications that changed Rails' own. */
  salts?: Partial<typeof SALTS> | undefined
  /**
   * Whether a sealed cookie must have been made for its own name. Default `true`. `false` accepts, as Rails
   * does, cookies that name no purpose under any name: those of Rails 5.1 and earlier, or written without metadata.
   */
  requirePurpose?: boolean | undefined
  /** Also read Rails 5.1's AES-CBC cookies. They are never written. Default `false`. */
  legacy?: boolean | undefined
  /**
   * Settings that were in force before, as Rails' `cookies_rotations`: what was sealed under one of them still opens,
   * and a session is then sealed anew. What an entry does not name is as it is now:
   * `retired: [{ keyDigest: 'SHA1' }]` reads the cookies of an application that changed to SHA256.
   */
  retired?: readonly RetiredKeys[] | undefined
}

/** How keys were made before. */
export type RetiredKeys = Pick<
  KeyringOptions,
  'secret' | 'keyDigest' | 'keyIterations' | 'signedDigest' | 'salts' | 'legacy'
>

/** Rails' salts, by what the keys are for. */
export const SALTS: Record<'encrypted' | 'signed' | 'legacyEncrypted' | 'legacySigned', string> = {
  encrypted: 'authenticated encrypted cookie',
  signed: 'signed cookie',
  legacyEncrypted: 'encrypted cookie',
  legacySigned: 'signed encrypted cookie',
}

/** Base64 as `encodeURIComponent` and Rails escape it, or decoded. */
const AS_WRITTEN = /^(?:(?:[\w-]|%2B|%2F|%3D)*|[\w+/=-]*)$/

/** Base64 of the data, the nonce and the tag, or of the retired format's data and HMAC. */
const SEALED = /^[\w+/=-]+--[\w+/=-]+$/

/** The keys of a stack, each derived once, on first use. */
export class Keyring implements Sealer {
  readonly hasSecret: boolean
  readonly requirePurpose: boolean
  readonly #generators: readonly KeyGenerator[]
  readonly #options: KeyringOptions
  readonly #retired: readonly Keyring[]
  /** By the name of the cookie, for which alone it opens. */
  readonly #opened = new Map<string, OpenedCookies>()
  #encryptor: MessageEncryptor | undefined
  #verifier: MessageVerifier | undefined

  /** @throws {SecretTooShortError}, {InvalidOptionError} */
  constructor(options: KeyringOptions) {
    const { secret, keyIterations = 1000, keyDigest = 'SHA256' } = options
    if (!(Number.isSafeInteger(keyIterations) && keyIterations > 0)) {
      throw new InvalidOptionError(
        'keyIterations must be a whole number above 0: 1000, as Rails, unless it was changed there.',
      )
    }
    checkDigest(keyDigest)
    checkDigest(options.signedDigest)
    const secrets = secret === undefined ? [] : Array.isArray(secret) ? (secret as (string | Uint8Array)[]) : [secret]
    if (secret !== undefined && secrets.length === 0) {
      throw new InvalidOptionError('secret is an empty list. Give it at least one secret of 32 characters or more.')
    }
    this.#generators = (secrets as readonly (string | Uint8Array)[]).map((one) => {
      if (typeof one !== 'string' && !(one instanceof Uint8Array)) {
        throw new InvalidOptionError(
          `A secret must be a string or bytes, and not ${one === null ? 'null' : typeof one}.`,
        )
      }
      if (one.length < 32) throw new SecretTooShortError(one.length)
      return new KeyGenerator(one, {
        iterations: keyIterations,
        digest: keyDigest,
      })
    })
    this.hasSecret = secrets.length > 0
    this.requirePurpose = options.requirePurpose !== false
    this.#options = options
    const { retired = [], ...current } = options
    if (!Array.isArray(retired) || !retired.every(isRetired)) {
      throw new InvalidOptionError("retired must be a list of settings, for example [{ keyDigest: 'SHA1' }].")
    }
    this.#retired = (retired as readonly RetiredKeys[]).map(
      (one) => new Keyring({ ...current, ...withoutUndefined(one) }),
    )
  }

  /** @throws {SecretMissingError} */
  get encryptor(): MessageEncryptor {
    return (this.#encryptor ??= new MessageEncryptor(this.#keys('encrypted', 32), {
      requirePurpose: this.requirePurpose,
      legacy: this.#options.legacy === true ? this.#legacyKeys() : undefined,
    }))
  }

  /** @throws {SecretMissingError} */
  get verifier(): MessageVerifier {
    return (this.#verifier ??= new MessageVerifier(this.#keys('signed', 64), {
      requirePurpose: this.requirePurpose,
      digest: this.#options.signedDigest,
    }))
  }

  seal(payload: SessionData, name: string, expiresAt: number): string {
    return this.encryptor.encryptAndSign(payload, { purpose: purposeOf(name), expiresAt })
  }

  open(text: string, name: string, now: number): OpenedSeal | undefined {
    // nothing that is sealed has one, and what is decoded twice would have two spellings
    return text.includes('%') ? undefined : this.openRaw(text, name, now)
  }

  openRaw(raw: string, name: string, now: number): OpenedSeal | undefined {
    const cookies = this.#openedOf(name)
    const known = cookies.get(raw)
    if (known !== undefined) return known.expiresAt !== undefined && known.expiresAt <= now ? undefined : known
    const text = decodeSealed(raw)
    if (text === undefined) return undefined
    const opened = this.openMessage('encrypted', text, { purpose: purposeOf(name), now })
    if (opened === undefined || typeof opened.value !== 'object' || opened.value === null) return undefined
    if (Array.isArray(opened.value)) return undefined
    const seal = {
      payload: opened.value as SessionData,
      expiresAt: opened.expiresAt,
      retired: opened.keyIndex > 0,
    }
    // as it is written, so that of one cookie there is one, however a visitor spells it
    if (AS_WRITTEN.test(raw)) cookies.set(raw, seal)
    return seal
  }

  /** Which check a value that `openRaw` refused did not pass. */
  whyRefused(raw: string, name: string, now: number): RefusalReason {
    const text = decodeSealed(raw)
    if (text === undefined || !SEALED.test(text)) return 'form'
    const purpose = purposeOf(name)
    const bytes = this.#authenticate(text)
    if (bytes === undefined) return 'seal'
    if (this.openMessage('encrypted', text, { purpose, now: -Infinity }) === undefined) {
      const sealedFor = purposeIn(bytes)
      return sealedFor === purpose ? 'content' : 'purpose'
    }
    return this.openMessage('encrypted', text, { purpose, now }) === undefined ? 'ended' : 'content'
  }

  #authenticate(text: string): Buffer | undefined {
    const authentic = this.encryptor.authenticate(text)
    if (authentic !== undefined) return authentic.bytes
    for (const keyring of this.#retired) {
      const bytes = keyring.#authenticate(text)
      if (bytes !== undefined) return bytes
    }
    return undefined
  }

  /** Opens a message of either kind, under the keys that there are or those that were. @throws {SecretMissingError} */
  openMessage(kind: 'encrypted' | 'signed', text: string, options: OpenOptions): OpenedMessage | undefined {
    const opened = (kind === 'signed' ? this.verifier : this.encryptor).open(text, options)
    if (opened !== undefined) return opened
    for (const keyring of this.#retired) {
      const older = keyring.openMessage(kind, text, options)
      if (older !== undefined) return { ...older, keyIndex: older.keyIndex + 1 }
    }
    return undefined
  }

  #openedOf(name: string): OpenedCookies {
    let cookies = this.#opened.get(name)
    if (cookies === undefined) this.#opened.set(name, (cookies = new OpenedCookies()))
    return cookies
  }

  #keys(of: keyof typeof SALTS, length: number): Buffer[] {
    if (!this.hasSecret) throw new SecretMissingError()
    const salt = this.#options.salts?.[of] ?? SALTS[of]
    return this.#generators.map((generator) => generator.generateKey(salt, length))
  }

  #legacyKeys(): { key: Buffer; signKey: Buffer }[] {
    const signKeys = this.#keys('legacySigned', 64)
    return this.#keys('legacyEncrypted', 32).map((key, i) => ({ key, signKey: signKeys[i] as Buffer }))
  }
}

/**
 * Rails' format with a secret of its own, for `CookieStore({ sealer })`: where one of several sealers is Rails' own.
 * Without `sealer` the store uses this format anyhow, with the secret of `cookies()`.
 *
 * @throws {SecretTooShortError}, {InvalidOptionError}
 */
export function railsSealer(options: KeyringOptions & { readonly secret: Secret }): Sealer {
  const keyring = new Keyring(options)
  if (!keyring.hasSecret) throw new SecretMissingError()
  return keyring
}

const RETIRED = new Set(['secret', 'keyDigest', 'keyIterations', 'signedDigest', 'salts', 'legacy'])

/** Whether it says what was otherwise, in words that are known. */
function isRetired(one: unknown): one is RetiredKeys {
  if (typeof one !== 'object' || one === null) return false
  const names = Object.keys(withoutUndefined(one))
  return names.length > 0 && names.every((name) => RETIRED.has(name))
}

function withoutUndefined(settings: RetiredKeys): RetiredKeys {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
}

/** What Rails seals a cookie for: its own name. */
export function purposeOf(name: string): string {
  return `cookie.${name}`
}
