import Database from 'better-sqlite3'
import storeOf from 'better-sqlite3-session-store'
import session from 'express-session'
import { serveOn } from './express-session-options.js'
import { sqliteFile } from './sqlite-file.js'

const client = new Database(sqliteFile())
// what better-sqlite3's README recommends, and what ours does
client.pragma('journal_mode = WAL')
const SqliteStore = storeOf(session)
await serveOn(new SqliteStore({ client }))
