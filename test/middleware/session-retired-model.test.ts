import expressSession from 'express-session'
import * as fc from 'fast-check'
import { createHmac } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { test } from 'tap'
import { BrowserJar } from '../../lib/browser-jar.ts'
import {
  AbstractStore,
  Builder,
  cookies,
  CookieStore,
  MemoryStore,
  session,
  SessionId,
  type App,
  type CookiesOptions,
  type RackResponse,
  type RetiredCookie,
  type SessionHandle,
  type SessionStore,
} from '../../lib/index.ts'
import { MockRequest } from '../../lib/testing.ts'
import { ExpressSessions } from '../../stores/express-store.ts'
import { fuzzing } from '../fuzz.ts'
import { SECRET } from '../session-app.ts'
import {
  Account,
  clock,
  demand,
  findIn,
  gated,
  Gates,
  isReader,
  knows,
  listening,
  nextEvent,
  OWNER,
  perform,
  step,
  visitOf,
  type Hash,
  type Step,
  type Visit,
} from '../session-scene.ts'

const { RUNS, SEED } = fuzzing(150, 300)

const OLD_SECRET = 'the secret of last year, which is long enough and known to everybody'

const PLACE = { protocol: 'http:', hostname: 'localhost', pathname: '/' }

// ---- what is asked

interface Plan {
  readonly steps: readonly Step[]
  /** It was sent before all others, and comes only now. */
  readonly late: boolean
}

interface Scene {
  readonly begins: 'anonymous' | 'signed in'
  /** The browser has a session in the cookie of now, too. */
  readonly both: boolean
  /** Seconds. */
  readonly refreshEvery: number
  /** One after the other; of each the requests are under way at once. */
  readonly rounds: readonly (readonly Plan[])[]
  readonly order: readonly number[]
}

/** No marker ends within a scene. */
const shortStep = step.map((act): Step => (act.do === 'wait' ? { do: 'wait', ms: Math.min(act.ms, 1500) } : act))

const plan: fc.Arbitrary<Plan> = fc.record({
  steps: fc.array(shortStep, { maxLength: 4 }),
  late: fc.constantFrom(false, false, false, true),
})

const scenes: fc.Arbitrary<Scene> = fc.record({
  begins: fc.constantFrom('anonymous', 'signed in'),
  both: fc.constantFrom(false, false, false, true),
  refreshEvery: fc.constantFrom(0, 1e9),
  rounds: fc.array(fc.array(plan, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 3 }),
  order: fc.array(fc.nat(11), { maxLength: 60, size: 'max' }),
})

// ---- the real one

/** Where sessions were, and where they are. */
interface Change {
  readonly old: { readonly key: string; readonly store: SessionStore; readonly cookies?: CookiesOptions }
  readonly now: { readonly key: string; readonly store: SessionStore; readonly cookies?: CookiesOptions }
  readonly retired: readonly RetiredCookie[]
  /** Puts a session where it was, and gives its cookie, where the stack of old is another package's. */
  readonly plant?: (data: Hash) => string
}

