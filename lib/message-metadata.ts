import { parseRailsJson, railsJson } from './rails-json.ts'

// ActiveSupport::Messages::Metadata. A message that has a purpose or an expiry is put into an envelope:
//
//   {"_rails":{"message":"<base64 of the value's JSON>","exp":"2026-03-14T16:09:26.000Z","pur":"cookie.name"}}
//   {"_rails":{"data":<the value's JSON>,"exp":"2026-03-14T16:09:26.000Z","pur":"login"}}
//
// The first is what cookies carry in every version of Rails, with null for what is not given. The second is Rails
// 7.1's use_message_serializer_for_metadata, for messages outside cookies; there, what is not given is left out.
// The order of the keys counts: Rails knows the first form by its first bytes.

/** Named after the member that holds the value. */
export type EnvelopeForm = 'message' | 'data'

export interface Unwrapped {
  value: unknown
  /** Milliseconds since the epoch; undefined when the message never expires. */
  expiresAt: number | undefined
}

const messageMark = '{"_rails":{"message":'
const messageStart = messageMark + '"'
const expiryMark = '","exp":'

// Ruby's Time.iso8601. A time without a zone is local time to both Ruby and JavaScript.
const iso8601 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$/

/**
 * The text to seal: the value's JSON, in an envelope if there is a purpose or an expiry.
 *
 * @param expiresAt milliseconds since the epoch
 * @throws TypeError for a value that has no JSON form
 */
export function wrap(
  value: unknown,
  form: EnvelopeForm,
  purpose: string | undefined,
  expiresAt: number | undefined,
): string {
  const json = railsJson(value)
  if (purpose === undefined && expiresAt === undefined && !resemblesEnvelope(json, form)) return json

  const exp = expiresAt === undefined ? 'null' : `"${isoTime(expiresAt)}"`
  if (form === 'message') {
    return `${messageStart}${encodeBase64(json)}${expiryMark}${exp}${messageEnd(purpose)}`
  }
  const pur = purpose === undefined ? '' : `,"pur":${railsJson(purpose)}`
  return `{"_rails":{"data":${json}${expiresAt === undefined ? '' : `,"exp":${exp}`}${pur}}}`
}

// Whoever may choose a value would otherwise choose its purpose and expiry as well, by the value {"_rails": …}.
// Rails leaves such a value bare, and then cannot read it back; in an envelope both read it.
function resemblesEnvelope(json: string, form: EnvelopeForm): boolean {
  return form === 'message' ? json.startsWith('{"_rails":') : json.startsWith('{') && json.includes('"_rails":')
}

/**
 * The value inside what was sealed, or undefined if it is expired, is for another purpose, or is malformed.
 * The bytes must have been authenticated.
 *
 * @param form 'message' reads the first form only, as Rails' cookies do; 'data' reads both
 * @param purpose what it must have been sealed for; undefined: for no purpose
 * @param requirePurpose false accepts a message sealed for no purpose whatever purpose is asked for
 * @param now milliseconds since the epoch; a message is expired from the very millisecond of its expiry on
 */
export function unwrap(
  bytes: Buffer,
  form: EnvelopeForm,
  purpose: string | undefined,
  requirePurpose: boolean,
  now: number,
): Unwrapped | undefined {
  try {
    const text = bytes.toString('latin1')
    const inMessageForm = text.startsWith(messageMark)
    if (inMessageForm) {
      const message = unwrapCanonical(text, purpose, now)
      if (message !== undefined) return message
    }
    const parsed = parseRailsJson(bytes)
    if (inMessageForm || (form === 'data' && isRecord(parsed) && Object.hasOwn(parsed, '_rails'))) {
      return unwrapEnvelope(parsed, inMessageForm, purpose, requirePurpose, now)
    }
    return purpose !== undefined && requirePurpose ? undefined : { value: parsed, expiresAt: undefined }
  } catch {
    return undefined
  }
}

