import { InvalidOptionError } from './errors.ts'
import { decodeBase64, type EnvelopeForm, unwrap, wrap } from './message-metadata.ts'

export interface CodecOptions {
  /** Base64 in the alphabet for URLs and without padding, as Rails' `url_safe`; default false. */
  urlSafe?: boolean | undefined
  /**
   * How purpose and expiry are written. 'message' (default) is what Rails' cookies use, and the only form then read;
   * 'data' is Rails' `use_message_serializer_for_metadata`, with which both forms are read.
   */
  envelope?: EnvelopeForm | undefined
  /**
   * Whether a message sealed for no purpose is refused when a purpose is asked for; default true. Rails' cookie jar
   * accepts such cookies under any name, which `false` allows too. Another purpose is always refused.
   */
  requirePurpose?: boolean | undefined
  /** The time in milliseconds since the epoch; default `Date.now()`. */
  clock?: (() => number) | undefined
}

export interface SealOptions {
  /** What the message is for, e.g. 'login': it opens for this purpose only. */
  purpose?: string | undefined
  /** A Date, or milliseconds since the epoch; from this very moment on the message is refused. */
  expiresAt?: number | Date | undefined
  /** In seconds from now; `expiresAt` goes before it. */
  expiresIn?: number | undefined
}

export interface OpenOptions {
  /** What the message must have been sealed for; default: for no purpose. */
  purpose?: string | undefined
  /** The time that expiry is measured against, in milliseconds since the epoch; default: the clock's. */
  now?: number | undefined
}

export interface OpenedMessage {
  value: unknown
  /** Milliseconds since the epoch; undefined when the message never expires. */
  expiresAt: number | undefined
  /** Which key opened it: 0 is the one that seals, anything else is retired. */
  keyIndex: number
}

// The last millisecond that ISO 8601 writes with a year of four digits, all that Rails and we read back.
const lastMoment = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

/** What an encryptor and a verifier have in common (ActiveSupport::Messages::Codec): JSON, metadata and base64. */
export abstract class MessageCodec {
  protected readonly base64: 'base64' | 'base64url'
  readonly #envelope: EnvelopeForm
  readonly #requirePurpose: boolean
  readonly #clock: (() => number) | undefined

  constructor({ urlSafe = false, envelope = 'message', requirePurpose = true, clock }: CodecOptions) {
    this.base64 = urlSafe ? 'base64url' : 'base64'
    this.#envelope = envelope
    this.#requirePurpose = requirePurpose
    this.#clock = clock
  }

  /**
   * Opens a message and says by which key, for whoever seals anew what a retired key has sealed.
   *
   * @returns undefined, whatever the reason, for a message that is not to be believed; it never throws for one
   */
  abstract open(message: string, options?: OpenOptions): OpenedMessage | undefined

  protected serialize(value: unknown, { purpose, expiresAt, expiresIn }: SealOptions): string {
    let expiry: number | undefined
    if (expiresAt !== undefined) expiry = Number(expiresAt)
    else if (expiresIn !== undefined) expiry = this.#now() + expiresIn * 1000
    if (expiry !== undefined && !(expiry >= 0 && expiry <= lastMoment)) {
      throw new InvalidOptionError('expiresAt or expiresIn: a message expires between the years 1970 and 9999')
    }
    return wrap(value, this.#envelope, purpose, expiry)
  }

  protected deserialize(bytes: Buffer, keyIndex: number, { purpose, now }: OpenOptions): OpenedMessage | undefined {
    const message = unwrap(bytes, this.#envelope, purpose, this.#requirePurpose, now ?? this.#now())
    return message && { value: message.value, expiresAt: message.expiresAt, keyIndex }
  }

  protected decode(text: string): Buffer | undefined {
    return decodeBase64(text, this.base64)
  }

  // Date.now is looked up when it is needed, so that a test may replace it.
  #now(): number {
    return this.#clock === undefined ? Date.now() : this.#clock()
  }
}

/**
 * Copies of the keys, in a list, so that a caller may wipe or reuse his bytes.
 *
 * @throws InvalidOptionError if there is no key, or an empty one
 */
export function copyKeys(keys: Uint8Array | readonly Uint8Array[]): Buffer[] {
  const list = (keys instanceof Uint8Array ? [keys] : keys) as readonly unknown[]
  const isKey = (key: unknown): key is Uint8Array => key instanceof Uint8Array && key.length > 0
  if (Array.isArray(list) && list.length > 0 && list.every(isKey)) return list.map((key) => Buffer.from(key))
  throw new InvalidOptionError(
    'keys: bytes, or a list of them, of which at least one is needed and none may be empty. A KeyGenerator makes them.',
  )
}
