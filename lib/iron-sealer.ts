import { createHash } from 'node:crypto'
import { defaults, encrypt, hmacWithPassword, macPrefix, unseal, type SealOptions } from 'iron-webcrypto'
import type { Awaitable } from './app.ts'
import { InvalidOptionError, SecretTooShortError } from './errors.ts'
import type { JsonValue } from './json.ts'
import { decodeBase64 } from './message-metadata.ts'
import { OpenedCookies } from './opened-cookies.ts'
import { isDeeper, MAX_DEPTH } from './rails-json.ts'
import { randomBytes } from './random-pool.ts'
import type { SessionData } from './session-hash.ts'
import type { OpenedSeal, Sealer } from './session-store.ts'

/** Whose cookies they are: iron-session seals the data itself, h3 seals `{ id, createdAt, data }`. */
export type IronForm = 'iron-session' | 'h3'

/** As iron-session's own options, which may be given as they are. */
export interface IronSealerOptions {
  /**
   * At least 32 characters; or several such passwords by whole numbers, as iron-session takes them: the highest
   * seals, all open. The seal does not say which cookie it is for, so give each cookie a password of its own.
   */
  password: string | Readonly<Record<string, string>>
  /**
   * Default: `'h3'` for a cookie that is called `h3`, as h3 calls its own, and `'iron-session'` for any other. A cookie
   * of h3 takes some 5 ms to seal, and to open for the first time: it derives each key with 8192 rounds.
   */
  form?: IronForm | undefined
  /**
   * Seconds that a seal lives at most, as iron-session's `ttl`; 0 for no limit of its own. Default 0: a seal ends when
   * the session does. Set `CookieStore({ ttl })` to the same, else a session is sealed anew whenever it is loaded.
   */
  ttl?: number | undefined
}

interface Password {
  /** What the seal calls it. */
  readonly id: string
  readonly secret: string
}

type Opened = Pick<OpenedSeal, 'payload' | 'retired'>

/** How one of the two packages uses the format. */
interface Dialect {
  /** Rounds of the key derivation (PBKDF2): the first seals, all open. */
  readonly rounds: readonly number[]
  /** What stands behind the seal. */
  readonly suffix: string
  /** What the seal calls a password that is the only one. */
  readonly onlyId: string
  /** What is encrypted, and what the salt is made of beside chance. */
  readonly write: (payload: SessionData) => { content: SessionData; salt?: string }
  /** @param made the id of a session that came without one */
  readonly read: (content: SessionData, salt: string, made: string) => SessionData | undefined
}

//     Fe26.2*password's id*salt*iv*encrypted*end*salt of the mac*mac ~2
//
// by AES-256-CBC, with an HMAC-SHA-256 of all that stands before its salt. The end is in milliseconds since 1970, or
// empty. iron-session's `~2` stands outside the HMAC, so whether it is there must decide nothing: version 8 of
// iron-session takes another part of the data for the session where it is missing, and version 9 no longer does.
const SEAL = /^(Fe26\.2\*(\w*)\*([^*]+)\*[\w-]+\*[\w-]+\*(|[1-9]\d{0,15})\*[^*]+\*([\w-]+))(?:~2)?$/

const SALT = /^[\da-f]{64}\.([\w-]{1,64})\.(\d{1,16})$/

/**
 * iron-session's data is what its pages see of a session, so nothing of ours goes in. The id and the time of creation
 * go into the salt instead, which may be any text, is authenticated, and is no secret, as they are none. iron-session
 * makes a salt of its own when it saves: then the id is a new one, and the time of creation is not known.
 */
const ironSession: Dialect = {
  rounds: [1],
  suffix: '~2',
  onlyId: '1',
  write({ session_id, _created_at, ...content }) {
    const id = typeof session_id === 'string' ? session_id : ''
    const salt = `${randomBytes(32).toString('hex')}.${id}.${Math.floor(Number(_created_at))}`
    return SALT.test(salt) ? { content, salt } : { content }
  },
  read(content, salt, made) {
    const [, id = made, createdAt = '0'] = SALT.exec(salt) ?? []
    const read = { ...content, session_id: id, _created_at: Number(createdAt) }
    // in a seal of iron-session's own it is some data of an application
    if (!SALT.test(salt)) delete (read as SessionData)['_expire_after']
    return read
  },
}

const h3: Dialect = {
  // it made one round until it had this many, and then still reads what it sealed with one
  rounds: [8192, 1],
  suffix: '',
  onlyId: '',
  write: ({ session_id, _created_at, ...data }) => ({
    content: {
      id: session_id ?? '',
      createdAt: _created_at ?? 0,
      // by which h3 tells how long a session was idle
      lastSeenAt: Date.now(),
      data,
    },
  }),
  read({ id, createdAt, data }, _salt, made) {
    if (!isRecord(data)) return undefined
    return {
      ...data,
      session_id: typeof id === 'string' && id !== '' ? id : made,
      _created_at: typeof createdAt === 'number' ? createdAt : 0,
    }
  },
}

const DIALECTS: Readonly<Record<IronForm, Dialect>> = { 'iron-session': ironSession, h3 }

/**
 * The cookies of iron-session 8 and 9 and of h3 1 and 2 (`Fe26.2`, through the package `iron-webcrypto`), read and
 * written, for `CookieStore({ sealer })`.
 *
 * A session that iron-session saved comes without an id and without the time of its creation: its id is made of the
 * seal, so that it is the same at every read, and stays the same from the first write here on; the time counts as the
 * oldest. The keys `session_id`, `_created_at` and `_expire_after` are the session's own, and not read from the data of
 * either package. A seal ends at the moment that stands in it, and not the minute later that iron allows. What either
 * package splits over several cookies is not read.
 *
 * @throws {SecretTooShortError} a password of fewer than 32 characters
 * @throws {InvalidOptionError} any other option that cannot work
 */
