// A session in the browser: the ID token in localStorage says who is logged in, and until when.
import { AuthService } from 'luggage-rack/browser'
import { clientId, issuer } from './settings.js'

// removes a token that has expired, and says so below
const auth = new AuthService({ issuer, clientId })

/** @param {string} selector @returns {HTMLElement} */
const find = (selector) => document.querySelector(selector)

/** Shows what the address names, to whoever is here. */
function show(message = '') {
  const profile = auth.getProfile()
  const wanted = location.hash === '#/dashboard' ? 'dashboard' : 'home'
  // the guard: not without being logged in
  const shown = wanted === 'dashboard' && profile === null ? 'refused' : wanted
  for (const section of document.querySelectorAll('main > section')) section.hidden = section.id !== shown
  const here = profile === null ? 'nobody' : 'somebody'
  for (const part of document.querySelectorAll('[data-for]')) part.hidden = part.dataset.for !== here
  for (const place of document.querySelectorAll('[data-claim]')) {
    // as text, whatever the provider says
    place.textContent = profile?.[place.dataset.claim] ?? ''
  }
  find('#message').textContent = message
}

/** @param {Error} error */
const fail = (error) => show(`That did not work. ${error.message}`)

find('#login').addEventListener('click', () => void auth.login({ returnTo: location.href }).catch(fail))
find('#logout').addEventListener('click', () => void auth.logout().catch(fail))

// of this tab, and of any other
auth.on('authenticated', () => show())
auth.on('expired', () => show('Your session has expired. Please log in again.'))
auth.on('loggedOut', () => show('You are logged out.'))

addEventListener('hashchange', () => {
  show()
  find('main > section:not([hidden]) h1').focus()
})

show()
try {
  const back = await auth.handleCallback()
  if (back !== undefined) {
    history.replaceState(null, '', back.returnTo ?? '/')
    show()
  }
} catch (error) {
  fail(error)
}
