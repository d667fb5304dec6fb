/*
 * The page of lifecycle(). It shows the records that the server keeps: `requests` gives those there are, `events`
 * every new one, and `replay` sends a request again. No framework and no build: this file runs as it is.
 *
 * What is in a record came from a browser, so anyone may have written it. It is put in with `textContent`, which
 * never makes tags of it, and `innerHTML` is not used at all.
 */

/**
 * @typedef {object} Step One thing that happened to the request.
 * @property {number} ms since the request came in
 * @property {string} kind request, enter, leave, cookies, await, store, stored, open, load, commit, set, response, end
 * @property {string} title
 * @property {string} text
 * @property {number} depth how many layers the request is inside of
 * @property {string} [layer]
 * @property {'in' | 'out' | 'still'} direction
 */

/**
 * @typedef {object} RequestRecord One request. Of its data, what the server does not show is null.
 * @property {number} id
 * @property {number} at milliseconds since 1970
 * @property {string} method
 * @property {string} url
 * @property {number} [status] absent if the client left before the response
 * @property {number} ms
 * @property {boolean} canReplay
 * @property {number} [replayOf] the id of the request that this one repeats
 * @property {{ cookie: string, at: number }} [tampered]
 * @property {string[]} stack the layers, the outermost first; the last is the controller
 * @property {{ sent: boolean, text: string }} decision
 * @property {{ header?: string | null, parts?: [string, string][] | null } | null} cookie also null if nobody asked
 *   for a cookie
 * @property {{ key: string, before?: Hash | null, after?: Hash | null, changed: string[] } | null} session also null if
 *   nobody awaited it
 * @property {{ name: string, line?: string | null, bytes: number } | null} sealed
 * @property {string | null} store
 * @property {Step[]} steps
 */

/** @typedef {{ [key: string]: unknown }} Hash */

const MOST = 100 // requests in the list
const PACE = 1200 // milliseconds for a step while playing
const NOT_SHOWN = 'not shown: lifecycle({ data: false })'

/**
 * The element of page.html with this id. It is typed `any`, because it may be a button, a table or a meter.
 *
 * @param {string} id
 * @returns {any}
 */
const $ = (id) => document.getElementById(id)

/**
 * A new element.
 *
 * @param {string} tag
 * @param {string} [className]
 * @param {...(string | Node)} children strings become text, never tags
 */
function element(tag, className = '', ...children) {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...children)
  return made
}

/** @param {number} ms */
const milliseconds = (ms) => `${ms.toFixed(2)} ms`

/** @param {RequestRecord} record */
const outcome = ({ status, ms }) => `${status ?? 'no answer'}, ${milliseconds(ms)}`

/**
 * Whether a record has a step of one of these kinds. The steps are there also when the data is not shown, so they
 * tell "not shown" from "did not happen".
 *
 * @param {RequestRecord} record
 * @param {...string} kinds
 */
const has = (record, ...kinds) => record.steps.some(({ kind }) => kinds.includes(kind))

// ---------------------------------------------------------------------------------------------------------------
// The list of requests
// ---------------------------------------------------------------------------------------------------------------

/** @type {RequestRecord[]} what the list shows, the newest first */
let records = []
/** @type {Map<string, HTMLElement>} the row of each record in the list */
const rows = new Map()
/** @type {Map<string, RequestRecord>} what came in since the list was last drawn */
const waiting = new Map()
/** @type {RequestRecord | null} */
let selected = null
let paused = false
let drawing = false
let clearedAt = 0 // the time of the newest request that "Clear" took away

/**
 * A record comes twice if it was replayed: as the answer, and as an event. The time is part of its key because a
 * server that was started again counts from 1 again.
 *
 * @param {RequestRecord} record
 */
const keyOf = (record) => `${record.at}-${record.id}`

/** @param {RequestRecord} record */
function receive(record) {
  const key = keyOf(record)
  if (rows.has(key) || waiting.has(key)) return
  waiting.set(key, record)
  // A Map keeps the order of insertion, so the first key is the oldest.
  if (waiting.size > MOST) waiting.delete(waiting.keys().next().value ?? '')
  drawSoon()
}

/** Draws once for all that comes before the next frame: hundreds of requests a second stay cheap. */
function drawSoon() {
  if (drawing) return
  drawing = true
  requestAnimationFrame(() => {
    drawing = false
    draw()
  })
}