const changes: Record<string, (gates: Gates) => Change> = {
  'a name, in a store': (gates) => {
    const store = gated(new MemoryStore({ clock }), gates)
    return { old: { key: 'old', store }, now: { key: 'now', store }, retired: [{ key: 'old' }] }
  },
  'a name and a store': (gates) => {
    const [from, to] = [gated(new MemoryStore({ clock }), gates), gated(new MemoryStore({ clock }), gates)]
    return { old: { key: 'old', store: from }, now: { key: 'now', store: to }, retired: [{ key: 'old', store: from }] }
  },
  'a store alone': (gates) => {
    const [from, to] = [gated(new MemoryStore({ clock }), gates), gated(new MemoryStore({ clock }), gates)]
    return { old: { key: 'now', store: from }, now: { key: 'now', store: to }, retired: [{ store: from }] }
  },
  'the cookie for a store, and a name': (gates) => {
    const [from, to] = [new CookieStore(), gated(new MemoryStore({ clock }), gates)]
    return { old: { key: 'old', store: from }, now: { key: 'now', store: to }, retired: [{ key: 'old', store: from }] }
  },
  'the cookie for a store, and the secret': (gates) => {
    const [from, to] = [new CookieStore(), gated(new MemoryStore({ clock }), gates)]
    return {
      old: { key: 'now', store: from, cookies: { secret: OLD_SECRET, keyDigest: 'SHA1' } },
      now: { key: 'now', store: to, cookies: { secret: SECRET, retired: [{ secret: OLD_SECRET, keyDigest: 'SHA1' }] } },
      retired: [{ store: from }],
    }
  },
  "express-session's for a store": (gates) => {
    const records = new expressSession.MemoryStore()
    const from = new ExpressSessions({ store: records, secret: SECRET })
    const to = gated(new MemoryStore({ clock }), gates)
    const plant = (data: Hash): string => {
      const { publicId } = SessionId.generate()
      const cookie = { originalMaxAge: null, expires: new Date(clock() + 1e9), path: '/' }
      records.set(publicId, Object.assign({ cookie }, data))
      const signature = createHmac('sha256', SECRET).update(publicId).digest('base64').replace(/=+$/, '')
      return encodeURIComponent(`s:${publicId}.${signature}`)
    }
    return {
      old: { key: 'connect.sid', store: from },
      now: { key: 'now', store: to },
      retired: [{ key: 'connect.sid', store: from }],
      plant,
    }
  },
  'a name, in the cookie': () => {
    const store = new CookieStore()
    return { old: { key: 'old', store }, now: { key: 'now', store }, retired: [{ key: 'old' }] }
  },
  'the secret and the digest, in the cookie': () => {
    const store = new CookieStore()
    return {
      old: { key: 'now', store, cookies: { secret: OLD_SECRET, keyDigest: 'SHA1' } },
      now: { key: 'now', store, cookies: { secret: [SECRET, OLD_SECRET], retired: [{ keyDigest: 'SHA1' }] } },
      retired: [],
    }
  },
  'a store for the cookie': (gates) => {
    const [from, to] = [gated(new MemoryStore({ clock }), gates), new CookieStore()]
    return { old: { key: 'old', store: from }, now: { key: 'now', store: to }, retired: [{ key: 'old', store: from }] }
  },
}

/** A request, and what it had to do with the old cookie. */
interface RetiredVisit extends Visit {
  /** It was sent before all others, and comes only now. */
  readonly late: boolean
  /** What it sent. */
  header?: string | undefined
  /** Its session is to be looked for in the old cookie. */
  isOld?: boolean
  /** The old cookie was expired. */
  forgot?: boolean
}

interface Played {
  readonly change: Change
  /** The one that made the old session, and the one that made the session that the browser had beside it, if it had. */
  readonly first: RetiredVisit
  readonly beside: RetiredVisit | undefined
  readonly visits: readonly RetiredVisit[]
  /** The old cookie; and the id of its session: the same where it stays in its store. */
  readonly planted: string
  readonly oldId: string
  /** What a browser with these cookies reads. */
  readonly read: (header: string | undefined) => Promise<Hash>
  /** What the browser has at the end. */
  readonly jar: BrowserJar
}

function stackOf({ key, store, cookies: options }: Change['now'], run: App, more: object = {}): App {
  return new Builder()
    .use(cookies({ secret: SECRET, clock, ...options }))
    .use(session<Hash>({ store, key, owner: OWNER, ...more }))
    .run(run as Parameters<Builder['run']>[0])
}

