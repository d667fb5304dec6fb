// A line chart as SVG text. Readable on light and dark pages, and by screen readers.
import { escaped, page, place } from '../report/svg.js'

/** `min` and `max`: how far the rounds are apart. @typedef {{ x: number, y: number, min: number, max: number }} Point */
/** Lines of one `group` have one colour. @typedef {{ label: string, group: string, dashed: boolean, points: Point[] }} Line */
/** @typedef {{ title: string, description: string, x: string, y: string, logX: boolean, logY: boolean, lines: Line[] }} Chart */
/** @typedef {{ at: (value: number) => number, ticks: number[] }} Axis */

const WIDTH = 760
const HEIGHT = 400
const LEFT = 64
const RIGHT = 560
const TOP = 72
const BOTTOM = 344

/** By group: of stores, and of what bare node:http needs. */
const COLOURS = /** @type {const} */ ({
  cookie: ['#0969da', '#4493f8'],
  memory: ['#8250df', '#ab7df8'],
  sqlite: ['#1a7f37', '#3fb950'],
  redis: ['#cf222e', '#f85149'],
  bare: ['#6e7781', '#9198a1'],
})

/** @param {0 | 1} shade */
const colours = (shade) =>
  Object.entries(COLOURS)
    .map(
      ([group, shades]) =>
        `.${group} { stroke: ${shades[shade]} } text.${group}, .${group}.dot { fill: ${shades[shade]} }`,
    )
    .join(' ')

const STYLE = `
    .page { fill: #fff } text { fill: #1f2328; font: 12px system-ui, sans-serif } .title { font-size: 15px; font-weight: 600 }
    .soft { fill: #59636e } .grid { stroke: #d1d9e0 } .line { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 5 4 }
    .spread { stroke-width: 5; opacity: 0.3 } ${colours(0)} text.label { stroke: none }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d } ${colours(1)}
    }
  `

/** @param {number} value */
const tickText = (value) => value.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 })

/**
 * @param {number[]} values @param {boolean} log @param {number} from where the axis begins on the page @param {number} to
 * @returns {Axis}
 */
function axis(values, log, from, to) {
  const [least, most] = [Math.min(...values), Math.max(...values)]
  if (!log) {
    const power = 10 ** Math.floor(Math.log10(most / 2 || 1))
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => most / one <= 6) ?? power * 10
    const end = Math.max(1, Math.ceil(most / step)) * step
    const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, i) => i * step)
    return { at: (value) => from + (value / end) * (to - from), ticks }
  }
  const low = Math.floor(Math.log10(least))
  const high = Math.max(low + 1, Math.ceil(Math.log10(most)))
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
  return { at: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from), ticks }
}

/** Where the names of lines stand: beside their ends, and not on one another. @param {number[]} ends */
function labelPlaces(ends) {
  const order = ends.map((_, i) => i).toSorted((a, b) => (ends[a] ?? 0) - (ends[b] ?? 0))
  /** @type {number[]} */
  const places = []
  let least = -Infinity
  for (const i of order) {
    places[i] = Math.max(ends[i] ?? 0, least)
    least = (places[i] ?? 0) + 15
  }
  // what was moved below the chart moves up again
  const over = Math.max(0, least - 15 - BOTTOM)
  let most = Infinity
  for (const i of over > 0 ? order.toReversed() : []) {
    places[i] = Math.min(places[i] ?? 0, BOTTOM, most)
    most = (places[i] ?? 0) - 15
  }
  return places
}

/** @param {Chart} chart */
export function lineChart({ title, description, x, y, logX, logY, lines }) {
  const points = lines.flatMap((line) => line.points)
  const horizontal = axis(
    points.map((one) => one.x),
    logX,
    LEFT,
    RIGHT,
  )
  const vertical = axis(
    points.flatMap((one) => [one.min, one.max]),
    logY,
    BOTTOM,
    TOP,
  )
  const grid = [
    ...vertical.ticks.map((tick) => {
      const at = place(vertical.at(tick))
      return `<path class="grid" d="M${LEFT} ${at}H${RIGHT}"/><text class="soft" text-anchor="end" x="${LEFT - 8}" y="${Number(at) + 4}">${tickText(tick)}</text>`
    }),
    ...horizontal.ticks.map((tick) => {
      const at = place(horizontal.at(tick))
      return `<path class="grid" d="M${at} ${BOTTOM}v5"/><text class="soft" text-anchor="middle" x="${at}" y="${BOTTOM + 20}">${tickText(tick)}</text>`
    }),
  ]
  const ends = labelPlaces(lines.map((line) => vertical.at(line.points.at(-1)?.y ?? 0)))
  const drawn = lines.flatMap(({ label, group, dashed, points: own }, i) => {
    const at = own.map((one) => ({ ...one, px: place(horizontal.at(one.x)), py: place(vertical.at(one.y)) }))
    const path = at.map(({ px, py }) => `${px} ${py}`).join('L')
    const spreads = at
      .map(({ px, min, max }) => `M${px} ${place(vertical.at(min))}V${place(vertical.at(max))}`)
      .join('')
    const dots = at.map(({ px, py }) => `<circle class="${group} dot" cx="${px}" cy="${py}" r="3"/>`)
    return [
      `<path class="${group} spread" d="${spreads}"/>`,
      `<path class="${group} line${dashed ? ' dashed' : ''}" d="M${path}"/>`,
      ...dots,
      `<text class="${group} label" x="${RIGHT + 12}" y="${place((ends[i] ?? 0) + 4)}">${escaped(label)}</text>`,
    ]
  })
  return page({ title, description, style: STYLE, width: WIDTH, height: HEIGHT }, [
    `<text class="soft" x="16" y="50">${escaped(y)}</text>`,
    `<text class="soft" text-anchor="middle" x="${(LEFT + RIGHT) / 2}" y="${HEIGHT - 12}">${escaped(x)}</text>`,
    ...grid,
    ...drawn,
  ])
}