function draw() {
  if (!paused && waiting.size > 0) {
    const fresh = [...waiting.values()]
    waiting.clear()
    insert(fresh)
    if ($('follow').checked && records[0]) select(records[0])
  }
  $('waiting').hidden = waiting.size === 0
  $('waiting').textContent = `Paused. New since then: ${waiting.size === MOST ? `${MOST} or more` : waiting.size}`
  describeNothing()
}

/** @param {RequestRecord[]} fresh */
function insert(fresh) {
  const unknown = fresh.filter((record) => !rows.has(keyOf(record)))
  const all = [...unknown, ...records].toSorted((a, b) => b.at - a.at || b.id - a.id)
  records = all.slice(0, MOST)
  for (const dropped of all.slice(MOST)) {
    rows.get(keyOf(dropped))?.remove()
    rows.delete(keyOf(dropped))
  }

  // Rows that are in place are not touched, so that the list does not scroll away under the reader.
  let place = $('requests').firstChild
  for (const record of records) {
    const row = rows.get(keyOf(record)) ?? newRow(record)
    rows.set(keyOf(record), row)
    if (row === place) place = place.nextSibling
    else $('requests').insertBefore(row, place)
  }
  markSelected()
}

/** @param {RequestRecord} record */
function newRow(record) {
  const sent = record.decision.sent
  const small = element('span', 'line small', `${outcome(record)} `)
  small.append(element('span', sent ? 'sent' : 'quiet', sent ? 'Set-Cookie sent' : 'no cookie sent'))
  if (record.replayOf !== undefined) {
    small.append(record.tampered ? ` repeats ${record.replayOf}, changed` : ` repeats ${record.replayOf}`)
  }
  // The spaces between the parts are for screen readers, which read the row as one text.
  const address = element(
    'span',
    'line',
    `${clock(record.at)} `,
    element('strong', '', record.method),
    ` ${record.url}`,
  )
  const row = element('div', '', address, ' ', small)
  row.id = `request-${keyOf(record)}`
  row.setAttribute('role', 'option')
  row.addEventListener('click', () => pick(record))
  return row
}

/** @param {number} at */
const clock = (at) => new Date(at).toLocaleTimeString('en-GB')

/** The focus stays on the list itself: rows may go away, and would take the focus with them. */
function markSelected() {
  const current = selected && rows.get(keyOf(selected))
  for (const row of rows.values()) row.setAttribute('aria-selected', String(row === current))
  if (current) $('requests').setAttribute('aria-activedescendant', current.id)
  else $('requests').removeAttribute('aria-activedescendant')
}

function describeNothing() {
  $('requests').hidden = records.length === 0
  $('nothing').hidden = selected !== null
  $('nothing').textContent =
    records.length === 0
      ? 'Open your site in another tab: its requests appear here.'
      : 'Choose a request, and its way through the stack appears.'
}

/**
 * Shows a record.
 *
 * @param {RequestRecord} record
 */
function select(record) {
  if (selected && keyOf(selected) === keyOf(record)) return
  selected = record
  markSelected()
  describeNothing()
  showRecord(record)
}

/**
 * The same, by the user's own choice: then newer requests must not take it away.
 *
 * @param {RequestRecord} record
 */
function pick(record) {
  $('follow').checked = false
  select(record)
  rows.get(keyOf(record))?.scrollIntoView({ block: 'nearest' })
}

$('requests').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
  const now = records.findIndex((record) => selected !== null && keyOf(record) === keyOf(selected))
  const last = records.length - 1
  /** @type {{ [key: string]: number }} */
  const places = { ArrowDown: Math.min(now + 1, last), ArrowUp: Math.max(now - 1, 0), Home: 0, End: last }
  const place = places[event.key]
  if (place === undefined || event.altKey || event.ctrlKey || event.metaKey) return
  event.preventDefault() // or the list would scroll as well
  const record = records[place]
  if (record) pick(record)
})

$('pause').addEventListener('click', () => {
  paused = !paused
  $('pause').setAttribute('aria-pressed', String(paused))
  drawSoon()
})

$('follow').addEventListener('change', () => {
  if ($('follow').checked && records[0]) pickNewest(records[0])
})

/** @param {RequestRecord} record */
function pickNewest(record) {
  select(record)
  $('requests').scrollTop = 0
}

$('clear').addEventListener('click', () => {
  for (const record of [...records, ...waiting.values()]) clearedAt = Math.max(clearedAt, record.at)
  records = []
  waiting.clear()
  rows.clear()
  $('requests').replaceChildren()
  selected = null
  markSelected()
  stopPlaying()
  $('request').hidden = true
  draw()
})

