import { z } from '@hono/zod-openapi'
import { encodeJson, NotFoundError } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { ApiDeps } from '../deps.ts'
import { JsonText } from '../http/json.ts'
import { asPage, Conditions, listOf, pageOf, pagingQuery, readPage, type Paging } from '../http/paging.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { lastAnswerWords, readLastAnswers, type LastAnswer } from '../reading/lastAnswers.ts'
import { connectionNames, eventSummaries } from '../reading/lookups.ts'
import {
  factsOf,
  readAttempts,
  readLanePlace,
  readRun,
  readStepContents,
  readSteps,
  RUN_COLUMNS,
  RUN_ROWS_LIMIT,
  waitsOf,
  type AttemptRow,
  type RunRow,
  type StepContents,
} from '../reading/runs.ts'
import { timelineOf, type TimelineStep } from '../reading/timeline.ts'
import { headWords, runWords, waitWords, type LaneHead } from '../reading/words.ts'
import {
  anyJson,
  connectionFilter,
  filterText,
  id as idSchema,
  idParams,
  iso,
  runState,
  time,
} from './schemas.ts'

export const run = z
  .object({
    id: z.string(),
    flow: z.string(),
    flowVersion: z.int(),
    state: runState,
    /** Code and words of why it is where it is, where there is a reason. */
    reasonCode: z.string().nullable(),
    reason: z.string().nullable(),
    event: z.object({
      id: z.string(),
      type: z.string().nullable(),
      summary: z.string().nullable(),
      connection: z.string().nullable(),
    }),
    laneKey: z.string().nullable(),
    replayOf: z.string().nullable(),
    dueAt: time.nullable().openapi({ description: 'When it is looked at again by itself.' }),
    createdAt: time,
    updatedAt: time,
    finishedAt: time.nullable(),
  })
  .openapi('Run')

const lastAnswer = z
  .object({
    step: z
      .string()
      .openapi({ description: 'Name of the step; `#2` and so on where it has several of the name.' }),
    status: z.int().nullable().openapi({ description: 'HTTP status; null where no answer came.' }),
    code: z.string().nullable(),
    reason: z.string().nullable(),
    excerpt: z.string().nullable().openapi({ description: 'The beginning of the answer, redacted.' }),
    at: time,
    attempts: z.int().openapi({ description: 'Attempts of the step in all.' }),
    firstAt: time.openapi({ description: 'When the first of them was begun.' }),
    inWords: z.string(),
  })
  .openapi('LastAnswer')

const deadLetter = run
  .extend({
    lastAnswer: lastAnswer
      .nullable()
      .openapi({ description: 'The last failed answer of a provider, if any.' }),
  })
  .openapi('DeadLetter')

const attempt = z
  .object({
    id: z.string(),
    number: z.int(),
    state: z
      .enum(['succeeded', 'failed', 'in_doubt', 'quarantined'])
      .nullable()
      .openapi({ description: 'null: it was begun, and its outcome is not known yet.' }),
    status: z.int().nullable().openapi({ description: 'HTTP status of the answer.' }),
    code: z.string().nullable(),
    reason: z.string().nullable(),
    excerpt: z
      .string()
      .nullable()
      .openapi({ description: 'The beginning of the answer, redacted, where it failed.' }),
    generation: z.int(),
    idempotencyKey: z.string().nullable(),
    begunAt: time,
    finishedAt: time.nullable(),
  })
  .openapi('Attempt')

const step = z
  .object({
    name: z.string(),
    ordinal: z.int(),
    kind: z.enum(['operation', 'local', 'sleep', 'wait', 'undo']),
    state: z.enum(['succeeded', 'failed', 'skipped', 'waiting', 'running']),
    seq: z.int().nullable().openapi({ description: 'Place in the journal; null while it is not finished.' }),
    connection: z.string().nullable(),
    operation: z.string().nullable(),
    summary: z.string().nullable().openapi({ description: 'What was done, in business words.' }),
    errorCode: z.string().nullable(),
    error: z.string().nullable(),
    result: anyJson.optional(),
    contentsOmitted: z
      .boolean()
      .openapi({ description: 'Whether "result" and "undo" are left out: the run has 8 MiB of them.' }),
    undo: anyJson.optional().openapi({ description: 'The compensation, computed when the step succeeded.' }),
    waits: z
      .object({
        inWords: z.string(),
        until: time.nullable(),
        details: anyJson.openapi({ description: 'What it waits for, as data.' }),
      })
      .nullable(),
    attempts: z.array(attempt),
    finishedAt: time.nullable(),
  })
  .openapi('Step')

