import { channel, tracingChannel, type Channel, type TracingChannel } from 'node:diagnostics_channel'
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
  /** The keys whose values differ from what was loaded, deleted ones included. */
  readonly changed: readonly string[]
}

/** The message of `luggage-rack:request:start` and `luggage-rack:request:end`. */
export interface RequestMessage {
  readonly req: IncomingMessage
  /** At the end: the status that was sent; `undefined` where the client left before. */
  readonly status?: number | undefined
  /** At the end: whether the whole response was handed to the system. */
  readonly complete?: boolean
}

/** The message of the channels `luggage-rack:layer:…`, one object from the start to the end. */
export interface LayerMessage {
  readonly req: IncomingMessage
  /** What the function is called: `cookies`, `session`, or `''` for one without a name. */
  readonly name: string
  readonly kind: 'layer' | 'controller'
  /** Of the response that came out, once it is there. */
  status?: number
  /** What was thrown instead. */
  error?: unknown
}

/** The message of `luggage-rack:cookies:parse`. */
export interface CookiesMessage {
  readonly req: IncomingMessage
  /** How many cookies the header holds. */
  readonly count: number
  /** Characters of the Cookie header. */
  readonly bytes: number
}

/** The message of `luggage-rack:session:await`: somebody awaits the session for the first time. */
export interface AwaitMessage {
  readonly req: IncomingMessage
  /** The name of the session's cookie. */
  readonly key: string
}

/**
 * Which check a sealed cookie did not pass:
 * - `form`: it is not of the format, or was escaped in two ways
 * - `seal`: the tag does not fit: a byte of it was changed, or another secret sealed it
 * - `purpose`: it was sealed for a cookie of another name
 * - `ended`: its time is over
 * - `content`: it holds no session
 * - `other`: a sealer of another format does not say
 */
export type RefusalReason = 'form' | 'seal' | 'purpose' | 'ended' | 'content' | 'other'

/** The message of `luggage-rack:cookie:open`: what became of a sealed session cookie. */
export interface OpenMessage {
  readonly req: IncomingMessage
  /** The name of the cookie. */
  readonly key: string
  readonly outcome: 'opened' | 'refused'
  readonly reason: RefusalReason | undefined
  /** Whether a retired secret opened it. */
  readonly retired: boolean
}

/** The message of the channels `luggage-rack:store:…`, one object from the start to the end. */
export interface StoreMessage {
  readonly req: IncomingMessage
  /** The store's class: `CookieStore`, `RedisStore`. */
  readonly store: string
  /** A cookie value in and a session out; a session in and a cookie value out; or neither any more. */
  readonly call: 'load' | 'save' | 'remove'
  /** Whether there was something: a session, or a record to write to. */
  found?: boolean
  /** What it failed with. */
  error?: unknown
}

/** The message of `luggage-rack:cookies:set`: one Set-Cookie line. */
export interface SetCookieMessage {
  readonly req: IncomingMessage
  readonly name: string
  /** Bytes of the name and the value as sent, of which browsers take 4096. */
  readonly bytes: number
  /** Whether it makes the browser forget the cookie. */
  readonly expires: boolean
}

/** The message of `luggage-rack:response`: the head of the response is on its way. */
export interface ResponseMessage {
  readonly req: IncomingMessage
  readonly status: number
}

/**
 * The message of `luggage-rack:sign-in`, what `openid()` did:
 * - `begun`: the browser was sent to the provider
 * - `done`: it came back, and somebody is signed in
 * - `failed`: it was sent to the page for failures, and `failure` is the reason; or the application answered the callback
 *   with an error (`refused`)
 * - `refreshed`: the token that the session ends with was over, and the provider gave another one
 * - `ended`: it was over, and so is the session
 *
 * It holds no token, secret or data.
 */
export interface SignInMessage {
  readonly req: IncomingMessage
  /** The name of the provider here. */
  readonly provider: string
  readonly outcome: 'begun' | 'done' | 'failed' | 'refreshed' | 'ended'
  readonly failure: string | undefined
}

/** A request came in at `toListener`; the message is a `RequestMessage`. */
export const requestStart: Channel = channel('luggage-rack:request:start')

/** The response to it is out, or the client has left; the message is a `RequestMessage`. */
export const requestEnd: Channel = channel('luggage-rack:request:end')

/** A request goes through a layer, or the controller; the messages are `LayerMessage`s. */
export const layerSteps: TracingChannel<unknown, LayerMessage> = steps('luggage-rack:layer')

/** Somebody looked for a cookie, and the header was parsed; the message is a `CookiesMessage`. */
export const cookiesParse: Channel = channel('luggage-rack:cookies:parse')

/** The message is an `AwaitMessage`. */
export const sessionAwait: Channel = channel('luggage-rack:session:await')

/** The message is an `OpenMessage`. */
export const cookieOpen: Channel = channel('luggage-rack:cookie:open')

/** A store is called; the messages are `StoreMessage`s. */
export const storeSteps: TracingChannel<unknown, StoreMessage> = steps('luggage-rack:store')

/** A session was awaited for the first time in a request, and this came of it; the message is a `LoadMessage`. */
export const sessionLoad: Channel = channel('luggage-rack:session:load')

/** A session that was looked at was committed; the message is a `CommitMessage`. */
export const sessionCommit: Channel = channel('luggage-rack:session:commit')

/** A cookie is sent; the message is a `SetCookieMessage`. */
export const cookiesSet: Channel = channel('luggage-rack:cookies:set')

/** The message is a `SignInMessage`. */
export const signIn: Channel = channel('luggage-rack:sign-in')

/** The message is a `ResponseMessage`. */
export const response: Channel = channel('luggage-rack:response')

/** The five channels of a step that has a beginning and an end, as `TracingChannel` has them. */
function steps<Message extends object>(name: string): TracingChannel<unknown, Message> {
  return tracingChannel<unknown, Message>({
    start: channel(`${name}:start`),
    end: channel(`${name}:end`),
    asyncStart: channel(`${name}:asyncStart`),
    asyncEnd: channel(`${name}:asyncEnd`),
    error: channel(`${name}:error`),
  } as never)
}
