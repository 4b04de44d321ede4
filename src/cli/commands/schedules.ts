import { Option, type Command } from 'commander'
import { durationWords, UsageError } from '../../base/index.ts'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { table } from '../output.ts'
import { timeWords } from '../times.ts'
import type { ScheduleView } from '../views.ts'
import { withApi } from '../withApi.ts'
import { stateWords } from '../words.ts'

/** `trestle schedules`: what starts by itself. */
export function addSchedules(program: Command): void {
  const schedules = addGroup(program, 'schedules', 'what starts by itself: schedules and polls')

  addCommand(schedules, {
    usage: 'list',
    summary: 'when each is due next, when it last ran, and what is wrong',
    isDefault: true,
    examples: ['trestle schedules', 'trestle schedules list --json'],
    run: (context) =>
      withApi(context, async (api) => {
        const answer = await api.get('/schedules')
        const { items } = answer.value as { readonly items: readonly ScheduleView[] }
        context.output.answerJson(answer.json, () => listWords(items, context))
      }),
  })

  addCommand(schedules, {
    usage: 'run <name>',
    summary: 'run a schedule now, besides its times; have a poll read now',
    details: 'Its times and its cursor stay as they are. It has the name of its flow.',
    examples: ['trestle schedules run weekly-report'],
    run: (context, [name = '']) =>
      withApi(context, async (api) => {
        const answer = await api.post('/schedules/{name}/run', { params: { name } })
        const { kind } = answer.value as { readonly kind: ScheduleView['kind'] }
        context.output.answerJson(answer.json, () =>
          kind === 'cron'
            ? `${name} was fired. See its run with: trestle runs --flow ${name}`
            : `${name} is due now: a node that is up reads it within a second or two.`,
        )
      }),
  })

  addCommand(schedules, {
    usage: 'move <name>',
    summary: 'read a list again from a time, or go on from a later one',
    details: [
      'Items that made an event once make no second one, so that reading again finds only what was missed.',
      'A later time passes a page that cannot be read, and whatever else lies before it.',
    ].join('\n'),
    examples: [
      'trestle schedules move changed-invoices --to 2026-11-20T00:00:00Z',
      'trestle schedules move changed-invoices --to beginning',
    ],
    options: [new Option('--to <time>', 'ISO 8601 with its zone, or "beginning"').makeOptionMandatory()],
    run: (context, [name = ''], { to }: { readonly to: string }) =>
      withApi(context, async (api) => {
        const answer = await api.post('/schedules/{name}/move', {
          params: { name },
          body: { to: checkedTime(to) },
        })
        context.output.answerJson(
          answer.json,
          () => `${name} reads from ${to} at its next turn, which is now.`,
        )
      }),
  })
}

function checkedTime(to: string): string {
  if (to === 'beginning' || /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(to)) return to
  throw new UsageError(
    'option_invalid',
    `--to ${to} is no time. Write it as 2026-11-20T00:00:00Z, or "beginning".`,
  )
}

function listWords(items: readonly ScheduleView[], { clock }: CommandContext): string {
  return table(
    ['NAME', 'STARTS', 'STATE', 'NEXT DUE', 'LAST RAN', 'WHAT IS WRONG'],
    items.map((one) => [
      one.name,
      one.kind === 'cron' ? one.declaration : `poll ${one.declaration.split(' ').slice(0, 2).join('.')}`,
      stateWords(one.state),
      one.nextDue === null ? '-' : `${timeWords(one.nextDue, clock)}${lateWords(one)}`,
      one.lastDone === null ? 'never' : timeWords(one.lastDone, clock),
      [
        one.lastError && `${one.lastError.reason}${one.failures > 1 ? ` (${one.failures} times)` : ''}`,
        one.skipped > 0 && `${one.skipped} skipped`,
      ]
        .filter(Boolean)
        .join('; '),
    ]),
    "There are no schedules. A flow has one with on: cron('0 8 * * 1') or on: poll(…); it is set up at the next start.",
  )
}

/** A look comes every second; what is later than that is told. */
const LATE_MS = 5_000

function lateWords({ lagMs }: ScheduleView): string {
  return lagMs > LATE_MS ? `, ${durationWords(lagMs)} late` : ''
}
