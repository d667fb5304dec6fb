import Database from 'better-sqlite3'
import { test } from 'tap'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { httpSuite } from '../http-suite.ts'
import { newFile } from './sqlite-file.ts'

/** The connection of a test, beside the store's own. */
const besides = new WeakMap<SqliteStore, Database.Database>()
const clocks = new WeakMap<SqliteStore, () => number>()

httpSuite<SqliteStore>(test, {
  name: 'SqliteStore',
  store: (t, { clock }) => {
    const filename = newFile(t)
    const store = new SqliteStore({ filename, clock })
    const database = new Database(filename)
    besides.set(store, database)
    clocks.set(store, clock)
    t.teardown(() => {
      store.close()
      database.close()
    })
    return store
  },
  serverSide: true,
  merges: true,
  markers: true,
  clocked: true,
  size: (store) =>
    besides
      .get(store)
      ?.prepare('SELECT count(*) FROM sessions WHERE gone IS NULL AND expires_at > ?')
      .pluck()
      .get(clocks.get(store)?.()) as number,
  corrupt: (store) => {
    besides.get(store)?.exec(`UPDATE sessions SET data = 'no JSON'`)
  },
})
