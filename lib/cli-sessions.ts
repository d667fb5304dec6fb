import { parseArgs } from 'node:util'
import type { ListedSession } from '../stores/redis-store.ts'
import { CommandError, UsageError } from './cli-command.ts'
import { isoTime, json, print } from './cli-output.ts'
import { openStore, storeFailure, type ManagedStore } from './cli-stores.ts'

const HELP = `Usage: luggage-rack sessions list|trim|delete --store <store> [options]

Looks after the sessions of a store, without ever showing what they hold.

  list     the live sessions: private id (the key in the store; it opens nothing), when each was created, last seen,
           when it ends, and whose it is
  trim     removes what has expired from a SQLite file; Redis and memcached do that by themselves
  delete   signs out: one owner, one session, or everybody

Stores:
  redis://[user:password@]host[:port][/db], rediss://…   also a node of a cluster
  sqlite:<file>, or a file's name that ends with .db, .sqlite or .sqlite3
  memcached://host[:port][,…]                            lists nothing; deletes by id

Options:
  --store <store>    where the sessions are; or in LUGGAGE_RACK_STORE, where no list of processes shows a password
  --prefix <prefix>  of Redis and memcached: what their keys begin with (session:)
  --table <table>    of SQLite: the table (sessions)
  --json             one JSON document: of list [{ id, owner, createdAt, lastSeenAt, expiresAt }, …], else
                     { removed }, a number where the store tells it
  --help

Options of list:
  --owner <owner>    only this owner's
  --limit <number>   at most so many

Options of delete, of which one is needed:
  --owner <owner>    all sessions of one owner
  --id <private id>  one session, as list shows it
  --all --yes        every session of the store
`

const PRIVATE_ID = /^2::[0-9a-f]{64}$/

const COMMON = {
  store: { type: 'string' },
  prefix: { type: 'string' },
  table: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

interface Common {
  readonly store?: string | undefined
  readonly prefix?: string | undefined
  readonly table?: string | undefined
}

/** `luggage-rack sessions`: what is in a store, for whoever looks after it. */
export async function sessions(args: readonly string[]): Promise<void> {
  const [action, ...rest] = args
  switch (action) {
    case 'list':
      return list(rest)
    case 'trim':
      return trim(rest)
    case 'delete':
      return remove(rest)
    case '--help':
      return print(HELP)
    default:
      throw new UsageError('sessions takes one of list, trim and delete.')
  }
}

async function list(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { ...COMMON, owner: { type: 'string' }, limit: { type: 'string' } } })
  if (values.help) return print(HELP)
  const limit = values.limit === undefined ? Infinity : Number(values.limit)
  if (values.limit !== undefined && !(/^\d{1,9}$/.test(values.limit) && limit > 0)) {
    throw new UsageError('--limit takes a whole number above 0.')
  }
  return withStore(values, true, async (store) => {
    if (!store.list) throw cannot(store, 'lists nothing', 'Give delete --id the private id that it is about.')
    let count = 0
    for await (const session of store.list(values.owner)) {
      await print(values.json ? `${count === 0 ? '[\n' : ',\n'}  ${rowInJson(session)}` : rowInText(session, count))
      count++
      if (count >= limit) break
    }
    if (values.json) await print(count === 0 ? '[]\n' : '\n]\n')
    else if (count === 0) await print('There are no sessions.\n')
  })
}

async function trim(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: COMMON })
  if (values.help) return print(HELP)
  return withStore(values, false, async (store) => {
    const removed = await store.trim?.()
    if (values.json) await print(json({ removed: removed ?? null }))
    else if (removed === undefined) await print(`${store.name} removes by itself what has expired.\n`)
    else await print(`${countOf(removed, 'expired session')} removed.\n`)
  })
}

async function remove(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      ...COMMON,
      owner: { type: 'string' },
      id: { type: 'string' },
      all: { type: 'boolean', default: false },
      yes: { type: 'boolean', default: false },
    },
  })
  if (values.help) return print(HELP)
  const { owner, id, all, yes } = values
  if ([owner !== undefined, id !== undefined, all].filter(Boolean).length !== 1) {
    throw new UsageError('delete takes one of --owner, --id and --all.')
  }
  if (id !== undefined && !PRIVATE_ID.test(id)) {
    throw new UsageError('--id takes a private id, 2:: and 64 hexadecimal digits, as list shows it.')
  }
  if (all && !yes) throw new UsageError('--all signs everybody out, so it takes --yes as well.')

  return withStore(values, false, async (store) => {
    let removed: number | null = null
    if (owner !== undefined) {
      if (!store.deleteOwner) throw cannot(store, 'has no list of an owner', 'Delete by --id.')
      removed = await store.deleteOwner(owner)
    } else if (id !== undefined) {
      if (!(await store.deleteId?.(id))) {
        throw new CommandError('ERR_SESSION_MISSING', 'There is no session of this id, or it has ended.')
      }
      removed = 1
    } else {
      if (!store.deleteAll) throw cannot(store, 'lists nothing', 'Restart it, or give the application another prefix.')
      await store.deleteAll()
    }
    if (values.json) return print(json({ removed }))
    return print(removed === null ? 'Every session removed.\n' : `${countOf(removed, 'session')} removed.\n`)
  })
}

async function withStore(
  { store: given, prefix, table }: Common,
  readonly: boolean,
  work: (store: ManagedStore) => Promise<void>,
): Promise<void> {
  const location = given ?? process.env['LUGGAGE_RACK_STORE'] ?? ''
  if (location === '') throw new UsageError('Say which store with --store.')
  const store = await openStore({ store: location, prefix, table, readonly })
  try {
    await work(store)
  } catch (error) {
    throw storeFailure(store.name, error)
  } finally {
    await store.close()
  }
}

function cannot({ name }: ManagedStore, what: string, instead: string): CommandError {
  return new CommandError('ERR_STORE_UNSUPPORTED', `${name} ${what}. ${instead}`)
}

function rowInJson({ id, owner, createdAt, lastSeenAt, expiresAt }: ListedSession): string {
  const [created, seen, expires] = [isoTime(createdAt), isoTime(lastSeenAt), isoTime(expiresAt)]
  return JSON.stringify({ id, owner: owner ?? null, createdAt: created, lastSeenAt: seen, expiresAt: expires })
}

function rowInText({ id, owner = '', createdAt, lastSeenAt, expiresAt }: ListedSession, index: number): string {
  const head = index === 0 ? columns('private id', 'created', 'last seen', 'expires', 'owner') : ''
  const [created, seen, expires] = [createdAt, lastSeenAt, expiresAt].map((time) => {
    const text = isoTime(time)
    return text === null ? '-' : `${text.slice(0, -5)}Z`
  }) as [string, string, string]
  // an owner may hold a line end
  return head + columns(id, created, seen, expires, JSON.stringify(owner).slice(1, -1))
}

function columns(id: string, created: string, seen: string, expires: string, owner: string): string {
  const row = [id.padEnd(67), created.padEnd(20), seen.padEnd(20), expires.padEnd(20), owner]
  return `${row.join('  ').trimEnd()}\n`
}

function countOf(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
