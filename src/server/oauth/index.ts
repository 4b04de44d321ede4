import { SECOND, TrestleError, UsageError } from '../../base/index.ts'
import { getCookie, setCookie } from 'hono/cookie'
import type { Authorization, Cookies } from '../../vault/index.ts'
import type { ApiDeps } from '../deps.ts'
import { textAnswer } from '../http/answers.ts'
import { readBody } from '../http/body.ts'
import { within } from '../http/deadline.ts'
import { httpErrorOf, type Problem } from '../http/problem.ts'
import type { Router, ServerContext } from '../http/router.ts'
import { SIGN_IN_STYLE_HASH } from '../live/style.ts'
import { textOf, type Html } from '../live/views/html.ts'
import { choosePage, outcomePage, refusedPage } from './pages.ts'

/** A token endpoint and the question for the account may take 20 s each. */
const ANSWER_LIMIT_MS = 45 * SECOND
const FORM_LIMIT = 4096

/**
 * The way of a browser that authorizes a connection: it opens the start address, is bound by a cookie, goes to the
 * provider, and comes back to the redirect URI of the connector. No session: the start address is the right to begin,
 * and the cookie the right to go on.
 */
export function addAuthorizing(router: Router, deps: ApiDeps): void {
  const { vault, clock } = deps
  const { authorizations } = vault

  /** Every refusal is a page for the person who stands there. */
  async function answer(
    work: Promise<Response>,
    whenLate = (problem: Problem): Problem => problem,
  ): Promise<Response> {
    try {
      return await within(clock, ANSWER_LIMIT_MS, 'Trestle', work)
    } catch (thrown) {
      const { error, isFault } = httpErrorOf(thrown, clock)
      if (isFault) deps.onFault?.('authorize', thrown)
      const { problem } = error
      // A permanent error of ours is worded for people; nothing else is shown.
      const shown = thrown instanceof TrestleError || !isFault
      const told = isLate(thrown) ? whenLate(problem) : problem
      return pageAnswer(statusOf(thrown) ?? problem.status, refusedPage(shown ? told : undefined))
    }
  }

  router.get('/oauth/start/:ticket', (context) => {
    // A look ahead, by a browser or a chat that shows previews, must not take the address up.
    const isGlance =
      context.req.method === 'HEAD' || context.req.header('sec-purpose')?.includes('prefetch') === true
    if (isGlance) return pageAnswer(200, refusedPage(undefined))
    const begun = async (): Promise<Response> => {
      const opened = await authorizations.open(context.req.param('ticket'), cookiesOf(context))
      const { name, value, path, secure, maxAgeSeconds } = opened.cookie
      setCookie(context, name, value, {
        httpOnly: true,
        // Lax: it comes along when the provider sends the browser back by a link, and with no other site's form.
        sameSite: 'Lax',
        secure,
        path,
        maxAge: maxAgeSeconds,
      })
      const redirect = textAnswer(302, 'text/plain', '')
      redirect.headers.set('location', opened.location)
      redirect.headers.set('referrer-policy', 'no-referrer')
      redirect.headers.append('set-cookie', context.res.headers.get('set-cookie')!)
      return redirect
    }
    return answer(begun())
  })

  router.get('/oauth/callback/:connector', (context) => {
    if (context.req.method === 'HEAD') return pageAnswer(200, refusedPage(undefined))
    const back = async (): Promise<Response> => {
      const query = new URL(context.req.url).searchParams
      return shown(await authorizations.callback(context.req.param('connector'), query, cookiesOf(context)))
    }
    return answer(back(), unfinished)
  })

  router.post('/oauth/choose', (context) => {
    const chosen = async (): Promise<Response> => {
      refuseForeignForm(context)
      const form = new URLSearchParams((await readBody(context.env.incoming, FORM_LIMIT)).toString('utf8'))
      const field = (name: string): string => form.get(name) ?? ''
      return shown(
        await authorizations.chooseInBrowser(field('authorization'), field('account'), cookiesOf(context)),
      )
    }
    return answer(chosen(), unfinished)
  })
}

function isLate(thrown: unknown): boolean {
  return thrown instanceof TrestleError && thrown.code === 'deadline_exceeded'
}

/** What the person may do who has agreed already: nothing is lost by waiting, and a second consent may end the first. */
function unfinished(problem: Problem): Problem {
  return {
    ...problem,
    code: 'authorization_unfinished',
    detail: `This takes longer than ${ANSWER_LIMIT_MS / SECOND} s, and goes on without this page: the provider or the database is slow, or away. Do not begin again yet, and leave Trestle running. See how it ends with: trestle connections list`,
  }
}

function shown(authorization: Authorization): Promise<Response> {
  if (authorization.state === 'choosing') return pageAnswer(200, choosePage(authorization))
  return pageAnswer(authorization.state === 'failed' ? 400 : 200, outcomePage(authorization))
}

function cookiesOf(context: ServerContext): Cookies {
  return (name) => getCookie(context, name)
}

/** A form of another site must not choose (https://www.w3.org/TR/fetch-metadata/). */
function refuseForeignForm(context: ServerContext): void {
  const site = context.req.header('sec-fetch-site')
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new UsageError('cross_site', 'This form belongs to another site. Open the authorization again.')
}

function statusOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof UsageError)) return undefined
  switch (thrown.code) {
    case 'authorization_other_browser':
    case 'issuer_differs':
    case 'cross_site':
      return 403
    case 'authorization_expired':
    case 'authorization_used':
      return 410
    case 'authorization_unknown':
      return 404
    default:
      return undefined
  }
}

/** No script, no style but its own, nothing from elsewhere, no framing; and nobody learns the address. */
const POLICY = `default-src 'none'; style-src '${SIGN_IN_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`

async function pageAnswer(status: number, piece: Html): Promise<Response> {
  const answer = textAnswer(status, 'text/html; charset=utf-8', await textOf(piece))
  answer.headers.set('content-security-policy', POLICY)
  answer.headers.set('referrer-policy', 'no-referrer')
  answer.headers.set('x-frame-options', 'DENY')
  return answer
}
