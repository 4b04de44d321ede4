import type { Queryable } from '../db/index.ts'
import type { Position } from './position.ts'

/** A schedule or a poll, as people see it. */
export interface ListedSchedule {
  readonly name: string
  readonly kind: 'cron' | 'poll'
  readonly state: 'active' | 'retired'
  /** What the code declares, as text: expression, zone and policy, or what is polled. */
  readonly declaration: string
  readonly nextDue: Date | undefined
  /** When it last fired, or last read a page. */
  readonly lastDone: Date | undefined
  /** The last due time that ran; of a schedule only. */
  readonly lastScheduledFor: Date | undefined
  /** How far a poll has read: the provider's time of the latest change that was seen. */
  readonly cursor: string | undefined
  /** Due times that passed without running, since the beginning; the ledger has each. */
  readonly skipped: number
  readonly lastSkipped: Date | undefined
  readonly failures: number
  readonly lastError:
    | { readonly code: string; readonly reason: string; readonly at: Date | undefined }
    | undefined
  /** The node that reads it now. */
  readonly node: string | undefined
}

interface Row {
  readonly name: string
  readonly kind: 'cron' | 'poll'
  readonly state: 'active' | 'retired'
  readonly declaration: string
  readonly due_at: Date | null
  readonly done_at: Date | null
  readonly previous_at: Date | null
  readonly position: string | null
  readonly skipped: string
  readonly skipped_at: Date | null
  readonly failures: number
  readonly error_code: string | null
  readonly error: string | null
  readonly failed_at: Date | null
  readonly node_id: string | null
}

/** All schedules of a tenant, by name; retired ones too. */
export async function listSchedules(client: Queryable, tenant: string): Promise<readonly ListedSchedule[]> {
  const { rows } = await client.query<Row>(
    `select name, kind, state, declaration, due_at, done_at, previous_at, position, skipped, skipped_at, failures,
       error_code, error, failed_at, node_id
     from schedules where tenant = $1 order by state, name`,
    [tenant],
  )
  return rows.map((row) => ({
    name: row.name,
    kind: row.kind,
    state: row.state,
    declaration: row.declaration,
    nextDue: row.due_at ?? undefined,
    lastDone: row.done_at ?? undefined,
    lastScheduledFor: row.previous_at ?? undefined,
    cursor: row.position === null ? undefined : cursorOf(JSON.parse(row.position) as Position),
    skipped: Number(row.skipped),
    lastSkipped: row.skipped_at ?? undefined,
    failures: row.failures,
    lastError:
      row.error_code === null
        ? undefined
        : { code: row.error_code, reason: row.error ?? '', at: row.failed_at ?? undefined },
    node: row.node_id ?? undefined,
  }))
}

function cursorOf({ cursor, token }: Position): string | undefined {
  return cursor ?? (token === null ? undefined : String(token))
}