// The very text that wrap() and Rails write for this purpose, cut up without parsing JSON around the JSON. Whatever
// differs by a byte, and what is to be refused, takes the longer way.
function unwrapCanonical(text: string, purpose: string | undefined, now: number): Unwrapped | undefined {
  const end = text.indexOf(expiryMark, messageStart.length)
  if (end === -1 || !text.startsWith(messageStart)) return undefined

  let at = end + expiryMark.length
  let expiry = Infinity
  if (text.startsWith('null', at)) {
    at += 4
  } else {
    if (text[at] !== '"' || text[at + 25] !== '"') return undefined
    expiry = parseExpiry(text.slice(at + 1, at + 25))
    at += 26
  }
  const rest = messageEnd(purpose)
  if (!(now < expiry) || text.length !== at + rest.length || !text.endsWith(rest)) return undefined

  const json = decodeBase64(text.slice(messageStart.length, end), 'base64')
  return json && { value: parseRailsJson(json), expiresAt: expiryOrNone(expiry) }
}

function unwrapEnvelope(
  parsed: unknown,
  inMessageForm: boolean,
  purpose: string | undefined,
  requirePurpose: boolean,
  now: number,
): Unwrapped | undefined {
  const envelope = isRecord(parsed) ? parsed['_rails'] : undefined
  if (!isRecord(envelope)) return undefined

  const expiry = parseExpiry(envelope['exp'])
  if (!(now < expiry)) return undefined

  const sealedFor = envelope['pur'] ?? ''
  if (sealedFor !== (purpose ?? '') && (sealedFor !== '' || requirePurpose)) return undefined

  let value = envelope['data']
  if (inMessageForm) {
    const message = envelope['message']
    const json = typeof message === 'string' ? decodeBase64(message, 'base64') : undefined
    value = json && parseRailsJson(json)
  }
  return value === undefined ? undefined : { value, expiresAt: expiryOrNone(expiry) }
}

/** What the envelope, if there is one, says that it was sealed for. */
export function purposeIn(bytes: Buffer): string | undefined {
  // as Rails knows it; a session may hold the same key elsewhere
  if (!bytes.toString('latin1').startsWith(messageMark)) return undefined
  try {
    const { _rails: envelope } = JSON.parse(bytes.toString()) as { _rails?: { pur?: unknown } | null }
    const purpose = envelope?.pur
    return typeof purpose === 'string' && purpose !== '' ? purpose : undefined
  } catch {
    return undefined
  }
}

// The same purpose comes again and again, an application having one session cookie, and so does the same second.
let lastPurpose: string | undefined
let lastEnd = ',"pur":null}}'
let lastSecond = 0
let lastTime = '1970-01-01T00:00:00.'

function messageEnd(purpose: string | undefined): string {
  if (purpose !== lastPurpose) {
    lastEnd = `,"pur":${purpose === undefined ? null : railsJson(purpose)}}}`
    lastPurpose = purpose
  }
  return lastEnd
}

function isoTime(time: number): string {
  const second = Math.floor(time / 1000)
  if (second !== lastSecond) {
    lastTime = new Date(second * 1000).toISOString().slice(0, 20)
    lastSecond = second
  }
  return `${lastTime}${String(Math.floor(time) % 1000).padStart(3, '0')}Z`
}

// In milliseconds; Infinity for none, and NaN, which no time is before, for what is no time.
function parseExpiry(exp: unknown): number {
  if (typeof exp === 'string') return iso8601.test(exp) ? Date.parse(exp) : NaN
  if (typeof exp === 'number') return exp * 1000
  return exp === null || exp === undefined || exp === false ? Infinity : NaN
}

function expiryOrNone(expiry: number): number | undefined {
  return expiry === Infinity ? undefined : expiry
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const scratch = Buffer.allocUnsafeSlow(16384)

// A cookie's text fits, and needs no bytes of its own, which would have to be collected.
function encodeBase64(text: string): string {
  if (text.length * 3 > scratch.length) return Buffer.from(text).toString('base64')
  return scratch.toString('base64', 0, scratch.write(text))
}

/**
 * Base64 in its one canonical spelling, or undefined: node's decoder takes both alphabets, white space, missing
 * padding and stray bits at the end, so that one message would have many spellings; Rails refuses these.
 */
export function decodeBase64(text: string, encoding: 'base64' | 'base64url'): Buffer | undefined {
  const bytes = Buffer.from(text, encoding)
  return bytes.toString(encoding) === text ? bytes : undefined
}
