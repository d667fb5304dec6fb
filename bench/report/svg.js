// A chart as SVG text: one line for each name, marks on one axis. Readable on light and dark pages, and by screen readers.

/** `dot` is the figure itself, `ring` and `tick` stand beside it, `bar` begins at the axis' start. */
/** @typedef {{ kind: 'dot' | 'ring' | 'tick' | 'bar', value: number }} Mark */
/** `range`: a thin line behind the marks. `text`: what is read at the end of the line. */
/** @typedef {{ label: string, ours: boolean, marks: Mark[], range?: [number, number], text: string }} Line */
/** @typedef {{ title: string, lines: Line[] }} Group */
/** `base`: a value that is always on the axis. @typedef {{ title: string, scale: 'log' | 'linear', base?: number, groups: Group[] }} Panel */
/** @typedef {{ title: string, description: string, legend: string, panels: Panel[] }} Chart */

const WIDTH = 840
const LEFT = 320
const RIGHT = 670
const LINE = 21

/** Room for a mark at either end of the axis. */
const MARGIN = 6

const STYLE = `
    .page { fill: #fff } text { fill: #1f2328; font: 12px system-ui, sans-serif } .title { font-size: 15px; font-weight: 600 }
    .soft { fill: #59636e } .grid { stroke: #d1d9e0 } .base { stroke: #59636e }
    .peer { fill: #6e7781; stroke: #6e7781 } .ours { fill: #0969da; stroke: #0969da } .name { font-weight: 600 }
    .ours.hollow, .peer.hollow { fill: #fff } .range { stroke-width: 2; opacity: 0.45 }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
      .base { stroke: #9198a1 } .peer { fill: #9198a1; stroke: #9198a1 } .ours { fill: #4493f8; stroke: #4493f8 }
      .ours.hollow, .peer.hollow { fill: #0d1117 }
    }
  `

/** @param {string} text */
export const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** @param {number} value */
export const place = (value) => String(Math.round(value * 10) / 10)

/** @param {number} value */
const tickText = (value) => value.toLocaleString('en', { maximumSignificantDigits: 3 })

/** The 1, 2 and 5 of each power of ten; of many powers the 1 only. @param {number} low @param {number} high */
function logTicks(low, high) {
  const powers = Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low))
  const steps = powers > 3 ? [1] : [1, 2, 5]
  return Array.from({ length: powers + 1 }, (_, i) => 10 ** (Math.floor(Math.log10(low)) + i))
    .flatMap((power) => steps.map((step) => Number((step * power).toPrecision(6))))
    .filter((tick) => tick >= low * 0.999 && tick <= high * 1.001)
}

/** @param {number} low @param {number} high */
function linearTicks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 2))
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => (high - low) / one <= 6) ?? power * 10
  const first = Math.ceil(low / step)
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(6)),
  )
}

/** @param {Panel} panel */
function axisOf({ scale, base, groups }) {
  const all = groups.flatMap(({ lines }) =>
    lines.flatMap(({ marks, range }) => [...marks.map((one) => one.value), ...(range ?? [])]),
  )
  const fixed = base === undefined ? [] : [base]
  const low = Math.min(...fixed, ...(all.length > 0 ? all : [1]))
  // an axis has a length, even for one value
  const high = Math.max(...all, scale === 'log' ? low * 2 : low + 1)
  const [from, to] = scale === 'log' ? [Math.log10(low), Math.log10(high)] : [low, high]
  const at = (/** @type {number} */ value) => {
    const part = ((scale === 'log' ? Math.log10(value) : value) - from) / (to - from)
    return LEFT + MARGIN + part * (RIGHT - LEFT - 2 * MARGIN)
  }
  return { at, ticks: scale === 'log' ? logTicks(low, high) : linearTicks(low, high) }
}

/** @param {Mark} mark @param {(value: number) => number} at @param {number | undefined} base @param {number} y @param {string} whose */
function markOf({ kind, value }, at, base, y, whose) {
  const x = place(at(value))
  if (kind === 'dot') return `<circle class="${whose}" cx="${x}" cy="${y}" r="4.5"/>`
  if (kind === 'ring') return `<circle class="${whose} hollow" cx="${x}" cy="${y}" r="3.5" stroke-width="1.5"/>`
  if (kind === 'tick') return `<path class="${whose}" d="M${x} ${y - 5}v10" stroke-width="2"/>`
  const [from, to] = [at(base ?? 0), at(value)].toSorted((a, b) => a - b)
  return `<rect class="${whose}" x="${place(from ?? 0)}" y="${y - 5}" width="${place((to ?? 0) - (from ?? 0))}" height="10"/>`
}

/** @param {Panel} panel @param {number} top @returns {{ parts: string[], bottom: number }} */
function panelOf(panel, top) {
  const { at, ticks } = axisOf(panel)
  /** @type {string[]} */
  const lines = []
  let y = top + 26
  const first = y
  for (const { title, lines: names } of panel.groups) {
    lines.push(`<text class="soft" x="16" y="${y + 4}">${escaped(title)}</text>`)
    y += LINE
    for (const { label, ours, marks, range, text } of names) {
      const whose = ours ? 'ours' : 'peer'
      lines.push(`<text${ours ? ' class="name"' : ''} x="28" y="${y + 4}">${escaped(label)}</text>`)
      if (range) lines.push(`<path class="${whose} range" d="M${place(at(range[0]))} ${y}H${place(at(range[1]))}"/>`)
      lines.push(...marks.map((mark) => markOf(mark, at, panel.base, y, whose)))
      lines.push(`<text x="${RIGHT + 16}" y="${y + 4}">${escaped(text)}</text>`)
      y += LINE
    }
    y += 4
  }
  const grid = ticks.map((tick) => {
    const x = place(at(tick))
    const line = `<path class="${tick === panel.base ? 'base' : 'grid'}" d="M${x} ${first - 6}V${y - 8}"/>`
    return `${line}<text class="soft" text-anchor="middle" x="${x}" y="${y + 8}">${tickText(tick)}</text>`
  })
  return {
    parts: [`<text class="name" x="16" y="${top + 4}">${escaped(panel.title)}</text>`, ...grid, ...lines],
    bottom: y + 36,
  }
}

/** @param {Chart} chart */
export function svg({ title, description, legend, panels }) {
  /** @type {string[]} */
  const parts = []
  let y = 76
  for (const panel of panels) {
    const { parts: own, bottom } = panelOf(panel, y)
    parts.push(...own)
    y = bottom
  }
  return page({ title, description, style: STYLE, width: WIDTH, height: y - 10 }, [
    `<text class="soft" x="16" y="48">${escaped(legend)}</text>`,
    ...parts,
  ])
}

/**
 * An SVG with what it says to those who do not see it, and its title.
 *
 * @param {{ title: string, description: string, style: string, width: number, height: number }} of
 * @param {readonly string[]} parts
 */
export const page = ({ title, description, style, width, height }, parts) =>
  `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
  <title id="title">${escaped(title)}</title>
  <desc id="desc">${escaped(description)}</desc>
  <style>${style}</style>
  <rect class="page" width="${width}" height="${height}"/>
  <text class="title" x="16" y="28">${escaped(title)}</text>
  ${parts.join('\n  ')}
</svg>
`
