// The provider's pages.
import { html, type Html } from '../html.ts'
import { PEOPLE } from './people.ts'

/** @param application the origin that the browser goes back to */
export function signInPage(application: string, login = '', problem = ''): string {
  const [{ login: name, password } = { login: '', password: '' }] = PEOPLE
  return layout(
    'Sign in',
    html`<h1>Sign in</h1>
      <p>This is the provider. Afterwards you go back to <strong>${application}</strong>.</p>
      ${problem && html`<p role="alert">${problem}</p>`}
      <form method="post">
        <label for="name">Name</label>
        <input id="name" name="name" value="${login}" required autocomplete="username" autofocus />
        <label for="password">Password</label>
        <input id="password" name="password" type="password" required autocomplete="current-password" />
        <button>Sign in</button>
        <button name="cancel" value="yes" class="quiet" formnovalidate>Cancel</button>
      </form>
      <p>A demonstration: sign in as <code>${name}</code> with the password <code>${password}</code>.</p>`,
  )
}

/**
 * @param form oidc-provider's own, which holds its token against forgery and has no button
 * @param asks whether to ask first: whoever sent the browser here has not shown whose session is to end
 */
export function signOutPage(form: string, asks: boolean): string {
  const [, id = ''] = /id="([^"]+)"/.exec(form) ?? []
  return layout(
    'Sign out',
    html`<h1>Sign out</h1>
      <p>${asks ? 'Do you want to sign out of the provider as well?' : 'You are being signed out of the provider.'}</p>
      ${{ html: form }}
      <p>
        <button form="${id}" name="logout" value="yes">Sign out</button>
        ${asks ? html`<button form="${id}" class="quiet">Stay signed in</button>` : ''}
      </p>
      ${asks ? '' : html`<script src="/sign-out.js"></script>`}`,
  )
}

export function messagePage(title: string, message: string): string {
  return layout(
    title,
    html`<h1>${title}</h1>
      <p>${message}</p>`,
  )
}

function layout(title: string, main: Html): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} – the provider</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="/page.css" />
      </head>
      <body>
        <main>${main}</main>
      </body>
    </html>`.html
}
