import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import type { ApiDeps } from '../deps.ts'
import { textAnswer } from '../http/answers.ts'
import { readBody } from '../http/body.ts'
import { HttpError } from '../http/problem.ts'
import type { Router, ServerContext } from '../http/router.ts'
import { createLiveDoor, SESSION_FOR_MS, type LiveAccess, type Viewer } from './access.ts'
import { Feed } from './feed.ts'
import { readRunView } from './runView.ts'
import { LIVE_SCRIPT } from './script.ts'
import { LIVE_STYLE, SIGN_IN_STYLE_HASH } from './style.ts'
import { html, textOf, type Html } from './views/html.ts'
import { enteredPage, page, signInPage } from './views/pages.ts'
import { runView } from './views/runPage.ts'

export type { LiveAccess } from './access.ts'

export interface Live {
  readonly access: LiveAccess
  addTo(router: Router): void
  /** Ends every stream. */
  close(): Promise<void>
}

/** Viewers at once, over all tenants; a further one is asked to come later. */
export const VIEWERS_LIMIT = 50
const FORM_LIMIT = 4096
const RUN_ID = /^run_[0-9a-z]{1,60}$/

/**
 * The live page: events → runs → calls as they happen, and one run as a timeline. Rendered here; the browser gets
 * pieces of HTML over server-sent events. Without a session nothing of it answers but the page to sign in.
 */
export function createLive(deps: ApiDeps): Live {
  const { database, vault, clock, random, tenant, publicUrl } = deps
  const door = createLiveDoor({ database: database.pool, tokens: vault.tokens, clock, random, tenant })
  const feeds = new Map<string, Feed>()
  let closed = false

  async function viewerOf(context: ServerContext): Promise<Viewer | undefined> {
    const session = getCookie(context, cookieName(context))
    return session === undefined ? undefined : door.viewerOf(session)
  }

  function feedOf(viewer: Viewer): Feed {
    const known = feeds.get(viewer.tenant)
    if (known) return known
    const feed = new Feed(viewer.tenant, {
      database: database.pool,
      clock,
      onFault: (error) => deps.onFault?.('live page', error),
    })
    feeds.set(viewer.tenant, feed)
    return feed
  }

  async function enter(context: ServerContext, session: string | undefined): Promise<Response> {
    if (session === undefined)
      return pageAnswer(
        401,
        signInPage(
          'That link or token is not good, or no longer: a link works once, within 10 minutes; a token needs the scope live:read.',
        ),
      )
    setCookie(context, cookieName(context), session, {
      httpOnly: true,
      sameSite: 'Strict',
      secure: isSecure(context, publicUrl()),
      path: '/',
      maxAge: SESSION_FOR_MS / 1000,
    })
    const answer = await pageAnswer(200, enteredPage())
    answer.headers.append('set-cookie', context.res.headers.get('set-cookie')!)
    return answer
  }

  /** For viewers only; everybody else gets the page to sign in. */
  const guarded =
    (answer: (viewer: Viewer, context: ServerContext) => Promise<Response> | Response) =>
    async (context: ServerContext): Promise<Response> => {
      const viewer = await viewerOf(context)
      return viewer ? answer(viewer, context) : pageAnswer(401, signInPage())
    }

  function addTo(router: Router): void {
    router.get('/live/enter', (context) => {
      // A look ahead, by a browser or a chat that shows previews, must not use the link up.
      const isGlance =
        context.req.method === 'HEAD' || context.req.header('sec-purpose')?.includes('prefetch') === true
      if (isGlance) return pageAnswer(401, signInPage())
      return door.enterByCode(context.req.query('code') ?? '').then((session) => enter(context, session))
    })
    router.post('/live/enter', async (context) => {
      refuseForeignForm(context)
      const form = new URLSearchParams((await readBody(context.env.incoming, FORM_LIMIT)).toString('utf8'))
      return enter(context, await door.enterByToken((form.get('token') ?? '').trim()))
    })
    router.post(
      '/live/leave',
      guarded(async (_viewer, context) => {
        refuseForeignForm(context)
        await door.leave(getCookie(context, cookieName(context))!)
        deleteCookie(context, cookieName(context), { path: '/' })
        const answer = await pageAnswer(200, signInPage('You have signed out.'))
        answer.headers.append('set-cookie', context.res.headers.get('set-cookie')!)
        return answer
      }),
    )
    router.get(
      '/live.css',
      guarded(() => textAnswer(200, 'text/css; charset=utf-8', LIVE_STYLE)),
    )
    router.get(
      '/live.js',
      guarded(() => textAnswer(200, 'text/javascript; charset=utf-8', LIVE_SCRIPT)),
    )
    router.get(
      '/live/stream',
      guarded((viewer, context) => {
        // Nobody would read what a HEAD opens, and so nobody would close it.
        if (context.req.method === 'HEAD')
          throw new HttpError(405, 'method_not_allowed', 'A stream is read with GET.', {
            headers: { allow: 'GET' },
          })
        const session = getCookie(context, cookieName(context))!
        return openStream(
          viewer,
          context.req.query('run'),
          async () => (await door.viewerOf(session)) !== undefined,
        )
      }),
    )
    router.get(
      '/runs/:id',
      guarded((viewer, context) => runPage(viewer, context.req.param('id')!)),
    )
    router.get(
      '/',
      guarded(() => pageAnswer(200, livePage())),
    )
  }

  function openStream(viewer: Viewer, run: string | undefined, isStillIn: () => Promise<boolean>): Response {
    if (run !== undefined && !RUN_ID.test(run)) throw new HttpError(404, 'not_found', 'There is no such run.')
    const viewers = [...feeds.values()].reduce((sum, feed) => sum + feed.size, 0)
    if (closed || viewers >= VIEWERS_LIMIT)
      throw new HttpError(
        503,
        closed ? 'stopping' : 'too_many_viewers',
        closed ? 'This node is stopping.' : `${VIEWERS_LIMIT} viewers watch already. Try again later.`,
        { headers: { 'retry-after': '30' } },
      )
    return new Response(feedOf(viewer).open(run, isStillIn), {
      headers: {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        // Proxies of nginx's kind hold answers back otherwise.
        'x-accel-buffering': 'no',
      },
    })
  }

  async function runPage(viewer: Viewer, id: string): Promise<Response> {
    const view = RUN_ID.test(id)
      ? await readRunView(database.pool, viewer.tenant, id, clock.now())
      : undefined
    if (!view)
      return pageAnswer(
        404,
        page({
          title: 'No such run',
          body: html`<main><p class="quiet">There is no run ${id.slice(0, 100)}.</p></main>`,
        }),
      )
    return pageAnswer(
      200,
      page({
        title: view.row.flow,
        stream: `/live/stream?run=${encodeURIComponent(id)}`,
        body: html`<main>${runView(view)}</main>`,
      }),
    )
  }

  return {
    access: door,
    addTo,
    close() {
      closed = true
      for (const feed of feeds.values()) feed.end()
      return Promise.resolve()
    },
  }
}

