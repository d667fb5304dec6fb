import Database from 'better-sqlite3'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { SqliteStore } from '../../stores/sqlite-store.ts'
import { Client, serve } from '../server.ts'
import { sessionApp } from '../session-app.ts'
import { newFile } from './sqlite-file.ts'

const ROWS = 1_000_000
const EXPIRED = 20_000

test('a cleanup of a table of a million rows lets requests through all the while', async (t) => {
  const filename = newFile(t)
  const now = Date.now()
  new SqliteStore({ filename }).close()
  fill(filename, now)
  const store = new SqliteStore({ filename, sweepEvery: 0 })
  t.teardown(() => store.close())
  const { port } = await serve(t, sessionApp({ store }))
  const client = new Client(port)
  await client.get('/count')

  const state = { done: false }
  const cleanup = store.cleanup().finally(() => (state.done = true))
  // the time of the processor, so that neither another process nor a slow disk is counted
  let longest = 0
  const watch = async (): Promise<void> => {
    while (!state.done) {
      const before = process.cpuUsage()
      // oxlint-disable-next-line no-await-in-loop
      await turn()
      const { user, system } = process.cpuUsage(before)
      longest = Math.max(longest, (user + system) / 1000)
    }
  }
  const watched = watch()
  let answers = 0
  let slowest = 0
  while (!state.done) {
    const began = performance.now()
    // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
    t.equal((await client.get('/count')).status, 200)
    slowest = Math.max(slowest, performance.now() - began)
    answers++
  }
  await watched
  t.equal(await cleanup, EXPIRED)
  t.comment(`longest step ${longest.toFixed(1)} ms of CPU; ${answers} requests, the slowest ${slowest.toFixed(1)} ms`)
  // all at once they take about a second
  t.ok(longest < 150, `the longest step took ${longest.toFixed(1)} ms`)
  t.ok(answers > 20, `${answers} requests were answered meanwhile`)
})

/** Expired rows are all over the file, and so as far from each other as they can be. */
function fill(filename: string, now: number): void {
  const database = new Database(filename)
  for (const setting of ['journal_mode = OFF', 'synchronous = OFF', 'cache_size = -500000']) database.pragma(setting)
  database.exec(`
    DROP INDEX sessions_owner;
    DROP INDEX sessions_expires_at;
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS - 1})
    INSERT INTO sessions (session_id, data, owner, created_at, updated_at, expires_at)
      SELECT printf('2::%064x', i), '{"userId":1,"text":"a few words"}', i % 5000, ${now}, ${now},
        ${now} + (i * 7919 % ${ROWS} - ${EXPIRED} + 0.5) * 100000 FROM n`)
  database.close()
}
