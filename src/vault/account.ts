import { parseJson } from '../base/index.ts'
import type { Settings } from '../define/index.ts'

/** What an authorization said about the account that a connection opens. */
export interface Account {
  readonly settings: Settings
  /** The account's own base URL, without a trailing slash, and the one that it stands in for. */
  readonly baseUrl?: { readonly url: string; readonly insteadOf: string }
}

const NONE: Account = { settings: {} }

/** As it is stored; nothing where no authorization said anything. */
export function accountOf(stored: string | null): Account {
  return stored === null ? NONE : { ...NONE, ...(parseJson(stored) as unknown as Account) }
}

/** Settings in the order of their names, so that equal accounts are equal text. */
export function accountText({ settings, baseUrl }: Account): string {
  const sorted = Object.fromEntries(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)))
  return JSON.stringify({ settings: sorted, ...(baseUrl === undefined ? {} : { baseUrl }) })
}
