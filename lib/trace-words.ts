import type { IncomingMessage } from 'node:http'
import type {
  CommitMessage,
  CookiesMessage,
  LayerMessage,
  LoadMessage,
  OpenMessage,
  RefusalReason,
  RequestMessage,
  ResponseMessage,
  SetCookieMessage,
  SignInMessage,
  StoreMessage,
} from './channels.ts'
import type { RequestTrace } from './request-trace.ts'

// What each step is called, and what it means, in plain words.

/** A title, and a sentence or two. */
export type Words = readonly [title: string, text: string]

export function nameOf(kind: LayerMessage['kind'], name: string): string {
  return kind === 'controller' ? 'controller' : name || '(anonymous)'
}

export function request(req: IncomingMessage): Words {
  return [
    `${req.method} ${req.url} comes in`,
    'Node has read the head of the request and calls the listener. Nobody has looked at its cookies yet.',
  ]
}

/** What the layers do on the way in. */
const LAYERS: Readonly<Record<string, string>> = {
  cookies: 'It puts a jar on the request. The Cookie header is not parsed before somebody asks for a cookie.',
  session: 'It puts a handle on the request. No cookie is opened and no store is asked before somebody awaits it.',
  flash: 'It puts a handle on the request for messages that the next page shows. They are kept in the session.',
  csrf: 'Of a request that may change something it asks whether it comes from a page of ours.',
  form: 'It puts a function on the request that reads the fields of a form, once somebody calls it.',
  forwarded: 'It reads what trusted proxies say of the browser: its scheme, its host and its address.',
  openid: 'It answers where signing in begins, and sees who comes back from the provider. Every other request goes on.',
  requestId: 'It gives the request an id, for logs.',
  showExceptions: 'It does nothing on the way in. An error that comes back becomes a page.',
  conditionalGet: 'It does nothing on the way in. On the way out it may answer that nothing changed.',
  methodOverride: 'It reads the method that a form asks for.',
  serverTiming: 'It notes the time.',
  lifecycle: 'It serves the lifecycle page. Every other request goes on as it came.',
  lint: 'It sees whether the layers around it keep to the rules.',
}

export function entered(kind: LayerMessage['kind'], name: string): Words {
  const title = `into ${nameOf(kind, name)}`
  if (kind === 'controller')
    return [title, 'Here the application answers. What it returns is a value: nothing is sent yet.']
  return [
    title,
    (Object.hasOwn(LAYERS, name) ? LAYERS[name] : undefined) ?? 'It does its part and calls the layer below.',
  ]
}

export function left({ kind, name, status, error }: LayerMessage): Words {
  const title = `out of ${nameOf(kind, name)}`
  if (error !== undefined) return [title, 'It ended with an error, which goes on to the layer above.']
  if (kind === 'layer' && name === 'session') {
    return [title, 'The session is committed before one byte is sent, so that a failed save can still become an error.']
  }
  if (kind === 'layer' && name === 'cookies') return [title, 'The cookies that were written are in the headers now.']
  return [title, `The response, with status ${status}, goes back to the layer above.`]
}

export function parsed({ count, bytes }: CookiesMessage): Words {
  const are = count === 1 ? 'is 1 cookie' : `are ${count} cookies`
  return ['the Cookie header is parsed', `Somebody asked for a cookie. There ${are} in ${bytes} characters.`]
}

export const awaited: Words = [
  'the session is awaited',
  'It is the first await of this request, so the session is loaded now, and not before.',
]

export function called({ store, call }: StoreMessage): Words {
  const title = `${store}: ${call}`
  if (store === 'CookieStore') {
    if (call === 'load')
      return [title, 'The cookie is the store: what the browser sent is opened. Nothing else is asked.']
    if (call === 'save') return [title, 'The whole session is written as JSON and sealed with AES-256-GCM.']
    return [title, 'There is nothing on the server to remove. The browser is told to forget the cookie.']
  }
  if (call === 'load') return [title, 'The store is asked for the record of this id, by the hash of it.']
  if (call === 'save') return [title, 'What changed is written to the store.']
  return [
    title,
    'The record is removed. For a minute a marker stands in its place, so that no late request brings it back.',
  ]
}

export function answered({ store, call, found, error }: StoreMessage): Words {
  if (error !== undefined)
    return [`${store} failed`, 'The request becomes an error, and no cookie of the session is touched.']
  if (call === 'remove') return [`${store} answered`, 'It is gone.']
  if (call === 'load') return [`${store} answered`, found ? 'There is a session.' : 'There is no such session.']
  return [`${store} answered`, found ? 'It is saved.' : 'The session was gone, so nothing was written.']
}

const REFUSALS: Readonly<Record<RefusalReason, string>> = {
  form: 'It is not of the form that a sealed cookie has, so nothing of it was decrypted.',
  seal: 'The check of its tag failed: a byte of it was changed, or another secret sealed it. Nothing of what is inside was read.',
  purpose: 'It is whole, but was sealed for a cookie of another name.',
  ended: 'It is whole, but its time is over, whatever the browser thinks.',
  content: 'It is whole, but holds no session.',
  other: 'Its sealer does not take it for one of its own.',
}

