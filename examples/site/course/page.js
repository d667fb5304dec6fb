// The course's page: a button sends a request, and what the server's trace says of it is shown below.

/** @typedef {{ id: number, url: string, method: string, status: number, decision: { text: string }, session: { before: object | null, after: object | null } | null, sealed: { line: string | null, bytes: number } | null, steps: { title: string, text: string }[] }} Trace */

const store = /** @type {HTMLSelectElement} */ (document.querySelector('#store'))

/** The requests of this page, by number, so that each has an address of its own by which its trace is found. */
let count = 0

/** What the server says of the requests that it watched. @returns {Promise<Trace[]>} */
async function traces() {
  return (await fetch('/lifecycle/requests')).json()
}

/** Sends a request, and gives what happened to it. @param {string} page @returns {Promise<{ trace: Trace, body: string }>} */
async function ask(page) {
  const url = `/course/${store.value}/${page}?n=${Date.now()}-${count++}`
  const body = await (await fetch(url)).text()
  // its trace is finished when the response is out, which may be a moment after it was read
  for (let tries = 0; tries < 50; tries++) {
    const trace = (await traces()).find((one) => one.url === url)
    if (trace) return { trace, body }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('The server did not watch that request. Is the lifecycle page switched on?')
}

/** Sends a request once more. @param {number} id @param {number} [tamper] @returns {Promise<Trace>} */
async function again(id, tamper) {
  const answer = await fetch('/lifecycle/replay', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ id, tamper }),
  })
  const trace = await answer.json()
  if (!answer.ok) throw new Error(trace.error)
  return trace
}

/** What each station does. A station that needs a session makes one. @type {Record<string, () => Promise<[string, Trace, string?][]>>} */
const stations = {
  async 1() {
    const { trace, body } = await ask('hello')
    return [['The request', trace, body]]
  },
  async 2() {
    const { trace, body } = await ask('write')
    return [['The request', trace, body]]
  },
  async 3() {
    const { trace, body } = await ask('read')
    return [['The request', trace, body]]
  },
  async 4() {
    const { trace, body } = await ask('push')
    return [['The request', trace, body]]
  },
  async 5() {
    await ask('write')
    const { trace } = await ask('read')
    return [
      ['The request as it was', trace],
      ['The same with one character of the cookie changed', await again(trace.id, 20)],
    ]
  },
  async 6() {
    await ask('write')
    const { trace: before } = await ask('read')
    const { trace: signIn, body } = await ask('sign-in')
    return [
      ['Before', before],
      ['Signing in', signIn, body],
      ['The cookie of before, sent once more', await again(before.id)],
    ]
  },
}

/** An element with text, which is never markup. @param {string} tag @param {string} [text] @param {string} [name] */
function element(tag, text = '', name = '') {
  const made = document.createElement(tag)
  made.textContent = text
  if (name !== '') made.className = name
  return made
}

/** @param {string} title @param {Trace} trace @param {string} [body] */
function show(title, trace, body) {
  const box = element('div')
  box.append(element('h3', title), element('p', trace.decision.text, 'decision'))
  if (body) box.append(element('p', `The page says: ${body}`))
  const list = element('ol')
  for (const step of trace.steps) {
    const item = element('li')
    item.append(element('strong', step.title), element('span', `. ${step.text}`))
    list.append(item)
  }
  box.append(list)
  if (trace.session) {
    const { before, after } = trace.session
    const known = (/** @type {object | null} */ hash) => JSON.stringify(hash ?? {})
    box.append(element('p', 'The session before and after:'))
    box.append(element('pre', `${known(before)}\n${known(after ?? before)}`))
  }
  if (trace.sealed) {
    box.append(element('p', `What the browser is to keep, ${trace.sealed.bytes} bytes:`))
    if (trace.sealed.line) box.append(element('pre', trace.sealed.line))
  }
  return box
}

for (const button of document.querySelectorAll('button[data-station]')) {
  const { station = '' } = /** @type {HTMLButtonElement} */ (button).dataset
  const place = /** @type {HTMLElement} */ (document.querySelector(`#result-${station}`))
  const visit = async () => {
    place.setAttribute('aria-busy', 'true')
    try {
      const shown = (await stations[station]?.()) ?? []
      place.replaceChildren(...shown.map(([title, trace, body]) => show(title, trace, body)))
    } catch (error) {
      place.replaceChildren(element('p', error instanceof Error ? error.message : String(error)))
    }
    place.setAttribute('aria-busy', 'false')
  }
  button.addEventListener('click', () => void visit())
}

// from now on the server watches
await traces()