// ---------------------------------------------------------------------------------------------------------------
// The selected request
// ---------------------------------------------------------------------------------------------------------------

/** @param {RequestRecord} record */
function showRecord(record) {
  stopPlaying()
  $('request').hidden = false
  $('request-title').textContent = `${record.method} ${record.url}`
  $('facts').textContent = `Request ${record.id}, at ${clock(record.at)}: status ${outcome(record)}`
  $('decision').textContent = record.decision.text
  showOrigin(record)
  showLayers(record)
  showSteps(record)
  showCookies(record)
  showSession(record)
  showSealed(record)
  showReplay(record)
  // After a change of the cookie, the interesting step is the one where the seal is looked at.
  const opening = record.tampered ? record.steps.findIndex((step) => step.kind === 'open') : 0
  showStep(Math.max(opening, 0))
}

/** @param {RequestRecord} record */
function showOrigin(record) {
  const { replayOf, tampered } = record
  $('origin').hidden = replayOf === undefined
  $('origin').textContent = tampered
    ? `This is request ${replayOf} once more, with character ${tampered.at} of the cookie ${tampered.cookie} changed.`
    : `This is request ${replayOf} once more.`
}

/** @param {RequestRecord} record */
function showLayers(record) {
  const spans = layerSpans(record)
  const whole = { start: 0, end: record.ms }
  // A duration of 0 is possible on a coarse clock, and nothing can be divided by it.
  const scale = Math.max(record.ms, record.steps.at(-1)?.ms ?? 0) || 1

  const bars = ['browser', ...record.stack].map((name, depth) => {
    const span = depth === 0 ? whole : spans[depth - 1]
    const time = depth === 0 ? `${milliseconds(record.ms)} in all` : span ? milliseconds(span.end - span.start) : ''
    const label = name === 'session' && record.store ? `session, with ${record.store}` : name
    const bar = element('li', '', element('span', '', label), ' ')
    bar.append(element('span', 'time', time || 'not reached'))
    bar.style.setProperty('--depth', String(depth))
    if (span) {
      // A line that shows when the request was in this layer, like the bars of a flame graph.
      const line = element('span')
      line.style.marginLeft = `${(100 * span.start) / scale}%`
      line.style.width = `${(100 * (span.end - span.start)) / scale}%`
      const track = element('span', 'span', line)
      track.setAttribute('aria-hidden', 'true')
      bar.append(track)
    }
    return bar
  })
  $('layers').replaceChildren(...bars)
}

/**
 * When the request was in each layer. Layers are entered in the order of the stack, so the one that is entered
 * while two others are open is the third; its name would not do, as a stack may hold a layer twice.
 *
 * @param {RequestRecord} record
 */
function layerSpans(record) {
  /** @type {{ start: number, end: number }[]} */
  const spans = []
  /** @type {Step[]} the steps into the layers that are still open */
  const open = []
  for (const step of record.steps) {
    if (step.kind === 'enter') open.push(step)
    // Layers inside of the one that is left are over as well.
    const place = step.kind === 'leave' ? open.findLastIndex(({ layer }) => layer === step.layer) : open.length
    if (place !== -1) close(place, step.ms)
  }
  close(0, record.ms)
  return spans

  /** @param {number} place @param {number} end */
  function close(place, end) {
    open.splice(place).forEach(({ ms }, inside) => (spans[place + inside] = { start: ms, end }))
  }
}

/** @param {RequestRecord} record */
function showCookies(record) {
  const { cookie } = record
  const header = cookie?.header
  const before = original(record)?.cookie
  const headerBefore = before?.header
  $('cookie-header').replaceChildren(
    ...(header
      ? longText(`Cookie: ${header}`, 'the Cookie header', difference(header, headerBefore) + 'Cookie: '.length)
      : header === ''
        ? ['The browser sent no cookies.']
        : has(record, 'cookies')
          ? [`The header is ${NOT_SHOWN}`]
          : ['Nobody asked for a cookie, so the header was not parsed.']),
  )

  const parts = (header && cookie?.parts) || []
  const lines = parts.map(([name, value], place) => {
    const valueBefore = before?.parts?.[place]?.[1]
    const title = element('th', '', name)
    title.setAttribute('scope', 'row')
    return element('tr', '', title, element('td', '', ...longText(value, name, difference(value, valueBefore))))
  })
  $('cookies').hidden = lines.length === 0
  $('cookies').tBodies[0].replaceChildren(...lines)
}