export function opened({ outcome, reason, retired }: OpenMessage): Words {
  if (outcome === 'refused') return [`the cookie is refused: ${reason}`, REFUSALS[reason ?? 'other']]
  return [
    'the cookie is opened',
    retired
      ? 'A retired secret opened it. It will be sealed anew.'
      : 'Its tag fits: it is what this application sealed, byte by byte, for a cookie of this name.',
  ]
}

const LOADS: Readonly<Record<LoadMessage['outcome'], string>> = {
  none: 'The browser sent no cookie of the session, so the hash is empty, and no store was asked.',
  found: 'The hash is there. From now on every change of its first level is noted.',
  refused: 'No cookie opened, so the hash is empty. That is no error: anybody can send a cookie.',
  unknown: 'There is no such session, so the hash is empty. The id is never adopted.',
  gone: 'The session was ended less than a minute ago, so the hash is empty, and stays so.',
  failed: 'The store failed.',
}

export function loaded({ outcome }: Pick<LoadMessage, 'outcome'>): Words {
  return [`the session is loaded: ${outcome}`, LOADS[outcome]]
}

const COMMITS: Readonly<Record<CommitMessage['outcome'], string>> = {
  unchanged: 'Nothing differs from what was loaded, so nothing is written.',
  created: 'There was no session. Now there is one, under a new id.',
  updated: 'It was changed, and is saved.',
  renewed: 'The same session goes on under a new id. The old one opens nothing any more.',
  reset: 'The old session is removed. What was written afterwards is a new one, under a new id.',
  destroyed: 'The session is removed, and the browser is told to forget its cookie.',
  refreshed: 'Only the time at which it ends was moved, or it was sealed with the secret of now.',
  dropped: 'The session was gone when it was to be saved, so what was written is dropped, and no cookie is sent.',
  insecure: 'The request came over plain http, where the cookie may not go, so nothing is written.',
  skipped: 'The application asked that nothing be saved.',
}

export function committed({ outcome, changed }: CommitMessage): Words {
  const keys = changed.length === 0 ? '' : ` Changed: ${changed.join(', ')}.`
  return [`the session is committed: ${outcome}`, COMMITS[outcome] + keys]
}

export function set({ name, bytes, expires }: SetCookieMessage): Words {
  const title = `Set-Cookie: ${name}`
  if (expires) return [title, 'The browser is told to forget this cookie.']
  return [title, `The browser is told to keep this cookie: ${bytes} of the 4096 bytes that browsers take.`]
}

const SIGN_INS: Readonly<Record<SignInMessage['outcome'], Words>> = {
  begun: [
    'signing in begins',
    'The browser is sent to the provider. What it must bring back stands in a cookie of its own.',
  ],
  done: [
    'somebody signed in',
    'What the browser brought back checks, and so do the tokens. The session gets a new id.',
  ],
  failed: [
    'nobody signed in',
    'Something does not check, or was refused: by the provider, by the layer, or by the application.',
  ],
  refreshed: ['the token was refreshed', 'It was over, and the provider gave another one. The session goes on.'],
  ended: ['the session ended with its token', 'The token is over, and so is the session: it is empty now.'],
}

export function signedIn({ outcome, failure }: SignInMessage): Words {
  const [title, text] = SIGN_INS[outcome]
  return [failure === undefined ? title : `${title}: ${failure}`, text]
}

export function sent({ status }: ResponseMessage): Words {
  return ['the head is sent', `Status ${status} and the headers go out. Nothing in them can be changed any more.`]
}

export function ended({ complete }: RequestMessage): Words {
  return complete === true
    ? ['the response is out', 'All of it was handed to the system. Node waits for the next request.']
    : ['the client left', 'The connection was closed before all of the response was out.']
}

/** Why a cookie of the session was sent, or why not. */
export function decision(trace: RequestTrace, commit: CommitMessage | undefined): { sent: boolean; text: string } {
  const not = (why: string): { sent: boolean; text: string } => ({
    sent: false,
    text: `No cookie was sent, because ${why}.`,
  })
  if (commit === undefined) {
    if (trace.steps.some(({ layer, kind }) => kind === 'leave' && layer === 'session')) {
      return not('nobody looked at the session')
    }
    return not('the request did not come as far as the session')
  }
  const { outcome, cookie, changed } = commit
  if (cookie === 'expired')
    return { sent: true, text: 'A cookie was sent that the browser drops at once, because the session has ended.' }
  if (cookie === 'sent') {
    const why =
      outcome === 'updated'
        ? `the session changed (${changed.join(', ')}), and its cookie with it`
        : outcome === 'refreshed'
          ? 'its end was moved, or a retired secret had sealed it'
          : 'there is a new session'
    return { sent: true, text: `A cookie was sent, because ${why}.` }
  }
  if (outcome === 'unchanged') {
    const isThere = trace.steps.some(({ kind, title }) => kind === 'load' && title === loaded({ outcome: 'found' })[0])
    return not(
      isThere
        ? 'nothing in the session differs from what was loaded'
        : 'there is no session, and nothing was written to begin one',
    )
  }
  if (outcome === 'updated' || outcome === 'refreshed') {
    return not('it holds nothing but the id, which is the same: the change is in the store')
  }
  if (outcome === 'dropped') return not('the session was gone, and stays gone')
  if (outcome === 'insecure') return not('the request came over plain http')
  return not('the application asked for none')
}
