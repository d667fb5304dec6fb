// A session in the browser: the ID token in localStorage says who is logged in, and until when.
import { useSyncExternalStore } from 'react'
import { flushSync } from 'react-dom'
import { createRoot } from 'react-dom/client'
import { AuthService } from 'luggage-rack/browser'
import { clientId, issuer } from './settings.js'

// removes a token that has expired, and says so below
const auth = new AuthService({ issuer, clientId })

/** What is shown: another object whenever it changes, by which React notices. */
let view = look('')

/** @type {Set<() => void>} */
const watchers = new Set()

/** @param {string} message */
function look(message) {
  return { profile: auth.getProfile(), page: location.hash, message }
}

function show(message = '') {
  view = look(message)
  for (const watcher of watchers) watcher()
}

/** @param {() => void} watcher */
function watch(watcher) {
  watchers.add(watcher)
  return () => watchers.delete(watcher)
}

/** @param {Error} error */
const fail = (error) => show(`That did not work. ${error.message}`)

// of this tab, and of any other
auth.on('authenticated', () => show())
auth.on('expired', () => show('Your session has expired. Please log in again.'))
auth.on('loggedOut', () => show('You are logged out.'))

addEventListener('hashchange', () => {
  flushSync(() => show())
  document.querySelector('h1').focus()
})

function App() {
  const { profile, page, message } = useSyncExternalStore(watch, () => view)
  return (
    <>
      <header>
        <nav aria-label="Pages">
          <a href="#/">Home</a> <a href="#/dashboard">Dashboard</a>
        </nav>
        {profile ? <LogOut /> : <LogIn />}
      </header>
      <main>
        <p role="status">{message}</p>
        {page === '#/dashboard' ? <Guarded profile={profile} page={Dashboard} /> : <Home profile={profile} />}
      </main>
      <footer>
        <p>
          The ID token is in <code>localStorage</code>, under <code>id_token</code>. Whatever script runs in this page
          can read it. <code>npm run example spa/server-session</code> keeps it where none can.
        </p>
      </footer>
    </>
  )
}

function LogIn() {
  return (
    <button type="button" onClick={() => void auth.login({ returnTo: location.href }).catch(fail)}>
      Log in
    </button>
  )
}

function LogOut() {
  return (
    <button type="button" onClick={() => void auth.logout().catch(fail)}>
      Log out
    </button>
  )
}

/** The guard: a page that is shown to people who are logged in. */
function Guarded({ profile, page: Page }) {
  if (profile) return <Page profile={profile} />
  return (
    <>
      <h1 tabIndex={-1}>Please log in</h1>
      <p>The dashboard is for people who are logged in.</p>
    </>
  )
}

function Home({ profile }) {
  return (
    <>
      <h1 tabIndex={-1}>React</h1>
      {profile ? (
        <p>
          You are logged in as <strong>{profile.name}</strong>.
        </p>
      ) : (
        <p>Nobody is logged in.</p>
      )}
    </>
  )
}

function Dashboard({ profile }) {
  return (
    <>
      <h1 tabIndex={-1}>Dashboard</h1>
      <dl>
        <dt>Name</dt>
        <dd>{profile.name}</dd>
        <dt>E-mail</dt>
        <dd>{profile.email}</dd>
      </dl>
    </>
  )
}

createRoot(document.querySelector('#root')).render(<App />)
try {
  const back = await auth.handleCallback()
  if (back !== undefined) {
    history.replaceState(null, '', back.returnTo ?? '/')
    show()
  }
} catch (error) {
  fail(error)
}