/**
 * The request that a changed one repeats, if the page still has it: the two cookies differ in the changed character.
 *
 * @param {RequestRecord} record
 */
const original = (record) => (record.tampered ? records.find(({ id }) => id === record.replayOf) : undefined)

/**
 * The place of the first character that differs, or a large negative number if there is nothing to compare.
 *
 * @param {string} text
 * @param {string | null | undefined} other
 */
function difference(text, other) {
  if (typeof other !== 'string' || text === other) return -Infinity
  let place = 0
  while (text[place] === other[place]) place += 1
  return place
}

/**
 * A text as code, marked at one place, and shortened with a button if it is long.
 *
 * @param {string} text
 * @param {string} what for the button's name
 * @param {number} [markAt]
 * @returns {Node[]}
 */
function longText(text, what, markAt = -Infinity) {
  const code = element('code')
  const marked = markAt >= 0 && markAt < text.length
  /** @param {number} start @param {number} end */
  const cut = (start, end) => {
    if (!marked || markAt < start || markAt >= end) return [text.slice(start, end)]
    return [text.slice(start, markAt), element('mark', '', text.charAt(markAt)), text.slice(markAt + 1, end)]
  }
  if (text.length <= 100) {
    code.append(...cut(0, text.length))
    return [code]
  }

  // The marked character must be in the short form too: it is what the reader looks for.
  const start = marked ? Math.max(0, markAt - 30) : 0
  const end = Math.min(text.length, start + 60)
  const toggle = element('button')
  toggle.setAttribute('type', 'button')
  let all = false
  const show = () => {
    code.replaceChildren(...(all ? cut(0, text.length) : [start > 0 ? '…' : '', ...cut(start, end), '…']))
    toggle.replaceChildren(
      all ? 'Show less' : `Show all ${text.length} characters`,
      element('span', 'spoken', ` of ${what}`),
    )
    toggle.setAttribute('aria-expanded', String(all))
  }
  toggle.addEventListener('click', () => {
    all = !all
    show()
  })
  show()
  return [code, document.createTextNode(' '), toggle]
}

/** @param {RequestRecord} record */
function showSession(record) {
  const before = record.session?.before
  const after = record.session?.after
  const committed = has(record, 'commit')
  const keys = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])]

  $('session-note').textContent =
    before === undefined && after === undefined
      ? has(record, 'load', 'commit')
        ? `The session is ${NOT_SHOWN}`
        : 'Nobody awaited the session, so it was not loaded.'
      : (keys.length === 0 ? 'It is empty, before and after.' : `Its cookie is ${record.session?.key}.`) +
        (committed ? '' : ' The request ended before the session was committed.')

  const lines = keys.map((key) => {
    const change = committed ? changeOf(key, before ?? {}, after ?? {}, record.session?.changed ?? []) : 'not committed'
    const title = element('th', '', key)
    title.setAttribute('scope', 'row')
    const cells = [before, after].map((hash) => element('td', '', ...value(hash, key)))
    const isMarked = ['added', 'changed', 'deleted'].includes(change)
    return element('tr', isMarked ? 'changed' : '', title, ...cells, element('td', '', change))
  })
  $('session').hidden = lines.length === 0
  $('session').tBodies[0].replaceChildren(...lines)
}

/**
 * @param {string} key
 * @param {Hash} before
 * @param {Hash} after
 * @param {string[]} changed
 */
function changeOf(key, before, after, changed) {
  if (!Object.hasOwn(before, key)) return 'added'
  if (!Object.hasOwn(after, key)) return 'deleted'
  return changed.includes(key) ? 'changed' : 'same'
}

/**
 * @param {Hash | null | undefined} hash
 * @param {string} key
 * @returns {(string | Node)[]}
 */
function value(hash, key) {
  if (!hash || !Object.hasOwn(hash, key)) return ['none']
  return [element('code', '', JSON.stringify(hash[key]) ?? 'undefined')]
}

/** @param {RequestRecord} record */
function showSealed(record) {
  const { sealed } = record
  $('sealed-line').replaceChildren(
    ...(!sealed
      ? ['No session cookie was made for this response.']
      : typeof sealed.line === 'string'
        ? longText(`Set-Cookie: ${sealed.line}`, 'the Set-Cookie line')
        : [`The line for ${sealed.name} is ${NOT_SHOWN}`]),
  )
  $('sealed-size').hidden = !sealed
  $('size').value = sealed?.bytes ?? 0
  $('size-text').textContent = `${sealed?.bytes ?? 0} of 4096 bytes`
}

