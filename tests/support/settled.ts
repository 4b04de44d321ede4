import type { Queryable } from '../../src/db/index.ts'

/**
 * Resolves when everything that was committed before is shown to who follows a listing oldest first. Other tests of the
 * run share the server, and a transaction of theirs that is still open holds up whoever follows.
 */
export async function settled(client: Queryable): Promise<void> {
  const { rows } = await client.query<{ now: string }>('select pg_current_xact_id()::text as now')
  for (;;) {
    const { rowCount } = await client.query(
      'select 1 where pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8',
      [rows[0]!.now],
    )
    if (rowCount === 1) return
  }
}
