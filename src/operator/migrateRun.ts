import { UsageError, type RunId } from '../base/index.ts'
import { loadRun, type ClaimedRun } from '../flows/index.ts'
import { effectsOf } from './effects.ts'
import { fitOf } from './inFlight.ts'
import { lockRun, queueRun, record, refuse } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/** How a run's journal is made to fit another version of its flow. Steps are written `name` or `name#2`. */
export interface Migration {
  /** The version to go on with. Default: the newest in the configuration. */
  readonly to?: number | undefined
  /** Steps whose results are forgotten: the new code does them again where it asks for them. */
  readonly forget?: readonly string[] | undefined
  /** Steps that the new code asks for under another name. */
  readonly rename?: Readonly<Record<string, string>> | undefined
  /** Consent to forgetting calls that had an effect: it is there still, and nothing undoes it any more. */
  readonly forgetEffects?: boolean | undefined
}

const MAY_BE_MIGRATED: ReadonlySet<string> = new Set(['queued', 'waiting', 'parked', 'held'])

/**
 * Lets a run go on with another version of its flow, after its journal was changed as asked. It is held against the
 * new code first: where it does not fit, nothing is changed and the difference is named.
 */
export async function migrateRun(id: RunId, migration: Migration, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  if (!MAY_BE_MIGRATED.has(run.state) || run.node_id !== null || run.undo_to !== null)
    refuse(run, 'migrated', 'A run that is queued, waiting, parked or held can be.')
  const { tenant, client } = context
  const flow = flowTo(run.flow, migration.to, context)
  const before = (await loadRun(client, { tenant, id }))!
  const forgotten = (migration.forget ?? []).map((step) => stepOf(before, step))
  if (migration.forgetEffects !== true) await refuseEffects(id, forgotten, context)
  for (const { name, ordinal } of forgotten) await forgetStep(id, name, ordinal, context)
  for (const [from, to] of Object.entries(migration.rename ?? {}))
    await renameStep(id, stepOf(before, from), parseStep(to), context)
  const fit = await fitOf((await loadRun(client, { tenant, id }))!, flow, context)
  if (fit.as === 'conflicts')
    throw new UsageError(
      'version_conflict',
      `Run ${id} does not fit version ${flow.version ?? 1} of "${run.flow}": ${fit.reason} Nothing was changed. Forget or rename steps, or cancel the run.`,
    )
  const version = flow.version ?? 1
  await client.query('update runs set flow_version = $3 where tenant = $1 and id = $2', [tenant, id, version])
  if (run.state !== 'waiting') await queueRun(context, run)
  await record(context, 'run.migrated', run, run.state === 'waiting' ? 'waiting' : 'queued', {
    from: before.flowVersion,
    to: version,
    forgot: forgotten.map(({ name, ordinal }) => `${name}#${ordinal}`),
    renamed: migration.rename ?? {},
  })
}

function flowTo(
  name: string,
  to: number | undefined,
  { flows }: ActionContext,
): Exclude<ReturnType<ActionContext['flows']['forRun']>, 'newer' | undefined> {
  const flow = to === undefined ? flows.byName(name) : flows.forRun(name, to)
  if (flow === undefined || flow === 'newer' || (to !== undefined && (flow.version ?? 1) !== to))
    throw new UsageError(
      'flow_missing',
      `The flow "${name}" is not in the configuration${to === undefined ? '' : ` in version ${to}`}. Add it, then migrate.`,
    )
  return flow
}

interface Step {
  readonly name: string
  readonly ordinal: number
}

function parseStep(text: string): Step {
  const [, name = text, ordinal = '1'] = /^(.*?)(?:#(\d{1,5}))?$/s.exec(text) ?? []
  return { name, ordinal: Number(ordinal) }
}

function stepOf(run: ClaimedRun, text: string): ClaimedRun['journal'][number] {
  const { name, ordinal } = parseStep(text)
  const row = run.journal.find((one) => one.name === name && one.ordinal === ordinal)
  if (row) return row
  throw new UsageError(
    'step_unknown',
    `Run ${run.id} has no finished step ${name}#${ordinal}. It has: ${run.journal.map((one) => `${one.name}#${one.ordinal}`).join(', ') || 'none'}.`,
  )
}

async function refuseEffects(id: RunId, steps: readonly Step[], context: ActionContext): Promise<void> {
  if (steps.length === 0) return
  const effects = (await effectsOf([id], context)).filter(({ step }) =>
    steps.some(({ name }) => name === step),
  )
  if (effects.length > 0)
    throw new UsageError(
      'effects_forgotten',
      `These steps had an effect, which stays and which nothing undoes any more: ${effects.map(({ summary }) => summary).join('; ')}. Consent with --forget-effects ("forgetEffects": true in the API).`,
    )
}

async function forgetStep(
  id: RunId,
  name: string,
  ordinal: number,
  { client, tenant }: ActionContext,
): Promise<void> {
  const values = [tenant, id, name, ordinal]
  await client.query(
    'delete from journal where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4',
    values,
  )
  await client.query(
    'delete from attempts where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4',
    values,
  )
}

async function renameStep(id: RunId, from: Step, to: Step, { client, tenant }: ActionContext): Promise<void> {
  for (const table of ['journal', 'attempts', 'waits'])
    await client.query(
      `update ${table} set name = $5, ordinal = $6 where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4`,
      [tenant, id, from.name, from.ordinal, to.name, to.ordinal],
    )
}
