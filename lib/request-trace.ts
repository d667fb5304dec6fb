import type { Channel } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import {
  cookieOpen,
  cookiesParse,
  cookiesSet,
  layerSteps,
  requestEnd,
  requestStart,
  response,
  sessionAwait,
  sessionCommit,
  sessionLoad,
  signIn,
  storeSteps,
  type CommitMessage,
  type CookiesMessage,
  type LayerMessage,
  type LoadMessage,
  type OpenMessage,
  type RequestMessage,
  type ResponseMessage,
  type SetCookieMessage,
  type SignInMessage,
  type StoreMessage,
} from './channels.ts'
import { RESERVED_KEYS, type SessionData } from './session-hash.ts'
import * as words from './trace-words.ts'
import { detailsOf, isDone } from './trace.ts'

/** One thing that happened to a request. */
export interface TraceStep {
  /** Milliseconds since the request came in. */
  readonly ms: number
  readonly kind:
    | 'request'
    | 'enter'
    | 'leave'
    | 'cookies'
    | 'await'
    | 'store'
    | 'stored'
    | 'open'
    | 'load'
    | 'commit'
    | 'set'
    | 'sign-in'
    | 'response'
    | 'end'
  readonly title: string
  /** What it means, in a sentence or two. */
  readonly text: string
  /** How many layers the request is inside of. */
  readonly depth: number
  readonly direction: 'in' | 'out' | 'still'
  /** The layer that was entered or left. */
  readonly layer?: string
}

/** What happened to one request, from its head to the end of its response. */
export interface RequestTrace {
  /** 1 for the first request that was watched. */
  readonly id: number
  /** Milliseconds since 1970. */
  readonly at: number
  readonly method: string
  readonly url: string
  /** `undefined` where the client left before a head was sent. */
  status: number | undefined
  /** Milliseconds from its head to the end of its response. */
  ms: number
  /** The layers that it went through, the outermost first, and the controller. */
  readonly stack: string[]
  /** Whether a cookie of the session was sent, and why. */
  decision: { sent: boolean; text: string }
  /** The Cookie header; `null` where nobody looked at it, or no data was asked for. */
  cookie: { header: string; parts: [name: string, value: string][] } | null
  /** The session before and after; `null` where nobody awaited it, or no data was asked for. */
  session: { key: string; before: SessionData | null; after: SessionData | null; changed: string[] } | null
  /** The session's Set-Cookie line, and the bytes of its name and value, of which browsers take 4096. */
  sealed: { name: string; line: string | null; bytes: number } | null
  /** The class of the store that was asked. */
  store: string | null
  readonly steps: TraceStep[]
}

export interface WatchOptions {
  /** Whether a trace holds the Cookie header, the session and the Set-Cookie line: for development. Default `false`. */
  data?: boolean | undefined
}

/** A trace that is being written. */
interface Draft {
  readonly trace: RequestTrace
  readonly from: number
  /** Whether it came in at `toListener`, which tells of its end. */
  listened: boolean
  depth: number
  key: string | undefined
  commit: CommitMessage | undefined
}

/** Steps that a trace can hold, so that a request without an end does not fill the memory. */
const MOST_STEPS = 500

let last = 0

/**
 * Calls `heard` with the trace of each request when its response is out. Costs nothing when it is not called; while it
 * watches, some microseconds a step.
 *
 * @param skips leaves a request out, as those for the traces themselves
 * @returns stops it
 */