async function play(scene: Scene, make: (gates: Gates) => Change): Promise<Played> {
  const gates = new Gates()
  const change = make(gates)
  const { old, now, retired } = change
  const moves = old.store !== now.store
  // a sealed cookie is good until it ends, and of two sessions the old one is none of this
  const isBoth = scene.both && old.key !== now.key
  const mayBeLate = now.store.inCookie !== true && !isBoth
  const named = (name: string, steps: readonly Step[], late = false): RetiredVisit =>
    Object.assign(visitOf(name, steps), { late: late && mayBeLate })
  const signIn: Step[] = scene.begins === 'signed in' ? [{ do: 'sign in', owner: 'ada' }] : []
  const first = named('first', [{ do: 'write', key: 'a' }, { do: 'nested' }, ...signIn])
  const beside = isBoth ? named('beside', [{ do: 'write', key: 'b' }]) : undefined
  const rounds = scene.rounds.map((plans, i) => plans.map(({ steps, late }, n) => named(`r${i}-${n}`, steps, late)))
  const visits = rounds.flat()
  const byName = new Map([first, ...(beside ? [beside] : []), ...visits].map((visit) => [visit.name, visit]))

  const controller = async (req: Parameters<App>[0]): Promise<RackResponse> => {
    const { session: handle } = req as unknown as { session: SessionHandle<Hash> }
    const visit = byName.get(req.headers['x-visit'] as string)
    if (visit) {
      await perform(visit, handle, gates)
      return [200, {}, '']
    }
    handle.options.skip = true
    return [200, {}, JSON.stringify(await handle)]
  }
  const before = stackOf(old, controller)
  const app = stackOf(now, controller, { retired, refreshEvery: scene.refreshEvery })

  const jar = new BrowserJar(clock)
  const ask = async (stack: App, visit: RetiredVisit, key: string): Promise<readonly string[]> => {
    const { headers } = await new MockRequest(stack, { clock }).get('/', {
      headers: { 'x-visit': visit.name, cookie: visit.header },
    })
    visit.commitEnded = nextEvent()
    const all = headers['set-cookie'] ?? []
    const lines = all.filter((line) => line.startsWith(`${key}=`))
    demand(lines.length <= 1, () => `${visit.name} is told twice`)
    visit.told = /^[^=]*=([^;]*)/.exec(lines[0] ?? '')?.[1]
    visit.forgot = old.key !== now.key && all.some((line) => line.startsWith(`${old.key}=;`))
    return all
  }
  const arrive = (lines: readonly string[]): void => lines.forEach((line) => void jar.store(line, PLACE))
  const read = async (cookie: string | undefined): Promise<Hash> =>
    JSON.parse((await new MockRequest(app, { clock }).get('/', { headers: { cookie } })).body) as Hash

  return listening(byName, async () => {
    if (change.plant) {
      first.left = { a: 'first.0', list: ['first.1'], ...(signIn.length > 0 && { [OWNER]: 'ada' }) }
      first.told = change.plant(first.left)
      arrive([`${old.key}=${first.told}; Path=/`])
    } else arrive(await ask(before, first, old.key))
    const planted = first.told as string
    const isMoved = moves && now.store.inCookie !== true
    const oldId = isMoved ? SessionId.derive(old.key, decodeURIComponent(planted)).publicId : planted
    const oldHeader = jar.header(PLACE)
    if (beside) arrive(await ask(app, beside, now.key))
    first.told = oldId

    for (const round of rounds) {
      // oxlint-disable-next-line no-await-in-loop -- one round after the other
      const was = await read(jar.header(PLACE))
      // oxlint-disable-next-line no-await-in-loop
      await gates.play(scene.order, () =>
        round.map(async (visit) => {
          await gates.pass()
          visit.header = visit.late ? oldHeader : jar.header(PLACE)
          const [newest, oldest] = visit.late
            ? [undefined, planted]
            : [jar.get(now.key)?.value, jar.get(old.key)?.value]
          const isNew = newest !== undefined && (old.key !== now.key || newest !== planted)
          visit.isOld = !isNew && oldest === planted
          visit.sent = isNew ? newest : visit.isOld ? oldId : undefined
          const lines = await ask(app, visit, now.key)
          await gates.pass()
          arrive(lines)
        }),
      )
      const [only, ...others] = round
      // oxlint-disable-next-line no-await-in-loop
      if (only && others.length === 0 && !only.late) checkAlone(only, was, await read(jar.header(PLACE)), jar)
    }
    return { change, first, beside, visits, planted, oldId, read, jar }
  })
}

// ---- what must hold

/** What one request alone does is what it would do to an ordinary object. */
function checkAlone(visit: RetiredVisit, was: Hash, is: Hash, jar: BrowserJar): void {
  const { name, outcome, told, left, read } = visit
  const text = JSON.stringify
  if (visit.loadEnded !== undefined) {
    demand(isDeepStrictEqual(read, was), () => `${name}: read ${text(read)}, and there was ${text(was)}`)
  }
  const ended = outcome === 'destroyed' || (outcome === 'reset' && !told)
  const wanted = ended ? {} : knows(visit) && outcome !== 'dropped' ? left : was
  demand(isDeepStrictEqual(is, wanted), () => `${name}: ${outcome}, and there is ${text(is)}, not ${text(wanted)}`)
  if (ended) demand(jar.size === 0, () => `${name}: ${outcome}, and the browser has a cookie`)
}