// ---------------------------------------------------------------------------------------------------------------
// The steps of the selected request
// ---------------------------------------------------------------------------------------------------------------

let current = 0
/** @type {ReturnType<typeof setInterval> | undefined} */
let player

/** @param {RequestRecord} record */
function showSteps(record) {
  const items = record.steps.map((step, place) => {
    const time = element('span', 'time', milliseconds(step.ms))
    const button = element('button', '', time, ' ', element('span', 'title', step.title))
    button.setAttribute('type', 'button')
    button.addEventListener('click', () => goTo(place))
    return element('li', '', button)
  })
  $('steps').replaceChildren(...items)
  $('position').max = String(Math.max(record.steps.length - 1, 0))
}

/**
 * Shows one step of the selected request; a number outside of the steps means the nearest one.
 *
 * @param {number} wanted
 */
function showStep(wanted) {
  const steps = selected?.steps ?? []
  current = Math.max(0, Math.min(wanted, steps.length - 1))
  const step = steps[current]
  if (!selected || !step) return

  $('step-count').textContent = `Step ${current + 1} of ${steps.length}, at ${milliseconds(step.ms)}`
  $('step-title').textContent = step.title
  $('step-text').textContent = step.text
  $('position').value = String(current)
  $('position').setAttribute('aria-valuetext', `${current + 1} of ${steps.length}: ${step.title}`)
  ;[...$('steps').children].forEach((item, place) => {
    if (place === current) item.firstChild.setAttribute('aria-current', 'step')
    else item.firstChild.removeAttribute('aria-current')
  })

  const depth = Math.min(step.depth, selected.stack.length)
  ;[...$('layers').children].forEach((bar, place) => {
    bar.classList.toggle('inside', place <= depth)
    if (place === depth) bar.setAttribute('aria-current', 'true')
    else bar.removeAttribute('aria-current')
  })
  moveMarker()
}

/** Puts the marker beside the layer, in the left lane on the way in and in the right lane on the way out. */
function moveMarker() {
  const steps = selected?.steps ?? []
  const step = steps[current]
  const bar = $('layers').querySelector('[aria-current]')
  if (!step || !bar) return
  // A step that stands still belongs to the way that the request was last on.
  const way = steps.slice(0, current + 1).findLast(({ direction }) => direction !== 'still')?.direction
  const across = way === 'out' ? '100%' : '0'
  const down = bar.offsetTop + (bar.offsetHeight - $('marker').offsetHeight) / 2
  $('marker').textContent = { in: '↓', out: '↑', still: '●' }[step.direction]
  $('marker').style.transform = `translate(${across}, ${down}px)`
}

/**
 * Shows a step that the user asked for. Who looks at steps does not want the request to be replaced by a newer one.
 *
 * @param {number} wanted
 */
function goTo(wanted) {
  stopPlaying()
  $('follow').checked = false
  showStep(wanted)
}

const lastStep = () => (selected?.steps.length ?? 1) - 1

function play() {
  const start = current >= lastStep() ? 0 : current
  goTo(start)
  $('play').textContent = 'Stop'
  player = setInterval(() => {
    showStep(current + 1)
    if (current >= lastStep()) stopPlaying()
  }, PACE)
}

function stopPlaying() {
  clearInterval(player)
  player = undefined
  $('play').textContent = 'Play'
}

$('first').addEventListener('click', () => goTo(0))
$('back').addEventListener('click', () => goTo(current - 1))
$('play').addEventListener('click', () => (player === undefined ? play() : stopPlaying()))
$('next').addEventListener('click', () => goTo(current + 1))
$('last').addEventListener('click', () => goTo(lastStep()))
$('position').addEventListener('input', () => goTo(Number($('position').value)))

$('stepper').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
  // The range input moves by itself, and would move twice.
  if (event.target === $('position') || event.altKey || event.ctrlKey || event.metaKey) return
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
  event.preventDefault()
  goTo(current + (event.key === 'ArrowRight' ? 1 : -1))
})

// On a narrow window the bars wrap and get higher.
new ResizeObserver(moveMarker).observe($('layers'))

// ---------------------------------------------------------------------------------------------------------------
// Sending a request again
// ---------------------------------------------------------------------------------------------------------------

let sending = false