export function watchRequests(
  heard: (trace: RequestTrace, req: IncomingMessage) => void,
  { data = false }: WatchOptions = {},
  skips: (req: IncomingMessage) => boolean = () => false,
): () => void {
  const drafts = new WeakMap<IncomingMessage, Draft>()

  const draftOf = (req: IncomingMessage): Draft => {
    let draft = drafts.get(req)
    if (draft === undefined) drafts.set(req, (draft = draftFor(req)))
    return draft
  }
  const add = (
    draft: Draft,
    kind: TraceStep['kind'],
    [title, text]: words.Words,
    direction: TraceStep['direction'] = 'still',
    layer?: string,
  ): void => {
    const { trace, depth } = draft
    if (trace.steps.length >= MOST_STEPS) return
    const step = { ms: msSince(draft), kind, title, text, depth, direction }
    trace.steps.push(layer === undefined ? step : { ...step, layer })
  }
  const finish = (req: IncomingMessage, draft: Draft): void => {
    drafts.delete(req)
    const { trace } = draft
    trace.ms = msSince(draft)
    trace.decision = words.decision(trace, draft.commit)
    if (!skips(req)) heard(trace, req)
  }

  const leave = (message: LayerMessage): void => {
    const draft = drafts.get(message.req)
    if (draft === undefined) return
    const { kind, name, status } = message
    add(draft, 'leave', words.left(message), 'out', words.nameOf(kind, name))
    draft.depth--
    if (status !== undefined) draft.trace.status = status
    if (draft.depth === 0 && !draft.listened) finish(message.req, draft)
  }
  const answered = (message: StoreMessage): void => add(draftOf(message.req), 'stored', words.answered(message))

  const listeners: [Channel, (message: never) => void][] = [
    [
      requestStart,
      ({ req }: RequestMessage): void => {
        const draft = draftOf(req)
        draft.listened = true
        add(draft, 'request', words.request(req))
      },
    ],
    [
      layerSteps.start,
      ({ req, kind, name }: LayerMessage): void => {
        const draft = draftOf(req)
        const layer = words.nameOf(kind, name)
        draft.depth++
        if (draft.trace.stack.length < draft.depth) draft.trace.stack.push(layer)
        add(draft, 'enter', words.entered(kind, name), 'in', layer)
      },
    ],
    // of what is still under way nothing is known yet
    [
      layerSteps.end,
      (message: LayerMessage): void => {
        if (isDone(message)) leave(message)
      },
    ],
    [layerSteps.asyncEnd, leave],
    [
      cookiesParse,
      (message: CookiesMessage): void => {
        const draft = draftOf(message.req)
        add(draft, 'cookies', words.parsed(message))
        const header = detailsOf(message)
        if (data && typeof header === 'string') draft.trace.cookie = { header, parts: partsOf(header) }
      },
    ],
    [
      sessionAwait,
      ({ req, key }: { req: IncomingMessage; key: string }): void => {
        const draft = draftOf(req)
        draft.key = key
        add(draft, 'await', words.awaited)
      },
    ],
    [
      storeSteps.start,
      (message: StoreMessage): void => {
        const draft = draftOf(message.req)
        draft.trace.store = message.store
        add(draft, 'store', words.called(message))
      },
    ],
    [
      storeSteps.end,
      (message: StoreMessage): void => {
        if (isDone(message)) answered(message)
      },
    ],
    [storeSteps.asyncEnd, answered],
    [cookieOpen, (message: OpenMessage): void => add(draftOf(message.req), 'open', words.opened(message))],
    [
      sessionLoad,
      (message: LoadMessage): void => {
        const draft = draftOf(message.req)
        add(draft, 'load', words.loaded(message))
        const before = detailsOf(message) as SessionData | undefined
        if (data) draft.trace.session = { key: message.key, before: visible(before), after: null, changed: [] }
      },
    ],
    [
      sessionCommit,
      (message: CommitMessage): void => {
        const draft = draftOf(message.req)
        draft.commit = message
        draft.key = message.key
        add(draft, 'commit', words.committed(message))
        if (!data) return
        const { before, after } = detailsOf(message) as { before?: SessionData; after?: SessionData }
        const changed = [...message.changed]
        draft.trace.session = { key: message.key, before: visible(before), after: visible(after), changed }
      },
    ],
    [
      cookiesSet,
      (message: SetCookieMessage): void => {
        const draft = draftOf(message.req)
        add(draft, 'set', words.set(message))
        if (message.name !== draft.key) return
        const line = data ? (detailsOf(message) as string) : null
        draft.trace.sealed = { name: message.name, line, bytes: message.bytes }
      },
    ],
    [signIn, (message: SignInMessage): void => add(draftOf(message.req), 'sign-in', words.signedIn(message))],
    [response, (message: ResponseMessage): void => add(draftOf(message.req), 'response', words.sent(message))],
    [
      requestEnd,
      (message: RequestMessage): void => {
        const draft = drafts.get(message.req)
        if (draft === undefined) return
        draft.trace.status = message.status
        add(draft, 'end', words.ended(message))
        finish(message.req, draft)
      },
    ],
  ]
  for (const [channel, listener] of listeners) channel.subscribe(listener as never)
  return () => {
    for (const [channel, listener] of listeners) channel.unsubscribe(listener as never)
  }
}

function draftFor(req: IncomingMessage): Draft {
  const trace: RequestTrace = {
    id: ++last,
    at: Date.now(),
    method: req.method ?? 'GET',
    url: ((req as { scriptName?: string }).scriptName ?? '') + (req.url ?? '/'),
    status: undefined,
    ms: 0,
    stack: [],
    decision: { sent: false, text: '' },
    cookie: null,
    session: null,
    sealed: null,
    store: null,
    steps: [],
  }
  return { trace, from: performance.now(), listened: false, depth: 0, key: undefined, commit: undefined }
}

/** Microseconds are as exact as it gets. */
function msSince({ from }: Draft): number {
  return Math.round((performance.now() - from) * 1000) / 1000
}

function partsOf(header: string): [name: string, value: string][] {
  return header.split(';').map((pair) => {
    const equals = pair.indexOf('=')
    return equals === -1 ? [pair.trim(), ''] : [pair.slice(0, equals).trim(), pair.slice(equals + 1).trim()]
  })
}

/** What the application sees of it, as a copy. */
function visible(data: SessionData | undefined): SessionData | null {
  if (data === undefined) return null
  return JSON.parse(
    JSON.stringify(Object.fromEntries(Object.entries(data).filter(([key]) => !RESERVED_KEYS.has(key)))),
  ) as SessionData
}

/** A trace as text, for a terminal: the ladder that the request went down and up. */
export function ladder(trace: RequestTrace): string {
  const lines = trace.steps.map(({ ms, title, depth, direction }) => {
    const arrow = direction === 'in' ? '→' : direction === 'out' ? '←' : '·'
    return `${ms.toFixed(3).padStart(9)}  ${'  '.repeat(Math.max(0, direction === 'still' ? depth : depth - 1))}${arrow} ${title}`
  })
  const head = `#${trace.id} ${trace.method} ${trace.url} → ${trace.status ?? 'no answer'} in ${trace.ms.toFixed(2)} ms`
  return `${head}\n${lines.join('\n')}\n${' '.repeat(11)}${trace.decision.text}\n`
}
