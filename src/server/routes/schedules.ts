import { z } from '@hono/zod-openapi'
import { listSchedules, movePoll, runSchedule, type ListedSchedule } from '../../schedules/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { iso, time } from './schemas.ts'

const schedule = z
  .object({
    name: z.string().openapi({ description: 'The name of its flow.' }),
    kind: z.enum(['cron', 'poll']),
    state: z.enum(['active', 'retired']).openapi({ description: 'retired: the code has it no more.' }),
    declaration: z
      .string()
      .openapi({ description: 'Expression, zone and policy of a schedule; what a poll reads.' }),
    nextDue: time.nullable(),
    lagMs: z.int().openapi({ description: 'How long it has been due by now; 0 where it is not.' }),
    lastDone: time.nullable().openapi({ description: 'When it last fired, or last read a page.' }),
    lastScheduledFor: time
      .nullable()
      .openapi({ description: 'The last due time that ran; of a schedule only.' }),
    cursor: z
      .string()
      .nullable()
      .openapi({ description: 'How far a poll has read, by the times of the provider.' }),
    skipped: z.int().openapi({ description: 'Due times that passed without running. The ledger has them.' }),
    lastSkipped: time.nullable(),
    failures: z.int().openapi({ description: 'Polls that failed in a row.' }),
    lastError: z.object({ code: z.string(), reason: z.string(), at: time.nullable() }).nullable(),
    node: z.string().nullable().openapi({ description: 'The node that reads it now.' }),
  })
  .openapi('Schedule')

const nameParams = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,199}$/, 'This is not the name of a flow.'),
})
const ERRORS = { 404: 'There is no such schedule.', 409: 'It is retired, or of the other kind.' }

/** Schedules and polls: what starts by itself. */
export function scheduleRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const { database, clock } = deps
  return [
    defineRoute({
      method: 'get',
      path: '/schedules',
      tag: 'Schedules',
      needs: { scope: 'schedules:read' },
      summary: 'List schedules and polls',
      result: z.object({ items: z.array(schedule) }),
      async answer({ caller: { tenant } }) {
        const now = clock.now()
        return { items: (await listSchedules(database.pool, tenant)).map((one) => asSchedule(one, now)) }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/schedules/{name}/run',
      tag: 'Schedules',
      needs: { scope: 'schedules:run' },
      summary: 'Run a schedule now, besides its times; have a poll read now',
      params: nameParams,
      body: { schema: z.strictObject({}), optional: true },
      result: z.object({
        name: z.string(),
        kind: z.enum(['cron', 'poll']),
        deliveryId: z.string().nullable().openapi({ description: 'Of a schedule: what it fired.' }),
      }),
      errors: ERRORS,
      async answer({ params, caller }) {
        const going = await runSchedule(params.name, caller, deps)
        return {
          name: params.name,
          kind: going.kind,
          deliveryId: going.kind === 'cron' ? going.deliveryId : null,
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/schedules/{name}/move',
      tag: 'Schedules',
      needs: { scope: 'schedules:move' },
      summary: "Move a poll's cursor: read again from a time, or go on from a later one",
      description: 'Items that made an event once make no second one.',
      params: nameParams,
      body: {
        schema: z.strictObject({ to: z.union([z.iso.datetime({ offset: true }), z.literal('beginning')]) }),
      },
      result: z.object({ name: z.string(), to: z.string() }),
      errors: ERRORS,
      async answer({ params, body, caller }) {
        const to = body.to === 'beginning' ? undefined : new Date(body.to)
        await movePoll(params.name, to, caller, deps)
        return { name: params.name, to: to?.toISOString() ?? 'beginning' }
      },
    }),
  ]
}

function asSchedule(one: ListedSchedule, now: number): z.input<typeof schedule> {
  return {
    name: one.name,
    kind: one.kind,
    state: one.state,
    declaration: one.declaration,
    nextDue: iso(one.nextDue ?? null),
    lagMs: one.nextDue === undefined ? 0 : Math.max(0, now - one.nextDue.getTime()),
    lastDone: iso(one.lastDone ?? null),
    lastScheduledFor: iso(one.lastScheduledFor ?? null),
    cursor: one.cursor ?? null,
    skipped: one.skipped,
    lastSkipped: iso(one.lastSkipped ?? null),
    failures: one.failures,
    lastError: one.lastError
      ? { code: one.lastError.code, reason: one.lastError.reason, at: iso(one.lastError.at ?? null) }
      : null,
    node: one.node ?? null,
  }
}
