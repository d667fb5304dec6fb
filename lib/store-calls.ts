import type { IncomingMessage } from 'node:http'
import type { Awaitable } from './app.ts'
import { storeSteps, type StoreMessage } from './channels.ts'
import type { LoadedSession, SavedSession, SessionStore, StoreContext } from './session-store.ts'
import { isWatched, trace } from './trace.ts'

// A session calls its stores through these three, so that each call can be watched.

export function loadFrom(
  store: SessionStore,
  req: IncomingMessage,
  cookie: string,
  context: StoreContext,
): Awaitable<LoadedSession | undefined> {
  if (!isWatched(storeSteps)) return store.fromCookie(req, cookie, context)
  return trace(storeSteps, messageOf(store, req, 'load'), () => store.fromCookie(req, cookie, context), noteFound)
}

export function saveTo(
  store: SessionStore,
  req: IncomingMessage,
  session: SavedSession,
  context: StoreContext,
): Awaitable<string | undefined> {
  if (!isWatched(storeSteps)) return store.toCookie(req, session, context)
  return trace(storeSteps, messageOf(store, req, 'save'), () => store.toCookie(req, session, context), noteFound)
}

export function removeFrom(
  store: SessionStore,
  req: IncomingMessage,
  cookie: string,
  context: StoreContext,
): Awaitable<void> {
  if (!isWatched(storeSteps)) return store.forgetCookie(req, cookie, context)
  return trace(storeSteps, messageOf(store, req, 'remove'), () => store.forgetCookie(req, cookie, context), noteNothing)
}

function messageOf(store: SessionStore, req: IncomingMessage, call: StoreMessage['call']): StoreMessage {
  return { req, store: store.constructor.name, call }
}

function noteFound(message: StoreMessage, value: unknown): void {
  message.found = value !== undefined && (value as Partial<LoadedSession>).gone !== true
}

function noteNothing(): void {}
