import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { parseSetCookie } from 'cookie'
import { test } from 'tap'
import {
  Builder,
  cookies,
  flash,
  session,
  type App,
  type FlashHandle,
  type JsonValue,
  type SessionHandle,
} from '../../lib/index.ts'
import { configOf, railsOptions, vectorFiles, type Vector, type VectorConfig } from '../vectors.ts'

type Data = Record<string, JsonValue | undefined>
type Req = IncomingMessage & { session: SessionHandle<Data>; flash: FlashHandle<Data> }
type Action = (req: Req) => Promise<unknown>

interface Step {
  step: string
  now: string
  cookie_header: string | null
  set_cookies: string[]
  error: string | null
  result: unknown
  cookie_session_json: string | null
}

interface Flow extends Vector {
  session_options: { expire_after?: number }
  steps: Step[]
}

const about = ({ id, label }: Vector): string => `${id} ${label}`

const put =
  (values: Data): Action =>
  async ({ session }) => {
    Object.assign(await session, values)
    return Object.values(values).at(-1)
  }

const read =
  (key: string): Action =>
  async ({ session }) =>
    (await session)[key]

const all: Action = async ({ session }) => ({ ...(await session) })

const say =
  (values: Data): Action =>
  async (req) => {
    Object.assign(await req.flash, values)
    return Object.values(values).at(-1)
  }

const told: Action = async ({ flash }) => ({ ...(await flash) })

const toldOne =
  (key: string): Action =>
  async ({ flash }) =>
    (await flash)[key]

/** What the steps of the flows do, in Ruby there and here in TypeScript. */
const actions: Record<string, Record<string, Action>> = {
  'write, read, untouched': {
    'session[user_id] = 1': put({ user_id: 1 }),
    read: read('user_id'),
    'session not touched': async () => null,
    'same value again': put({ user_id: 1 }),
    'delete the key': async ({ session }) => {
      const hash = await session
      const { user_id: before } = hash
      delete hash.user_id
      return before
    },
    'read after delete': read('user_id'),
  },
  'read only, no cookie': {
    read: read('user_id'),
    to_hash: all,
    'key?': async ({ session }) => 'user_id' in (await session),
    'delete of an absent key': async ({ session }) => {
      delete (await session).user_id
      return null
    },
    'set nil': async ({ session }) => {
      ;(await session).user_id = undefined
      return null
    },
  },
  clear: {
    'set two': put({ a: 1, b: 2 }),
    clear: async ({ session }) => {
      session.clear()
      return {}
    },
    read: read('a'),
  },
  'nil and false': {
    'set nil and false': put({ n: null, f: false, h: { n: null } }),
    'overwrite with nil': async ({ session }) => {
      ;(await session).f = undefined
      return null
    },
    read: all,
  },
  'symbol keys and values': { set: put({ sym: 'val', h: { a: 'b' } }), read: all },
  reset_session: {
    login: put({ user_id: 1 }),
    reset_session: async ({ session }) => {
      session.reset()
      return null
    },
    read: all,
  },
  'reset_session and write': {
    set: put({ cart: [1] }),
    'reset then login': async ({ session }) => {
      const hash = session.reset()
      hash.user_id = 9
      return 9
    },
    read: all,
  },
  'reset_session with no cookie': {
    reset_session: async ({ session }) => {
      session.reset()
      return null
    },
  },
  renew: {
    set: put({ a: 1 }),
    renew: async (req) => {
      req.session.renew()
      return put({ b: 2 })(req)
    },
    read: all,
  },
  // an option of Rack that Rails' cookie store takes for skip
  drop: {
    set: put({ a: 1 }),
    drop: async (req) => {
      req.session.options.skip = true
      return put({ b: 2 })(req)
    },
    read: all,
  },
  skip: {
    set: put({ a: 1 }),
    skip: async (req) => {
      req.session.options.skip = true
      return put({ b: 2 })(req)
    },
    read: all,
  },
  defer: {
    set: put({ a: 1 }),
    defer: async (req) => {
      req.session.options.defer = true
      return put({ b: 2 })(req)
    },
    read: all,
  },
  destroy: {
    set: put({ a: 1 }),
    'session.destroy': async ({ session }) => {
      session.destroy()
      return true
    },
    read: all,
  },
  'expire_after changed in the action': {
    'remember me': async (req) => {
      req.session.options.expireAfter = 2592000
      await put({ a: 1 })(req)
      return 2592000
    },
    read: all,
  },
  counter: Object.fromEntries(
    [1, 2, 3, 4].map((i) => [
      `increment ${i}`,
      async ({ session }) => {
        const hash = await session
        hash.n = Number(hash.n ?? 0) + 1
        return hash.n
      },
    ]),
  ),
  flash: {
    'flash[notice]': say({ notice: 'saved' }),
    'read flash': toldOne('notice'),
    next: all,
    'next again, flash asked': toldOne('notice'),
  },
  'flash not read': {
    flash: say({ notice: 'saved' }),
    untouched: async () => null,
    read: toldOne('notice'),
    'read again': toldOne('notice'),
  },
  'flash kinds': {
    'notice, alert and own': say({ notice: 'n', alert: 'a', custom: { k: [1, null] }, u: '<é>&' }),
    read: told,
    gone: told,
  },
  'flash.now': {
    'flash.now': async (req) => {
      req.flash.now.a = 1
      await put({ x: 1 })(req)
      return (await req.flash).a
    },
    read: told,
  },
  'flash.keep': {
    set: say({ notice: 'k' }),
    keep: async ({ flash }) => {
      flash.keep()
      return null
    },
    read: toldOne('notice'),
    gone: toldOne('notice'),
  },
  'flash.keep one': {
    'set two': say({ a: 1, b: 2 }),
    'keep a': ({ flash }) => Promise.resolve(flash.keep('a')),
    read: told,
    gone: told,
  },
  'flash.discard': {
    'set and discard': async ({ flash }) => {
      Object.assign(await flash, { a: 1, b: 2 })
      return flash.discard('a')
    },
    read: told,
  },
  'flash overwritten': {
    set: say({ a: 1 }),
    'set again while one is there': say({ a: 2 }),
    read: told,
    gone: told,
  },
  'flash added while one is there': { set: say({ a: 1 }), 'add b': say({ b: 2 }), read: told },
  'flash and reset_session': {
    flash: async (req) => {
      await put({ u: 1 })(req)
      return say({ a: 1 })(req)
    },
    'reset then flash': async (req) => {
      req.session.reset()
      return say({ b: 2 })(req)
    },
    read: told,
  },
  'flash cleared': {
    set: say({ a: 1 }),
    clear: async ({ flash }) => {
      const hash = await flash
      for (const key in hash) delete hash[key]
      return { ...hash }
    },
    read: told,
  },
}

