import Database from 'better-sqlite3'
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Agent, IncomingMessage, request } from 'node:http'
import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseSetCookie } from 'cookie'
import { test, type Test } from 'tap'
import { Builder, cookies, session, SessionId, type SessionData } from '../../lib/index.ts'
import { SqliteStore, type SqliteStoreOptions } from '../../stores/sqlite-store.ts'
import { ask, Client, serve } from '../server.ts'
import { newFile } from './sqlite-file.ts'

const KEY = '_session_id'

const req = new IncomingMessage(new Socket())

/** Ends with the test, by force. */
function owned(t: Test, child: ChildProcess): ChildProcess {
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await ended
  })
  return child
}

/** Another process that serves the sessions of a file; each path sets the key of its name to one more. */
async function startServer(t: Test, filename: string): Promise<{ child: ChildProcess; port: number }> {
  const child = owned(t, fork(fileURLToPath(new URL('sqlite-server.js', import.meta.url)), [filename]))
  const [port] = (await once(child, 'message')) as [number]
  return { child, port }
}

/** Another process that holds the lock of a file until it is told to let it go. */
async function lock(t: Test, filename: string): Promise<() => void> {
  const program = `
    import Database from 'better-sqlite3'
    const database = new Database(process.argv[1])
    database.exec('BEGIN EXCLUSIVE')
    process.send('locked')
    process.once('message', () => {
      database.exec('COMMIT')
      process.disconnect()
    })`
  const child = owned(
    t,
    spawn(process.execPath, ['--input-type=module', '-e', program, filename], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    }),
  )
  await once(child, 'message')
  return () => child.send('release')
}

/** Pages of this process: one more under the key of the path's name; the session's data; a page without session. */
async function begin(t: Test, options: SqliteStoreOptions) {
  const store = new SqliteStore(options)
  t.teardown(() => store.close())
  const app = new Builder()
    .use(cookies())
    .use(session<Record<string, number>>({ store }))
    .run(async (asked) => {
      if (asked.url === '/nothing') return [200, {}, 'nothing']
      const hash = await asked.session
      if (asked.url === '/destroy') asked.session.destroy()
      else if (asked.url === '/renew') asked.session.renew()
      else if (asked.url !== '/') hash[asked.url?.slice(1) ?? ''] = 1
      return [200, {}, JSON.stringify(hash)]
    })
  const { port, errors } = await serve(t, app)
  return { store, port, errors, client: new Client(port) }
}

const keys = Array.from({ length: 100 }, (_, i) => `key${i}`)
const all = { first: 1, ...Object.fromEntries(keys.map((key) => [key, 1])) }

test('100 concurrent requests that change different keys of one session are all kept', async (t) => {
  const { client } = await begin(t, { filename: newFile(t) })
  await client.get('/first')
  await Promise.all(keys.map((key) => client.get(`/${key}`)))
  t.same(JSON.parse((await client.get('/')).body), all)
})

test('100 concurrent requests to two server processes on one file are all kept', async (t) => {
  const filename = newFile(t)
  // both at once make the file
  const [one, other] = await Promise.all([startServer(t, filename), startServer(t, filename)])
  const client = new Client(one.port)
  await client.get('/first')
  const headers = { cookie: client.cookie }
  const answers = await Promise.all(
    keys.map((key, i) => ask(i % 2 === 0 ? one.port : other.port, `/${key}`, { headers })),
  )
  t.same([...new Set(answers.map(({ status }) => status))], [200])
  t.same(JSON.parse((await ask(other.port, '/', { headers })).body), all)
})

for (const own of [true, false]) {
  const title = own ? 'a file' : 'a given database with a busy timeout'
  test(`${title} that another process has locked blocks nobody, and requests wait for it`, async (t) => {
    const filename = newFile(t)
    const database = own ? undefined : new Database(filename, { timeout: 4000 })
    const { client, port, errors } = await begin(t, database ? { database } : { filename })
    const gone = new Client(port)
    await client.get('/first')
    await gone.get('/first')
    const renewed = client.clone()
    const release = await lock(t, filename)

    let waiting = true
    let longest = 0
    let last = performance.now()
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 5)
    const writes = Promise.all([
      ...keys.map((key) => client.clone().get(`/${key}`)),
      new Client(port).get('/first'),
      gone.get('/destroy'),
    ]).finally(() => (waiting = false))
    for (let i = 0; i < 50; i++) {
      // oxlint-disable-next-line no-await-in-loop -- while the writers wait
      t.equal((await ask(port, '/nothing')).status, 200)
    }
    t.same(JSON.parse((await client.get('/')).body), { first: 1 }, 'reading goes on')
    t.ok(waiting)
    release()
    const answers = await writes
    clearInterval(timer)
    t.ok(longest < 1000, `the event loop never stood still for longer than ${Math.round(longest)} ms`)
    t.same([...new Set(answers.map(({ status }) => status))], [200])
    t.same(errors, [])
    t.same(JSON.parse((await client.get('/')).body), all)
    t.equal((await gone.get('/')).body, '{}')
    t.equal((await renewed.get('/renew')).cookies.length, 1)
    database?.close()
  })
}

