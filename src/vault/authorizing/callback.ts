import { timingSafeEqual } from 'node:crypto'
import type { OAuth2Scheme } from '../../define/index.ts'
import type { Connection } from '../connections.ts'
import { tokenUrlOf } from '../plan.ts'
import { oauthAddress } from './addresses.ts'
import { refusal } from './refusals.ts'
import { hashOf, type AuthorizationRow } from './store.ts'

/** What the provider said through the browser. */
export type Said =
  | {
      readonly as: 'agreed'
      readonly code: string
      /** The parameters that say which account it is. */
      readonly parameters: Readonly<Record<string, string>>
    }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }

/** Whether this is the browser that opened it. */
export function hasOpened(row: AuthorizationRow, cookie: string | undefined): boolean {
  return row.browser !== undefined && cookie !== undefined && timingSafeEqual(hashOf(cookie), row.browser)
}

/**
 * Reads the callback (RFC 6749, 4.1.2; RFC 9207). Its state, redirect URI and browser were looked at before. Throws
 * where it is none that the provider would send to this question.
 */
export function checkCallback(query: URLSearchParams, scheme: OAuth2Scheme, connection: Connection): Said {
  const facts = (scheme.account ?? []).flatMap(({ from }) =>
    from.kind === 'callback' ? [from.parameter] : [],
  )
  const once = ['state', 'code', 'error', 'error_description', 'iss', ...facts]
  if (once.some((name) => query.getAll(name).length > 1)) throw refusal('callback_invalid')
  if (!isFromProvider(query.get('iss'), scheme, connection)) throw refusal('issuer_differs')
  const error = query.get('error')
  if (error !== null) {
    const description = query.get('error_description')
    return {
      as: 'refused',
      code: error === 'access_denied' ? 'access_denied' : 'provider_refused',
      reason: `The provider says: ${printable(error)}${description ? ` (${printable(description)})` : ''}.`,
    }
  }
  const code = query.get('code')
  if (code === null || code === '') throw refusal('callback_invalid')
  const parameters = facts.flatMap((name) => {
    const value = query.get(name)
    return value === null ? [] : [[name, value] as const]
  })
  return { as: 'agreed', code, parameters: Object.fromEntries(parameters) }
}

/** An issuer that is declared must be said; one that is not, if said, must be at home where we ask. */
function isFromProvider(iss: string | null, scheme: OAuth2Scheme, connection: Connection): boolean {
  // A twin stands in for the provider, and says its own.
  if (scheme.issuer !== undefined && connection.tokenUrl === undefined) return iss === scheme.issuer
  if (iss === null) return true
  const { authorizeUrl = '' } = scheme
  const homes = [oauthAddress(authorizeUrl, scheme, connection), tokenUrlOf(scheme, connection)]
  return URL.canParse(iss) && homes.some((home) => new URL(home).origin === new URL(iss).origin)
}

/** Text of whoever sent the browser, for a ledger and a page. */
function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}]/gu, ' ').slice(0, 200)
}
