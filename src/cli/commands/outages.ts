import { Option, type Command } from 'commander'
import { addCommand, type CommandContext } from '../command.ts'
import { withApi } from '../withApi.ts'
import { timeWords } from '../times.ts'
import type { OutageView } from '../views.ts'

interface Options {
  readonly all?: boolean
}

/** `trestle outages`: which providers are away, since when, and what waits for them. */
export function addOutages(program: Command): void {
  addCommand(program, {
    usage: 'outages',
    summary: 'which providers are away, since when, and what waits for them',
    details: [
      'Of each outage: the connection, or the group of its operations that is away; since when; the last answer; how',
      'many runs wait, in the words of their flows; when it is asked next, and how long those who wait will take.',
      'An outage ends by itself when a probe finds the provider there. To hold a connection back by hand, and to let',
      'it go again: trestle connections isolate, trestle connections release.',
    ].join('\n'),
    examples: ['trestle outages', 'trestle outages --all', 'trestle outages --json'],
    options: [new Option('--all', 'also those that are over')],
    run: (context, _args, { all }: Options) =>
      withApi(context, async (api) => {
        const answer = await api.get('/outages', { query: { state: all === true ? 'all' : 'open' } })
        const { items } = answer.value as { readonly items: readonly OutageView[] }
        context.output.answerJson(answer.json, () =>
          items.length === 0
            ? all === true
              ? 'There was no outage.'
              : 'No provider is away.'
            : items.map((one) => outageText(one, context)).join('\n\n'),
        )
      }),
  })
}

function outageText(one: OutageView, { clock }: CommandContext): string {
  const lines = [
    one.inWords,
    `  since ${timeWords(one.beganAt, clock)}${one.endedAt === null ? '' : `, over ${timeWords(one.endedAt, clock)}`}`,
    `  why: ${one.reason}`,
  ]
  if (one.lastProbeAt !== null)
    lines.push(
      `  asked ${one.probes === 1 ? 'once' : `${one.probes} times`}, last ${timeWords(one.lastProbeAt, clock)}: ${one.lastAnswer}`,
    )
  if (one.state === 'open' && one.nextProbeAt !== null)
    lines.push(`  asked next ${timeWords(one.nextProbeAt, clock)}`)
  if (one.waiting !== null && one.waiting.oldestAt !== null)
    lines.push(`  the oldest waits since ${timeWords(one.waiting.oldestAt, clock)}`)
  if (one.state === 'isolated')
    lines.push(
      `  let it go with: trestle connections release ${one.connection}${one.group === null ? '' : ` --group ${one.group}`}`,
    )
  return lines.join('\n')
}
