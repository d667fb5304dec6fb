import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'

/** All but the times, which differ each time. */
const shape = (svg: string): string => svg.replaceAll(/\d+\.\d+ ms/g, 'some ms')

test('the picture in the guide is what a request does now', (t) => {
  const file = join(t.testdir(), 'picture.svg')
  execFileSync(process.execPath, ['build/examples/picture.js', file])
  t.equal(
    shape(readFileSync(file, 'utf8')),
    shape(readFileSync('docs/what-happens-to-a-request.svg', 'utf8')),
    'else: npm run picture',
  )
  t.end()
})
