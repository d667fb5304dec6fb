import { ironSealer, type IronForm } from './iron-sealer.ts'
import { KeyGenerator } from './key-generator.ts'
import { purposeOf, SALTS } from './keyring.ts'
import type { OpenedMessage, OpenOptions } from './message-codec.ts'
import { MessageEncryptor } from './message-encryptor.ts'
import { purposeIn } from './message-metadata.ts'
import { MessageVerifier, type Digest } from './message-verifier.ts'

/** How a cookie of Rails' format is to be opened. The names are those of `cookies()`. */
export interface RailsOpening {
  readonly format: 'encrypted' | 'signed'
  readonly secrets: readonly string[]
  readonly keyDigest: 'SHA1' | 'SHA256'
  readonly signedDigest: Digest
  readonly legacy: boolean
}

/** How a cookie of iron's format is to be opened. */
export interface IronOpening {
  readonly format: IronForm
  /** Passwords. */
  readonly secrets: readonly string[]
}

export type Opening = RailsOpening | IronOpening

/** What sealed a cookie: `encrypted-cbc` is the retired format of Rails 5.1. */
export type Seal = 'encrypted' | 'encrypted-cbc' | 'signed' | IronForm

export interface OpenedCookie {
  readonly value: unknown
  readonly seal: Seal
  /** In milliseconds since 1970; `undefined` for none. */
  readonly expiresAt: number | undefined
  /** Which of the secrets opened it: 0 is the first. */
  readonly secret: number
  /** Of Rails' format: it was sealed for no name, and so would open under any. */
  readonly isForAnyName: boolean
}

/**
 * Why a cookie does not open: `key`: it is not of these secrets, or was changed; `purpose`: it is of them, but for
 * another name; `content`: it is of them, and holds no JSON; `ended`: it has expired.
 */
export interface Refusal {
  readonly refused: 'key' | 'purpose' | 'content' | 'ended'
  /** In milliseconds since 1970, where it has ended. */
  readonly endedAt?: number
}

/** What was sealed, once that is known to be of a key, whatever then becomes of it. */
interface Authentic {
  readonly bytes: Buffer
  readonly keyIndex: number
}

class WatchedEncryptor extends MessageEncryptor {
  authentic: Authentic | undefined

  protected override deserialize(bytes: Buffer, keyIndex: number, options: OpenOptions): OpenedMessage | undefined {
    this.authentic = { bytes, keyIndex }
    return super.deserialize(bytes, keyIndex, options)
  }
}

class WatchedVerifier extends MessageVerifier {
  authentic: Authentic | undefined

  protected override deserialize(bytes: Buffer, keyIndex: number, options: OpenOptions): OpenedMessage | undefined {
    this.authentic = { bytes, keyIndex }
    return super.deserialize(bytes, keyIndex, options)
  }
}

/** Opens a cookie as a stack would, but says why not where it does not open. */
export async function openCookie(
  text: string,
  name: string,
  opening: Opening,
  now: number,
): Promise<OpenedCookie | Refusal> {
  const opened = isIron(opening) ? await openIron(text, opening) : openRails(text, name, opening)
  if ('refused' in opened || opened.expiresAt === undefined || opened.expiresAt > now) return opened
  return { refused: 'ended', endedAt: opened.expiresAt }
}

/** Another way in which a cookie is of one of these secrets, if there is one. */
export async function findOpening(text: string, opening: Opening): Promise<Opening | undefined> {
  const { secrets } = opening
  if (isIron(opening)) {
    const other: IronOpening = { format: opening.format === 'h3' ? 'iron-session' : 'h3', secrets }
    return 'refused' in (await openIron(text, other)) ? undefined : other
  }
  for (const keyDigest of ['SHA256', 'SHA1'] as const) {
    const tries: RailsOpening[] = [
      { format: 'encrypted', secrets, keyDigest, signedDigest: 'SHA1', legacy: false },
      { format: 'encrypted', secrets, keyDigest, signedDigest: 'SHA1', legacy: true },
      ...(['SHA1', 'SHA256', 'SHA384', 'SHA512'] as const).map((signedDigest): RailsOpening => ({
        format: 'signed',
        secrets,
        keyDigest,
        signedDigest,
        legacy: false,
      })),
    ]
    for (const one of tries) {
      const codec = codecOf(one)
      codec.open(text)
      if (codec.authentic !== undefined) return one
    }
  }
  return undefined
}

export function isIron(opening: Opening): opening is IronOpening {
  return opening.format === 'iron-session' || opening.format === 'h3'
}

async function openIron(text: string, { format, secrets }: IronOpening): Promise<OpenedCookie | Refusal> {
  for (const [secret, password] of secrets.entries()) {
    // when it ended is told by itself; the name is in no seal of this format
    // oxlint-disable-next-line no-await-in-loop -- the second only if the first does not open
    const opened = await ironSealer({ password, form: format }).open(text, '', -Infinity)
    if (opened === undefined) continue
    return { value: opened.payload, seal: format, expiresAt: opened.expiresAt, secret, isForAnyName: false }
  }
  return { refused: 'key' }
}

function openRails(text: string, name: string, opening: RailsOpening): OpenedCookie | Refusal {
  const codec = codecOf(opening)
  const opened = codec.open(text, { purpose: purposeOf(name), now: -Infinity })
  const { authentic } = codec
  if (authentic === undefined) return { refused: 'key' }
  const purpose = purposeIn(authentic.bytes)
  if (opened === undefined) {
    return { refused: purpose !== undefined && purpose !== purposeOf(name) ? 'purpose' : 'content' }
  }
  const count = opening.secrets.length
  return {
    value: opened.value,
    seal: authentic.keyIndex < count ? opening.format : 'encrypted-cbc',
    expiresAt: opened.expiresAt,
    secret: authentic.keyIndex % count,
    isForAnyName: purpose === undefined,
  }
}

function codecOf({
  format,
  secrets,
  keyDigest,
  signedDigest,
  legacy,
}: RailsOpening): WatchedEncryptor | WatchedVerifier {
  const generators = secrets.map((secret) => new KeyGenerator(secret, { digest: keyDigest }))
  const keys = (salt: string, length: number): Buffer[] => generators.map((one) => one.generateKey(salt, length))
  // what was sealed for no name is told, and not refused
  const requirePurpose = false
  if (format === 'signed') {
    return new WatchedVerifier(keys(SALTS.signed, 64), { digest: signedDigest, requirePurpose })
  }
  const signKeys = legacy ? keys(SALTS.legacySigned, 64) : []
  const legacyKeys = legacy ? keys(SALTS.legacyEncrypted, 32) : []
  return new WatchedEncryptor(keys(SALTS.encrypted, 32), {
    requirePurpose,
    legacy: legacyKeys.map((key, i) => ({ key, signKey: signKeys[i] as Buffer })),
  })
}
