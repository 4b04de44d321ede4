import { raw } from 'hono/html'
import { SIGN_IN_STYLE } from '../style.ts'
import { html, NOTHING, type Html } from './html.ts'

/** In one piece: the policy allows exactly these characters, by their hash. */
const STYLE_ELEMENT = raw(`<style>${SIGN_IN_STYLE}</style>`)

export interface PageOptions {
  readonly title: string
  /** Where the page's events come from; without it the page does not change. */
  readonly stream?: string
  readonly body: Html
}

/** The frame of the pages that need a session. */
export function page({ title, stream, body }: PageOptions): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · Trestle</title>
        <link rel="stylesheet" href="/live.css" />
        <script src="/live.js" defer></script>
      </head>
      <body data-stream="${stream ?? ''}">
        <header class="top">
          <a class="name" href="/">Trestle</a>
          <span id="status" class="status" role="status">${stream === undefined ? '' : 'connecting'}</span>
          <form method="post" action="/live/leave"><button class="plain">Sign out</button></form>
        </header>
        ${body}
      </body>
    </html>`
}

/** What whoever is not known gets. It needs nothing but itself. */
export function signInPage(message?: string): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>Sign in · Trestle</title>
        ${STYLE_ELEMENT}
      </head>
      <body>
        <main>
          <h1>Trestle</h1>
          ${message === undefined ? NOTHING : html`<p role="alert">${message}</p>`}
          <p>Open the link that Trestle printed when it started, or paste an API token.</p>
          <form method="post" action="/live/enter">
            <label for="token">API token</label>
            <input id="token" name="token" type="password" autocomplete="off" required />
            <button>Sign in</button>
          </form>
          <p class="hint">Make a token with <code>trestle tokens create NAME</code></p>
        </main>
      </body>
    </html>`
}

/** Goes on to the page by a step of its own, so that a strict cookie goes with it, wherever the link stood. */
export function enteredPage(): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="color-scheme" content="light dark" />
        <meta http-equiv="refresh" content="0;url=/" />
        <title>Trestle</title>
      </head>
      <body>
        <p><a href="/">Go on to the live page</a></p>
      </body>
    </html>`
}