export function ironSealer({ password, form, ttl = 0 }: IronSealerOptions): Sealer {
  const passwords = passwordsOf(password)
  const [newest] = passwords as [Password]
  if (form !== undefined && !Object.hasOwn(DIALECTS, form)) {
    throw new InvalidOptionError("ironSealer({ form }) takes 'iron-session' or 'h3'.")
  }
  if (!(Number.isFinite(ttl) && ttl >= 0)) {
    throw new InvalidOptionError('ironSealer({ ttl }) takes a number of seconds, or 0 for no limit of its own.')
  }
  const formOf = (name: string): IronForm => form ?? (name === 'h3' ? 'h3' : 'iron-session')
  // a key takes longer to derive than all the rest
  const opened = { 'iron-session': new OpenedCookies(), h3: new OpenedCookies() }

  async function seal(payload: SessionData, name: string, expiresAt: number): Promise<string> {
    const { rounds, suffix, onlyId, write } = DIALECTS[formOf(name)]
    const id = typeof password === 'string' ? onlyId : newest.id
    const end = ttl === 0 ? expiresAt : Math.min(expiresAt, Date.now() + ttl * 1000)
    const { encryption, integrity } = withRounds(rounds[0] as number)
    const { content, salt } = write(payload)
    const { key, encrypted } = await encrypt(newest.secret, { ...encryption, salt }, JSON.stringify(content))
    const parts = [
      macPrefix,
      id,
      key.salt,
      base64url(key.iv),
      base64url(encrypted),
      Number.isFinite(end) ? Math.ceil(end) : '',
    ]
    const mac = await hmacWithPassword(newest.secret, integrity, parts.join('*'))
    return `${parts.join('*')}*${mac.salt}*${mac.digest}${suffix}`
  }

  async function decrypt(sealed: string, id: string, salt: string, dialect: Dialect): Promise<Opened | undefined> {
    for (const one of passwords) {
      // h3 names none, and takes its only one for any
      if (id !== '' && id !== one.id && typeof password !== 'string') continue
      for (const rounds of dialect.rounds) {
        // oxlint-disable-next-line no-await-in-loop -- the second only if the first does not open
        const content = await unsealed(sealed, one.secret, rounds)
        if (content === undefined) continue
        const made = createHash('sha256').update(sealed).digest('hex').slice(0, 32)
        const payload = dialect.read(content, salt, made)
        return payload && { payload, retired: one !== newest || rounds !== dialect.rounds[0] }
      }
    }
    return undefined
  }

  function open(text: string, name: string, now: number): Awaitable<OpenedSeal | undefined> {
    const cookies = opened[formOf(name)]
    const known = cookies.get(text)
    if (known !== undefined) return isOver(known.expiresAt, now) ? undefined : known
    const [, sealed = '', id = '', salt = '', end = '', mac = ''] = SEAL.exec(text) ?? []
    // the last character of the mac has two bits to spare, and would have four spellings
    if (decodeBase64(mac, 'base64url')?.length !== 32) return undefined
    const expiresAt = end === '' ? undefined : Number(end)
    if (isOver(expiresAt, now)) return undefined
    return decrypt(sealed, id, salt, DIALECTS[formOf(name)]).then((found) => {
      const seal = found && { ...found, expiresAt }
      if (seal !== undefined) cookies.set(text, seal)
      return seal
    })
  }

  return { seal, open }
}

function isOver(expiresAt: number | undefined, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now
}

async function unsealed(text: string, secret: string, rounds: number): Promise<SessionData | undefined> {
  try {
    const content = await unseal(text, secret, withRounds(rounds))
    // with a level or two around it
    return isRecord(content) && !isDeeper(content, MAX_DEPTH + 2) ? content : undefined
  } catch {
    return undefined
  }
}

function withRounds(iterations: number): SealOptions {
  return {
    ...defaults,
    encryption: { ...defaults.encryption, iterations },
    integrity: { ...defaults.integrity, iterations },
    // whether it has ended is asked before, by the clock of the request
    timestampSkewSec: Infinity,
  }
}

/** The passwords, the newest first. */
function passwordsOf(password: IronSealerOptions['password']): Password[] {
  if (typeof password !== 'string' && (!isRecord(password) || Object.keys(password).length === 0)) {
    throw new InvalidOptionError(
      'ironSealer({ password }) takes a string, or an object of strings by whole numbers, of which the highest ' +
        "seals: { 1: 'the old one', 2: 'the new one' }.",
    )
  }
  const passwords = typeof password === 'string' ? { 1: password } : password
  return Object.entries(passwords)
    .map(([id, secret]) => {
      if (!/^(0|[1-9]\d{0,14})$/.test(id)) {
        throw new InvalidOptionError('The names of passwords must be whole numbers, of which the highest seals.')
      }
      if (typeof secret !== 'string') throw new InvalidOptionError(`The password ${id} must be a string.`)
      if (secret.length < 32) throw new SecretTooShortError(secret.length)
      return { id, secret }
    })
    .toSorted((a, b) => Number(b.id) - Number(a.id))
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

function isRecord(value: unknown): value is Record<string, JsonValue> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