test('a file that stays locked is an error at the deadline, which says that nothing was written', async (t) => {
  const filename = newFile(t)
  const { client, port, errors, store } = await begin(t, { filename, deadline: 100 })
  await client.get('/first')
  const release = await lock(t, filename)
  const began = performance.now()
  const visitor = new Client(port)
  const answers = await Promise.all([
    ...keys.slice(0, 20).map((key) => client.clone().get(`/${key}`)),
    client.clone().get('/renew'),
    client.clone().get('/destroy'),
    visitor.get('/first'),
  ])
  t.ok(performance.now() - began >= 100)
  for (const { status, cookies: lines } of answers) {
    t.equal(status, 500)
    t.same(lines, [])
  }
  t.equal(errors.length, answers.length)
  for (const error of errors) {
    t.match(error, { code: 'ERR_STORE_LOCKED', message: /locked for 100 ms, and nothing was/ })
    t.notMatch((error as Error).stack, client.jar.get(KEY) ?? '')
  }
  await t.rejects(async () => store.cleanup(), { code: 'ERR_STORE_LOCKED' })
  t.equal((await client.get('/')).body, '{"first":1}')
  release()
  // the other process lets go some time after it was told
  let status = 500
  // oxlint-disable-next-line no-await-in-loop
  while (status === 500) ({ status } = await client.get('/second'))
  t.equal((await client.get('/')).body, '{"first":1,"second":1}')
})

test('a new file that is locked while the application starts is set up when it is released', async (t) => {
  const filename = newFile(t)
  const release = await lock(t, filename)
  const { client, store } = await begin(t, { filename })
  const read = store.findSession(req, SessionId.generate())
  t.ok(read instanceof Promise, 'even a read has to wait for the table')
  const written = client.get('/first')
  await turn()
  release()
  t.equal((await written).status, 200)
  t.equal(await read, undefined)
  t.equal((await client.get('/')).body, '{"first":1}')
})

test('a store that is closed settles what waited', async (t) => {
  const filename = newFile(t)
  const { store } = await begin(t, { filename })
  const release = await lock(t, filename)
  const write = store.deleteSessionsOf(1)
  store.close()
  await t.rejects(async () => write, /not open/)
  release()
})

test('after kill -9 of a busy server every session whose response was sent is there', async (t) => {
  const filename = newFile(t)
  const { child, port } = await startServer(t, filename)
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  /** What each session was answered last. */
  const answered = new Map<string, number>()
  let answers = 0

  const count = (id?: string): Promise<{ id: string; counter: number }> =>
    new Promise((resolve, reject) => {
      const headers = id === undefined ? {} : { cookie: `${KEY}=${id}` }
      const asked = request({ host: '127.0.0.1', port, path: '/n', headers, agent }, (res) => {
        let body = ''
        res.setEncoding('utf8').on('data', (text: string) => (body += text))
        res.on('error', reject)
        res.on('end', () => {
          const [line] = res.headers['set-cookie'] ?? []
          const given = line === undefined ? id : parseSetCookie(line).value
          resolve({ id: given ?? '', counter: (JSON.parse(body) as { n: number }).n })
        })
      })
      asked.on('error', reject)
      asked.end()
    })
  /** Three requests of a session, and then another session, until the server is gone. */
  const visit = async (): Promise<void> => {
    for (;;) {
      let id: string | undefined
      for (let i = 0; i < 3; i++) {
        // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
        const answer = await count(id)
        id = answer.id
        answered.set(id, answer.counter)
        if (++answers === 10_000) child.kill('SIGKILL')
      }
    }
  }
  const visitors = Array.from({ length: 20 }, () => visit())
  const ends = await Promise.allSettled(visitors)
  t.ok(ends.every(({ status }) => status === 'rejected'))
  t.ok(answers >= 10_000 && answered.size >= 3000, `${answers} answers, ${answered.size} sessions`)

  const store = new SqliteStore({ filename })
  t.teardown(() => store.close())
  let lost = 0
  for (const [id, counter] of answered) {
    // oxlint-disable-next-line no-await-in-loop
    const found = await store.findSession(req, new SessionId(id))
    // the last answer of a session may not have arrived
    if (![counter, counter + 1].includes(numberOf(found?.data))) lost++
  }
  t.equal(lost, 0)
  const database = new Database(filename)
  t.teardown(() => database.close())
  t.equal(database.pragma('integrity_check', { simple: true }), 'ok')
})

test('SQL-17: a server prints neither data nor ids, and ends by itself once its store and server are closed', async (t) => {
  const filename = newFile(t)
  const child = owned(
    t,
    fork(fileURLToPath(new URL('sqlite-server.js', import.meta.url)), [filename], {
      silent: true,
      env: { ...process.env, NODE_DEBUG: 'luggage-rack,better-sqlite3,sqlite', DEBUG: '*' },
    }),
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (output += String(text)))
  const [port] = (await once(child, 'message')) as [number]
  const client = new Client(port)
  for (const path of ['/first', '/second', '/']) {
    // oxlint-disable-next-line no-await-in-loop -- one browser's requests, one after the other
    t.equal((await client.get(path)).status, 200)
  }
  const ended = once(child, 'close')
  child.send('end')
  t.same(await ended, [0, null])
  t.equal(output, '')
})

test('a store that nobody closed keeps no process alive', async (t) => {
  const program = `
    import { SqliteStore } from ${JSON.stringify(new URL('../../stores/sqlite-store.js', import.meta.url).href)}
    await new SqliteStore({ filename: process.argv[1] }).cleanup()`
  const child = owned(
    t,
    spawn(process.execPath, ['--input-type=module', '-e', program, newFile(t)], { stdio: 'inherit' }),
  )
  t.same(await once(child, 'exit'), [0, null])
})

function numberOf(data: SessionData | undefined): number {
  return Number(data?.['n'])
}
