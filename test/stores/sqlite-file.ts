import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Owner } from '../server.ts'

/** The name of a database file in a folder of its own, which is removed when the test ends. */
export function newFile(t: Owner): string {
  const folder = mkdtempSync(join(tmpdir(), 'luggage-rack-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'sessions.db')
}