const runDetail = run
  .extend({
    inWords: z.string().openapi({ description: 'Where it stands and what would move it.' }),
    steps: z.array(step),
    stepsOmitted: z.boolean().openapi({ description: `Whether it has more than ${RUN_ROWS_LIMIT} steps.` }),
    lane: z
      .object({
        key: z.string(),
        position: z.int().openapi({ description: '1: it is its turn.' }),
        behind: z.object({ id: z.string(), state: runState, inWords: z.string() }).nullable(),
      })
      .nullable()
      .openapi({ description: 'Its place in its lane; null where it has none, or has left it.' }),
    lastAnswer: lastAnswer
      .nullable()
      .openapi({ description: 'The last failed answer of a provider, where the run has not succeeded.' }),
    undoTo: z.enum(['undone', 'cancelled']).nullable(),
    result: anyJson.optional(),
    replays: z.array(z.string()).openapi({ description: 'Runs that replay this one.' }),
  })
  .openapi('RunDetail')

const filters = {
  flow: filterText(200).optional(),
  connection: connectionFilter,
  event: idSchema.optional().openapi({ description: 'Id of an event.' }),
}

export function runRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/runs',
      tag: 'Runs',
      needs: { scope: 'runs:read' },
      summary: 'List runs',
      query: z.strictObject({
        ...pagingQuery,
        ...filters,
        state: listOf(runState, 'One state, or several.'),
      }),
      result: pageOf(run),
      answer: ({ query, caller }) => listRuns(deps, caller.tenant, query),
    }),
    defineRoute({
      method: 'get',
      path: '/dead-letters',
      tag: 'Runs',
      needs: { scope: 'runs:read' },
      summary: 'List dead letters: runs that gave up, with the last answer of the provider',
      query: z.strictObject({ ...pagingQuery, ...filters }),
      result: pageOf(deadLetter),
      answer: ({ query, caller }) => listDeadLetters(deps, caller.tenant, query),
    }),
    defineRoute({
      method: 'get',
      path: '/held-runs',
      tag: 'Runs',
      needs: { scope: 'runs:read' },
      summary: 'List held runs: those that wait for a person',
      query: z.strictObject({ ...pagingQuery, ...filters }),
      result: pageOf(run),
      answer: ({ query, caller }) => listRuns(deps, caller.tenant, { ...query, state: ['held'] }),
    }),
    defineRoute({
      method: 'get',
      path: '/runs/{id}',
      tag: 'Runs',
      needs: { scope: 'runs:read' },
      summary: 'Show a run with its steps, attempts and what it waits for',
      params: idParams,
      result: runDetail,
      errors: { 404: 'There is no such run.' },
      answer: ({ params, caller }) => showRun(deps, caller.tenant, params.id),
    }),
  ]
}

async function listDeadLetters(
  deps: ApiDeps,
  tenant: string,
  filter: RunFilter,
): Promise<z.input<ReturnType<typeof pageOf<typeof deadLetter>>>> {
  const page = await listRuns(deps, tenant, { ...filter, state: ['dead_lettered'] })
  const answers = await readLastAnswers(
    deps.database.pool,
    tenant,
    page.items.map(({ id }) => id),
  )
  return {
    ...page,
    items: page.items.map((one) => ({ ...one, lastAnswer: asLastAnswer(answers.get(one.id)) })),
  }
}

function asLastAnswer(answer: LastAnswer | undefined): z.input<typeof lastAnswer> | null {
  if (answer === undefined) return null
  const { name, ordinal, status, code, reason, excerpt, attempts } = answer
  return {
    step: ordinal === 1 ? name : `${name}#${ordinal}`,
    status,
    code,
    reason,
    excerpt,
    at: iso(answer.at),
    attempts,
    firstAt: iso(answer.first_at),
    inWords: lastAnswerWords(answer),
  }
}

interface RunFilter extends Paging {
  readonly flow?: string | undefined
  readonly connection?: string | undefined
  readonly event?: string | undefined
  readonly state?: readonly string[] | undefined
}

async function listRuns(
  { database: { pool }, vault }: ApiDeps,
  tenant: string,
  filter: RunFilter,
): Promise<z.input<ReturnType<typeof pageOf<typeof run>>>> {
  const connection =
    filter.connection === undefined ? undefined : (await vault.loadConnection(tenant, filter.connection)).id
  const conditions = new Conditions()
    .add('tenant = ?', tenant)
    .add('flow = ?', filter.flow)
    .add('event_id = ?', filter.event)
    .add('state = any(?)', filter.state)
    .add(
      'exists (select 1 from events e where e.tenant = runs.tenant and e.id = runs.event_id and e.connection_id = ?)',
      connection,
    )
  const page = await readPage<RunRow>(pool, 'runs', RUN_COLUMNS, conditions, filter)
  const asRuns = await runsWithEvents(pool, tenant, page.rows)
  return asPage(page, (row) => asRuns(row))
}

