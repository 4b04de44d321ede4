import { MINUTE, UsageError } from '../../base/index.ts'
import { isAuthorizedByPerson, schemesOf, type AuthScheme, type OAuth2Scheme } from '../../define/index.ts'
import type { Connection } from '../connections.ts'

/** How long a browser has, from the beginning to the callback; and again to choose an account. */
export const AUTHORIZE_WITHIN_MS = 10 * MINUTE
/** A scheme by which a person authorizes in a browser. */
export type BrowserScheme = OAuth2Scheme & { readonly authorizeUrl: string }

/** The scheme by which a person authorizes, also where the connection uses another now. */
export function schemeOf(
  connection: Connection,
  authOf: (connector: string) => AuthScheme | undefined,
): BrowserScheme {
  const auth = authOf(connection.connector)
  const scheme = (auth ? schemesOf(auth) : []).find(isAuthorizedByPerson)
  const { authorizeUrl } = scheme ?? {}
  if (scheme !== undefined && authorizeUrl !== undefined) return { ...scheme, authorizeUrl }
  throw new UsageError(
    'authorization_unsupported',
    `Connection "${connection.name}" is not authorized in a browser. Give its secrets with: trestle connections add ${connection.name}`,
  )
}
