import { SqliteStore } from '../../build/stores/sqlite-store.js'
import { serveOn } from './luggage-rack.js'
import { sqliteFile } from './sqlite-file.js'

await serveOn(new SqliteStore({ filename: sqliteFile() }))