/** What the browser is told. */
function checkTold({ change: { old, now }, visits }: Played): void {
  for (const visit of visits) {
    const { name, isOld, outcome, told, loadOutcome, forgot } = visit
    const isSent = visit.header?.includes(`${old.key}=`) === true && old.key !== now.key
    const ends = outcome === 'destroyed' || outcome === 'reset'
    if (told !== undefined) demand(!isSent || forgot === true, () => `${name}: the old cookie is not expired`)
    else if (!ends) demand(forgot !== true, () => `${name}: ${outcome}, and only the old cookie is expired`)
    if (isReader(visit)) {
      const may = [undefined, 'unchanged', 'refreshed', 'dropped']
      demand(may.includes(outcome), () => `${name}: read, and ${outcome}`)
    }
    if (isOld !== true || loadOutcome !== 'found' || visit.loadTime === undefined) continue
    // what is read slowly may have ended meanwhile, and a seal cannot tell
    const isLate = old.store.inCookie === true && (visit.commitTime as number) - visit.loadTime >= 1000
    const isFirst = visits.every((one) => one === visit || one.commitBegan > visit.commitEnded)
    if (isLate) demand(!isReader(visit) || !isFirst || told === undefined, () => `${name}: a slow read is brought over`)
    else demand(outcome !== 'unchanged', () => `${name}: the session is not brought over`)
  }
}

/** What the store of now has, and the one of old. */
async function checkRecords({ change, first, beside, visits, planted, oldId, read }: Played): Promise<number> {
  const { old, now } = change
  const moves = old.store !== now.store
  for (const visit of visits) {
    // a renewal on the way from one store to the other
    const isNew = Boolean(visit.told) && visit.told !== visit.sent
    if (isNew && (visit.outcome === 'updated' || visit.outcome === 'refreshed')) visit.outcome = 'renewed'
  }
  const root = beside ?? first
  const account = new Account({ visits, first: root }, { marks: true, buries: true, merges: true, renews: true })

  for (const visit of visits) {
    const { name, sent, loadOutcome, loadBegan, loadEnded, read: seen } = visit
    account.demandKept(visit)
    if (sent === undefined || loadBegan === undefined || loadEnded === undefined) continue
    demand(loadOutcome !== 'found' || !account.wasGone(sent, loadBegan), () => `${name}: found what is gone`)
    const isEmpty = Object.keys(seen).length === 0
    // while somebody signs out, for a moment an empty session stands where none is to be brought to
    const isEnding = account.enders(sent).some(({ commitBegan }) => commitBegan < loadEnded)
    if (loadOutcome !== 'found') demand(isEmpty, () => `${name}: read what is gone`)
    else if (!isEmpty || !isEnding) account.demandData(`${name} reads`, sent, seen, loadBegan, loadEnded)
  }

  const isBrought = !moves || visits.some(({ isOld, told }) => isOld === true && Boolean(told))
  let live = 0
  for (const id of account.ids) {
    const who = [root, ...visits].find(({ told }) => told === id)?.name
    const enders = account.enders(id)
    const isThere = id !== oldId || isBrought
    if (enders.length === 0 && isThere) live++
    // a late request with the old cookie goes on with the session
    for (const header of [
      ...(isThere ? [`${now.key}=${id}`] : []),
      ...(id === oldId ? [`${old.key}=${planted}`] : []),
    ]) {
      // oxlint-disable-next-line no-await-in-loop
      const data = await read(header)
      const [key = ''] = header.split('=')
      if (enders.length === 0) account.demandData(`of ${who}, by ${key}`, id, data, Infinity, Infinity)
      else
        demand(Object.keys(data).length === 0, () => `of ${who}: gone by ${enders[0]?.name}, and is there, by ${key}`)
    }
  }

  const isOut = visits.some(
    ({ outcome, header }) =>
      (outcome === 'destroyed' || outcome === 'reset') && header?.includes(`${old.key}=`) === true,
  )
  if (beside && isOut) {
    const data = await read(`${old.key}=${planted}`)
    demand(Object.keys(data).length === 0, () => 'whoever signed out is in the old cookie')
  }
  if (!beside && moves && old.store instanceof AbstractStore && (isBrought || account.enders(oldId).length > 0)) {
    const found = await findIn(old.store, SessionId.parse(planted) as SessionId)
    demand(found === undefined || found.gone === true, () => 'the old record is there')
  }
  const { size } = now.store as MemoryStore
  const mayStay = beside && !moves ? 1 : 0
  demand(size >= live && size <= live + mayStay, () => `there are ${size} records, and ${live} sessions`)
  return live
}

async function check(played: Played): Promise<number> {
  checkTold(played)
  return played.change.now.store.inCookie === true ? played.jar.size : checkRecords(played)
}

for (const [name, make] of Object.entries(changes)) {
  test(`after a change of ${name}, a session goes on as one, and what is gone stays gone`, async (t) => {
    let found = 0
    const run = fc.asyncProperty(scenes, async (scene) => {
      if ((await check(await play(scene, make))) > 0) found++
    })
    await fc.assert(run, { numRuns: RUNS, ...SEED })
    t.ok(found > RUNS / 10, `${found} of ${RUNS} ended in a session`)
  })
}
