import { raw } from 'hono/html'
import type { Authorization } from '../../vault/index.ts'
import { SIGN_IN_STYLE } from '../live/style.ts'
import { foreign, html, NOTHING, type Html } from '../live/views/html.ts'
import type { Problem } from '../http/problem.ts'

/** In one piece: the policy allows exactly these characters, by their hash. */
const STYLE_ELEMENT = raw(`<style>${SIGN_IN_STYLE}</style>`)

function page(title: string, body: Html): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · Trestle</title>
        ${STYLE_ELEMENT}
      </head>
      <body>
        <main>
          <h1>${title}</h1>
          ${body}
        </main>
      </body>
    </html>`
}

/** How it ended, or what it waits for. */
export function outcomePage({ connection, state, reason }: Authorization): Html {
  if (state === 'granted')
    return page(
      'Authorized',
      html`<p>The connection <code>${connection}</code> is authorized. You can close this window.</p>
        <p class="hint">Try it with <code>trestle connections test ${connection}</code></p>`,
    )
  if (state === 'failed')
    return page(
      'Not authorized',
      html`<p role="alert">${reason === undefined ? NOTHING : foreign(reason)}</p>
        <p>Nothing of the connection <code>${connection}</code> was changed.</p>
        <p class="hint">Begin again with <code>trestle connections add ${connection}</code></p>`,
    )
  return page(
    'Nearly done',
    html`<p>The provider agreed, and what it sent is kept. Trestle goes on by itself.</p>
      ${reason === undefined ? NOTHING : html`<p class="hint">${foreign(reason)}</p>`}
      <p class="hint">See how it ends with <code>trestle connections list</code></p>`,
  )
}

/** Several accounts: the person who authorized says which. */
export function choosePage({ id, connection, choices }: Authorization): Html {
  return page(
    'Which account?',
    html`<p>
        What you agreed to opens several accounts. Which one is the connection <code>${connection}</code> for?
      </p>
      ${choices.map(
        (choice) =>
          html`<form method="post" action="../choose">
            <input type="hidden" name="authorization" value="${id}" />
            <input type="hidden" name="account" value="${choice.id}" />
            <button>${foreign(choice.name)}</button>
          </form>`,
      )}`,
  )
}

/** A browser that is turned away; nothing was changed. */
export function refusedPage(problem: Problem | undefined): Html {
  return page(
    'Not authorized',
    problem === undefined
      ? html`<p>Open this address in a browser to go on.</p>`
      : html`<p role="alert">${foreign(problem.detail)}</p>
          <p class="hint"><code>${problem.code}</code></p>`,
  )
}
