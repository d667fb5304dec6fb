import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { test } from 'tap'

const FOLDER = resolve('build/examples/testing')

/** Runs a program of node, and gives back how it ended and what it printed. */
function run(args: string[]): Promise<{ code: unknown; output: string }> {
  return new Promise((done) => {
    execFile(process.execPath, args, { env: { ...process.env, NODE_ENV: 'test' } }, (error, stdout) =>
      done({ code: error?.code ?? 0, output: stdout }),
    )
  })
}

test('the example of tests in tap passes', async (t) => {
  const { code, output } = await run([resolve(FOLDER, 'tap.test.js')])
  t.match(output, /^ok 1 - the visits of each browser are counted/m)
  t.match(output, /^1\.\.3$/m)
  t.notMatch(output, /not ok/)
  t.equal(code, 0)
})

test('the example of tests in node:test passes', async (t) => {
  const { code, output } = await run(['--test', '--test-reporter=tap', resolve(FOLDER, 'node-test.test.js')])
  t.match(output, /^ *ok 1 - the visits of each browser are counted/m)
  t.match(output, /^# pass 3$/m)
  t.match(output, /^# fail 0$/m)
  t.equal(code, 0)
})

test('the example of tests in vitest passes', async (t) => {
  const vitest = resolve('node_modules/vitest/vitest.mjs')
  // a root of its own, so that no configuration is looked for, and nothing found but this file
  const { code, output } = await run([
    vitest,
    'run',
    'vitest.test.js',
    '--root',
    FOLDER,
    '--reporter=json',
    '--no-cache',
  ])
  const report = JSON.parse(output.slice(output.indexOf('{'))) as Record<string, unknown>
  t.match(report, { success: true, numPassedTests: 3, numTotalTests: 3, numTotalTestSuites: 1 })
  t.equal(code, 0)
})
