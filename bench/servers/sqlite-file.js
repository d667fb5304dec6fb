import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { settings } from './serve.js'

/** The file that the run names, which stays, or one that ends with the server. */
export function sqliteFile() {
  const { file } = settings()
  if (file !== undefined) return file
  const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'sessions.sqlite')
}
