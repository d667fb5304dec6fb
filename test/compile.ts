import { execFile } from 'node:child_process'
import { resolve } from 'node:path'

/** Compiles the project in a folder, and gives all that the compiler said; nothing if all is well. */
export function compile(folder: string): Promise<string> {
  // the file itself: what starts it has no ending, which the loader that measures coverage does not take
  const tsc = resolve('node_modules/typescript/lib/tsc.js')
  return new Promise((done) => {
    execFile(process.execPath, [tsc, '-p', folder], (_error, stdout, stderr) => done(stdout + stderr))
  })
}
