import type { Claims } from 'luggage-rack/auth'
import { html, type Html } from '../html.ts'

/** @param origin the path to come back to */
export function homePage(token: string, origin: string, notice = ''): string {
  return layout(
    'Sign in',
    html`<h1>The tutorial's application</h1>
      ${notice && html`<p role="status">${notice}</p>`}
      <form method="post" action="/auth/oauth2">
        <input type="hidden" name="authenticity_token" value="${token}" />
        <input type="hidden" name="origin" value="${origin}" />
        <button>Log in</button>
      </form>
      <p>The provider asks for your password, and this application never sees it.</p>`,
  )
}

export function dashboardPage(user: Claims, visits: number, token: string): string {
  return layout(
    'Dashboard',
    html`<h1>Good day, ${nameOf(user)}!</h1>
      <p>You have seen this page <strong>${visits}</strong> ${visits === 1 ? 'time' : 'times'} in this session.</p>
      ${links(token)}`,
  )
}

export function profilePage(user: Claims, token: string): string {
  const rows = Object.entries(user).map(
    ([claim, value]) =>
      html`<dt>${claim}</dt>
        <dd>${typeof value === 'string' ? value : JSON.stringify(value)}</dd>`,
  )
  return layout(
    'Profile',
    html`<h1>What the provider told</h1>
      <dl>${rows}</dl>
      ${links(token)}`,
  )
}

export function failurePage(reason: string): string {
  return layout(
    'Not signed in',
    html`<h1>You are not signed in</h1>
      <p role="alert">${reason}</p>
      <p><a href="/">Try again</a></p>`,
  )
}

export function messagePage(message: string): string {
  return layout(message, html`<h1>${message}</h1>`)
}

function links(token: string): Html {
  return html`<nav><a href="/dashboard">Dashboard</a> <a href="/profile">Profile</a></nav>
    <form method="post" action="/logout">
      <input type="hidden" name="authenticity_token" value="${token}" />
      <button>Log out</button>
    </form>`
}

function nameOf({ name, sub }: Claims): string {
  return typeof name === 'string' ? name : sub
}

function layout(title: string, body: Html): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <style>
          :root {
            color-scheme: light dark;
          }
          body {
            font:
              1.1rem/1.5 system-ui,
              sans-serif;
            max-width: 40rem;
            margin: 3rem auto;
            padding: 0 1rem;
          }
          button {
            font: inherit;
            padding: 0.4rem 1.2rem;
          }
          dt {
            font-weight: bold;
          }
          nav a {
            margin-right: 1rem;
          }
        </style>
      </head>
      <body>
        <main>${body}</main>
      </body>
    </html>`.html
}
