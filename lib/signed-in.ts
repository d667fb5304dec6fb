import { present, type AuthCredentials } from './auth-hash.ts'
import { TokenOverflowError } from './errors.ts'
import type { Grant } from './openid-provider.ts'
import type { SessionData } from './session-hash.ts'

/** What of a sign-in is kept in the session, under `openid`. */
export interface SignedIn {
  /** The name of the provider here. */
  readonly provider: string
  readonly uid: string
  /** With `endWithToken`: when the ID token ends, in seconds since 1970. */
  readonly ends_at?: number
  /** The tokens that `keep` names. */
  readonly id_token?: string
  readonly access_token?: string
  readonly refresh_token?: string
}

/** A token by its name in OAuth. */
export type KeptToken = 'id_token' | 'access_token' | 'refresh_token'

/** The key of the session. */
export const SIGNED_IN = 'openid'

/** Bytes of JSON that certainly do not fit a cookie of 4096, sealed in the format that has the most room for them. */
const ROOM = 3000

/** Who is signed in, as an earlier request kept it. */
export function signedIn(session: SessionData): SignedIn | undefined {
  const kept = session[SIGNED_IN] as Partial<SignedIn> | null | undefined
  return typeof kept?.provider === 'string' && typeof kept.uid === 'string' ? (kept as SignedIn) : undefined
}

export function tokensOf(
  { id_token, token, refresh_token }: AuthCredentials,
  keep: readonly KeptToken[],
): Partial<SignedIn> {
  const all = { id_token, access_token: token, refresh_token }
  return present(Object.fromEntries(keep.map((name) => [name, all[name]])))
}

/** The same sign-in, with what a refresh brought. */
export function refreshed(before: SignedIn, { credentials, endsAt }: Grant, keep: readonly KeptToken[]): SignedIn {
  return { ...before, ...tokensOf(credentials, keep), ends_at: endsAt }
}

/** @throws {TokenOverflowError} tokens that no cookie has room for */
export function checkRoom(kept: SignedIn): void {
  const { id_token, access_token, refresh_token } = kept
  const sizes = Object.entries(present({ id_token, access_token, refresh_token })).map(
    ([name, token]) => [name, Buffer.byteLength(token)] as const,
  )
  const bytes = sizes.reduce((sum, [, size]) => sum + size, 0)
  if (bytes > ROOM) throw new TokenOverflowError(sizes)
}
