import type { SessionSummary } from 'luggage-rack'
import { html, type Html } from '../html.ts'

export interface CartLine {
  item: string
  quantity: number
}

export const WARES: readonly string[] = ['Flask of tea', 'Umbrella', 'Walking boots', 'Travel chess']

export function signInPage(problem = ''): string {
  return layout(
    'Sign in',
    html`<h1>Sign in</h1>
      <p>This is a demonstration: any name will do, and there is no password.</p>
      <form method="post" action="/sign-in" class="card">
        <label for="name">Your name</label>
        <input id="name" name="name" required maxlength="50" autocomplete="nickname" autofocus />
        ${problem && html`<p role="alert">${problem}</p>`}
        <button>Sign in</button>
      </form>`,
  )
}

export function dashboardPage(user: string, visits: number, cart: readonly CartLine[]): string {
  const things = cart.reduce((sum, { quantity }) => sum + quantity, 0)
  return layout(
    'Dashboard',
    html`<h1>Good day, ${user}!</h1>
      <dl class="card">
        <dt>Signed in as</dt>
        <dd>${user}</dd>
        <dt>Visits</dt>
        <dd>${visits}</dd>
        <dt>Things in the cart</dt>
        <dd>${things}</dd>
      </dl>
      <p>
        Reload the page to be counted again. Restart the server, and you are still signed in: the server knows all this
        from your encrypted cookie, or from the store that it was started with.
      </p>`,
    user,
  )
}

export function cartPage(user: string, cart: readonly CartLine[], notice = ''): string {
  const lines = cart.map(
    ({ item, quantity }) =>
      html`<li>
        <form method="post" action="/cart/quantity">
          <strong>${item}</strong>
          <input type="hidden" name="item" value="${item}" />
          <input
            name="quantity"
            type="number"
            min="1"
            max="99"
            required
            value="${quantity}"
            aria-label="How many: ${item}"
          />
          <button aria-label="Update: ${item}">Update</button>
          <button aria-label="Remove: ${item}" class="quiet" formaction="/cart/remove" formnovalidate>Remove</button>
        </form>
      </li>`,
  )
  return layout(
    'Cart',
    html`<h1>Your cart</h1>
      ${notice && html`<p role="status">${notice}</p>`}
      <ul class="card">
        ${lines.length > 0 ? lines : html`<li>There is nothing in it yet.</li>`}
      </ul>
      <h2>Add something for the journey</h2>
      <form method="post" action="/cart/add">
        ${WARES.map((item) => html`<button name="item" value="${item}" aria-label="Add: ${item}">${item}</button> `)}
      </form>`,
    user,
  )
}

export function sessionsPage(user: string, sessions: readonly SessionSummary[] | undefined, here = ''): string {
  const lines = (sessions ?? []).map(
    ({ id, createdAt, lastSeenAt }) =>
      html`<li>
        <form method="post" action="/sessions/sign-out">
          <strong>${id === here ? 'This browser' : 'Another browser'}</strong>
          <span>signed in ${timeOf(createdAt)}, seen ${timeOf(lastSeenAt)}</span>
          ${id === here ? '' : html`<button name="id" value="${id}" class="quiet">Sign out there</button>`}
        </form>
      </li>`,
  )
  const list = html`<ul class="card">
      ${lines}
    </ul>
    <form method="post" action="/sessions/sign-out"><button>Sign out everywhere else</button></form>`
  const none = html`<p>
    This store cannot list sessions. Start the site with <code>--store sqlite</code> to see them.
  </p>`
  return layout(
    'Sessions',
    html`<h1>Where you are signed in</h1>
      ${sessions ? list : none}`,
    user,
  )
}

function timeOf(time: number): Html {
  const iso = new Date(time).toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 16).replace('T', ' ')}</time>`
}

export function messagePage(message: string): string {
  return layout(
    'Sorry',
    html`<h1>Sorry</h1>
      <p>${message} <a href="/">To the start</a></p>`,
  )
}

function layout(title: string, main: Html, user = ''): string {
  const nav = html`<nav aria-label="Site">
    <a href="/">Dashboard</a>
    <a href="/cart">Cart</a>
    <a href="/sessions">Sessions</a>
    <form method="post" action="/sign-out"><button class="quiet">Sign out</button></form>
  </nav>`
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} – Luggage Rack</title>
        <link rel="icon" href="data:," />
        ${STYLE} ${user && RELOAD}
      </head>
      <body>
        <header><strong>Luggage Rack</strong>${user && nav}</header>
        <main>${main}</main>
      </body>
    </html>`.html
}

/** A page that the browser kept alive to go back to may be of a session that has ended since. */
const RELOAD: Html = html`<script>
  addEventListener('pageshow', (event) => event.persisted && location.reload())
</script>`

const STYLE: Html = {
  html: `<style>
  :root { color-scheme: light dark; --ink: #1f2933; --paper: #f6f4ef; --card: #fff; --line: #d8d3c7; --accent: #1d5c4d }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e8e6e1; --paper: #171b1a; --card: #202625; --line: #46524f; --accent: #7fd1ba }
  }
  * { box-sizing: border-box }
  body { margin: 0 auto; max-width: 42rem; padding: 0 1.25rem 3rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
  header, nav, form { display: flex; flex-wrap: wrap; align-items: center; gap: .75rem }
  header { justify-content: space-between; padding: .75rem 0; border-bottom: 1px solid var(--line) }
  h1, dd { overflow-wrap: anywhere }
  a { color: var(--accent) }
  .card { margin: 1.25rem 0; padding: 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem }
  form.card { display: grid; max-width: 26rem }
  dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1.5rem }
  dd { margin: 0; font-weight: 600 }
  ul { list-style: none }
  li + li { margin-top: 1rem; padding-top: 1rem; border-top: 1px solid var(--line) }
  li strong { flex: 1 1 9rem }
  input, button { font: inherit; min-height: 2.75rem; padding: .5rem .9rem; border: 1px solid var(--accent); border-radius: .5rem }
  input { color: inherit; background: var(--paper) }
  button { color: var(--card); background: var(--accent); cursor: pointer }
  .quiet { color: var(--accent); background: none }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
</style>`,
}
