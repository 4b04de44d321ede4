import { createHash } from 'node:crypto'
import type { OperationRequest, ProviderAnswer } from 'trestle'
import { z } from 'zod'

/**
 * Mailchimp ends a request that takes longer than 120 s (https://mailchimp.com/developer/marketing/docs/fundamentals/,
 * read 2026-11-23): an answer that comes within that is not given up, which would only make doubt.
 */
export const TIMEOUT_MS = 125_000

/** The id of an audience: ten hexadecimal digits in practice, which is not documented. */
export const listId = z.string().regex(/^[A-Za-z0-9]+$/, 'an id of an audience is letters and digits')

export const email = z.email()

/** Whom an operation is about. */
export const memberOf = { listId, email }

/** Which part of a collection. Mailchimp counts from 0, gives 10 where nothing is said, and at most 1,000. */
export const page = {
  count: z.int().min(1).max(1000).optional(),
  offset: z.int().min(0).optional(),
}

/**
 * How Mailchimp names a member: the MD5 of the address in lower case.
 * Source: https://mailchimp.com/developer/marketing/docs/methods-parameters/, read 2026-11-23.
 */
export function subscriberHash(address: string): string {
  return createHash('md5').update(address.toLowerCase()).digest('hex')
}

export function listPath(id: string): string {
  return `/3.0/lists/${encodeURIComponent(id)}`
}

export function memberPath({ listId: list, email: address }: { listId: string; email: string }): string {
  return `${listPath(list)}/members/${subscriberHash(address)}`
}

/** The question "how does the member stand?", for look-ups. */
export function readMember(member: { listId: string; email: string }): OperationRequest {
  return { method: 'GET', path: memberPath(member) }
}

/** What an answer without a body means: done, and to whom. Anything but 204 is not this answer. */
export function doneTo({ status }: ProviderAnswer, { email: address }: { email: string }): unknown {
  return status === 204 ? { email: address } : undefined
}

/** What {@link doneTo} gives. */
export const doneToMember = z.object({ email: z.string() })
