// A page that asks the server who is logged in. It has no token, and keeps nothing.

/** @type {Record<string, string> | null} */
let profile = null

/** @param {string} selector @returns {HTMLElement} */
const find = (selector) => document.querySelector(selector)

/** Shows what the address names, to whoever is here. */
function show(message = '') {
  const wanted = location.hash === '#/dashboard' ? 'dashboard' : 'home'
  // the guard. It is manners: what the server does not tell, nobody sees
  const shown = wanted === 'dashboard' && profile === null ? 'refused' : wanted
  for (const section of document.querySelectorAll('main > section')) section.hidden = section.id !== shown
  const here = profile === null ? 'nobody' : 'somebody'
  for (const part of document.querySelectorAll('[data-for]')) part.hidden = part.dataset.for !== here
  for (const place of document.querySelectorAll('[data-claim]')) {
    place.textContent = profile?.[place.dataset.claim] ?? ''
  }
  find('[name=origin]').value = wanted === 'home' ? '/' : `/#/${wanted}`
  find('#message').textContent = message
}

/** Asks who is here, and says what became of them. */
async function refresh() {
  const before = profile
  try {
    const answer = await fetch('/me')
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`)
    const { profile: known, hasEnded, csrfToken } = await answer.json()
    profile = known
    for (const field of document.querySelectorAll('[name=authenticity_token]')) field.value = csrfToken
    if (hasEnded) show('Your session has expired. Please log in again.')
    else show(before !== null && profile === null ? 'You are logged out.' : failure())
  } catch (error) {
    show(`That did not work. ${error.message}`)
  }
}

/** Why nobody was logged in, where the server sent the browser back for that. */
function failure() {
  const [page, query] = location.hash.split('?')
  if (page !== '#/failure') return ''
  // anybody can make an address with any words in it
  const [why = 'unknown'] = /^[a-z_]{1,40}$/.exec(new URLSearchParams(query).get('message')) ?? []
  return `You are not logged in: ${why.replaceAll('_', ' ')}.`
}

// other tabs of this browser have the same session
const tabs = new BroadcastChannel('session')
tabs.addEventListener('message', ({ data }) => {
  if (data !== (profile?.sub ?? null)) void refresh()
})
// what became of it meanwhile, only the server knows
addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void refresh()
})
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) void refresh()
})

addEventListener('hashchange', () => {
  show()
  find('main > section:not([hidden]) h1').focus()
})

await refresh()
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel is of one origin
tabs.postMessage(profile?.sub ?? null)
