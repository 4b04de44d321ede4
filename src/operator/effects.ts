import type { RunId } from '../base/index.ts'
import type { ActionContext } from './operator.ts'

/** An effect that an earlier run had, or may have had, and that a replay has again. */
export interface RepeatedEffect {
  readonly run: RunId
  readonly step: string
  readonly operation: string
  readonly summary: string
}

interface EffectRow {
  readonly run_id: RunId
  readonly name: string
  readonly operation: string
  readonly summary: string | null
}

/** Writes that these runs made, and those of which nobody knows whether they were made. Reads are no effects. */
export async function effectsOf(
  runs: readonly RunId[],
  context: ActionContext,
): Promise<readonly RepeatedEffect[]> {
  if (runs.length === 0) return []
  const rows = [...(await madeBy(runs, context)), ...(await doubtedOf(runs, context))]
  return rows
    .filter((row) => !isRead(row.operation, context))
    .map((row) => ({
      run: row.run_id,
      step: row.name,
      operation: row.operation,
      summary: row.summary ?? row.operation,
    }))
}

async function madeBy(
  runs: readonly RunId[],
  { client, tenant }: ActionContext,
): Promise<readonly EffectRow[]> {
  const { rows } = await client.query<EffectRow>(
    `select run_id, name, operation, summary from journal where tenant = $1 and run_id = any($2) and kind = 'operation' and outcome = 'succeeded' order by run_id, seq`,
    [tenant, runs],
  )
  return rows
}

/**
 * Steps that did not succeed, with an attempt on which the provider may have acted: in doubt, answered in a shape that
 * could not be trusted, or begun without a known outcome. A later generation of the step began only because the
 * earlier one was, for certain, not done.
 */
async function doubtedOf(
  runs: readonly RunId[],
  { client, tenant }: ActionContext,
): Promise<readonly EffectRow[]> {
  const { rows } = await client.query<EffectRow>(
    `select distinct on (a.run_id, a.name, a.ordinal) a.run_id, a.name, coalesce(n.connector || '.', '') || a.operation as operation,
       coalesce(n.connector || '.', '') || a.operation || case when a.state = 'quarantined' then ', whose answer was quarantined' else ', whose outcome is not known' end as summary
     from attempts a left join connections n on n.tenant = a.tenant and n.id = a.connection_id
     where a.tenant = $1 and a.run_id = any($2) and (a.state is null or a.state in ('in_doubt', 'quarantined'))
       and not exists (select 1 from attempts later where later.tenant = a.tenant and later.run_id = a.run_id and later.name = a.name
         and later.ordinal = a.ordinal and later.generation > a.generation)
       and not exists (select 1 from journal j where j.tenant = a.tenant and j.run_id = a.run_id and j.name = a.name
         and j.ordinal = a.ordinal and (j.kind = 'undo' or j.outcome = 'succeeded'))
     order by a.run_id, a.name, a.ordinal, a.number desc`,
    [tenant, runs],
  )
  return rows
}

function isRead(qualified: string, context: ActionContext): boolean {
  const [connector = '', ...rest] = qualified.split('.')
  return context.connectorNamed(connector)?.operationsByName.get(rest.join('.'))?.effect === 'read'
}
