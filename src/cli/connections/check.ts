import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command.ts'
import { table } from '../output.ts'
import { timeWords } from '../times.ts'
import type { ConnectionView } from '../views.ts'
import { withApi } from '../withApi.ts'
import { stateWords } from '../words.ts'

/** `trestle connections check`: what is known to end, who sees to it, and what the checks of idle connections found. */
export function addCheck(connections: Command): void {
  addCommand(connections, {
    usage: 'check',
    summary: 'what of the credentials ends when, who sees to it, and what the last checks found',
    details:
      'A connection that nobody calls over for a day is checked by itself. To make a check now: trestle connections test NAME.',
    examples: ['trestle connections check', 'trestle connections check --json'],
    run: (context) =>
      withApi(context, async (api) => {
        const answer = await api.get('/connections')
        const { items } = answer.value as { readonly items: readonly ConnectionView[] }
        context.output.answerJson(answer.json, () =>
          [endingsTable(items, context), '', checksTable(items, context)].join('\n'),
        )
      }),
  })
}

function endingsTable(items: readonly ConnectionView[], { clock }: CommandContext): string {
  const rows = items.flatMap((one) =>
    one.endings.map((ending) => [
      one.name,
      ending.field === null
        ? ending.what
        : `${ending.field}${ending.what === 'former secret' ? ' (former)' : ''}`,
      timeWords(ending.endsAt, clock),
      { trestle: 'Trestle', person: 'you', provider: 'the provider' }[ending.by],
      ending.todo,
    ]),
  )
  return table(['NAME', 'WHAT ENDS', 'WHEN', 'WHO', 'WHAT TO DO'], rows, 'Nothing is known to end.')
}

function checksTable(items: readonly ConnectionView[], { clock }: CommandContext): string {
  const when = (time: string | null | undefined): string => (time ? timeWords(time, clock) : '-')
  return table(
    ['NAME', 'LAST USED', 'CHECKED', 'OUTCOME', 'NEXT', 'WHY'],
    items.map(({ name, check }) => [
      name,
      when(check?.usedAt),
      when(check?.checkedAt),
      check?.outcome ? stateWords(check.outcome) : '-',
      when(check?.dueAt),
      check?.reason ?? '',
    ]),
    'There are no connections.',
  )
}
