import { z } from '@hono/zod-openapi'
import type { EventId, RunId } from '../../base/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { idParams } from './schemas.ts'

const done = z.object({ run: z.string() }).openapi('RunAction')
const empty = z.strictObject({})

const replayed = z
  .object({
    runs: z.array(z.string()).openapi({ description: 'The new runs.' }),
    effects: z
      .array(z.object({ run: z.string(), step: z.string(), operation: z.string(), summary: z.string() }))
      .openapi({ description: 'Effects of the earlier runs that the new ones repeat.' }),
  })
  .openapi('Replayed')

const repeatEffects = z.boolean().default(false).openapi({
  description:
    'Consent to the effects that are repeated. Without it, 409 "effects_repeated" lists them and nothing is done.',
})

/** Members of a settlement; see the operator's `Settlement`. */
const settlement = z
  .discriminatedUnion('as', [
    z.strictObject({
      as: z.literal('done'),
      step: z.string(),
      ordinal: z.int().positive().optional(),
      result: z.unknown().optional(),
    }),
    z.strictObject({
      as: z.literal('not_done'),
      step: z.string(),
      ordinal: z.int().positive().optional(),
    }),
    z.strictObject({ as: z.literal('undone') }),
  ])
  .openapi('Settlement', {
    description:
      'done: the effect is there; "result" is what the operation would have given. not_done: it is not there, so the step is done now, as a new effect; of a step that was too late: run it now. undone: what could not be undone was undone by hand.',
  })

const step = z.string().min(1).max(250)
const migration = z
  .strictObject({
    to: z.int().positive().optional().openapi({ description: 'Default: the newest version.' }),
    forget: z.array(step).max(1_000).optional().openapi({
      description:
        'Steps (NAME or NAME#2) whose results are forgotten: they are done again where they are asked for.',
    }),
    rename: z.record(step, step).optional().openapi({ description: 'Steps that have another name now.' }),
    forgetEffects: z.boolean().optional().openapi({
      description:
        'Consent to forgetting calls that had an effect, which stays and which nothing undoes any more.',
    }),
  })
  .openapi('Migration')

const CONFLICT = { 404: 'There is no such run.', 409: 'Its state does not allow it; nothing was changed.' }

/** What people and programs do to runs. Each is in the ledger under the token. */
export function runActionRoutes({ operator }: Pick<ApiDeps, 'operator'>): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/runs/{id}/retry',
      tag: 'Runs',
      needs: { scope: 'runs:retry' },
      summary: 'Retry: the same run goes on, with its journal and keys',
      params: idParams,
      body: { schema: empty, optional: true },
      result: done,
      errors: CONFLICT,
      answer: async ({ params, caller }) => {
        await operator.retry(params.id as RunId, caller)
        return { run: params.id }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/runs/{id}/cancel',
      tag: 'Runs',
      needs: { scope: 'runs:cancel' },
      summary: 'Cancel: undo what can be undone, and end the run',
      params: idParams,
      body: { schema: empty, optional: true },
      result: done,
      errors: CONFLICT,
      answer: async ({ params, caller }) => {
        await operator.cancel(params.id as RunId, caller)
        return { run: params.id }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/runs/{id}/migrate',
      tag: 'Runs',
      needs: { scope: 'runs:migrate' },
      summary: 'Migrate: the run goes on with another version of its flow, its journal changed as asked',
      params: idParams,
      body: { schema: migration, optional: true },
      result: done,
      errors: {
        404: 'There is no such run.',
        409: 'Its state does not allow it, it does not fit that version, or effects would be forgotten; nothing was changed.',
        422: 'There is no such step or version.',
      },
      answer: async ({ params, body, caller }) => {
        await operator.migrate(params.id as RunId, body, caller)
        return { run: params.id }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/runs/{id}/replay',
      tag: 'Runs',
      needs: { scope: 'runs:replay' },
      summary: 'Replay: a new run for the same event, which repeats effects',
      params: idParams,
      body: { schema: z.strictObject({ repeatEffects }), optional: true },
      result: replayed,
      errors: { 404: 'There is no such run.', 409: 'Effects would be repeated, and there is no consent.' },
      answer: async ({ params, body, caller }) =>
        asReplayed(
          await operator.replayRun(params.id as RunId, { ...caller, repeatEffects: body.repeatEffects }),
        ),
    }),
    defineRoute({
      method: 'post',
      path: '/runs/{id}/settle',
      tag: 'Runs',
      needs: { scope: 'runs:settle' },
      summary: "Settle: a person's word on a step whose outcome could not be known",
      params: idParams,
      body: { schema: settlement },
      result: done,
      errors: { ...CONFLICT, 422: 'The run does not wait for a word on that step.' },
      answer: async ({ params, body, caller }) => {
        await operator.settle(params.id as RunId, body, caller)
        return { run: params.id }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/events/{id}/replay',
      tag: 'Events',
      needs: { scope: 'runs:replay' },
      summary: 'Replay an event: new runs of the flows that start on it, or of one',
      params: idParams,
      body: {
        schema: z.strictObject({ repeatEffects, flow: z.string().max(200).optional() }),
        optional: true,
      },
      result: replayed,
      errors: {
        404: 'There is no such event.',
        409: 'Effects would be repeated, and there is no consent.',
        422: 'No flow starts on it.',
      },
      answer: async ({ params, body, caller }) =>
        asReplayed(
          await operator.replayEvent(params.id as EventId, {
            ...caller,
            repeatEffects: body.repeatEffects,
            ...(body.flow === undefined ? {} : { flow: body.flow }),
          }),
        ),
    }),
  ]
}

function asReplayed(replay: {
  readonly runs: readonly string[]
  readonly effects: readonly { run: string; step: string; operation: string; summary: string }[]
}): z.input<typeof replayed> {
  return { runs: [...replay.runs], effects: replay.effects.map((effect) => ({ ...effect })) }
}