/** Cookies know no ports: two installations on one host would sign each other's viewers out. */
function cookieName(context: ServerContext): string {
  const port = /:(\d+)$/.exec(context.req.header('host') ?? '')?.[1]
  return `trestle_live_${port ?? 'web'}`
}

/** Whether the request came by the public address, and that is https: behind a proxy nothing else tells. */
function isSecure(context: ServerContext, publicUrl: string): boolean {
  const { protocol, host } = new URL(publicUrl)
  return protocol === 'https:' && context.req.header('host') === host
}

/** A form of another site must not sign a viewer in or out (https://www.w3.org/TR/fetch-metadata/). */
function refuseForeignForm(context: ServerContext): void {
  const site = context.req.header('sec-fetch-site')
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new HttpError(403, 'cross_site', 'This form belongs to another site.')
}

function livePage(): Html {
  return page({
    title: 'Live',
    stream: '/live/stream',
    body: html`<main>
      <section id="overview" aria-label="Now"></section>
      <section id="feed" aria-label="What happens">
        <p class="quiet">Waiting for the first look…</p>
      </section>
    </main>`,
  })
}

/** No inline script or style, nothing from elsewhere, no framing. */
const POLICY = `default-src 'none'; script-src 'self'; style-src 'self' '${SIGN_IN_STYLE_HASH}'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`

async function pageAnswer(status: number, piece: Html): Promise<Response> {
  const answer = textAnswer(status, 'text/html; charset=utf-8', await textOf(piece))
  answer.headers.set('content-security-policy', POLICY)
  answer.headers.set('referrer-policy', 'no-referrer')
  answer.headers.set('x-frame-options', 'DENY')
  return answer
}
