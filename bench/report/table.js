// A Markdown table, aligned as Prettier does, so that it is read in a terminal too.

/** `text` is aligned to the left, `number` to the right. @typedef {{ title: string, kind: 'text' | 'number' }} Column */

/** @param {Column[]} columns @param {string[][]} rows */
export function table(columns, rows) {
  const widths = columns.map(({ title }, i) => Math.max(3, title.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const cell = (/** @type {string} */ text, /** @type {number} */ i) =>
    columns[i]?.kind === 'number' ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)
  const rule = columns.map(({ kind }, i) =>
    kind === 'number' ? `${'-'.repeat((widths[i] ?? 0) - 1)}:` : '-'.repeat(widths[i] ?? 0),
  )
  const lines = [columns.map(({ title }, i) => cell(title, i)), rule, ...rows.map((row) => row.map(cell))]
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n')
}
