import { Option, type Command } from 'commander'
import { UsageError } from '../../base/index.ts'
import type { HoldAnswer } from '../backup/holdWords.ts'
import { addCommand, addGroup } from '../command.ts'
import { withApi } from '../withApi.ts'
import { moment } from './restore.ts'

interface BeginOptions {
  readonly reason?: string
  readonly restored?: boolean
  readonly copiedAt?: number
  readonly stoppedAt?: number
}

/** `trestle hold`: the platform stands still until a person releases it. */
export function addHold(program: Command): void {
  const hold = addGroup(program, 'hold', 'whether the platform stands still, why, and how it goes on')

  addCommand(hold, {
    usage: 'show',
    summary: 'what the hold is for, what was in flight, and what the database cannot know',
    isDefault: true,
    examples: ['trestle hold', 'trestle hold --json'],
    run: (context) =>
      withApi(context, async (api) => {
        const { holdWords } = await import('../backup/holdWords.ts')
        const answer = await api.get('/hold')
        context.output.answerJson(answer.json, () => holdWords(answer.value as HoldAnswer, context.clock))
      }),
  })

  addCommand(hold, {
    usage: 'begin',
    summary: 'begin a hold: what comes in is kept, nothing is claimed, nothing leaves',
    details: [
      'With --restored, after a PostgreSQL of your own was put back from a copy and before any node is started: runs that',
      'were in flight are in doubt from then on, as after "trestle restore".',
    ].join('\n'),
    examples: [
      'trestle hold begin --reason "the till is being replaced"',
      'trestle hold begin --restored --copied-at 2026-11-22T13:00:00Z --stopped-at 2026-11-22T14:03:00Z',
    ],
    options: [
      new Option('--reason <sentence>', 'for those who look'),
      new Option('--restored', 'the database was put back from a copy'),
      new Option(
        '--copied-at <time>',
        'with --restored: when the copy was made, at the earliest; by default the newest entry of the ledger',
      ).argParser(moment),
      new Option(
        '--stopped-at <time>',
        'with --restored: when the former platform had stopped; by default now',
      ).argParser(moment),
    ],
    run: (context, _args, options: BeginOptions) =>
      withApi(context, async (api) => {
        const answer = await api.post('/hold', { body: wishOf(options) })
        context.output.answerJson(
          answer.json,
          () => 'In hold. See: trestle hold. It goes on with: trestle hold release',
        )
      }),
  })

  addCommand(hold, {
    usage: 'release',
    summary: 'let the platform go on: runs are claimed again, within a second or two',
    examples: ['trestle hold release'],
    run: (context) =>
      withApi(context, async (api) => {
        const answer = await api.post('/hold/release')
        context.output.answerJson(answer.json, () => 'Released: runs go on. See: trestle runs')
      }),
  })
}

function wishOf({ reason, restored, copiedAt, stoppedAt }: BeginOptions): object {
  if (restored !== true && (copiedAt !== undefined || stoppedAt !== undefined))
    throw new UsageError('option_invalid', '--copied-at and --stopped-at belong to --restored.')
  const iso = (ms: number): string => new Date(ms).toISOString()
  return {
    ...(reason === undefined
      ? restored === true && { reason: 'The database was put back from a copy.' }
      : { reason }),
    ...(restored === true && {
      restored: {
        ...(copiedAt !== undefined && { from: iso(copiedAt) }),
        ...(stoppedAt !== undefined && { to: iso(stoppedAt) }),
      },
    }),
  }
}
