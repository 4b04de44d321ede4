import { UsageError } from '../../base/index.ts'
import type { OAuth2Scheme } from '../../define/index.ts'
import { tokenUrlOf } from '../plan.ts'

/** Of a connection, what its addresses depend on. */
interface Addressed {
  readonly baseUrl: string
  readonly tokenUrl: string | undefined
}

/**
 * Another address of the provider's authorization than the token endpoint: a path is below the base URL. Where the
 * connection has a token URL of its own, a twin stands in for the provider, and for all of it: the same path at the
 * twin's origin, so that nothing of the twin's is ever sent to the provider.
 */
export function oauthAddress(url: string, scheme: OAuth2Scheme, connection: Addressed): string {
  if (url.startsWith('/')) return `${connection.baseUrl}${url}`
  if (connection.tokenUrl === undefined) return url
  const { pathname, search } = new URL(url)
  return new URL(tokenUrlOf(scheme, connection)).origin + pathname + search
}

/** What of the provider's browser-side addresses follows from ours. */
export interface OurAddresses {
  /** Where providers send the browser back to. One for each connector: an answer at another's is refused. */
  readonly redirectUri: string
  /** Where a browser begins. */
  readonly start: (ticket: string) => string
  /** Whether cookies are for https only. */
  readonly secure: boolean
  /** Where the cookie is sent, as the browser sees it. */
  readonly cookiePath: string
}

/** Throws `public_url_invalid` where no provider would send a browser back to this address. */
export function ourAddresses(publicUrl: string, connector: string): OurAddresses {
  const { protocol, hostname, pathname } = new URL(publicUrl)
  const secure = protocol === 'https:'
  if (!secure && !['localhost', '127.0.0.1', '[::1]'].includes(hostname))
    throw new UsageError(
      'public_url_invalid',
      `A provider sends the browser back to ${publicUrl} after the authorization, and that is neither https nor this machine. Set publicUrl in trestle.config.ts to the https address that browsers reach Trestle at.`,
    )
  const base = publicUrl.replace(/\/+$/, '')
  return {
    redirectUri: `${base}/oauth/callback/${connector}`,
    start: (ticket) => `${base}/oauth/start/${ticket}`,
    secure,
    cookiePath: secure ? '/' : `${pathname.replace(/\/+$/, '')}/oauth`,
  }
}

/** The name of the cookie of one authorization, so that several can be under way in one browser. */
export function cookieNameOf(id: string, secure: boolean): string {
  // `__Host-`: another host of the same domain cannot have set it (RFC 6265bis, 4.1.3.2).
  return `${secure ? '__Host-' : ''}trestle_oauth_${id}`
}