/** @param {RequestRecord} record */
function showReplay(record) {
  const length = sessionCookieLength(record)
  const canTamper = record.canReplay && length > 0
  $('again').disabled = !record.canReplay
  $('tamper').disabled = !canTamper
  $('tamper-at').disabled = !canTamper
  $('tamper-at').max = String(Math.max(length - 1, 0))
  $('tamper-at').value = String(Math.floor(length / 2))

  $('replay-result').textContent = ''
  $('replay-note').textContent = !record.canReplay
    ? 'This request cannot be sent again: only a GET can, only with lifecycle({ data: true }), and only while the ' +
      'server remembers it.'
    : !record.session
      ? 'This request did not use the session, so there is no cookie of it to change.'
      : length === 0
        ? 'This request brought no session cookie, so there is nothing to change.'
        : 'Nobody without the secret can write a cookie that opens. Change one character, and see what becomes of the ' +
          'session.'
}

/**
 * How long the value of the session cookie is in the Cookie header; 0 if it is not in it.
 *
 * @param {RequestRecord} record
 */
function sessionCookieLength(record) {
  const start = `${record.session?.key}=`
  const pairs = (record.cookie?.header ?? '').split(';').map((pair) => pair.trim())
  const pair = pairs.find((text) => text.startsWith(start))
  return pair === undefined ? 0 : pair.length - start.length
}

/** @param {number} [tamper] the character of the session cookie to change */
async function replay(tamper) {
  // The button is not disabled meanwhile, because a disabled button loses the focus.
  if (sending || !selected) return
  sending = true
  $('replay-result').textContent = 'Sending.'
  try {
    const response = await fetch('replay', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id: selected.id, tamper }), // JSON leaves out what is undefined
    })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.error ?? `status ${response.status}`)
    showReplayed(answer)
  } catch (error) {
    $('replay-result').textContent = `It was not repeated: ${error instanceof Error ? error.message : String(error)}`
  } finally {
    sending = false
  }
}

/**
 * The user asked for this one, so it is shown at once, also while the list is paused.
 *
 * @param {RequestRecord} record
 */
function showReplayed(record) {
  waiting.delete(keyOf(record)) // its event may have been faster
  insert([record])
  pick(record)
  draw()
  $('replay-result').textContent = `Request ${record.id} was sent, and is shown. ${record.decision.text}`
  $('request').scrollIntoView({ block: 'start' })
}

$('again').addEventListener('click', () => replay())
$('tamper').addEventListener('click', () => {
  if ($('tamper-at').reportValidity()) void replay(Number($('tamper-at').value))
})

// ---------------------------------------------------------------------------------------------------------------
// The connection to the server
// ---------------------------------------------------------------------------------------------------------------

const events = new EventSource('events')

/** @param {string} text */
function showConnection(text) {
  // Only if it is new: a screen reader reads out every change.
  if ($('connection').textContent !== text) $('connection').textContent = text
}

events.addEventListener('open', () => {
  showConnection('connected')
  void load() // what came before the connection, or while it was lost
})

events.addEventListener('request', (event) => receive(JSON.parse(event.data)))

events.addEventListener('skipped', (event) => {
  $('skipped').textContent = `(${event.data} requests left out, because they came too fast to show)`
})

events.addEventListener('error', () => {
  // EventSource tries again by itself, except if the answer was no event stream at all.
  const ended = events.readyState === EventSource.CLOSED
  showConnection(ended ? 'no connection: reload the page' : 'connection lost, trying again')
})

async function load() {
  const had = [...records, ...waiting.values()]
  try {
    const response = await fetch('requests')
    /** @type {RequestRecord[]} */
    const all = await response.json()
    for (const record of all) if (record.at > clearedAt) receive(record)
    if (hasRestarted(had, all)) forget(had)
  } catch {
    // The events still come; if the server is gone, the status of the connection says so.
  }
}

/**
 * Whether the server was started again: then it counts from 1 again.
 *
 * @param {RequestRecord[]} had what the page had before it asked
 * @param {RequestRecord[]} all what the server has
 */
function hasRestarted(had, all) {
  /** @param {RequestRecord[]} list */
  const highest = (list) => Math.max(0, ...list.map(({ id }) => id))
  const sameId = had.some((old) => all.some((record) => record.id === old.id && record.at !== old.at))
  return sameId || highest(all) < highest(had)
}

/**
 * Their numbers may mean other requests to the server now. They stay readable, but cannot be sent again.
 *
 * @param {RequestRecord[]} old
 */
function forget(old) {
  for (const record of old) record.canReplay = false
  if (selected && !selected.canReplay) showReplay(selected)
}

void load() // also without the events