let act: Action = all
let now = 0

/** Deriving keys takes milliseconds. */
const apps = new Map<string, App>()

function appOf(config: VectorConfig, expireAfter: number | undefined): App {
  const name = JSON.stringify([config, expireAfter])
  const known = apps.get(name)
  if (known) return known
  const app = new Builder()
    .use(cookies({ ...railsOptions(config), legacy: true, requirePurpose: false, clock: () => now }))
    .use(session<Data>({ key: config.cookie_name, expireAfter }))
    .use(flash<Data>())
    .run(async (req) => [200, {}, JSON.stringify((await act(req)) ?? null)])
  apps.set(name, app)
  return app
}

/** One request, with the cookie given: what the action gave, and the cookie that the browser then holds. */
async function ask(
  app: App,
  action: Action,
  cookie: string | undefined,
): Promise<{ result: unknown; cookie: string | undefined }> {
  const req = Object.assign(new IncomingMessage(new Socket()), {
    url: '/',
    method: 'GET',
    headers: { host: 'localhost', ...(cookie !== undefined && { cookie }) },
  })
  act = action
  const [, headers, body] = await app(req)
  const [line] = (headers['set-cookie'] ?? []) as string[]
  if (line === undefined) return { result: JSON.parse(body as string), cookie }
  const { name, value, maxAge } = parseSetCookie(line, { decode: (raw) => raw })
  return { result: JSON.parse(body as string), cookie: maxAge === 0 ? undefined : `${name}=${value}` }
}

/** What Rails keeps of a session: no id, and no empty values at the top. */
function contentOf(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json
  return Object.fromEntries(Object.entries(json).filter(([key, value]) => key !== 'session_id' && value !== null))
}

test('FLASH-02 FLASH-04 FLASH-11 FLASH-12 FLASH-17 a browser between Rails and us finds in each step what it finds with Rails alone', async (t) => {
  let steps = 0
  for (const { configs, vectors } of vectorFiles(['flow'])) {
    for (const vector of vectors.filter((one): one is Flow => one.kind === 'flow')) {
      const config = configOf(configs, vector)
      const app = appOf(config, vector.session_options.expire_after)
      const label = vector.label.split(': ')[1] as string
      let own: string | undefined
      let content: unknown = {}
      for (const { step, cookie_header: header, result, now: at, ...rails } of vector.steps) {
        now = Date.parse(at)
        const action = actions[label]?.[step]
        if (action === undefined) throw new Error(`${about(vector)}: no action for "${step}"`)
        const login = label === 'reset_session' && step === 'login'
        if (rails.cookie_session_json !== null) content = contentOf(JSON.parse(rails.cookie_session_json))
        if (login) content = { user_id: 1 }
        // once with the cookie that Rails wrote in the step before, and once with our own
        for (const cookie of [header ?? undefined, own]) {
          const answer = await ask(app, action, cookie)
          own = answer.cookie
          if (!login) t.same(contentOf(answer.result), contentOf(result), `${about(vector)}: ${step}, result`)
          const { result: kept } = await ask(app, all, own)
          t.same(contentOf(kept), content, `${about(vector)}: ${step}, content`)
        }
        steps++
      }
    }
  }
  t.ok(steps >= 30, `${steps} steps`)
})

interface Shape extends Vector {
  cookie_header: string
  flash_seen: unknown
  cookie_session_json_after: string | null
}

test('a stored flash of any shape reads as Rails reads it, and what is none is removed', async (t) => {
  let shapes = 0
  for (const { configs, vectors } of vectorFiles(['flow'])) {
    for (const vector of vectors.filter((one): one is Shape => one.kind === 'flash-shape')) {
      const app = appOf(configOf(configs, vector), undefined)
      now = Date.parse(vector.now ?? vector.generated_at ?? '2026-03-14T15:09:26Z')
      const { result, cookie } = await ask(app, told, vector.cookie_header)
      // where Rails raised an error, the sane answer is an empty flash
      t.same(result, vector.flash_seen ?? {}, `${about(vector)}: seen`)
      const { result: after } = await ask(app, all, cookie)
      t.same(
        contentOf(after),
        contentOf(JSON.parse(vector.cookie_session_json_after ?? '{}')),
        `${about(vector)}: kept`,
      )
      shapes++
    }
  }
  t.ok(shapes >= 6, `${shapes} shapes`)
})
