// Where the results go: JSON, charts, the README.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { charts } from './charts.js'
import { resultsPage, withSection } from './report.js'

/** @typedef {import('./results.js').Results} Results */

/** Those that are in the repository. */
export const RESULTS = fileURLToPath(new URL('../results', import.meta.url))

const README = new URL('../../README.md', import.meta.url)

/** @param {string} file @param {Results} results */
export const writeJson = (file, results) => writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)

/** @param {string} folder @returns {Results} */
export const readResults = (folder) => JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8'))

/** @param {string} folder @param {Results} results */
export function writePage(folder, results) {
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries(charts(results))) writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, 'README.md'), resultsPage(results))
}

/** @param {Results} results */
export function writeReadme(results) {
  writeFileSync(README, withSection(readFileSync(README, 'utf8'), results))
}
