import { channel, type Channel } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'

/**
 * What awaiting a session came to:
 * - `none`: the browser sent no cookie
 * - `found`: a session was read
 * - `refused`: the cookie could not be opened: tampered with, sealed with another secret or for another name, or ended
 * - `unknown`: the store has no such session
 * - `gone`: it was reset, renewed or destroyed less than 60 s ago
 * - `failed`: the store failed
 */
export type LoadOutcome = 'none' | 'found' | 'refused' | 'unknown' | 'gone' | 'failed'

/** The message of `luggage-rack:session:load`. It holds no secret, id or data. */
export interface LoadMessage {
  readonly req: IncomingMessage
  /** The name of the session's cookie. */
  readonly key: string
  readonly outcome: LoadOutcome
}

/**
 * What became of a session when the controller had answered:
 * - `unchanged`: nothing differs from what was loaded, so nothing was written or sent
 * - `created`, `updated`, `renewed`, `reset`, `destroyed`: as they say
 * - `refreshed`: only the expiry moved, or the cookie was sealed with the current secret
 * - `dropped`: the session was gone, so what was written is lost, and no cookie was sent
 * - `insecure`: the request came over plain http, where the cookie may not go, so nothing was written
 * - `skipped`: `options.skip` was set
 */
export type CommitOutcome =
  | 'unchanged'
  | 'created'
  | 'updated'
  | 'renewed'
  | 'reset'
  | 'destroyed'
  | 'refreshed'
  | 'dropped'
  | 'insecure'
  | 'skipped'

/** The message of `luggage-rack:session:commit`. It holds no secret, id or data. */
export interface CommitMessage {
  readonly req: IncomingMessage
  /** The name of the session's cookie. */
  readonly key: string
  readonly outcome: CommitOutcome
  /** What the browser is told. */
  readonly cookie: 'sent' | 'expired' | 'none'
}

/** A session was awaited for the first time in a request; the message is a `LoadMessage`. */
export const sessionLoad: Channel = channel('luggage-rack:session:load')

/** A session that was looked at was committed; the message is a `CommitMessage`. */
export const sessionCommit: Channel = channel('luggage-rack:session:commit')
