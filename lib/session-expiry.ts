import type { LoadedSession } from './session-store.ts'

/** Milliseconds that a marker stands where a session was: longer than a request may be under way. */
export const MARKER_LIFE = 60_000

/**
 * Whether a session has ended: its own expiry has come, or it is older than any may be, whatever was written
 * into it (a Rails application carries the time of creation along and knows nothing of `maxLifetime`).
 */
export function isOver(session: LoadedSession, maxLifetime: number, now: number): boolean {
  if (session.expiresAt !== undefined && session.expiresAt <= now) return true
  return session.createdAt > 0 && session.createdAt + maxLifetime <= now
}

/** When a session ends that is used now: after its idle time, and never later than `maxLifetime` after its creation. */
export function expiryOf(now: number, idle: number, createdAt: number, maxLifetime: number): number {
  return Math.min(now + idle, createdAt + maxLifetime)
}

/** Whether the idle time is to be extended: not at every request, but once per `refreshEvery`. */
export function isDue(expiresAt: number | undefined, idle: number, refreshEvery: number, now: number): boolean {
  return expiresAt === undefined || now - (expiresAt - idle) >= refreshEvery
}
