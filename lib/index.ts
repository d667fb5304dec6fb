export type { App, Awaitable, LayerDescription, Middleware, RackBody, RackHeaders, RackResponse } from './app.ts'
export { Builder, type RequestOf } from './builder.ts'
export type {
  AwaitMessage,
  CommitMessage,
  CommitOutcome,
  CookiesMessage,
  LayerMessage,
  LoadMessage,
  LoadOutcome,
  OpenMessage,
  RefusalReason,
  RequestMessage,
  ResponseMessage,
  SetCookieMessage,
  SignInMessage,
  StoreMessage,
} from './channels.ts'
export type { CookieJar, Jar, SealedJar } from './cookie-jar.ts'
export type { CookieDomain, CookieOptions, SameSite } from './cookie-options.ts'
export * from './errors.ts'
export { ironSealer, type IronForm, type IronSealerOptions } from './iron-sealer.ts'
export type { JsonValue } from './json.ts'
export { KeyGenerator, type KeyGeneratorOptions } from './key-generator.ts'
export { railsSealer, type KeyringOptions, type RetiredKeys, type Secret } from './keyring.ts'
export { toListener, type Listener, type ListenerOptions } from './listener.ts'
export type { CodecOptions, OpenedMessage, OpenOptions, SealOptions } from './message-codec.ts'
export { MessageEncryptor, type LegacyKeys, type MessageEncryptorOptions } from './message-encryptor.ts'
export type { EnvelopeForm } from './message-metadata.ts'
export { MessageVerifier, type Digest, type MessageVerifierOptions } from './message-verifier.ts'
export { rackSealer, type RackLegacyOptions, type RackSealerOptions } from './rack-sealer.ts'
export type { Forwarded } from './request.ts'
export type { PerRequest, RetiredCookie, SessionCookieOptions, SessionRequestOptions } from './session-config.ts'
export { sessionFor, type SessionForOptions, type SessionStack } from './session-for.ts'
export type { Session, SessionHandle } from './session-handle.ts'
export type { SessionChanges, SessionData } from './session-hash.ts'
export { SessionId } from './session-id.ts'
export type { LoadedSession, OpenedSeal, SavedSession, Sealer, SessionStore, StoreContext } from './session-store.ts'
export { toConnect } from './to-connect.ts'
export type { Mapped } from './url-map.ts'
export type { Flash, FlashHandle } from './flash-handle.ts'
export { conditionalGet } from '../middleware/conditional-get.ts'
export { cookies, type CookiesOptions } from '../middleware/cookies.ts'
export { csrf, type CsrfOptions, type CsrfStrategy, type CsrfToken } from '../middleware/csrf.ts'
export type { TokenStorage } from './token-storage.ts'
export { flash, type FlashTypes } from '../middleware/flash.ts'
export { form, type FormOptions } from '../middleware/form.ts'
export { forwarded, type ForwardedOptions } from '../middleware/forwarded.ts'
export { fromConnect, type ConnectMiddleware } from '../middleware/from-connect.ts'
export { lint } from '../middleware/lint.ts'
export { methodOverride, type MethodOverrideOptions } from '../middleware/method-override.ts'
export { requestId, type RequestIdOptions } from '../middleware/request-id.ts'
export { serverTiming, type ServerTimingOptions } from '../middleware/server-timing.ts'
export { session, type SessionOptions } from '../middleware/session.ts'
export { showExceptions, type ShowExceptionsOptions } from '../middleware/show-exceptions.ts'
export {
  AbstractStore,
  type CleanableStore,
  type ClosableStore,
  type DeleteOptions,
  type OwnedSelection,
  type OwnedStore,
  type RenewableStore,
  type RenewOptions,
  type SessionSummary,
  type StoredSession,
  type StoreOptions,
  type TouchableStore,
  type WriteOptions,
} from '../stores/abstract-store.ts'
export { CookieStore, type CookieStoreOptions } from '../stores/cookie-store.ts'
export { MemoryStore, type MemoryStoreOptions } from '../stores/memory-store.ts'
