import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

/** The secret in a file that only its owner can read. It is made once: with another one, nobody is signed in any more. */
export function secretIn(file: string): string {
  try {
    writeFileSync(file, `${randomBytes(64).toString('hex')}\n`, { flag: 'wx', mode: 0o600 })
    console.log(`Made a secret for the cookies and keep it in ${file}.`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(file, 'utf8').trim()
}
