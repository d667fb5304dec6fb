import { createHmac, timingSafeEqual } from 'node:crypto'
import { randomBytes } from './random-pool.ts'

/** Bytes of the token that the session holds, and of what is derived from it. */
const LENGTH = 32

const GLOBAL = '!real_csrf_token'

/** What a per-form token is for: the path without query and last slash, and the method. */
export interface FormTarget {
  readonly path: string
  readonly method: string
}

/** A new token for a session, as Rails writes it there: 32 random bytes in url-safe base64. */
export function generateToken(): string {
  return randomBytes(LENGTH).toString('base64url')
}

/** The bytes of the token that a session holds; `undefined` for what is none. */
export function parseToken(stored: unknown): Buffer | undefined {
  const bytes = typeof stored === 'string' ? decode(stored) : undefined
  return bytes?.length === LENGTH ? bytes : undefined
}

/**
 * A token for a page: a derivation of the session's own, global or for one form, that is different each time, so
 * that compression over TLS does not give it away (BREACH), and its pad.
 *
 *     url-safe base64( pad (32 bytes) | pad XOR HMAC-SHA256(session's token, "!real_csrf_token" or "path#method") )
 */
export function maskToken(token: Buffer, target?: FormTarget): string {
  const derived = derive(token, target)
  const pad = randomBytes(LENGTH)
  return Buffer.concat([pad, xor(pad, derived)]).toString('base64url')
}

/**
 * Whether a request's token was made for this session, and if it was made for one form, for this one. As Rails does,
 * it takes both alphabets of base64, and the session's own token as Rails 5 put it into pages: masked, or bare.
 */
export function verifyToken(given: string, token: Buffer, target: FormTarget): boolean {
  const bytes = decode(given)
  if (bytes?.length === LENGTH) return timingSafeEqual(bytes, token)
  if (bytes?.length !== 2 * LENGTH) return false
  const unmasked = xor(bytes.subarray(0, LENGTH), bytes.subarray(LENGTH))
  // all three, so that the time does not tell which it was
  const matches = [token, derive(token), derive(token, target)].map((one) => timingSafeEqual(unmasked, one))
  return matches.includes(true)
}

function derive(token: Buffer, target?: FormTarget): Buffer {
  const text = target ? `${target.path}#${target.method.toLowerCase()}` : GLOBAL
  return createHmac('sha256', token).update(text).digest()
}

function xor(pad: Buffer, bytes: Buffer): Buffer {
  return Buffer.from(bytes.map((byte, i) => byte ^ (pad[i] as number)))
}

/** Both alphabets, padded or not; nothing else, where node would leave out what it does not know. */
function decode(text: string): Buffer | undefined {
  return text.length <= 128 && /^[\w+/-]*={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined
}
