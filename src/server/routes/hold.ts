import { z } from '@hono/zod-openapi'
import { HOLD_KINDS, reportHold, type HoldReport } from '../../operator/index.ts'
import type { ApiDeps } from '../deps.ts'
import { JsonText } from '../http/json.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { anyJson, filterText, iso, runState, time } from './schemas.ts'

const hold = z
  .object({
    id: z.string(),
    kind: z.enum(HOLD_KINDS).openapi({
      description:
        'restored: the database was put back from a copy. rolled_back: a node found it older than checkpoints that had left it. operator: a person wants it.',
    }),
    reason: z.string(),
    beganAt: time,
    beganBy: z.string(),
    lostFrom: time.nullable().openapi({
      description: 'The earliest that anything can have been begun that is not in the database.',
    }),
    lostTo: time
      .nullable()
      .openapi({ description: 'When nothing of the former platform was at work any more.' }),
    detail: anyJson.openapi({ description: 'The evidence: the backup, and what was seen outside it.' }),
  })
  .openapi('Hold')

const report = z
  .object({
    inHold: z.boolean(),
    hold: hold.nullable(),
    counts: z
      .array(
        z.object({
          flow: z.string(),
          state: runState,
          runs: z.int(),
          withOpenAttempt: z.int().openapi({ description: 'Of these, with an attempt of unknown outcome.' }),
          oldest: time,
        }),
      )
      .openapi({ description: 'Runs that were in flight at the copy: their next steps are in doubt.' }),
    runs: z.array(
      z.object({
        id: z.string(),
        flow: z.string(),
        state: runState,
        createdAt: time,
        lastStep: z.string().nullable().openapi({ description: 'The newest step that the copy knows.' }),
      }),
    ),
    untouched: z
      .int()
      .openapi({ description: 'Runs that slept beyond the lost time: nothing of them is in doubt.' }),
    receivedSince: z.int().openapi({ description: 'Events that came in since the hold began, and wait.' }),
    unknownSince: z
      .array(
        z.object({
          connection: z.string(),
          connector: z.string(),
          lastEvent: z.object({ id: z.string(), type: z.string(), receivedAt: time }).nullable(),
          grant: z.boolean().openapi({ description: 'Its token may have been exchanged since the copy.' }),
        }),
      )
      .openapi({
        description: 'The newest event of each connection that the copy knows: what came after is not in it.',
      }),
  })
  .openapi('HoldReport')

/** The hold: what it is for, what is in doubt, and how it ends. */
export function holdRoutes({
  database: { pool },
  operator,
}: Pick<ApiDeps, 'database' | 'operator'>): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/hold',
      tag: 'Hold',
      needs: { scope: 'hold:read', wholeInstallation: true },
      summary: 'Whether the platform is in hold, and what is in doubt',
      result: report,
      answer: async ({ caller }) => asReport(await reportHold(pool, caller.tenant)),
    }),
    defineRoute({
      method: 'post',
      path: '/hold',
      tag: 'Hold',
      needs: { scope: 'hold:write', wholeInstallation: true },
      summary: 'Begin a hold: what comes in is kept, nothing is claimed, nothing leaves',
      description:
        'With "restored", the database was put back from a copy by other means than "trestle restore": every run in flight is in doubt from then on.',
      body: {
        schema: z.strictObject({
          reason: filterText(500).default('A person wants it.'),
          restored: z
            .strictObject({
              from: time.optional().openapi({
                description:
                  'When the copy was made, at the earliest. Default: the newest entry of the ledger.',
              }),
              to: time
                .optional()
                .openapi({ description: 'When the former platform had stopped. Default: now.' }),
            })
            .optional(),
        }),
        optional: true,
      },
      result: z.object({ id: z.string() }).openapi('HoldBegun'),
      errors: { 409: 'It is in hold already.' },
      answer: async ({ body, caller }) => ({
        id: await operator.hold(
          {
            reason: body.reason,
            ...(body.restored && {
              restored: {
                ...(body.restored.from !== undefined && { from: Date.parse(body.restored.from) }),
                ...(body.restored.to !== undefined && { to: Date.parse(body.restored.to) }),
              },
            }),
          },
          caller,
        ),
      }),
    }),
    defineRoute({
      method: 'post',
      path: '/hold/release',
      tag: 'Hold',
      needs: { scope: 'hold:write', wholeInstallation: true },
      summary: 'Release: runs are claimed again from now on',
      body: { schema: z.strictObject({}), optional: true },
      result: z.object({ released: z.array(z.string()) }).openapi('HoldReleased'),
      errors: { 409: 'It is not in hold.' },
      answer: async ({ caller }) => ({ released: [...(await operator.releaseHold(caller))] }),
    }),
  ]
}

function asReport({ hold: open, ...rest }: HoldReport): z.input<typeof report> {
  return {
    inHold: open !== undefined,
    hold: open
      ? {
          id: open.id,
          kind: open.kind,
          reason: open.reason,
          beganAt: iso(open.beganAt),
          beganBy: open.beganBy,
          lostFrom: iso(open.lostFrom ?? null),
          lostTo: iso(open.lostTo ?? null),
          detail: new JsonText(open.detail),
        }
      : null,
    counts: rest.counts.map((one) => ({ ...one, oldest: iso(one.oldest) })),
    runs: rest.runs.map((run) => ({
      ...run,
      createdAt: iso(run.createdAt),
      lastStep: run.lastStep ?? null,
    })),
    untouched: rest.untouched,
    receivedSince: rest.receivedSince,
    unknownSince: rest.unknownSince.map((one) => ({
      ...one,
      lastEvent: one.lastEvent ? { ...one.lastEvent, receivedAt: iso(one.lastEvent.receivedAt) } : null,
    })),
  }
}