/** Completes rows with their events. */
export async function runsWithEvents(
  client: Queryable,
  tenant: string,
  rows: readonly RunRow[],
): Promise<(row: RunRow) => z.input<typeof run>> {
  const events = await eventSummaries(
    client,
    tenant,
    rows.map((row) => row.event_id),
  )
  const names = await connectionNames(
    client,
    tenant,
    [...events.values()].map((event) => event.connection_id),
  )
  return (row) => {
    const event = events.get(row.event_id)
    return {
      id: row.id,
      flow: row.flow,
      flowVersion: row.flow_version,
      state: row.state,
      reasonCode: row.reason_code,
      reason: row.reason,
      event: {
        id: row.event_id,
        type: event?.type ?? null,
        summary: event?.summary ?? null,
        connection: (event && names.get(event.connection_id)) ?? null,
      },
      laneKey: row.lane_key,
      replayOf: row.replay_of,
      dueAt: iso(row.due_at),
      createdAt: iso(row.created_at),
      updatedAt: iso(row.updated_at),
      finishedAt: iso(row.finished_at),
    }
  }
}

async function showRun(
  { database: { pool }, clock }: ApiDeps,
  tenant: string,
  id: string,
): Promise<z.input<typeof runDetail>> {
  const row = await readRun(pool, tenant, id)
  if (!row) throw new NotFoundError('run', id, 'List them with GET /api/v1/runs.')
  const [asRun, steps, contents, attempts, lane, results, replays, answers] = await Promise.all([
    runsWithEvents(pool, tenant, [row]),
    readSteps(pool, tenant, [id], RUN_ROWS_LIMIT + 1),
    readStepContents(pool, tenant, id),
    readAttempts(pool, tenant, [id]),
    readLanePlace(pool, tenant, row),
    pool.query<{ result: Buffer | null }>('select result from runs where tenant = $1 and id = $2', [
      tenant,
      id,
    ]),
    pool.query<{ id: string }>(
      'select id from runs where tenant = $1 and event_id = $2 and replay_of = $3 order by id',
      [tenant, row.event_id, id],
    ),
    row.state === 'succeeded' ? new Map<string, LastAnswer>() : readLastAnswers(pool, tenant, [id]),
  ])
  const waits = waitsOf(row)
  const timeline = timelineOf(row.created_at.getTime(), steps.slice(-RUN_ROWS_LIMIT), attempts, waits)
  const names = await connectionNames(
    pool,
    tenant,
    timeline.map((each) => each.connectionId ?? null),
  )
  const now = clock.now()
  const result = results.rows[0]?.result
  const answer = answers.get(id)
  return {
    ...asRun(row),
    inWords: runWords(factsOf(row, waits, lane, answer && lastAnswerWords(answer)), now),
    steps: timeline.map((each) => asStep(each, contents.get(each.step?.seq ?? -1), names, now)),
    stepsOmitted: steps.length > RUN_ROWS_LIMIT,
    lane:
      lane === undefined
        ? null
        : {
            key: row.lane_key!,
            position: lane.position,
            behind: lane.behind ? asHead(lane.behind, now) : null,
          },
    lastAnswer: asLastAnswer(answer),
    undoTo: row.undo_to as 'undone' | 'cancelled' | null,
    ...(result ? { result: new JsonText(result) } : {}),
    replays: replays.rows.map((replay) => replay.id),
  }
}

function asHead(head: LaneHead, now: number): { id: string; state: LaneHead['state']; inWords: string } {
  return { id: head.id, state: head.state, inWords: headWords(head, now) }
}

function asStep(
  each: TimelineStep,
  contents: StepContents | undefined,
  names: ReadonlyMap<string, string>,
  now: number,
): z.input<typeof step> {
  const { waits } = each
  return {
    name: each.name,
    ordinal: each.ordinal,
    kind: each.kind,
    state: each.state,
    seq: each.step?.seq ?? null,
    connection: (each.connectionId && names.get(each.connectionId)) ?? null,
    operation: each.operation ?? null,
    summary: each.step?.summary ?? null,
    errorCode: each.step?.error_code ?? null,
    error: each.step?.error ?? null,
    contentsOmitted: contents?.omitted ?? false,
    ...(contents?.result ? { result: new JsonText(contents.result) } : {}),
    ...(contents?.undo ? { undo: new JsonText(contents.undo) } : {}),
    waits: waits
      ? {
          inWords: waitWords(waits, now),
          until: waits.until === null ? null : new Date(waits.until).toISOString(),
          details: new JsonText(encodeJson(waits)),
        }
      : null,
    attempts: each.attempts.map(asAttempt),
    finishedAt: each.finishedAt === undefined ? null : new Date(each.finishedAt).toISOString(),
  }
}

function asAttempt(row: AttemptRow): z.input<typeof attempt> {
  return {
    id: row.id,
    number: row.number,
    state: row.state,
    status: row.status,
    code: row.code,
    reason: row.reason,
    excerpt: row.excerpt,
    generation: row.generation,
    idempotencyKey: row.idempotency_key,
    begunAt: iso(row.begun_at),
    finishedAt: iso(row.finished_at),
  }
}
