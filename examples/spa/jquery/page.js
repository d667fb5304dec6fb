// A session in the browser: the ID token in localStorage says who is logged in, and until when.
/* global $ */
import { AuthService } from 'luggage-rack/browser'
import { clientId, issuer } from './settings.js'

// removes a token that has expired, and says so below
const auth = new AuthService({ issuer, clientId })

/** Shows what the address names, to whoever is here. */
function show(message = '') {
  const profile = auth.getProfile()
  const wanted = location.hash === '#/dashboard' ? 'dashboard' : 'home'
  // the guard: not without being logged in
  const shown = wanted === 'dashboard' && profile === null ? 'refused' : wanted
  $('main > section').prop('hidden', true).filter(`#${shown}`).prop('hidden', false)
  $('[data-for=nobody]').prop('hidden', profile !== null)
  $('[data-for=somebody]').prop('hidden', profile === null)
  // as text, whatever the provider says
  $('[data-claim]').each((_index, place) => void $(place).text(profile?.[$(place).data('claim')] ?? ''))
  $('#message').text(message)
}

/** @param {Error} error */
const fail = (error) => show(`That did not work. ${error.message}`)

$('#login').on('click', () => void auth.login({ returnTo: location.href }).catch(fail))
$('#logout').on('click', () => void auth.logout().catch(fail))

// of this tab, and of any other
auth.on('authenticated', () => show())
auth.on('expired', () => show('Your session has expired. Please log in again.'))
auth.on('loggedOut', () => show('You are logged out.'))

$(window).on('hashchange', () => {
  show()
  $('main > section:not([hidden]) h1').trigger('focus')
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
