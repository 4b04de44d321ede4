import { createRequire } from 'node:module'
import type pg from 'pg'

/**
 * Protections that a test takes away in one process, to show that it notices. Nothing of this is in the product: its
 * statements are changed on their way to the database.
 *
 * - `no_lease`: every turn is taken to have ended, so that everybody asks.
 * - `no_keeping`: an answer is not committed before it is read.
 * - `no_compare`: a grant takes the place of whatever stands there.
 */
export const SABOTAGES = ['no_lease', 'no_keeping', 'no_compare'] as const
export type Sabotage = (typeof SABOTAGES)[number]

const CHANGES: Readonly<Record<Sabotage, (statement: string) => string>> = {
  no_lease: (statement) =>
    statement.replace('lease_until <= clock_timestamp() as lease_ended', 'true as lease_ended'),
  no_keeping: (statement) =>
    statement.includes(`'answered', $5, $6`)
      ? 'select $1::text, $2::text, $3::text, $4::bigint, $5::boolean, $6::integer, $7::bytea'
      : statement,
  no_compare: (statement) => statement.replace('and version = $4::bigint', 'and $4::bigint is not null'),
}

export function takeAway(which: Sabotage): void {
  const { Client } = createRequire(import.meta.url)('pg') as typeof pg
  const change = CHANGES[which]
  // oxlint-disable-next-line typescript/unbound-method -- called with its own `this` below
  const query = Client.prototype.query as (this: unknown, ...given: unknown[]) => unknown
  Client.prototype.query = function (this: unknown, text: unknown, ...rest: unknown[]) {
    return query.call(this, typeof text === 'string' ? change(text) : text, ...rest)
  } as typeof Client.prototype.query
}
